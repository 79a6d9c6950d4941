//! What workers cost a server that has no work for them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::remote;
use crate::harness::{Events, PATIENCE, Server, soak};

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(500);

/// User and system CPU of a process so far. A tick is 10 ms on every Linux there is.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    Duration::from_millis(10 * fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>())
}

/// Waits until a process has nothing to do: what it was asked before it has done.
async fn at_rest(pid: u32) {
    let started = Instant::now();
    let mut last = Duration::MAX;
    while started.elapsed() < PATIENCE {
        let now = cpu(pid);
        if now == last {
            return;
        }
        last = now;
        tokio::time::sleep(LOOK).await;
    }
    panic!("it never rests");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_waiting_workers_cost_an_idle_server_less_than_a_hundredth_of_a_core() {
    const WORKERS: usize = 200;
    // Within the time that a claim waits, and in soak twice as long, so that all of them come back once.
    let measured = Duration::from_secs(if soak() { 60 } else { 10 });
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &remote(&["ada"], ""), &[]);
    let mut streams = Vec::new();
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..WORKERS {
        let worker = format!("worker-{n}");
        let url = server.url(&format!("/api/work/events?worker={worker}"));
        let mut events = Events::try_open(server.client(), &url, None).await.unwrap();
        assert_eq!(events.until("claims").await.1, json!({"claims": []}));
        streams.push(events);
        let (http, url) = (server.client().clone(), server.url("/api/work/claim"));
        waiting.spawn(async move {
            loop {
                let key = uuid::Uuid::new_v4().to_string();
                let wish = json!({"worker": worker, "bots": ["ada"], "claim_key": key, "wait_ms": 30_000});
                let response = http.post(&url).json(&wish).send().await.unwrap();
                match response.status().as_u16() {
                    204 => continue,
                    200 => return response.json::<Value>().await.unwrap(),
                    status => panic!("{status} {}", response.text().await.unwrap()),
                }
            }
        });
    }
    at_rest(server.pid()).await;
    let (before, since) = (cpu(server.pid()), Instant::now());
    // Time is the subject: what they cost while nothing happens.
    tokio::time::sleep(measured).await;
    let (used, took) = (cpu(server.pid()) - before, since.elapsed());
    println!("{WORKERS} waiting workers: {used:?} of CPU in {took:?}");
    assert!(used < took / 100, "{used:?} of CPU in {took:?}");
    assert_eq!(waiting.len(), WORKERS, "none gave up");

    // They did wait: each gets one of as many messages, at once.
    let posts = join_all((0..WORKERS).map(|_| server.post("lobby", "Are you there?", json!({})))).await;
    let mut asked: Vec<_> = posts.iter().map(|posted| posted["id"].as_str().unwrap().to_owned()).collect();
    let mut given = Vec::new();
    while let Some(work) = tokio::time::timeout(PATIENCE, waiting.join_next()).await.expect("work for everybody") {
        given.push(work.unwrap()["message"]["id"].as_str().unwrap().to_owned());
    }
    asked.sort();
    given.sort();
    assert_eq!(asked, given);
}
