//! A notary beside a node on a log in memory, paced so that a test need not wait; and its schedule, on instants made up.

use std::fs;

use antiphon_schemas::{Entry, Event, RequestId};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::timeout;
use uuid::Uuid;

use super::{schedule::SPREAD, *};
use crate::{
    audit::{
        checkpoint::Checkpoint,
        keys::load_or_make,
        merkle::{Hash, consistency_proof, root_of, verify_consistency},
        note,
        store::{Leaves, Store, read_history, read_latest},
    },
    clock::Clock,
    log::{Log, memory::MemoryLog},
    node::tests::{away::Away, node_on, policy, question},
};

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing goes into the log or the history.
const PACE: Pace = Pace {
    gather: Duration::from_millis(1),
    sign_every: Duration::from_millis(5),
    note_every: Duration::from_secs(3_600),
};

async fn node(log: &Arc<MemoryLog>) -> Node {
    node_on(log.clone(), Clock::manual(1_000).0, policy()).await
}

fn log() -> Arc<MemoryLog> {
    Arc::new(MemoryLog::new(Epoch(7), Clock::manual(1_000).0))
}

fn notary(node: &Node, data: &Path, pace: Pace) -> Notary {
    let signer = load_or_make(&paths(data), "antiphon/here").unwrap();
    Notary::start(node.clone(), signer, data, pace, &Tasks::new()).unwrap()
}

/// Posts, and returns the position of the last one.
async fn post(node: &Node, count: usize) -> u64 {
    for n in 0..count {
        node.post(question(&format!("text {n}"))).await.unwrap();
    }
    node.position().0
}

async fn until(notary: &Notary, what: impl FnMut(&Shown) -> bool) -> Shown {
    let mut shown = notary.shown();
    timeout(PATIENCE, shown.wait_for(what)).await.expect("within a minute").unwrap().clone()
}

/// Waits until so many entries are signed; what was signed is opened with the key.
async fn signed(notary: &Notary, size: u64) -> Checkpoint {
    let covers = |shown: &Shown| shown.latest.as_ref().is_some_and(|signed| signed.checkpoint.size >= size);
    let signed = until(notary, covers).await.latest.unwrap();
    assert_eq!(Checkpoint::open(&signed.note, &[notary.verifier().clone()]), Ok(signed.checkpoint.clone()));
    signed.checkpoint
}

async fn leaves(log: &dyn Log) -> Vec<Hash> {
    let entries = log.read(Seq::ZERO, usize::MAX).await.unwrap();
    entries.iter().map(|entry| Stored::from(&**entry).leaf()).collect()
}

fn written(data: &Path) -> Vec<Hash> {
    let mut leaves = Leaves::open(&paths(data)).unwrap().unwrap();
    (0..leaves.len()).map(|index| leaves.get(index).unwrap()).collect()
}

/// The files, to see that nobody changes them.
fn files(data: &Path) -> Vec<Option<Vec<u8>>> {
    let paths = paths(data);
    [paths.latest, paths.history, paths.leaves].map(|path| fs::read(path).ok()).into()
}

/// The same log, but for what `change` does to its entries.
async fn forged(log: &MemoryLog, change: impl FnOnce(&mut Vec<Arc<Entry>>)) -> Arc<MemoryLog> {
    let mut entries = log.read(Seq::ZERO, usize::MAX).await.unwrap();
    change(&mut entries);
    let forged = self::log();
    forged.load(entries).await.unwrap();
    forged
}

/// The entry with one bit of its body changed.
fn altered(entry: &Entry) -> Arc<Entry> {
    let mut body = BytesMut::from(&entry.body[..]);
    body[3] ^= 1;
    Arc::new(Entry::new(entry.header.clone(), body.freeze()).unwrap())
}

#[tokio::test]
async fn what_arrives_is_signed_and_each_checkpoint_goes_on_from_the_one_before() {
    let (log, dir) = (log(), tempfile::tempdir().unwrap());
    let node = node(&log).await;
    let notary = notary(&node, dir.path(), PACE);
    let mut before = None;
    for count in [1, 3, 10] {
        let size = post(&node, count).await;
        let checkpoint = signed(&notary, size).await;
        let leaves = leaves(&*log).await;
        assert_eq!(checkpoint.origin, "antiphon/here/0000000000000007");
        assert_eq!((checkpoint.size, checkpoint.root), (size, root_of(leaves.iter().copied())));
        assert_eq!(written(dir.path()), leaves);
        if let Some(Checkpoint { size: old, root, .. }) = before.replace(checkpoint.clone()) {
            let proof = consistency_proof(old, size, |at| Ok::<_, ()>(leaves[at as usize])).unwrap();
            assert!(verify_consistency(old, &root, size, &checkpoint.root, &proof));
        }
    }
    assert!(read_history(&paths(dir.path())).unwrap().is_empty(), "not before the stop");
    notary.stop().await;
    let latest = read_latest(&paths(dir.path())).unwrap();
    assert_eq!(read_history(&paths(dir.path())).unwrap().pop(), latest);
    // A stop with nothing new adds nothing.
    let again = self::notary(&node, dir.path(), PACE);
    signed(&again, 1).await;
    again.stop().await;
    assert_eq!(read_history(&paths(dir.path())).unwrap().len(), 1);
    assert_eq!(read_latest(&paths(dir.path())).unwrap(), latest);
}

#[tokio::test]
async fn a_restart_goes_on_with_the_tree_and_makes_leaves_again_that_are_short_or_wrong() {
    let (log, dir) = (log(), tempfile::tempdir().unwrap());
    let node = node(&log).await;
    let paths = paths(dir.path());
    type Damage = fn(&Store, usize);
    let damages: [Damage; 4] = [
        |_, _| {},
        |store, _| fs::remove_file(&store.paths().leaves).unwrap(),
        |store, len| store.cut_leaves(len as u64 / 2).unwrap(),
        |store, _| store.write_leaves(1, &[[0; 32]]).unwrap(),
    ];
    for damage in damages {
        let notary = notary(&node, dir.path(), PACE);
        let size = post(&node, 5).await;
        signed(&notary, size).await;
        notary.stop().await;
        damage(&Store::open(paths.clone()).unwrap(), size as usize);
        // What arrives while no notary is there.
        let size = post(&node, 2).await;
        let notary = self::notary(&node, dir.path(), PACE);
        let checkpoint = signed(&notary, size).await;
        assert_eq!(checkpoint.root, root_of(leaves(&*log).await));
        notary.stop().await;
        assert_eq!(written(dir.path()), leaves(&*log).await);
    }
}

#[tokio::test]
async fn a_log_that_is_not_what_was_signed_is_signed_no_more_and_the_files_stay() {
    let (log, dir) = (log(), tempfile::tempdir().unwrap());
    let honest = node(&log).await;
    let notary = notary(&honest, dir.path(), PACE);
    signed(&notary, post(&honest, 6).await).await;
    notary.stop().await;
    let before = files(dir.path());

    let last_altered = forged(&log, |entries| *entries.last_mut().unwrap() = altered(entries.last().unwrap())).await;
    let shorter = forged(&log, |entries| entries.truncate(5)).await;
    for log in [&last_altered, &shorter] {
        let node = node(log).await;
        let notary = self::notary(&node, dir.path(), PACE);
        until(&notary, |shown| shown.refuses).await;
        post(&node, 3).await;
        notary.stop().await;
        assert_eq!(files(dir.path()), before);
        assert_eq!(
            notary.shown().borrow().latest.as_ref().unwrap().checkpoint.size,
            6,
            "it still shows what it signed"
        );
    }

    // With the leaves gone the whole log is held against the root.
    let middle_altered = forged(&log, |entries| entries[2] = altered(&entries[2])).await;
    fs::remove_file(paths(dir.path()).leaves).unwrap();
    let before = [&before[..2], &[Some(vec![])]].concat();
    let node = node(&middle_altered).await;
    let notary = self::notary(&node, dir.path(), PACE);
    until(&notary, |shown| shown.refuses).await;
    notary.stop().await;
    assert_eq!(files(dir.path()), before, "nor are leaves left there that were not signed");
    assert!(!paths(dir.path()).folder.join("leaves.new").exists());
}

#[tokio::test]
async fn a_newest_checkpoint_of_another_key_is_refused_and_one_that_is_no_note_is_passed_over() {
    let (log, dir) = (log(), tempfile::tempdir().unwrap());
    let node = node(&log).await;
    let first = notary(&node, dir.path(), PACE);
    signed(&first, post(&node, 3).await).await;
    first.stop().await;
    let paths = paths(dir.path());

    // As a power cut may leave it; the history has the same.
    fs::write(&paths.latest, [0; 200]).unwrap();
    let second = notary(&node, dir.path(), PACE);
    assert_eq!(signed(&second, 3).await.size, 3);
    let size = post(&node, 1).await;
    signed(&second, size).await;
    second.stop().await;

    fs::remove_file(&paths.key).unwrap();
    let third = notary(&node, dir.path(), PACE);
    until(&third, |shown| shown.refuses).await;
    third.stop().await;
    let note = read_latest(&paths).unwrap().unwrap();
    assert!(note::open(&note, &[first.verifier().clone()]).is_ok() && first.verifier() != third.verifier());
}

#[tokio::test]
async fn entries_get_a_checkpoint_in_the_log_and_that_is_no_arrival() {
    let (log, dir) = (log(), tempfile::tempdir().unwrap());
    let node = node(&log).await;
    let notary = notary(&node, dir.path(), Pace { note_every: Duration::from_millis(50), ..PACE });
    post(&node, 1).await;
    timeout(PATIENCE, log.beyond(Seq(1))).await.unwrap().unwrap();
    let entry = log.read(Seq(1), 1).await.unwrap().pop().unwrap();
    let Event::LogCheckpoint(noted) = &entry.event else { panic!("{entry:?}") };
    let checkpoint = Checkpoint::open(&noted.note, &[notary.verifier().clone()]).unwrap();
    assert_eq!((noted.size, checkpoint.size), (1, 1));
    assert_eq!((&entry.header.room, entry.header.subjects.len()), (&None, 0));
    assert_eq!(checkpoint.root, leaves(&*log).await[0]);

    // The next arrival is signed together with it, and again one checkpoint goes into the log.
    post(&node, 1).await;
    timeout(PATIENCE, log.beyond(Seq(3))).await.unwrap().unwrap();
    let kinds: Vec<_> = log.read(Seq::ZERO, 9).await.unwrap().iter().map(|e| e.event.kind().to_owned()).collect();
    assert_eq!(kinds, ["message.posted", "log.checkpoint", "message.posted", "log.checkpoint"]);
    assert_eq!(signed(&notary, 3).await.size, 3);
    notary.stop().await;
    assert_eq!(notary.shown().borrow().latest.as_ref().unwrap().checkpoint.size, 3, "nor does a stop sign it");
    assert_eq!(log.tail(), Seq(4));
}

#[tokio::test]
async fn a_store_that_lost_its_end_begins_a_new_tree_and_what_was_signed_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Away::new(policy()).await;
    let notary = notary(&rig.node, dir.path(), PACE);
    let before = signed(&notary, post(&rig.node, 5).await).await;
    let old = leaves(&*rig.log.inner()).await;

    rig.log.away();
    rig.log.back_shorter(2).await;
    let anew = |shown: &Shown| shown.latest.as_ref().is_some_and(|s| s.checkpoint.epoch() == Some(Epoch(8)));
    until(&notary, anew).await;
    rig.log.away();
    rig.log.back();
    let size = post(&rig.node, 1).await;
    let after = signed(&notary, size).await;
    assert_eq!(after.origin, "antiphon/here/0000000000000008");
    assert_eq!(after.root, root_of(leaves(&*rig.log.inner()).await[..after.size as usize].iter().copied()));
    notary.stop().await;

    let aside = paths(dir.path()).of_ended(Epoch(7));
    let kept = read_latest(&aside).unwrap().unwrap();
    assert_eq!(Checkpoint::open(&kept, &[notary.verifier().clone()]), Ok(before));
    let mut kept = Leaves::open(&aside).unwrap().unwrap();
    assert_eq!((0..kept.len()).map(|at| kept.get(at).unwrap()).collect::<Vec<_>>(), old);
}

#[tokio::test]
async fn a_checkpoint_of_another_epoch_or_for_a_store_that_is_away_is_not_written_ever() {
    let rig = Away::new(policy()).await;
    let noted = || LogCheckpoint { size: 1, note: "a note".into() };
    assert!(!rig.node.note_checkpoint(Epoch(6), noted()).await.unwrap());
    let tail = post(&rig.node, 1).await;
    rig.log.away();
    // Until the node has seen it, the append itself fails.
    assert!(rig.node.note_checkpoint(Epoch(7), noted()).await.is_err());
    assert!(rig.node.stored(Epoch(7), Seq::ZERO, 10).await.is_err());
    rig.log.back();
    timeout(PATIENCE, async { while rig.node.note_checkpoint(Epoch(7), noted()).await.is_err() {} }).await.unwrap();
    let entries = rig.node.stored(Epoch(7), Seq::ZERO, 10).await.unwrap();
    let kinds: Vec<_> = entries.iter().map(|entry| entry.event.kind()).collect();
    assert_eq!((tail, kinds), (1, vec!["message.posted", "log.checkpoint"]));
    assert!(rig.node.stored(Epoch(6), Seq::ZERO, 10).await.is_err());
}

fn entry(seq: u64, at_ms: u64, event: Event) -> Entry {
    let header = antiphon_schemas::Header {
        seq: Seq(seq),
        at_ms,
        request: RequestId(Uuid::nil()),
        kind: event.kind().into(),
        room: None,
        subjects: [].into(),
        version: 1,
    };
    let mut body = BytesMut::zeroed(16);
    body.put_slice(b"x");
    Entry { header, body: body.freeze(), event }
}

#[test]
fn nothing_is_due_without_an_arrival_and_any_nodes_checkpoint_puts_off_the_next() {
    let (now, pace) = (Instant::now(), Pace::default());
    let (minutes, spread) = (|n: u64| Duration::from_secs(60 * n), pace.note_every / SPREAD);
    let arrival = |seq| entry(seq, 0, Event::unknown("a.thing", &Bytes::new(), &[]));
    let checkpoint = |seq, size, at_ms| entry(seq, at_ms, LogCheckpoint { size, note: "".into() }.into());
    let within = |at: Option<Instant>, from: Instant| at.is_some_and(|at| at >= from && at <= from + spread);
    let mut schedule = Schedule::new(pace, now);
    schedule.keep_at = now + minutes(60);
    assert_eq!(schedule.next(0), None);

    schedule.see(&arrival(1), now, 0);
    assert_eq!(schedule.next(0), Some(now), "it is signed at once");
    assert!(within(schedule.next(1), now + minutes(5)), "and is in the log after the first five minutes");

    // Another node's, two minutes ago: it puts off ours, and covers what we signed.
    let now_ms = 1_000_000;
    schedule.see(&checkpoint(2, 1, now_ms - 120_000), now + minutes(4), now_ms);
    schedule.kept = 2;
    assert_eq!(schedule.next(1), None, "nothing arrived that it does not cover");
    schedule.see(&arrival(3), now + minutes(4), now_ms);
    assert!(within(schedule.next(3), now + minutes(7)));
    // An old one puts off nothing, and what arrived while ours was on its way is not covered by it.
    let at = schedule.note_at;
    schedule.see(&checkpoint(5, 2, 0), now + minutes(5), now_ms);
    assert_eq!((schedule.note_at, schedule.next(3)), (at, Some(at)));
    // One that claims more than there was before it covers that.
    schedule.see(&checkpoint(6, 1 << 40, now_ms), now + minutes(6), now_ms);
    schedule.see(&arrival(7), now + minutes(6), now_ms);
    assert!(within(schedule.next(7), now + minutes(11)));
}
