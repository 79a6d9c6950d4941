//! A log whose beginning was moved up: opened again, cut off in the middle of it, read from outside, damaged.

use super::{super::disk::sim::Fault, *};
use crate::log::{Log, file::History};

const COUNT: u64 = 600;
const UPTO: Seq = Seq(300);
const BASE: Seq = Seq(301);

/// A log of some twenty small segments, and its entries.
async fn filled(disk: &SimDisk) -> (FileLog, Vec<Arc<Entry>>) {
    let log = open(disk, false).unwrap();
    fill(&log).await;
    let entries = read_all(&log).await;
    (log, entries)
}

async fn fill(log: &FileLog) {
    let numbers: Vec<_> = (1..=COUNT).collect();
    for call in numbers.chunks(20) {
        let batch = call.iter().map(|n| append(0, 1, &[], vec![post(u128::from(*n), &format!("message {n}"))]));
        log.append(batch.collect()).await.unwrap();
    }
}

/// Goes on with a log, and holds it against what was in it.
async fn check(log: &FileLog, all: &[Arc<Entry>], base: Seq) {
    assert_eq!((log.base(), log.tail()), (base, Seq(COUNT)));
    let kept = &all[base.0 as usize - 1..];
    assert_eq!(read_all(log).await, kept);
    assert!(base == Seq(1) || matches!(log.read(Seq::ZERO, 1).await, Err(Error::Trimmed { base: b }) if b == base));
    let next = log.append(vec![append(COUNT, 2, &[9], vec![post(9, "next")])]).await.unwrap().remove(0);
    assert!(matches!(next, Verdict::Appended(entries) if entries[0].header.seq == Seq(COUNT + 1)));
}

#[tokio::test]
async fn it_opens_again_with_its_beginning_and_without_the_segments_below() {
    let disk = SimDisk::default();
    let (log, all) = filled(&disk).await;
    let before = segments(&disk).len();
    log.trim(UPTO).await.unwrap();
    let left = segments(&disk);
    assert!(left.len() <= before / 2 + 1, "{} of {before}", left.len());
    log.close().await.unwrap();
    drop(log);
    let log = open(&disk, false).unwrap();
    assert_eq!(segments(&disk), left);
    check(&log, &all, BASE).await;
    assert_eq!(log.trim(Seq(340)).await.unwrap(), Seq(341));
}

#[tokio::test]
async fn power_lost_at_any_operation_of_trimming_leaves_the_old_beginning_or_the_new_one() {
    let disk = SimDisk::default();
    let (log, all) = filled(&disk).await;
    let before = disk.operations();
    log.trim(UPTO).await.unwrap();
    let operations = disk.operations() - before;
    let mut moved = [0, 0];
    for at in 0..operations {
        for seed in 0..3 {
            let disk = SimDisk::default();
            let (log, _) = filled(&disk).await;
            disk.fault_after(at, Fault::Crash);
            let trimmed = log.trim(UPTO).await;
            drop(log);
            let log = open(&disk.lose_power(at * 10 + seed), false).unwrap();
            let base = log.base();
            assert!(base == BASE || base == Seq(1) && trimmed.is_err(), "operation {at}: {base}, {trimmed:?}");
            moved[usize::from(base == BASE)] += 1;
            check(&log, &all, base).await;
        }
    }
    assert!(moved[0] > 0 && moved[1] > 0, "both happen: {moved:?}");
}

#[tokio::test]
async fn a_first_segment_that_is_missing_is_damage_and_not_a_beginning() {
    let disk = SimDisk::default();
    let (log, _) = filled(&disk).await;
    log.trim(UPTO).await.unwrap();
    log.close().await.unwrap();
    drop(log);
    super::super::disk::Disk::remove(&disk, &segments(&disk)[0]).unwrap();
    assert!(matches!(open(&disk, false), Err(crate::log::file::OpenError::Damaged { .. })));
}

#[tokio::test]
async fn what_a_damaged_one_still_has_is_kept_from_its_beginning() {
    let disk = SimDisk::default();
    let (log, all) = filled(&disk).await;
    log.trim(UPTO).await.unwrap();
    log.close().await.unwrap();
    drop(log);
    let damaged = &segments(&disk)[3];
    disk.flip(damaged, 600);
    let log = open(&disk, true).unwrap();
    assert!(log.recovery().salvaged.is_some() && log.base() == BASE && log.tail() < Seq(COUNT));
    assert_eq!(read_all(&log).await, all[UPTO.0 as usize..log.tail().0 as usize]);
}

#[tokio::test]
async fn from_outside_it_is_said_where_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let log = FileLog::open_folder(folder.path(), small(), Clock::system()).unwrap();
    fill(&log).await;
    let mut history = History::open(folder.path()).unwrap();
    log.trim(UPTO).await.unwrap();
    assert!(matches!(history.read(), Err(Error::Trimmed { base: BASE })));
    history.seek(UPTO).unwrap();
    assert_eq!(history.read().unwrap()[0].seq(), BASE);
}
