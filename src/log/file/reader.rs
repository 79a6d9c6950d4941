//! Reading: the newest entries from memory, older ones from the segments.
//!
//! Promises: a reader sees durable entries only, waits for no writer, and checks every checksum that it passes; damage is
//! reported with file and offset, never passed over. Following the log costs no disk. A record that is being overwritten
//! while it is read (`erasing`) is read again: what looks like damage then is none.
//! Bounds: entries in memory by count and bytes; one window of a segment per read; the indexes (`segment`).

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use antiphon_schemas::{
    Entry, Seq,
    entry::{ERASED_BYTES_MIN, is_erased},
};

use super::{
    disk::{Disk, File},
    erasing::Target,
    format::{Flaw, Seed, SegmentHeader},
    meta::Meta,
    segment::{self, Indexes, Mark, Marks, Walk},
    trimming,
};
use crate::log::{Error, READ_BYTES_MAX, check_base, erase_among, too_short};

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
    pub(super) recent: RwLock<Recent>,
    segments: RwLock<Vec<Seq>>,
    pub(super) indexes: Indexes,
    /// The first position that is read.
    base: AtomicU64,
    /// Counts the beginnings and the ends of overwriting: odd while it is done.
    overwrites: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Recent {
    pub(super) entries: VecDeque<Arc<Entry>>,
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
            base: AtomicU64::new(meta.base.0),
            meta,
            recent_bytes_max,
            recent: RwLock::new(recent),
            segments: RwLock::new(segments),
            indexes: Indexes::default(),
            overwrites: AtomicU64::new(0),
        }
    }

    /// The first position that is read.
    pub(super) fn base(&self) -> Seq {
        Seq(self.base.load(Ordering::SeqCst))
    }

    /// Reads from `base` on only; the segments that hold nothing of it, which nobody finds any more.
    pub(super) fn begin_at(&self, base: Seq) -> Vec<Seq> {
        self.base.store(base.0, Ordering::SeqCst);
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let below = trimming::count_below(&segments, base);
        segments.drain(..below).collect()
    }

    /// The first position that is on the disk.
    pub(super) fn first(&self) -> Seq {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).first().copied().unwrap_or(Seq(1))
    }

    /// Whether a segment is still there.
    pub(super) fn has_segment(&self, first: Seq) -> bool {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).binary_search(&first).is_ok()
    }

    /// What was read from `first` on, unless that was trimmed meanwhile: then it may be anything.
    pub(super) fn unless_trimmed<T>(&self, first: Seq, read: Result<T, Error>) -> Result<T, Error> {
        check_base(first, self.base())?;
        read
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

    /// Overwrites records, of which readers may meanwhile see some bytes of before and some of after.
    pub(super) fn overwriting<T>(&self, write: impl FnOnce() -> T) -> T {
        /// However it ends, readers continue.
        struct Over<'a>(&'a AtomicU64);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.overwrites.fetch_add(1, Ordering::SeqCst);
        let _over = Over(&self.overwrites);
        write()
    }

    /// Erases what is in memory of these positions, which are in order.
    pub(super) fn forget(&self, positions: &[Seq]) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        erase_among(&mut recent.entries, positions);
    }

    /// As [`Reader::find`], without those that are trimmed meanwhile.
    pub(super) fn find_kept(&self, positions: &[Seq]) -> Result<Vec<Target>, Error> {
        loop {
            let first = self.first();
            let found = self.find(&positions[positions.partition_point(|seq| *seq < first)..]);
            if self.first() == first {
                return found;
            }
        }
    }

    /// The places of those entries that are not erased yet. All are durable, and in order.
    fn find(&self, positions: &[Seq]) -> Result<Vec<Target>, Error> {
        let mut found = Vec::new();
        let mut opened: Option<(SegmentFile<'_>, Arc<dyn File>, Seed)> = None;
        for &seq in positions {
            let (first, _) = self.segment_of(seq);
            if opened.as_ref().is_none_or(|(file, ..)| file.first != first) {
                let file = self.segment(first);
                let (bytes, _, seed) = file.open()?;
                opened = Some((file, bytes, seed));
            }
            let (file, bytes, seed) = opened.as_ref().expect("just opened");
            found.extend(self.whole(|| self.find_one(file, &**bytes, *seed, seq))?);
        }
        Ok(found)
    }

    fn find_one(
        &self,
        file: &SegmentFile<'_>,
        bytes: &dyn File,
        seed: Seed,
        seq: Seq,
    ) -> Result<Option<Target>, Error> {
        let mut walk = Walk::new(bytes, seed);
        let mut at = self.indexes.nearest(file.first, seq);
        let mut marks = Marks::from(at.offset);
        loop {
            let flawed = |flaw| file.damaged(at.offset, flaw);
            let record = walk.record(at.offset).map_err(|error| file.io(&error))?.map_err(flawed)?;
            if record.seq() != at.seq {
                return Err(flawed(Flaw::OutOfPlace));
            }
            marks.pass(at);
            if at.seq < seq {
                at = Mark { seq: at.seq.next(), offset: at.offset + record.len() };
                continue;
            }
            let (len, gone, short) = (record.len(), is_erased(record.body), record.body.len() < ERASED_BYTES_MIN);
            self.indexes.extend(file.first, &marks.kept);
            if short {
                return Err(too_short(seq));
            }
            let len = usize::try_from(len).expect("a record fits into memory");
            return Ok((!gone).then_some(Target { seq, first: file.first, offset: at.offset, len }));
        }
    }

    /// A read, made again if somebody was overwriting what it saw.
    pub(super) fn whole<T>(&self, read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        loop {
            let before = self.overwrites.load(Ordering::SeqCst);
            let result = read();
            let quiet = before.is_multiple_of(2) && self.overwrites.load(Ordering::SeqCst) == before;
            if quiet || !matches!(result, Err(Error::Damaged { .. })) {
                return result;
            }
            // A few writes into the system's memory, and it is over.
            std::thread::yield_now();
        }
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
        self.unless_trimmed(after.next(), self.whole(|| self.read_page(after, entries_max, tail)))
    }

    fn read_page(&self, after: Seq, entries_max: usize, tail: Seq) -> Result<Vec<Arc<Entry>>, Error> {
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
    pub(super) fn segment_of(&self, seq: Seq) -> (Seq, Option<Seq>) {
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

    /// The next segment must continue the previous one: finds segments that were swapped or restored.
    fn check_link(&self, last: &Entry, next: Seq) -> Result<(), Error> {
        let file = self.segment(next);
        let (_, header, _) = file.open()?;
        if header.previous == last.hash() { Ok(()) } else { Err(file.damaged(0, Flaw::OtherSegment)) }
    }

    pub(super) fn segment(&self, first: Seq) -> SegmentFile<'_> {
        SegmentFile { disk: &*self.disk, meta: &self.meta, first, path: segment::path(&self.folder, first) }
    }
}

/// A segment to read, and how to speak of it.
pub(super) struct SegmentFile<'a> {
    disk: &'a dyn Disk,
    meta: &'a Meta,
    pub(super) first: Seq,
    path: PathBuf,
}

impl SegmentFile<'_> {
    pub(super) fn open(&self) -> Result<(Arc<dyn File>, SegmentHeader, Seed), Error> {
        let file = self.disk.open(&self.path).map_err(|error| self.io(&error))?;
        let header = segment::read_header(&*file).map_err(|error| self.io(&error))?;
        let (header, seed) = header.map_err(|flaw| self.damaged(0, flaw))?;
        if header.first != self.first || !self.meta.knows(header.epoch) {
            return Err(self.damaged(0, Flaw::OtherSegment));
        }
        Ok((file, header, seed))
    }

    pub(super) fn damaged(&self, offset: u64, flaw: Flaw) -> Error {
        Error::Damaged { place: format!("`{}` at byte {offset}", self.path.display()), why: flaw.why() }
    }

    pub(super) fn io(&self, error: &io::Error) -> Error {
        Error::Io(format!("`{}`: {error}", self.path.display()))
    }
}

/// One answer being filled.
pub(super) struct Page {
    pub(super) entries: Vec<Arc<Entry>>,
    entries_max: usize,
    bytes: usize,
}

impl Page {
    pub(super) fn new(entries_max: usize) -> Page {
        Page { entries: Vec::new(), entries_max, bytes: 0 }
    }

    fn has_room(&self) -> bool {
        self.entries.len() < self.entries_max && self.bytes <= READ_BYTES_MAX
    }

    /// Whether an entry with a body of `len` bytes still goes in; then it must be put in.
    pub(super) fn takes(&mut self, len: usize) -> bool {
        self.bytes += len;
        self.entries.len() < self.entries_max && (self.entries.is_empty() || self.bytes <= READ_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use antiphon_schemas::Epoch;

    use super::*;
    use crate::log::file::disk::sim::SimDisk;

    #[test]
    fn what_looks_damaged_while_somebody_overwrites_is_read_again_and_what_stays_damaged_is_told() {
        let meta = Meta { epochs: vec![Epoch(1)], base: Seq(1) };
        let reader = Reader::new(Arc::new(SimDisk::default()), "data".into(), meta, 0, vec![Seq(1)], []);
        let damage = || Error::Damaged { place: "here".into(), why: "torn".into() };
        let reads = Cell::new(0);
        let read = |overwritten: u32| {
            reads.set(0);
            reader.whole(|| {
                reads.set(reads.get() + 1);
                if reads.get() <= overwritten {
                    reader.overwriting(|| {});
                    return Err(damage());
                }
                if overwritten > 0 { Ok(()) } else { Err(damage()) }
            })
        };
        assert!(read(3).is_ok() && reads.get() == 4);
        assert!(matches!(read(0), Err(Error::Damaged { .. })) && reads.get() == 1);
    }
}
