//! Segment files: their names, walking over their records, and the sparse index from positions to offsets.
//!
//! Promises: a walk holds at most one window of [`WINDOW_BYTES_MAX`] (or one record) in memory; the indexes of all
//! segments together are bounded by [`INDEXES_MAX`].
//! Not here: what to do about a flaw (`recovery` and `reader` differ in that).

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use antiphon_schemas::Seq;

use super::{
    disk::{Disk, File},
    format::{Flaw, HEAD_BYTES, HEADER_BYTES, Record, Seed, SegmentHeader, record_len, take_record},
};

/// The folder of the segments within the data folder.
pub(super) const FOLDER: &str = "log";
/// The first window of a walk: a page for somebody who reads a few entries.
const WINDOW_BYTES_MIN: usize = 64 << 10;
/// The largest window: reads of this size are as fast as any.
const WINDOW_BYTES_MAX: usize = 1 << 20;
/// How far apart the marks of an index are: a lookup walks over at most this much and one record.
const MARK_EVERY_BYTES: u64 = 4 << 10;
/// How many segments have an index in memory: 256 KiB each at most, if segments have 64 MiB.
const INDEXES_MAX: usize = 64;

/// The name of the segment that begins with this position.
pub(super) fn name(first: Seq) -> String {
    format!("{:016}.seg", first.0)
}

/// Where the segment that begins with this position is.
pub(super) fn path(folder: &Path, first: Seq) -> PathBuf {
    folder.join(FOLDER).join(name(first))
}

/// The first positions of all segments in the folder, in order; other names are passed over.
pub(super) fn list(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<Seq>> {
    let names = match disk.list(&folder.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    let first_of = |name: &String| Some(Seq(name.strip_suffix(".seg").filter(|n| n.len() == 16)?.parse().ok()?));
    Ok(names.iter().filter_map(first_of).collect())
}

/// A segment's header, and the seed of its records.
pub(super) fn read_header(file: &dyn File) -> io::Result<Result<(SegmentHeader, Seed), Flaw>> {
    let mut bytes = [0; HEADER_BYTES as usize];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(SegmentHeader::decode(&bytes[..read]))
}

/// A place where a record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The record's position.
    pub(super) seq: Seq,
    /// Bytes before it in the file.
    pub(super) offset: u64,
}

impl Mark {
    /// The start of the segment that begins with `first`.
    pub(super) fn start(first: Seq) -> Mark {
        Mark { seq: first, offset: HEADER_BYTES }
    }
}

/// Reads a segment from front to back through a window.
pub(super) struct Walk<'a> {
    file: &'a dyn File,
    seed: Seed,
    window: Vec<u8>,
    window_at: u64,
    window_bytes: usize,
}

impl<'a> Walk<'a> {
    /// A walk over the records with this seed.
    pub(super) fn new(file: &'a dyn File, seed: Seed) -> Walk<'a> {
        Walk { file, seed, window: Vec::new(), window_at: 0, window_bytes: WINDOW_BYTES_MIN }
    }

    /// Goes on elsewhere. Far away that begins with a small window again.
    pub(super) fn jump(&mut self, offset: u64) {
        if offset < self.window_at || offset >= self.window_at + self.window.len() as u64 {
            self.window_bytes = WINDOW_BYTES_MIN;
        }
    }

    /// The record at `offset`, or why there is none.
    pub(super) fn record(&mut self, offset: u64) -> io::Result<Result<Record<'_>, Flaw>> {
        let seed = self.seed;
        match record_len(self.bytes(offset, HEAD_BYTES)?) {
            Ok(len) => Ok(take_record(self.bytes(offset, len)?, seed)),
            Err(flaw) => Ok(Err(flaw)),
        }
    }

    /// The file from `offset` on: at least `need` bytes, fewer only at its end; as many more as the window holds.
    pub(super) fn bytes(&mut self, offset: u64, need: usize) -> io::Result<&[u8]> {
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + need as u64 > window_end {
            self.window.resize(need.max(self.window_bytes), 0);
            let read = self.file.read_at(&mut self.window, offset)?;
            self.window.truncate(read);
            self.window_at = offset;
            self.window_bytes = (self.window_bytes * 4).min(WINDOW_BYTES_MAX);
        }
        let skip = usize::try_from(offset - self.window_at).expect("the offset is within the window");
        Ok(&self.window[skip.min(self.window.len())..])
    }
}

/// Where records begin, one in [`MARK_EVERY_BYTES`], for the segments used last.
#[derive(Debug, Default)]
pub(super) struct Indexes(Mutex<Vec<(Seq, Vec<Mark>)>>);

impl Indexes {
    // A std mutex: held for lookups and short copies only, never across a read or a write.
    fn list(&self) -> MutexGuard<'_, Vec<(Seq, Vec<Mark>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last known mark at or before `seq` in the segment that begins with `first`.
    pub(super) fn nearest(&self, first: Seq, seq: Seq) -> Mark {
        let mut list = self.list();
        let Some(at) = list.iter().position(|(f, _)| *f == first) else { return Mark::start(first) };
        // Ordered by last use, so that the least recently used one is dropped first.
        let used = list.remove(at);
        let after = used.1.partition_point(|mark| mark.seq <= seq);
        let nearest = after.checked_sub(1).map_or(Mark::start(first), |at| used.1[at]);
        list.push(used);
        nearest
    }

    /// Adds what a walk (or the writer) saw of the segment that begins with `first`; marks must be in order.
    pub(super) fn extend(&self, first: Seq, marks: &[Mark]) {
        if marks.is_empty() {
            return;
        }
        let mut list = self.list();
        let at = list.iter().position(|(f, _)| *f == first).unwrap_or_else(|| {
            if list.len() == INDEXES_MAX {
                list.remove(0);
            }
            list.push((first, Vec::new()));
            list.len() - 1
        });
        let known = &mut list[at].1;
        for mark in marks {
            let last = known.last().copied().unwrap_or(Mark::start(first));
            if mark.seq > last.seq && mark.offset >= last.offset + MARK_EVERY_BYTES {
                known.push(*mark);
            }
        }
    }
}

/// Picks the marks worth keeping out of all records that somebody passes.
#[derive(Debug)]
pub(super) struct Marks {
    /// The marks so far, in order.
    pub(super) kept: Vec<Mark>,
    next_offset: u64,
}

impl Marks {
    /// Marks of a walk that starts at `offset`.
    pub(super) fn from(offset: u64) -> Marks {
        Marks { kept: Vec::new(), next_offset: offset + MARK_EVERY_BYTES }
    }

    /// Passes a record.
    pub(super) fn pass(&mut self, mark: Mark) {
        if mark.offset >= self.next_offset {
            self.kept.push(mark);
            self.next_offset = mark.offset + MARK_EVERY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_finds_the_nearest_mark_and_forgets_the_segment_unused_for_longest() {
        let indexes = Indexes::default();
        let mark = |seq, offset| Mark { seq: Seq(seq), offset };
        assert_eq!(indexes.nearest(Seq(1), Seq(70)), mark(1, HEADER_BYTES));
        indexes.extend(Seq(1), &[mark(50, 5_000), mark(51, 5_001), mark(90, 10_000)]);
        for (seq, expected) in [(1, 1), (49, 1), (50, 50), (60, 50), (90, 90), (1_000, 90)] {
            assert_eq!(indexes.nearest(Seq(1), Seq(seq)).seq, Seq(expected));
        }
        for first in 2..=INDEXES_MAX as u64 {
            indexes.extend(Seq(first), &[mark(first + 50, 5_000)]);
        }
        indexes.nearest(Seq(1), Seq(1));
        indexes.extend(Seq(5_000), &[mark(5_050, 5_000)]);
        assert_eq!(indexes.list().len(), INDEXES_MAX);
        assert_eq!(indexes.nearest(Seq(1), Seq(90)).seq, Seq(90), "used lately");
        assert_eq!(indexes.nearest(Seq(2), Seq(90)), mark(2, HEADER_BYTES), "forgotten");
    }
}
