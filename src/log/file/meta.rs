//! The file `meta`: which log this folder holds. Text, so that a person can read it.
//!
//! ```text
//! antiphon log
//! format 1
//! epoch 9f3c1a2b4d5e6f70                 (one line more each time that a new epoch began; the last one is current)
//! base 4001                              (only of a log that was trimmed, which is format 2: the first position that is read)
//! check 5d41402a                         (CRC-32C of all before this line)
//! ```
//!
//! Promise: it is written aside, synced and renamed, so there is always a complete one, the old or the new.

use std::{fmt::Write, io, path::Path};

use antiphon_schemas::{Epoch, Seq};

use super::disk::{Disk, read_all};

/// The newest version of the folder's layout that this code writes and reads: of a log that was trimmed.
pub(super) const FORMAT: u32 = 2;
/// The version of a complete log, so that an older program can continue it.
const FORMAT_WHOLE: u32 = 1;
const NAME: &str = "meta";
const NAME_ASIDE: &str = "meta.new";
const TITLE: &str = "antiphon log";

/// The epochs of a log, at least one, and its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    /// Oldest first; segments of every one of them belong to the log.
    pub(super) epochs: Vec<Epoch>,
    /// The first position that is read; 1 of a whole log. Segments that end before it may still be there.
    pub(super) base: Seq,
}

/// Why `meta` could not be read.
#[derive(Debug)]
pub(super) enum MetaError {
    /// Another version wrote it.
    Version(u32),
    /// It is not what was written.
    Damaged,
    /// The disk said no.
    Io(io::Error),
}

impl Meta {
    /// The epoch of the positions that are given out now.
    pub(super) fn epoch(&self) -> Epoch {
        *self.epochs.last().expect("a log has an epoch")
    }

    /// Whether a segment of this epoch belongs to the log.
    pub(super) fn knows(&self, epoch: Epoch) -> bool {
        self.epochs.contains(&epoch)
    }

    /// The folder's `meta`, if there is one, from a folder that is only read.
    pub(super) fn read(folder: &Path) -> Result<Option<Meta>, MetaError> {
        match std::fs::read_to_string(folder.join(NAME)) {
            Ok(text) => Meta::parse(&text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(MetaError::Damaged),
            Err(error) => Err(MetaError::Io(error)),
        }
    }

    /// The folder's `meta`, if there is one.
    pub(super) fn load(disk: &dyn Disk, folder: &Path) -> Result<Option<Meta>, MetaError> {
        let file = match disk.open(&folder.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(MetaError::Io(error)),
        };
        let bytes = read_all(&*file).map_err(MetaError::Io)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| MetaError::Damaged)?;
        Meta::parse(text).map(Some)
    }

    /// Makes this the folder's `meta`; durable when it returns.
    pub(super) fn store(&self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        let aside = folder.join(NAME_ASIDE);
        let file = disk.create(&aside)?;
        file.write_at(self.text().as_bytes(), 0)?;
        file.sync_data()?;
        disk.rename(&aside, &folder.join(NAME))?;
        disk.sync_folder(folder)
    }

    fn text(&self) -> String {
        let trimmed = self.base > Seq(1);
        let mut text = format!("{TITLE}\nformat {}\n", if trimmed { FORMAT } else { FORMAT_WHOLE });
        for epoch in &self.epochs {
            writeln!(text, "epoch {epoch}").expect("a string takes everything");
        }
        if trimmed {
            writeln!(text, "base {}", self.base).expect("a string takes everything");
        }
        let check = crc32c::crc32c(text.as_bytes());
        writeln!(text, "check {check:08x}").expect("a string takes everything");
        text
    }

    fn parse(text: &str) -> Result<Meta, MetaError> {
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err(MetaError::Damaged);
        }
        // Before the check: what another version puts after this line is not for us to judge.
        let format = lines.next().and_then(|line| line.strip_prefix("format ")?.parse().ok());
        match format {
            Some(FORMAT_WHOLE | FORMAT) => {}
            Some(other) => return Err(MetaError::Version(other)),
            None => return Err(MetaError::Damaged),
        }
        let epoch_of = |line: &str| u64::from_str_radix(line.strip_prefix("epoch ")?, 16).ok().map(Epoch);
        let base_of = |line: &str| line.strip_prefix("base ")?.parse().ok().map(Seq);
        let mut lines = lines.peekable();
        let epochs = std::iter::from_fn(|| lines.next_if(|line| epoch_of(line).is_some()).and_then(epoch_of)).collect();
        let meta = Meta { epochs, base: lines.next().and_then(base_of).unwrap_or(Seq(1)) };
        // Written again it must be the same bytes: that checks the checksum and everything that was passed over.
        if meta.epochs.is_empty() || meta.text() != text { Err(MetaError::Damaged) } else { Ok(meta) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_and_any_changed_byte_is_refused() {
        for base in [1, 4_001] {
            is_read_back(&Meta { epochs: vec![Epoch(7), Epoch(u64::MAX)], base: Seq(base) });
        }
    }

    fn is_read_back(meta: &Meta) {
        let text = meta.text();
        assert_eq!(Meta::parse(&text).unwrap(), *meta);
        assert_eq!(meta.epoch(), Epoch(u64::MAX));
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(Meta::parse(&changed).is_err(), "{changed}");
            assert!(Meta::parse(&text[..at]).is_err());
        }
    }

    #[test]
    fn a_later_format_is_named() {
        assert!(matches!(Meta::parse("antiphon log\nformat 3\nsomething new"), Err(MetaError::Version(3))));
    }
}
