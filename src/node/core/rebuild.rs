//! A state folded from the log takes the place of the one before: at the start, and when the store came back as another.
//!
//! Promises: nothing is shown that is half of one history and half of another; followers of rooms start over, workers of
//! claims of before stop; what this node's earlier processes held is given back; what was lost is offered again.
//! Not here: folding (`build`).

use std::{collections::HashMap, sync::atomic::Ordering};

use antiphon_schemas::{Epoch, MessageId, event::release};
use tracing::{error, warn};

use super::{
    super::{Error, Writing},
    Core, Effect, Rebuilt, TailRepair, To,
    deadlines::Deadlines,
    store::Phase,
};
use crate::{
    decide::{Prefetched, work::Held},
    log,
    projection::{Projections, queue},
};

impl Core {
    /// Has the log folded. Until that is done nothing is shown: what was there before is no longer true.
    pub(super) fn begin_rebuild(&mut self, known: Epoch) {
        self.view.change().built = false;
        self.index = None;
        for item in &mut self.inbox {
            if matches!(item.answer, To::Caller(_) | To::Drain(_) | To::TailRepair(_)) {
                item.facts = Prefetched::unknown();
            }
        }
        self.store.enter(Phase::Rebuilding(known));
        self.effects.push(Effect::Rebuild);
    }

    /// The log is folded, or cannot be.
    pub(super) fn rebuilt(&mut self, result: Result<Box<Rebuilt>, Error>) {
        let Phase::Rebuilding(known) = self.store.phase() else { return };
        match result {
            Ok(rebuilt) => {
                let again = known != Epoch(0);
                if again {
                    let after = rebuilt.lost.first().map(|entry| entry.header.seq.0 - 1);
                    warn!(lost = rebuilt.lost.len(), after, before = %known, "the store is not what it was; the state was rebuilt");
                }
                let lost = self.install(*rebuilt);
                self.tail_repair = TailRepair::plan(self.tail_repair.take(), known, &lost);
                self.look_for_lost_keys();
                self.opened();
            }
            Err(Error::Log(log::Error::Away(why))) => {
                self.leave(why, false);
                self.store.look_again(self.now.at);
            }
            Err(failure) if self.shared || self.ready.is_none() => {
                error!(error = %failure, "the log cannot be followed");
                self.diverged(&failure.to_string());
            }
            Err(failure) => {
                if let Some(ready) = self.ready.take() {
                    let _ = ready.send(Err(failure));
                }
                self.stopped = true;
                self.effects.push(Effect::Stop(Vec::new()));
            }
        }
    }

    fn install(&mut self, rebuilt: Rebuilt) -> Vec<std::sync::Arc<antiphon_schemas::Entry>> {
        let Rebuilt { epoch, projections, last, lost, index } = rebuilt;
        let (view, position) = (self.view.clone(), projections.position);
        if let Some(last) = &last {
            self.clock.observe(last.header.at_ms, self.now.at);
        }
        {
            let mut state = view.change();
            state.writing = adopted(&projections);
            state.projections = projections;
            state.epoch = epoch;
            state.last = last;
            // Until it is known what the log has lost.
            view.keys_lost.store(true, Ordering::Release);
            state.built = true;
        }
        self.index = Some(index);
        view.applied.send_replace(position);
        view.feeds.restart();
        view.workers.restart();
        view.monitor.stir();
        self.entries.clear();
        self.claims.end_all();
        self.deadlines = Deadlines::default();
        self.behind.clear();
        self.live.forget();
        // Their entries were durable in the epoch before; what of it was lost is offered again.
        self.answer_applied();
        self.take_over();
        lost
    }

    /// Arms the deadlines of what is open, and gives back what this node's earlier processes held, or this one before.
    fn take_over(&mut self) {
        let view = self.view.clone();
        let own = format!("{}/", self.name);
        // A log of one process has the claims of this folder only, under whatever name.
        let ours =
            |claim: &queue::Claim| claim.incarnation.is_some() && (!self.shared || claim.worker.starts_with(&own));
        let mut open: Vec<(MessageId, Option<Held>)> = {
            let state = view.state();
            let held = |(id, open): (&MessageId, &queue::Open)| match &open.state {
                queue::State::Claimed(claim) if ours(claim) => {
                    (*id, Some(Held { message_id: *id, fence: claim.fence }))
                }
                _ => (*id, None),
            };
            state.projections.queue.iter().map(held).collect()
        };
        // One order for the same log, so that a simulation repeats itself.
        open.sort_unstable_by_key(|(id, _)| *id);
        for (id, held) in open {
            match held {
                Some(held) => self.release(held, release::RESTARTED),
                None => self.arm(id),
            }
        }
    }

    /// After a rebuild, or when a key or revocation that was lost is back: which are good is known once all of them are.
    pub(super) fn look_for_lost_keys(&self) {
        if self.tail_repair.as_ref().is_none_or(TailRepair::has_all_keys) {
            self.view.keys_lost.store(false, Ordering::Release);
            self.view.notify_keys_changed();
        }
    }
}

/// The replies that claims of before the start are writing. What they wrote is not known here: their writers are asked for
/// it from index 0.
fn adopted(projections: &Projections) -> HashMap<MessageId, Writing> {
    let claims = projections.queue.iter().filter_map(|(id, open)| match &open.state {
        queue::State::Claimed(claim) => Some((id, open, claim)),
        _ => None,
    });
    claims.map(|(id, open, claim)| (*id, Writing::new(open, claim, None))).collect()
}
