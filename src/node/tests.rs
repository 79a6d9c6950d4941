//! A node on the log in memory and on a wall clock that only moves when told; leases run in real time.
//!
//! [`Tricky`] is that log with another node, a lossy wire and a full disk in front of it.

pub(crate) mod away;
mod claims;
mod clocks;
mod erase;
mod history;
mod keys;
mod lock;
mod log;
mod monitor;
mod on_redis;
mod pages;
mod posts;
mod work;

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use antiphon_kit::sse::{SseEvent, SseReader};
use antiphon_schemas::{
    BotName, Entry, Epoch, Event, MessageId, RoomName, Seq,
    event::{Author, AuthorKind, Made},
    wire::Posted,
};
use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Duration, timeout},
};
use uuid::Uuid;

use super::{Claimed, Error, Follower, LiveUpdate, Node, Placed, Settings, start};
use crate::{
    clock::Clock,
    decide::{BotRule, Policy, post::Post, work::End, work::Held},
    log::{Append, Info, Log, Pending, Verdict, memory::MemoryLog},
    node::Followed,
    projection::Limits,
    tasks::Tasks,
};

const START_MS: u64 = 1_700_000_000_000;
/// Longer than any test: a claim that ends, was ended.
const LONG_MS: u64 = 600_000;
/// As long as a test can wait, and longer than a machine under load takes between two lines of a test.
const LEASE_MS: u64 = 1_000;
const ATTEMPTS_MAX: u32 = 3;

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to the next append that holds anything.
enum Trick {
    /// Another node appends first.
    After(Vec<Append>),
    /// It happens, but the answer is lost: the next try finds itself among what it missed.
    AnswerLost,
    /// The log says no.
    Fails(crate::log::Error),
    /// It is held back until the notification, having told that it is there.
    Held { there: Arc<Notify>, go: Arc<Notify> },
}

/// The log in memory, with tricks.
struct Tricky {
    inner: MemoryLog,
    tricks: Mutex<VecDeque<Trick>>,
    /// What the next erasures come to instead.
    unerased: Mutex<VecDeque<Unerased>>,
    /// How often it was read at single positions.
    gets: AtomicU64,
}

/// What happens to an erasure.
enum Unerased {
    /// The log says no.
    Fails(crate::log::Error),
    /// It is held back until the notification, having told that it is there.
    Held { there: Arc<Notify>, go: Arc<Notify> },
}

impl Tricky {
    fn over(inner: MemoryLog) -> Tricky {
        Tricky { inner, tricks: Mutex::default(), unerased: Mutex::default(), gets: AtomicU64::default() }
    }

    fn next(&self, trick: Trick) {
        self.tricks.lock().unwrap().push_back(trick);
    }
}

impl Log for Tricky {
    fn info(&self) -> Info {
        self.inner.info()
    }
    fn base(&self) -> Seq {
        self.inner.base()
    }
    fn tail(&self) -> Seq {
        self.inner.tail()
    }
    fn now_ms(&self) -> u64 {
        self.inner.now_ms()
    }
    fn append(&self, batch: Vec<Append>) -> Pending<'_, Vec<Verdict>> {
        let trick = if batch.is_empty() { None } else { self.tricks.lock().unwrap().pop_front() };
        Box::pin(async move {
            match trick {
                None => self.inner.append(batch).await,
                Some(Trick::Fails(why)) => Err(why),
                Some(Trick::After(others)) => {
                    for verdict in self.inner.append(others).await? {
                        assert!(matches!(verdict, Verdict::Appended(_)), "{verdict:?}");
                    }
                    self.inner.append(batch).await
                }
                Some(Trick::AnswerLost) => {
                    let afters: Vec<_> = batch.iter().map(|append| append.after).collect();
                    self.inner.append(batch).await?;
                    let mut verdicts = Vec::new();
                    for after in afters {
                        verdicts.push(Verdict::Conflict(self.inner.read(after, usize::MAX).await?));
                    }
                    Ok(verdicts)
                }
                Some(Trick::Held { there, go }) => {
                    there.notify_one();
                    go.notified().await;
                    self.inner.append(batch).await
                }
            }
        })
    }
    fn read(&self, after: Seq, entries_max: usize) -> Pending<'_, Vec<Arc<Entry>>> {
        self.inner.read(after, entries_max)
    }
    fn get(&self, positions: Vec<Seq>) -> Pending<'_, Vec<Arc<Entry>>> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.inner.get(positions)
    }
    fn beyond(&self, seq: Seq) -> Pending<'_, ()> {
        self.inner.beyond(seq)
    }
    fn load(&self, entries: Vec<Arc<Entry>>) -> Pending<'_, ()> {
        self.inner.load(entries)
    }
    fn erase(&self, positions: Vec<Seq>) -> Pending<'_, usize> {
        match self.unerased.lock().unwrap().pop_front() {
            Some(Unerased::Fails(why)) => Box::pin(std::future::ready(Err(why))),
            Some(Unerased::Held { there, go }) => Box::pin(async move {
                there.notify_one();
                go.notified().await;
                self.inner.erase(positions).await
            }),
            None => self.inner.erase(positions),
        }
    }
    fn forget(&self, positions: &[Seq]) {
        self.inner.forget(positions);
    }
    fn trim(&self, upto: Seq) -> Pending<'_, Seq> {
        self.inner.trim(upto)
    }
    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }
}

/// A node with everything it depends on.
struct Rig {
    node: Node,
    log: Arc<Tricky>,
    clock: Clock,
    wall: Arc<AtomicU64>,
}

pub(crate) fn policy() -> Policy {
    Policy {
        queue_max: 1_000,
        attempts_max: ATTEMPTS_MAX,
        max_age_ms: 3_600_000,
        lease_ms: LONG_MS,
        retry_base_ms: 20,
        retry_max_ms: 1_000,
        bots: vec![BotRule { name: bot(), rooms: vec![], answers_all: true }],
    }
}

pub(crate) async fn node_on(log: Arc<dyn Log>, clock: Clock, policy: Policy) -> Node {
    let limits = Limits { recent_messages: 100, rooms: 10 };
    start(Settings { name: "here".into(), log, outbox: None, clock, policy, limits, data: None }, &Tasks::new())
        .await
        .unwrap()
}

impl Rig {
    async fn new() -> Rig {
        Rig::with(policy()).await
    }

    async fn leasing(lease_ms: u64) -> Rig {
        Rig::with(Policy { lease_ms, ..policy() }).await
    }

    async fn with(policy: Policy) -> Rig {
        let (clock, wall) = Clock::manual(START_MS);
        let inner = MemoryLog::new(Epoch(7), clock.clone());
        let log = Arc::new(Tricky::over(inner));
        Rig { node: node_on(log.clone(), clock.clone(), policy).await, log, clock, wall }
    }

    /// Moves the wall clock.
    fn pass_ms(&self, ms: u64) {
        self.wall.fetch_add(ms, Ordering::Relaxed);
    }

    async fn post(&self, post: Post) -> Result<(Posted, bool), Error> {
        posted(self.node.post(post).await?)
    }

    /// Posts a question, and returns its id.
    async fn ask(&self, text: &str) -> MessageId {
        self.post(question(text)).await.unwrap().0.id
    }

    async fn claim(&self, worker: &str) -> Claimed {
        let (bot, worker) = (bot(), worker.into());
        let claimed = timeout(PATIENCE, self.node.claim(&bot, &worker, None));
        claimed.await.expect("a claim within a minute").unwrap()
    }

    /// A claim that waits; it has asked when this returns.
    async fn claiming(&self, worker: &'static str) -> tokio::task::JoinHandle<Result<Claimed, Error>> {
        let node = self.node.clone();
        let claiming = tokio::spawn(async move { node.claim(&bot(), &worker.into(), None).await });
        // A word goes the same way, behind it.
        tokio::task::yield_now().await;
        self.node.probe().await.unwrap();
        claiming
    }

    async fn delta(&self, held: Held, index: u32, text: &str) -> Result<(), Error> {
        self.node.say(held, LiveUpdate::Delta { index, text: text.into(), before: None }).await.map(drop)
    }

    /// Everything in the log.
    async fn entries(&self) -> Vec<Arc<Entry>> {
        self.log.inner.read(Seq::ZERO, usize::MAX).await.unwrap()
    }

    async fn kinds(&self) -> Vec<String> {
        self.entries().await.iter().map(|e| e.event.kind().to_owned()).collect()
    }

    async fn view(&self) -> View {
        let (follower, bytes) = Follower::snapshot(self.node.clone(), room(), 10, None).await.unwrap();
        let mut view = View { follower, reader: SseReader::new(), ready: VecDeque::new() };
        view.push(&bytes);
        assert_eq!(view.ready.pop_front().unwrap().name, "snapshot");
        view
    }
}

/// What a subscriber of the room sees.
struct View {
    follower: Follower,
    reader: SseReader,
    ready: VecDeque<SseEvent>,
}

impl View {
    fn push(&mut self, bytes: &[u8]) {
        let mut events = Vec::new();
        self.reader.push(bytes, &mut events);
        self.ready.extend(events.into_iter().filter(|e| e.name != "heartbeat"));
    }

    async fn next(&mut self) -> SseEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            let next = timeout(PATIENCE, poll_fn(|cx| self.follower.poll_next(cx)));
            match next.await.expect("an event within a minute") {
                Followed::Frames(bytes) => self.push(&bytes),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The names of the events up to one with this name.
    async fn until(&mut self, name: &str) -> Vec<String> {
        let mut names = Vec::new();
        while names.last().map(String::as_str) != Some(name) {
            let event = self.next().await;
            // A place in the queue is told when it is, at most once a second: what waits for a moment may or may not hear its own.
            if event.name != "reply.progress" || !event.data.contains("\"queued\"") {
                names.push(event.name);
            }
        }
        names
    }
}

fn bot() -> BotName {
    BotName::new("bot").unwrap()
}

fn room() -> RoomName {
    RoomName::new("lobby").unwrap()
}

/// What went into the log, and whether it stood there before.
fn posted(placed: Placed) -> Result<(Posted, bool), Error> {
    match placed {
        Placed::Posted(posted) => Ok((posted, false)),
        Placed::Again(posted) => Ok((posted, true)),
        Placed::Parked(parked) => panic!("not in the log: {parked:?}"),
    }
}

/// Somebody's post that wants an answer, under a fresh id that its client chose.
pub(crate) fn question(text: &str) -> Post {
    Post {
        room: room(),
        id: MessageId(Uuid::new_v4()),
        fresh: false,
        author: Author { name: "ann".into(), kind: AuthorKind::Human, color: None },
        text: text.into(),
        to: None,
        priority: 5,
        reply_to: None,
        said_at_ms: None,
    }
}

fn answer(text: &str) -> End {
    let author = Author { name: "bot".into(), kind: AuthorKind::Bot, color: None };
    End::Completed { author, text: text.into(), made: Made { model: "m".into(), ..Made::default() } }
}

fn fails(retryable: bool) -> End {
    End::Failed { reason: "model-broke: it did".into(), retryable }
}

fn kinds_of(entries: &[Arc<Entry>], id: MessageId) -> Vec<&str> {
    entries.iter().filter(|e| e.header.subjects.contains(&id)).map(|e| e.event.kind()).collect()
}
