//! `replay`: how fast a log of a million entries is read, folded and verified, from segments and from a Redis.
//!
//! The log is the conversations of `index`, loaded into a fresh folder (and Redis). Beside it stands the raw thing: the
//! segments' bytes read, and SHA-256 over them. `cargo bench --bench bench -- replay [folder|redis]`

use std::{path::Path, sync::Arc, time::Instant};

use antiphon::{
    clock::Clock,
    log::{
        Log,
        file::{FileLog, Options},
    },
    projection::{Kept, Limits, Projections},
    replay::{
        source::{FolderSource, Source},
        verify,
    },
};
use antiphon_schemas::{Entry, Epoch, Seq};

use crate::{
    index,
    measure::{folder, median},
};

/// Entries of the log.
const ENTRIES: usize = 1_000_000;
/// Runs of each figure; the median is quoted.
const RUNS: usize = 5;
/// Entries in one load.
const LOADED: usize = 1_000;

pub(crate) fn run(part: Option<&str>) {
    if part.is_none_or(|part| part == "folder") {
        from_folder();
    }
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
        let mut state = Projections::resume(Epoch(7), limits, Kept::default());
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
