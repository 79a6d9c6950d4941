//! A log that is filled with entries of another: a data folder or a Redis that no server uses.
//!
//! Promises: until [`Target::finish`] no server opens it; one that holds anything else is refused and left as it was.
//! One batch is written while the caller prepares the next.

use std::{path::PathBuf, sync::Arc};

use antiphon_schemas::{Entry, Epoch, Seq};
use tokio::{runtime::Handle, sync::Mutex, task::JoinHandle};

use super::source::{self, Error, Source, Where};
use crate::log::redis::Filling as RedisFilling;
use crate::log::{
    self, GoOn,
    file::{Filling as FolderFilling, OpenError},
};

/// A log that is being filled. Methods block: call them where that is allowed.
pub struct Target {
    place: Where,
    filling: Filling,
    tail: Seq,
    /// It was a whole log, and nothing was added to it yet.
    untouched: bool,
    under_way: Option<JoinHandle<Result<(), log::Error>>>,
    runtime: Handle,
}

#[derive(Clone)]
enum Filling {
    Folder(Arc<FolderFilling>, PathBuf),
    // A batch is under way on its only connection.
    Redis(Arc<Mutex<RedisFilling>>),
}

impl Target {
    /// Makes an empty log with an epoch at a place, or opens one there to continue it.
    ///
    /// # Errors
    /// [`Error::Io`] names existing data that must not be added to.
    pub fn open(place: &Where, epoch: Epoch, go_on: GoOn, runtime: &Handle) -> Result<Target, Error> {
        let (filling, tail, untouched) = match place {
            Where::Folder(folder) => {
                let filling = FolderFilling::open(folder, epoch, go_on).map_err(|error| Error::Io(refusal(&error)))?;
                let (tail, was_whole) = (filling.tail(), filling.was_whole());
                (Filling::Folder(Arc::new(filling), folder.clone()), tail, was_whole)
            }
            Where::Redis(address) => {
                let filling = runtime.block_on(RedisFilling::open(address, epoch, go_on));
                let filling = filling.map_err(|error| match error {
                    log::Error::Invalid(why) => Error::Io(format!("{address} cannot be filled: {why}")),
                    other => Error::Io(other.to_string()),
                })?;
                let (tail, was_whole) = (filling.tail(), filling.was_whole());
                (Filling::Redis(Arc::new(Mutex::new(filling))), tail, was_whole)
            }
            Where::Bundle(path) => {
                return Err(Error::Io(format!("`{}` is a file; name a data folder or a Redis", path.display())));
            }
        };
        Ok(Target { place: place.clone(), filling, tail, untouched, under_way: None, runtime: runtime.clone() })
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

    /// Adds entries that continue where it ends, once those before are written. They are there after [`Target::settle`].
    ///
    /// # Errors
    /// Why those before were not written, or these do not follow.
    pub fn load(&mut self, entries: Vec<Arc<Entry>>) -> Result<(), Error> {
        self.settle()?;
        let Some(last) = entries.last() else { return Ok(()) };
        (self.tail, self.untouched) = (last.header.seq, false);
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

    /// Nothing is added after all, or nothing more for now: a log that was whole is so again.
    ///
    /// # Errors
    /// As [`Target::finish`].
    pub fn give_back(mut self) -> Result<(), Error> {
        self.settle()?;
        if self.untouched { self.finish() } else { Ok(()) }
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

/// Why a folder cannot be filled, for the person who named it.
fn refusal(error: &OpenError) -> String {
    match error {
        OpenError::Locked { folder, pid } => {
            let who = pid.map_or("another process".into(), |pid| format!("process {pid}"));
            format!(
                "`{}` cannot be filled: it is in use by {who}; stop it first, or name another folder",
                folder.display()
            )
        }
        other => other.to_string(),
    }
}
