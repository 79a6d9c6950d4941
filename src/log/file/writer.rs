//! The commit thread: judges, writes and syncs group after group, then tells everybody.
//!
//! For each group of calls, in this order:
//! 1. room for all of it (a new segment, zeros ahead); if the disk is full, nothing has happened yet: [`Error::Full`];
//! 2. verdicts, records, one write, one `fdatasync`;
//! 3. readers see the entries, then callers get their answers.
//!
//! Promises: a group is written strictly after the sync of the one before; there is no waiting for more calls; after a
//! write or sync that failed the thread ends and nothing is acknowledged any more ([`Error::Poisoned`]).
//! Not here: what may wait, and how much makes a group (`queue`).

use std::{io, path::PathBuf, sync::Arc};

use antiphon_schemas::{Entry, Epoch, Seq};
use bytes::BytesMut;
use tokio::sync::watch;

use super::{
    disk::{Disk, File},
    format::{HEADER_BYTES, Place, Seed, SegmentHeader, put_record},
    queue::{Job, Queue, Work},
    reader::Reader,
    recovery::{create_segment, write_zeros},
    segment::{self, Mark, Marks},
};
use crate::{
    clock::Clock,
    log::{Error, Judge, Verdict},
};

/// Segments are written ahead with zeros in steps of this size: then a sync need not write the file's length or layout.
const AHEAD_BYTES: u64 = 4 << 20;
/// A buffer that one large call has blown up is given back above this.
const BUFFER_KEEP_BYTES: usize = 4 << 20;

/// Everything that the commit thread owns.
pub(super) struct Writer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) epoch: Epoch,
    pub(super) segment_bytes: u64,
    pub(super) clock: Clock,
    pub(super) judge: Judge,
    pub(super) last: Option<Arc<Entry>>,
    pub(super) segment: Segment,
    pub(super) reader: Arc<Reader>,
    pub(super) tail: watch::Sender<Seq>,
    pub(super) buffer: BytesMut,
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
}

/// Why there is no room.
enum NoRoom {
    /// The disk is full; nothing was written that counts.
    Full(io::Error),
    /// Nobody knows what is on the disk.
    Broken(io::Error),
}

/// What a call will be told once its entries are durable.
enum Told {
    Append(super::queue::Answer<Vec<Verdict>>, Vec<Verdict>),
    Load(super::queue::Answer<()>, Result<(), Error>),
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
        while queue.take(&mut group) {
            if let Err(error) = self.commit(&mut group) {
                tracing::error!(%error, "the log takes no more writes until a restart");
                queue.end(error.clone());
                group.drain(..).for_each(|job| job.work.refuse(error.clone()));
                return;
            }
        }
        queue.end(Error::Closed);
    }

    /// Commits a group and empties it. On an error what is left in it was not answered.
    fn commit(&mut self, group: &mut Vec<Job>) -> Result<(), Error> {
        match self.make_room(group.iter().map(|job| job.bytes_max).sum()) {
            Ok(()) => {}
            Err(NoRoom::Full(error)) => {
                let error = Error::Full(error.to_string());
                group.drain(..).for_each(|job| job.work.refuse(error.clone()));
                return Ok(());
            }
            Err(NoRoom::Broken(error)) => return Err(Error::Poisoned(error.to_string())),
        }
        let now_ms = self.clock.now_ms();
        let mut entries = Vec::new();
        let told: Vec<Told> = group.drain(..).map(|job| self.judge(job.work, now_ms, &mut entries)).collect();
        if let Err(error) = self.write(entries) {
            let error = Error::Poisoned(error.to_string());
            told.into_iter().for_each(|told| told.tell(Err(error.clone())));
            return Err(error);
        }
        told.into_iter().for_each(|told| told.tell(Ok(())));
        Ok(())
    }

    fn judge(&mut self, work: Work, now_ms: u64, entries: &mut Vec<Arc<Entry>>) -> Told {
        match work {
            Work::Append(batch, answer) => {
                let judge = |append| {
                    let verdict = self.judge.judge(append, now_ms);
                    if let Verdict::Appended(new) = &verdict {
                        entries.extend(new.iter().cloned());
                    }
                    verdict
                };
                Told::Append(answer, batch.into_iter().map(judge).collect())
            }
            Work::Load(new, answer) => {
                let result = self.judge.load(&new);
                if result.is_ok() {
                    entries.extend(new);
                }
                Told::Load(answer, result)
            }
        }
    }

    /// Makes sure that `bytes` more can be written to the segment without its file growing.
    fn make_room(&mut self, bytes: u64) -> Result<(), NoRoom> {
        if self.segment.offset > HEADER_BYTES && self.segment.offset + bytes > self.segment_bytes {
            self.next_segment()?;
        }
        let end = self.segment.offset + bytes;
        if end <= self.segment.ahead {
            return Ok(());
        }
        let step = (self.segment.ahead / AHEAD_BYTES + 1) * AHEAD_BYTES;
        let ahead = step.min(self.segment_bytes).max(end);
        write_zeros(&*self.segment.file, self.segment.ahead, ahead).map_err(NoRoom::of_write)?;
        self.segment.ahead = ahead;
        Ok(())
    }

    /// Goes on in a new segment. Its header is durable before the first record is written.
    fn next_segment(&mut self) -> Result<(), NoRoom> {
        let first = self.judge.tail().next();
        let previous = self.last.as_ref().expect("a segment with records has a last entry").hash();
        let header = SegmentHeader { epoch: self.epoch, first, salt: rand::random(), previous };
        let ahead = AHEAD_BYTES.min(self.segment_bytes).max(HEADER_BYTES);
        let made = create_segment(&*self.disk, &self.folder, &header).and_then(|file| {
            write_zeros(&*file, HEADER_BYTES, ahead)?;
            Ok(file)
        });
        let file = made.map_err(|error| {
            // If this fails too: a segment without a record is dropped when the log is opened.
            let _ = self.disk.remove(&segment::path(&self.folder, first));
            NoRoom::of_write(error)
        })?;
        file.sync_data().map_err(NoRoom::Broken)?;
        self.disk.sync_folder(&self.folder.join(segment::FOLDER)).map_err(NoRoom::Broken)?;
        self.reader.add_segment(first);
        self.segment = Segment { first, file, seed: header.seed(), offset: HEADER_BYTES, ahead };
        Ok(())
    }

    /// Writes the entries as one batch; when this returns they are durable and can be read.
    fn write(&mut self, entries: Vec<Arc<Entry>>) -> io::Result<()> {
        let Some(last) = entries.last().cloned() else { return Ok(()) };
        let batch_first = entries[0].header.seq;
        let batch_len = u32::try_from(entries.len()).expect("calls are bounded");
        let segment = &mut self.segment;
        let mut marks = Marks::from(segment.offset);
        self.buffer.clear();
        for (index, entry) in (0..).zip(&entries) {
            marks.pass(Mark { seq: entry.header.seq, offset: segment.offset + self.buffer.len() as u64 });
            put_record(&mut self.buffer, segment.seed, entry, Place { batch_first, batch_len, index });
        }
        segment.file.write_at(&self.buffer, segment.offset)?;
        segment.file.sync_data()?;
        if marks.kept.is_empty() {
            marks.kept.push(Mark { seq: batch_first, offset: segment.offset });
        }
        self.reader.publish(segment.first, &marks.kept, entries);
        segment.offset += self.buffer.len() as u64;
        if self.buffer.capacity() > BUFFER_KEEP_BYTES {
            self.buffer = BytesMut::new();
        }
        self.tail.send_replace(last.header.seq);
        self.last = Some(last);
        Ok(())
    }
}

impl NoRoom {
    fn of_write(error: io::Error) -> NoRoom {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => NoRoom::Full(error),
            _ => NoRoom::Broken(error),
        }
    }
}

impl Told {
    fn tell(self, written: Result<(), Error>) {
        // A caller that went away needs no answer.
        match self {
            Told::Append(answer, verdicts) => drop(answer.send(written.map(|()| verdicts))),
            Told::Load(answer, result) => drop(answer.send(written.and(result))),
        }
    }
}
