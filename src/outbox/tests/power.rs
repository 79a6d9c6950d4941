//! Power loss, `kill -9`, failing and full disks, and damage, on the simulated disk.
//!
//! Method: posts are parked and settled until the disk goes; then the outbox is opened on what is left. It must be as
//! after the last call that was answered, or as after the one that was not: nothing else, and never half of a call.

use super::*;
use crate::log::conformance::Xorshift;

fn soak() -> bool {
    std::env::var_os("ANTIPHON_SOAK").is_some_and(|v| v == "1")
}

/// What callers know when the disk has gone.
#[derive(Debug, Clone, Default)]
struct Known {
    answered: Model,
    /// What it would be if the call that got no answer has happened.
    unanswered: Option<Model>,
    next: u128,
}

impl Known {
    fn is(&self, found: &Model) -> bool {
        let same = |model: &Model| model.clone().sorted() == *found;
        same(&self.answered) || self.unanswered.as_ref().is_some_and(same)
    }
}

/// Parks and settles until a call fails or `rounds` are over; one call at a time.
async fn work(disk: &SimDisk, seed: u64, rounds: u64, mut known: Known) -> Known {
    let Ok(outbox) = open(disk).await else { return known };
    let found = Model::of(&outbox);
    assert!(known.is(&found), "seed {seed}: {found:?} is not {known:?}");
    (known.answered, known.unanswered) = (found, None);
    let mut random = Xorshift(seed * 2 + 1);
    for round in 0..rounds {
        let mut after = known.answered.clone();
        let done = if round % 3 < 2 {
            let posts: Vec<_> = (0..1 + random.below(4))
                .map(|_| {
                    known.next += 1;
                    post(known.next, &"text ".repeat(random.below(120) as usize))
                })
                .collect();
            after.park(&posts);
            outbox.park(posts).await.map(drop)
        } else {
            let ends = known.answered.pending.iter().filter(|_| random.below(5) > 0).map(|post| post.id);
            let how = |id, n: u64| if n == 0 { (id, Settled::Refused("no".into())) } else { (id, Settled::Appended) };
            let mut random = Xorshift(seed + round);
            let ends: Vec<_> = ends.map(|id| how(id, random.below(8))).collect();
            after.settle(&ends);
            outbox.settle(ends).await
        };
        match done {
            Ok(()) => known.answered = after,
            // Refused, and nothing was written: as if it had not been asked.
            Err(Error::Busy(_)) => {}
            Err(Error::Poisoned(_)) => {
                known.unanswered = Some(after);
                assert!(outbox.park(vec![post(0, "")]).await.is_err(), "seed {seed}: acknowledged after a failure");
                return known;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    // Before the next process comes, as when this one ends.
    let _ = outbox.close().await;
    known
}

/// Opens it on what is left, continues, and checks again after another loss of power.
async fn check_and_go_on(disk: &SimDisk, known: Known, seed: u64) {
    let known = work(disk, seed + 1_000, 6, known).await;
    assert!(known.unanswered.is_none(), "seed {seed}: it does not go on");
    work(&disk.lose_power(seed), seed, 0, known).await;
}

const ROUNDS: u64 = 18;

async fn rehearse(seed: u64) -> u64 {
    let disk = SimDisk::default();
    let known = work(&disk, seed, ROUNDS, Known::default()).await;
    let operations = disk.operations();
    check_and_go_on(&disk, known, seed).await;
    operations
}

#[tokio::test]
async fn power_lost_at_any_operation_loses_no_post_and_brings_none_back() {
    let mut made_small = 0;
    for seed in 1..=if soak() { 100 } else { 8 } {
        for at in 0..rehearse(seed).await {
            let disk = SimDisk::default();
            disk.fault_after(at, Fault::Crash);
            let known = work(&disk, seed, ROUNDS, Known::default()).await;
            let left = disk.lose_power(seed * 1_000 + at);
            made_small += u32::from(files(&left).iter().any(|name| name == "current"));
            check_and_go_on(&left, known, seed * 1_000 + at).await;
        }
    }
    assert!(made_small > 100, "it is often compacted: {made_small}");
}

#[tokio::test]
async fn a_process_killed_at_any_operation_loses_no_post_and_brings_none_back() {
    for seed in 1..=if soak() { 100 } else { 8 } {
        for at in 0..rehearse(seed).await {
            let disk = SimDisk::default();
            disk.fault_after(at, Fault::Crash);
            let known = work(&disk, seed, ROUNDS, Known::default()).await;
            disk.restart_process();
            check_and_go_on(&disk, known, seed * 1_000 + at).await;
        }
    }
}

/// The kernel forgets what a failed sync should have written, and still shows it; then the power goes.
#[tokio::test]
async fn a_failed_operation_loses_no_post_whether_or_not_it_stops_the_outbox() {
    let mut went_on = 0;
    for seed in 1..=if soak() { 50 } else { 4 } {
        for at in 0..rehearse(seed).await {
            let disk = SimDisk::default();
            disk.fault_after(at, Fault::Fail);
            let known = work(&disk, seed, ROUNDS, Known::default()).await;
            went_on += u32::from(known.unanswered.is_none());
            disk.restart_process();
            check_and_go_on(&disk.lose_power(at), known.clone(), at).await;
            check_and_go_on(&disk, known, at).await;
        }
    }
    assert!(went_on > 20, "a folder that cannot be compacted is no reason to stop: {went_on}");
}

#[tokio::test]
async fn a_full_disk_is_answered_and_when_there_is_space_it_goes_on() {
    let mut spaces_full = 0;
    for space in (0..20_000).step_by(500) {
        let disk = SimDisk::default();
        let outbox = open(&disk).await.unwrap();
        disk.set_space_left(Some(space));
        let (mut model, mut full) = (Model::default(), 0);
        for n in 0..60 {
            let posts = vec![post(n, &"x".repeat(if n % 3 == 0 { 10 } else { 500 }))];
            match outbox.park(posts.clone()).await {
                Ok(_) => model.park(&posts),
                Err(Error::Full(_)) => full += 1,
                Err(error) => panic!("{space}: {error}"),
            }
            if n % 4 == 3 {
                // What could not be settled is still pending: it is settled again later.
                let ends: Vec<_> = model.pending.iter().map(|post| (post.id, Settled::Appended)).collect();
                if outbox.settle(ends.clone()).await.is_ok() {
                    model.settle(&ends);
                }
            }
            assert_eq!(Model::of(&outbox), model, "{space}");
        }
        spaces_full += u32::from(full > 0);
        work(&disk.lose_power(space), space, 0, Known { answered: model.clone(), ..Known::default() }).await;
        disk.set_space_left(None);
        let posts = vec![post(1_000, "there is space again")];
        outbox.park(posts.clone()).await.unwrap();
        model.park(&posts);
        outbox.close().await.unwrap();
        check_and_go_on(&disk, Known { answered: model, next: 2_000, ..Known::default() }, space).await;
    }
    assert!(spaces_full > 10, "{spaces_full}");
}

/// An outbox with ten posts, a write each.
async fn ten() -> (SimDisk, std::path::PathBuf) {
    let disk = SimDisk::default();
    let settings = Settings { log: file::Options { segment_bytes: 1 << 20, ..small().log }, ..small() };
    let outbox = open_with(&disk, settings).await.unwrap();
    for n in 0..10 {
        outbox.park(vec![post(n, "some words")]).await.unwrap();
    }
    outbox.close().await.unwrap();
    let segment = disk.paths().into_iter().find(|path| path.extension().is_some_and(|e| e == "seg")).unwrap();
    (disk, segment)
}

#[tokio::test]
async fn damage_in_the_middle_is_refused_with_a_sentence_and_can_be_salvaged() {
    let (pristine, segment) = ten().await;
    let end = pristine.bytes(&segment).iter().rposition(|b| *b != 0).unwrap();
    for offset in (520..end - 400).step_by(17) {
        let disk = pristine.lose_power(1);
        disk.flip(&segment, offset);
        let line = open(&disk).await.unwrap_err().to_string();
        assert!(line.starts_with("the posts that wait on this disk for the store cannot be read: "), "{line}");
        assert!(line.contains(segment.to_str().unwrap()) && line.contains("--salvage"), "{line}");
        let settings = Settings { log: file::Options { salvage: true, ..small().log }, ..small() };
        let outbox = open_with(&disk, settings).await.unwrap();
        let found = ids(&outbox.first(99));
        assert!(found.len() < 10 && found.iter().eq((0..found.len() as u128).map(id).collect::<Vec<_>>().iter()));
        outbox.park(vec![post(50, "goes on")]).await.unwrap();
        outbox.settle(found.into_iter().map(|id| (id, Settled::Appended)).collect()).await.unwrap();
        outbox.close().await.unwrap();
        assert_eq!(ids(&open(&disk).await.unwrap().first(99)), [id(50)]);
        assert!(files(&disk).iter().any(|name| name.contains("salvaged-")), "what was set aside stays");
    }
}

#[tokio::test]
async fn a_record_of_a_later_version_is_refused_and_named() {
    let (disk, _) = ten().await;
    let options = file::Options { segment_bytes: 1 << 20, ..small().log };
    let folder = Path::new(FOLDER).join("a");
    let log = file::FileLog::open(Arc::new(disk.clone()), &folder, options, Clock::manual(NOW_MS).0).unwrap();
    let draft = crate::log::conformance::post(1, "a post as the log has it");
    crate::log::Log::append(&log, vec![crate::log::conformance::append(0, 1, &[], vec![draft])]).await.unwrap();
    drop(log);
    let line = open(&disk).await.unwrap_err().to_string();
    assert!(line.contains("entry 11 in `data/outbox/a`") && line.contains("it is a `message.posted`"), "{line}");
}

#[tokio::test]
async fn a_current_that_is_lost_or_wrong_is_refused() {
    let disk = SimDisk::default();
    let outbox = open(&disk).await.unwrap();
    outbox.park((0..10).map(|n| post(n, &"x".repeat(400))).collect()).await.unwrap();
    outbox.settle((0..9).map(appended).collect()).await.unwrap();
    outbox.close().await.unwrap();
    let current = Path::new(FOLDER).join("current");
    assert_eq!(disk.bytes(&current), b"b\n");
    for (bytes, why) in [(None, "is missing"), (Some("c\n"), "says neither"), (Some("a\n"), "names a folder")] {
        let disk = disk.lose_power(1);
        disk.remove(&current).unwrap();
        if let Some(bytes) = bytes {
            disk.create(&current).unwrap().write_at(bytes.as_bytes(), 0).unwrap();
        }
        let line = open(&disk).await.unwrap_err().to_string();
        assert!(line.starts_with("`data/outbox/current`") && line.contains(why), "{line}");
    }
    assert_eq!(ids(&open(&disk).await.unwrap().first(9)), [id(9)]);
}
