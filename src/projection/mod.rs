//! Pure folds over entries: everything that a node knows, as a function of the log.
//!
//! Promises: `apply` is synchronous, takes no clock, does no I/O and cannot fail; folding the same entries again
//! gives the same value; any projection can be thrown away and refolded.
//! Not here: reading the log, disk (`index`), who waits for what (`node`).

pub mod counts;
pub mod histogram;
mod keyed;
pub mod keys;
mod lane;
pub(crate) mod looks;
pub mod minutes;
pub mod monitor;
pub mod newest;
pub mod open_list;
pub mod queue;
pub mod recent;
pub mod record;
#[cfg(test)]
mod tests;
mod trie;
pub mod view;

use std::sync::Arc;

use antiphon_schemas::{Entry, Epoch, Event, MessageId, Seq};
use serde::{Deserialize, Serialize};

use self::{
    counts::Counts,
    keys::{FrozenKeys, Keys, SnapshotKeys},
    newest::Newest,
    queue::{All, Open, Queue},
    recent::Recent,
};

/// What [`SnapshotData`] holds: 1 since it holds keys. Other versions lack something or store it differently.
pub const SNAPSHOT_VERSION: u32 = 1;

/// How much the recent view keeps.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Messages a room.
    pub recent_messages: usize,
    /// Rooms in memory.
    pub rooms: usize,
}

/// All projections of a node, at one position.
#[derive(Debug, Clone)]
pub struct Projections {
    /// The last entry folded in.
    pub position: Seq,
    /// Messages that want an answer.
    pub queue: Queue,
    /// The newest messages of the rooms last spoken in.
    pub recent: Recent,
    /// What the index does not have yet.
    pub newest: Newest,
    /// Who may answer from outside.
    pub keys: Keys,
    /// Numbers.
    pub counts: Counts,
}

/// The part of the projections that a restart cannot read back from index and log: what a snapshot holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotData {
    /// [`SNAPSHOT_VERSION`] of the program that wrote it; 0 before there were versions.
    #[serde(default)]
    pub version: u32,
    /// The last entry folded in.
    pub position: Seq,
    /// The open messages.
    pub open: Vec<(MessageId, Open)>,
    /// The keys.
    #[serde(default)]
    pub keys: SnapshotKeys,
    /// Numbers.
    pub counts: Counts,
}

impl Projections {
    /// Projections at the position of `data`; at the beginning of a log that is `SnapshotData::default()`.
    pub fn resume(epoch: Epoch, limits: Limits, data: SnapshotData) -> Projections {
        Projections {
            position: data.position,
            queue: Queue::with(data.open),
            recent: Recent::new(epoch, limits.recent_messages, limits.rooms),
            newest: Newest::after(data.position),
            keys: Keys::with(data.keys),
            counts: data.counts,
        }
    }

    /// Folds the next entry in. An entry at or below the position changes nothing.
    ///
    /// # Panics
    /// On a hole: the caller reads it first.
    pub fn apply(&mut self, entry: &Arc<Entry>) {
        if entry.header.seq <= self.position {
            return;
        }
        assert_eq!(entry.header.seq, self.position.next(), "a hole in the entries applied");
        if let Event::MessageFailed(e) = &entry.event
            && let Some(open) = self.queue.get(&e.message_id)
        {
            self.counts.failed(&open.ask.bot);
        }
        self.queue.apply(entry);
        self.recent.apply(entry);
        self.newest.apply(entry);
        self.keys.apply(entry);
        self.counts.apply(entry);
        self.position = entry.header.seq;
    }

    /// What a snapshot holds, not sorted yet. Cost: a few `Arc`s and the counts, however much is open, since the core waits
    /// meanwhile.
    pub fn freeze(&self) -> Frozen {
        let (open, keys, counts) = (self.queue.all(), self.keys.freeze(), self.counts.clone());
        Frozen { position: self.position, open, keys, counts }
    }

    /// What a snapshot holds.
    pub fn snapshot(&self) -> SnapshotData {
        self.freeze().into_data()
    }
}

/// What a snapshot holds, as of one position: later entries do not reach it.
#[derive(Debug, Clone)]
pub struct Frozen {
    position: Seq,
    open: All,
    keys: FrozenKeys,
    counts: Counts,
}

impl Frozen {
    /// The last entry folded in.
    pub fn position(&self) -> Seq {
        self.position
    }

    /// In order, so that equal states give equal bytes. Cost: a clone of every open message, and a sort.
    pub fn into_data(self) -> SnapshotData {
        let mut open: Vec<_> = self.open.iter().map(|(id, open)| (*id, open.clone())).collect();
        open.sort_by_key(|(id, _)| *id);
        SnapshotData {
            version: SNAPSHOT_VERSION,
            position: self.position,
            open,
            keys: self.keys.into_data(),
            counts: self.counts,
        }
    }
}
