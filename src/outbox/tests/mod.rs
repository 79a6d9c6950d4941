//! The outbox as its callers see it: order, repetitions, bounds, reopening, a model; crashes and damage in `power`.

mod fuzz;
mod power;

use std::{collections::HashSet, path::Path, sync::atomic::Ordering};

use antiphon_schemas::{
    BotName, RoomName,
    event::{Author, AuthorKind},
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::log::{
    Error,
    file::disk::sim::{Fault, SimDisk},
};

const FOLDER: &str = "data/outbox";
const NOW_MS: u64 = 1_000;

/// Small enough that a few posts fill segments, and a few settled ones get the folder compacted.
fn small() -> Settings {
    let log = file::Options { segment_bytes: 4 << 10, salvage: false, recent_bytes_max: 0 };
    Settings { log, parked_max: 40, parked_bytes_max: 40_000, settled_bytes_max: 3_000 }
}

async fn open_with(disk: &SimDisk, settings: Settings) -> Result<Outbox, OpenError> {
    Outbox::open_on(Arc::new(disk.clone()), Path::new(FOLDER), settings, Clock::manual(NOW_MS).0, &Tasks::new()).await
}

async fn open(disk: &SimDisk) -> Result<Outbox, OpenError> {
    open_with(disk, small()).await
}

fn id(n: u128) -> MessageId {
    MessageId(Uuid::from_u128(n))
}

/// A post with all that one can have; `fresh`, as it comes from a client that left the id to us.
fn post(n: u128, text: &str) -> Post {
    Post {
        room: RoomName::new(["lobby", "attic"][n as usize % 2]).unwrap(),
        id: id(n),
        fresh: true,
        author: Author { name: "Zoë".into(), kind: AuthorKind::Human, color: Some("#80c0ff".into()) },
        text: text.into(),
        to: [None, Some(vec![]), Some(vec![BotName::new("echo").unwrap()])][n as usize % 3].clone(),
        priority: n as u8 % 10,
        reply_to: n.is_multiple_of(4).then_some(id(1)),
        said_at_ms: n.is_multiple_of(3).then_some(1_103_966_100_000),
    }
}

/// As it is kept.
fn kept(n: u128, text: &str) -> Post {
    Post { fresh: false, ..post(n, text) }
}

fn ids(parked: &[Parked]) -> Vec<MessageId> {
    parked.iter().map(|parked| parked.post.id).collect()
}

fn appended(n: u128) -> (MessageId, Settled) {
    (id(n), Settled::Appended)
}

fn refused(n: u128) -> (MessageId, Settled) {
    (id(n), Settled::Refused(format!("no. {n}").into()))
}

/// Names of the files of the outbox that are there, without the file logs' locks.
fn files(disk: &SimDisk) -> Vec<String> {
    disk.paths().iter().map(|path| path.strip_prefix(FOLDER).unwrap().display().to_string()).collect()
}

#[tokio::test]
async fn what_is_settled_leaves_the_disk_when_somebody_says_so_and_what_waits_stays() {
    let disk = SimDisk::default();
    let outbox = open_with(&disk, Settings { settled_bytes_max: 1 << 20, ..small() }).await.unwrap();
    let holds = |text: &str| {
        disk.paths().iter().any(|path| disk.bytes(path).windows(text.len()).any(|bytes| bytes == text.as_bytes()))
    };
    outbox.park(vec![post(1, "to be erased"), post(2, "waits")]).await.unwrap();
    outbox.settle(vec![appended(1)]).await.unwrap();
    assert!(holds("to be erased"));
    outbox.purge();
    outbox.purge();
    // Calls happen in their order: when this one is answered, that is done.
    outbox.settle(vec![]).await.unwrap();
    assert!(!holds("to be erased") && holds("waits"));
    assert_eq!(ids(&outbox.first(9)), [id(2)]);
}

#[tokio::test]
async fn posts_come_back_in_order_and_as_they_were_in_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, at) = Clock::manual(NOW_MS);
    let tasks = Tasks::new();
    let open = || Outbox::open(folder.path().join("outbox"), clock.clone(), &tasks);
    let outbox = open().await.unwrap();
    assert_eq!((outbox.counts(), outbox.full()), (Counts::default(), false));
    let parked = outbox.park((0..50).rev().map(|n| post(n, "words")).collect()).await.unwrap();
    at.store(NOW_MS + 5, Ordering::Relaxed);
    outbox.park(vec![post(100, "later")]).await.unwrap();
    outbox.settle(vec![appended(49), refused(47), appended(3)]).await.unwrap();
    let told = (outbox.first(1_000), outbox.refused(), outbox.counts());
    assert_eq!(parked[0], Parked { post: kept(49, "words"), at_ms: NOW_MS });
    assert_eq!(ids(&outbox.first(3)), [id(48), id(46), id(45)]);
    assert_eq!(outbox.get(&id(100)), Some(Parked { post: kept(100, "later"), at_ms: NOW_MS + 5 }));
    assert_eq!((outbox.get(&id(49)), outbox.get(&id(47)), outbox.pending()), (None, None, 48));
    assert_eq!(told.1, [Refused { post: kept(47, "words"), reason: "no. 47".into(), at_ms: NOW_MS }]);
    assert_eq!((told.2.oldest_at_ms, told.2.refused), (Some(NOW_MS), 1));
    for _ in 0..3 {
        outbox.close().await.unwrap();
        let outbox = open().await.unwrap();
        assert_eq!((outbox.first(1_000), outbox.refused(), outbox.counts()), told);
        outbox.close().await.unwrap();
        outbox.close().await.unwrap();
        assert!(matches!(outbox.park(vec![post(7, "late")]).await, Err(Error::Closed)));
    }
}

#[tokio::test]
async fn an_id_is_pending_once_and_the_first_post_under_it_wins() {
    let outbox = open(&SimDisk::default()).await.unwrap();
    let told = outbox.park(vec![post(1, "a"), post(2, "b"), post(1, "other")]).await.unwrap();
    assert_eq!(ids(&told), [id(1), id(2), id(1)]);
    assert!(told[0].is(&post(1, "a")) && !told[2].is(&post(1, "other")));
    let told = outbox.park(vec![post(2, "b"), post(3, "c"), post(2, "other")]).await.unwrap();
    assert_eq!(told.iter().map(|parked| &*parked.post.text).collect::<Vec<_>>(), ["b", "c", "b"]);
    assert_eq!(outbox.pending(), 3);
    // Once it has left the line, whether the id is taken is for the log to say.
    outbox.settle(vec![refused(2)]).await.unwrap();
    outbox.park(vec![post(2, "other")]).await.unwrap();
    assert_eq!(ids(&outbox.first(9)), [1, 3, 2].map(id));
    assert_eq!(&*outbox.refused()[0].post.text, "b", "what was refused stays");
}

#[tokio::test]
async fn a_repetition_is_told_from_an_id_that_is_taken() {
    let parked = Parked { post: kept(4, "a"), at_ms: 0 };
    assert!(parked.is(&post(4, "a")) && parked.is(&Post { priority: 9, ..post(4, "a") }));
    let author = Author { name: "Bob".into(), ..post(4, "a").author };
    let others = [
        post(5, "a"),
        post(4, "b"),
        Post { room: RoomName::new("cellar").unwrap(), ..post(4, "a") },
        Post { author, ..post(4, "a") },
        Post { reply_to: None, ..post(4, "a") },
        Post { to: None, ..post(4, "a") },
        Post { to: Some(vec![BotName::new("echo").unwrap()]), ..post(4, "a") },
    ];
    assert!(others.iter().all(|other| !parked.is(other)), "{others:?}");
}

#[tokio::test]
async fn settling_twice_or_what_is_not_there_changes_nothing() {
    let disk = SimDisk::default();
    let outbox = open(&disk).await.unwrap();
    outbox.park(vec![post(1, "a"), post(2, "b")]).await.unwrap();
    outbox.settle(vec![refused(1), appended(1), appended(9)]).await.unwrap();
    let (told, operations) = ((outbox.first(9), outbox.refused(), outbox.counts()), disk.operations());
    outbox.settle(vec![appended(1), refused(9)]).await.unwrap();
    outbox.settle(vec![]).await.unwrap();
    assert_eq!(outbox.park(vec![]).await.unwrap(), []);
    assert_eq!(((outbox.first(9), outbox.refused(), outbox.counts()), disk.operations()), (told, operations));
    assert_eq!(&*outbox.refused()[0].reason, "no. 1", "the first word counts");
}

#[tokio::test]
async fn a_call_whose_future_is_dropped_still_happens_and_calls_keep_their_order() {
    let outbox = open(&SimDisk::default()).await.unwrap();
    for n in 0..10 {
        drop(outbox.park(vec![post(n, "a")]));
    }
    drop(outbox.settle(vec![appended(0)]));
    let last = outbox.park(vec![post(10, "a")]);
    drop(outbox.settle(vec![appended(10)]));
    assert_eq!(last.await.unwrap().len(), 1);
    outbox.settle(vec![]).await.unwrap();
    assert_eq!(ids(&outbox.first(99)), (1..10).map(id).collect::<Vec<_>>());
}

/// Tokio's test runtime has one thread: until we wait, the task that writes cannot run.
#[tokio::test]
async fn a_post_is_not_pending_before_it_is_on_the_disk() {
    let disk = SimDisk::default();
    let outbox = open(&disk).await.unwrap();
    let (syncs, parked) = (disk.syncs().len(), outbox.park(vec![post(1, "a")]));
    assert_eq!((outbox.pending(), disk.syncs().len()), (0, syncs));
    parked.await.unwrap();
    assert_eq!((outbox.pending(), disk.syncs().len()), (1, syncs + 1), "one sync");
}

#[tokio::test]
async fn a_full_outbox_takes_nothing_until_something_has_left_it() {
    let outbox = open(&SimDisk::default()).await.unwrap();
    outbox.park((0..39).map(|n| post(n, "a")).collect()).await.unwrap();
    let too_many = outbox.park(vec![post(50, "a"), post(51, "a")]).await.unwrap_err();
    assert!(matches!(&too_many, Error::Full(why) if why.contains("39 posts")), "{too_many}");
    assert!(too_many.retryable() && !outbox.full() && outbox.pending() == 39, "none of them");
    outbox.park(vec![post(50, "a")]).await.unwrap();
    assert!(outbox.full());
    assert_eq!(outbox.park(vec![post(50, "a")]).await.unwrap().len(), 1, "a repetition needs no room");
    outbox.settle(vec![refused(50)]).await.unwrap();
    assert!(outbox.full(), "what was refused takes room too");
    outbox.settle(vec![appended(0)]).await.unwrap();
    assert!(!outbox.full());
    outbox.park(vec![post(51, "a")]).await.unwrap();

    let outbox = open(&SimDisk::default()).await.unwrap();
    outbox.park(vec![post(0, &"x".repeat(35_000))]).await.unwrap();
    assert!(matches!(outbox.park(vec![post(1, &"x".repeat(5_000))]).await, Err(Error::Full(_))));
    outbox.park(vec![post(1, &"x".repeat(3_000))]).await.unwrap();
}

#[tokio::test]
async fn a_call_beyond_the_bound_is_refused_whole() {
    let outbox = open_with(&SimDisk::default(), Settings::real(false)).await.unwrap();
    let many = |n: usize| (0..n as u128).map(|n| post(n, "")).collect::<Vec<_>>();
    assert!(matches!(outbox.park(many(CALL_MAX + 1)).await, Err(Error::Invalid(_))));
    assert_eq!(outbox.pending(), 0);
    outbox.park(many(CALL_MAX)).await.unwrap();
    outbox.settle((0..CALL_MAX as u128).map(appended).collect()).await.unwrap();
    assert_eq!(outbox.pending(), 0);
}

#[tokio::test]
async fn the_folder_is_made_small_and_keeps_what_is_pending_or_refused() {
    let disk = SimDisk::default();
    let outbox = open(&disk).await.unwrap();
    outbox.park(vec![post(1_000, "pending"), post(1_001, "refused"), post(1_002, "refused")]).await.unwrap();
    outbox.settle(vec![refused(1_001)]).await.unwrap();
    let mut halves = HashSet::new();
    for n in 0..200 {
        outbox.park(vec![post(n, &"x".repeat(300))]).await.unwrap();
        outbox.settle(vec![appended(n)]).await.unwrap();
        assert!(disk.paths().len() < 12, "{:?}", files(&disk));
        halves.extend(files(&disk).into_iter().filter(|name| name.ends_with("meta")));
    }
    assert_eq!(halves.len(), 2, "it went from one folder to the other and back");
    assert!(files(&disk).iter().any(|name| name == "current"));
    outbox.settle(vec![refused(1_002)]).await.unwrap();
    let told = (outbox.first(9), outbox.refused(), outbox.counts());
    assert_eq!((ids(&told.0), told.1.len()), (vec![id(1_000)], 2));
    outbox.close().await.unwrap();
    let outbox = open(&disk).await.unwrap();
    assert_eq!((outbox.first(9), outbox.refused(), outbox.counts()), told);
    outbox.settle(vec![appended(1_000)]).await.unwrap();
    outbox.close().await.unwrap();
    let before = disk.operations();
    let outbox = open(&disk).await.unwrap();
    assert_eq!((outbox.pending(), outbox.refused()), (0, told.1));
    outbox.close().await.unwrap();
    let made_small = disk.operations() - before;
    let before = disk.operations();
    open(&disk).await.unwrap();
    assert!(disk.operations() - before < made_small / 2, "there is nothing to be made smaller");
}

#[tokio::test]
async fn a_second_process_on_the_same_data_folder_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let open = || Outbox::open(folder.path().join("outbox"), Clock::system(), &tasks);
    let outbox = open().await.unwrap();
    let line = open().await.unwrap_err().to_string();
    let process = std::process::id();
    let expected =
        format!("another Antiphon server (process {process}) uses this data folder; give each node its own --data");
    assert_eq!(line, expected);
    outbox.close().await.unwrap();
    open().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "in the way").unwrap();
    let line =
        Outbox::open(folder.path().join("file/outbox"), Clock::system(), &Tasks::new()).await.unwrap_err().to_string();
    assert!(line.starts_with("cannot use the folder `") && line.contains("--data") && !line.contains('\n'), "{line}");
}

#[derive(Debug, Clone)]
enum Step {
    Park(Vec<(u128, u8)>),
    Settle(Vec<(u128, bool)>),
    Reopen,
    Kill,
}

/// The rules, as plainly as they can be said.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    pending: Vec<Post>,
    refused: Vec<(Post, String)>,
}

impl Model {
    fn park(&mut self, posts: &[Post]) {
        for post in posts {
            if !self.pending.iter().any(|known| known.id == post.id) {
                self.pending.push(Post { fresh: false, ..post.clone() });
            }
        }
    }

    fn settle(&mut self, ends: &[(MessageId, Settled)]) {
        for (id, how) in ends {
            let Some(at) = self.pending.iter().position(|known| known.id == *id) else { continue };
            let post = self.pending.remove(at);
            if let Settled::Refused(reason) = how {
                self.refused.push((post, reason.to_string()));
            }
        }
    }

    /// What an outbox tells, in the model's words; what was refused in no order.
    fn of(outbox: &Outbox) -> Model {
        let refused = outbox.refused().into_iter().map(|refused| (refused.post, refused.reason.to_string()));
        let pending = outbox.first(usize::MAX).into_iter().map(|parked| parked.post);
        Model { pending: pending.collect(), refused: refused.collect() }.sorted()
    }

    fn sorted(mut self) -> Model {
        self.refused.sort_by(|a, b| (a.0.id, &a.0.text, &a.1).cmp(&(b.0.id, &b.0.text, &b.1)));
        self
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let park = proptest::collection::vec((0..30u128, 0..3u8), 0..4);
    let settle = proptest::collection::vec((0..30u128, any::<bool>()), 0..8);
    let step = prop_oneof![
        6 => park.prop_map(Step::Park),
        5 => settle.prop_map(Step::Settle),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..crate::decide::tests::config() })]

    #[test]
    fn whatever_is_parked_and_settled_the_outbox_is_as_the_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let disk = SimDisk::default();
            let settings = Settings { parked_max: 1_000, parked_bytes_max: 1 << 20, ..small() };
            let mut outbox = open_with(&disk, settings.clone()).await.unwrap();
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Park(posts) => {
                        let posts: Vec<_> = posts.iter().map(|(n, text)| post(*n, &"t".repeat(usize::from(*text)))).collect();
                        model.park(&posts);
                        let told = outbox.park(posts.clone()).await.unwrap();
                        for (told, post) in told.iter().zip(&posts) {
                            assert_eq!(Some(&told.post), model.pending.iter().find(|known| known.id == post.id));
                        }
                    }
                    Step::Settle(ends) => {
                        let ends: Vec<_> = ends.iter().map(|(n, well)| if *well { appended(*n) } else { refused(*n) }).collect();
                        model.settle(&ends);
                        outbox.settle(ends).await.unwrap();
                    }
                    Step::Reopen => {
                        outbox.close().await.unwrap();
                        outbox = open_with(&disk, settings.clone()).await.unwrap();
                    }
                    Step::Kill => {
                        // Whatever its task still does fails from now on; it may be making the folder small.
                        disk.fault_after(0, Fault::Crash);
                        let _ = outbox.close().await;
                        disk.restart_process();
                        outbox = open_with(&disk, settings.clone()).await.unwrap();
                    }
                }
                assert_eq!(Model::of(&outbox), model.clone().sorted());
                let counts = outbox.counts();
                assert_eq!((counts.pending, counts.refused), (model.pending.len(), model.refused.len()));
                assert_eq!(counts.bytes == 0, model == Model::default());
                for n in 0..30 {
                    assert_eq!(outbox.get(&id(n)).map(|parked| parked.post), model.pending.iter().find(|p| p.id == id(n)).cloned());
                }
            }
        });
    }
}
