//! The notary: a task of the server that follows the log, extends the Merkle tree over its entries, and signs the result.
//!
//! ```text
//! log ─ entries, at most 20 times a second ─▶ leaves ─▶ tree ─ at most once a second ─▶ checkpoints/latest
//!                                                          └─ at most every 5 minutes ─▶ history, log.checkpoint
//! ```
//!
//! Promises:
//! - no append waits for it: it reads what is durable and applied, works on its own threads and syncs no file; when it is
//!   far behind, it works only half of the time;
//! - what it signs extends what it signed before. At each start it compares the log with the newest checkpoint; if they
//!   contradict each other, it signs nothing more, says so, and leaves all files untouched;
//! - a checkpoint in the log does not count as a new entry, so an idle log does not grow; of several nodes one writes it, or
//!   two at the same moment, which is harmless;
//! - a new epoch of the log begins a new tree; the signatures of the previous one are kept. While the store is unavailable,
//!   it waits.
//!
//! Not here: finding which entry was altered (`replay verify`), the files (`book`, `store`).

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use antiphon_schemas::{Epoch, Seq, Stored, event::LogCheckpoint};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::schedule::Pace;
use self::schedule::Schedule;
use super::{
    book::{self, Book, Signed},
    note::{Signer, Verifier},
    store::paths,
};
use crate::{
    log,
    node::{self, Node},
    tasks::{Kind, Tasks},
};

mod schedule;
#[cfg(test)]
mod tests;

/// Entries taken at once: a millisecond's work, and few enough to be held in memory by a log that is followed closely.
const PAGE_ENTRIES: usize = 1_024;
/// What is tried again, is tried after this time.
const RETRY: Duration = Duration::from_secs(1);
/// A stop waits at most this long for what is still to be taken; the next start takes the rest.
const STOP_MAX: Duration = Duration::from_secs(2);
/// Far enough to mean "no deadline", near enough for the timer wheel.
const FAR: Duration = Duration::from_secs(24 * 3600);
/// Posts do not wait for signatures, so they continue without them.
const TASK: Kind = Kind::Helper { without: "nothing more of the log is signed" };
/// A handle on the notary; cheap to clone.
#[derive(Clone)]
pub struct Notary {
    shared: Arc<Shared>,
}

/// What a notary shows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// What it signed last, in this process or an earlier one.
    pub latest: Option<Signed>,
    /// It signs nothing more, because the log is not what it signed.
    pub refuses: bool,
}

struct Shared {
    verifier: Verifier,
    shown: watch::Sender<Shown>,
    stop: CancellationToken,
    stopped: CancellationToken,
}

impl Notary {
    /// Starts the notary of a node, with its files in the data folder; what it runs is among `tasks`.
    ///
    /// # Errors
    /// What the system says if these cannot be opened.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(node: Node, signer: Signer, data: &Path, pace: Pace, tasks: &Tasks) -> io::Result<Notary> {
        let shared = Arc::new(Shared {
            verifier: signer.verifier().clone(),
            shown: watch::Sender::default(),
            stop: CancellationToken::new(),
            stopped: CancellationToken::new(),
        });
        let book = Arc::new(Mutex::new(Book::open(paths(data), signer)?));
        let (applied, schedule) = (node.applied(), Schedule::new(pace, Instant::now()));
        let task = Task { node, shared: shared.clone(), applied, book, schedule, size: 0, troubled: false };
        tasks.spawn("notary", TASK, task.run());
        Ok(Notary { shared })
    }

    /// Who verifies what it signs.
    pub fn verifier(&self) -> &Verifier {
        &self.shared.verifier
    }

    /// What it shows, and every change of that.
    pub fn shown(&self) -> watch::Receiver<Shown> {
        self.shared.shown.subscribe()
    }

    /// Signs the current log, if anything has arrived, and stops. Call it before the node stops; calling it twice is harmless.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.stopped.cancelled().await;
    }
}

/// Why it cannot continue now.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Book(#[from] book::Error),
    #[error("the log cannot be read: {0}")]
    Node(#[from] node::Error),
    #[error("its work broke off")]
    Broken,
    #[error("it is to stop")]
    Stopping,
}

struct Task {
    node: Node,
    shared: Arc<Shared>,
    applied: watch::Receiver<Seq>,
    /// Locked by one thread while it works on it, never across an await.
    book: Arc<Mutex<Book>>,
    schedule: Schedule,
    /// How many leaves the tree has.
    size: u64,
    /// It was said that something goes wrong: said once until it goes right.
    troubled: bool,
}

impl Task {
    async fn run(mut self) {
        let _stopped = self.shared.stopped.clone().drop_guard();
        while !self.shared.stop.is_cancelled() {
            self.applied.borrow_and_update();
            let Some((epoch, _)) = self.node.built() else {
                self.wait(None).await;
                continue;
            };
            match self.begin(epoch).await {
                Ok(()) => self.follow(epoch).await,
                Err(Error::Book(book::Error::Refused(why))) => self.refuse(epoch, &why).await,
                Err(_) if self.shared.stop.is_cancelled() => {}
                Err(why) => {
                    self.trouble(&why);
                    self.wait(Some(Instant::now() + RETRY)).await;
                }
            }
        }
    }

    /// Holds the log against what was signed of it, and has the tree grown so far.
    async fn begin(&mut self, epoch: Epoch) -> Result<(), Error> {
        (self.size, self.schedule) = (0, self.schedule.begun());
        let signed = self.work(move |book| book.begin(epoch).map(|()| book.signed().cloned())).await?;
        self.show(signed.clone());
        let Some(Signed { checkpoint, .. }) = signed else { return Ok(()) };
        let (size, tail) = (checkpoint.size, self.node.stored_until(epoch)?.0);
        let refused = |why: String| Err(book::Error::Refused(why).into());
        if tail < size {
            return refused(format!("the log ends with entry {tail}"));
        }
        let stop = self.shared.stop.clone();
        match self.work(move |book| book.regrow(|| stop.is_cancelled())).await? {
            Some(leaf) if size > 0 => {
                let last = self.node.stored(epoch, Seq(size - 1), 1).await?;
                if last.first().is_none_or(|last| Stored::from(&**last).leaf() != leaf) {
                    return refused(format!("entry {size} is not the one that was signed"));
                }
            }
            Some(_) => {}
            None => self.make_again(epoch, size).await?,
        }
        self.size = size;
        self.schedule.kept = self.work(|book| Ok(book.kept())).await?;
        info!(size, %epoch, "the log continues the newest checkpoint");
        Ok(())
    }

    /// Makes the leaves again from the log.
    async fn make_again(&mut self, epoch: Epoch, size: u64) -> Result<(), Error> {
        warn!(
            size,
            "the leaves beside the newest checkpoint are not those that were signed; they are made again from the log"
        );
        let mut done = 0;
        while done < size {
            let began = Instant::now();
            let page = PAGE_ENTRIES.min(usize::try_from(size - done).unwrap_or(PAGE_ENTRIES));
            let entries = self.node.stored(epoch, Seq(done), page).await?;
            if entries.is_empty() {
                return Err(Error::Broken);
            }
            done = self.work(move |book| book.take_again(&entries)).await?;
            if !self.rest(began).await {
                return Err(Error::Stopping);
            }
        }
        self.work(Book::adopt).await
    }

    /// Takes what comes until the log is of another epoch, or it is to stop.
    async fn follow(&mut self, epoch: Epoch) {
        loop {
            self.applied.borrow_and_update();
            if self.node.built().is_none_or(|(now, _)| now != epoch) {
                return;
            }
            let is_stopping = self.shared.stop.is_cancelled();
            // What was taken before the log could not be read any further is signed all the same.
            let taken = self.take(epoch, is_stopping).await;
            let done = taken.and(self.write_what_is_due(epoch, is_stopping).await);
            let next = match &done {
                Ok(()) => self.schedule.next(self.signed()),
                Err(why) => {
                    self.trouble(why);
                    Some(Instant::now() + RETRY)
                }
            };
            if done.is_ok() && std::mem::take(&mut self.troubled) {
                info!("the notary goes on");
            }
            if is_stopping {
                return;
            }
            self.wait(next).await;
        }
    }

    /// Reads all available entries.
    async fn take(&mut self, epoch: Epoch, is_stopping: bool) -> Result<(), Error> {
        let until = Instant::now() + STOP_MAX;
        loop {
            let began = Instant::now();
            let position = self.node.built().filter(|(now, _)| *now == epoch).map_or(0, |(_, position)| position.0);
            if self.size >= position || (is_stopping && began >= until) {
                return Ok(());
            }
            let entries = self.node.stored(epoch, Seq(self.size), PAGE_ENTRIES).await?;
            let Some(last) = entries.last().map(|entry| entry.header.seq.0) else { return Ok(()) };
            let entries = self.work(move |book| book.take(&entries).map(|()| entries)).await?;
            self.size = last;
            let now_ms = self.node.clock().now_ms();
            entries.iter().for_each(|entry| self.schedule.see(entry, began, now_ms));
            if last < position && !is_stopping {
                self.sign_if_due(false).await?;
                if !self.rest(began).await {
                    return Ok(());
                }
            }
        }
    }

    async fn write_what_is_due(&mut self, epoch: Epoch, is_stopping: bool) -> Result<(), Error> {
        self.sign_if_due(is_stopping).await?;
        if self.signed() > self.schedule.kept && (is_stopping || Instant::now() >= self.schedule.keep_at) {
            self.work(Book::keep).await?;
            let next = Instant::now() + self.schedule.pace.note_every;
            (self.schedule.kept, self.schedule.keep_at) = (self.signed(), next);
        }
        if is_stopping { self.work(Book::close).await } else { self.note_if_due(epoch).await }
    }

    async fn sign_if_due(&mut self, at_once: bool) -> Result<(), Error> {
        let now = Instant::now();
        if self.schedule.arrived <= self.signed() || (now < self.schedule.sign_at && !at_once) {
            return Ok(());
        }
        let at_ms = self.node.clock().now_ms();
        let signed = self.work(move |book| book.sign(at_ms).cloned()).await?;
        self.show(Some(signed));
        self.schedule.sign_at = now + self.schedule.pace.sign_every;
        Ok(())
    }

    /// Writes the newest checkpoint into the log, if entries came that no checkpoint there covers.
    async fn note_if_due(&mut self, epoch: Epoch) -> Result<(), Error> {
        let Some(Signed { checkpoint, note, .. }) = self.latest() else { return Ok(()) };
        let schedule = &mut self.schedule;
        let (size, now) = (checkpoint.size, Instant::now());
        if schedule.arrived <= schedule.noted || size < schedule.arrived || now < schedule.note_at {
            return Ok(());
        }
        // If it does not come back in the log, it is tried again.
        schedule.note_at = now + RETRY;
        if self.node.note_checkpoint(epoch, LogCheckpoint { size, note }).await? {
            self.schedule.noted = size;
            self.schedule.put_off(now, Duration::ZERO);
        }
        Ok(())
    }

    /// The log contradicts what was signed: says so, and does nothing more until the log is another one.
    async fn refuse(&mut self, epoch: Epoch, why: &str) {
        let signed = self.latest().map(|signed| signed.checkpoint);
        let (origin, size, root) = match &signed {
            Some(c) => (c.origin.as_str(), c.size, c.root.iter().map(|byte| format!("{byte:02x}")).collect()),
            None => ("?", 0, String::new()),
        };
        error!(
            checkpoint = origin,
            size,
            root,
            "the log is not what the notary signed: {why}; nothing more is signed and the files in `checkpoints` stay as they are; run `antiphon replay verify`, which names the first entry that differs"
        );
        self.shared.shown.send_modify(|shown| shown.refuses = true);
        while !self.shared.stop.is_cancelled() && self.node.built().is_none_or(|(now, _)| now == epoch) {
            self.wait(None).await;
        }
        self.shared.shown.send_modify(|shown| shown.refuses = false);
    }

    /// Waits until something was applied, and gathers a little more; or until this time, or until it is to stop.
    async fn wait(&mut self, until: Option<Instant>) {
        let until = until.unwrap_or_else(|| Instant::now() + FAR);
        let stop = self.shared.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep_until(until) => {}
            changed = self.applied.changed() => match changed {
                Ok(()) => drop(stop.run_until_cancelled(sleep(self.schedule.pace.gather)).await),
                // The node is gone.
                Err(_) => stop.cancel(),
            }
        }
    }

    /// Rests as long as it worked, since posts come first. False: it is to stop.
    async fn rest(&self, began: Instant) -> bool {
        self.shared.stop.run_until_cancelled(sleep(began.elapsed())).await.is_some()
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Book) -> Result<T, book::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let book = self.book.clone();
        let done = tokio::task::spawn_blocking(move || work(&mut book.lock().unwrap_or_else(PoisonError::into_inner)));
        Ok(done.await.map_err(|_| Error::Broken)??)
    }

    fn show(&self, signed: Option<Signed>) {
        self.shared.shown.send_modify(|shown| shown.latest = signed);
    }

    fn latest(&self) -> Option<Signed> {
        self.shared.shown.borrow().latest.clone()
    }

    /// How many entries are signed.
    fn signed(&self) -> u64 {
        self.shared.shown.borrow().latest.as_ref().map_or(0, |signed| signed.checkpoint.size)
    }

    fn trouble(&mut self, why: &Error) {
        // That the store is away was said already.
        let is_away = matches!(why, Error::Node(node::Error::Log(log::Error::Away(_))));
        if !is_away && !std::mem::replace(&mut self.troubled, true) {
            warn!(%why, "the notary is stuck; it keeps retrying");
        }
    }
}
