//! The index: where in the log something is, as a projection on the node's own disk.
//!
//! Promises (checked in `tests`):
//! - the index is the fold of entries 1..=[`Index::position`], as [`Record`](crate::projection::record::Record) folds
//!   them, however the entries were cut into batches and however often the process died in between;
//! - a [`Reader`] is one moment: everything that it answers belongs to its position;
//! - it is disposable: a file that is damaged, of another epoch or version, or ahead of the log is deleted and rebuilt
//!   from position 0. Only a folder that cannot be written keeps a server from starting.
//!
//! ```text
//! messages   id 16 B                             → status and flags u8 │ positions as varints │ reason
//! runs       room │ 0x00 │ class u8 │ seq u64 BE → ()            class: 0 other, 1 said by a person, 2 by a program
//! rooms      room                                → messages u64, last seq u64, last at_ms u64
//! times      second u64                          → first seq in it u64
//! erasures   seq u64 of each `message.erased`    → the positions that it names, u64 LE each
//! meta       ()                                  → version, epoch, position u64, hash of the entry there 32 B
//! ```
//!
//! A room has one run of positions a class, so that a page of one kind of author costs no more than its own length.
//! Commits are not durable one by one: once a second everything so far is made durable together with its position.
//! After a crash redb goes back to that moment, and the log's entries after it are applied again.
//!
//! Not here: texts (read the log at a position), reading the log, who may ask.
//! Start with `store` (the fold), then `reader`; `indexer` is the thread that writes.

mod codec;
mod error;
mod indexer;
mod reader;
mod store;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use antiphon_schemas::{Entry, Epoch, Seq};

pub use error::Error;
pub use indexer::{FLUSH_EVERY, Indexer, MERGE_ENTRIES_MAX, QUEUE_ENTRIES_MAX};
pub use reader::{Page, Reader, RoomSummary};
use store::Store;

/// The index of one log. Cheap to clone; all clones are the same index.
#[derive(Clone)]
pub struct Index {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    // A std lock: held to clone or replace an `Arc`, never across I/O or an await.
    reader: RwLock<Reader>,
    failed: OnceLock<Error>,
}

impl Index {
    /// Opens the index in the file `path`, or one in memory for `None`, for the log with this epoch and tail.
    ///
    /// Guarantee: it is at some position at or before `tail`, 0 if it had to be rebuilt (a warning says why).
    /// Go on with the log's entries after [`Index::position`]; compare the entry there first: [`Index::checked`].
    /// Cost: reads the whole file once to verify its checksums.
    ///
    /// # Errors
    /// [`Error::Unwritable`]: the folder cannot be written; nothing else keeps an index from opening.
    pub fn open(path: Option<&Path>, epoch: Epoch, tail: Seq) -> Result<Index, Error> {
        Index::over(match path {
            Some(path) => Store::open(path, epoch, tail)?,
            None => Store::in_memory(epoch)?,
        })
    }

    fn over(store: Store) -> Result<Index, Error> {
        let store = Arc::new(store);
        let reader = RwLock::new(Reader::open(&store)?);
        Ok(Index { shared: Arc::new(Shared { store, reader, failed: OnceLock::new() }) })
    }

    /// The index if `entry`, the log's entry at [`Index::position`], is the one that it applied there; else an empty
    /// one. Ask before an indexer is started; at position 0 there is nothing to ask.
    ///
    /// # Errors
    /// As [`Index::open`].
    pub fn checked(self, entry: &Entry) -> Result<Index, Error> {
        let meta = self.reader().meta();
        if meta.position == entry.header.seq && meta.hash == entry.hash() {
            return Ok(self);
        }
        let why = format!("the log's entry at position {} is not the one that it applied", meta.position);
        Index::over(self.shared.store.start_over(&why)?)
    }

    /// How far readers see.
    pub fn position(&self) -> Seq {
        self.reader().position()
    }

    /// The newest readable state. Cost: one clone of an `Arc`.
    ///
    /// Let it go within seconds: pages that it sees are kept from being used again.
    pub fn reader(&self) -> Reader {
        self.shared.reader.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the indexer stopped for good, if it did. [`Index::position`] no longer moves from then on.
    pub fn failed(&self) -> Option<&Error> {
        self.shared.failed.get()
    }

    /// Lets readers see everything committed so far; returns its position.
    fn publish(&self) -> Result<Seq, Error> {
        let reader = Reader::open(&self.shared.store)?;
        let position = reader.position();
        *self.shared.reader.write().unwrap_or_else(PoisonError::into_inner) = reader;
        Ok(position)
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("position", &self.position()).field("failed", &self.failed()).finish()
    }
}
