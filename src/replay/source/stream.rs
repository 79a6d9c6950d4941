//! The log in a Redis as a source. Its checkpoints lie in the data folders of the nodes, so it has none of its own.

use std::time::Duration;

use antiphon_schemas::{Epoch, Seq, Stored};
use tokio::runtime::Handle;

use super::{Error, Source};
use crate::log::redis::{History, address::Address};

/// The log in a Redis.
pub struct RedisSource {
    shown: String,
    history: History,
    runtime: Handle,
}

impl RedisSource {
    /// Connects for reading.
    ///
    /// # Errors
    /// [`Error`]: there is none, or it cannot be reached.
    pub fn open(address: &Address, runtime: Handle) -> Result<RedisSource, Error> {
        let history = runtime.block_on(History::open(address)).map_err(|error| Error::at(Seq::ZERO, error))?;
        Ok(RedisSource { shown: address.to_string(), history, runtime })
    }
}

impl Source for RedisSource {
    fn shown(&self) -> String {
        self.shown.clone()
    }

    fn epoch(&self) -> Epoch {
        self.history.epoch()
    }

    fn seek(&mut self, after: Seq) -> Result<(), Error> {
        self.history.seek(after);
        Ok(())
    }

    fn read(&mut self) -> Result<Vec<Stored>, Error> {
        let read = self.runtime.block_on(self.history.read());
        read.map_err(|error| Error::at(self.history.next(), error))
    }

    fn wait(&mut self, at_most: Duration) -> Result<bool, Error> {
        let waited = self.runtime.block_on(self.history.wait(at_most));
        waited.map(|()| true).map_err(|error| Error::at(self.history.next(), error))
    }

    fn tail(&mut self) -> Result<Seq, Error> {
        self.runtime.block_on(self.history.tail()).map_err(|error| Error::at(Seq::ZERO, error))
    }

    fn place(&self, seq: Seq) -> String {
        self.history.place(seq)
    }
}
