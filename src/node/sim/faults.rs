//! What goes wrong: pauses, kills, outages, failovers, steps of clocks, full disks.

use std::time::Duration;

use rand::RngExt;

use super::{machine::Machine, plan::LEASE, schedule::What, world::World};

impl World {
    pub(super) fn fault(&mut self) {
        let machine = self.rng.random_range(0..self.machines.len());
        let running = self.machines[machine].core.is_some();
        match self.rng.random_range(0..7) {
            0 if self.plan.pauses => {
                let pause = LEASE.mul_f64(self.rng.random_range(0.2..4.0));
                // A machine that sleeps takes its bots along; of several, one sleeps.
                self.machines[machine].paused_until = self.at + pause;
            }
            // The one that gives back what a failover lost must live meanwhile.
            1 if self.plan.kills && running && self.checks.since_failover(self.true_ms()) >= 30_000 => {
                self.kill(machine);
                if self.rng.random_bool(0.5) {
                    // What it has to give back at its start finds no room.
                    self.fill();
                }
            }
            2 if self.plan.outages && self.store.up => {
                self.store.up = false;
                (0..self.machines.len()).for_each(|machine| self.tell_access(machine));
                let wait = Duration::from_millis(self.rng.random_range(100..25_000));
                self.after(wait, What::StoreBack);
            }
            3 if self.plan.failovers && self.store.up => self.fail_over(false),
            4 if self.plan.steps => {
                // What drifts is followed; only a step of more than a minute must not be. Steps of a size that adds up to
                // nothing else.
                let size = 120_000 * self.rng.random_range(1..34);
                let step = if self.rng.random_bool(0.5) { size } else { -size };
                self.store.clock_ms += step;
                if !self.is_shared() {
                    self.machines[0].wall_ms += step;
                }
            }
            5 => self.fill(),
            _ => {}
        }
    }

    /// Nothing fits into the store for a while: long enough for a process to start meanwhile.
    fn fill(&mut self) {
        if self.plan.full && !self.store.full {
            self.store.full = true;
            let wait = Duration::from_millis(self.rng.random_range(100..6_000));
            self.after(wait, What::Space);
        }
    }

    /// Another master takes over without the end of the log. One machine that has seen everything must live: what nobody
    /// has, nobody can give back.
    pub(super) fn fail_over(&mut self, lost_erasure: bool) {
        let saw_all = |machine: &Machine| {
            machine.core.is_some()
                && machine.seen_epoch == self.store.epoch
                && machine.known.position == self.store.tail()
        };
        let repairing = self.machines.iter().any(|machine| !machine.lost.is_empty());
        if repairing || !self.machines.iter().any(saw_all) || self.checks.since_failover(self.true_ms()) < 60_000 {
            return;
        }
        self.checks.failed_over_at = self.true_ms();
        let lose = self.rng.random_range(0..=self.store.entries.len().min(12));
        let keep = self.store.entries.len() - lose;
        let bodies = std::mem::take(&mut self.bodies);
        self.store.fail_over(keep, if lost_erasure || self.rng.random_bool(0.5) { &bodies } else { &[] });
        self.checks.failed_over(&self.store);
        (0..self.machines.len()).for_each(|machine| self.tell_access(machine));
    }

    pub(super) fn store_is_back(&mut self) {
        self.store.up = true;
        (0..self.machines.len()).for_each(|machine| self.tell_access(machine));
    }
}
