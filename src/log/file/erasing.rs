//! Erasing in place: a record's body is replaced by one of the same length, in its segment.
//!
//! ```text
//! erasing (in the data folder, while it is done):
//!   magic 8 B │ crc u32 │ record*          record:  first seq of its segment u64 │ seed u32 │ offset u64 │ len u32 │ bytes
//! ```
//!
//! A write in place can be torn like any other, and here nothing could be truncated. So the new records are saved first:
//! 1. `erasing` contains them, and both it and its folder are synced;
//! 2. they are written over the old ones, and the segments are synced;
//! 3. `erasing` is removed, and that is synced.
//!
//! Opening a log does 2 and 3 for an `erasing` that is complete; an incomplete one was never acted upon. So after a crash at any
//! point each record is the old or the new one. The file contains no text, only its replacement.
//!
//! Not here: which thread does it and what it tells whom (`writer`), finding the records (`reader`).

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use antiphon_schemas::Seq;
use bytes::{Buf, BufMut};

use super::{
    disk::{Disk, File, read_all},
    format::{Flaw, Seed, erased_record, take_record},
    segment,
};

/// The file's name in the data folder.
pub(super) const NAME: &str = "erasing";
const MAGIC: &[u8; 8] = b"anterase";
/// Before the bytes of each record.
const RECORD_HEAD_BYTES: usize = 8 + 4 + 8 + 4;

/// A record whose body is to be erased, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// Its position.
    pub(super) seq: Seq,
    /// The first position of its segment.
    pub(super) first: Seq,
    /// Where in the segment it begins.
    pub(super) offset: u64,
    /// Its length.
    pub(super) len: usize,
}

/// Why a record cannot be erased.
pub(super) enum Unreadable {
    /// The disk said no.
    Io(Seq, io::Error),
    /// It is not what was written.
    Flawed(Target, Flaw),
}

/// What is to be written where.
#[derive(Debug)]
pub(super) struct Intent {
    new: Vec<New>,
    /// Opened before anything is written, so that running out of descriptors cannot stop it half way.
    segments: BTreeMap<Seq, Arc<dyn File>>,
}

#[derive(Debug, PartialEq, Eq)]
struct New {
    first: Seq,
    seed: Seed,
    offset: u64,
    bytes: Vec<u8>,
}

impl Intent {
    /// What erasing these comes to; those that are erased already are left out.
    pub(super) fn of(disk: &dyn Disk, folder: &Path, targets: &[Target]) -> Result<Intent, Unreadable> {
        let mut new = Vec::with_capacity(targets.len());
        let mut segments = BTreeMap::new();
        for target in targets {
            let io = |error| Unreadable::Io(target.first, error);
            let file = segment_of(&mut segments, disk, folder, target.first).map_err(io)?;
            let flawed = |flaw| Unreadable::Flawed(*target, flaw);
            let (_, seed) = segment::read_header(&*file).map_err(io)?.map_err(flawed)?;
            let mut bytes = vec![0; target.len];
            let read = file.read_at(&mut bytes, target.offset).map_err(io)?;
            bytes.truncate(read);
            if take_record(&bytes, seed).map_err(flawed)?.seq() != target.seq {
                return Err(flawed(Flaw::OutOfPlace));
            }
            if let Some(bytes) = erased_record(&bytes, seed).map_err(flawed)? {
                new.push(New { first: target.first, seed, offset: target.offset, bytes });
            }
        }
        Ok(Intent { new, segments })
    }

    /// How many records it changes.
    pub(super) fn len(&self) -> usize {
        self.new.len()
    }

    /// Step 1; durable when it returns.
    pub(super) fn store(&self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        let file = disk.create(&folder.join(NAME))?;
        file.write_at(&self.encode(), 0)?;
        file.sync_data()?;
        disk.sync_folder(folder)
    }

    /// The writes of step 2; durable after [`Intent::sync`].
    pub(super) fn write(&self) -> io::Result<()> {
        self.new.iter().try_for_each(|new| self.segments[&new.first].write_at(&new.bytes, new.offset))
    }

    /// The syncs of step 2.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.segments.values().try_for_each(|segment| segment.sync_data())
    }

    fn encode(&self) -> Vec<u8> {
        let mut records = Vec::new();
        for new in &self.new {
            records.put_u64_le(new.first.0);
            records.put_u32_le(new.seed.crc());
            records.put_u64_le(new.offset);
            records.put_u32_le(u32::try_from(new.bytes.len()).expect("records are bounded far below 4 GiB"));
            records.put_slice(&new.bytes);
        }
        let mut out = MAGIC.to_vec();
        out.put_u32_le(crc32c::crc32c(&records));
        out.append(&mut records);
        out
    }

    /// `None` for anything that was not written to its end.
    fn decode(bytes: &[u8]) -> Option<Intent> {
        let (crc, mut rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
        if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut new = Vec::new();
        while !rest.is_empty() {
            if rest.len() < RECORD_HEAD_BYTES {
                return None;
            }
            let (first, seed, offset) = (Seq(rest.get_u64_le()), Seed::of_crc(rest.get_u32_le()), rest.get_u64_le());
            let len = usize::try_from(rest.get_u32_le()).ok()?;
            let (bytes, after) = rest.split_at_checked(len)?;
            // What is no record of that segment was never meant to be written there.
            take_record(bytes, seed).ok()?;
            new.push(New { first, seed, offset, bytes: bytes.to_vec() });
            rest = after;
        }
        Some(Intent { new, segments: BTreeMap::new() })
    }

    /// Opens what it changes, and says whether all of it is there: of a folder put together from backups it may not be.
    fn fits(&mut self, disk: &dyn Disk, folder: &Path) -> io::Result<bool> {
        for new in &self.new {
            let file = match segment_of(&mut self.segments, disk, folder, new.first) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                file => file?,
            };
            let same = segment::read_header(&*file)?.is_ok_and(|(_, seed)| seed == new.seed);
            if !same || file.len()? < new.offset + new.bytes.len() as u64 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The segment that begins with `first`, opened once.
fn segment_of(
    segments: &mut BTreeMap<Seq, Arc<dyn File>>,
    disk: &dyn Disk,
    folder: &Path,
    first: Seq,
) -> io::Result<Arc<dyn File>> {
    if let Some(file) = segments.get(&first) {
        return Ok(file.clone());
    }
    let file = disk.open(&segment::path(folder, first))?;
    Ok(segments.entry(first).or_insert(file).clone())
}

/// Step 3; durable when it returns.
pub(super) fn finish(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    disk.remove(&folder.join(NAME))?;
    disk.sync_folder(folder)
}

/// Does what a crash has left undone, before anything else looks at the segments.
pub(super) fn redo(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let file = match disk.open(&folder.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    if let Some(mut intent) = Intent::decode(&read_all(&*file)?) {
        if intent.fits(disk, folder)? {
            // The process that wrote it may have crashed before its name was durable.
            file.sync_data()?;
            disk.sync_folder(folder)?;
            intent.write()?;
            intent.sync()?;
            tracing::info!(records = intent.len(), "finished an erasure that was interrupted by the last stop");
        } else {
            tracing::warn!("`{NAME}` names segments that do not exist; ignoring it");
        }
    }
    finish(disk, folder)
}

#[cfg(test)]
mod tests {
    use antiphon_schemas::Epoch;
    use bytes::BytesMut;

    use super::*;
    use crate::log::file::format::{Place, SegmentHeader, put_record};

    #[tokio::test]
    async fn an_intent_is_read_back_and_one_that_is_not_whole_is_none() {
        use crate::{
            clock::Clock,
            log::{
                Log,
                conformance::{append, post, read_all},
                memory::MemoryLog,
            },
        };
        let log = MemoryLog::new(Epoch(1), Clock::manual(1).0);
        log.append(vec![append(0, 1, &[], vec![post(1, "one"), post(2, "two")])]).await.unwrap();
        let seed = SegmentHeader { epoch: Epoch(1), first: Seq(1), salt: 5, previous: [0; 32] }.seed();
        let new = |n: usize, entry: &antiphon_schemas::Entry| {
            let mut bytes = BytesMut::new();
            put_record(&mut bytes, seed, entry, Place { batch_first: Seq(1), batch_len: 2, index: n as u32 });
            New { first: Seq(1), seed, offset: 512 + n as u64, bytes: bytes.to_vec() }
        };
        let new: Vec<_> = read_all(&log).await.iter().enumerate().map(|(n, entry)| new(n, entry)).collect();
        let intent = Intent { new, segments: BTreeMap::new() };
        let bytes = intent.encode();
        assert_eq!(Intent::decode(&bytes).map(|read| read.new), Some(intent.new));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Intent::decode(&changed).is_none(), "byte {at}");
            // Cut before its first record it says nothing, which is as good.
            assert!(Intent::decode(&bytes[..at]).is_none());
        }
    }
}
