//! A data folder as a source.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use antiphon_schemas::{Epoch, Seq, Stored};

use super::{Error, Source};
use crate::{
    log::file::History,
    replay::bundle::{CHECKPOINTS, LOADED},
};

/// How often somebody who follows looks whether there is more: nobody sees the difference, and it costs next to nothing.
/// A folder could wake us by inotify, which would be one more crate for one command.
const LOOK: Duration = Duration::from_millis(50);

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

    fn epochs(&mut self) -> Result<Vec<(Seq, Epoch)>, Error> {
        self.history.epochs().map_err(|error| Error::at(Seq::ZERO, error))
    }

    fn seek(&mut self, after: Seq) -> Result<(), Error> {
        self.history.seek(after).map_err(|error| Error::at(self.history.next(), error))
    }

    fn read(&mut self) -> Result<Vec<Stored>, Error> {
        self.history.read().map_err(|error| Error::at(self.history.next(), error))
    }

    fn wait(&mut self, at_most: Duration) -> Result<bool, Error> {
        let until = Instant::now() + at_most;
        loop {
            // Also at first: a batch that is being written is there already, but not whole.
            thread::sleep(LOOK);
            let more = self.history.may_go_on().map_err(|error| Error::at(self.history.next(), error))?;
            if more || Instant::now() >= until {
                return Ok(true);
            }
        }
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

    fn checkpoint_file(&mut self, name: &str) -> Result<Option<Box<dyn Read + Send>>, Error> {
        checkpoint_file(&self.folder.join("checkpoints"), name)
    }
}

/// A file of a folder of checkpoints, if it is there; never the notary's key. As long as this folder's own notary has signed
/// nothing they are those of the bundle that was loaded.
///
/// # Errors
/// As [`Source::checkpoint_file`].
pub(crate) fn checkpoint_file(folder: &Path, name: &str) -> Result<Option<Box<dyn Read + Send>>, Error> {
    if !CHECKPOINTS.contains(&name) {
        return Ok(None);
    }
    let loaded = folder.join(LOADED);
    let folder = if !folder.join("latest").exists() && loaded.exists() { &loaded } else { folder };
    let file = folder.join(name);
    match fs::File::open(&file) {
        Ok(opened) => Ok(Some(Box::new(opened))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Io(format!("`{}`: {error}", file.display()))),
    }
}
