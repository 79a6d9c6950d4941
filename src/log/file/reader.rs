//! Reading: the newest entries from memory, older ones from the segments.
//!
//! Promises: a reader sees durable entries only, waits for no writer, and checks every checksum that it passes; damage is
//! reported with file and offset, never passed over. Following the log costs no disk.
//! Bounds: entries in memory by count and bytes; one window of a segment per read; the indexes (`segment`).

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use antiphon_schemas::{Entry, Seq};

use super::{
    disk::{Disk, File},
    format::{Flaw, Seed, SegmentHeader},
    meta::Meta,
    segment::{self, Indexes, Mark, Marks, Walk},
};
use crate::log::{Error, READ_BYTES_MAX};

/// Entries kept in memory for those who follow the log, whatever their size.
const RECENT_ENTRIES_MAX: usize = 4_096;

/// Reads of one log.
#[derive(Debug)]
pub(super) struct Reader {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    meta: Meta,
    recent_bytes_max: usize,
    // Std locks: held for copies of pointers, never across a read of the disk or an await.
    recent: RwLock<Recent>,
    segments: RwLock<Vec<Seq>>,
    indexes: Indexes,
}

#[derive(Debug, Default)]
struct Recent {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, entry: Arc<Entry>, bytes_max: usize) {
        self.bytes += entry.body.len();
        self.entries.push_back(entry);
        while self.entries.len() > RECENT_ENTRIES_MAX || self.bytes > bytes_max {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.body.len();
        }
    }
}

impl Reader {
    /// A reader of these segments; `newest` are the last entries.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        meta: Meta,
        recent_bytes_max: usize,
        segments: Vec<Seq>,
        newest: impl IntoIterator<Item = Arc<Entry>>,
    ) -> Reader {
        let mut recent = Recent::default();
        newest.into_iter().for_each(|entry| recent.push(entry, recent_bytes_max));
        Reader {
            disk,
            folder,
            meta,
            recent_bytes_max,
            recent: RwLock::new(recent),
            segments: RwLock::new(segments),
            indexes: Indexes::default(),
        }
    }

    /// A new segment will follow.
    pub(super) fn add_segment(&self, first: Seq) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push(first);
    }

    /// Where some records of a segment begin.
    pub(super) fn add_marks(&self, first: Seq, marks: &[Mark]) {
        self.indexes.extend(first, marks);
    }

    /// Entries that are durable now.
    pub(super) fn publish(&self, first: Seq, marks: &[Mark], entries: Vec<Arc<Entry>>) {
        self.indexes.extend(first, marks);
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        entries.into_iter().for_each(|entry| recent.push(entry, self.recent_bytes_max));
    }

    /// The entries after a position, if the newest in memory reach back to it.
    pub(super) fn read_memory(&self, after: Seq, entries_max: usize) -> Option<Vec<Arc<Entry>>> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let first = recent.entries.front()?.header.seq;
        let skip = usize::try_from(after.next().0.checked_sub(first.0)?).ok()?;
        let mut page = Page::new(entries_max);
        for entry in recent.entries.iter().skip(skip) {
            if !page.takes(entry.body.len()) {
                break;
            }
            page.entries.push(entry.clone());
        }
        Some(page.entries)
    }

    /// The entries after a position, from the segments; `tail` is the last durable position, and beyond `after`.
    pub(super) fn read_disk(&self, after: Seq, entries_max: usize, tail: Seq) -> Result<Vec<Arc<Entry>>, Error> {
        let mut page = Page::new(entries_max);
        let mut want = after.next();
        while want <= tail && page.has_room() {
            let (first, next) = self.segment_of(want);
            let file = self.segment(first);
            let end = next.map_or(tail.next(), |next| next.min(tail.next()));
            want = self.read_segment(&file, want..end, &mut page)?;
            if want == end
                && let Some(next) = next.filter(|next| *next == end)
                && let Some(last) = page.entries.last()
            {
                self.check_link(last, next)?;
            }
        }
        Ok(page.entries)
    }

    /// The segment that holds a position, and the one after it: the first positions of both.
    fn segment_of(&self, seq: Seq) -> (Seq, Option<Seq>) {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let at = segments.partition_point(|first| *first <= seq).saturating_sub(1);
        (segments[at], segments.get(at + 1).copied())
    }

    /// Fills the page from one segment and returns the position that comes next.
    fn read_segment(&self, file: &SegmentFile, want: Range<Seq>, page: &mut Page) -> Result<Seq, Error> {
        let (opened, _, seed) = file.open()?;
        let mut walk = Walk::new(&*opened, seed);
        let mut at = self.indexes.nearest(file.first, want.start);
        let mut marks = Marks::from(at.offset);
        while at.seq < want.end {
            let flawed = |flaw| file.damaged(at.offset, flaw);
            let record = walk.record(at.offset).map_err(|error| file.io(&error))?.map_err(flawed)?;
            if record.seq() != at.seq {
                return Err(flawed(Flaw::OutOfPlace));
            }
            if at.seq >= want.start {
                if !page.takes(record.body.len()) {
                    break;
                }
                page.entries.push(Arc::new(record.entry().map_err(flawed)?));
            }
            marks.pass(at);
            at = Mark { seq: at.seq.next(), offset: at.offset + record.len() };
        }
        self.indexes.extend(file.first, &marks.kept);
        Ok(at.seq)
    }

    /// The next segment must go on from the last entry of the one before: finds segments that were swapped or put back.
    fn check_link(&self, last: &Entry, next: Seq) -> Result<(), Error> {
        let file = self.segment(next);
        let (_, header, _) = file.open()?;
        if header.previous == last.hash() { Ok(()) } else { Err(file.damaged(0, Flaw::OtherSegment)) }
    }

    fn segment(&self, first: Seq) -> SegmentFile<'_> {
        SegmentFile { disk: &*self.disk, meta: &self.meta, first, path: segment::path(&self.folder, first) }
    }
}

/// A segment to read, and how to speak of it.
struct SegmentFile<'a> {
    disk: &'a dyn Disk,
    meta: &'a Meta,
    first: Seq,
    path: PathBuf,
}

impl SegmentFile<'_> {
    fn open(&self) -> Result<(Arc<dyn File>, SegmentHeader, Seed), Error> {
        let file = self.disk.open(&self.path).map_err(|error| self.io(&error))?;
        let header = segment::read_header(&*file).map_err(|error| self.io(&error))?;
        let (header, seed) = header.map_err(|flaw| self.damaged(0, flaw))?;
        if header.first != self.first || !self.meta.knows(header.epoch) {
            return Err(self.damaged(0, Flaw::OtherSegment));
        }
        Ok((file, header, seed))
    }

    fn damaged(&self, offset: u64, flaw: Flaw) -> Error {
        Error::Damaged { place: format!("`{}` at byte {offset}", self.path.display()), why: flaw.why() }
    }

    fn io(&self, error: &io::Error) -> Error {
        Error::Io(format!("`{}`: {error}", self.path.display()))
    }
}

/// One answer being filled.
struct Page {
    entries: Vec<Arc<Entry>>,
    entries_max: usize,
    bytes: usize,
}

impl Page {
    fn new(entries_max: usize) -> Page {
        Page { entries: Vec::new(), entries_max, bytes: 0 }
    }

    fn has_room(&self) -> bool {
        self.entries.len() < self.entries_max && self.bytes <= READ_BYTES_MAX
    }

    /// Whether an entry with a body of `len` bytes still goes in; then it must be put in.
    fn takes(&mut self, len: usize) -> bool {
        self.bytes += len;
        self.entries.len() < self.entries_max && (self.entries.is_empty() || self.bytes <= READ_BYTES_MAX)
    }
}
