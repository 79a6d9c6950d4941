//! When a notary signs, and when it writes what it signed.

use std::time::Duration;

use antiphon_schemas::{Entry, Event};
use tokio::time::Instant;

/// Of the pause between checkpoints in the log, the part by which nodes differ at random: so that they seldom write at once.
pub(super) const SPREAD: u32 = 32;

/// How often it does what; other than the default for tests only.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long entries are gathered before they are taken together.
    pub gather: Duration,
    /// The shortest time between two checkpoints.
    pub sign_every: Duration,
    /// The shortest time between two checkpoints in the log, by whichever node, and in the history.
    pub note_every: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            gather: Duration::from_millis(50),
            sign_every: Duration::from_secs(1),
            note_every: Duration::from_secs(300),
        }
    }
}

/// What is due when.
pub(super) struct Schedule {
    pub(super) pace: Pace,
    /// The last entry that was not a checkpoint.
    pub(super) arrived: u64,
    /// How many entries the newest checkpoint in the log covers.
    pub(super) noted: u64,
    /// How many the newest one in the history covers.
    pub(super) kept: u64,
    pub(super) sign_at: Instant,
    pub(super) note_at: Instant,
    pub(super) keep_at: Instant,
}

impl Schedule {
    /// What was written into the log just before the start is not known, so the first checkpoint there takes its time.
    pub(super) fn new(pace: Pace, now: Instant) -> Schedule {
        let first = now + pace.note_every;
        let mut schedule =
            Schedule { pace, arrived: 0, noted: 0, kept: 0, sign_at: now, note_at: first, keep_at: first };
        schedule.put_off(now, Duration::ZERO);
        schedule
    }

    /// For another tree, of which nothing has arrived.
    pub(super) fn begun(&self) -> Schedule {
        Schedule { arrived: 0, noted: 0, kept: 0, ..*self }
    }

    pub(super) fn see(&mut self, entry: &Entry, now: Instant, now_ms: u64) {
        let seq = entry.header.seq.0;
        match &entry.event {
            Event::LogCheckpoint(checkpoint) => {
                self.noted = self.noted.max(checkpoint.size.min(seq - 1));
                self.put_off(now, Duration::from_millis(now_ms.saturating_sub(entry.header.at_ms)));
            }
            _ => self.arrived = self.arrived.max(seq),
        }
    }

    /// A node wrote a checkpoint into the log `age` ago.
    pub(super) fn put_off(&mut self, now: Instant, age: Duration) {
        let spread = self.pace.note_every.mul_f32(rand::random::<f32>() / SPREAD as f32);
        self.note_at = self.note_at.max(now + (self.pace.note_every + spread).saturating_sub(age));
    }

    /// The next time at which something is to be done with nothing new, given how many entries are signed.
    pub(super) fn next(&self, signed: u64) -> Option<Instant> {
        let sign = (self.arrived > signed).then_some(self.sign_at);
        let note = (self.arrived > self.noted && signed >= self.arrived).then_some(self.note_at);
        let keep = (signed > self.kept).then_some(self.keep_at);
        [sign, note, keep].into_iter().flatten().min()
    }
}
