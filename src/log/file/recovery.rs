//! Opening: finds where the log ends, truncates a torn tail, reports damage with file and offset.
//!
//! Why truncating is safe: a batch is written only after the previous one was synced, so whatever a crash tore belongs to
//! the last batch, which was never acknowledged. Hence
//! - records are taken batch by batch; the first batch that is not whole ends the log;
//! - if a sound record of a *later* batch follows, the flawed batch had been synced: that is damage, not a tear;
//! - what is cut is overwritten with zeros, so that it can never be taken for a later write.
//!
//! Why the last batch is written again: if the process ended after a failed sync, the system may show bytes that are not
//! on the disk and that no later sync would bring there. Only the last batch can be in that state.
//!
//! Cost: one segment is read (more, if it takes more to have [`SCAN_MAX`] entries), whatever the log's size.
//! Not here: what `--salvage` does about damage (`salvage`).

use std::{collections::VecDeque, io, path::Path, sync::Arc};

use antiphon_schemas::{Entry, Epoch, Seq};

use super::{
    OpenError, Recovery,
    disk::{Disk, File},
    erasing,
    format::{Flaw, HEADER_BYTES, Seed, SegmentHeader},
    meta::{FORMAT, Meta, MetaError},
    salvage,
    scan::{FlawAt, Scan, look_beyond, newest, scan},
    segment::{self, Mark, Walk},
    trimming,
};
use crate::log::SCAN_MAX;

/// Zeros are written in pieces of this size.
pub(super) const PIECE_BYTES: usize = 256 << 10;
/// So many zeros.
pub(super) static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// A recovered log, ready for appends.
pub(super) struct Opened {
    pub(super) meta: Meta,
    /// The first position of each segment, in order; at least one.
    pub(super) segments: Vec<Seq>,
    /// The last segment.
    pub(super) file: Arc<dyn File>,
    pub(super) seed: Seed,
    /// Where the next record goes.
    pub(super) end: Mark,
    /// Marks of the last segment.
    pub(super) marks: Vec<Mark>,
    /// The newest entries: [`SCAN_MAX`] or all.
    pub(super) newest: VecDeque<Arc<Entry>>,
    pub(super) recovery: Recovery,
}

/// Opens the log in a folder that we hold the lock of, or makes one.
///
/// A log that is made gets the epoch `fresh`.
pub(super) fn open(disk: &dyn Disk, folder: &Path, may_salvage: bool, fresh: Epoch) -> Result<Opened, OpenError> {
    let mut recovery = Recovery::default();
    let mut meta = find_meta(disk, folder, may_salvage, fresh)?;
    erasing::redo(disk, folder).map_err(|source| OpenError::Io { file: folder.join(erasing::NAME), source })?;
    let mut segments = list(disk, folder)?;
    let dropped = trimming::drop_below(disk, folder, meta.base, &mut segments);
    dropped.map_err(|source| OpenError::Io { file: folder.join(segment::FOLDER), source })?;
    drop_blank(disk, folder, &mut segments)?;
    if may_salvage && let Some(salvaged) = salvage::salvage(disk, folder, &mut meta, &segments)? {
        segments = list(disk, folder)?;
        recovery.salvaged = Some(salvaged);
    }
    let may_begin = |first: &Seq| *first == Seq(1) || *first <= meta.base && meta.base > Seq(1);
    if !segments.first().is_some_and(may_begin) {
        return Err(damaged(folder, meta.base, 0, "the first segment is missing".into()));
    }
    let first = *segments.last().expect("there is a first segment");
    let (file, header, seed) = open_segment(disk, folder, first, &meta)?;
    let io = |error| io_error(folder, first, error);
    let mut walk = Walk::new(&*file, seed);
    let scan = scan(&mut walk, first, None).map_err(io)?;
    let rest = look_beyond(&mut walk, scan.end).map_err(io)?;
    if let Some((at, later)) = rest.later_batch {
        let flaw = scan.flaw.unwrap_or(Flaw::NoRecord).why();
        let why = format!("{flaw}, yet entry {later} of a later write is sound at byte {at}");
        return Err(damaged(folder, first, scan.flaw_at, why));
    }
    let mut newest = newest(&mut walk, first, &scan).map_err(io)?.map_err(|flaw| flawed(folder, first, flaw))?;
    let mut after = header.clone();
    for &before in segments.iter().rev().skip(1) {
        if newest.len() as u64 >= SCAN_MAX {
            break;
        }
        let (file, header, seed) = open_segment(disk, folder, before, &meta)?;
        for entry in sealed(&*file, folder, before, seed, &after)?.into_iter().rev() {
            newest.push_front(entry);
        }
        after = header;
    }
    // Nothing is written before all of it was found sound: what is refused stays as it is.
    recovery.cut_bytes = rest.end - scan.end.offset;
    mend(&*file, &header, &scan, rest.end).map_err(io)?;
    // Our own files have lasting names by now; those that somebody put back from a backup may not.
    disk.sync_folder(&folder.join(segment::FOLDER)).map_err(io)?;
    Ok(Opened { meta, segments, file, seed, end: scan.end, marks: scan.marks, newest, recovery })
}

/// Makes the file of a new segment with its header; not durable yet.
pub(super) fn create_segment(disk: &dyn Disk, folder: &Path, header: &SegmentHeader) -> io::Result<Arc<dyn File>> {
    let file = disk.create(&segment::path(folder, header.first))?;
    file.write_at(&header.encode(), 0)?;
    Ok(file)
}

/// Makes the first segment of a log, durable when it returns.
pub(super) fn create_first(disk: &dyn Disk, folder: &Path, epoch: Epoch) -> io::Result<()> {
    let header = SegmentHeader { epoch, first: Seq(1), salt: rand::random(), previous: [0; 32] };
    create_segment(disk, folder, &header)?.sync_data()?;
    disk.sync_folder(&folder.join(segment::FOLDER))
}

fn find_meta(disk: &dyn Disk, folder: &Path, may_salvage: bool, fresh: Epoch) -> Result<Meta, OpenError> {
    let file = || folder.join("meta");
    let unusable = |why| OpenError::Folder { folder: folder.into(), why };
    match Meta::load(disk, folder) {
        Ok(Some(meta)) => {
            // The process that made it may have crashed just before these syncs.
            disk.sync_folder(folder).and_then(|()| sync_parent(disk, folder)).map_err(unusable)?;
            return Ok(meta);
        }
        Err(MetaError::Version(found)) => return Err(OpenError::OtherVersion { file: file(), found, known: FORMAT }),
        Err(MetaError::Io(source)) => return Err(OpenError::Io { file: file(), source }),
        Err(MetaError::Damaged) if !may_salvage => {
            return Err(OpenError::Damaged { file: file(), offset: 0, why: "it is damaged".into() });
        }
        Ok(None) | Err(MetaError::Damaged) => {}
    }
    let segments = list(disk, folder)?;
    let unfinished = match segments[..] {
        [] => true,
        // The first segment is made just before `meta`: without a record the making was not finished.
        [Seq(1)] => is_blank(disk, folder, Seq(1))?,
        _ => false,
    };
    let meta = if unfinished {
        disk.create_folder(&folder.join(segment::FOLDER)).map_err(unusable)?;
        let meta = Meta { epochs: vec![fresh], base: Seq(1) };
        create_first(disk, folder, meta.epoch()).map_err(unusable)?;
        sync_parent(disk, folder).map_err(unusable)?;
        meta
    } else if may_salvage {
        salvage::meta_of_segments(disk, folder, &segments)?
    } else {
        return Err(OpenError::Damaged {
            file: file(),
            offset: 0,
            why: "it is missing, but there are segments".into(),
        });
    };
    meta.store(disk, folder).map_err(unusable)?;
    Ok(meta)
}

/// The data folder's own name must last too. Parents that we may not even list are somebody else's to keep.
fn sync_parent(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match disk.sync_folder(parent) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<Seq>, OpenError> {
    segment::list(disk, folder).map_err(|source| OpenError::Io { file: folder.join(segment::FOLDER), source })
}

/// Drops last segments that never got a record: their making was broken off, by a crash or a full disk, and the log may
/// have continued in the previous segment. They are recreated when needed.
fn drop_blank(disk: &dyn Disk, folder: &Path, segments: &mut Vec<Seq>) -> Result<(), OpenError> {
    while let [.., _, last] = segments[..] {
        if !is_blank(disk, folder, last)? {
            break;
        }
        let io = |error| io_error(folder, last, error);
        disk.remove(&segment::path(folder, last)).map_err(io)?;
        disk.sync_folder(&folder.join(segment::FOLDER)).map_err(io)?;
        segments.pop();
    }
    Ok(())
}

fn is_blank(disk: &dyn Disk, folder: &Path, first: Seq) -> Result<bool, OpenError> {
    let blank = || {
        let file = disk.open(&segment::path(folder, first))?;
        let mut walk = Walk::new(&*file, Seed::NONE);
        let mut offset = HEADER_BYTES;
        loop {
            let bytes = walk.bytes(offset, 1)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            if bytes.iter().any(|b| *b != 0) {
                return Ok(false);
            }
            offset += bytes.len() as u64;
        }
    };
    blank().map_err(|error| io_error(folder, first, error))
}

/// Opens a segment and checks that it is one of this log.
pub(super) fn open_segment(
    disk: &dyn Disk,
    folder: &Path,
    first: Seq,
    meta: &Meta,
) -> Result<(Arc<dyn File>, SegmentHeader, Seed), OpenError> {
    let io = |error| io_error(folder, first, error);
    let file = disk.open(&segment::path(folder, first)).map_err(io)?;
    let (header, seed) = match segment::read_header(&*file).map_err(io)? {
        Ok(found) => found,
        Err(Flaw::Version(found)) => {
            return Err(OpenError::OtherVersion {
                file: segment::path(folder, first),
                found,
                known: super::format::VERSION,
            });
        }
        Err(flaw) => return Err(damaged(folder, first, 0, flaw.why())),
    };
    if header.first != first || !meta.knows(header.epoch) {
        return Err(damaged(folder, first, 0, Flaw::OtherSegment.why()));
    }
    Ok((file, header, seed))
}

/// Writes header and last batch again, zeros over what is cut, and syncs; see the module header for why.
fn mend(file: &dyn File, header: &SegmentHeader, scan: &Scan, rest_end: u64) -> io::Result<()> {
    file.write_at(&header.encode(), 0)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset = scan.last_batch.offset;
    while offset < scan.end.offset {
        let len = PIECE_BYTES.min(usize::try_from(scan.end.offset - offset).unwrap_or(PIECE_BYTES));
        let read = file.read_at(&mut piece[..len], offset)?;
        if read < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(&piece[..len], offset)?;
        offset += len as u64;
    }
    write_zeros(file, scan.end.offset, rest_end)?;
    file.sync_data()
}

/// Writes zeros from `offset` to `end`.
pub(super) fn write_zeros(file: &dyn File, mut offset: u64, end: u64) -> io::Result<()> {
    while offset < end {
        let len = PIECE_BYTES.min(usize::try_from(end - offset).unwrap_or(PIECE_BYTES));
        file.write_at(&ZEROS[..len], offset)?;
        offset += len as u64;
    }
    Ok(())
}

/// The newest entries of a segment that another follows; checks all of it, and that the next one continues it.
fn sealed(
    file: &dyn File,
    folder: &Path,
    first: Seq,
    seed: Seed,
    next: &SegmentHeader,
) -> Result<VecDeque<Arc<Entry>>, OpenError> {
    let io = |error| io_error(folder, first, error);
    let mut walk = Walk::new(file, seed);
    let scan = scan(&mut walk, first, Some(next.first)).map_err(io)?;
    if let Some(flaw) = scan.flaw {
        return Err(damaged(folder, first, scan.flaw_at, flaw.why()));
    }
    let entries = newest(&mut walk, first, &scan).map_err(io)?.map_err(|flaw| flawed(folder, first, flaw))?;
    if entries.back().is_none_or(|entry| entry.hash() != next.previous) {
        return Err(damaged(folder, next.first, 0, Flaw::OtherSegment.why()));
    }
    Ok(entries)
}

fn flawed(folder: &Path, first: Seq, (offset, flaw): FlawAt) -> OpenError {
    damaged(folder, first, offset, flaw.why())
}

fn damaged(folder: &Path, first: Seq, offset: u64, why: String) -> OpenError {
    OpenError::Damaged { file: segment::path(folder, first), offset, why }
}

fn io_error(folder: &Path, first: Seq, source: io::Error) -> OpenError {
    OpenError::Io { file: segment::path(folder, first), source }
}
