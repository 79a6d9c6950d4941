//! Servers on a Redis log from outside, over loopback, beside what Redis alone needs to wake somebody.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::Fsync;
use crate::{
    measure::{folder, p50_p99},
    process::{Audience, Server, echoes, post_stamped},
    redis_server::{Client, Redis, Reply},
};

/// Runs of each figure; the median is quoted.
const RUNS: usize = 3;
/// Bytes beside the time in a raw entry: as many as a post has.
const FILL_BYTES: usize = 300;

fn node(redis: &Redis, dir: &Path, name: &str) -> Server {
    Server::start_with(&dir.join(name), &["--log", &redis.url(), "--node", name])
}

/// From the start of a post to its arrival at one subscriber, on the same node and on another.
pub(super) async fn publish() {
    const POSTS: usize = 1_000;
    const PAUSE: Duration = Duration::from_millis(2);
    for fsync in Fsync::BOTH {
        let (mut here, mut there, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let dir = folder();
            let redis = fsync.start(dir.path());
            raw.push(wakes(&redis, POSTS, PAUSE));
            let one = node(&redis, dir.path(), "one");
            here.push(deliveries(&one, &one, POSTS, PAUSE).await);
            let two = node(&redis, dir.path(), "two");
            there.push(deliveries(&one, &two, POSTS, PAUSE).await);
        }
        let raw = p50_p99(raw);
        line(fsync, "raw: XADD → XREAD wakes", raw, raw);
        line(fsync, "publish → SSE, 1 subscriber", p50_p99(here), raw);
        line(fsync, "publish → SSE on another node", p50_p99(there), raw);
    }
}

/// Post → claim → words → completed, seen on the same node and on another.
pub(super) async fn echo() {
    const MESSAGES: usize = 400;
    for fsync in Fsync::BOTH {
        let (mut here, mut there, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let dir = folder();
            let redis = fsync.start(dir.path());
            raw.push(wakes(&redis, MESSAGES, Duration::from_millis(2)));
            let one = node(&redis, dir.path(), "one");
            here.push(echoes(&one, &one, MESSAGES).await);
            let two = node(&redis, dir.path(), "two");
            there.push(echoes(&one, &two, MESSAGES).await);
        }
        let raw = p50_p99(raw);
        line(fsync, "echo: post → claim → words → done", p50_p99(here), raw);
        line(fsync, "the same, two nodes, seen on the other", p50_p99(there), raw);
    }
}

/// How long an `XADD` of somebody else takes while the node is posted to, without and with 1,000 subscribers.
pub(super) async fn crowd() {
    const POSTS: usize = 100;
    const PAUSE: Duration = Duration::from_millis(50);
    for fsync in Fsync::BOTH {
        let (mut alone, mut crowded) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let dir = folder();
            let redis = Arc::new(fsync.start(dir.path()));
            let server = node(&redis, dir.path(), "one");
            for (subscribers, runs) in [(0, &mut alone), (1_000, &mut crowded)] {
                let clock = Instant::now();
                let audience = Audience::open(&server, subscribers, clock, POSTS).await;
                let over = Arc::new(AtomicBool::new(false));
                let adding = std::thread::spawn({
                    let (redis, over) = (redis.clone(), over.clone());
                    move || adds(&redis, &over)
                });
                post_stamped(&server.address, clock, POSTS, Some(PAUSE)).await;
                audience.latencies().await;
                over.store(true, Ordering::Relaxed);
                runs.push(adding.join().expect("the adds"));
            }
        }
        let alone = p50_p99(alone);
        line(fsync, "XADD, posts at 20/s, no subscriber", alone, alone);
        line(fsync, "XADD, posts at 20/s, 1,000 subscribers", p50_p99(crowded), alone);
    }
}

fn line(fsync: Fsync, what: &str, (p50, p99): (f64, f64), (raw, _): (f64, f64)) {
    println!("{fsync:<8}  {what:<40} p50 {p50:.2} ms   p99 {p99:.2} ms   {:.1}x raw", p50 / raw);
}

async fn deliveries(posted: &Server, seen: &Server, posts: usize, pause: Duration) -> Vec<f64> {
    let clock = Instant::now();
    let audience = Audience::open(seen, 1, clock, posts).await;
    post_stamped(&posted.address, clock, posts, Some(pause)).await;
    audience.latencies().await
}

/// From the start of an `XADD` to the answer of an `XREAD` that waits for it, in ms.
fn wakes(redis: &Redis, count: usize, pause: Duration) -> Vec<f64> {
    let clock = Instant::now();
    let mut reader = redis.client();
    let reading = std::thread::spawn(move || {
        let (mut times, mut last) = (Vec::new(), "0-0".to_owned());
        while times.len() < count {
            let answer = reader.ask(&["XREAD", "BLOCK", "5000", "STREAMS", "{raw}:wakes", &last]).expect("an answer");
            let now = clock.elapsed().as_nanos() as f64;
            for entry in answer.parts()[0].parts()[1].parts() {
                let [Reply::Text(id), fields] = entry.parts() else { panic!("{entry}") };
                let sent: f64 = fields.parts()[1].to_string().parse().expect("a time");
                last.clone_from(id);
                times.push((now - sent) / 1e6);
            }
        }
        times
    });
    let mut writer = redis.client();
    let fill = "x".repeat(FILL_BYTES);
    for n in 0..count {
        std::thread::sleep((pause * n as u32).saturating_sub(clock.elapsed()));
        let sent = clock.elapsed().as_nanos().to_string();
        add(&mut writer, "{raw}:wakes", &["t", &sent, "d", &fill]);
    }
    reading.join().expect("the reader")
}

/// How long each `XADD` of a plain loop takes, in ms.
fn adds(redis: &Redis, over: &AtomicBool) -> Vec<f64> {
    let mut client = redis.client();
    let fill = "x".repeat(FILL_BYTES);
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let at = Instant::now();
        add(&mut client, "{raw}:adds", &["d", &fill]);
        times.push(at.elapsed().as_secs_f64() * 1e3);
        // A loop without a pause would take a core for itself.
        std::thread::sleep(Duration::from_millis(1));
    }
    times
}

fn add(client: &mut Client, key: &str, fields: &[&str]) {
    let command = [&["XADD", key, "*"], fields].concat();
    let answer = client.ask(&command).expect("an answer");
    assert!(matches!(answer, Reply::Text(_)), "{answer}");
}
