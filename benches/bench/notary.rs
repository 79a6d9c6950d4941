//! What the notary costs: posts to a node on the file log with and without one beside it, turn about; and what an entry's place
//! in the tree costs by itself.
//!
//! Method: posters wait for each acknowledgement before the next post. Each run has its own folder on the disk of `target/`; the
//! two kinds of run take turns, so that whatever else the machine does meets both. CPU is this process's own, from /proc: it
//! tells also on a machine that is busy with something else.

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use antiphon::{
    audit::{
        keys,
        merkle::CompactRange,
        notary::{Notary, Pace},
        store::paths,
    },
    clock::Clock,
    decide::{Policy, post::Post},
    log::file::{FileLog, Options},
    node::{self, Node},
    projection::Limits,
    tasks::Tasks,
};
use antiphon_schemas::{
    Epoch, RoomName, Seq, Stored,
    event::{Author, AuthorKind},
};

use crate::measure::{block, folder, median, p50_p99};

const RUNS: usize = 11;
const TIME: Duration = Duration::from_secs(3);
const TEXT_BYTES: usize = 150;
const LEAVES: u64 = 1_000_000;

/// Prints the lines.
pub(crate) fn run() {
    block(tree());
    for posters in [1, 32, 256] {
        block(beside(posters));
    }
}

/// User and system CPU of this process so far. A tick is 10 ms on every Linux there is.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number of ticks");
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

async fn node(data: &std::path::Path) -> Node {
    let log = FileLog::open_folder(data, Options::default(), Clock::system()).expect("a log");
    let policy = Policy {
        queue_max: 1,
        attempts_max: 1,
        max_age_ms: 1,
        lease_ms: 1,
        retry_base_ms: 1,
        retry_max_ms: 1,
        bots: vec![],
    };
    let settings = node::Settings {
        name: "bench".into(),
        log: Arc::new(log),
        outbox: None,
        clock: Clock::system(),
        policy,
        limits: Limits { recent_messages: 500, rooms: 1_024 },
        data: Some(data.to_path_buf()),
    };
    node::start(settings, &Tasks::new()).await.expect("a node")
}

fn post(node: &Node, poster: usize) -> Post {
    Post {
        room: RoomName::new(&format!("room-{poster}")).expect("a name"),
        id: node.fresh_id(),
        fresh: true,
        author: Author { name: "ann".into(), kind: AuthorKind::Human, color: None },
        text: "x".repeat(TEXT_BYTES).into(),
        to: None,
        priority: 5,
        reply_to: None,
        said_at_ms: None,
    }
}

async fn beside(posters: usize) {
    let mut rates = [Vec::new(), Vec::new()];
    let mut waits = [Vec::new(), Vec::new()];
    let mut cpus = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for run in 0..RUNS {
        let mut pair = [0.0; 2];
        // Whoever comes first changes, too.
        for kind in [run % 2, 1 - run % 2] {
            let before = cpu();
            let (rate, times) = one_run(posters, kind == 1).await;
            cpus[kind].push((cpu() - before).as_secs_f64() * 1e6 / times.len() as f64);
            pair[kind] = rate;
            rates[kind].push(rate);
            waits[kind].push(times);
        }
        ratios.push(pair[1] / pair[0]);
    }
    let [without, with] = rates.map(median);
    let [(p50, p99), (p50_with, p99_with)] = waits.map(p50_p99);
    let [cpu, cpu_with] = cpus.map(median);
    for (what, rate, p50, p99, cpu) in
        [("without", without, p50, p99, cpu), ("with a notary", with, p50_with, p99_with, cpu_with)]
    {
        println!(
            "{posters:>3} posters, {what:<13} {rate:>7.0} /s   p50 {p50:.2} ms   p99 {p99:.2} ms   {cpu:.1} µs of CPU a post"
        );
    }
    println!("             with / without, pair by pair: {:.2}", median(ratios));
}

async fn one_run(posters: usize, notarised: bool) -> (f64, Vec<f64>) {
    let folder = folder();
    let data = folder.path();
    let node = node(data).await;
    let notary = notarised.then(|| {
        let key = keys::load_or_make(&paths(data), "antiphon/bench").expect("a key");
        Notary::start(node.clone(), key, data, Pace::default(), &Tasks::new()).expect("its files")
    });
    let (began, all) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let tasks = (0..posters).map(|poster| {
        let (node, all) = (node.clone(), all.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            while began.elapsed() < TIME {
                let at = Instant::now();
                node.post(post(&node, poster)).await.expect("a post");
                times.push(at.elapsed().as_secs_f64() * 1e3);
            }
            all.lock().expect("no panic").extend(times);
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a poster");
    }
    let took = began.elapsed().as_secs_f64();
    if let Some(notary) = notary {
        let signed = notary.shown().borrow().latest.as_ref().map_or(0, |signed| signed.checkpoint.size);
        notary.stop().await;
        let size = notary.shown().borrow().latest.as_ref().map_or(0, |signed| signed.checkpoint.size);
        assert_eq!(Seq(size), node.tail(), "all of it is signed at the end");
        assert!(signed > 0, "nothing of {size} entries was signed while they came");
    }
    node.stop().await;
    let times = std::mem::take(&mut *all.lock().expect("no panic"));
    (times.len() as f64 / took, times)
}

/// The leaf of an entry, and its place in the tree.
async fn tree() {
    let folder = folder();
    let node = node(folder.path()).await;
    node.post(post(&node, 0)).await.expect("a post");
    let epoch: Epoch = node.epoch();
    let entry = node.stored(epoch, Seq::ZERO, 1).await.expect("an entry").remove(0);
    let began = Instant::now();
    for _ in 0..LEAVES {
        black_box(Stored::from(&*entry).leaf());
    }
    let leaf_ns = began.elapsed().as_nanos() as f64 / LEAVES as f64;
    let (mut range, leaf, began) = (CompactRange::new(), Stored::from(&*entry).leaf(), Instant::now());
    for _ in 0..LEAVES {
        range.append(black_box(leaf));
    }
    black_box(range.root());
    let append_ns = began.elapsed().as_nanos() as f64 / LEAVES as f64;
    let bytes = entry.body.len() + entry.header_bytes().len();
    println!("the leaf of an entry of {bytes} bytes {leaf_ns:.0} ns; its place in the tree {append_ns:.0} ns");
    node.stop().await;
}
