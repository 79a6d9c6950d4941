//! Lanes as a log may keep them: what an append moves on them, and the state of the queue that they are compared with.
//!
//! A lane is named by the [`Ask`] of the messages on it: bot, priority, first or second. A message is on it under
//! the position of the entry that put it there. The queue projection *is* the lanes of the memory and the file log,
//! which pass over all of this; a log that several nodes share keeps real ones, for any tool to see.
//!
//! Not here: who may claim (`decide`), deriving moves from events (`node`).

use std::sync::Arc;

use antiphon_schemas::{MessageId, Seq, event::Ask};

/// What one append moves on the lanes, in the same step in which it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// The message waits on a lane from now on, under the position of this draft of the append.
    Put {
        /// The lane.
        lane: Ask,
        /// Which of the append's drafts puts it there, from 0.
        draft: usize,
        /// The message.
        message_id: MessageId,
    },
    /// A worker takes the message at the lane's head. If another is there: [`Verdict::OutOfStep`](super::Verdict).
    Take {
        /// The lane.
        lane: Ask,
        /// The message's place on it.
        since: Seq,
        /// Who takes it.
        worker: Arc<str>,
    },
    /// The message leaves the lane, taken or not. If it is not there, nothing happens.
    Drop {
        /// The lane.
        lane: Ask,
        /// Where the message stood on it.
        since: Seq,
    },
}

/// The contents of one lane according to the queue projection. On a lane everything taken comes before everything that
/// waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Its name.
    pub ask: Ask,
    /// Held by workers, in order of position.
    pub taken: Vec<(Seq, MessageId, Arc<str>)>,
    /// Waiting, in order of position.
    pub waiting: Vec<(Seq, MessageId)>,
}

/// What became of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resynced {
    /// The lanes already matched.
    InStep,
    /// How many lanes were rebuilt.
    Resynced(usize),
    /// The log has moved on since the lanes to compare with were read: read them again.
    Moved,
}
