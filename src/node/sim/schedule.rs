//! What happens in the simulated world, in the order of its time.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use antiphon_schemas::{Epoch, Seq};

use super::super::{
    core::{Effect, Input},
    erase::Page,
};
use crate::log::Append;

/// What happens at a time.
pub(super) enum What {
    /// A machine takes the next of its mailbox.
    Wake {
        machine: usize,
    },
    /// Something arrives in a mailbox, if that process still runs.
    Arrive {
        machine: usize,
        process: u64,
        input: Input,
    },
    /// An append reaches the store.
    Append {
        machine: usize,
        process: u64,
        session: u64,
        batch: Vec<Append>,
    },
    /// A read, a rebuild, a write of a disk, an erasure come to their end.
    Effect {
        machine: usize,
        process: u64,
        effect: Effect,
    },
    Erase {
        machine: usize,
        process: u64,
        epoch: Epoch,
        page: Page,
    },
    Erased {
        machine: usize,
        process: u64,
        page: Page,
        done: bool,
    },
    Indexed {
        machine: usize,
        process: u64,
        upto: Seq,
    },
    /// People and bots act.
    Act,
    Fault,
    Restart {
        machine: usize,
    },
    StoreBack,
    Space,
}

struct Scheduled {
    at: Duration,
    order: u64,
    what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.order == other.order
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What is still to happen; what was scheduled first happens first at the same time.
#[derive(Default)]
pub(super) struct Schedule {
    order: u64,
    events: BinaryHeap<Reverse<Scheduled>>,
}

impl Schedule {
    /// A number above all before it.
    pub(super) fn number(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    pub(super) fn push(&mut self, at: Duration, what: What) {
        let order = self.number();
        self.events.push(Reverse(Scheduled { at, order, what }));
    }

    pub(super) fn pop(&mut self) -> Option<(Duration, What)> {
        self.events.pop().map(|Reverse(next)| (next.at, next.what))
    }
}
