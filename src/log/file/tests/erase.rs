//! Erasing in place: the text is gone from every byte of the folder, and a power loss leaves the old record or the new one.

use super::{super::disk::sim::Fault, power::soak, *};
use crate::log::conformance::without;

/// Long enough that a record lies in several sectors, and one that the folder must not hold afterwards.
const SECRET: &str = "do not tell anybody ";

/// Some positions in several segments, the last one too.
const WANTED: [u64; 5] = [3, 17, 18, 29, 40];

/// A log of forty entries, some of them secret; nothing is pending on its disk.
async fn secrets() -> (SimDisk, Vec<Arc<Entry>>) {
    let disk = SimDisk::default();
    let log = open(&disk, false).unwrap();
    for n in 1..=40 {
        let text = if WANTED.contains(&n) { SECRET.repeat(n as usize) } else { "plain".repeat(n as usize) };
        put(&log, n.into(), &text).await.unwrap();
    }
    let written = read_all(&log).await;
    drop(log);
    assert!(segments(&disk).len() > 3);
    (disk.lose_power(1), written)
}

fn wanted() -> Vec<Seq> {
    WANTED.map(Seq).to_vec()
}

fn tells(disk: &SimDisk) -> bool {
    let part = &SECRET.as_bytes()[..12];
    disk.paths().iter().any(|path| disk.bytes(path).windows(part.len()).any(|bytes| bytes == part))
}

/// Opens what is left: each record is the old or the new one. Then everything can be erased, and the log accepts appends.
async fn check(disk: &SimDisk, written: &[Arc<Entry>], seed: u64) -> bool {
    let gone = without(written, &WANTED);
    let log = open(disk, false).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let read = read_all(&log).await;
    assert_eq!(read.len(), written.len(), "seed {seed}");
    let each = read.iter().zip(written.iter().zip(&gone));
    assert!(each.clone().all(|(read, (old, new))| read == old || read == new), "seed {seed}: neither old nor new");
    let done = read == gone;
    assert!(done || read == written, "seed {seed}: one intent is done wholly or not at all");
    log.erase(wanted()).await.unwrap();
    put(&log, 99, "it goes on").await.unwrap();
    drop(log);
    let log = open(&disk.lose_power(seed), false).unwrap();
    assert_eq!(read_all(&log).await[..40], gone, "seed {seed}");
    assert!(!tells(disk), "seed {seed}");
    done
}

#[tokio::test]
async fn an_erased_text_is_in_no_byte_of_the_folder() {
    let (disk, written) = secrets().await;
    assert!(tells(&disk));
    let log = open(&disk, false).unwrap();
    let before = disk.operations();
    assert_eq!(log.erase(wanted()).await.unwrap(), 5);
    assert!(!tells(&disk) && !tells(&disk.lose_power(3)), "durable when answered");
    assert!(!disk.paths().iter().any(|path| path.ends_with("erasing")));
    let after = disk.operations();
    assert_eq!(log.erase(wanted()).await.unwrap(), 0);
    assert_eq!(disk.operations(), after, "twice costs no write");
    assert!(after - before < 25, "a few syncs for all: {}", after - before);
    drop(log);
    assert_eq!(read_all(&open(&disk, false).unwrap()).await, without(&written, &WANTED));
}

#[tokio::test]
async fn power_lost_at_any_operation_of_an_erasure_leaves_the_old_or_the_new_record() {
    let (pristine, written) = secrets().await;
    let rehearsal = pristine.lose_power(1);
    let log = open(&rehearsal, false).unwrap();
    let before = rehearsal.operations();
    log.erase(wanted()).await.unwrap();
    let operations = rehearsal.operations() - before;
    let (mut old, mut new) = (0, 0);
    for at in 0..operations {
        for seed in 1..=if soak() { 200 } else { 12 } {
            let seed = at * 1_000 + seed;
            let disk = pristine.lose_power(1);
            let log = open(&disk, false).unwrap();
            disk.fault_after(at, Fault::Crash);
            assert!(matches!(log.erase(wanted()).await, Err(Error::Poisoned(_))), "operation {at}");
            assert!(matches!(put(&log, 7, "a").await, Err(Error::Poisoned(_))));
            drop(log);
            let left = disk.lose_power(seed);
            // And once more, at any operation of opening what is left.
            let opening = left.lose_power(seed);
            let from = opening.operations();
            drop(open(&opening, false).unwrap());
            let again = (opening.operations() - from).min(seed % 20);
            let twice = left.lose_power(seed);
            twice.fault_after(again, Fault::Crash);
            drop(open(&twice, false));
            check(&twice.lose_power(seed), &written, seed).await;
            match check(&left, &written, seed).await {
                true => new += 1,
                false => old += 1,
            }
        }
    }
    assert!(old > 10 && new > 50, "the losses are of both kinds: {old} old, {new} new");
}

#[tokio::test]
async fn a_failed_operation_of_an_erasure_poisons_and_the_next_process_goes_on() {
    let (pristine, written) = secrets().await;
    for at in 0..14 {
        let disk = pristine.lose_power(1);
        let log = open(&disk, false).unwrap();
        disk.fault_after(at, Fault::Fail);
        assert!(matches!(log.erase(wanted()).await, Err(Error::Poisoned(_))), "operation {at}");
        assert!(matches!(log.erase(wanted()).await, Err(Error::Poisoned(_))));
        drop(log);
        disk.restart_process();
        for seed in 1..=10 {
            check(&disk.lose_power(at * 100 + seed), &written, at * 100 + seed).await;
        }
        check(&disk, &written, at).await;
    }
}

#[tokio::test]
async fn without_space_nothing_is_erased_the_log_goes_on_and_later_it_is() {
    let (disk, written) = secrets().await;
    let log = open(&disk, false).unwrap();
    disk.set_space_left(Some(100));
    let full = log.erase(wanted()).await.unwrap_err();
    assert!(matches!(full, Error::Full(_)) && full.retryable(), "{full}");
    assert_eq!(read_all(&log).await, written);
    disk.set_space_left(None);
    put(&log, 41, "after").await.unwrap();
    assert_eq!(log.erase(wanted()).await.unwrap(), 5);
    assert_eq!(read_all(&log).await[..40], without(&written, &WANTED));
    assert!(!tells(&disk));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_an_erasure_see_the_old_or_the_new_record_and_no_damage() {
    let log = InFolder::open(small(), Clock::manual(1).0);
    // Long texts: to overwrite one takes the system a while.
    for n in 1..=60 {
        put(&*log, n, &SECRET.repeat(3_000)).await.unwrap();
    }
    let written = read_all(&*log).await;
    let all: Vec<u64> = (1..=60).collect();
    let gone = without(&written, &all);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (log, written, gone) = (log.clone(), written.clone(), gone.clone());
            tokio::spawn(async move {
                loop {
                    let read = read_all(&*log).await;
                    let each = read.iter().zip(written.iter().zip(&gone));
                    assert!(each.clone().all(|(read, (old, new))| read == old || read == new));
                    if read == gone {
                        return;
                    }
                }
            })
        })
        .collect();
    for seq in all {
        assert_eq!(log.erase(vec![Seq(seq)]).await.unwrap(), 1);
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_kept_in_memory_can_be_forgotten_alone() {
    let disk = SimDisk::default();
    let options = Options { segment_bytes: 4 << 10, ..Options::default() };
    let log = FileLog::open(Arc::new(disk.clone()), FOLDER, options, Clock::manual(1_000).0).unwrap();
    let written = put(&log, 1, SECRET).await.unwrap();
    log.forget(&[Seq(1), Seq(9)]);
    assert_eq!(read_all(&log).await, without(&written, &[1]), "from memory");
    assert!(tells(&disk), "the disk is another's business");
    assert_eq!(log.erase(vec![Seq(1)]).await.unwrap(), 1);
    assert!(!tells(&disk));
}

#[tokio::test]
async fn an_erasure_that_is_refused_for_a_moment_is_done_when_it_is_asked_for_again() {
    let (pristine, written) = secrets().await;
    let mut refused = 0;
    for at in 0..14 {
        let disk = pristine.lose_power(1);
        let log = open(&disk, false).unwrap();
        disk.fault_after(at, Fault::Refuse);
        match log.erase(wanted()).await {
            // While bodies are overwritten nothing may be left half done: that is for the next start to finish.
            Err(Error::Poisoned(_)) => continue,
            Err(Error::Busy(_)) => {
                refused += 1;
                log.erase(wanted()).await.unwrap();
            }
            other => drop(other.unwrap()),
        }
        drop(log);
        disk.restart_process();
        assert!(check(&disk, &written, at).await, "operation {at}: not erased");
    }
    assert!(refused > 2, "{refused}");
}
