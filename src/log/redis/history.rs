//! Reads the log of a Redis from outside, beside its nodes.
//!
//! Promises: nothing is written, not even a session; entries come whole and in order, with the bytes that are hashed; what
//! cannot have been written is refused by its id. The next pages are asked for while this one is looked at (`pages`).
//! Not here: following it word by word, which is a node's business (`reader`).

use std::time::Duration;

use ::redis::{Value, aio::MultiplexedConnection};
use antiphon_schemas::{Epoch, Seq, Stored};

use super::{
    Keys,
    address::Address,
    codec,
    connect::connect,
    lineage::{self, NotYet},
    pages::{ANSWER_MAX, Pages},
    trouble::{broken, classify},
};
use crate::log::Error;

/// A Redis's log, and how far it was read.
pub struct History {
    address: Address,
    connection: MultiplexedConnection,
    keys: Keys,
    at: String,
    epoch: Epoch,
    next: Seq,
    pages: Pages,
    /// The store went away: reconnect before the next request.
    away: bool,
}

impl History {
    /// Connects to the log at an address.
    ///
    /// # Errors
    /// [`Error::Io`] if there is none, [`Error::Away`] if it cannot be reached now.
    pub async fn open(address: &Address) -> Result<History, Error> {
        let connected = connect(address, ANSWER_MAX).await.map_err(|error| broken(&error.at, &error.trouble))?;
        let (mut connection, keys) = (connected.connection, Keys::of(address));
        let store = lineage::look(&mut connection, &keys).await.map_err(not_yet)?;
        let Some(epoch) = store.epoch else {
            return Err(Error::Io(format!("there is no log at {address}: `{}` is empty", keys.meta)));
        };
        let pages = Pages::new(address.clone(), connected.host, keys.log.clone());
        let (address, at) = (address.clone(), connected.at);
        Ok(History { address, connection, keys, at, epoch, next: Seq(1), pages, away: false })
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
        self.pages.leave();
    }

    /// The last position for now.
    ///
    /// # Errors
    /// As [`History::read`].
    pub async fn tail(&mut self) -> Result<Seq, Error> {
        self.find_again().await?;
        Ok(self.look().await?.tail)
    }

    /// Waits until there is more, woken by the store, for at most `at_most`.
    ///
    /// # Errors
    /// As [`History::read`].
    pub async fn wait(&mut self, at_most: Duration) -> Result<(), Error> {
        self.find_again().await?;
        let block_ms = at_most.min(ANSWER_MAX / 2).as_millis().max(1) as u64;
        let mut command = ::redis::cmd("XREAD");
        command.arg("BLOCK").arg(block_ms).arg("COUNT").arg(1).arg("STREAMS");
        command.arg(&self.keys.log).arg(codec::id_of(Seq(self.next.0 - 1)));
        let answer = command.query_async::<Value>(&mut self.connection).await;
        let answer = answer.map_err(|error| broken(&self.at, &classify(&error)));
        if self.noted(answer)? == Value::Nil && self.look().await?.epoch != Some(self.epoch) {
            return Err(self.other_epoch());
        }
        Ok(())
    }

    /// The entries that come next, some thousand at once; none: there are no more for now.
    ///
    /// # Errors
    /// [`Error::Damaged`] at [`History::next`]. [`Error::Away`]: the next call looks for the log and resumes where it left off.
    /// [`Error::Io`], also when the log has begun a new epoch meanwhile, or ends before what was read: its positions may mean others
    /// since.
    pub async fn read(&mut self) -> Result<Vec<Stored>, Error> {
        self.find_again().await?;
        let answer = self.pages.read(self.next).await;
        let answer = self.noted(answer)?;
        let (page, wrong) = codec::page(&self.keys.log, &answer);
        if page.first().is_some_and(|first| first.seq() > self.next) {
            // What is missing may have been trimmed.
            crate::log::check_base(self.next, self.look().await?.base)?;
        }
        match (page.last(), wrong) {
            (None, Some(why)) => return Err(why),
            // Return what is sound first; the next read reports the damage.
            (Some(last), _) => self.next = last.seq().next(),
            (None, None) => {}
        }
        Ok(page)
    }

    async fn look(&mut self) -> Result<lineage::Store, Error> {
        let store = lineage::look(&mut self.connection, &self.keys).await.map_err(not_yet);
        self.noted(store)
    }

    /// Reconnects if the store went away; the log must be the one that was read so far.
    async fn find_again(&mut self) -> Result<(), Error> {
        if !self.away {
            return Ok(());
        }
        let mut found = History::open(&self.address).await?;
        let tail = found.look().await?.tail;
        if found.epoch != self.epoch {
            return Err(self.other_epoch());
        }
        if tail.next() < self.next {
            let (at, read) = (&self.at, self.next.0 - 1);
            let why = format!(
                "the log at {at} has lost its end: position {read} was read, and now it ends with {tail}; start over"
            );
            return Err(Error::Io(why));
        }
        found.next = self.next;
        *self = found;
        Ok(())
    }

    fn noted<T>(&mut self, answer: Result<T, Error>) -> Result<T, Error> {
        self.away |= matches!(answer, Err(Error::Away(_)));
        answer
    }

    fn other_epoch(&self) -> Error {
        Error::Io(format!("the log at {} has begun a new epoch; start over", self.at))
    }
}

fn not_yet(why: NotYet) -> Error {
    match why {
        NotYet::Away(why) => Error::Away(why),
        NotYet::Empty => Error::Io("the store is empty".into()),
    }
}
