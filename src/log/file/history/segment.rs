//! A segment that is being read from outside, through a window.

use std::{fs, io, os::unix::fs::FileExt, path::PathBuf};

use antiphon_schemas::{Seq, Stored};
use bytes::Bytes;

use crate::log::{
    Error,
    file::format::{Flaw, HEAD_BYTES, HEADER_BYTES, Seed, SegmentHeader, record_len, take_record},
};

/// Read at once: larger is not faster.
const WINDOW_BYTES: usize = 1 << 20;

/// The segment that is being read.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: Seq,
    pub(super) path: PathBuf,
    pub(super) file: fs::File,
    pub(super) seed: Seed,
    /// The position of the record at `offset`.
    pub(super) at: Seq,
    pub(super) offset: u64,
    pub(super) window: Bytes,
    pub(super) window_at: u64,
}

/// A record, and where it stands in its batch.
pub(super) struct Found {
    pub(super) stored: Stored,
    pub(super) seq: Seq,
    pub(super) bytes: u64,
    pub(super) ends_batch: bool,
}

pub(super) fn header(file: &fs::File) -> io::Result<Result<(SegmentHeader, Seed), Flaw>> {
    let mut bytes = [0; HEADER_BYTES as usize];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], read as u64)? {
            0 => break,
            n => read += n,
        }
    }
    Ok(SegmentHeader::decode(&bytes[..read]))
}

impl Segment {
    pub(super) fn io(&self, error: &io::Error) -> Error {
        Error::Io(format!("`{}`: {error}", self.path.display()))
    }

    /// The same place of the file as it is now.
    pub(super) fn again(&self) -> Result<Segment, Error> {
        let file = self.file.try_clone().map_err(|error| self.io(&error))?;
        let (first, seed, at, offset) = (self.first, self.seed, self.at, self.offset);
        Ok(Segment { first, path: self.path.clone(), file, seed, at, offset, window: Bytes::new(), window_at: 0 })
    }

    /// Goes back, and forgets what was read.
    pub(super) fn back_to(&mut self, (at, offset): (Seq, u64)) {
        (self.at, self.offset, self.window) = (at, offset, Bytes::new());
    }

    /// The file from `offset` on: at least `need` bytes, fewer only at its end.
    pub(super) fn bytes(&mut self, need: usize) -> Result<Bytes, Error> {
        let skip = self.load(need)?;
        Ok(self.window.slice(skip..))
    }

    /// Sees to it that those bytes are in the window; where they begin there.
    fn load(&mut self, need: usize) -> Result<usize, Error> {
        let end = self.window_at + self.window.len() as u64;
        if self.offset < self.window_at || self.offset + need as u64 > end {
            let mut window = vec![0; need.max(WINDOW_BYTES)];
            let mut read = 0;
            while read < window.len() {
                match self.file.read_at(&mut window[read..], self.offset + read as u64).map_err(|e| self.io(&e))? {
                    0 => break,
                    n => read += n,
                }
            }
            window.truncate(read);
            (self.window, self.window_at) = (window.into(), self.offset);
        }
        let skip = usize::try_from(self.offset - self.window_at).expect("the offset is within the window");
        Ok(skip.min(self.window.len()))
    }

    /// The record at the offset, or why there is none.
    pub(super) fn record(&mut self) -> Result<Result<Found, Flaw>, Error> {
        let head = self.load(HEAD_BYTES)?;
        let len = match record_len(&self.window[head..]) {
            Ok(len) => len,
            Err(flaw) => return Ok(Err(flaw)),
        };
        let start = self.load(len)?;
        let window = &self.window;
        Ok(take_record(&window[start..], self.seed).map(|record| Found {
            stored: Stored { header: window.slice_ref(record.header), body: window.slice_ref(record.body) },
            seq: record.seq(),
            bytes: record.len(),
            ends_batch: record.ends_batch(),
        }))
    }

    /// The record at the offset, if it is the one that belongs there.
    pub(super) fn next(&mut self) -> Result<Result<Found, Flaw>, Error> {
        let found =
            self.record()?.and_then(|found| if found.seq == self.at { Ok(found) } else { Err(Flaw::OutOfPlace) });
        if let Ok(found) = &found {
            (self.at, self.offset) = (found.seq.next(), self.offset + found.bytes);
        }
        Ok(found)
    }
}
