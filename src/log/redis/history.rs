//! Reads the log of a Redis from outside, beside its nodes.
//!
//! Promises: nothing is written, not even a session; entries come whole and in order, with the bytes that are hashed; what
//! cannot have been written is refused by its id. The next page is asked for while this one is looked at.
//! Not here: following it word by word, which is a node's business (`reader`).

use std::time::Duration;

use ::redis::{Value, aio::MultiplexedConnection};
use antiphon_schemas::{Epoch, Seq, Stored};
use tokio::task::JoinHandle;

use super::{
    Keys,
    address::Address,
    codec,
    connect::connect,
    lineage::{self, NotYet},
    trouble::classify,
};
use crate::log::Error;

/// A page of the longest texts takes a slow network some seconds.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Entries in a page: some hundred KiB, so that nodes wait for their own answers a few milliseconds at most.
const PAGE_ENTRIES: usize = 1_000;

/// A Redis's log, and how far it was read.
pub struct History {
    connection: MultiplexedConnection,
    keys: Keys,
    at: String,
    epoch: Epoch,
    next: Seq,
    ahead: Option<(Seq, JoinHandle<Result<Value, Error>>)>,
}

impl History {
    /// Connects to the log at an address.
    ///
    /// # Errors
    /// [`Error::Io`] if there is none, or it cannot be reached.
    pub async fn open(address: &Address) -> Result<History, Error> {
        let connected = connect(address, ANSWER_MAX).await.map_err(|error| Error::Io(error.to_string()))?;
        let (mut connection, keys) = (connected.connection, Keys::of(address));
        let store = lineage::look(&mut connection, &keys).await.map_err(|why| match why {
            NotYet::Away(why) => Error::Io(why.to_string()),
            NotYet::Empty => Error::Io("the store is empty".into()),
        })?;
        let Some(epoch) = store.epoch else {
            return Err(Error::Io(format!("there is no log at {address}: `{}` is empty", keys.meta)));
        };
        Ok(History { connection, keys, at: connected.at, epoch, next: Seq(1), ahead: None })
    }

    /// The epoch of the positions that are given out now.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The position that is read next: where an error is.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// Key and id of the entry at a position, for people.
    pub fn place(&self, seq: Seq) -> String {
        format!("`{}` {} on {}", self.keys.log, codec::id_of(seq), self.at)
    }

    /// Goes on after a position.
    pub fn seek(&mut self, after: Seq) {
        self.next = after.next();
    }

    /// The last position for now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn tail(&mut self) -> Result<Seq, Error> {
        Ok(self.look().await?.tail)
    }

    /// Waits until there is more, woken by the store, at most so long.
    ///
    /// # Errors
    /// [`Error::Io`], also when the log has begun a new epoch meanwhile: its positions may mean others since.
    pub async fn wait(&mut self, at_most: Duration) -> Result<(), Error> {
        let block_ms = at_most.min(ANSWER_MAX / 2).as_millis().max(1) as u64;
        let mut command = ::redis::cmd("XREAD");
        command.arg("BLOCK").arg(block_ms).arg("COUNT").arg(1).arg("STREAMS");
        command.arg(&self.keys.log).arg(codec::id_of(Seq(self.next.0 - 1)));
        let answer = command.query_async::<Value>(&mut self.connection).await;
        let answer = answer.map_err(|error| Error::Io(format!("{}: {}", self.at, classify(&error))))?;
        if answer == Value::Nil {
            let now = self.look().await?.epoch;
            if now != Some(self.epoch) {
                return Err(Error::Io(format!("the log at {} has begun a new epoch; begin anew", self.at)));
            }
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<lineage::Store, Error> {
        lineage::look(&mut self.connection, &self.keys).await.map_err(|why| match why {
            NotYet::Away(why) => Error::Io(why.to_string()),
            NotYet::Empty => Error::Io("the store is empty".into()),
        })
    }

    /// The entries that come next, some thousand at once; none: there are no more for now.
    ///
    /// # Errors
    /// [`Error::Damaged`] at [`History::next`], [`Error::Io`].
    pub async fn read(&mut self) -> Result<Vec<Stored>, Error> {
        let answer = match self.ahead.take() {
            Some((at, ahead)) if at == self.next => ahead.await.unwrap_or_else(|e| Err(Error::Io(e.to_string())))?,
            _ => self.ask(self.next).await.unwrap_or_else(|e| Err(Error::Io(e.to_string())))?,
        };
        let values = codec::array(answer).unwrap_or_default();
        if values.len() == PAGE_ENTRIES {
            let at = Seq(self.next.0 + PAGE_ENTRIES as u64);
            self.ahead = Some((at, self.ask(at)));
        }
        let mut page = Vec::with_capacity(values.len());
        for value in values {
            match codec::stored(&self.keys.log, value) {
                Ok(stored) => page.push(stored),
                // What is sound comes first; whoever asks again is told.
                Err(why) if page.is_empty() => return Err(why),
                Err(_) => break,
            }
        }
        if let Some(last) = page.last() {
            self.next = last.seq().next();
        }
        Ok(page)
    }

    fn ask(&self, first: Seq) -> JoinHandle<Result<Value, Error>> {
        let mut command = ::redis::cmd("XRANGE");
        command.arg(&self.keys.log).arg(codec::id_of(first)).arg("+").arg("COUNT").arg(PAGE_ENTRIES);
        let (mut connection, at) = (self.connection.clone(), self.at.clone());
        tokio::spawn(async move {
            let answer = command.query_async::<Value>(&mut connection).await;
            answer.map_err(|error| Error::Io(format!("{at}: {}", classify(&error))))
        })
    }
}
