//! Deadlines of open messages: one per message, the earliest first.
//!
//! Leases run on this node's monotonic clock from when it saw the claim or the last heartbeat, and are suspended while the
//! node itself was not running ([`Deadlines::postpone`]).
//! Not here: what happens then (`decide::work`).

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use antiphon_schemas::{MessageId, Seq, time::LogTime};

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// This claim has had no heartbeat for its lease.
    Lease(Seq),
    /// The message is to be looked at, as of this time of the log at the least.
    Look(LogTime),
}

/// The deadlines of all open messages.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_message: HashMap<MessageId, (Instant, Due)>,
    by_time: BTreeSet<(Instant, MessageId)>,
    leases: usize,
}

impl Deadlines {
    /// Sets, moves or (with `None`) clears a message's deadline.
    pub(crate) fn set(&mut self, id: MessageId, at: Option<(Instant, Due)>) {
        let before = match at {
            Some(at) => self.by_message.insert(id, at),
            None => self.by_message.remove(&id),
        };
        if let Some((before, due)) = before {
            self.by_time.remove(&(before, id));
            self.leases -= usize::from(is_lease(&due));
        }
        if let Some((at, due)) = at {
            self.by_time.insert((at, id));
            self.leases += usize::from(is_lease(&due));
        }
    }

    /// Whether a message has a deadline: the one that was taken was set again since.
    pub(crate) fn has(&self, id: MessageId) -> bool {
        self.by_message.contains_key(&id)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Whether a lease is running.
    pub(crate) fn has_leases(&self) -> bool {
        self.leases > 0
    }

    /// Takes one message whose deadline has passed.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(MessageId, Due)> {
        let (at, id) = *self.by_time.first()?;
        let due = self.by_message.get(&id).map(|(_, due)| *due).filter(|_| at <= now)?;
        self.set(id, None);
        Some((id, due))
    }

    /// Postpones every lease by the time in which no heartbeat could be received here.
    pub(crate) fn postpone(&mut self, by: Duration) {
        let leases: Vec<_> =
            self.by_message.iter().filter(|(_, (_, due))| is_lease(due)).map(|(id, at)| (*id, *at)).collect();
        for (id, (at, due)) in leases {
            self.set(id, Some((at + by, due)));
        }
    }
}

fn is_lease(due: &Due) -> bool {
    matches!(due, Due::Lease(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_moves_leases_and_nothing_else() {
        let (mut deadlines, now) = (Deadlines::default(), Instant::now());
        let [lease, look] = [1, 2].map(crate::log::conformance::id);
        let second = Duration::from_secs(1);
        deadlines.set(lease, Some((now + second, Due::Lease(Seq(3)))));
        deadlines.set(look, Some((now + second, Due::Look(LogTime::from_log_ms(5)))));
        deadlines.postpone(3 * second);
        assert_eq!(deadlines.take_due(now + second), Some((look, Due::Look(LogTime::from_log_ms(5)))));
        assert_eq!(deadlines.take_due(now + 3 * second), None);
        assert!(deadlines.has_leases());
        assert_eq!(deadlines.take_due(now + 4 * second), Some((lease, Due::Lease(Seq(3)))));
        assert!(!deadlines.has_leases());
    }

    #[test]
    fn a_deadline_that_is_set_again_counts_once() {
        let (mut deadlines, now) = (Deadlines::default(), Instant::now());
        let id = crate::log::conformance::id(1);
        deadlines.set(id, Some((now, Due::Lease(Seq(1)))));
        deadlines.set(id, Some((now + Duration::from_secs(1), Due::Lease(Seq(2)))));
        assert_eq!(deadlines.take_due(now), None);
        deadlines.set(id, None);
        assert_eq!((deadlines.next(), deadlines.has_leases()), (None, false));
    }
}
