//! The store comes and goes: which phase the node is in, and how that is shown.
//!
//! ```text
//! open ──▶ closed ──▶ catching up ─────────▶ open    same epoch: read what came, then lanes, doubts, outbox
//!             └─────▶ rebuilding ──────────▶ open    other epoch: refold, then offer what was lost
//! ```
//!
//! Not here: what happens on each way (`turn`), reading and folding (`driver`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use antiphon_schemas::{
    Epoch, time,
    wire::{StoreState, feed},
};
use tracing::{info, warn};

use super::super::{Condition, State, view::View};
use crate::{
    fanout::{Frame, frame},
    log::Access,
    outbox::Counts,
};

/// How soon the access is looked at again when an append failed and nobody told of a change.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Whether the log can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    CatchingUp,
    /// Folding the log; the epoch that was known before.
    Rebuilding(Epoch),
    Open,
}

/// See the module header.
#[derive(Debug)]
pub(super) struct Store {
    phase: Phase,
    access: Access,
    /// The access is to be looked at.
    look: bool,
    /// And then, although nobody told of a change.
    look_at: Option<Instant>,
}

impl Store {
    pub(super) fn new() -> Store {
        let access = Access::Away { why: "the log has not been reached yet".into() };
        Store { phase: Phase::Closed, access, look: false, look_at: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// The log tells how it is.
    pub(super) fn told(&mut self, access: Access) {
        self.access = access;
        self.look = true;
    }

    /// It cannot be used; it is looked at again after a while.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.look_at = Some(now + LOOK_AGAIN);
    }

    /// How the log is, if it is to be looked at now.
    pub(super) fn take_look(&mut self, now: Instant) -> Option<Access> {
        let due = self.look || self.look_at.is_some_and(|at| at <= now);
        due.then(|| {
            (self.look, self.look_at) = (false, None);
            self.access.clone()
        })
    }

    /// When to look again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.look_at
    }
}

/// Shows a condition and the numbers of the outbox, and tells everybody who follows a room if it is another one.
pub(super) fn show(view: &View, condition: Condition, outbox: Counts) {
    let Counts { pending: parked, refused, .. } = outbox;
    let mut state = view.change();
    let changed = state.condition.as_str() != condition.as_str();
    let emptied = state.parked > 0 && parked == 0;
    (state.condition, state.parked, state.refused) = (condition, parked, refused);
    if changed || emptied {
        let frame = state.frame();
        view.feeds.push_to_all(&frame);
    }
    let trouble = state.condition.trouble().map(|(_, why)| why.clone());
    let word = state.condition.as_str();
    drop(state);
    view.condition.send_if_modified(|shown| std::mem::replace(shown, word) != word);
    view.monitor.stir();
    match trouble {
        Some(why) if changed => warn!(state = word, %why, "the store cannot be used"),
        None if changed => info!(state = word, parked, "the store is used"),
        _ => {}
    }
}

/// The condition of a store that cannot be used, since it could not for the first time.
pub(super) fn trouble(view: &View, why: Arc<str>, refusing: bool, now_ms: u64) -> Condition {
    let since_ms = view.state().condition.trouble().map_or(now_ms, |(since_ms, _)| since_ms);
    match refusing {
        true => Condition::Refusing { since_ms, why },
        false => Condition::Degraded { since_ms, why },
    }
}

impl State {
    /// How the store is, as a frame of a feed.
    pub(in crate::node) fn frame(&self) -> Frame {
        let trouble = self.condition.trouble();
        let said = feed::State {
            state: match self.condition {
                Condition::Connected => StoreState::Connected,
                Condition::Degraded { .. } => StoreState::Degraded,
                Condition::Refusing { .. } => StoreState::Refusing,
            },
            since: trouble.map(|(since_ms, _)| time::rfc3339(since_ms)),
            reason: trouble.map(|(_, why)| why.clone()),
            parked: self.parked as u64,
        };
        frame::live("state", &said)
    }
}
