//! When the lanes of a shared log are compared with the queue.
//!
//! Not here: the comparison (`log::Shared`), what is on the lanes (`lanes`).

use std::time::{Duration, Instant};

use tracing::{error, warn};

use crate::log::{self, Resynced};

/// On a busy log the comparison keeps going stale; after [`TRIES_MAX`] attempts others have their turn for this long.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES_MAX: u32 = 3;

/// See the module header.
#[derive(Debug, Default)]
pub(super) struct LaneSync {
    /// The lanes may not be as the queue says.
    due: bool,
    /// Not again before then.
    at: Option<Instant>,
    tries: u32,
    running: bool,
}

impl LaneSync {
    /// The lanes may be out of step.
    pub(super) fn request(&mut self) {
        self.due = true;
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// Whether to compare now; then it counts as running until [`LaneSync::ended`].
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        self.running = self.due && self.at.is_none_or(|at| at <= now);
        self.running
    }

    /// How it ended; `true` if the log has moved on and must be read first.
    pub(super) fn ended(&mut self, result: Result<Resynced, log::Error>, now: Instant) -> bool {
        self.running = false;
        match result {
            Ok(Resynced::Moved) => {
                self.tries += 1;
                if self.tries >= TRIES_MAX {
                    (self.tries, self.at) = (0, Some(now + AGAIN));
                }
                return true;
            }
            Ok(Resynced::InStep) => {}
            Ok(Resynced::Resynced(lanes)) => warn!(lanes, "lanes were out of step with the log; they were rebuilt"),
            Err(failure) => error!(error = %failure, "the lanes cannot be compared with the log"),
        }
        *self = LaneSync::default();
        false
    }

    /// When it is to be compared again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.at.filter(|_| self.due && !self.running)
    }
}
