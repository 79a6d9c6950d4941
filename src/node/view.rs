//! What a node shows: the state that its core owns, and the feeds through which others follow it.
//!
//! Promises: only the core writes; state and feeds change under one lock, so a subscriber's snapshot and its place in the
//! ring fit exactly.
//! Not here: changing any of it (`core`), reading it (`query`, `follow`, `monitor`).

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use antiphon_schemas::{Epoch, RoomName, Seq};
use tokio::sync::watch;

use super::{Condition, State, erase::Erasing, monitor::Monitor, workers::Roster};
use crate::{
    fanout::{Feed, Feeds},
    projection::{Limits, Projections, SnapshotData},
};

/// See the module header.
pub(super) struct View {
    // A std lock: written by the core for short work in memory, read by everybody, never held across an await.
    pub(super) state: RwLock<State>,
    pub(super) feeds: Feeds<RoomName>,
    /// The feeds of workers that follow their claims, by name.
    pub(super) workers: Feeds<Arc<str>>,
    /// What monitors are shown, while there is one.
    pub(super) monitor: Monitor,
    /// Workers that were heard of, or wait for work.
    pub(super) roster: Roster,
    /// The next ticket of those that wait for a claim.
    pub(super) tickets: AtomicU64,
    /// The feed through which a probe comes back.
    pub(super) canary: Arc<Feed>,
    pub(super) applied: watch::Sender<Seq>,
    /// Counts the changes of which keys are good.
    pub(super) keys_changed: watch::Sender<u64>,
    /// The store may have lost entries about keys that are not back yet: which keys are good is not known. Set with the
    /// state locked for writing; cleared when what was brought back is applied.
    pub(super) keys_lost: AtomicBool,
    pub(super) erasing: Erasing,
    /// The condition of the store, as one word, for those who wait for another one.
    pub(super) condition: watch::Sender<&'static str>,
    /// How far the log's clock is ahead of this node's log clock, in ms.
    pub(super) skew_ms: AtomicI64,
}

impl View {
    /// An empty one, of before the log was reached.
    pub(super) fn new(limits: Limits, since_ms: u64) -> View {
        let condition = Condition::Degraded { since_ms, why: "the log has not been reached yet".into() };
        let word = condition.as_str();
        let state = State {
            projections: Projections::resume(Epoch(0), limits, SnapshotData::default()),
            writing: HashMap::new(),
            epoch: Epoch(0),
            condition,
            parked: 0,
            refused: 0,
            built: false,
            last: None,
        };
        View {
            state: RwLock::new(state),
            feeds: Feeds::default(),
            workers: Feeds::default(),
            monitor: Monitor::default(),
            roster: Roster::default(),
            tickets: AtomicU64::new(0),
            canary: Arc::default(),
            applied: watch::Sender::new(Seq::ZERO),
            keys_changed: watch::Sender::new(0),
            keys_lost: AtomicBool::new(false),
            erasing: Erasing::new(),
            condition: watch::Sender::new(word),
            skew_ms: AtomicI64::new(0),
        }
    }

    /// The state as of now. Hold it briefly: the core waits for it.
    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, to be changed; for the core.
    pub(super) fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last position applied.
    pub(super) fn position(&self) -> Seq {
        *self.applied.borrow()
    }

    /// Those who wait for a change of the keys look again.
    pub(super) fn notify_keys_changed(&self) {
        self.keys_changed.send_modify(|changes| *changes += 1);
    }

    /// Ends the feeds, so that streams to subscribers end.
    pub(super) fn end_feeds(&self) {
        self.feeds.close();
        self.workers.close();
        self.monitor.close();
    }

    pub(super) fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::Relaxed)
    }
}
