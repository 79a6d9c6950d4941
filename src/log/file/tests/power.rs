//! Power loss, failing syncs and full disks, on the simulated disk.
//!
//! Method: callers append to a log until the disk goes; then the log is opened on what is left. What must hold:
//! everything acknowledged is there, byte for byte and in order; behind it only whole calls that got no answer; no gap;
//! and the log accepts appends. `ANTIPHON_SOAK=1` runs the full counts. A failure prints the seed.

use antiphon_schemas::Epoch;

use super::{
    super::{disk::sim::Fault, draft_bytes_max},
    *,
};
use crate::log::{Draft, conformance::Xorshift};

/// What callers know when the disk has gone.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The epoch that they were given, if the log could be opened.
    epoch: Option<Epoch>,
    acknowledged: Vec<Arc<Entry>>,
    /// Calls that got no answer, in order.
    unanswered: Vec<Vec<Draft>>,
    /// How many calls were refused: nothing of them may ever be found.
    refused: usize,
}

pub(super) fn soak() -> bool {
    std::env::var_os("ANTIPHON_SOAK").is_some_and(|v| v == "1")
}

/// Appends until a call fails or `rounds` are over. A round is one to three calls at once, each of one to four appends.
async fn work(disk: &SimDisk, seed: u64, rounds: u64, mut known: Known) -> Known {
    let Ok(log) = open(disk, false) else { return known };
    assert!(known.epoch.is_none_or(|epoch| epoch == log.info().epoch), "seed {seed}");
    known.epoch = Some(log.info().epoch);
    let mut random = Xorshift(seed * 2 + 1);
    for round in 0..u128::from(rounds) {
        let mut calls = Vec::new();
        for call in 0..1 + u128::from(random.below(3)) {
            let mut batch = Vec::new();
            for n in 0..1 + u128::from(random.below(4)) {
                let text = |random: &mut Xorshift| "text ".repeat(random.below(150) as usize);
                let id = (round * 10 + call) * 10 + n;
                let drafts = (0..=random.below(2)).map(|_| post(id, &text(&mut random))).collect();
                batch.push(append(0, id, &[], drafts));
            }
            let drafts: Vec<_> = batch.iter().flat_map(|append| append.drafts.clone()).collect();
            calls.push((log.append(batch), drafts));
        }
        for (answer, drafts) in calls {
            match answer.await {
                Ok(verdicts) => {
                    assert!(known.unanswered.is_empty(), "seed {seed}: acknowledged after a failure");
                    for verdict in verdicts {
                        let Verdict::Appended(entries) = verdict else { panic!("seed {seed}: {verdict:?}") };
                        known.acknowledged.extend(entries);
                    }
                }
                Err(Error::Poisoned(_)) => known.unanswered.push(drafts),
                Err(Error::Busy(_)) => known.refused += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        if !known.unanswered.is_empty() {
            break;
        }
    }
    known
}

/// Opens the log on what is left and holds it against what is known; what was found is known from then on.
async fn check(disk: &SimDisk, mut known: Known, seed: u64) -> Known {
    let log = open(disk, false).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert!(known.epoch.is_none_or(|epoch| epoch == log.info().epoch), "seed {seed}: another epoch");
    known.epoch = Some(log.info().epoch);
    let found = read_all(&log).await;
    assert!(found.iter().map(|e| e.header.seq.0).eq(1..=log.tail().0), "seed {seed}: a gap");
    assert!(found.len() >= known.acknowledged.len(), "seed {seed}: acknowledged entries are lost");
    let (acknowledged, mut more) = found.split_at(known.acknowledged.len());
    assert_eq!(acknowledged, known.acknowledged, "seed {seed}");
    for call in &known.unanswered {
        if more.is_empty() {
            break;
        }
        let same = |(entry, draft): (&Arc<Entry>, &Draft)| entry.body == draft.body;
        assert!(more.len() >= call.len() && more.iter().zip(call).all(same), "seed {seed}: half of a call is there");
        more = &more[call.len()..];
    }
    assert!(more.is_empty(), "seed {seed}: entries that nobody appended");
    Known { epoch: known.epoch, acknowledged: found, ..Known::default() }
}

/// Check, continue, check again after another loss of power while idle.
async fn check_and_go_on(disk: &SimDisk, known: Known, seed: u64) {
    let known = check(disk, known, seed).await;
    let known = work(disk, seed + 1_000, 3, known).await;
    assert!(known.unanswered.is_empty(), "seed {seed}: the log does not go on");
    check(&disk.lose_power(seed), known, seed).await;
}

const ROUNDS: u64 = 12;

/// How many operations a run of the workload has, and which of them are syncs.
async fn rehearse(seed: u64) -> (u64, Vec<u64>) {
    let disk = SimDisk::default();
    let known = work(&disk, seed, ROUNDS, Known::default()).await;
    check_and_go_on(&disk, known, seed).await;
    let disk = SimDisk::default();
    work(&disk, seed, ROUNDS, Known::default()).await;
    (disk.operations(), disk.syncs())
}

#[tokio::test]
async fn power_lost_at_any_operation_loses_nothing_acknowledged() {
    let (operations, _) = rehearse(1).await;
    assert!(operations > 60, "the workload passes through several segments: {operations}");
    let seeds = if soak() { 50 } else { 5 };
    for seed in 1..=seeds {
        for at in 0..operations {
            let disk = SimDisk::default();
            disk.fault_after(at, Fault::Crash);
            let known = work(&disk, seed, ROUNDS, Known::default()).await;
            check_and_go_on(&disk.lose_power(seed * 1_000 + at), known, seed * 1_000 + at).await;
        }
    }
}

#[tokio::test]
async fn a_thousand_reorderings_before_a_sync_lose_nothing_acknowledged() {
    let (mut torn, mut whole) = (0, 0);
    for workload in 1..=if soak() { 40 } else { 10 } {
        let (_, syncs) = rehearse(workload).await;
        for loss in 0..100 {
            let seed = workload * 1_000 + loss;
            let disk = SimDisk::default();
            let at = syncs[Xorshift(seed).below(syncs.len() as u64) as usize];
            disk.fault_after(at, Fault::Crash);
            let known = work(&disk, workload, ROUNDS, Known::default()).await;
            let after = disk.lose_power(seed);
            if let Ok(log) = open(&after.lose_power(seed), false) {
                let more = log.tail().0 > known.acknowledged.len() as u64;
                torn += u64::from(log.recovery().cut_bytes > 0);
                whole += u64::from(more);
            }
            check_and_go_on(&after, known, seed).await;
        }
    }
    assert!(torn > 100 && whole > 10, "the losses are of both kinds: {torn} torn, {whole} whole");
}

#[tokio::test]
async fn power_lost_again_at_any_operation_of_opening_loses_nothing() {
    let mut cuts = 0;
    for seed in 1..=if soak() { 500 } else { 80 } {
        let (_, syncs) = rehearse(seed).await;
        let disk = SimDisk::default();
        disk.fault_after(syncs[syncs.len() - 1 - seed as usize % 8], Fault::Crash);
        let known = work(&disk, seed, ROUNDS, Known::default()).await;
        let left = disk.lose_power(seed);
        let before = left.operations();
        let rehearsal = left.lose_power(seed);
        cuts += u64::from(open(&rehearsal, false).unwrap().recovery().cut_bytes > 0);
        for at in 0..rehearsal.operations() - before {
            let again = left.lose_power(seed);
            again.fault_after(at, Fault::Crash);
            assert!(open(&again, false).is_err());
            check_and_go_on(&again.lose_power(seed + at), known.clone(), seed).await;
        }
    }
    assert!(cuts > 2, "some of the openings had something to cut: {cuts}");
}

/// Two torn batches at the same place, of the same shape: nothing of the first may complete the second.
#[tokio::test]
async fn a_torn_batch_never_borrows_a_record_from_one_that_was_cut() {
    // Records of exactly one sector: only then can a power loss leave some whole and others not.
    let text_bytes = 512 + 300 - usize::try_from(draft_bytes_max(&post(7, &"t".repeat(300)))).unwrap();
    let before = SimDisk::default();
    put(&open(&before, false).unwrap(), 7, &"t".repeat(text_bytes)).await.unwrap();
    // One call of three records, on a machine that goes just before the sync.
    let torn = async |left: SimDisk, letter: &str, seed: u64| {
        let log = open(&left, false).unwrap();
        let cut = log.recovery().cut_bytes > 0;
        if log.tail() == Seq(1) {
            // The write, then its sync: zeros are ahead already.
            left.fault_after(1, Fault::Crash);
            let drafts = (0..3).map(|_| post(7, &letter.repeat(text_bytes))).collect();
            assert!(matches!(log.append(vec![append(0, 7, &[], drafts)]).await, Err(Error::Poisoned(_))));
        }
        drop(log);
        (left.lose_power(seed), cut)
    };
    let mut cuts = 0;
    for first in 1..=40 {
        let (left, _) = torn(before.lose_power(1), "a", first).await;
        for second in 1..=40 {
            let (left, cut) = torn(left.lose_power(1), "b", second).await;
            cuts += u32::from(cut);
            let log = open(&left, false).unwrap();
            let bodies: Vec<_> = read_all(&log).await.iter().skip(1).map(|e| e.body.clone()).collect();
            assert!(
                matches!(bodies.len(), 0 | 3) && bodies.windows(2).all(|b| b[0] == b[1]),
                "seeds {first}, {second}"
            );
        }
    }
    assert!(cuts > 300, "the second often comes after a cut: {cuts}");
}

/// The kernel forgets what a failed sync should have written, and still shows it; then the power goes.
#[tokio::test]
async fn a_failed_operation_refuses_or_poisons_and_what_the_next_process_shows_is_durable() {
    let (operations, _) = rehearse(1).await;
    let (mut refused, mut poisoned) = (0, 0);
    for at in 0..operations {
        let disk = SimDisk::default();
        disk.fault_after(at, Fault::Fail);
        // A failed sync fails for good: the assertion that nothing is acknowledged after it is in `work`.
        let known = work(&disk, 1, ROUNDS, Known::default()).await;
        refused += known.refused;
        poisoned += usize::from(!known.unanswered.is_empty());
        disk.restart_process();
        let known = check(&disk, known, at).await;
        for seed in 1..=if soak() { 50 } else { 5 } {
            check_and_go_on(&disk.lose_power(at * 100 + seed), known.clone(), at * 100 + seed).await;
        }
    }
    assert!(refused > 10 && poisoned > 10, "{refused} refused, {poisoned} poisoned");
}

#[tokio::test]
async fn when_the_system_has_no_descriptors_for_a_moment_a_call_is_refused_and_the_next_one_succeeds() {
    let (operations, _) = rehearse(1).await;
    let mut refused = 0;
    for at in 0..operations {
        let disk = SimDisk::default();
        disk.fault_after(at, Fault::Refuse);
        let known = work(&disk, 1, ROUNDS, Known::default()).await;
        assert!(known.unanswered.is_empty(), "operation {at}: the log does not go on");
        refused += known.refused;
        disk.restart_process();
        check_and_go_on(&disk, known, at).await;
    }
    assert!(refused > 10, "{refused}");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_and_reading_goes_on() {
    let disk = SimDisk::default();
    let log = open(&disk, false).unwrap();
    let written = filled(&log).await;
    let (now, syncs) = (disk.operations(), disk.syncs());
    disk.fault_after(1, Fault::Fail);
    let waiting = log.beyond(log.tail());
    for n in 0..3 {
        assert!(matches!(put(&log, n, "a").await, Err(Error::Poisoned(_))));
    }
    assert_eq!((disk.operations(), disk.syncs().len()), (now + 2, syncs.len() + 1), "one write, one sync, no more");
    assert!(matches!(waiting.await, Err(Error::Closed)));
    assert!(matches!(log.load(Vec::new()).await, Err(Error::Poisoned(_))));
    assert!(matches!(log.close().await, Err(Error::Poisoned(_))));
    assert_eq!((read_all(&log).await, log.tail()), (written, Seq(50)));
}

#[tokio::test]
async fn a_full_disk_is_answered_and_when_there_is_space_the_log_goes_on() {
    for space in (0..12_000).step_by(500) {
        let disk = SimDisk::default();
        let log = open(&disk, false).unwrap();
        let mut known = Known { epoch: Some(log.info().epoch), ..Known::default() };
        disk.set_space_left(Some(space));
        let mut full = 0;
        for n in 0..40 {
            // Every third is small: it may still fit where the one before did not. Two at once: the second is judged as
            // if the first were there.
            let text = "x".repeat(if n % 3 == 0 { 10 } else { 900 });
            for answer in [n, n + 100].map(|n| put(&log, n, &text)) {
                match answer.await {
                    Ok(entries) => known.acknowledged.extend(entries),
                    Err(error @ Error::Full(_)) => {
                        assert!(error.retryable());
                        full += 1;
                    }
                    Err(error) => panic!("{space}: {error}"),
                }
            }
        }
        assert!(full > 0);
        assert_eq!(log.tail().0 as usize, known.acknowledged.len(), "nothing else was counted");
        let left = disk.lose_power(space);
        check_and_go_on(&left, known.clone(), space).await;
        disk.set_space_left(None);
        for n in 0..10 {
            known.acknowledged.extend(put(&log, n, &"y".repeat(900)).await.unwrap());
        }
        drop(log);
        check_and_go_on(&disk, known, space).await;
    }
}
