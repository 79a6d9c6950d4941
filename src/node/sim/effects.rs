//! What becomes of a core's effects in the simulated world.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use antiphon_schemas::{Entry, Epoch, Event, Seq};
use rand::RngExt;

use super::{
    super::{
        core::{Effect, Input, Rebuilt},
        erase::Page,
    },
    machine::{LIMITS, fresh, now},
    schedule::What,
    store::away,
    world::World,
};
use crate::{
    log::{Append, Error, Resynced},
    projection::{Projections, SnapshotData},
};

impl World {
    pub(super) fn start_effect(&mut self, machine: usize, process: u64, effect: Effect) {
        let wait = self.latency();
        match effect {
            Effect::Append(batch) => {
                let session = self.machines[machine].session;
                self.after(wait, What::Append { machine, process, session, batch });
            }
            Effect::Broadcast(update) => {
                for other in (0..self.machines.len()).filter(|other| *other != machine) {
                    let wait = self.latency();
                    if self.store.up && self.rng.random_bool(0.95) {
                        let process = self.machines[other].process;
                        let input = Input::Heard(update.clone());
                        self.after(wait, What::Arrive { machine: other, process, input });
                    }
                }
            }
            Effect::Index(entries) => {
                if let Some(last) = entries.last() {
                    self.after(wait * 3, What::Indexed { machine, process, upto: last.header.seq });
                }
            }
            Effect::Forget(_) | Effect::Purge | Effect::Stop(_) => {}
            Effect::Rebuild => self.after(wait * 10, What::Effect { machine, process, effect }),
            effect => self.after(wait, What::Effect { machine, process, effect }),
        }
    }

    pub(super) fn append(&mut self, machine: usize, process: u64, session: u64, batch: Vec<Append>) {
        let (true_ms, wait) = (self.true_ms(), self.latency());
        let current = self.machines[machine].process == process && self.machines[machine].session == session;
        // What was sent over a connection that is gone is fenced.
        let result = if current { self.store.append(batch, true_ms) } else { Err(away()) };
        let lost = self.plan.lost_answers && self.is_busy() && result.is_ok() && self.rng.random_bool(0.01);
        let input = Input::Appended(if lost { Err(away()) } else { result });
        if self.machines[machine].process != process {
            return;
        }
        if lost {
            self.machines[machine].session += 1;
        }
        self.after(wait, What::Arrive { machine, process, input });
        for other in 0..self.machines.len() {
            let idle = self.machines[other].core.is_some() && self.machines[other].mailbox.is_empty();
            if other != machine && idle {
                let at = self.machines[other].paused_until.max(self.at);
                self.wake_at(other, at);
            }
        }
    }

    pub(super) fn effect_ends(&mut self, machine: usize, process: u64, effect: Effect) {
        if self.machines[machine].process != process {
            return;
        }
        let input = match effect {
            Effect::Read { after, .. } => Input::Read(self.store.read(after)),
            Effect::LookUp(needs) => {
                let facts = needs.iter().map(|needs| self.machines[machine].facts(needs));
                Input::LookedUp(facts.collect())
            }
            Effect::Park(posts) => {
                let at_ms = self.now_of(machine).wall_ms;
                Input::Parked(Ok(self.machines[machine].disk.park(posts, at_ms)))
            }
            Effect::Settle(ends) => {
                self.machines[machine].disk.settle(ends);
                Input::Settled(Ok(()))
            }
            Effect::ResyncLanes { at, .. } => Input::Resynced(match at == self.store.tail() {
                _ if !self.store.up => Err(away()),
                true => Ok(Resynced::InStep),
                false => Ok(Resynced::Moved),
            }),
            Effect::Rebuild => Input::Rebuilt(self.rebuild(machine).map_err(super::super::Error::Log)),
            _ => return,
        };
        self.arrive(machine, process, input);
    }

    fn rebuild(&mut self, machine: usize) -> Result<Box<Rebuilt>, Error> {
        if !self.store.up {
            return Err(away());
        }
        let epoch = self.store.epoch;
        let mut projections = Projections::resume(epoch, LIMITS, SnapshotData::default());
        self.store.entries.iter().for_each(|entry| projections.apply(entry));
        let to = &mut self.machines[machine];
        (to.known, to.seen, to.seen_epoch) = (fresh(), Vec::new(), epoch);
        to.follow(&self.store.entries);
        to.index.0.store(projections.position.0, Ordering::Relaxed);
        let (last, lost) = (self.store.entries.last().cloned(), std::mem::take(&mut to.lost));
        Ok(Box::new(Rebuilt { epoch, projections, last, lost, index: to.index.clone() }))
    }

    /// An erasure reaches the store; another master may take over before its answer is back.
    pub(super) fn erase(&mut self, machine: usize, process: u64, epoch: Epoch, page: Page) {
        let wanted = |entry: &Arc<Entry>| match &entry.event {
            Event::MessageErased(e) if entry.header.seq > page.after && entry.header.seq <= page.upto => {
                e.positions.clone()
            }
            _ => vec![],
        };
        let positions: Vec<Seq> = self.store.entries.iter().flat_map(wanted).collect();
        let loses = self.plan.failovers && self.is_busy() && !positions.is_empty() && self.rng.random_bool(0.2);
        if loses {
            // What takes over has everything but this erasure.
            self.replicate();
        }
        let done = epoch == self.store.epoch && self.store.erase(&positions).is_ok();
        if loses {
            self.fail_over(true);
        }
        let wait = Duration::from_millis(self.rng.random_range(1..2_000));
        self.after(wait, What::Erased { machine, process, page, done });
    }

    pub(super) fn erased(&mut self, machine: usize, process: u64, page: Page, done: bool) {
        let now = now(self.base, self.at, 0).at;
        let to = &mut self.machines[machine];
        if to.process == process {
            to.erasing = false;
            to.view.erasing.agenda(|agenda| match done {
                true => agenda.ended(&page, page.upto),
                false => agenda.failed(&page, now),
            });
            let at = to.paused_until.max(self.at);
            self.wake_at(machine, at);
        }
    }
}
