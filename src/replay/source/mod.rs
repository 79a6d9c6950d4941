//! Where entries come from: a data folder, a Redis, or a bundle; read from the front, or from any position.
//!
//! Promise: [`Source::read`] gives the stored bytes in the order in which they are stored, whole batches, and is asked again
//! for more; a source is never written to.

mod bundle;
mod folder;
mod stream;

use std::{io::Read, path::PathBuf, time::Duration};

use antiphon_schemas::{Epoch, Seq, Stored};
use tokio::runtime::Handle;

pub(crate) use self::folder::checkpoint_file;
pub use self::stream::RedisSource;
pub use self::{bundle::BundleSource, folder::FolderSource};
use super::bundle::Portion;
use crate::log;
use crate::log::redis::address::Address;

/// Which log is meant.
#[derive(Debug, Clone, PartialEq)]
pub enum Where {
    /// The data folder of a server.
    Folder(PathBuf),
    /// The log in a Redis.
    Redis(Box<Address>),
    /// A file that `replay export` made.
    Bundle(PathBuf),
}

impl Where {
    /// What a path means: a file is a bundle, anything else a data folder.
    pub fn of_path(path: PathBuf) -> Where {
        if path.is_file() { Where::Bundle(path) } else { Where::Folder(path) }
    }
}

/// Why entries cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Stored bytes are not what was written.
    #[error("the log is damaged at position {at}: {place}: {why}")]
    Damaged {
        /// The position that could not be read.
        at: Seq,
        /// File and offset, or key and id.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// It cannot be reached now; a later call resumes where it left off.
    #[error("{0}")]
    Away(String),
    /// It cannot be read at all.
    #[error("{0}")]
    Io(String),
}

impl Error {
    /// What a log said while the entry at `at` was read.
    fn at(at: Seq, error: log::Error) -> Error {
        match error {
            log::Error::Damaged { place, why } => Error::Damaged { at, place, why },
            log::Error::Away(why) => Error::Away(why.to_string()),
            other => Error::Io(other.to_string()),
        }
    }
}

/// A log that is read. Methods block: call them where that is allowed.
pub trait Source: Send {
    /// What it is, for people: `./antiphon-data`, `redis://…`.
    fn shown(&self) -> String;

    /// The epoch of its positions.
    fn epoch(&self) -> Epoch;

    /// Where its epochs began, oldest first, as far as that can be seen; the last one is [`Source::epoch`].
    ///
    /// # Errors
    /// As [`Source::read`].
    fn epochs(&mut self) -> Result<Vec<(Seq, Epoch)>, Error> {
        Ok(vec![(Seq(1), self.epoch())])
    }

    /// Goes on after a position; 0 is the beginning.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn seek(&mut self, after: Seq) -> Result<(), Error>;

    /// The entries that come next, some thousand at once; none: there are no more for now.
    ///
    /// # Errors
    /// [`Error`]; what is sound before the damage was given first.
    fn read(&mut self) -> Result<Vec<Stored>, Error>;

    /// Waits until there may be more, for at most this long; `false` if this source does not grow.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn wait(&mut self, _at_most: Duration) -> Result<bool, Error> {
        Ok(false)
    }

    /// The last position for now.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn tail(&mut self) -> Result<Seq, Error>;

    /// Where the entry at a position is stored, for people: file and offset, key and id.
    fn place(&self, seq: Seq) -> String;

    /// Which part of a log it is, if it is one: its positions may begin later than 1 and have holes.
    fn part(&self) -> Option<&Portion> {
        None
    }

    /// Whether a server on this machine has it open, which comes first then.
    fn served(&self) -> bool {
        false
    }

    /// A file of its checkpoints (`latest`, `history`, `leaves`, `notary.pub`), if it has that one.
    ///
    /// # Errors
    /// [`Error::Io`]: it is there, but cannot be read or is not what was written.
    fn checkpoint_file(&mut self, _name: &str) -> Result<Option<Box<dyn Read + Send>>, Error> {
        Ok(None)
    }
}

/// Opens a log for reading. For a Redis `runtime` is where its connection lives.
///
/// # Errors
/// [`Error`]: there is none, or it cannot be read.
pub fn open(place: &Where, runtime: &Handle) -> Result<Box<dyn Source>, Error> {
    Ok(match place {
        Where::Folder(folder) => Box::new(FolderSource::open(folder)?),
        Where::Bundle(path) => Box::new(BundleSource::open(path)?),
        Where::Redis(address) => Box::new(RedisSource::open(address, runtime.clone())?),
    })
}
