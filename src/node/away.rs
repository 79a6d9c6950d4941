//! The store comes and goes: what is kept meanwhile, and what happens in which order when it is back.
//!
//! ```text
//! open ──▶ away ──▶ open, same epoch   catch up ▶ mend the lanes ▶ claims in doubt ▶ drain the outbox ▶ go on
//!               └─▶ open, other epoch  build anew ▶ mend ▶ offer what was lost ▶ note log.repaired ▶ drain ▶ go on
//! ```
//!
//! Promises: leases do not run while the store is away; a claim whose append may have happened is found by its request or
//! made again; whoever follows a room is told of every change.
//! Not here: the outbox (`parking`), what was lost (`repair`), building the state (`build`).

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use antiphon_schemas::{
    Epoch, time,
    wire::{StoreState, feed},
};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{
    Command, Condition, Error, State,
    conductor::{Conductor, Item, To},
    lanes,
};
use crate::{
    decide::Facts,
    fanout::{Frame, frame},
    log::{self, Access, Resynced},
    outbox::{Counts, Outbox},
};

/// The access is looked at again after this time when an append failed and nobody told of a change.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// When the log has moved on each time, the lanes are compared again after this time.
const MEND_AGAIN: Duration = Duration::from_secs(1);
/// The lanes are compared so often before something else gets a turn.
const MEND_TRIES: usize = 3;

impl Conductor {
    /// Looks whether the log can be used, and does what follows from it.
    ///
    /// # Errors
    /// Only before the first state is built: why it cannot be, other than that the store is away.
    pub(super) async fn look(&mut self) -> Result<(), Error> {
        let access = self.access.borrow_and_update().clone();
        let epoch = match access {
            Access::Open { epoch } => epoch,
            Access::Away { why } => {
                self.leave(&why, false);
                return Ok(());
            }
            Access::Empty => {
                let why = "the store is empty, but this node knows a history of it; put the data back, or accept it as a \
                           new log with `antiphon accept-empty-store`";
                self.leave(why, true);
                return Ok(());
            }
        };
        let (built, known) = {
            let state = self.read();
            (state.built, state.epoch)
        };
        let done = if built && known == epoch { self.catch_up().await } else { self.build_anew(known).await };
        match done {
            Ok(()) => {
                self.open = true;
                self.mend_due = self.inner.log.shared().is_some();
                self.doubts();
                self.inner.erasing.opened(*self.inner.applied.borrow());
                self.condition(Condition::Connected);
                Ok(())
            }
            Err(Error::Log(log::Error::Away(why))) => {
                self.leave(&why, false);
                self.look_again = Some(Instant::now() + LOOK_AGAIN);
                Ok(())
            }
            Err(failure) if built || self.inner.log.shared().is_some() => {
                error!(error = %failure, "the log cannot be followed");
                self.leave(&failure.to_string(), false);
                self.look_again = Some(Instant::now() + LOOK_AGAIN);
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Reads what came meanwhile, and lets leases run again from now.
    async fn catch_up(&mut self) -> Result<(), Error> {
        self.apply(Default::default()).await?;
        let open: Vec<_> = self.read().projections.queue.iter().map(|(id, _)| *id).collect();
        open.into_iter().for_each(|id| self.arm(id));
        Ok(())
    }

    async fn build_anew(&mut self, known: Epoch) -> Result<(), Error> {
        let again = self.read().built;
        self.build().await?;
        let lost = self.inner.log.shared().map(|shared| shared.lost()).unwrap_or_default();
        if again {
            let after = lost.first().map(|entry| entry.header.seq.0 - 1);
            warn!(lost = lost.len(), after, before = %known, "the store is not what it was; the state was built anew");
        }
        self.offer_lost(known, &lost);
        Ok(())
    }

    /// Claims that were not found in the log were never made: whoever asked goes on waiting.
    fn doubts(&mut self) {
        for (_, item) in std::mem::take(&mut self.doubtful) {
            if let (Command::Claim(wish), To::Claimer(claimer)) = (item.command, item.answer) {
                self.claimers.put(wish, claimer);
            }
        }
    }

    fn leave(&mut self, why: &str, refusing: bool) {
        self.open = false;
        let since_ms = self.read().condition.trouble().map_or(self.inner.clock.now_ms(), |(since_ms, _)| since_ms);
        let why = why.into();
        self.condition(match refusing {
            true => Condition::Refusing { since_ms, why },
            false => Condition::Degraded { since_ms, why },
        });
    }

    /// Shows a condition, and tells everybody who follows a room if it is another one.
    fn condition(&mut self, condition: Condition) {
        let inner = self.inner.clone();
        let Counts { pending: parked, refused, .. } = self.outbox.as_ref().map(Outbox::counts).unwrap_or_default();
        let mut state = inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let changed = state.condition.as_str() != condition.as_str();
        let emptied = state.parked > 0 && parked == 0;
        (state.condition, state.parked, state.refused) = (condition, parked, refused);
        if changed || emptied {
            let frame = state.frame();
            inner.feeds.push_to_all(&frame);
        }
        let trouble = state.condition.trouble().map(|(_, why)| why.clone());
        let word = state.condition.as_str();
        drop(state);
        inner.monitor.stir();
        match trouble {
            Some(why) if changed => warn!(state = word, %why, "the store cannot be used"),
            None if changed => info!(state = word, parked, "the store is used"),
            _ => {}
        }
    }

    /// Shows how much stands in the outbox.
    pub(super) fn show_outbox(&mut self) {
        let condition = self.read().condition.clone();
        self.condition(condition);
    }

    /// The log answered that it is away: whether it took these is not known now.
    pub(super) fn went_away(&mut self, items: Vec<Item>, why: Arc<str>) {
        self.leave(&why, false);
        self.look_again = Some(Instant::now() + LOOK_AGAIN);
        let mut posts = Vec::new();
        for mut item in items {
            match (&mut item.command, &item.answer) {
                (Command::Post(post), To::Caller(_)) if self.outbox.is_some() => {
                    // It may be in the log by now: from here on its id is looked for.
                    post.fresh = false;
                    item.facts = Facts::unknown();
                    posts.push(item);
                }
                (Command::Claim(_), To::Claimer(_)) => drop(self.doubtful.insert(item.request, item)),
                // Twice is no harm.
                (Command::Note(_), _) => self.waiting.push_back(item),
                _ => self.turn_away(item),
            }
        }
        posts.into_iter().rev().for_each(|item| self.waiting.push_front(item));
    }

    /// The log ends before what this node has applied.
    pub(super) fn diverged(&mut self, why: &str) {
        error!(why, "the log is not what this node has applied");
        self.leave(why, false);
        self.look_again = Some(Instant::now() + LOOK_AGAIN);
    }

    /// A command that cannot be done while the store is away.
    pub(super) fn turn_away(&mut self, item: Item) {
        let why = self.read().condition.trouble().map_or_else(|| "it is away".into(), |(_, why)| why.clone());
        match (item.command, item.answer) {
            (Command::Claim(wish), To::Claimer(claimer)) => self.claimers.put(wish, claimer),
            (command, To::Repair(place)) => self.offer_again(place, command),
            (command, answer) => {
                let item = Item { command, answer, ..item };
                item.answer_with(self, Err(Error::Log(log::Error::Away(why))));
            }
        }
    }

    /// Compares the lanes with the queue, if that is due.
    pub(super) async fn mend_if_due(&mut self) {
        for tries in 1.. {
            if !self.mend_due || !self.open || self.mend_at.is_some_and(|at| at > Instant::now()) {
                return;
            }
            // On a busy log the picture may be old again and again: others have their turn meanwhile.
            self.mend_at = (tries == MEND_TRIES).then(|| Instant::now() + MEND_AGAIN);
            let (at, picture) = {
                let state = self.read();
                (state.projections.position, lanes::picture(&state.projections.queue))
            };
            let Some(shared) = self.inner.log.shared() else { return };
            match shared.resync_lanes(at, picture).await {
                Ok(Resynced::InStep) => self.mend_due = false,
                Ok(Resynced::Resynced(lanes)) => {
                    warn!(lanes, "lanes were out of step with the log; they were rebuilt");
                    self.mend_due = false;
                }
                Ok(Resynced::Moved) => drop(self.apply(Default::default()).await),
                Err(log::Error::Away(why)) => return self.went_away(Vec::new(), why),
                Err(failure) => {
                    error!(error = %failure, "the lanes cannot be compared with the log");
                    self.mend_due = false;
                }
            }
        }
    }
}

impl State {
    /// How the store is, as a frame of a feed.
    pub(super) fn frame(&self) -> Frame {
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
