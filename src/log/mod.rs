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
//! - after [`Error::Poisoned`] nothing is ever acknowledged again until the process restarts;
//! - after [`Error::Away`] an append has happened or never will: nothing of it is written once the log is open again.
//!
//! Not here: what an entry means, who may append.
//! Backends: [`memory`] (the reference), [`mod@file`] (the default), `redis` (several nodes).

#[cfg(test)]
pub(crate) mod conformance;
pub mod file;
mod lanes;
pub mod memory;
pub mod redis;

use std::{future::Future, pin::Pin, sync::Arc};

use antiphon_schemas::{
    Cursor, Entry, Epoch, Event, MessageId, RequestId, RoomName, Seq,
    entry::{BODY_BYTES_MAX, SALT_BYTES, is_erased},
    event::CodecError,
};
use bytes::Bytes;
use tokio::sync::watch;

pub use lanes::{Lane, Mended, Move};

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
    /// Nothing written: a lane is not as the append says. [`Log::mend`] the lanes, decide again.
    OutOfStep,
}

/// Whether a log can be used at the moment. Logs of this process are always open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// It takes appends. A new epoch here means: of what was read before, the end may be gone ([`Log::lost`]); read anew.
    Open {
        /// The epoch of its entries.
        epoch: Epoch,
    },
    /// It cannot be reached or takes nothing. It comes back by itself.
    Away {
        /// What is wrong, as a sentence for the operator.
        why: Arc<str>,
    },
    /// It can be reached and is empty, though this process knows a history of it. A person says which is right:
    /// somebody puts the data back and it opens by itself, or [`Log::begin_anew`].
    Empty,
}

/// Why the log could not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Nothing written; free some space, then try again.
    #[error("the log cannot grow: {0}; nothing was written, try again")]
    Full(String),
    /// A write or sync failed; nothing more is acknowledged until the process restarts.
    #[error("the log failed and takes no more writes until a restart: {0}")]
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
    #[error("not a valid request to the log: {0}")]
    Invalid(String),
    /// The disk said no while reading or opening.
    #[error("{0}")]
    Io(String),
    /// The store cannot be reached or takes nothing at the moment. Whether an append was written is unknown; once the
    /// log is open again it shows, and it will not be written later.
    #[error("the log is away: {0}; it is tried again by itself")]
    Away(Arc<str>),
}

impl Error {
    /// Whether the same call may succeed later without a restart.
    pub fn retryable(&self) -> bool {
        matches!(self, Error::Full(_) | Error::Away(_))
    }

    /// A stable kebab code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Full(_) => "log-full",
            Error::Poisoned(_) => "log-failed",
            Error::Closed => "log-closed",
            Error::Damaged { .. } => "log-damaged",
            Error::Invalid(_) => "log-invalid",
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

    /// The last durable position; 0 while empty. Never falls within an epoch.
    fn tail(&self) -> Seq;

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
    /// [`Error::Damaged`], [`Error::Io`].
    fn read(&self, after: Seq, entries_max: usize) -> Pending<'_, Vec<Arc<Entry>>>;

    /// Waits until the tail is beyond `seq`. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Closed`] when it will never be.
    fn beyond(&self, seq: Seq) -> Pending<'_, ()>;

    /// Takes entries over verbatim, position and time included; they must go on where the log ends.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a gap or a time that runs backwards: nothing is written.
    fn load(&self, entries: Vec<Arc<Entry>>) -> Pending<'_, ()>;

    /// Takes the bodies at these positions out of the log: in their place stands what
    /// [`entry::erased`](antiphon_schemas::entry::erased) makes of them, of the same length and with the same hash. Returns
    /// how many were not erased before.
    ///
    /// Guarantee: durable when this returns, here and for every node; what this process keeps in memory is erased too
    /// (other nodes: [`Log::forget`]). Twice is once. A call that is dropped or fails may have erased some of them: call it
    /// again. Cost: a few fsyncs for some dozens of entries (file); a copy of the whole log (Redis), so erase many at once.
    ///
    /// # Errors
    /// [`Error::Invalid`]: nothing is erased, because there are more than [`ERASE_MAX`], one is 0 or beyond the tail, or its
    /// body is too short to be replaced by its hash. [`Error::Full`]: there is no room for what it takes; the log goes on,
    /// try again later. [`Error::Poisoned`], [`Error::Away`], [`Error::Damaged`] as elsewhere.
    fn erase(&self, positions: Vec<Seq>) -> Pending<'_, usize>;

    /// Erases the bodies at these positions from what this process keeps in memory: another node erases them in the log.
    /// Never waits for anything.
    fn forget(&self, positions: &[Seq]);

    /// Takes no more appends, finishes those under way and frees what it holds. Twice is fine.
    ///
    /// # Errors
    /// As [`Log::append`], for what was under way.
    fn close(&self) -> Pending<'_, ()>;

    /// Whether other nodes may use the same log. Then it can be away, lanes are kept, live words are told.
    fn shared(&self) -> bool {
        false
    }

    /// Follows whether it can be used. While it is not open, every call answers [`Error::Away`] at once or soon.
    fn access(&self) -> watch::Receiver<Access> {
        // A channel whose sender is gone keeps its value, and never tells of another.
        watch::channel(Access::Open { epoch: self.info().epoch }).1
    }

    /// Proves that appends are taken and, where live words go through the store, that they come back. Writes no entry.
    ///
    /// # Errors
    /// Why not.
    fn probe(&self) -> Pending<'_, ()> {
        Box::pin(async { self.append(Vec::new()).await.map(|_| ()) })
    }

    /// Compares the lanes with what the queue projection has at position `at`, and builds anew what differs; writes
    /// nothing if the log does not end at `at`.
    ///
    /// # Errors
    /// [`Error::Away`].
    fn mend(&self, _at: Seq, _lanes: Vec<Lane>) -> Pending<'_, Mended> {
        Box::pin(std::future::ready(Ok(Mended::InStep)))
    }

    /// Tells the other nodes live words: at most once each, never the truth, nothing waits. Does not block; what
    /// cannot be told in time is dropped.
    fn say(&self, _words: Bytes) {}

    /// The next live words of another node, in the order in which it said them. Cancel-safe. Ends never where there
    /// are no other nodes.
    fn hear(&self) -> Pending<'_, Bytes> {
        Box::pin(std::future::pending())
    }

    /// Entries of the epoch before that this process has seen and that the log no longer has, in order; given out
    /// once. At most the newest 100,000.
    fn lost(&self) -> Vec<Arc<Entry>> {
        Vec::new()
    }

    /// Takes an [`Access::Empty`] store as a new log, by the word of a person. Everything seen before counts as lost.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not empty (any more).
    fn begin_anew(&self) -> Pending<'_, ()> {
        Box::pin(std::future::ready(Err(Error::Invalid("the log is not empty".into()))))
    }
}

/// What every backend refuses before it looks at its state.
pub(crate) fn check_batch(batch: &[Append]) -> Result<(), Error> {
    if batch.len() > BATCH_MAX {
        return Err(Error::Invalid(format!("{} appends in one call; {BATCH_MAX} are allowed", batch.len())));
    }
    for append in batch {
        let drafts = append.drafts.len();
        if !(1..=DRAFTS_MAX).contains(&drafts) {
            return Err(Error::Invalid(format!("{drafts} events in one append; 1-{DRAFTS_MAX} are allowed")));
        }
        for draft in &append.drafts {
            check_entry(draft.event.kind(), draft.event.subjects().len(), draft.body.len())?;
        }
    }
    Ok(())
}

/// As [`check_batch`], for entries that are taken over.
pub(crate) fn check_entries(entries: &[Arc<Entry>]) -> Result<(), Error> {
    entries.iter().try_for_each(|e| check_entry(&e.header.kind, e.header.subjects.len(), e.body.len()))
}

/// What every backend refuses to erase; the positions in order, each once.
pub(crate) fn check_positions(mut positions: Vec<Seq>, tail: Seq) -> Result<Vec<Seq>, Error> {
    if positions.len() > ERASE_MAX {
        return Err(Error::Invalid(format!(
            "{} positions to erase in one call; {ERASE_MAX} are allowed",
            positions.len()
        )));
    }
    positions.sort_unstable();
    positions.dedup();
    match positions.iter().find(|seq| **seq == Seq::ZERO || **seq > tail) {
        Some(seq) => Err(Error::Invalid(format!("there is no entry {seq} to erase; the log ends at {tail}"))),
        None => Ok(positions),
    }
}

/// What an entry is once it is erased; `None` if it is erased already.
pub(crate) fn erased_entry(entry: &Entry) -> Result<Option<Arc<Entry>>, Error> {
    if is_erased(&entry.body) {
        return Ok(None);
    }
    let seq = entry.header.seq;
    Ok(Some(Arc::new(entry.erased().ok_or_else(|| too_short(seq))?)))
}

/// The refusal of a body that has no room for its hash.
pub(crate) fn too_short(seq: Seq) -> Error {
    Error::Invalid(format!("the body of entry {seq} is too short to be replaced by its hash"))
}

/// Erases those of the entries that stand at one of these positions. Both are in order.
pub(crate) fn erase_among<'a>(entries: impl IntoIterator<Item = &'a mut Arc<Entry>>, positions: &[Seq]) {
    for entry in entries {
        if positions.binary_search(&entry.header.seq).is_ok()
            && let Ok(Some(gone)) = erased_entry(entry)
        {
            *entry = gone;
        }
    }
}

fn check_entry(kind: &str, subjects: usize, body_bytes: usize) -> Result<(), Error> {
    // The header counts both in one byte.
    const LEN_MAX: usize = u8::MAX as usize;
    if kind.len() > LEN_MAX || subjects > LEN_MAX {
        return Err(Error::Invalid(format!(
            "a kind of {} bytes with {subjects} subjects; 255 are allowed",
            kind.len()
        )));
    }
    if !(SALT_BYTES..=BODY_BYTES_MAX).contains(&body_bytes) {
        return Err(Error::Invalid(format!("a body of {body_bytes} bytes; {SALT_BYTES}-{BODY_BYTES_MAX} are allowed")));
    }
    Ok(())
}

/// The last position and everything needed to judge an append: shared by the backends that judge in process.
///
/// Keeps the newest [`SCAN_MAX`] entries; pure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Judge {
    tail: Seq,
    tail_at_ms: u64,
    recent: std::collections::VecDeque<Arc<Entry>>,
}

impl Judge {
    /// A judge for a log that ends with `recent` (the newest entries, at least [`SCAN_MAX`] of them or all).
    pub(crate) fn resume(recent: impl IntoIterator<Item = Arc<Entry>>) -> Judge {
        let mut judge = Judge::default();
        for entry in recent {
            judge.push(entry);
        }
        judge
    }

    /// The last position judged so far.
    pub(crate) fn tail(&self) -> Seq {
        self.tail
    }

    /// The last entry judged so far.
    pub(crate) fn last(&self) -> Option<&Arc<Entry>> {
        self.recent.back()
    }

    /// Judges an append and, if it may be written, makes its entries and counts them as there for the next one.
    pub(crate) fn judge(&mut self, append: Append, now_ms: u64) -> Verdict {
        let tail = self.tail;
        if tail < append.after {
            return Verdict::Diverged { tail };
        }
        if !append.subjects.is_empty() {
            let newer = tail.0 - append.after.0;
            if newer > SCAN_MAX {
                return Verdict::Behind { tail };
            }
            let missed = self.recent.iter().skip(self.recent.len().saturating_sub(newer as usize));
            let shares = |e: &Arc<Entry>| e.header.subjects.iter().any(|s| append.subjects.contains(s));
            if missed.clone().any(shares) {
                return Verdict::Conflict(missed.cloned().collect());
            }
        }
        let at_ms = now_ms.max(self.tail_at_ms);
        let mut entries = Vec::with_capacity(append.drafts.len());
        for draft in append.drafts {
            let header = antiphon_schemas::Header {
                seq: self.tail.next(),
                at_ms,
                request: append.request,
                kind: draft.event.kind().into(),
                room: draft.room,
                subjects: draft.event.subjects(),
                version: antiphon_schemas::entry::VERSION,
            };
            let entry = Arc::new(Entry { header, body: draft.body, event: draft.event });
            self.push(entry.clone());
            entries.push(entry);
        }
        Verdict::Appended(entries)
    }

    /// Erases what it keeps of these positions, which are in order.
    pub(crate) fn erase(&mut self, positions: &[Seq]) {
        erase_among(&mut self.recent, positions);
    }

    /// Takes over entries that must go on where the log ends.
    pub(crate) fn load(&mut self, entries: &[Arc<Entry>]) -> Result<(), Error> {
        let (mut tail, mut at_ms) = (self.tail, self.tail_at_ms);
        for entry in entries {
            if entry.header.seq != tail.next() {
                return Err(Error::Invalid(format!("entry {} cannot follow entry {tail}", entry.header.seq)));
            }
            if entry.header.at_ms < at_ms {
                return Err(Error::Invalid(format!("entry {} is older than the entry before it", entry.header.seq)));
            }
            (tail, at_ms) = (entry.header.seq, entry.header.at_ms);
        }
        entries.iter().cloned().for_each(|entry| self.push(entry));
        Ok(())
    }

    fn push(&mut self, entry: Arc<Entry>) {
        self.tail = entry.header.seq;
        self.tail_at_ms = entry.header.at_ms;
        self.recent.push_back(entry);
        if self.recent.len() > SCAN_MAX as usize {
            self.recent.pop_front();
        }
    }
}
