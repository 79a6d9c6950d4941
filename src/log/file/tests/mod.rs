//! The file log as its callers see it: the conformance suite, reopening, rotation, refusals, salvage; power in `power`.

mod erase;
mod filling;
mod fuzz;
mod history;
mod power;
mod refusal;
mod trim;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use antiphon_schemas::{Entry, Seq};
use tempfile::TempDir;

use super::{FileLog, Options, disk::sim::SimDisk};
use crate::{
    clock::Clock,
    log::{
        Append, Error, Info, Log, Pending, Verdict,
        conformance::{append, post, read_all},
    },
};

/// A log on real files, in a folder that lives as long as it.
struct InFolder {
    log: FileLog,
    _folder: TempDir,
}

impl InFolder {
    fn open(options: Options, clock: Clock) -> Arc<dyn Log> {
        let folder = tempfile::tempdir().unwrap();
        let log = FileLog::open_folder(folder.path().join("data"), options, clock).unwrap();
        Arc::new(InFolder { log, _folder: folder })
    }
}

impl Log for InFolder {
    fn info(&self) -> Info {
        self.log.info()
    }
    fn base(&self) -> Seq {
        self.log.base()
    }
    fn tail(&self) -> Seq {
        self.log.tail()
    }
    fn now_ms(&self) -> u64 {
        self.log.now_ms()
    }
    fn append(&self, batch: Vec<Append>) -> Pending<'_, Vec<Verdict>> {
        self.log.append(batch)
    }
    fn read(&self, after: Seq, entries_max: usize) -> Pending<'_, Vec<Arc<Entry>>> {
        self.log.read(after, entries_max)
    }
    fn get(&self, positions: Vec<Seq>) -> Pending<'_, Vec<Arc<Entry>>> {
        self.log.get(positions)
    }
    fn beyond(&self, seq: Seq) -> Pending<'_, ()> {
        self.log.beyond(seq)
    }
    fn load(&self, entries: Vec<Arc<Entry>>) -> Pending<'_, ()> {
        self.log.load(entries)
    }
    fn erase(&self, positions: Vec<Seq>) -> Pending<'_, usize> {
        self.log.erase(positions)
    }
    fn forget(&self, positions: &[Seq]) {
        self.log.forget(positions);
    }
    fn trim(&self, upto: Seq) -> Pending<'_, Seq> {
        self.log.trim(upto)
    }
    fn close(&self) -> Pending<'_, ()> {
        self.log.close()
    }
}

/// Segments of 1 MiB, the newest entries from memory.
mod with_memory {
    use super::*;
    crate::log::conformance::suite!(|clock| InFolder::open(
        Options { segment_bytes: 1 << 20, ..Options::default() },
        clock
    ));
}

/// The smallest segments, and every read from the disk.
mod from_disk {
    use super::*;
    crate::log::conformance::suite!(|clock| InFolder::open(small(), clock));
}

/// A new segment every few records, and nothing in memory.
fn small() -> Options {
    Options { segment_bytes: 4 << 10, recent_bytes_max: 0, ..Options::default() }
}

const FOLDER: &str = "data";

fn open(disk: &SimDisk, salvage: bool) -> Result<FileLog, super::OpenError> {
    let options = Options { salvage, ..small() };
    FileLog::open(Arc::new(disk.clone()), FOLDER, options, Clock::manual(1_000).0)
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let log = Path::new(FOLDER).join("log");
    disk.paths().into_iter().filter(|path| path.starts_with(&log)).collect()
}

/// Appends one entry; sent when called, not when awaited.
fn put<'a>(log: &'a dyn Log, n: u128, text: &str) -> Pending<'a, Vec<Arc<Entry>>> {
    let answer = log.append(vec![append(0, n, &[], vec![post(n, text)])]);
    Box::pin(async move {
        match answer.await?.remove(0) {
            Verdict::Appended(entries) => Ok(entries),
            other => panic!("{other:?}"),
        }
    })
}

/// Fifty appends, one batch each; the entries.
async fn filled(log: &dyn Log) -> Vec<Arc<Entry>> {
    for n in 0..50 {
        put(log, n, &"t".repeat(n as usize * 11)).await.unwrap();
    }
    read_all(log).await
}

#[tokio::test]
async fn a_reopened_log_goes_on_with_the_same_epoch_positions_and_times() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, at) = Clock::manual(5_000);
    let open = || FileLog::open_folder(folder.path(), small(), clock.clone()).unwrap();
    let log = open();
    let (epoch, written) = (log.info().epoch, filled(&log).await);
    log.close().await.unwrap();
    at.store(10, Ordering::Relaxed);
    for round in 0..5 {
        let log = open();
        assert_eq!((log.info().epoch, log.tail().0, log.recovery().cut_bytes), (epoch, 50 + round, 0));
        assert_eq!(read_all(&log).await[..50], written);
        let entry = put(&log, 100, "later").await.unwrap().remove(0);
        assert_eq!((entry.header.seq.0, entry.header.at_ms), (51 + round, 5_000), "the clock was set back");
        // Dropped without closing: as good.
    }
    assert!(std::fs::read_dir(folder.path().join("log")).unwrap().count() > 3, "it went through several segments");
}

#[tokio::test]
async fn a_reopened_log_still_sees_who_touched_a_subject_across_segments() {
    let disk = SimDisk::default();
    let log = open(&disk, false).unwrap();
    for n in 1..=300 {
        put(&log, n, "text").await.unwrap();
    }
    drop(log);
    assert!(segments(&disk).len() > 10);
    let log = open(&disk, false).unwrap();
    let verdict = log.append(vec![append(60, 1, &[61], vec![post(61, "a")])]).await.unwrap().remove(0);
    assert!(matches!(verdict, Verdict::Conflict(missed) if missed.len() == 240));
    let verdict = log.append(vec![append(43, 1, &[61], vec![post(61, "a")])]).await.unwrap().remove(0);
    assert!(matches!(verdict, Verdict::Behind { tail: Seq(300) }));
}

#[tokio::test]
async fn any_position_can_be_read_first() {
    let disk = SimDisk::default();
    let log = open(&disk, false).unwrap();
    let written = filled(&log).await;
    drop(log);
    for after in (0..50).rev() {
        let log = open(&disk, false).unwrap();
        let read = log.read(Seq(after), 3).await.unwrap();
        assert_eq!(read[0], written[after as usize]);
        assert_eq!(read, written[after as usize..][..read.len()]);
    }
}

#[tokio::test]
async fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let disk = SimDisk::default();
    let log = open(&disk, false).unwrap();
    for (n, len) in [10, 20_000, 10, 70_000, 70_000, 10].into_iter().enumerate() {
        put(&log, n as u128, &"x".repeat(len)).await.unwrap();
    }
    drop(log);
    let log = open(&disk, false).unwrap();
    let lens: Vec<_> = read_all(&log).await.iter().map(|e| e.body.len() / 10_000).collect();
    assert_eq!(lens, [0, 2, 0, 7, 7, 0]);
    assert!(segments(&disk).len() >= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_whole_prefixes_while_the_log_is_written() {
    let log = InFolder::open(small(), Clock::manual(1).0);
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut seen = Seq::ZERO;
                while seen < Seq(400) {
                    log.beyond(seen).await.unwrap();
                    for entry in log.read(seen, 7).await.unwrap() {
                        assert_eq!(entry.header.seq, seen.next());
                        seen = entry.header.seq;
                    }
                }
            })
        })
        .collect();
    for n in 0..400 {
        put(&*log, n, "text").await.unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn whoever_waits_beyond_the_end_of_a_closed_log_is_told() {
    let log = InFolder::open(small(), Clock::manual(1).0);
    let waiting = log.beyond(Seq::ZERO);
    log.close().await.unwrap();
    assert!(matches!(waiting.await, Err(Error::Closed)));
}
