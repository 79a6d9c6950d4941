//! A data folder as a source.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
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

    fn served(&self) -> bool {
        locked(&self.folder.join("lock"))
    }

    fn checkpoint_file(&mut self, name: &str) -> Result<Option<Box<dyn Read + Send>>, Error> {
        checkpoint_file(&self.folder.join("checkpoints"), name)
    }
}

/// Whether somebody holds a lock on a file. Looked up, not tried: holding it even for a moment keeps a server from starting.
/// Where the system does not say it, nobody does.
fn locked(file: &Path) -> bool {
    let (Ok(meta), Ok(locks)) = (fs::metadata(file), fs::read_to_string("/proc/locks")) else { return false };
    // `1: FLOCK  ADVISORY  WRITE 708 fe:00:8913 0 EOF`: the fifth word behind the number ends with the file's own.
    let of_file = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let inode = words.get(5).and_then(|place| place.rsplit(':').next()?.parse::<u64>().ok());
        words.get(1) == Some(&"FLOCK") && inode == Some(meta.ino())
    };
    locks.lines().any(of_file)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        log::{
            Log,
            file::{FileLog, Options},
        },
    };

    #[tokio::test]
    async fn a_folder_is_served_while_somebody_has_its_log_open() {
        let dir = tempfile::tempdir().unwrap();
        let (data, other) = (dir.path().join("data"), dir.path().join("other"));
        let open = |data: &Path| FileLog::open_folder(data, Options::default(), Clock::system()).unwrap();
        let (log, _other) = (open(&data), open(&other));
        let source = FolderSource::open(&data).unwrap();
        assert!(source.served());
        log.close().await.unwrap();
        drop(log);
        assert!(!source.served());
    }
}
