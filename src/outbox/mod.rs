//! The outbox: posts accepted while the store is unavailable, kept on this node's disk until they are in the log.
//!
//! ```text
//! <data>/outbox/  lock        held while a process uses the data folder
//!                 current     which of the two folders counts
//!                 a/, b/      a file log each (`log::file`); the other is the target of compaction
//!
//! outbox.parked   subjects [id], body: the post            outbox.settled   subjects [id], body: appended, or refused and why
//! ```
//!
//! Promises:
//! - what [`Outbox::park`] returned is on this disk, and is pending until it is settled, whatever crashes in between;
//! - pending posts keep the order in which they were parked; an id is pending at most once, the first post under it wins;
//! - rejected posts stay, with the reason, until a person deals with them;
//! - a call takes effect even if its future is dropped; calls take effect in the order in which they were made;
//! - in memory a post is pending once it is on the disk, not before.
//!
//! Bounds: [`PARKED_MAX`] posts, [`PARKED_BYTES_MAX`] bytes; beyond that [`log::Error::Full`]. The folder is compacted
//! when what is settled takes more than [`SETTLED_BYTES_MAX`].
//! Not here: when the store is unavailable, and offering the posts to `decide` once it is back (`node`).
//! Start with [`Outbox`], then `pending_set` (the fold) and `worker`; `folder` is the critical part.

mod folder;
mod pending_set;
mod record;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use antiphon_schemas::MessageId;
use tokio::sync::{mpsc, oneshot};

use self::{
    pending_set::PendingSet,
    worker::{Call, Worker},
};
use crate::{
    clock::Clock,
    decide::post::Post,
    log::{
        self,
        file::{
            self,
            disk::{Disk, RealDisk},
        },
    },
    tasks::{Kind, Tasks},
};

/// Posts that an outbox holds, pending or refused: an hour of 28 posts a second. Once the store is back, new posts
/// wait behind all of them.
pub const PARKED_MAX: usize = 100_000;
/// Bytes of their records: they are in memory too, and a node must have that to spare.
pub const PARKED_BYTES_MAX: u64 = 256 << 20;
/// Bytes of settled records before the folder is compacted (and not before they outweigh what it holds): large
/// enough to be rare, small enough for any disk.
pub const SETTLED_BYTES_MAX: u64 = 16 << 20;
/// Posts of one [`Outbox::park`], and ids of one [`Outbox::settle`]: one write of the file log.
pub const CALL_MAX: usize = log::BATCH_MAX * log::DRAFTS_MAX;

/// A post on this node's disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Parked {
    /// The post; never `fresh`, because an append of it that timed out may have happened.
    pub post: Post,
    /// When it was parked, in ms since 1970.
    pub at_ms: u64,
}

impl Parked {
    /// Whether `post` says the same under the same id: then it is this one, repeated.
    pub fn is(&self, post: &Post) -> bool {
        let own = &self.post;
        (own.id, &own.room, &own.text, &own.author.name) == (post.id, &post.room, &post.text, &post.author.name)
            && (own.reply_to, &own.to) == (post.reply_to, &post.to)
    }
}

/// How a parked post left the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It is in the log, now or since before.
    Appended,
    /// The rules did not let it in: why.
    Refused(Arc<str>),
}

/// A post that was acknowledged and then not let into the log; kept for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The post.
    pub post: Post,
    /// Why it was refused.
    pub reason: Arc<str>,
    /// When it was parked, in ms since 1970.
    pub at_ms: u64,
}

/// What an outbox holds, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Posts that wait for the store.
    pub pending: usize,
    /// Posts that were refused.
    pub refused: usize,
    /// Bytes of the records of both.
    pub bytes: u64,
    /// When the oldest pending post was parked, in ms since 1970.
    pub oldest_at_ms: Option<u64>,
}

/// Why an outbox could not be opened; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the data folder.
    #[error("another Antiphon server{} uses this data folder; give each node its own --data", pid.map_or(String::new(), |pid| format!(" (process {pid})")))]
    Locked {
        /// Who, if it could be read.
        pid: Option<u32>,
    },
    /// The file log in it could not be opened.
    #[error("the posts that wait on this disk for the store cannot be read: {0}")]
    Log(#[from] file::OpenError),
    /// It could be opened and not be read to its end.
    #[error(
        "the posts that wait on this disk for the store cannot be read: {0}; restore the data folder from a backup, or start with --salvage to keep what is before it and set the rest aside"
    )]
    Read(log::Error),
    /// A record is whole, but not one that this version reads.
    #[error("of the posts that wait on this disk for the store, entry {seq} in `{}` cannot be read by this program: {why}; use the version of Antiphon that wrote it", folder.display())]
    Unreadable {
        /// The folder of the file log.
        folder: PathBuf,
        /// Its position there.
        seq: antiphon_schemas::Seq,
        /// What is wrong.
        why: String,
    },
    /// `current` says nothing sensible, or the folder that it names is not there.
    #[error("`{}` {why}; restore the data folder from a backup", file.display())]
    Current {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The disk said no.
    #[error("cannot use the folder `{}`: {source}; make it writable, or choose another with --data", folder.display())]
    Io {
        /// The outbox's folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What differs between the real thing and tests.
#[derive(Debug, Clone)]
struct Settings {
    log: file::Options,
    parked_max: usize,
    parked_bytes_max: u64,
    settled_bytes_max: u64,
}

impl Settings {
    fn real(salvage: bool) -> Settings {
        Settings {
            // Nobody follows it, so nothing of it need be in memory twice; segments that a small disk has room for.
            log: file::Options { segment_bytes: 16 << 20, salvage, recent_bytes_max: 0 },
            parked_max: PARKED_MAX,
            parked_bytes_max: PARKED_BYTES_MAX,
            settled_bytes_max: SETTLED_BYTES_MAX,
        }
    }
}

/// A handle on the outbox; cheap to clone. What it tells is in memory; what it changes goes through one task.
#[derive(Debug, Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
    calls: mpsc::UnboundedSender<Call>,
}

#[derive(Debug)]
struct Shared {
    // A std mutex: held for short work in memory, never across an await.
    pending_set: Mutex<PendingSet>,
    settings: Settings,
}

impl Shared {
    fn pending_set(&self) -> MutexGuard<'_, PendingSet> {
        self.pending_set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Opens the outbox in a folder, or makes one, and takes the lock that keeps other processes from the data folder.
    ///
    /// Cost: everything in it is read; it is compacted if nothing is pending. Starts a task that ends with the last
    /// handle or with [`Outbox::close`], and is among `tasks`.
    ///
    /// # Errors
    /// [`OpenError`]: the node should not start, because posts that were acknowledged would be passed over.
    pub async fn open(folder: impl AsRef<Path>, clock: Clock, tasks: &Tasks) -> Result<Outbox, OpenError> {
        Outbox::open_on(Arc::new(RealDisk), folder.as_ref(), Settings::real(false), clock, tasks).await
    }

    /// As [`Outbox::open`]; of a damaged outbox keeps what is before the damage, and sets the rest aside beside it.
    ///
    /// # Errors
    /// As [`Outbox::open`].
    pub async fn salvage(folder: impl AsRef<Path>, clock: Clock, tasks: &Tasks) -> Result<Outbox, OpenError> {
        Outbox::open_on(Arc::new(RealDisk), folder.as_ref(), Settings::real(true), clock, tasks).await
    }

    async fn open_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        settings: Settings,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Outbox, OpenError> {
        let (opened, pending_set) = folder::open(disk, folder, &settings, clock).await?;
        let shared = Arc::new(Shared { pending_set: Mutex::new(pending_set), settings });
        let (calls, receiver) = mpsc::unbounded_channel();
        let mut worker = Worker::new(shared.clone(), opened);
        worker.compact_at_open().await;
        tasks.spawn("outbox", Kind::Owned, worker.run(receiver));
        Ok(Outbox { shared, calls })
    }

    /// How many posts wait for the store.
    pub fn pending(&self) -> usize {
        self.shared.pending_set().pending()
    }

    /// The pending post with this id.
    pub fn get(&self, id: &MessageId) -> Option<Parked> {
        self.shared.pending_set().get(id).cloned()
    }

    /// The oldest pending posts, oldest first.
    pub fn first(&self, n: usize) -> Vec<Parked> {
        self.shared.pending_set().first(n).cloned().collect()
    }

    /// What was refused, in the order in which it was parked.
    pub fn refused(&self) -> Vec<Refused> {
        self.shared.pending_set().refused().cloned().collect()
    }

    /// What it holds, in numbers.
    pub fn counts(&self) -> Counts {
        self.shared.pending_set().counts()
    }

    /// Whether the next [`Outbox::park`] would be refused for want of room.
    pub fn full(&self) -> bool {
        let counts = self.counts();
        counts.pending + counts.refused >= self.shared.settings.parked_max
            || counts.bytes >= self.shared.settings.parked_bytes_max
    }

    /// Puts posts on the disk, all or none, and returns for each what is pending under its id now: the post itself,
    /// or an earlier one ([`Parked::is`] tells a repetition from an id that is taken).
    ///
    /// Guarantee: on the disk when this resolves; it happens even if the future is dropped. Cost: one fsync a call.
    ///
    /// # Errors
    /// None of the posts is acknowledged. [`log::Error::Full`]: none was written, no room here or on the disk.
    /// [`log::Error::Poisoned`]: whether they were written shows after the restart. [`log::Error::Invalid`]: more than
    /// [`CALL_MAX`] posts, or one that is too large.
    pub fn park(&self, posts: Vec<Post>) -> impl Future<Output = Result<Vec<Parked>, log::Error>> + Send + use<> {
        let (sender, answer) = oneshot::channel();
        self.send(Call::Park(posts, sender));
        answered(answer)
    }

    /// Takes posts out of the line, in this order. Ids that are not pending are passed over, so twice is as good as once.
    ///
    /// Guarantee: on the disk when this resolves; it happens even if the future is dropped. Cost: one fsync a call.
    ///
    /// # Errors
    /// As [`Outbox::park`]. The posts are still pending then: offer them again (they are found by their ids) and settle
    /// them again.
    pub fn settle(
        &self,
        ends: Vec<(MessageId, Settled)>,
    ) -> impl Future<Output = Result<(), log::Error>> + Send + use<> {
        let (sender, answer) = oneshot::channel();
        self.send(Call::Settle(ends, sender));
        answered(answer)
    }

    /// Takes what is settled off the disk: among it may be a text that was erased since. Waits for nothing; if it fails, what
    /// is settled goes with the next compaction, at the latest when it is opened with nothing pending.
    pub fn purge(&self) {
        self.send(Call::Purge);
    }

    /// Finishes what was asked for, then lets the next process in. Twice is fine; calls after it answer
    /// [`log::Error::Closed`].
    ///
    /// # Errors
    /// As [`Outbox::park`], for what was under way.
    pub fn close(&self) -> impl Future<Output = Result<(), log::Error>> + Send + use<> {
        let (sender, answer) = oneshot::channel();
        self.send(Call::Close(sender));
        async {
            match answered(answer).await {
                Err(log::Error::Closed) => Ok(()),
                result => result,
            }
        }
    }

    fn send(&self, call: Call) {
        // If the task has ended, the call is dropped, and its answer with it: `answered` reports that.
        let _ = self.calls.send(call);
    }
}

async fn answered<T>(answer: oneshot::Receiver<Result<T, log::Error>>) -> Result<T, log::Error> {
    answer.await.unwrap_or(Err(log::Error::Closed))
}
