//! A data folder as a source.

use std::path::{Path, PathBuf};

use antiphon_schemas::{Epoch, Seq, Stored};

use super::{Error, Source};
use crate::log::file::History;

/// The log of a data folder.
#[derive(Debug)]
pub struct FolderSource {
    folder: PathBuf,
    history: History,
}

impl FolderSource {
    /// Opens it for reading.
    ///
    /// # Errors
    /// [`Error`]: there is none, or it cannot be read.
    pub fn open(folder: &Path) -> Result<FolderSource, Error> {
        let history = History::open(folder).map_err(|error| Error::at(Seq::ZERO, error))?;
        Ok(FolderSource { folder: folder.to_path_buf(), history })
    }
}

impl Source for FolderSource {
    fn shown(&self) -> String {
        self.folder.display().to_string()
    }

    fn epoch(&self) -> Epoch {
        self.history.epoch()
    }

    fn seek(&mut self, after: Seq) -> Result<(), Error> {
        self.history.seek(after).map_err(|error| Error::at(self.history.next(), error))
    }

    fn read(&mut self) -> Result<Vec<Stored>, Error> {
        self.history.read().map_err(|error| Error::at(self.history.next(), error))
    }

    fn tail(&mut self) -> Result<Seq, Error> {
        self.history.tail().map_err(|error| Error::at(Seq::ZERO, error))
    }

    fn place(&self, seq: Seq) -> String {
        match self.history.place(seq) {
            Ok(Some((file, offset))) => format!("`{}` at byte {offset}", file.display()),
            _ => format!("`{}`", self.folder.display()),
        }
    }

    fn checkpoints(&self) -> Option<PathBuf> {
        Some(self.folder.join("checkpoints"))
    }
}
