//! When time does something to an open message: one deadline a message, the earliest first.
//!
//! Leases are measured on this node's monotonic clock from when it saw the claim or the last heartbeat.
//! Not here: what happens then (`decide::work`).

use std::collections::{BTreeSet, HashMap};

use antiphon_schemas::MessageId;
use tokio::time::Instant;

/// The deadlines of all open messages.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_message: HashMap<MessageId, Instant>,
    by_time: BTreeSet<(Instant, MessageId)>,
}

impl Timers {
    /// Sets, moves or (with `None`) clears a message's deadline.
    pub(super) fn set(&mut self, id: MessageId, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.by_message.insert(id, at),
            None => self.by_message.remove(&id),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, id));
        }
        if let Some(at) = at {
            self.by_time.insert((at, id));
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one message whose deadline has passed.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<MessageId> {
        let (at, id) = *self.by_time.first()?;
        (at <= now).then(|| {
            self.set(id, None);
            id
        })
    }
}
