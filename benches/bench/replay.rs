//! `replay`: how fast a log of a million entries is read, folded and verified, from segments and from a Redis.
//!
//! The log is the conversations of `index`, loaded into a fresh folder (and Redis). Beside it stands the raw thing: the
//! segments' bytes read, and SHA-256 over them. `cargo bench --bench bench -- replay [folder|redis|beside]`

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use antiphon::{
    clock::Clock,
    log::{
        Log,
        file::{FileLog, Options},
        redis::address::Address,
    },
    projection::{Limits, Projections, SnapshotData},
    replay::{
        source::{FolderSource, RedisSource, Source},
        verify,
    },
};
use antiphon_schemas::{Entry, Epoch, Seq};

use crate::{
    client::{self, Connection},
    index,
    measure::{block, folder, median, p50_p99},
    process::Server,
    redis_server::Redis,
};

/// Entries of the log.
const ENTRIES: usize = 1_000_000;
/// Runs of each figure; the median is quoted.
const RUNS: usize = 5;
/// Entries in one load.
const LOADED: usize = 1_000;

pub(crate) fn run(part: Option<&str>) {
    let parts: [(&str, fn()); 3] =
        [("folder", from_folder), ("redis", from_redis), ("beside", || block(beside_a_server()))];
    parts.iter().filter(|(name, _)| part.is_none_or(|part| part == *name)).for_each(|(_, run)| run());
}

fn from_folder() {
    let dir = folder();
    fill(dir.path(), index::conversations(ENTRIES));
    let bytes = raw(dir.path());
    let read = times(|| {
        let mut source = open(dir.path());
        let mut count = 0;
        each(&mut *source, |page| count += page.len());
        assert_eq!(count, ENTRIES);
    });
    let decode = times(|| {
        let mut source = open(dir.path());
        each(&mut *source, |page| page.iter().for_each(|stored| drop(stored.entry().expect("an entry"))));
    });
    let fold = times(|| {
        let mut source = open(dir.path());
        let limits = Limits { recent_messages: 500, rooms: 1_024 };
        let mut state = Projections::resume(Epoch(7), limits, SnapshotData::default());
        each(&mut *source, |page| {
            page.iter().for_each(|stored| state.apply(&Arc::new(stored.entry().expect("an entry"))));
            // As if the index had all of it.
            state.newest.forget(state.position);
        });
        assert_eq!(state.position, Seq(ENTRIES as u64));
    });
    let leaves = times(|| {
        let mut source = open(dir.path());
        each(&mut *source, |page| {
            page.iter().for_each(|stored| assert_ne!(std::hint::black_box(stored.leaf()), [0; 32]))
        });
    });
    let mut table = 0.0;
    let verified = times(|| {
        let report = verify::verify(&mut *open(dir.path()), &verify::Witness::default(), |_| {}).expect("a report");
        assert!(report.findings.is_empty() && report.tail == Seq(ENTRIES as u64));
        table = report.table_bytes as f64 / report.messages as f64;
    });
    line("raw: bytes of the segments read", bytes);
    line("read from segments", read);
    line("read and decoded", decode);
    line("folded (all projections)", fold);
    line("leaves hashed", leaves);
    line("verified", verified);
    println!("{:<37} {table:.1} B a message", "the table of `verify` at the end");
}

/// The same log in a Redis.
fn from_redis() {
    let (redis, dir) = (Redis::start(), folder());
    fill(dir.path(), index::conversations(ENTRIES));
    let copied = Command::new(env!("CARGO_BIN_EXE_antiphon"))
        .args(["replay", "into", &redis.url(), "--log"])
        .arg(dir.path())
        .output()
        .expect("it runs");
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let address = Address::parse(&redis.url()).expect("an address");
    let open = || RedisSource::open(&address, runtime.handle().clone()).expect("a log");
    let read = times(|| {
        let mut count = 0;
        each(&mut open(), |page| count += page.len());
        assert_eq!(count, ENTRIES);
    });
    let verified = times(|| {
        let report = verify::verify(&mut open(), &verify::Witness::default(), |_| {}).expect("a report");
        assert!(report.findings.is_empty() && report.tail == Seq(ENTRIES as u64));
    });
    line("read from Redis", read);
    line("verified from Redis", verified);
}

/// What posts cost while somebody verifies the log of the server without a pause, and while nobody does.
async fn beside_a_server() {
    const CONNECTIONS: usize = 4;
    const TIME: Duration = Duration::from_secs(4);
    let dir = folder();
    let data = dir.path().join("data");
    let mut entries = index::conversations(ENTRIES);
    // A reply and the end of its message are one append, which no server finds cut in two.
    entries.pop_if(|last| &*last.header.kind == "reply.posted");
    let folder = data.clone();
    tokio::task::spawn_blocking(move || fill(&folder, entries)).await.expect("a log");
    let server = Server::start(&data);
    let (mut alone, mut beside, mut verified) = (Vec::new(), Vec::new(), 0);
    for run in 0..2 * RUNS {
        let until = Instant::now() + TIME;
        let posting = (0..CONNECTIONS).map(|n| {
            let address = server.address.clone();
            tokio::spawn(async move {
                let mut connection = Connection::open(&address).await;
                let (request, mut times) = (client::post(&format!("load{n}"), &"x".repeat(200), "[]"), Vec::new());
                while Instant::now() < until {
                    let at = Instant::now();
                    assert_eq!(connection.ask(&request).await, 201);
                    times.push(at.elapsed().as_secs_f64() * 1e3);
                    // People, not a flood: what is looked for is the delay.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                times
            })
        });
        let posting: Vec<_> = posting.collect();
        let looking = run % 2 == 1;
        while looking && Instant::now() < until {
            let data = data.clone();
            let verify = tokio::task::spawn_blocking(move || {
                let program = env!("CARGO_BIN_EXE_antiphon");
                Command::new(program).args(["replay", "verify", "--log"]).arg(data).output().expect("it runs")
            });
            assert!(verify.await.expect("a command").status.success());
            verified += 1;
        }
        let mut times = Vec::new();
        for posting in posting {
            times.extend(posting.await.expect("a connection"));
        }
        if looking { beside.push(times) } else { alone.push(times) }
    }
    let ((p50, p99), (beside50, beside99)) = (p50_p99(alone), p50_p99(beside));
    println!("posts, nobody beside                  p50 {p50:.2} ms   p99 {p99:.2} ms");
    println!("posts, {verified:>3} runs of `verify` beside    p50 {beside50:.2} ms   p99 {beside99:.2} ms");
}

fn line(what: &str, seconds: f64) {
    println!("{what:<37} {:>7.0} k entries/s", ENTRIES as f64 / seconds / 1e3);
}

/// The median of the seconds that it takes.
fn times(mut run: impl FnMut()) -> f64 {
    let one = |()| {
        let started = Instant::now();
        run();
        started.elapsed().as_secs_f64()
    };
    median((0..RUNS).map(|_| ()).map(one).collect())
}

fn open(folder: &Path) -> Box<dyn Source> {
    Box::new(FolderSource::open(folder).expect("a log"))
}

fn each(source: &mut dyn Source, mut look: impl FnMut(&[antiphon_schemas::Stored])) {
    loop {
        let page = source.read().expect("a page");
        if page.is_empty() {
            return;
        }
        look(&page);
    }
}

fn fill(folder: &Path, entries: Vec<Arc<Entry>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let log = FileLog::open_folder(folder, Options::default(), Clock::system()).expect("a log");
    runtime.block_on(async {
        for entries in entries.chunks(LOADED) {
            log.load(entries.to_vec()).await.expect("it takes them");
        }
        log.close().await.expect("it closes");
    });
}

fn raw(folder: &Path) -> f64 {
    times(|| {
        for file in std::fs::read_dir(folder.join("log")).expect("a folder") {
            std::hint::black_box(std::fs::read(file.expect("a file").path()).expect("bytes"));
        }
    })
}
