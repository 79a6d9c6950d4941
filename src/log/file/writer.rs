//! The commit thread: writes and syncs groups of admitted calls, one after the other, then answers them.
//!
//! For each group, in this order:
//! 1. reserve space for all of it (a new segment, zeros ahead); if the disk is full or the system refuses, nothing has
//!    happened yet: [`Error::Full`], [`Error::Busy`];
//! 2. one write, one `fdatasync`;
//! 3. readers see the entries, then callers get their answers;
//! 4. erase or trim what the group asks for (`erasing`, `trimming`), so that nothing else writes to a segment meanwhile.
//!
//! Promises: a group is written strictly after the sync of the one before; it never waits for more calls. A failed write is
//! overwritten with zeros and its group refused: the next group finds the log as it was. After a failed sync it is unknown
//! what is on the disk: the thread ends and nothing more is acknowledged ([`Error::Poisoned`]).
//! Not here: verdicts, what may wait, and how much makes a group (`queue`).

use std::{io, path::PathBuf, sync::Arc};

use antiphon_schemas::{Entry, Seq};
use bytes::BytesMut;
use tokio::sync::watch;

use super::{
    disk::{Disk, File, is_passing},
    erasing::{self, Intent, Target, Unreadable},
    format::{HEADER_BYTES, Place, Seed, SegmentHeader, put_record},
    meta::Meta,
    queue::{Answer, Call, Queue},
    reader::Reader,
    recovery::{create_segment, write_zeros},
    segment::{self, Mark, Marks},
    trimming,
};
use crate::log::{Error, Sequencer};

/// Segments are written ahead with zeros in steps of this size: then a sync need not write the file's length or layout.
const AHEAD_BYTES: u64 = 4 << 20;
/// A buffer that one large call has blown up is given back above this.
const BUFFER_KEEP_BYTES: usize = 4 << 20;

/// Everything that the commit thread owns.
pub(super) struct Writer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) meta: Meta,
    pub(super) segment_bytes: u64,
    /// Knows durable entries only: what the queue goes back to when there is no room.
    pub(super) durable: Sequencer,
    pub(super) segment: Segment,
    pub(super) reader: Arc<Reader>,
    pub(super) tail: watch::Sender<Seq>,
    pub(super) buffer: BytesMut,
    /// The last group was refused: said once, not for each group.
    pub(super) refusing: bool,
}

/// The segment that is written to.
pub(super) struct Segment {
    pub(super) first: Seq,
    pub(super) file: Arc<dyn File>,
    pub(super) seed: Seed,
    /// Where the next record goes.
    pub(super) offset: u64,
    /// Zeros are written up to here.
    pub(super) ahead: u64,
    /// The next one was begun. Its name may be on the disk even if making it failed, so nothing more goes in here.
    pub(super) closed: bool,
}

/// Why nothing was written.
enum Failure {
    /// The disk is full; nothing was written that counts.
    Full(io::Error),
    /// The system refuses at the moment; nothing was written that counts.
    Busy(io::Error),
    /// Nobody knows what is on the disk.
    Broken(io::Error),
}

impl Writer {
    /// Works until the queue is closed or the disk fails.
    pub(super) fn run(mut self, queue: &Queue) {
        /// However the thread ends, by a panic too, nobody is left waiting.
        struct Ending<'a>(&'a Queue);
        impl Drop for Ending<'_> {
            fn drop(&mut self) {
                self.0.end(super::broken_off());
            }
        }
        let _ending = Ending(queue);
        let mut group = Vec::new();
        while let Some(bytes_max) = queue.take(&mut group) {
            match self.commit(&group, bytes_max) {
                Ok(()) => {
                    if std::mem::take(&mut self.refusing) {
                        tracing::info!("the log takes writes again");
                    }
                    let (removals, written): (Vec<_>, Vec<_>) =
                        group.drain(..).partition(|call| matches!(call, Call::Erase(..) | Call::Trim(..)));
                    written.into_iter().for_each(Call::tell);
                    if self.remove_all(removals, queue).is_err() {
                        return;
                    }
                }
                Err(error @ (Error::Full(_) | Error::Busy(_))) => {
                    if !std::mem::replace(&mut self.refusing, true) {
                        tracing::warn!(%error, "the log refuses writes until this is mended");
                    }
                    queue.undo(&self.durable, &mut group, &error);
                }
                Err(error) => {
                    tracing::error!(%error, "the log accepts no more writes until a restart");
                    queue.end(error.clone());
                    group.into_iter().for_each(|call| call.refuse(error.clone()));
                    return;
                }
            }
        }
        queue.end(Error::Closed);
    }

    /// Erases and trims what these calls want, one after the other; an error ends the thread, and every caller gets it.
    fn remove_all(&mut self, calls: Vec<Call>, queue: &Queue) -> Result<(), ()> {
        let mut calls = calls.into_iter();
        while let Some(call) = calls.next() {
            let told = match call {
                Call::Erase(answer, targets) => tell(queue, answer, self.erase(&targets, queue)),
                Call::Trim(answer, upto) => tell(queue, answer, self.trim(upto)),
                Call::Append(..) | Call::Load(..) => Ok(()),
            };
            if let Err(error) = told {
                calls.for_each(|call| call.refuse(error.clone()));
                return Err(());
            }
        }
        Ok(())
    }

    /// Moves the log's beginning up; when this returns that is durable. Returns where it is.
    fn trim(&mut self, upto: Seq) -> Result<Seq, Error> {
        let base = upto.next();
        if base <= self.meta.base {
            return Ok(self.meta.base);
        }
        let meta = Meta { base, ..self.meta.clone() };
        meta.store(&*self.disk, &self.folder).map_err(Failure::of_any)?;
        self.meta = meta;
        let below = self.reader.begin_at(base);
        if let Err(error) = trimming::remove(&*self.disk, &self.folder, &below) {
            tracing::warn!(%error, "trimmed segments could not be removed; the next start removes them");
        }
        Ok(base)
    }

    /// Erases records in place; when this returns that is durable, and nothing in memory has their bodies any more.
    fn erase(&mut self, targets: &[Target], queue: &Queue) -> Result<usize, Error> {
        let (disk, folder) = (&*self.disk, &*self.folder);
        // Trimmed since they were found: gone with their segment.
        let targets: Vec<_> = targets.iter().filter(|target| self.reader.has_segment(target.first)).copied().collect();
        let intent = Intent::of(disk, folder, &targets).map_err(|why| {
            let place = |first, offset| format!("`{}` at byte {offset}", segment::path(folder, first).display());
            match why {
                Unreadable::Io(first, error) => Error::Io(format!("{}: {error}", place(first, 0))),
                Unreadable::Flawed(t, flaw) => Error::Damaged { place: place(t.first, t.offset), why: flaw.why() },
            }
        })?;
        if intent.len() > 0 {
            if let Err(error) = intent.store(disk, folder) {
                // Left behind it would say something only if it were whole, and then what is wanted anyway.
                let _ = erasing::finish(disk, folder);
                return Err(Failure::of_any(error).into());
            }
            let poisoned = |error: io::Error| Error::Poisoned(error.to_string());
            self.reader.overwriting(|| intent.write()).map_err(poisoned)?;
            intent.sync().map_err(poisoned)?;
            match erasing::finish(disk, folder).map_err(Failure::of_any) {
                Err(Failure::Broken(error)) => return Err(poisoned(error)),
                // The next erasure overwrites what is left behind, and a restart does it once more: the same bytes.
                Err(Failure::Full(error) | Failure::Busy(error)) => {
                    tracing::warn!(%error, "the note of an erasure that is done is still there");
                }
                Ok(()) => {}
            }
        }
        let positions: Vec<Seq> = targets.iter().map(|target| target.seq).collect();
        self.durable.erase(&positions);
        self.reader.forget(&positions);
        queue.forget(&positions);
        Ok(intent.len())
    }

    /// Writes a group's entries as one batch; when this returns they are durable and can be read.
    fn commit(&mut self, group: &[Call], bytes_max: u64) -> Result<(), Error> {
        let entries: Vec<_> = group.iter().flat_map(Call::entries).cloned().collect();
        if entries.is_empty() {
            return Ok(());
        }
        self.make_room(bytes_max)?;
        Ok(self.write(entries)?)
    }

    /// Makes sure that `bytes` more can be written to the segment without its file growing.
    fn make_room(&mut self, bytes: u64) -> Result<(), Failure> {
        let full = self.segment.offset > HEADER_BYTES && self.segment.offset + bytes > self.segment_bytes;
        if full || self.segment.closed {
            self.segment.closed = true;
            self.next_segment()?;
        }
        let end = self.segment.offset + bytes;
        if end <= self.segment.ahead {
            return Ok(());
        }
        let step = (self.segment.ahead / AHEAD_BYTES + 1) * AHEAD_BYTES;
        let ahead = step.min(self.segment_bytes).max(end);
        write_zeros(&*self.segment.file, self.segment.ahead, ahead).map_err(Failure::of_write)?;
        self.segment.ahead = ahead;
        Ok(())
    }

    /// Goes on in a new segment. Its header is durable before the first record is written.
    fn next_segment(&mut self) -> Result<(), Failure> {
        let first = self.durable.tail().next();
        let previous = self.durable.last().expect("a segment with records has a last entry").hash();
        let header = SegmentHeader { epoch: self.meta.epoch(), first, salt: rand::random(), previous };
        let ahead = AHEAD_BYTES.min(self.segment_bytes).max(HEADER_BYTES);
        let made = create_segment(&*self.disk, &self.folder, &header).and_then(|file| {
            write_zeros(&*file, HEADER_BYTES, ahead)?;
            Ok(file)
        });
        let file = made.map_err(|error| {
            // If this fails too: a segment without a record is dropped when the log is opened.
            let _ = self.disk.remove(&segment::path(&self.folder, first));
            Failure::of_write(error)
        })?;
        file.sync_data().map_err(Failure::Broken)?;
        self.disk.sync_folder(&self.folder.join(segment::FOLDER)).map_err(Failure::of_any)?;
        self.reader.add_segment(first);
        self.segment = Segment { first, file, seed: header.seed(), offset: HEADER_BYTES, ahead, closed: false };
        Ok(())
    }

    fn write(&mut self, entries: Vec<Arc<Entry>>) -> Result<(), Failure> {
        let batch_first = entries[0].header.seq;
        let batch_len = u32::try_from(entries.len()).expect("calls are bounded");
        let segment = &mut self.segment;
        let mut marks = Marks::from(segment.offset);
        self.buffer.clear();
        for (index, entry) in (0..).zip(&entries) {
            marks.pass(Mark { seq: entry.header.seq, offset: segment.offset + self.buffer.len() as u64 });
            put_record(&mut self.buffer, segment.seed, entry, Place { batch_first, batch_len, index });
        }
        let end = segment.offset + self.buffer.len() as u64;
        if let Err(error) = segment.file.write_at(&self.buffer, segment.offset) {
            // Some of it may be there, and must not be found by the next start: its callers are refused.
            let zeros = write_zeros(&*segment.file, segment.offset, end).and_then(|()| segment.file.sync_data());
            return match zeros {
                Ok(()) => Err(Failure::of_write(error)),
                Err(_) => Err(Failure::Broken(error)),
            };
        }
        segment.file.sync_data().map_err(Failure::Broken)?;
        if marks.kept.is_empty() {
            marks.kept.push(Mark { seq: batch_first, offset: segment.offset });
        }
        segment.offset = end;
        entries.iter().cloned().for_each(|entry| self.durable.push(entry));
        self.reader.publish(segment.first, &marks.kept, entries);
        if self.buffer.capacity() > BUFFER_KEEP_BYTES {
            self.buffer = BytesMut::new();
        }
        self.tail.send_replace(self.durable.tail());
        Ok(())
    }
}

/// Answers. A result that ends the thread ends the queue first, so that the caller finds it ended; it is returned as an error.
fn tell<T>(queue: &Queue, answer: Answer<T>, result: Result<T, Error>) -> Result<(), Error> {
    let poisoned = result.as_ref().err().filter(|error| matches!(error, Error::Poisoned(_))).cloned();
    if let Some(error) = &poisoned {
        tracing::error!(%error, "the log accepts no more writes until a restart");
        queue.end(error.clone());
    }
    drop(answer.send(result));
    poisoned.map_or(Ok(()), Err)
}

impl Failure {
    /// Of something that nothing was synced after: the log is as it was, whatever the error.
    fn of_write(error: io::Error) -> Failure {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Failure::Full(error),
            _ => Failure::Busy(error),
        }
    }

    /// Of something that ends in a sync: only what no sync answers is of the moment.
    fn of_any(error: io::Error) -> Failure {
        match Failure::of_write(error) {
            Failure::Busy(error) if !is_passing(&error) => Failure::Broken(error),
            failure => failure,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Full(error) => Error::Full(format!("{error}; free some space on its disk")),
            Failure::Busy(error) => Error::Busy(error.to_string()),
            Failure::Broken(error) => Error::Poisoned(error.to_string()),
        }
    }
}
