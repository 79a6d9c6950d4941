//! Moving the log's beginning up: `meta` names the first position that is read, then whole segments below it go.
//!
//! Promises: a crash at any point leaves the old beginning or the new one, and what segments were left behind goes when the
//! log is opened. Segments go oldest first; the one that holds the beginning stays whole.
//! Not here: which thread does it (`writer`), what readers get (`reader`).

use std::{io, path::Path};

use antiphon_schemas::Seq;

use super::{disk::Disk, segment};

/// How many of these segments, which are in order, hold nothing from `base` on. The last one always stays.
pub(super) fn count_below(segments: &[Seq], base: Seq) -> usize {
    segments.windows(2).take_while(|pair| pair[1] <= base).count()
}

/// Removes these segments; durable when it returns.
pub(super) fn remove(disk: &dyn Disk, folder: &Path, segments: &[Seq]) -> io::Result<()> {
    if segments.is_empty() {
        return Ok(());
    }
    segments.iter().try_for_each(|first| disk.remove(&segment::path(folder, *first)))?;
    disk.sync_folder(&folder.join(segment::FOLDER))
}

/// Removes what a stop left behind, and takes it out of the list.
pub(super) fn drop_below(disk: &dyn Disk, folder: &Path, base: Seq, segments: &mut Vec<Seq>) -> io::Result<()> {
    let below: Vec<_> = segments.drain(..count_below(segments, base)).collect();
    remove(disk, folder, &below)
}
