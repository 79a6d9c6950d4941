//! When rooms hear the new queue positions of their messages: after a queue has moved, at most once a second.
//!
//! Promise: the rooms of a queue's first [`POSITIONS_MAX`] messages hear of each move. Those further back keep the position
//! that they heard last, which is never too small. Live words only: nothing of it is in the log.
//! Not here: what a newcomer to a room hears (`queue_position`).

use std::time::{Duration, Instant};

use antiphon_schemas::{Entry, Event};

/// How many messages of one bot's queue are reported: subscribers of a crowded room get as many frames each time.
pub(super) const POSITIONS_MAX: usize = 50;
/// Nobody reads faster.
const EVERY: Duration = Duration::from_secs(1);

/// Whether a queue has moved since its positions were told.
#[derive(Debug, Default)]
pub(super) struct QueuePositions {
    moved: bool,
    told: Option<Instant>,
}

impl QueuePositions {
    /// Takes note of an entry that was applied.
    pub(super) fn note(&mut self, entry: &Entry) {
        self.moved |= matches!(
            entry.event,
            Event::MessageClaimed(_) | Event::MessageReleased(_) | Event::MessageDead(_) | Event::MessageCancelled(_)
        );
    }

    /// When they are to be told; `now` if they never were.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.moved.then(|| self.told.map_or(now, |told| told + EVERY))
    }

    /// The rooms have heard them.
    pub(super) fn told(&mut self, now: Instant) {
        (self.moved, self.told) = (false, Some(now));
    }
}
