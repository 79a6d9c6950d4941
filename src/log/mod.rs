//! The log's contract: one ordered, append-only, gapless sequence of entries, appended to on condition.
//!
//! Promises, each checked for every backend by `conformance`:
//! - positions are 1, 2, 3 … without gaps; an append's entries are contiguous and all there or none of them;
//! - an append that returned [`Verdict::Appended`] is durable (as far as [`Info::durability`] says) and readable;
//! - an append writes nothing if an entry newer than its `after` shares a subject: the missed entries come back;
//! - each append of a batch keeps its own verdict and sees the entries of those before it in the same batch;
//! - the time of an entry is never earlier than that of the entry before;
//! - entries read are byte for byte the entries appended, of unknown kinds too, until their bodies are erased: from then on
//!   every read gives what [`entry::erased`](antiphon_schemas::entry::erased) makes of them, and nothing else has changed;
//! - a log has a beginning, which only moves up ([`Log::trim`]); reading below it reports that the entries are gone, never that they are damaged;
//! - after [`Error::Poisoned`] nothing is ever acknowledged again until the process restarts;
//! - after [`Error::Away`] an append has happened or never will: nothing of it is written once the log is open again.
//!
//! Not here: what an entry means, who may append.
//! Backends: [`memory`] (the reference), [`mod@file`] (the default), `redis` (several nodes).

mod check;
#[cfg(test)]
pub(crate) mod conformance;
pub mod file;
mod lanes;
pub mod memory;
pub mod redis;
mod sequencer;
mod shared;

use std::{future::Future, pin::Pin, sync::Arc};

use antiphon_schemas::{
    Cursor, Entry, Epoch, Event, MessageId, RequestId, RoomName, Seq, entry::SALT_BYTES, event::CodecError,
};
use bytes::Bytes;

pub(crate) use self::{
    check::{
        answer_of, check_ascending, check_base, check_batch, check_entries, check_positions, check_trim, erase_among,
        erased_entry, first_after, too_short,
    },
    sequencer::Sequencer,
};
pub use self::{
    lanes::{Lane, Move, Resynced},
    shared::{Access, Shared, UPDATE_BYTES_MAX},
};

/// How many newer entries an append looks through; further behind is [`Verdict::Behind`]. Bounds a Redis script's time.
pub const SCAN_MAX: u64 = 256;
/// Appends in one call; a caller with more makes another call.
pub const BATCH_MAX: usize = 1_024;
/// Events in one append.
pub const DRAFTS_MAX: usize = 16;
/// Bytes of entries that one [`Log::read`] gathers before it stops (it returns at least one entry if there is one).
pub const READ_BYTES_MAX: usize = 1 << 20;

/// Positions in one [`Log::erase`]; a caller with more makes another call.
pub const ERASE_MAX: usize = 10_000;

/// A future of the log's answer.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// What is known of an open log.
#[derive(Debug, Clone)]
pub struct Info {
    /// The random id made when the log was created.
    pub epoch: Epoch,
    /// The partition: 0.
    pub partition: u8,
    /// `memory`, `file` or `redis`.
    pub backend: &'static str,
    /// What an acknowledgement is worth, as a sentence for the operator.
    pub durability: String,
}

impl Info {
    /// `seq` as a position that can be given out.
    pub fn cursor(&self, seq: Seq) -> Cursor {
        Cursor { epoch: self.epoch, partition: self.partition, seq }
    }
}

/// One event to be appended, its body already encoded so that the log's own thread need not.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The room it belongs to.
    pub room: Option<RoomName>,
    /// The event.
    pub event: Event,
    /// Salt and MessagePack, as [`Entry::body_of`] makes it.
    pub body: Bytes,
}

impl Draft {
    /// A draft with this salt.
    ///
    /// # Errors
    /// [`CodecError`] if the event cannot be encoded.
    pub fn new(room: Option<RoomName>, event: Event, salt: [u8; SALT_BYTES]) -> Result<Draft, CodecError> {
        let body = Entry::body_of(&event, salt)?;
        Ok(Draft { room, event, body })
    }
}

/// A conditional append: these events, unless an entry newer than `after` shares a subject.
#[derive(Debug, Clone)]
pub struct Append {
    /// The position against which the caller decided.
    pub after: Seq,
    /// Stands in each entry; a caller that lost an answer finds it among the missed entries of its second try.
    pub request: RequestId,
    /// The message ids to look for in newer entries. Empty: no look, for ids that nobody else can know.
    pub subjects: Vec<MessageId>,
    /// 1..=16 events; stored contiguously, in order, all or none.
    pub drafts: Vec<Draft>,
    /// What they move on the lanes.
    pub moves: Vec<Move>,
}

/// What became of one [`Append`].
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Durable; the entries as stored.
    Appended(Vec<Arc<Entry>>),
    /// Nothing written: somebody else touched a subject. All entries newer than `after`, in order.
    Conflict(Vec<Arc<Entry>>),
    /// Nothing written: more than [`SCAN_MAX`] newer entries. Read them, decide again.
    Behind {
        /// The last position.
        tail: Seq,
    },
    /// Nothing written: the log ends before `after`, so it is not the log against which the caller decided.
    Diverged {
        /// The last position.
        tail: Seq,
    },
    /// Nothing written: a lane is not as the append says. [`Shared::resync_lanes`], decide again.
    OutOfStep,
}

/// Why the log could not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Nothing written; free some space, then try again.
    #[error("the log cannot grow: {0}; nothing was written, try again")]
    Full(String),
    /// The system refuses what a write needs at the moment (no descriptors or memory left, a folder that is away). Nothing
    /// was written; the same call may succeed as soon as the cause is gone.
    #[error("the log cannot write at the moment: {0}; nothing was written, try again")]
    Busy(String),
    /// A sync failed; nothing more is acknowledged until the process restarts.
    #[error("the log failed and accepts no more writes until a restart: {0}")]
    Poisoned(String),
    /// The log is closing.
    #[error("the log is closed")]
    Closed,
    /// Stored bytes are not what was written.
    #[error("the log is damaged at {place}: {why}")]
    Damaged {
        /// File and offset, or position.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The caller broke the contract (too many appends, an entry too large, a gap in a load). Never retry.
    #[error("invalid request to the log: {0}")]
    Invalid(String),
    /// The log begins later: what is asked for was trimmed ([`Log::trim`]). Never retry.
    #[error("the log begins with position {base}; earlier entries are no longer kept")]
    Trimmed {
        /// The first position that can be read.
        base: Seq,
    },
    /// The disk said no while reading or opening.
    #[error("{0}")]
    Io(String),
    /// The store cannot be reached or takes nothing at the moment. Whether an append was written is unknown; once the
    /// log is open again it shows, and it will not be written later.
    #[error("the log is unavailable: {0}; it is retried automatically")]
    Away(Arc<str>),
}

impl Error {
    /// Whether the same call may succeed later without a restart.
    pub fn retryable(&self) -> bool {
        matches!(self, Error::Full(_) | Error::Busy(_) | Error::Away(_))
    }

    /// A stable kebab code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Full(_) => "log-full",
            Error::Busy(_) => "log-busy",
            Error::Poisoned(_) => "log-failed",
            Error::Closed => "log-closed",
            Error::Damaged { .. } => "log-damaged",
            Error::Invalid(_) => "log-invalid",
            Error::Trimmed { .. } => "log-trimmed",
            Error::Io(_) => "log-io",
            Error::Away(_) => "log-away",
        }
    }
}

/// Which logs that are not empty may be filled further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoOn {
    /// Only those whose filling broke off.
    HalfFilled,
    /// Those that are whole too, if no server has them.
    Any,
}

/// The contract; see the module header for what every backend promises.
pub trait Log: Send + Sync + 'static {
    /// Epoch, partition, backend, durability. Fixed while the log is open; before it was open for the first time the
    /// epoch is 0.
    fn info(&self) -> Info;

    /// The first position that can be read: 1 of a whole log, `upto + 1` after [`Log::trim`]. Entries below it are gone. Never
    /// falls within an epoch. On a log that others share it is what this process saw last.
    fn base(&self) -> Seq;

    /// The last durable position; 0 while empty. Never falls within an epoch.
    fn tail(&self) -> Seq;

    /// The time that an entry appended now would get, in ms since 1970: by the clock that stamps the entries, and never
    /// before the last entry. What is compared with an entry's time is compared with this, not with this machine's clock.
    ///
    /// Guarantee: never waits. Where the clock is a store's it is read once a session and carried on by this machine's
    /// monotonic clock, so it may be off by half a round trip.
    fn now_ms(&self) -> u64;

    /// Appends up to [`BATCH_MAX`] appends in order and returns a verdict for each.
    ///
    /// Guarantee: once called, it happens even if the future is dropped (or the log fails). Cost: one fsync a call (file).
    ///
    /// # Errors
    /// None of the batch is acknowledged. [`Error::Full`]: none was written. [`Error::Poisoned`]: whether it was
    /// written shows after the restart.
    fn append(&self, batch: Vec<Append>) -> Pending<'_, Vec<Verdict>>;

    /// The entries after a position, in order: at least one if there is one, at most `entries_max`, about
    /// [`READ_BYTES_MAX`] bytes. Empty at or beyond the tail.
    ///
    /// # Errors
    /// [`Error::Trimmed`] if the next position is below the base, [`Error::Damaged`], [`Error::Io`].
    fn read(&self, after: Seq, entries_max: usize) -> Pending<'_, Vec<Arc<Entry>>>;

    /// The entries at exactly these positions, which ascend: a beginning of them, at least one if any is asked for, about
    /// [`READ_BYTES_MAX`] bytes. Ask again for the rest. Cost: one round trip (Redis), one blocking task (file), however far
    /// apart they are; none for what is in memory.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the first position that does not ascend, is 0 or is beyond the tail. [`Error::Damaged`] names
    /// one that should be there and is not. [`Error::Trimmed`], [`Error::Io`], [`Error::Away`].
    fn get(&self, positions: Vec<Seq>) -> Pending<'_, Vec<Arc<Entry>>>;

    /// Waits until the tail is beyond `seq`. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Closed`] when it will never be.
    fn beyond(&self, seq: Seq) -> Pending<'_, ()>;

    /// Takes entries over verbatim, position and time included; they must continue where the log ends.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a gap or a time that runs backwards: nothing is written.
    fn load(&self, entries: Vec<Arc<Entry>>) -> Pending<'_, ()>;

    /// Removes the bodies at these positions from the log: they are replaced by what
    /// [`entry::erased`](antiphon_schemas::entry::erased) makes of them, of the same length and with the same hash. Returns
    /// how many were not erased before.
    ///
    /// Positions below the base are ignored: they are gone.
    ///
    /// Guarantee: durable when this returns, here and for every node; what this process keeps in memory is erased too
    /// (other nodes: [`Log::forget`]). Twice is once. A call that is dropped or fails may have erased some of them: call it
    /// again. Cost: a few fsyncs for some dozens of entries (file); a copy of the whole log (Redis), so erase many at once.
    ///
    /// # Errors
    /// [`Error::Invalid`]: nothing is erased, because there are more than [`ERASE_MAX`], one is 0 or beyond the tail, or its
    /// body is too short to be replaced by its hash. [`Error::Full`]: there is not enough space for it; the log itself
    /// keeps working, try again later. [`Error::Poisoned`], [`Error::Away`], [`Error::Damaged`] as elsewhere.
    fn erase(&self, positions: Vec<Seq>) -> Pending<'_, usize>;

    /// Erases the bodies at these positions from what this process keeps in memory: another node erases them in the log.
    /// Never waits for anything.
    fn forget(&self, positions: &[Seq]);

    /// Moves the log's beginning up: entries at or below `upto` are gone. Returns the base, which is higher if more was trimmed
    /// before.
    ///
    /// Guarantee: durable when this returns; a crash leaves a beginning between the old and the new one. Twice is once. Room is
    /// freed, at the latest, at the next start; the file log frees whole segments, so that some entries below the base stay
    /// on the disk a while, unread.
    ///
    /// # Errors
    /// [`Error::Invalid`] if one of the newest [`SCAN_MAX`] entries would go: appends are judged against them. [`Error::Full`]
    /// (try again later), [`Error::Poisoned`], [`Error::Away`].
    fn trim(&self, upto: Seq) -> Pending<'_, Seq>;

    /// Takes no more appends, finishes those under way and frees what it holds. Twice is fine.
    ///
    /// # Errors
    /// As [`Log::append`], for what was under way.
    fn close(&self) -> Pending<'_, ()>;

    /// Proves that appends are taken and, where live updates go through the store, that they come back. Writes no entry.
    ///
    /// # Errors
    /// Why not.
    fn probe(&self) -> Pending<'_, ()> {
        Box::pin(async { self.append(Vec::new()).await.map(|_| ()) })
    }

    /// What there is beyond this if several nodes use the same log; `None` for a log of this process alone.
    fn shared(&self) -> Option<&dyn Shared> {
        None
    }
}
