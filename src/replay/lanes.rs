//! Who waited for what at a moment: the queue as it was, folded from the log's start by as few decoded entries as it needs.

use antiphon_schemas::{Entry, MessageId, RoomName, Stored, entry::Malformed};
use serde::Serialize;

use crate::projection::queue::Queue;

/// How many of those before a message are named; the rest are counted.
const NAMED_MAX: usize = 10;

/// The queue at a position.
#[derive(Debug, Clone, Default)]
pub struct Lanes {
    /// The projection, which a node folds likewise.
    pub queue: Queue,
}

/// What a message waited behind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// How many would be claimed before it.
    pub ahead: usize,
    /// The first of them, in the order in which they would be claimed, and their rooms.
    pub first: Vec<(MessageId, RoomName)>,
    /// How many of the bot's messages workers held at that moment.
    pub held: usize,
}

impl Lanes {
    /// Whether entries of this kind move anything.
    pub fn are_moved_by(kind: &str) -> bool {
        matches!(
            kind,
            "message.posted"
                | "message.claimed"
                | "message.released"
                | "message.failed"
                | "message.dead"
                | "message.cancelled"
                | "message.completed"
        )
    }

    /// Folds the next entry in.
    ///
    /// # Errors
    /// [`Malformed`], as [`Stored::entry`].
    pub fn apply(&mut self, stored: &Stored) -> Result<(), Malformed> {
        if Lanes::are_moved_by(stored.kind()) {
            self.queue.apply(&stored.entry()?);
        }
        Ok(())
    }

    /// Folds the next entry in, decoded.
    pub fn apply_entry(&mut self, entry: &Entry) {
        self.queue.apply(entry);
    }

    /// What a message waits behind; `None` if it does not wait.
    pub fn behind(&self, id: &MessageId) -> Option<Behind> {
        let ahead = self.queue.ahead(id)?;
        let bot = &self.queue.get(id)?.ask.bot;
        let named = self.queue.waiting(bot).take(ahead.min(NAMED_MAX));
        let first = named.filter_map(|id| Some((id, self.queue.get(&id)?.room.clone()))).collect();
        Some(Behind { ahead, first, held: self.queue.depth(bot).claimed })
    }
}
