//! Reads the log of a folder from outside: beside a server that writes it, or long after.
//!
//! Promises: nothing is written, made or locked, and the files are opened for reading only; whole batches are given, in
//! order, with the bytes that are stored; a batch that is being written counts as the end for now; asking again later continues;
//! damage is reported with file, offset and position, never passed over. Memory: one window and one batch.
//!
//! Not here: the log's own reader, which knows what is durable (`reader`), and mending (`recovery`).

mod segment;

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use antiphon_schemas::{Epoch, Seq, Stored};
use bytes::Bytes;

use self::segment::{Segment, header};
use super::{
    format::{Flaw, HEAD_BYTES, HEADER_BYTES, may_be_later},
    meta::{FORMAT, Meta, MetaError},
    segment::{FOLDER, name},
};
use crate::log::Error;

/// Entries in one answer, but for a batch that is larger.
const PAGE_ENTRIES: usize = 4_096;
/// How often a batch that is being written is looked at again before it counts as damage.
const LOOKS: u32 = 3;

/// A folder's log, and how far it was read.
#[derive(Debug)]
pub struct History {
    folder: PathBuf,
    meta: Meta,
    next: Seq,
    last: Option<Stored>,
    segment: Option<Segment>,
}

impl History {
    /// The log of a data folder.
    ///
    /// # Errors
    /// [`Error::Io`] if there is none or it cannot be read, [`Error::Damaged`] if `meta` is not what was written.
    pub fn open(folder: impl AsRef<Path>) -> Result<History, Error> {
        let folder = folder.as_ref().to_path_buf();
        let place = || format!("`{}`", folder.join("meta").display());
        let meta = match Meta::read(&folder) {
            Ok(Some(meta)) => meta,
            Ok(None) => {
                let why = format!("there is no log in `{}`; name the data folder of a server", folder.display());
                return Err(Error::Io(why));
            }
            Err(MetaError::Io(error)) => return Err(Error::Io(format!("{}: {error}", place()))),
            Err(MetaError::Damaged) => {
                return Err(Error::Damaged { place: place(), why: "it is damaged".into() });
            }
            Err(MetaError::Version(found)) => {
                let why = format!("format version {found}, this program supports {FORMAT}");
                return Err(Error::Damaged { place: place(), why });
            }
        };
        Ok(History { folder, meta, next: Seq(1), last: None, segment: None })
    }

    /// The epoch of the positions that are given out now.
    pub fn epoch(&self) -> Epoch {
        self.meta.epoch()
    }

    /// Where epochs began, oldest first, as the segments say. Cost: their headers are read. One that cannot be read is passed
    /// over: reading the entries tells.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn epochs(&self) -> Result<Vec<(Seq, Epoch)>, Error> {
        let mut epochs: Vec<(Seq, Epoch)> = Vec::new();
        for first in self.list()? {
            let file = fs::File::open(self.folder.join(FOLDER).join(name(first)));
            let Ok(Ok(Ok((of, _)))) = file.map(|file| header(&file)) else { continue };
            if epochs.last().is_none_or(|(_, epoch)| *epoch != of.epoch) {
                epochs.push((first, of.epoch));
            }
        }
        Ok(epochs)
    }

    /// The position that is read next: where an error is.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// File and offset of the entry at a position, for people.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn place(&self, seq: Seq) -> Result<Option<(PathBuf, u64)>, Error> {
        let mut other = History::open(&self.folder)?;
        other.seek(Seq(seq.0.saturating_sub(1)))?;
        let found = other.segment.as_ref().filter(|segment| segment.at == seq);
        Ok(found.map(|segment| (segment.path.clone(), segment.offset)))
    }

    /// Goes on after a position. Cost: walks over the part of one segment.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn seek(&mut self, after: Seq) -> Result<(), Error> {
        (self.next, self.last, self.segment) = (after.next(), None, None);
        let Some(mut segment) = self.segment_of(self.next)? else { return Ok(()) };
        while segment.at < self.next {
            match segment.next()? {
                Ok(found) => self.last = Some(found.stored),
                // Beyond the end: continue when there is more.
                Err(_) => break,
            }
        }
        self.segment = (segment.at == self.next).then_some(segment);
        if self.segment.is_none() {
            self.last = None;
        }
        Ok(())
    }

    /// The entries that come next, some thousand at once; none: there are no more for now.
    ///
    /// # Errors
    /// [`Error::Damaged`] at [`History::next`], [`Error::Io`].
    pub fn read(&mut self) -> Result<Vec<Stored>, Error> {
        let (mut page, mut whole) = (Vec::new(), 0);
        if self.segment.is_none() {
            self.segment = self.segment_of(self.next)?;
            if self.segment.as_ref().is_some_and(|segment| segment.at != self.next) {
                self.seek(Seq(self.next.0 - 1))?;
            }
        }
        let mut looks = 0;
        // Where the next batch begins.
        let mut mark = self.segment.as_ref().map(|segment| (segment.at, segment.offset));
        while let Some(segment) = &mut self.segment {
            match segment.next()? {
                Ok(found) => {
                    page.push(found.stored);
                    if found.ends_batch {
                        (self.next, whole) = (segment.at, page.len());
                        mark = Some((segment.at, segment.offset));
                        if whole >= PAGE_ENTRIES {
                            break;
                        }
                    }
                }
                Err(flaw) => {
                    // A segment begins where the one before it ends, so nothing that was torn lies between.
                    let later = if whole == page.len() && segment.first < self.next {
                        self.later(page.last().or(self.last.as_ref()))
                    } else {
                        Ok(None)
                    };
                    match later {
                        Ok(Some(later)) => {
                            mark = Some((later.at, later.offset));
                            self.segment = Some(later);
                            continue;
                        }
                        // Return what is sound first; the next read reports the damage.
                        Err(_) if whole > 0 => break,
                        Err(why) => return Err(why),
                        Ok(None) => {}
                    }
                    let goes_on = self.goes_on()?;
                    let damaged = self.damaged(flaw);
                    page.truncate(whole);
                    if let (Some(segment), Some(mark)) = (&mut self.segment, mark) {
                        segment.back_to(mark);
                    }
                    looks += 1;
                    if !goes_on || whole > 0 {
                        break;
                    }
                    if looks == LOOKS {
                        // Its segment may have been trimmed while it was read.
                        self.check_base(self.next)?;
                        return Err(damaged);
                    }
                }
            }
        }
        if let Some(last) = page.last() {
            self.last = Some(last.clone());
        }
        Ok(page)
    }

    /// Whether there may be more than was read: there are bytes where the next entry will be, or a later segment. Segments
    /// are written ahead with zeros, so a file's length says nothing. Cost: a short read and a look at the folder.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn may_go_on(&self) -> Result<bool, Error> {
        let last = self.list()?.pop();
        let Some(segment) = &self.segment else { return Ok(last.is_some()) };
        let mut head = [0; HEAD_BYTES];
        let read = segment.file.read_at(&mut head, segment.offset).map_err(|error| segment.io(&error))?;
        Ok(head[..read].iter().any(|byte| *byte != 0) || last > Some(segment.first))
    }

    /// The last position for now. Cost: walks over the last segment.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn tail(&self) -> Result<Seq, Error> {
        let Some(last) = self.list()?.pop() else { return Ok(Seq::ZERO) };
        let Some(mut segment) = self.open_segment(last)? else { return Ok(Seq::ZERO) };
        let mut tail = Seq(last.0.saturating_sub(1));
        while let Ok(found) = segment.next()? {
            if found.ends_batch {
                tail = found.seq;
            }
        }
        Ok(tail)
    }

    /// Whether a valid record of a later batch follows an invalid one: then that is damage, or was being written.
    fn goes_on(&self) -> Result<bool, Error> {
        let Some(segment) = &self.segment else { return Ok(false) };
        // One that was just made may have no header yet: then this one may be the last.
        if let Some(last) = self.list()?.last().filter(|last| **last > segment.first)
            && self.open_segment(*last)?.is_some()
        {
            return Ok(true);
        }
        let mut ahead = segment.again()?;
        loop {
            let bytes = ahead.bytes(HEAD_BYTES)?;
            let (base, len) = (ahead.offset, bytes.len());
            let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            for at in (0..end).filter(|at| may_be_later(&bytes[*at..], self.next)) {
                ahead.offset = base + at as u64;
                if ahead.record()?.is_ok_and(|found| found.seq > self.next) {
                    return Ok(true);
                }
            }
            if len < HEAD_BYTES {
                return Ok(false);
            }
            // The last bytes are looked at again, as the start of a head that the window cut.
            ahead.offset = base + (len - HEAD_BYTES + 1) as u64;
        }
    }

    fn damaged(&self, flaw: Flaw) -> Error {
        let place = match &self.segment {
            Some(segment) => {
                format!("`{}` at byte {} (position {})", segment.path.display(), segment.offset, segment.at)
            }
            None => format!("position {}", self.next),
        };
        Error::Damaged { place, why: flaw.why() }
    }

    /// The segment that begins with the next position, if there is one. It must continue the previous one: finds
    /// segments that were swapped or put back.
    fn later(&self, last: Option<&Stored>) -> Result<Option<Segment>, Error> {
        let Some(later) = self.open_segment(self.next)? else { return Ok(None) };
        let Some(last) = last.and_then(|last| last.entry().ok()) else { return Ok(Some(later)) };
        match header(&later.file).map_err(|e| later.io(&e))? {
            Ok((header, _)) if header.previous == last.hash() => Ok(Some(later)),
            _ => Err(Error::Damaged {
                place: format!("`{}` at byte 0 (position {})", later.path.display(), later.first),
                why: Flaw::OtherSegment.why(),
            }),
        }
    }

    /// The first positions of the segments, in order.
    fn list(&self) -> Result<Vec<Seq>, Error> {
        let folder = self.folder.join(FOLDER);
        let io = |error: io::Error| Error::Io(format!("`{}`: {error}", folder.display()));
        let mut firsts = Vec::new();
        for file in fs::read_dir(&folder).map_err(io)? {
            let file = file.map_err(io)?.file_name();
            let first = file.to_str().and_then(|n| n.strip_suffix(".seg")).filter(|n| n.len() == 16);
            firsts.extend(first.and_then(|first| first.parse().ok()).map(Seq));
        }
        firsts.sort();
        Ok(firsts)
    }

    /// Refuses what was trimmed, as far as `meta` says now.
    fn check_base(&self, seq: Seq) -> Result<(), Error> {
        let base = Meta::read(&self.folder).ok().flatten().map_or(self.meta.base, |meta| meta.base);
        crate::log::check_base(seq, base)
    }

    fn segment_of(&self, seq: Seq) -> Result<Option<Segment>, Error> {
        self.check_base(seq)?;
        match self.list()?.into_iter().rfind(|first| *first <= seq) {
            Some(first) => self.open_segment(first),
            None if seq == Seq(1) => Ok(None),
            None => Err(Error::Damaged {
                place: format!("`{}`", self.folder.join(FOLDER).display()),
                why: format!("the segment that begins with position 1 is missing, and so is any with position {seq}"),
            }),
        }
    }

    fn open_segment(&self, first: Seq) -> Result<Option<Segment>, Error> {
        let path = self.folder.join(FOLDER).join(name(first));
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::Io(format!("`{}`: {error}", path.display()))),
        };
        let damaged = |flaw: Flaw| Error::Damaged {
            place: format!("`{}` at byte 0 (position {first})", path.display()),
            why: flaw.why(),
        };
        let found = header(&file).map_err(|error| Error::Io(format!("`{}`: {error}", path.display())))?;
        let seed = match found {
            Ok((header, seed)) if header.first == first && self.meta.knows(header.epoch) => seed,
            Ok(_) => return Err(damaged(Flaw::OtherSegment)),
            // Just made: its header is written before its first record, but not in one step with its name.
            Err(_) if self.list()?.last() == Some(&first) && first > Seq(1) => return Ok(None),
            Err(flaw) => return Err(damaged(flaw)),
        };
        let (window, offset) = (Bytes::new(), HEADER_BYTES);
        Ok(Some(Segment { first, path, file, seed, at: first, offset, window, window_at: 0 }))
    }
}
