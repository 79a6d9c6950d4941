//! `--salvage`: keeps everything before the first damage, and sets the rest aside.
//!
//! Promises: nothing is thrown away: the damaged segment is copied, and the later ones moved, to a folder
//! `salvaged-<first position lost>` beside the log; a new epoch begins, because positions that were given out will be
//! given out again; broken off at any point, it can be started again.
//! Cost: the whole log is read. Not here: a torn tail, which needs no salvage (`recovery`).

use std::{
    io,
    path::{Path, PathBuf},
};

use antiphon_schemas::{Epoch, Seq};

use super::{
    OpenError,
    disk::{Disk, read_all},
    format::Flaw,
    meta::Meta,
    recovery::{create_first, open_segment, write_zeros},
    scan::{FlawAt, look_beyond, newest, scan},
    segment::{self, Mark, Walk},
};

/// The first damage: everything before it is sound.
struct Damage {
    /// Which segment.
    segment: usize,
    /// Where its sound part ends; none if nothing of it can be kept.
    end: Option<Mark>,
    /// The first position that is lost.
    lost: Seq,
    why: String,
}

/// Checks the whole log and, if it is damaged, cuts it before the damage. Returns a sentence on what was done.
pub(super) fn salvage(
    disk: &dyn Disk,
    folder: &Path,
    meta: &mut Meta,
    segments: &[Seq],
) -> Result<Option<String>, OpenError> {
    let Some(damage) = find_damage(disk, folder, meta, segments)? else { return Ok(None) };
    let aside = cut(disk, folder, meta, segments, &damage)
        .map_err(|source| OpenError::Io { file: folder.join(segment::FOLDER), source })?;
    Ok(Some(format!(
        "{}; everything from entry {} on was set aside in `{}`, and a new epoch began",
        damage.why,
        damage.lost,
        aside.display()
    )))
}

/// The epochs that the segments' own headers name, and a new one: `meta` was lost, and with it what was current.
pub(super) fn meta_of_segments(disk: &dyn Disk, folder: &Path, segments: &[Seq]) -> Result<Meta, OpenError> {
    let mut epochs = Vec::new();
    for &first in segments {
        let file = segment::path(folder, first);
        let read = disk.open(&file).and_then(|file| segment::read_header(&*file));
        if let Ok((header, _)) = read.map_err(|source| OpenError::Io { file, source })?
            && !epochs.contains(&header.epoch)
        {
            epochs.push(header.epoch);
        }
    }
    epochs.push(Epoch(rand::random()));
    // What was trimmed within the first segment is read again: nobody else knows any more how much that was.
    Ok(Meta { epochs, base: segments.first().copied().unwrap_or(Seq(1)) })
}

fn find_damage(disk: &dyn Disk, folder: &Path, meta: &Meta, segments: &[Seq]) -> Result<Option<Damage>, OpenError> {
    let mut expected = Some((Seq(1), [0; 32]));
    if meta.base > Seq(1) && segments.first().is_some_and(|first| *first <= meta.base) {
        // In a trimmed log it is unknown what the first segment continues.
        expected = None;
    }
    for (n, &first) in segments.iter().enumerate() {
        let lost = expected.map_or(first, |(seq, _)| seq);
        let lost_whole = |why| Ok(Some(Damage { segment: n, end: None, lost, why }));
        let path = segment::path(folder, first);
        let io = |source| OpenError::Io { file: path.clone(), source };
        let (file, header, seed) = match open_segment(disk, folder, first, meta) {
            Ok(opened) => opened,
            Err(error @ OpenError::Damaged { .. }) => return lost_whole(error.to_string()),
            Err(error) => return Err(error),
        };
        if expected.is_some_and(|expected| expected != (first, header.previous)) {
            return lost_whole(format!("`{}`: {}", path.display(), Flaw::OtherSegment.why()));
        }
        let mut walk = Walk::new(&*file, seed);
        let scan = scan(&mut walk, first, None).map_err(io)?;
        // Sound checksums over something that is no entry: not damage that a cut could mend.
        let no_entry = |(offset, flaw): FlawAt| OpenError::Damaged { file: path.clone(), offset, why: flaw.why() };
        let newest = newest(&mut walk, first, &scan).map_err(io)?.map_err(no_entry)?;
        let sound = match segments.get(n + 1) {
            Some(next) => scan.end.seq >= *next,
            None => look_beyond(&mut walk, scan.end).map_err(io)?.later_batch.is_none(),
        };
        if let Some(flaw) = scan.flaw.filter(|_| !sound) {
            let why = format!("`{}` is damaged at byte {}: {}", path.display(), scan.flaw_at, flaw.why());
            return Ok(Some(Damage { segment: n, end: Some(scan.end), lost: scan.end.seq, why }));
        }
        expected = Some((scan.end.seq, newest.back().map_or([0; 32], |entry| entry.hash())));
    }
    if segments.is_empty() {
        let why = "there is no segment".to_string();
        return Ok(Some(Damage { segment: 0, end: None, lost: Seq(1), why }));
    }
    Ok(None)
}

fn cut(disk: &dyn Disk, folder: &Path, meta: &mut Meta, segments: &[Seq], damage: &Damage) -> io::Result<PathBuf> {
    let log = folder.join(segment::FOLDER);
    let aside = new_folder(disk, folder, damage.lost)?;
    if damage.end.is_some() {
        let first = segments[damage.segment];
        let copy = disk.create(&aside.join(segment::name(first)))?;
        copy.write_at(&read_all(&*disk.open(&segment::path(folder, first))?)?, 0)?;
        copy.sync_data()?;
    }
    disk.sync_folder(&aside)?;
    disk.sync_folder(folder)?;
    // The new epoch first: if we are broken off after this, the damage is still there to be found again.
    meta.epochs.push(Epoch(rand::random()));
    meta.base = match damage.end {
        None if damage.segment == 0 => Seq(1),
        _ => meta.base.min(damage.lost),
    };
    meta.store(disk, folder)?;
    let moved = damage.segment + usize::from(damage.end.is_some());
    for &first in segments.iter().skip(moved).rev() {
        disk.rename(&segment::path(folder, first), &aside.join(segment::name(first)))?;
    }
    disk.sync_folder(&aside)?;
    disk.sync_folder(&log)?;
    match damage.end {
        Some(end) => {
            let file = disk.open(&segment::path(folder, segments[damage.segment]))?;
            write_zeros(&*file, end.offset, file.len()?)?;
            file.sync_data()?;
        }
        None if damage.segment == 0 => create_first(disk, folder, meta.epoch())?,
        None => {}
    }
    Ok(aside)
}

/// A folder that is not there yet.
fn new_folder(disk: &dyn Disk, folder: &Path, lost: Seq) -> io::Result<PathBuf> {
    let names = disk.list(folder)?;
    let base = format!("salvaged-{:016}", lost.0);
    let mut name = base.clone();
    let mut n = 1;
    while names.contains(&name) {
        n += 1;
        name = format!("{base}-{n}");
    }
    disk.create_folder(&folder.join(&name))?;
    Ok(folder.join(name))
}
