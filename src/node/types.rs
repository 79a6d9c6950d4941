//! What a node shows and answers: its state, its skew, where a post went, a claim, a live word, why not.
//!
//! Not here: how any of it changes (`core`).

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use antiphon_schemas::{
    BotName, Entry, Epoch, MessageId, RoomName,
    wire::{Parked, Posted},
};
use tokio_util::sync::CancellationToken;

use super::{core::SKEW_MAX, text::Text};
use crate::{
    decide::{Refusal, work::Held},
    log,
    projection::Projections,
};

/// The longest reply; what a model writes beyond it is refused.
pub const REPLY_BYTES_MAX: usize = 512 * 1024;

/// Why a node could not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too many others touched the same message at once; try again.
    #[error("there are too many concurrent changes to this message; try again")]
    Busy,
    /// The log says no.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// The index cannot be read.
    #[error("the index cannot be read: {0}; restart the server, or delete the folder `index` to have it rebuilt")]
    Index(String),
    /// The view did not reach the position in time.
    #[error("the view has not reached that position yet; try again")]
    Behind,
    /// A piece of a reply came out of order.
    #[error("the next piece has index {expected}")]
    DeltaGap {
        /// The index of the piece that is wanted.
        expected: u32,
    },
    /// A reply beyond [`REPLY_BYTES_MAX`].
    #[error("the reply is longer than {REPLY_BYTES_MAX} bytes")]
    ReplyTooLong,
    /// A text that does not begin with the pieces that were sent of it.
    #[error(
        "the text does not begin with the deltas that were sent before; shown words cannot be withdrawn, so fail or release the claim"
    )]
    TextMismatch,
    /// The server is stopping.
    #[error("the server is stopping; try again in a moment")]
    Stopping,
}

/// What the core owns and everybody reads.
#[derive(Debug)]
pub struct State {
    /// The folds of the log.
    pub projections: Projections,
    /// The replies being written, by the message that they answer.
    pub writing: HashMap<MessageId, Writing>,
    /// The epoch of the log that the projections are folds of.
    pub epoch: Epoch,
    /// Whether the store can be used.
    pub condition: Condition,
    /// Posts in the outbox.
    pub parked: usize,
    /// Posts from the outbox that the log refused; kept on this node's disk.
    pub refused: usize,
    /// Whether the projections were ever built: until then there is nothing to show.
    pub(super) built: bool,
    /// The last entry applied: what a snapshot names its position by.
    pub(super) last: Option<Arc<Entry>>,
}

/// Whether a node's store can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It takes appends.
    Connected,
    /// It is away: reads come from memory and may be stale, posts go to the outbox.
    Degraded {
        /// Since when, in ms since 1970.
        since_ms: u64,
        /// Why.
        why: Arc<str>,
    },
    /// It is there, but is not what this node knows: nothing is taken until a person says which is right.
    Refusing {
        /// Since when, in ms since 1970.
        since_ms: u64,
        /// Why, and what to do.
        why: Arc<str>,
    },
}

impl Condition {
    /// `connected`, `degraded` or `refusing`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Condition::Connected => "connected",
            Condition::Degraded { .. } => "degraded",
            Condition::Refusing { .. } => "refusing",
        }
    }

    /// Since when it is not connected, in ms since 1970, and why.
    pub fn trouble(&self) -> Option<(u64, &Arc<str>)> {
        match self {
            Condition::Connected => None,
            Condition::Degraded { since_ms, why } | Condition::Refusing { since_ms, why } => Some((*since_ms, why)),
        }
    }
}

/// How far clocks differ from the log's, in ms; positive: the log's is ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// This machine's wall clock. Only what people read of this node's own is wrong by it.
    pub wall_ms: i64,
    /// The clock by which this node judges ages. Above a minute the log's clock has stepped, and this node gives up no
    /// message for its age.
    pub log_ms: i64,
}

impl Skew {
    /// What an operator should know of it, and what to do; `None` up to a minute.
    pub fn finding(&self) -> Option<(String, &'static str)> {
        let too_far = |ms: i64| u128::from(ms.unsigned_abs()) > SKEW_MAX.as_millis();
        let seconds = |ms: i64| ms.unsigned_abs() / 1_000;
        if too_far(self.log_ms) {
            let says = format!(
                "the log's clock has jumped by {} s, so this node gives up no message for its age",
                seconds(self.log_ms)
            );
            return Some((says, "set the clock of the machine that has the log, then restart this node"));
        }
        let side = if self.wall_ms > 0 { "behind" } else { "ahead of" };
        let says = format!(
            "this machine's clock is {} s {side} the log's; leases, retries and ages follow the log's, but times shown here are wrong",
            seconds(self.wall_ms)
        );
        too_far(self.wall_ms)
            .then_some((says, "set the clock that is wrong and keep it right by NTP (see `timedatectl`)"))
    }
}

/// Where a post went.
#[derive(Debug, Clone, PartialEq)]
pub enum Placed {
    /// Into the log, just now.
    Posted(Posted),
    /// It was there before.
    Again(Posted),
    /// Onto this node's disk, until the store is back.
    Parked(Parked),
}

/// A reply while it is being written. Live only: the log has the claim before and the whole text after.
#[derive(Debug, Clone, PartialEq)]
pub struct Writing {
    /// The room.
    pub room: RoomName,
    /// The id that the reply will have.
    pub reply_id: MessageId,
    /// Who writes.
    pub bot: BotName,
    /// The index of the next delta.
    pub next_index: u32,
    /// The text so far.
    pub text: Text,
    /// From the claim to the first piece, as this node saw it.
    pub first_ms: Option<u64>,
    /// What its worker is doing, once it has said so.
    pub stage: Option<Stage>,
    /// When this node saw the claim being made; `None` if that was before it started.
    pub seen_at: Option<Instant>,
}

/// What a worker says it is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// A code, e.g. `loading-model`.
    pub name: Arc<str>,
    /// How much of that is done, from 0 to 1, if it knows.
    pub progress: Option<f32>,
    /// Since when, in ms since 1970, as this node heard it.
    pub since_ms: u64,
}

/// A claim, given to a worker that asked for work.
#[derive(Debug)]
pub struct Claimed {
    /// Which message, which claim.
    pub held: Held,
    /// The epoch of the claim's position.
    pub epoch: Epoch,
    /// The id that the reply will have.
    pub reply_id: MessageId,
    /// The room.
    pub room: RoomName,
    /// The bot that is to answer.
    pub bot: BotName,
    /// 1 for the first try.
    pub attempt: u32,
    /// How long it lives without a heartbeat.
    pub lease: Duration,
    /// Cancelled when the claim is over, however it ended: stop working.
    pub over: CancellationToken,
}

/// A live word from the holder of a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum LiveUpdate {
    /// It is alive.
    Heartbeat,
    /// What it is doing.
    Stage {
        /// A code, e.g. `loading-model`.
        stage: Arc<str>,
        /// How much of that is done, from 0 to 1, if it knows.
        progress: Option<f32>,
    },
    /// The next piece of the reply.
    Delta {
        /// 0, 1, 2 …
        index: u32,
        /// The piece.
        text: Arc<str>,
        /// All pieces before it, for a node that may lack some.
        before: Option<Arc<str>>,
    },
}

/// What a node says to a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The index of the piece that is wanted next.
    pub next_index: u32,
    /// How long the claim lives from now.
    pub lease: Duration,
}

/// What a node does not know itself of what a monitor shows.
pub trait Surroundings: Send + Sync + 'static {
    /// The model that a bot asks.
    fn model(&self, bot: &BotName) -> Option<String>;
    /// Why a bot takes nothing at the moment.
    fn paused(&self, bot: &BotName) -> Option<String>;
    /// Open event streams.
    fn subscribers(&self) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    #[test]
    fn a_skew_of_more_than_a_minute_is_said_with_its_side_and_what_to_do() {
        let says = |wall_ms, log_ms| Skew { wall_ms, log_ms }.finding().map_or(String::new(), |(says, _)| says);
        assert_eq!([says(MINUTE_MS, -MINUTE_MS), says(-MINUTE_MS, MINUTE_MS)], ["", ""]);
        assert!(says(3_700_000, 0).contains("3700 s behind the log's"));
        assert!(says(-3_700_000, 0).contains("3700 s ahead of the log's"));
        assert!(says(3_700_000, 3_600_000).contains("jumped by 3600 s"), "the one that changes what is done");
    }
}
