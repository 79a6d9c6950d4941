//! The file log against the bare disk: durable acknowledgements a second, and how fast it is read back.
//!
//! Method: producers append one entry at a time and wait for each acknowledgement. Then a plain loop writes the very same
//! batches (their sizes are read off the segments) with one `write` and one `fdatasync` each into a file that was filled
//! with zeros before. Both five times, turn about; medians. The folder is on the disk of `target/`.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use antiphon::{
    clock::Clock,
    log::{
        Append, Draft, Log, Verdict,
        file::{FileLog, Options},
    },
};
use antiphon_schemas::{
    MessageId, RequestId, RoomName, Seq,
    event::{Ask, Author, AuthorKind, MessagePosted},
};
use uuid::Uuid;

use crate::measure::{folder, median};

const RUNS: usize = 5;
/// With its author, ids and framing a record has about 400 bytes.
const TEXT_BYTES: usize = 150;

/// Prints the tables.
pub(crate) fn run() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("file log, {RUNS} runs each, medians; ratio = ours / raw loop of write + fdatasync of the same batches\n");
    println!("| producers × entries a call | acks/s | raw/s | ratio | entries a sync | ack p50 µs | p99 µs |");
    println!("|---|---|---|---|---|---|---|");
    for (producers, entries, acks) in
        [(1, 1, 10_000), (16, 1, 80_000), (64, 1, 250_000), (256, 1, 300_000), (1, 64, 400_000)]
    {
        appends(&runtime, producers, entries, acks);
    }
    scan(&runtime);
}

struct Run {
    acks_per_s: f64,
    raw_per_s: f64,
    per_sync: f64,
    p50: Duration,
    p99: Duration,
}

fn appends(runtime: &tokio::runtime::Runtime, producers: u64, entries: usize, acks: u64) {
    let runs: Vec<Run> = (0..RUNS).map(|_| one_run(runtime, producers, entries, acks)).collect();
    let median = |f: &dyn Fn(&Run) -> f64| median(runs.iter().map(f).collect());
    println!(
        "| {producers} × {entries} | {:.0} | {:.0} | {:.2} | {:.1} | {:.0} | {:.0} |",
        median(&|r| r.acks_per_s),
        median(&|r| r.raw_per_s),
        median(&|r| r.acks_per_s / r.raw_per_s),
        median(&|r| r.per_sync),
        median(&|r| r.p50.as_secs_f64() * 1e6),
        median(&|r| r.p99.as_secs_f64() * 1e6),
    );
}

fn one_run(runtime: &tokio::runtime::Runtime, producers: u64, entries: usize, acks: u64) -> Run {
    let folder = folder();
    let log = Arc::new(FileLog::open_folder(folder.path(), Options::default(), Clock::system()).expect("a log"));
    let left = Arc::new(AtomicU64::new(acks));
    let start = Instant::now();
    let mut waits: Vec<Duration> = runtime.block_on(async {
        let tasks: Vec<_> = (0..producers).map(|_| tokio::spawn(produce(log.clone(), left.clone(), entries))).collect();
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await.expect("a producer"));
        }
        waits
    });
    let took = start.elapsed();
    waits.sort_unstable();
    let written = log.tail().0;
    drop(log);
    let batches = batches(folder.path());
    let raw = raw(folder.path(), &batches);
    Run {
        acks_per_s: written as f64 / took.as_secs_f64(),
        raw_per_s: written as f64 / raw.as_secs_f64(),
        per_sync: written as f64 / batches.len() as f64,
        p50: waits[waits.len() / 2],
        p99: waits[waits.len() * 99 / 100],
    }
}

async fn produce(log: Arc<FileLog>, left: Arc<AtomicU64>, entries: usize) -> Vec<Duration> {
    let id = MessageId(Uuid::new_v4());
    let draft = draft(id, None);
    let mut waits = Vec::new();
    let take = |left: u64| left.checked_sub(entries as u64);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        let append = || Append {
            after: Seq::ZERO,
            request: RequestId(id.0),
            subjects: vec![],
            drafts: vec![draft.clone()],
            moves: vec![],
        };
        let start = Instant::now();
        let verdicts = log.append((0..entries).map(|_| append()).collect()).await.expect("an answer");
        waits.push(start.elapsed());
        assert!(verdicts.iter().all(|v| matches!(v, Verdict::Appended(_))));
    }
    waits
}

/// A post of the usual size.
pub(crate) fn draft(id: MessageId, ask: Option<Ask>) -> Draft {
    let author = Author { name: "somebody".into(), kind: AuthorKind::Human, color: Some("#80c0ff".into()) };
    let text = "t".repeat(TEXT_BYTES).into();
    let event = MessagePosted { id, author, text, to: None, ask, reply_to: None, hops: 0, said_at_ms: None };
    Draft::new(Some(RoomName::new("lobby").expect("a name")), event.into(), rand::random()).expect("a draft")
}

/// The sizes of all batches, read off the segments (drawn in `src/log/file/format.rs`).
fn batches(folder: &Path) -> Vec<usize> {
    let mut names: Vec<_> =
        fs::read_dir(folder.join("log")).expect("segments").map(|e| e.expect("a name").path()).collect();
    names.sort();
    let mut batches = Vec::new();
    for name in names {
        let bytes = fs::read(name).expect("a segment");
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize;
        let mut at = 512;
        while at + 32 <= bytes.len() && u32_at(at + 8) != 0 {
            let len = 32 + u32_at(at + 8) + u32_at(at + 12);
            match (u32_at(at + 28), batches.last_mut()) {
                (1.., Some(batch)) => *batch += len,
                _ => batches.push(len),
            }
            at += len;
        }
    }
    batches
}

/// How long the bare disk takes for the same batches.
fn raw(folder: &Path, batches: &[usize]) -> Duration {
    let total: usize = batches.iter().sum();
    let file = fs::File::create(folder.join("raw")).expect("a file");
    file.write_all_at(&vec![0; total], 0).expect("space");
    file.sync_all().expect("a sync");
    let bytes = vec![7; batches.iter().copied().max().unwrap_or(0)];
    let start = Instant::now();
    let mut offset = 0;
    for len in batches {
        file.write_all_at(&bytes[..*len], offset).expect("a write");
        file.sync_data().expect("a sync");
        offset += *len as u64;
    }
    start.elapsed()
}

fn scan(runtime: &tokio::runtime::Runtime) {
    let folder = folder();
    let log = FileLog::open_folder(folder.path(), Options::default(), Clock::system()).expect("a log");
    let draft = draft(MessageId(Uuid::new_v4()), None);
    let append = || Append {
        after: Seq::ZERO,
        request: RequestId(Uuid::nil()),
        subjects: vec![],
        drafts: vec![draft.clone()],
        moves: vec![],
    };
    runtime.block_on(async {
        for _ in 0..1_000 {
            log.append((0..1_000).map(|_| append()).collect()).await.expect("an answer");
        }
        log.close().await.expect("closed");
    });
    let (mut reads, mut opens) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let start = Instant::now();
        let log = FileLog::open_folder(folder.path(), Options::default(), Clock::system()).expect("a log");
        opens.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        let mut seq = Seq::ZERO;
        runtime.block_on(async {
            while seq < log.tail() {
                seq = log.read(seq, usize::MAX).await.expect("entries").last().expect("one").header.seq;
            }
        });
        reads.push(seq.0 as f64 / start.elapsed().as_secs_f64());
    }
    println!(
        "\n1,000,000 entries: opened in {:.0} ms, read and decoded at {:.0} entries/s",
        median(opens),
        median(reads)
    );
}
