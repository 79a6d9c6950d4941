//! A node: the one owner of this process's state. It decides against it, appends, applies, publishes.
//!
//! ```text
//!  callers ─ request ─▶ ┌ conductor ─────────────────────────────────────────────┐
//!                       │ decide ▶ log.append (one call in flight) ▶ apply ▶ push │─▶ feeds ─▶ subscribers
//!  callers ◀─ answer ── └──▲─────────▲──────────────▲───────────── │ ────────────┘
//!       outbox ────────────┘ timers ─┘  other nodes ┘               ▼ indexer
//! ```
//!
//! Promises:
//! - requests that arrive while an append is under way share the next one; each keeps its own verdict;
//! - an answer is given after the entries are durable *and* applied: who has the answer can read what it says;
//! - state and feeds change under one lock, so a subscriber's snapshot and its place in the ring fit exactly;
//! - at most [`REQUESTS_MAX`] requests wait; whoever comes then waits for a place;
//! - while the store is away, reading goes on from memory, posts go to the outbox, time stands still for leases; when it
//!   is back, everything goes on by itself, exactly once.
//!
//! Not here: what may happen (`decide`), bots (`work`), HTTP.
//! Start with [`Node`], then `conductor` (the turn), `batch` (deciding), `apply` (what is new), `away` (the store comes
//! and goes), `parking` (the outbox), `repair` (a lost tail), `build` (the state from the log), `live` (words), `places`
//! (in the queue), `keys` (who may answer from outside), `erase` (texts out of the log); `read`, `then` and `follow` are the
//! reading side, `monitor` and `workers` the watching one, `stored` the auditor's.

mod apply;
mod away;
mod batch;
mod build;
mod claimers;
mod conductor;
mod erase;
mod follow;
mod keys;
mod lanes;
mod live;
mod monitor;
mod parking;
mod places;
mod read;
mod reading;
mod repair;
mod snapshot;
mod start;
mod state;
mod stored;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod then;
mod timer;
mod work;
mod workers;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use antiphon_schemas::{
    BotName, Cursor, Entry, Epoch, Event, MessageId, RoomName, Seq,
    event::{LogCheckpoint, LogRepaired},
    time,
    wire::{Changed, Parked, Posted, Status, monitor::WorkerKind},
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use follow::{Followed, Follower};
pub use keys::key_sha256;
pub use monitor::{Surroundings, Watching};
pub use read::Range;
pub use reading::Reading;
pub use snapshot::remembered;
pub use start::{Settings, start};
pub use text::Text;
pub use then::Moment;
pub use work::{Asked, Following};

use self::{
    build::Indexed,
    claimers::{Claimer, Told},
};

use crate::{
    clock::Clock,
    decide::{
        Facts, Policy, Refusal,
        change::Change,
        key::KeyWish,
        post::Post,
        repair::Restore,
        work::{End, Held, Wish},
    },
    fanout::{Feed, Feeds},
    log::{self, Info, Log},
    projection::{Limits, Projections, view},
};

/// Requests that wait for the conductor; it takes them all at each turn, so this bounds memory, not speed.
pub const REQUESTS_MAX: usize = 4_096;
/// How often a command is decided again after a conflict, and facts are read again that went stale.
const TRIES_MAX: u32 = 8;
/// How long a probe may take before the node counts as not ready.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// The longest reply; what a model writes beyond it is refused.
pub const REPLY_BYTES_MAX: usize = 512 * 1024;

/// Why a node could not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too many others touched the same message at once; try again.
    #[error("too much happens to this message at once; try again")]
    Busy,
    /// The log says no.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// The index cannot be read.
    #[error("the index cannot be read: {0}; restart the server, or delete the folder `index` to have it built anew")]
    Index(String),
    /// The view did not reach the position in time.
    #[error("the view has not reached that position yet; try again")]
    Behind,
    /// A piece of a reply came out of order.
    #[error("the next piece has index {expected}")]
    DeltaGap {
        /// The index of the piece that is wanted.
        expected: u32,
    },
    /// A reply beyond [`REPLY_BYTES_MAX`].
    #[error("the reply is longer than {REPLY_BYTES_MAX} bytes")]
    ReplyTooLong,
    /// A text that does not begin with the pieces that were sent of it.
    #[error(
        "the text does not begin with the pieces that were sent before; what was shown cannot be taken back, so fail or release the claim"
    )]
    TextMismatch,
    /// The server is stopping.
    #[error("the server is stopping; try again in a moment")]
    Stopping,
}

/// A handle on the node; cheap to clone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    log: Arc<dyn Log>,
    name: Arc<str>,
    clock: Clock,
    policy: Arc<Policy>,
    limits: Limits,
    data: Option<PathBuf>,
    // A std lock: written by the conductor for short work in memory, read by everybody, never held across an await.
    state: RwLock<State>,
    feeds: Feeds<RoomName>,
    /// What workers that follow their claims are told, by their names.
    workers: Feeds<Arc<str>>,
    /// What monitors are shown, while there is one.
    monitor: monitor::Monitor,
    /// Who was heard of, or waits for work.
    roster: workers::Roster,
    /// The next ticket of whoever waits for a claim.
    tickets: AtomicU64,
    /// The feed through which a probe comes back.
    canary: Arc<Feed>,
    // Replaced as a whole when the state is built anew.
    indexed: RwLock<Indexed>,
    applied: watch::Sender<Seq>,
    /// Counts the changes of which keys are good.
    keys_changed: watch::Sender<u64>,
    /// The store may have lost entries about keys that are not back yet: which keys are good is not known. Set with the
    /// state locked for writing; cleared when what was brought back is applied.
    keys_lost: AtomicBool,
    requests: mpsc::Sender<Request>,
    erasing: erase::Erasing,
    incarnation: Uuid,
    /// Cancelled once everything is closed and the last snapshot written.
    stopped: CancellationToken,
}

/// What the conductor owns and everybody reads.
#[derive(Debug)]
pub struct State {
    /// The folds of the log.
    pub projections: Projections,
    /// The replies being written, by the message that they answer.
    pub writing: HashMap<MessageId, Writing>,
    /// The epoch of the log that the projections are folds of.
    pub epoch: Epoch,
    /// Whether the store can be used.
    pub condition: Condition,
    /// Posts in the outbox.
    pub parked: usize,
    /// Posts from the outbox that the log refused; kept on this node's disk.
    pub refused: usize,
    /// Whether the projections were ever built: before that there is nothing to show.
    built: bool,
    /// The last entry applied: what a snapshot names its position by.
    last: Option<Arc<Entry>>,
}

/// Whether a node's store can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It takes appends.
    Connected,
    /// It is away: reads come from memory and may be stale, posts go to the outbox.
    Degraded {
        /// Since when, in ms since 1970.
        since_ms: u64,
        /// Why.
        why: Arc<str>,
    },
    /// It is there, but is not what this node knows: nothing is taken until a person says which is right.
    Refusing {
        /// Since when, in ms since 1970.
        since_ms: u64,
        /// Why, and what to do.
        why: Arc<str>,
    },
}

impl Condition {
    /// `connected`, `degraded` or `refusing`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Condition::Connected => "connected",
            Condition::Degraded { .. } => "degraded",
            Condition::Refusing { .. } => "refusing",
        }
    }

    /// Since when it is not connected, in ms since 1970, and why.
    pub fn trouble(&self) -> Option<(u64, &Arc<str>)> {
        match self {
            Condition::Connected => None,
            Condition::Degraded { since_ms, why } | Condition::Refusing { since_ms, why } => Some((*since_ms, why)),
        }
    }
}

/// Where a post went.
#[derive(Debug, Clone, PartialEq)]
pub enum Placed {
    /// Into the log, just now.
    Posted(Posted),
    /// It was there before.
    Again(Posted),
    /// Onto this node's disk, until the store is back.
    Parked(Parked),
}

/// A reply while it is being written. Live only: the log has the claim before and the whole text after.
#[derive(Debug, Clone, PartialEq)]
pub struct Writing {
    /// The room.
    pub room: RoomName,
    /// The id that the reply will have.
    pub reply_id: MessageId,
    /// Who writes.
    pub bot: BotName,
    /// The index of the next delta.
    pub next_index: u32,
    /// The text so far.
    pub text: Text,
    /// From the claim to the first piece, as this node saw it.
    pub first_ms: Option<u64>,
    /// What its worker is doing, once it has said so.
    pub stage: Option<Stage>,
}

/// What a worker says it is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// A code, e.g. `loading-model`.
    pub name: Arc<str>,
    /// How much of that is done, from 0 to 1, if it knows.
    pub progress: Option<f32>,
    /// Since when, in ms since 1970, as this node heard it.
    pub since_ms: u64,
}

/// A claim, given to whoever asked for work.
#[derive(Debug)]
pub struct Claimed {
    /// Which message, which claim.
    pub held: Held,
    /// The id that the reply will have.
    pub reply_id: MessageId,
    /// The room.
    pub room: RoomName,
    /// The bot that shall answer.
    pub bot: BotName,
    /// 1 for the first try.
    pub attempt: u32,
    /// How long it lives without a heartbeat.
    pub lease: Duration,
    /// Cancelled when the claim is over, however it ended: stop working.
    pub over: CancellationToken,
}

/// A live word from whoever holds a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// It is alive.
    Heartbeat,
    /// What it is doing.
    Stage {
        /// A code, e.g. `loading-model`.
        stage: Arc<str>,
        /// How much of that is done, from 0 to 1, if it knows.
        progress: Option<f32>,
    },
    /// The next piece of the reply.
    Delta {
        /// 0, 1, 2 …
        index: u32,
        /// The piece.
        text: Arc<str>,
        /// All pieces before it, for a node that may lack some.
        before: Option<Arc<str>>,
    },
}

/// What a node says to a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The index of the piece that is wanted next.
    pub next_index: u32,
    /// How long the claim lives from now.
    pub lease: Duration,
}

/// What a node is asked to do.
enum Request {
    Command { command: Command, facts: Facts, epoch: Epoch, answer: oneshot::Sender<Result<Answer, Error>> },
    BeginAnew { answer: oneshot::Sender<Result<(), Error>> },
    Claim { wish: Wish, claimer: Claimer },
    Withdraw { ticket: u64 },
    Word { held: Held, word: Word, answer: oneshot::Sender<Result<Heard, Error>> },
    Probe,
    Stop { done: oneshot::Sender<()> },
}

/// A wish that may end in an append.
#[derive(Debug, Clone)]
enum Command {
    Post(Post),
    Change(MessageId, Change),
    End(Held, End),
    Due(MessageId),
    Claim(Wish),
    Restore(Restore),
    Note(LogRepaired),
    Checkpoint(LogCheckpoint),
    Key(KeyWish),
}

/// What became of a command.
enum Answer {
    /// Facts went stale before the decision: read them again.
    Stale,
    /// Appended.
    Entries(Vec<Arc<Entry>>),
    /// It had happened before.
    Already(Arc<Entry>),
    /// Nothing had to change.
    Stands(Status),
    /// On this node's disk, at this time.
    Parked(u64),
}

impl Node {
    /// Epoch, partition, backend, durability of the log.
    pub fn info(&self) -> Info {
        self.inner.log.info()
    }

    /// The node's name; workers in this process carry it.
    pub fn name(&self) -> &Arc<str> {
        &self.inner.name
    }

    /// The epoch of what it shows.
    pub fn epoch(&self) -> Epoch {
        self.state().epoch
    }

    /// `seq` as a cursor of what it shows.
    pub fn cursor(&self, seq: Seq) -> Cursor {
        Cursor { epoch: self.epoch(), partition: 0, seq }
    }

    /// The operator's settings for decisions.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// This process's own id; claims made in it carry it.
    pub fn incarnation(&self) -> Uuid {
        self.inner.incarnation
    }

    /// The wall clock.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The state as of now. Hold it briefly: the conductor waits for it.
    pub fn state(&self) -> Reading<'_> {
        Reading::of(self.inner.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last position applied.
    pub fn position(&self) -> Seq {
        *self.inner.applied.borrow()
    }

    /// The last position that the index shows.
    pub fn indexed(&self) -> Seq {
        *self.inner.index().applied.borrow()
    }

    /// The last durable position of the log.
    pub fn tail(&self) -> Seq {
        self.inner.log.tail()
    }

    /// A fresh message id: UUIDv7 of now.
    pub fn fresh_id(&self) -> MessageId {
        MessageId(Uuid::now_v7())
    }

    /// Posts a message. Returns where it stands.
    ///
    /// Guarantee: durable and applied when this returns, or on this node's disk while the store is away. Idempotent by the
    /// message's id. Cost: a share of one fsync.
    ///
    /// # Errors
    /// [`Error::Refused`] as `decide::post`; [`Error::Log`], [`Error::Busy`], [`Error::Stopping`]: try again, with
    /// the same id.
    pub async fn post(&self, post: Post) -> Result<Placed, Error> {
        let (id, room, needs) = (post.id, post.room.clone(), post.needs());
        let (entry, repeated) = match self.command(Command::Post(post), &needs).await? {
            Answer::Entries(entries) => (entries.into_iter().next(), false),
            Answer::Already(entry) => (Some(entry), true),
            Answer::Parked(at_ms) => return Ok(Placed::Parked(Parked { id, room, at: time::rfc3339(at_ms) })),
            _ => (None, false),
        };
        if let Some(Entry { event: Event::Erased(_), .. }) = entry.as_deref() {
            return Err(Refusal::IdTaken(id).into());
        }
        let Some(Entry { header, event: Event::MessagePosted(posted), .. }) = entry.as_deref() else {
            return Err(Error::Busy);
        };
        let room = header.room.clone().ok_or(Error::Busy)?;
        let position = view::position(self.epoch(), header.seq);
        let posted = Posted { id: posted.id, room, position, at: time::rfc3339(header.at_ms) };
        Ok(if repeated { Placed::Again(posted) } else { Placed::Posted(posted) })
    }

    /// Takes an empty store as a new log, because a person said so. What this node knew of the old one is offered to
    /// it.
    ///
    /// # Errors
    /// [`Error::Log`] if the store is not empty, or cannot be reached.
    pub async fn begin_anew(&self) -> Result<(), Error> {
        let (answer, done) = oneshot::channel();
        self.send(Request::BeginAnew { answer }).await?;
        done.await.map_err(|_| Error::Stopping)?
    }

    /// Cancels, retries or hides a message. To erase one, call [`Node::erase`].
    ///
    /// # Errors
    /// [`Error::Refused`] as `decide::change`; else as [`Node::post`].
    pub async fn change(&self, id: MessageId, change: Change) -> Result<Changed, Error> {
        let answer = self.command(Command::Change(id, change), &[id]).await?;
        let status = match (answer, change) {
            (Answer::Stands(status), _) => status,
            (_, Change::Cancel) => Status::Cancelled,
            (_, Change::Retry) => Status::Waiting,
            (_, Change::Redact | Change::Erase) => self.record(id).await?.map_or(Status::None, |record| record.status),
        };
        Ok(Changed { id, status, position: view::position(self.epoch(), self.position()) })
    }

    /// Waits for the next message of a bot and claims it.
    ///
    /// Guarantee: a claim whose caller has gone is released at once; one that was handed over just before lives until its
    /// lease is over.
    ///
    /// # Errors
    /// [`Error::Stopping`]; [`Error::Log`] if the log takes no writes.
    pub async fn claim(&self, bot: &BotName, worker: &Arc<str>, incarnation: Option<Uuid>) -> Result<Claimed, Error> {
        let (bots, reply_id): (Arc<[BotName]>, _) = ([bot.clone()].into(), self.fresh_id());
        let _waits = self.waits(worker, WorkerKind::InProcess, &bots, None);
        let wish = Wish { bots, worker: worker.clone(), incarnation, reply_id, keyed: false };
        let (answer, told) = oneshot::channel();
        let ticket = self.ticket();
        let claimer = Claimer { ticket, cold: false, until: None, kept: false, facts: Facts::none(), answer };
        self.send(Request::Claim { wish, claimer }).await?;
        match told.await.map_err(|_| Error::Stopping)?? {
            Told::Claimed(claimed) => Ok(claimed),
            // Only said to whoever set a time, or has a key.
            Told::Nothing | Told::Stale => Err(Error::Busy),
        }
    }

    /// Says something live about a claimed message: a heartbeat, a stage, the next piece of the reply.
    ///
    /// A piece with an index below the next one is ignored; one beyond it is taken if it brings those before it.
    ///
    /// # Errors
    /// [`Error::Refused`] when the claim is over: stop working. [`Error::DeltaGap`]: send the expected one, or bring
    /// what is missing.
    pub async fn say(&self, held: Held, word: Word) -> Result<Heard, Error> {
        let (answer, said) = oneshot::channel();
        self.send(Request::Word { held, word, answer }).await?;
        said.await.map_err(|_| Error::Stopping)?
    }

    /// Ends a claim: completed, failed or released.
    ///
    /// # Errors
    /// [`Error::Refused`] when the claim was over before: nothing is written. [`Error::Log`]: try again.
    pub async fn end(&self, held: Held, end: End) -> Result<(), Error> {
        self.command(Command::End(held, end), &[held.message_id]).await.map(|_| ())
    }

    /// Proves that the node works: the log takes a (empty) batch, and a live event comes back through a feed.
    ///
    /// Nothing of it goes into the log.
    ///
    /// # Errors
    /// [`Error::Log`] if the log takes nothing, [`Error::Index`] if the index has failed, [`Error::Stopping`] if log or
    /// conductor do not answer in time.
    pub async fn probe(&self) -> Result<(), Error> {
        if let Some(failure) = self.inner.index().index.failed() {
            return Err(Error::Index(failure.to_string()));
        }
        if let Some((_, why)) = self.state().condition.trouble() {
            return Err(Error::Log(log::Error::Away(why.clone())));
        }
        let mut slot = self.inner.canary.end();
        let round_trip = async {
            self.inner.log.probe().await?;
            self.send(Request::Probe).await?;
            std::future::poll_fn(|cx| self.inner.canary.poll_take(&mut slot, cx)).await;
            Ok(())
        };
        tokio::time::timeout(PROBE_MAX, round_trip).await.unwrap_or(Err(Error::Stopping))
    }

    /// Stops the conductor: no more requests are taken, what is under way is finished, feeds end, log and index are
    /// closed. Twice is fine.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.inner.requests.send(Request::Stop { done }).await.is_ok() {
            let _ = stopped.await;
        }
        self.inner.stopped.cancelled().await;
    }

    /// Ends the feeds, so that streams to subscribers end.
    pub fn end_feeds(&self) {
        self.inner.feeds.close();
        self.inner.workers.close();
        self.inner.monitor.close();
    }

    async fn command(&self, command: Command, needs: &[MessageId]) -> Result<Answer, Error> {
        for _ in 0..TRIES_MAX {
            let epoch = self.epoch();
            let facts = match (self.facts(needs).await, &command) {
                // The outbox takes it; it is decided with facts when the store is back.
                (Err(Error::Log(log::Error::Away(_))), Command::Post(_)) => Facts::unknown(),
                (facts, _) => facts?,
            };
            let (answer, decided) = oneshot::channel();
            self.send(Request::Command { command: command.clone(), facts, epoch, answer }).await?;
            match decided.await.map_err(|_| Error::Stopping)?? {
                Answer::Stale => continue,
                answer => return Ok(answer),
            }
        }
        Err(Error::Busy)
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        self.inner.requests.send(request).await.map_err(|_| Error::Stopping)
    }
}
