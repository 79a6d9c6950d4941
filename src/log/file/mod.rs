//! The embedded log: append-only segments in one folder, one commit thread, many readers.
//!
//! ```text
//! data folder:  lock          held while a process uses the folder; contains its process id
//!               meta          epochs, format version, and where a log that was trimmed begins
//!               log/0000000000000001.seg, …   segments, named by their first position
//!               erasing       while bodies are erased: what replaces them
//!               salvaged-…/   what `--salvage` set aside
//!               filling       exists while another log is being copied into it
//! ```
//!
//! Promises, besides those of `log` (checked by the conformance suite, by the tests here on a disk that tears, forgets and
//! fails, and by `tests/sim` with `kill -9`):
//! - an acknowledged entry is on the disk (`fdatasync`) before the acknowledgement;
//! - a batch torn by a crash is removed as a whole on open; damage to anything older is reported with file and offset;
//! - on a full disk, appends return [`Error::Full`] and write nothing; they succeed again once there is space;
//! - an erased body is gone from its segment, and a crash meanwhile leaves the old record or the new one;
//! - a system that refuses (no descriptors, no memory, a folder that is away, a failed write) is [`Error::Busy`]: nothing was
//!   written, and the log goes on when the cause is gone;
//! - after a failed sync nothing is acknowledged until a restart ([`Error::Poisoned`]);
//! - opening reads the last segment, and as many before it as it takes to have [`super::SCAN_MAX`] entries, however long
//!   the log is.
//!
//! Start with `format`, then `queue`, `writer` and `reader`; `scan` and `recovery` are the critical parts. `disk` is
//! the abstraction for tests.

pub mod disk;
mod erasing;
mod filling;
mod format;
mod get;
mod history;
mod meta;
mod open_error;
mod queue;
mod reader;
mod recovery;
mod salvage;
mod scan;
mod segment;
#[cfg(test)]
mod tests;
mod trimming;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use antiphon_schemas::{Entry, Epoch, Seq};
use bytes::BytesMut;
use tokio::sync::{oneshot, watch};

use self::{
    disk::{Disk, Lock, LockError, RealDisk},
    erasing::Target,
    queue::{Queue, Size},
    reader::Reader,
    writer::{Segment, Writer},
};
pub use self::{filling::Filling, history::History, open_error::OpenError};
use super::{
    Append, Error, Info, Log, Pending, Sequencer, Verdict, check_ascending, check_base, check_batch, check_entries,
    check_positions, check_trim, first_after,
};
use crate::clock::Clock;

/// The smallest segment: a few records.
const SEGMENT_BYTES_MIN: u64 = 4 << 10;

/// Records that are erased together: a few syncs for all of them, and appends wait no longer than for a large group.
const ERASE_TARGETS_MAX: usize = 64;
/// Bytes of these records, for the same reason.
const ERASE_BYTES_MAX: usize = 1 << 20;

/// Settings of the file log.
#[derive(Debug, Clone)]
pub struct Options {
    /// A segment is closed before it grows beyond this (one batch that is larger gets one of its own). At least 4 KiB.
    pub segment_bytes: u64,
    /// On damage, keep what is before it and set the rest aside, instead of refusing to open.
    pub salvage: bool,
    /// Bodies of the newest entries that are kept in memory, so that those who follow the log need no disk.
    pub recent_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 64 << 20, salvage: false, recent_bytes_max: 4 << 20 }
    }
}

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of a write that a crash tore, and that were cut: they were never acknowledged. 0 after an orderly stop.
    pub cut_bytes: u64,
    /// What `--salvage` found and set aside, as a sentence for the operator.
    pub salvaged: Option<String>,
}

/// The log in a folder. Dropping it finishes what was let in and waits for that.
#[derive(Debug)]
pub struct FileLog {
    info: Info,
    recovery: Recovery,
    queue: Arc<Queue>,
    reader: Arc<Reader>,
    tail: watch::Receiver<Seq>,
    // Std mutexes: held to take something out, never across an await.
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    lock: Mutex<Option<Lock>>,
}

impl FileLog {
    /// Opens the log in a folder of this machine, or makes one; see [`FileLog::open`].
    ///
    /// # Errors
    /// As [`FileLog::open`].
    pub fn open_folder(path: impl AsRef<Path>, options: Options, clock: Clock) -> Result<FileLog, OpenError> {
        FileLog::open(Arc::new(RealDisk), path, options, clock)
    }

    /// Opens the log in a folder on `disk`, or makes one, and takes the folder's lock.
    ///
    /// Cost: mostly one segment is read, whatever the log's length; blocks, so call it before serving.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed unless it is `Io` (then: as after a crash).
    pub fn open(
        disk: Arc<dyn Disk>,
        path: impl AsRef<Path>,
        options: Options,
        clock: Clock,
    ) -> Result<FileLog, OpenError> {
        FileLog::open_after(disk, path.as_ref(), options, clock, |disk, folder| {
            filling::refuse(disk, folder)?;
            Ok(Epoch(rand::random()))
        })
    }

    /// As [`FileLog::open`]; `look` sees the locked folder first, and says which epoch a log has that is made.
    fn open_after(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: Options,
        clock: Clock,
        look: impl FnOnce(&dyn Disk, &Path) -> Result<Epoch, OpenError>,
    ) -> Result<FileLog, OpenError> {
        let folder = path.to_path_buf();
        let unusable = |why| OpenError::Folder { folder: folder.clone(), why };
        disk.create_folder(&folder).map_err(unusable)?;
        let lock = match disk.lock(&folder.join("lock")) {
            Ok(lock) => lock,
            Err(LockError::Held { pid }) => return Err(OpenError::Locked { folder, pid }),
            Err(LockError::Io(why)) => return Err(unusable(why)),
        };
        let fresh = look(&*disk, &folder)?;
        let opened = recovery::open(&*disk, &folder, options.salvage, fresh)?;
        let recovery = opened.recovery;
        if recovery.cut_bytes > 0 {
            tracing::warn!(
                bytes = recovery.cut_bytes,
                "removed an incomplete write of the last run; it was never acknowledged"
            );
        }
        if let Some(salvaged) = &recovery.salvaged {
            tracing::warn!("{salvaged}");
        }
        let first = *opened.segments.last().expect("a log has a segment");
        let segments = opened.segments;
        let newest = opened.newest.iter().cloned();
        let epoch = opened.meta.epoch();
        let recent_bytes_max = options.recent_bytes_max;
        let reader = Reader::new(disk.clone(), folder.clone(), opened.meta.clone(), recent_bytes_max, segments, newest);
        reader.add_marks(first, &opened.marks);
        let reader = Arc::new(reader);
        let sequencer = Sequencer::resume(opened.newest);
        let (tail_sender, tail) = watch::channel(sequencer.tail());
        let ahead =
            opened.file.len().map_err(|source| OpenError::Io { file: segment::path(&folder, first), source })?;
        let writer = Writer {
            disk,
            folder,
            meta: opened.meta.clone(),
            segment_bytes: options.segment_bytes.max(SEGMENT_BYTES_MIN),
            durable: sequencer.clone(),
            segment: Segment {
                first,
                file: opened.file,
                seed: opened.seed,
                offset: opened.end.offset,
                ahead,
                closed: false,
            },
            reader: reader.clone(),
            tail: tail_sender,
            buffer: BytesMut::new(),
            refusing: false,
        };
        let queue = Arc::new(Queue::new(sequencer, clock));
        let thread = thread::Builder::new().name("log-commit".into()).spawn({
            let queue = queue.clone();
            move || writer.run(&queue)
        });
        let info = Info {
            epoch,
            partition: antiphon_schemas::Cursor::PARTITION,
            backend: "file",
            durability: "an acknowledged entry is on this machine's disk (fdatasync)".into(),
        };
        let thread = Mutex::new(Some(thread.map_err(|why| OpenError::Folder { folder: path.into(), why })?));
        Ok(FileLog { info, recovery, queue, reader, tail, thread, lock: Mutex::new(Some(lock)) })
    }

    /// What opening found and did.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The answer of the commit thread, or why there will be none.
    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        answer.await.unwrap_or_else(|_| Err(self.queue.ended().unwrap_or_else(broken_off)))
    }
}

impl Log for FileLog {
    fn info(&self) -> Info {
        self.info.clone()
    }

    fn base(&self) -> Seq {
        self.reader.base()
    }

    fn tail(&self) -> Seq {
        *self.tail.borrow()
    }

    fn now_ms(&self) -> u64 {
        self.queue.now_ms()
    }

    fn append(&self, batch: Vec<Append>) -> Pending<'_, Vec<Verdict>> {
        if let Err(error) = check_batch(&batch) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let (sender, answer) = oneshot::channel();
        let entries_max = batch.iter().map(|append| append.drafts.len()).sum();
        let bytes_max = batch.iter().flat_map(|append| &append.drafts).map(draft_bytes_max).sum();
        self.queue.append(batch, Size { entries_max, bytes_max }, sender);
        Box::pin(self.answer(answer))
    }

    fn read(&self, after: Seq, entries_max: usize) -> Pending<'_, Vec<Arc<Entry>>> {
        let tail = self.tail();
        if let Err(error) = check_base(first_after(after), self.reader.base()) {
            return Box::pin(std::future::ready(Err(error)));
        }
        if after >= tail || entries_max == 0 {
            return Box::pin(std::future::ready(Ok(Vec::new())));
        }
        if let Some(entries) = self.reader.read_memory(after, entries_max) {
            return Box::pin(std::future::ready(Ok(entries)));
        }
        let reader = self.reader.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || reader.read_disk(after, entries_max, tail));
            read.await.unwrap_or_else(|error| Err(Error::Io(format!("the read broke off: {error}"))))
        })
    }

    fn get(&self, positions: Vec<Seq>) -> Pending<'_, Vec<Arc<Entry>>> {
        if let Err(error) = check_ascending(&positions, self.reader.base(), self.tail()) {
            return Box::pin(std::future::ready(Err(error)));
        }
        if let Some(entries) = self.reader.get_memory(&positions) {
            return Box::pin(std::future::ready(Ok(entries)));
        }
        let reader = self.reader.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || reader.get_disk(&positions));
            read.await.unwrap_or_else(|error| Err(Error::Io(format!("the read broke off: {error}"))))
        })
    }

    fn beyond(&self, seq: Seq) -> Pending<'_, ()> {
        let mut tail = self.tail.clone();
        Box::pin(async move { tail.wait_for(|tail| *tail > seq).await.map(|_| ()).map_err(|_| Error::Closed) })
    }

    fn load(&self, entries: Vec<Arc<Entry>>) -> Pending<'_, ()> {
        if let Err(error) = check_entries(&entries) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let (sender, answer) = oneshot::channel();
        let bytes_max = entries.iter().map(|entry| entry_bytes_max(entry)).sum();
        let size = Size { entries_max: entries.len(), bytes_max };
        self.queue.load(entries, size, sender);
        Box::pin(self.answer(answer))
    }

    fn erase(&self, positions: Vec<Seq>) -> Pending<'_, usize> {
        // What was trimmed and is still on the disk is erased, too.
        let positions = match check_positions(positions, self.reader.first(), self.tail()) {
            Ok(positions) => positions,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let reader = self.reader.clone();
        Box::pin(async move {
            if let Some(error) = self.queue.ended() {
                return Err(error);
            }
            // Looking for them is left to a thread that may wait for the disk: most calls find nothing to be done.
            let found = tokio::task::spawn_blocking(move || reader.find_kept(&positions)).await;
            let found = found.unwrap_or_else(|error| Err(Error::Io(format!("the look broke off: {error}"))))?;
            let mut count = 0;
            for part in parts(&found) {
                let (sender, answer) = oneshot::channel();
                self.queue.erase(part.to_vec(), sender);
                count += self.answer(answer).await?;
            }
            Ok(count)
        })
    }

    fn forget(&self, positions: &[Seq]) {
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        self.reader.forget(&positions);
        self.queue.forget(&positions);
    }

    fn trim(&self, upto: Seq) -> Pending<'_, Seq> {
        if let Some(error) = self.queue.ended() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let base = self.reader.base();
        if upto < base {
            return Box::pin(std::future::ready(Ok(base)));
        }
        if let Err(error) = check_trim(upto, self.tail()) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let (sender, answer) = oneshot::channel();
        self.queue.trim(upto, sender);
        Box::pin(self.answer(answer))
    }

    fn close(&self) -> Pending<'_, ()> {
        self.queue.close();
        let mut tail = self.tail.clone();
        Box::pin(async move {
            // The sender goes when the thread ends.
            while tail.changed().await.is_ok() {}
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
            match self.queue.ended() {
                None | Some(Error::Closed) => Ok(()),
                Some(error) => Err(error),
            }
        })
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic there was told to every caller already.
            let _ = thread.join();
        }
    }
}

/// What is erased together.
fn parts(targets: &[Target]) -> Vec<&[Target]> {
    let (mut parts, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (at, target) in targets.iter().enumerate() {
        if at > from && (at - from == ERASE_TARGETS_MAX || bytes + target.len > ERASE_BYTES_MAX) {
            parts.push(&targets[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += target.len;
    }
    parts.extend((from < targets.len()).then(|| &targets[from..]));
    parts
}

/// The commit thread panicked.
fn broken_off() -> Error {
    Error::Poisoned("the commit thread broke off".into())
}

fn draft_bytes_max(draft: &super::Draft) -> u64 {
    let room = draft.room.as_ref().map_or(0, |room| room.as_str().len());
    let subjects = draft.event.subjects().len();
    format::record_bytes_max(draft.event.kind().len(), room, subjects, draft.body.len())
}

fn entry_bytes_max(entry: &Entry) -> u64 {
    let header = &entry.header;
    let room = header.room.as_ref().map_or(0, |room| room.as_str().len());
    format::record_bytes_max(header.kind.len(), room, header.subjects.len(), entry.body.len())
}
