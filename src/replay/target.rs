//! A log that is filled with entries of another: a data folder or a Redis that no server uses.
//!
//! Promises: until [`Target::finish`] no server opens it; one that holds anything else is refused and left as it was.
//! One batch is written while the caller prepares the next.

use std::{path::PathBuf, sync::Arc};

use antiphon_schemas::{Entry, Epoch, Seq};
use tokio::{runtime::Handle, sync::Mutex, task::JoinHandle};

use super::source::{self, Error, Source, Where};
use crate::log::{self, GoOn, file, redis};

/// A log that is being filled. Methods block: call them where that is allowed.
pub struct Target {
    place: Where,
    filling: Filling,
    tail: Seq,
    under_way: Option<JoinHandle<Result<(), log::Error>>>,
    runtime: Handle,
}

#[derive(Clone)]
enum Filling {
    Folder(Arc<file::Filling>, PathBuf),
    // A batch is under way on its only connection.
    Redis(Arc<Mutex<redis::Filling>>),
}

impl Target {
    /// Makes an empty log with an epoch at a place, or opens one there to go on with.
    ///
    /// # Errors
    /// [`Error::Io`] says what is there that may not be added to.
    pub fn open(place: &Where, epoch: Epoch, go_on: GoOn, runtime: &Handle) -> Result<Target, Error> {
        let (filling, tail) = match place {
            Where::Folder(folder) => {
                let filling =
                    file::Filling::open(folder, epoch, go_on).map_err(|error| Error::Io(error.to_string()))?;
                let tail = filling.tail();
                (Filling::Folder(Arc::new(filling), folder.clone()), tail)
            }
            Where::Redis(address) => {
                let filling =
                    runtime.block_on(redis::Filling::open(address, epoch, go_on)).map_err(|error| match error {
                        log::Error::Invalid(why) => Error::Io(format!("{address} cannot be filled: {why}")),
                        other => Error::Io(other.to_string()),
                    })?;
                let tail = filling.tail();
                (Filling::Redis(Arc::new(Mutex::new(filling))), tail)
            }
            Where::Bundle(path) => {
                return Err(Error::Io(format!("`{}` is a file; name a data folder or a Redis", path.display())));
            }
        };
        Ok(Target { place: place.clone(), filling, tail, under_way: None, runtime: runtime.clone() })
    }

    /// The last position that it has, or will have when what is under way is written.
    pub fn tail(&self) -> Seq {
        self.tail
    }

    /// What it has, for reading.
    ///
    /// # Errors
    /// As [`source::open`].
    pub fn source(&self) -> Result<Box<dyn Source>, Error> {
        source::open(&self.place, &self.runtime)
    }

    /// Adds entries that go on where it ends, once those before are written. They are there after [`Target::settle`].
    ///
    /// # Errors
    /// Why those before were not written, or these do not follow.
    pub fn load(&mut self, entries: Vec<Arc<Entry>>) -> Result<(), Error> {
        self.settle()?;
        let Some(last) = entries.last() else { return Ok(()) };
        self.tail = last.header.seq;
        let filling = self.filling.clone();
        self.under_way = Some(self.runtime.spawn(async move {
            match filling {
                Filling::Folder(filling, _) => filling.load(entries).await,
                Filling::Redis(filling) => filling.lock().await.load(entries).await,
            }
        }));
        Ok(())
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// Why it was not.
    pub fn settle(&mut self) -> Result<(), Error> {
        let Some(under_way) = self.under_way.take() else { return Ok(()) };
        let written = self.runtime.block_on(under_way).unwrap_or_else(|error| Err(log::Error::Io(error.to_string())));
        written.map_err(|error| Error::Io(error.to_string()))
    }

    /// It is whole: servers may open it from now on.
    ///
    /// # Errors
    /// It still counts as half filled.
    pub fn finish(mut self) -> Result<(), Error> {
        self.settle()?;
        let runtime = self.runtime.clone();
        let finished = match self.filling {
            Filling::Folder(filling, folder) => match Arc::try_unwrap(filling) {
                Ok(filling) => runtime.block_on(filling.finish(&folder)),
                Err(_) => Err(log::Error::Closed),
            },
            Filling::Redis(filling) => match Arc::try_unwrap(filling) {
                Ok(filling) => runtime.block_on(filling.into_inner().finish()),
                Err(_) => Err(log::Error::Closed),
            },
        };
        finished.map_err(|error| Error::Io(error.to_string()))
    }
}
