//! The one writer of an index: a thread that folds in whatever is queued and makes it durable once a second.
//!
//! Promises: batches are applied in the order in which they came; entries already applied are skipped; readers see a
//! batch before it is durable; [`Indexer::close`] leaves everything durable.
//! A gap, damage, or a failing disk stops it for good ([`Index::failed`]) and nothing else: the node continues without,
//! readers keep the last moment (what of it is no longer in memory may answer [`Error::Io`]).
//! Not here: where the entries come from.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use antiphon_schemas::{Entry, Seq};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{Error, Index};

/// Entries that may wait to be indexed: some 100 ms of work, and bounded memory, before [`Indexer::apply`] waits.
pub const QUEUE_ENTRIES_MAX: usize = 16_384;
/// Queued batches are merged into one commit until it holds this many entries; bounds how long readers wait for it.
pub const MERGE_ENTRIES_MAX: usize = 4_096;
/// Commits of a busy index lie at least this far apart: a commit costs as much as some 50 entries. The node covers what
/// the index lacks, so nobody waits for it but readers of old pages.
const GATHER: Duration = Duration::from_millis(10);
/// The longest that a change stays without being durable; after a crash so much is applied again.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Feeds an index; one for each, since it is the only writer.
#[derive(Debug)]
pub struct Indexer {
    queue: Sender<Work>,
    room: Arc<Semaphore>,
    applied: watch::Receiver<Seq>,
    durable: watch::Receiver<Seq>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

#[derive(Debug)]
enum Work {
    /// Entries to fold in; the permit is their share of the queue's bound.
    Batch(Vec<Arc<Entry>>, Option<OwnedSemaphorePermit>),
    Close,
}

impl Indexer {
    /// Starts the thread that writes `index`.
    ///
    /// # Errors
    /// [`Error::Io`] if the system gives no thread.
    pub fn start(index: Index) -> Result<Indexer, Error> {
        Indexer::flushing(index, FLUSH_EVERY)
    }

    /// As [`Indexer::start`], durable as often as a test wishes.
    pub(super) fn flushing(index: Index, flush_every: Duration) -> Result<Indexer, Error> {
        let position = index.position();
        let (queue, work) = channel();
        let (applied_tx, applied) = watch::channel(position);
        let (durable_tx, durable) = watch::channel(position);
        let room = Arc::new(Semaphore::new(QUEUE_ENTRIES_MAX));
        let writer = Writer {
            index,
            work,
            position,
            applied: applied_tx,
            durable: durable_tx,
            flush_every,
            dirty_since: None,
            committed: None,
        };
        let thread = thread::Builder::new().name("index".into()).spawn(move || writer.run());
        let thread = thread.map_err(|error| Error::Io(format!("no thread for the index: {error}")))?;
        Ok(Indexer { queue, room, applied, durable, thread: Mutex::new(Some(thread)) })
    }

    /// Hands over entries, in the order of the log; waits while [`QUEUE_ENTRIES_MAX`] are queued.
    ///
    /// Guarantee: they will be applied, unless the indexer has failed or is closed: then they are dropped, since the
    /// next start reads them from the log. Call it from one task: two would race for the order. A call that is
    /// dropped while it waits leaves a gap.
    pub async fn apply(&self, entries: Vec<Arc<Entry>>) {
        let share = entries.len().clamp(1, QUEUE_ENTRIES_MAX) as u32;
        if let Ok(permit) = self.room.clone().acquire_many_owned(share).await {
            // The thread has just ended: as above.
            let _ = self.queue.send(Work::Batch(entries, Some(permit)));
        }
    }

    /// As [`Indexer::apply`], without waiting: the caller bounds what is queued, by comparing [`Indexer::applied`] with
    /// what it has handed over.
    pub fn push(&self, entries: Vec<Arc<Entry>>) {
        // The thread has just ended: as above.
        let _ = self.queue.send(Work::Batch(entries, None));
    }

    /// Follows the position that readers see. The sender is gone once the indexer has failed or is closed.
    pub fn applied(&self) -> watch::Receiver<Seq> {
        self.applied.clone()
    }

    /// Follows the position to which a crash goes back.
    pub fn durable(&self) -> watch::Receiver<Seq> {
        self.durable.clone()
    }

    /// Applies what is queued, makes it durable and ends the thread. Twice is fine. Blocks, for as long as that takes.
    pub fn close(&self) {
        // If nobody is there to hear it, it has already ended.
        let _ = self.queue.send(Work::Close);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It catches its own panics.
            let _ = thread.join();
        }
    }
}

/// The thread's own state.
struct Writer {
    index: Index,
    /// Dropped with the thread, and with it the shares of whatever is still queued: nobody waits in vain.
    work: Receiver<Work>,
    position: Seq,
    applied: watch::Sender<Seq>,
    durable: watch::Sender<Seq>,
    flush_every: Duration,
    /// When the oldest change that is not durable was made.
    dirty_since: Option<Instant>,
    /// When the last batch became visible.
    committed: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        let result = catch_unwind(AssertUnwindSafe(|| self.work()));
        if let Err(error) = result.unwrap_or_else(|_| Err(Error::Damaged("writing it panicked".into()))) {
            tracing::error!(%error, position = %self.position, "the index is stopped until a restart");
            if error.condemns() {
                self.index.shared.store.condemn();
            }
            // Only this thread sets it, once.
            let _ = self.index.shared.failed.set(error);
        }
    }

    fn work(&mut self) -> Result<(), Error> {
        loop {
            let (batch, closing) = self.gather();
            if !batch.entries.is_empty() {
                self.apply(&batch.entries)?;
            }
            drop(batch);
            if closing || self.dirty_since.is_some_and(|since| since.elapsed() >= self.flush_every) {
                self.flush()?;
            }
            if closing {
                return Ok(());
            }
        }
    }

    /// Waits for work, or for the time to flush; then takes whatever else is queued, up to the bound of a merge.
    fn gather(&self) -> (Batch, bool) {
        let mut batch = Batch::default();
        let first = match self.dirty_since {
            None => self.work.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(since) => self.work.recv_timeout(self.flush_every.saturating_sub(since.elapsed())),
        };
        let mut next = match first {
            Ok(work) => Some(work),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Work::Close),
        };
        while let Some(work) = next {
            match work {
                Work::Close => return (batch, true),
                Work::Batch(entries, permit) => batch.add(entries, permit),
            }
            let wait = self.committed.map_or(Duration::ZERO, |at| GATHER.saturating_sub(at.elapsed()));
            next = match batch.entries.len() < MERGE_ENTRIES_MAX {
                true if wait.is_zero() => self.work.try_recv().ok(),
                true => self.work.recv_timeout(wait).ok(),
                false => None,
            };
        }
        (batch, false)
    }

    fn apply(&mut self, entries: &[Arc<Entry>]) -> Result<(), Error> {
        let mut fresh = Vec::with_capacity(entries.len());
        let mut last = self.position;
        for entry in entries {
            let seq = entry.header.seq;
            if seq > last.next() {
                return Err(Error::Gap { applied: last, got: seq });
            }
            if seq > last {
                fresh.push(entry.clone());
                last = seq;
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        self.index.shared.store.apply(&fresh)?;
        self.committed = Some(Instant::now());
        self.dirty_since.get_or_insert_with(Instant::now);
        self.position = self.index.publish()?;
        self.applied.send_replace(self.position);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.dirty_since.take().is_some() {
            self.index.shared.store.flush()?;
            self.durable.send_replace(self.position);
        }
        Ok(())
    }
}

/// Entries of several calls, with their shares of the queue's bound.
#[derive(Default)]
struct Batch {
    entries: Vec<Arc<Entry>>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Batch {
    fn add(&mut self, mut entries: Vec<Arc<Entry>>, permit: Option<OwnedSemaphorePermit>) {
        if self.entries.is_empty() {
            self.entries = entries;
        } else {
            self.entries.append(&mut entries);
        }
        self.permits.extend(permit);
    }
}
