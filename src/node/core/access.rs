//! The log opens and closes: what is read and shown on each way.
//!
//! Not here: the phases (`store`), refolding the log (`rebuild`).

use std::sync::Arc;

use antiphon_schemas::Entry;
use tracing::error;

use super::{
    super::Condition,
    Core, Effect, ReadGoal,
    store::{self, Phase},
};
use crate::log::{self, Access};

impl Core {
    /// Looks whether the log can be used, once nothing is under way that was decided against the history of before.
    pub(super) fn look(&mut self) {
        let busy = self.appending.is_some()
            || self.reading.is_some()
            || self.lanes.is_running()
            || matches!(self.store.phase(), Phase::Rebuilding(_));
        if busy || self.stopped {
            return;
        }
        let Some(access) = self.store.take_look(self.now.at) else { return };
        let epoch = match access {
            Access::Open { epoch } => epoch,
            Access::Away { why } => return self.leave(why, false),
            Access::Empty => {
                let why = "the store is empty, but this node knows a history of it; put the data back, or accept it as a \
                           new log with `antiphon accept-empty-store`";
                return self.leave(why.into(), true);
            }
        };
        let (built, known) = {
            let state = self.view.state();
            (state.built, state.epoch)
        };
        if built && known == epoch {
            self.store.enter(Phase::CatchingUp);
            self.begin_read(ReadGoal::CatchUp);
        } else {
            self.begin_rebuild(known);
        }
    }

    pub(super) fn begin_read(&mut self, reading: ReadGoal) {
        let reach = match reading {
            ReadGoal::Reach(tail) => Some(tail),
            _ => None,
        };
        self.reading = Some(reading);
        self.effects.push(Effect::Read { after: self.view.position(), reach });
    }

    /// A page of the log was read, or not.
    pub(super) fn read(&mut self, result: Result<Vec<Arc<Entry>>, log::Error>) {
        let Some(reading) = self.reading.take() else { return };
        let entries = match result {
            Ok(entries) => entries,
            Err(log::Error::Away(why)) => return self.went_away(Vec::new(), &why),
            Err(failure) => {
                error!(error = %failure, "the log cannot be followed");
                return self.diverged(&failure.to_string());
            }
        };
        let empty = entries.is_empty();
        self.entries.extend(entries.into_iter().map(|entry| (entry.header.seq, entry)));
        self.apply();
        let position = self.view.position();
        match reading {
            ReadGoal::CatchUp if empty => self.caught_up(),
            ReadGoal::CatchUp => self.begin_read(ReadGoal::CatchUp),
            ReadGoal::Follow => {}
            ReadGoal::Reach(until) if position >= until => {}
            // It ends earlier than it said: it is not what it was.
            ReadGoal::Reach(_) if empty && !self.entries.is_empty() => {
                self.diverged(&format!("entry {} is not there", position.next()));
            }
            ReadGoal::Reach(_) if empty => {}
            ReadGoal::Reach(until) => self.begin_read(ReadGoal::Reach(until)),
        }
    }

    /// Everything that came while the log was closed is applied: leases run again from now.
    fn caught_up(&mut self) {
        let open: Vec<_> = self.view.state().projections.queue.iter().map(|(id, _)| *id).collect();
        open.into_iter().for_each(|id| self.arm(id));
        self.opened();
    }

    pub(super) fn opened(&mut self) {
        self.store.enter(Phase::Open);
        if self.shared {
            self.lanes.request();
        }
        self.claims.resolve_doubts(self.now.at);
        self.view.erasing.opened(self.view.position());
        store::show(&self.view, Condition::Connected, self.drain.counts());
        self.unsettled = true;
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Ok(()));
        }
    }

    pub(super) fn leave(&mut self, why: Arc<str>, refusing: bool) {
        self.store.enter(Phase::Closed);
        let condition = store::trouble(&self.view, why, refusing, self.now.wall_ms);
        store::show(&self.view, condition, self.drain.counts());
        self.unsettled = true;
    }

    /// Shows how much is in the outbox.
    pub(super) fn show_outbox(&mut self) {
        let condition = self.view.state().condition.clone();
        store::show(&self.view, condition, self.drain.counts());
    }

    /// The log is not what this node has applied, or cannot be read.
    pub(super) fn diverged(&mut self, why: &str) {
        self.leave(why.into(), false);
        self.store.look_again(self.now.at);
    }
}
