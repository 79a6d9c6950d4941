//! A node: the single owner of this process's state. It decides against the state, appends, applies and publishes.
//!
//! ```text
//!  callers ─ request ─▶ driver ─ input ─▶ ┌ core ──────────────────────────┐
//!  holders ─ word ────▶ (tokio)           │ decide ▶ … ▶ apply ▶ view      │─▶ feeds ─▶ subscribers
//!  log, outbox, time ─▶        ◀─ effect ─└────────────────────────────────┘
//! ```
//!
//! Promises:
//! - requests that arrive during an append share the next one; each keeps its own verdict;
//! - a request is answered after its entries are durable *and* applied, so the caller can read them;
//! - at most [`REQUESTS_MAX`] requests and [`WORDS_MAX`] live words are queued; further callers wait for a place;
//! - while the store is unavailable, reads are served from memory, posts go to the outbox, and leases are suspended; when it is back,
//!   everything resumes automatically, exactly once.
//!
//! Not here: what may happen (`decide`), bots (`work`), HTTP.
//! Start with [`Node`], then `core` (the state machine) and `driver` (its I/O); `view` is shared by both. `build` folds
//! the log, `indexed` is the current index; `query`, `history` and `follow` read, `monitor` and `workers` observe,
//! `audit_read` is for auditors; `work` and `keys` serve workers on other machines, `erase` removes texts from the log.

mod audit_read;
mod build;
mod core;
mod driver;
mod erase;
mod follow;
mod guard;
mod history;
mod indexed;
mod keys;
mod monitor;
mod query;
mod queue_position;
#[cfg(test)]
mod sim;
mod snapshot;
mod start;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod types;
mod view;
mod work;
mod workers;

use std::{
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Duration,
};

use antiphon_schemas::{
    BotName, Cursor, Entry, Epoch, Event, MessageId, Seq, time,
    wire::{Changed, Parked, Posted, Status, monitor::WorkerKind},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use follow::{Followed, Follower};
pub use guard::StateGuard;
pub use history::Moment;
pub use keys::key_sha256;
pub use monitor::Watching;
pub use query::Range;
pub use snapshot::remembered;
pub use start::{Settings, start};
pub use text::Text;
pub use types::{
    Claimed, Condition, Error, Heard, LiveUpdate, Placed, REPLY_BYTES_MAX, Skew, Stage, State, Surroundings, Writing,
};
pub use work::{Asked, Ended, Following};

use self::{
    core::{Answer, Answered, ClaimReply, Claimer, Command, Request},
    indexed::Indexed,
    view::View,
};

use crate::{
    clock::Clock,
    decide::{
        Policy, Prefetched, Refusal,
        change::Change,
        post::Post,
        work::{ClaimRequest, End, Held},
    },
    log::{self, Info, Log},
    projection::{Limits, view::position},
};

/// Requests that wait for the core; it takes them all at each turn, so this bounds memory, not speed.
pub const REQUESTS_MAX: usize = 4_096;
/// Live words that wait for the core: they are taken one by one, before everything else, so few ever wait.
pub const WORDS_MAX: usize = 1_024;
/// How often a command is decided again after a conflict, and facts are read again that went stale.
const TRIES_MAX: u32 = 8;
/// How long the one who accepts an empty store waits until the node uses it.
const BEGIN_MAX: Duration = Duration::from_secs(5);
/// How long a probe may take before the node counts as not ready.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// A handle on the node; cheap to clone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    view: Arc<View>,
    log: Arc<dyn Log>,
    name: Arc<str>,
    clock: Clock,
    policy: Arc<Policy>,
    limits: Limits,
    data: Option<PathBuf>,
    // Replaced as a whole when the state is rebuilt.
    indexed: RwLock<Indexed>,
    requests: mpsc::Sender<Request>,
    words: mpsc::Sender<WordRequest>,
    /// Those who wait for the end: a way of its own, so that a full queue of requests holds up no stop.
    stops: mpsc::Sender<oneshot::Sender<()>>,
    incarnation: Uuid,
    /// Cancelled once everything is closed and the last snapshot written.
    stopped: CancellationToken,
}

/// A live word on its way to the core.
struct WordRequest {
    held: Held,
    word: LiveUpdate,
    answer: oneshot::Sender<Result<Heard, Error>>,
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
        Cursor::new(self.epoch(), seq)
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

    /// The state as of now. Hold it briefly: the core waits for it.
    pub fn state(&self) -> StateGuard<'_> {
        StateGuard::of(self.inner.view.state())
    }

    /// The last position applied.
    pub fn position(&self) -> Seq {
        self.inner.view.position()
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

    /// Posts a message. Returns its position.
    ///
    /// Guarantee: durable and applied when this returns, or on this node's disk while the store is away. Idempotent by the
    /// message's id. Cost: a share of one fsync.
    ///
    /// # Errors
    /// [`Error::Refused`] as `decide::post`; [`Error::Log`], [`Error::Busy`], [`Error::Stopping`]: try again, with
    /// the same id.
    pub async fn post(&self, post: Post) -> Result<Placed, Error> {
        let (id, room, needs) = (post.id, post.room.clone(), post.needs());
        let Answered { answer, epoch, .. } = self.command(Command::Post(post), &needs).await?;
        let (entry, repeated) = match answer {
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
        let position = position(epoch, header.seq);
        let posted = Posted { id: posted.id, room, position, at: time::rfc3339(header.at_ms) };
        Ok(if repeated { Placed::Again(posted) } else { Placed::Posted(posted) })
    }

    /// Takes an empty store as a new log, because a person said so. What this node knew of the old one is offered to
    /// it.
    ///
    /// # Errors
    /// [`Error::Log`] if the store is not empty, or cannot be reached.
    pub async fn begin_anew(&self) -> Result<(), Error> {
        let Some(shared) = self.inner.log.shared() else {
            return Err(Error::Log(log::Error::Invalid(
                "a log of one process cannot be replaced by an empty one".into(),
            )));
        };
        let mut condition = self.inner.view.condition.subscribe();
        shared.begin_anew().await?;
        let begun = condition.wait_for(|word| *word != "refusing");
        // What takes longer shows in `/health/ready`.
        let _ = tokio::time::timeout(BEGIN_MAX, begun).await;
        Ok(())
    }

    /// Cancels, retries or hides a message. To erase one, call [`Node::erase`].
    ///
    /// # Errors
    /// [`Error::Refused`] as `decide::change`; else as [`Node::post`].
    pub async fn change(&self, id: MessageId, change: Change) -> Result<Changed, Error> {
        let Answered { answer, epoch, position: at } = self.command(Command::Change(id, change), &[id]).await?;
        let status = match (answer, change) {
            (Answer::Stands(status), _) => status,
            (_, Change::Cancel) => Status::Cancelled,
            (_, Change::Retry) => Status::Waiting,
            (_, Change::Redact | Change::Erase) => self.record(id).await?.map_or(Status::None, |record| record.status),
        };
        Ok(Changed { id, status, position: position(epoch, at) })
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
        let wish = ClaimRequest { bots, worker: worker.clone(), incarnation, reply_id, keyed: false };
        let (answer, told) = oneshot::channel();
        let ticket = self.ticket();
        let claimer = Claimer { ticket, cold: false, until: None, kept: false, facts: Prefetched::none(), answer };
        self.send(Request::Claim { wish, claimer }).await?;
        match told.await.map_err(|_| Error::Stopping)?? {
            ClaimReply::Claimed(claimed) => Ok(claimed),
            // Only for callers that set a time, or have a key.
            ClaimReply::Nothing | ClaimReply::Stale => Err(Error::Busy),
        }
    }

    /// Says something live about a claimed message: a heartbeat, a stage, the next piece of the reply.
    ///
    /// A piece with an index below the next one is ignored; one beyond it is taken if it brings those before it.
    ///
    /// # Errors
    /// [`Error::Refused`] when the claim is over: stop working. [`Error::DeltaGap`]: send the expected one, or bring
    /// what is missing.
    pub async fn say(&self, held: Held, word: LiveUpdate) -> Result<Heard, Error> {
        let (answer, said) = oneshot::channel();
        self.inner.words.send(WordRequest { held, word, answer }).await.map_err(|_| Error::Stopping)?;
        said.await.map_err(|_| Error::Stopping)?
    }

    /// Ends a claim: completed, failed or released. Returns the position of what was written, or up to which it was found
    /// written.
    ///
    /// # Errors
    /// [`Error::Refused`] when the claim was over before: nothing is written. [`Error::Log`]: try again.
    pub async fn end(&self, held: Held, end: End) -> Result<Cursor, Error> {
        let Answered { epoch, position, .. } = self.command(Command::End(held, end), &[held.message_id]).await?;
        Ok(Cursor::new(epoch, position))
    }

    /// Proves that the node works: the log takes a (empty) batch, and a live event comes back through a feed.
    ///
    /// Nothing of it goes into the log.
    ///
    /// # Errors
    /// [`Error::Log`] if the log takes nothing, [`Error::Index`] if the index has failed, [`Error::Stopping`] if log or
    /// core do not answer in time.
    pub async fn probe(&self) -> Result<(), Error> {
        if let Some(failure) = self.inner.index().index.failed() {
            return Err(Error::Index(failure.to_string()));
        }
        if let Some((_, why)) = self.state().condition.trouble() {
            return Err(Error::Log(log::Error::Away(why.clone())));
        }
        let mut slot = self.inner.view.canary.end();
        let round_trip = async {
            self.inner.log.probe().await?;
            self.send(Request::Probe).await?;
            std::future::poll_fn(|cx| self.inner.view.canary.poll_take(&mut slot, cx)).await;
            Ok(())
        };
        tokio::time::timeout(PROBE_MAX, round_trip).await.unwrap_or(Err(Error::Stopping))
    }

    /// Now, by the log's clock, in ms since 1970.
    pub fn log_now_ms(&self) -> u64 {
        self.inner.log.now_ms()
    }

    /// How far clocks differ from the log's.
    pub fn skew(&self) -> Skew {
        let (log_ms, wall_ms) = (self.inner.log.now_ms(), self.inner.clock.now_ms());
        Skew { wall_ms: log_ms as i64 - wall_ms as i64, log_ms: self.inner.view.skew_ms() }
    }

    /// How long ago the live claim on a message was made, in ms, by the clock that is right for it.
    pub fn claimed_ms_ago(&self, state: &State, message_id: &MessageId) -> u64 {
        let seen_at = state.writing.get(message_id).and_then(|writing| writing.seen_at);
        match (seen_at, state.projections.queue.claim(message_id)) {
            (Some(seen_at), _) => self.inner.clock.instant().saturating_duration_since(seen_at).as_millis() as u64,
            (None, Some(claim)) => self.inner.log.now_ms().saturating_sub(claim.at_ms),
            (None, None) => 0,
        }
    }

    /// Stops the node: no more requests are taken, what is under way is finished, feeds end, log and index are
    /// closed. Twice is fine.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.inner.stops.send(done).await.is_ok() {
            let _ = stopped.await;
        }
        self.inner.stopped.cancelled().await;
    }

    /// Ends the feeds, so that streams to subscribers end.
    pub fn end_feeds(&self) {
        self.inner.view.end_feeds();
    }

    async fn command(&self, command: Command, needs: &[MessageId]) -> Result<Answered, Error> {
        for _ in 0..TRIES_MAX {
            let epoch = self.epoch();
            let facts = match (self.facts(needs).await, &command) {
                // The outbox takes it; it is decided with facts when the store is back.
                (Err(Error::Log(log::Error::Away(_))), Command::Post(_)) => Prefetched::unknown(),
                (facts, _) => facts?,
            };
            let (answer, decided) = oneshot::channel();
            self.send(Request::Command { command: command.clone(), facts, epoch, answer }).await?;
            match decided.await.map_err(|_| Error::Stopping)?? {
                Answered { answer: Answer::Stale, .. } => continue,
                answered => return Ok(answered),
            }
        }
        Err(Error::Busy)
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        self.inner.requests.send(request).await.map_err(|_| Error::Stopping)
    }
}
