//! Histories that part: an emptied store, a lost tail, several nodes that see it, a node that only its disk reminds.

use std::{fs, path::Path};

use super::*;
use crate::log::conformance::read_all;

const AOF: &str = "appendonlydir";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Puts the data in `from` in place of the server's, which starts again with it.
fn restart_with(redis: &Redis, from: Option<&Path>) {
    redis.kill();
    let live = redis.dir().join(AOF);
    fs::remove_dir_all(&live).unwrap();
    if let Some(from) = from {
        copy(from, &live);
    }
    redis.restart();
}

async fn empty(log: &dyn Shared) {
    let mut access = log.access();
    let empty = access.wait_for(|access| *access == Access::Empty);
    tokio::time::timeout(PATIENCE, empty).await.expect("it is seen to be empty").unwrap();
}

/// Waits until the log is open with another epoch than `old`; the epoch.
async fn opened_other(log: &dyn Shared, old: Epoch) -> Epoch {
    let mut access = log.access();
    let other = access.wait_for(|access| matches!(access, Access::Open { epoch } if *epoch != old));
    match *tokio::time::timeout(PATIENCE, other).await.expect("it opens with another epoch").unwrap() {
        Access::Open { epoch } => epoch,
        _ => unreachable!(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_waits_for_its_data_or_for_a_persons_word() {
    let (dir, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let redis = Redis::durable(dir.path());
    let (log, other) = (open(&redis.url(), "n1").await, open(&redis.url(), "n2").await);
    let epoch = log.info().epoch;
    fill(&log, 1, 5).await;
    other.beyond(Seq(4)).await.unwrap();
    let all = read_all(&log).await;
    assert!(matches!(log.begin_anew().await, Err(Error::Invalid(_))), "it is not empty");
    copy(&redis.dir().join(AOF), aside.path());

    restart_with(&redis, None);
    empty(&log).await;
    assert!(matches!(put(&log, 6).await, Err(Error::Away(_))));
    assert_eq!(redis.command(&["DBSIZE"]), "0", "it is left alone");
    restart_with(&redis, Some(aside.path()));
    assert_eq!((opened(&log).await, opened(&other).await), (epoch, epoch), "it opens by itself");
    assert!(log.lost().is_empty());
    fill(&log, 6, 6).await;
    other.beyond(Seq(5)).await.unwrap();

    restart_with(&redis, None);
    empty(&log).await;
    empty(&other).await;
    log.begin_anew().await.unwrap();
    let anew = opened(&log).await;
    assert_ne!(anew, epoch);
    assert_eq!((opened(&other).await, log.tail(), other.tail()), (anew, Seq::ZERO, Seq::ZERO));
    for log in [&log, &other] {
        let lost = log.lost();
        assert_eq!((&lost[..5], lost.len()), (&all[..], 6), "everything counts as lost");
        assert!(log.lost().is_empty(), "given out once");
    }
    assert!(log.begin_anew().await.is_err());
    fill(&other, 7, 7).await;
    log.beyond(Seq::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_tail_starts_one_new_epoch_and_each_node_offers_what_it_saw() {
    let (dir, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let redis = Redis::durable(dir.path());
    let logs = [open(&redis.url(), "n1").await, open(&redis.url(), "n2").await, open(&redis.url(), "n3").await];
    let epoch = logs[0].info().epoch;
    fill(&logs[0], 1, 50).await;
    logs[2].beyond(Seq(49)).await.unwrap();
    // The third node was gone before the end was written.
    logs[2].close().await.unwrap();
    let fiftieth = logs[2].read(Seq(49), 1).await.unwrap().remove(0);
    copy(&redis.dir().join(AOF), aside.path());
    fill(&logs[1], 51, 70).await;
    logs[0].beyond(Seq(69)).await.unwrap();
    let all = read_all(&logs[0]).await;

    restart_with(&redis, Some(aside.path()));
    let anew = opened_other(&logs[0], epoch).await;
    assert_eq!(opened_other(&logs[1], epoch).await, anew, "one new epoch");
    for log in &logs[..2] {
        assert_eq!((log.tail(), log.lost()), (Seq(50), all[50..].to_vec()), "exactly what is gone");
        assert_eq!(read_all(log).await, all[..50]);
    }
    fill(&logs[0], 100, 101).await;
    logs[1].beyond(Seq(51)).await.unwrap();
    assert_eq!(read_all(&logs[1]).await.len(), 52);

    let remembers = |known| RedisLog::open(Options { known, ..options(&redis.url(), "n3", Stamp::Store) });
    let third = remembers(Some((epoch, Seq(50), fiftieth.hash())));
    assert_eq!(opened(&third).await, anew, "it takes the epoch that holds");
    assert_eq!((third.lost().len(), third.tail()), (0, Seq(52)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_remembers_another_end_starts_a_new_epoch() {
    let redis = Redis::start();
    let log = open(&redis.url(), "n1").await;
    fill(&log, 1, 5).await;
    let epoch = log.info().epoch;
    let entries = read_all(&log).await;
    log.close().await.unwrap();
    let remembers = |known| RedisLog::open(Options { known: Some(known), ..options(&redis.url(), "n1", Stamp::Store) });
    for (seq, entry) in [(5, &entries[4]), (3, &entries[2])] {
        let log = remembers((epoch, Seq(seq), entry.hash()));
        assert_eq!(opened(&log).await, epoch, "it is there");
    }
    let mut last = epoch;
    for (seq, hash) in [(5, entries[3].hash()), (9, entries[4].hash())] {
        let log = remembers((last, Seq(seq), hash));
        let anew = opened(&log).await;
        assert_ne!(anew, last, "position {seq}");
        assert_eq!((log.tail(), log.lost().len()), (Seq(5), 0));
        last = anew;
    }
    redis.command(&["FLUSHALL"]);
    let log = remembers((last, Seq(5), entries[4].hash()));
    empty(&log).await;
    log.begin_anew().await.unwrap();
    assert_eq!((log.tail(), log.lost().len()), (Seq::ZERO, 0));
}

/// An idle node learns of an epoch that another node began from the live words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lost_its_meta_gets_a_new_epoch_and_loses_nothing() {
    let redis = Redis::start();
    let (log, idle) = (open(&redis.url(), "n1").await, open(&redis.url(), "n2").await);
    fill(&log, 1, 5).await;
    idle.beyond(Seq(4)).await.unwrap();
    let epoch = log.info().epoch;
    redis.command(&["DEL", "{antiphon:0}:meta"]);
    assert!(matches!(put(&log, 6).await, Err(Error::Away(_))), "nothing is written under an epoch that is gone");
    let anew = opened_other(&log, epoch).await;
    assert_eq!(opened_other(&idle, epoch).await, anew, "the idle node follows");
    fill(&log, 6, 6).await;
    assert_eq!((log.tail(), log.lost().len()), (Seq(6), 0));
    idle.beyond(Seq(5)).await.unwrap();
    assert_eq!((idle.lost().len(), idle.tail()), (0, Seq(6)));
}
