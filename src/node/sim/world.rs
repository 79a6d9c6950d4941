//! The simulated world: time, machines, store, and what is on its way between them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use antiphon_schemas::{BotName, Entry, Epoch, RoomName};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    super::{
        core::{Input, Request},
        erase::Due,
    },
    actors::Actors,
    checks::Checks,
    machine::{Machine, Ready, class, fresh, now},
    plan::{ATTEMPTS_MAX, LEASE, MAX_AGE_MS, Plan, RETRY_BASE_MS},
    schedule::{Schedule, What},
    store::Store,
};
use crate::{
    decide::{BotRule, Policy},
    log::Access,
};

/// How often people and bots look around.
const ACT_EVERY: Duration = Duration::from_millis(50);

/// See the module header.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: StdRng,
    pub(super) at: Duration,
    pub(super) base: Instant,
    schedule: Schedule,
    pub(super) store: Store,
    /// The bodies that a failover brings back: those of before the last erasures.
    pub(super) bodies: Vec<Arc<Entry>>,
    pub(super) machines: Vec<Machine>,
    pub(super) readies: Vec<(usize, u64, Ready)>,
    pub(super) policy: Arc<Policy>,
    pub(super) actors: Actors,
    pub(super) checks: Checks,
    pub(super) steps: u64,
}

pub(super) fn bot(n: usize) -> BotName {
    BotName::new(format!("bot{n}").as_str()).unwrap()
}

pub(super) fn room(n: usize) -> RoomName {
    RoomName::new(format!("room{n}").as_str()).unwrap()
}

impl World {
    pub(super) fn new(plan: Plan) -> World {
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let policy = Policy {
            queue_max: 1_000,
            attempts_max: ATTEMPTS_MAX,
            max_age_ms: MAX_AGE_MS,
            lease_ms: LEASE.as_millis() as u64,
            retry_base_ms: RETRY_BASE_MS,
            retry_max_ms: 8_000,
            bots: (0..2).map(|n| BotRule { name: bot(n), rooms: vec![], answers_all: n == 0 }).collect(),
        };
        let machines = (0..plan.nodes).map(|n| {
            let wall_ms = if plan.skews { rng.random_range(-4_000_000..4_000_000) } else { 0 };
            Machine::new(&format!("node{n}"), wall_ms)
        });
        let machines: Vec<_> = machines.collect();
        let mut world = World {
            actors: Actors::new(plan.nodes),
            plan,
            rng,
            at: Duration::ZERO,
            base: Instant::now(),
            schedule: Schedule::default(),
            store: Store::new(),
            bodies: Vec::new(),
            machines,
            readies: Vec::new(),
            policy: Arc::new(policy),
            checks: Checks::new(plan),
            steps: 0,
        };
        if world.plan.skews && !world.is_shared() {
            // The log of one process is stamped by its machine.
            world.store.clock_ms = world.machines[0].wall_ms;
        }
        (0..world.plan.nodes).for_each(|machine| world.start(machine));
        world.after(Duration::from_millis(10), What::Act);
        world.after(Duration::from_millis(500), What::Fault);
        world
    }

    pub(super) fn is_shared(&self) -> bool {
        self.plan.nodes > 1
    }

    /// Whether things still go wrong, and people still ask.
    pub(super) fn is_busy(&self) -> bool {
        self.at < self.plan.busy
    }

    pub(super) fn true_ms(&self) -> u64 {
        self.at.as_millis() as u64
    }

    pub(super) fn now_of(&self, machine: usize) -> super::super::core::Now {
        now(self.base, self.at, self.machines[machine].wall_ms)
    }

    pub(super) fn after(&mut self, wait: Duration, what: What) {
        self.schedule.push(self.at + wait, what);
    }

    pub(super) fn latency(&mut self) -> Duration {
        let slow = self.rng.random_bool(0.03);
        Duration::from_micros(if slow {
            self.rng.random_range(5_000..400_000)
        } else {
            self.rng.random_range(50..2_000)
        })
    }

    /// Runs until everything has settled, or a check fails.
    pub(super) fn run(&mut self) -> Result<(), String> {
        let end = self.plan.busy + Duration::from_secs(600);
        while let Some((at, what)) = self.schedule.pop() {
            self.at = self.at.max(at);
            self.steps += 1;
            self.happen(what)?;
            if !self.is_busy() && self.steps.is_multiple_of(64) && self.has_settled() {
                break;
            }
            if self.at > end {
                return Err(format!("it has not settled: {}", self.unsettled()));
            }
        }
        self.check_end()
    }

    fn happen(&mut self, what: What) -> Result<(), String> {
        match what {
            What::Wake { machine } => return self.wake(machine),
            What::Arrive { machine, process, input } => self.arrive(machine, process, input),
            What::Append { machine, process, session, batch } => self.append(machine, process, session, batch),
            What::Effect { machine, process, effect } => self.effect_ends(machine, process, effect),
            What::Erase { machine, process, epoch, page } => self.erase(machine, process, epoch, page),
            What::Erased { machine, process, page, done } => self.erased(machine, process, page, done),
            What::Indexed { machine, process, upto } => {
                let machine = &self.machines[machine];
                if machine.process == process {
                    machine.index.0.fetch_max(upto.0, Ordering::Relaxed);
                }
            }
            What::Act => {
                self.act();
                self.after(ACT_EVERY, What::Act);
            }
            What::Fault => {
                if self.is_busy() {
                    self.fault();
                    let wait = Duration::from_millis(self.rng.random_range(200..8_000));
                    self.after(wait, What::Fault);
                }
            }
            What::Restart { machine } => self.start(machine),
            What::StoreBack => self.store_is_back(),
            What::Space => self.store.full = false,
        }
        Ok(())
    }

    fn start(&mut self, machine: usize) {
        let (seed, now, shared) = (self.rng.random(), self.now_of(machine), self.is_shared());
        let ready = self.machines[machine].start(shared, &self.policy, seed, now);
        let process = self.machines[machine].process;
        self.readies.push((machine, process, ready));
        self.tell_access(machine);
    }

    pub(super) fn kill(&mut self, machine: usize) {
        self.machines[machine].core = None;
        self.machines[machine].process += 1;
        self.machines[machine].mailbox.clear();
        self.actors.killed(machine);
        let wait = Duration::from_millis(self.rng.random_range(100..5_000));
        self.after(wait, What::Restart { machine });
    }

    /// The store tells a machine how it is; a new connection may have seen another history.
    pub(super) fn tell_access(&mut self, machine: usize) {
        let access = if self.store.up {
            Access::Open { epoch: self.store.epoch }
        } else {
            Access::Away { why: "the simulated store is away".into() }
        };
        self.machines[machine].session += 1;
        let log_ms = self.store.now_ms(self.true_ms());
        let to = &mut self.machines[machine];
        if self.store.up && to.seen_epoch != self.store.epoch {
            // What was seen in the epoch before, and is not here any more.
            let same = |(at, entry): (usize, &Arc<Entry>)| {
                self.store.entries.get(at).is_some_and(|there| there.header.request == entry.header.request)
            };
            let kept = to.seen.iter().enumerate().take_while(|seen| same(*seen)).count();
            to.lost.extend(to.seen.drain(kept..));
            (to.seen, to.known, to.seen_epoch) = (Vec::new(), fresh(), self.store.epoch);
        }
        let (process, wait) = (to.process, self.latency());
        self.after(wait, What::Arrive { machine, process, input: Input::Access { access, log_ms } });
    }

    pub(super) fn arrive(&mut self, machine: usize, process: u64, input: Input) {
        let order = self.schedule.number();
        let to = &mut self.machines[machine];
        if to.process != process {
            return;
        }
        to.mailbox.insert((class(&input), order), input);
        let at = to.paused_until.max(self.at);
        self.wake_at(machine, at);
    }

    pub(super) fn wake_at(&mut self, machine: usize, at: Duration) {
        let to = &mut self.machines[machine];
        if to.wakes_at.is_none_or(|wakes_at| at < wakes_at) {
            to.wakes_at = Some(at);
            self.after(at.saturating_sub(self.at), What::Wake { machine });
        }
    }

    fn wake(&mut self, machine: usize) -> Result<(), String> {
        let to = &mut self.machines[machine];
        if to.wakes_at.is_some_and(|at| at <= self.at) {
            to.wakes_at = None;
        }
        if to.core.is_none() {
            return Ok(());
        }
        if to.paused_until > self.at {
            let at = to.paused_until;
            self.wake_at(machine, at);
            return Ok(());
        }
        let now = self.now_of(machine);
        let to = &mut self.machines[machine];
        let core = to.core.as_mut().expect("just looked");
        let requests = core.takes_requests();
        let next = to.mailbox.keys().find(|(class, _)| requests || *class != 3).copied();
        let input = match next {
            Some(key) => to.mailbox.remove(&key).expect("just found"),
            None if core.deadline().is_some_and(|at| at <= now.at) => Input::Time,
            None => {
                self.follow(machine);
                self.sleep(machine);
                return Ok(());
            }
        };
        if let Input::Grown = input {
            to.grown_sent = false;
        }
        let effects = core.on(now, input);
        let process = to.process;
        for effect in effects {
            self.start_effect(machine, process, effect);
        }
        self.follow(machine);
        self.hear_answers();
        self.check_step(machine)?;
        if self.machines[machine].mailbox.is_empty() {
            self.sleep(machine);
        } else {
            self.wake_at(machine, self.at);
        }
        Ok(())
    }

    fn sleep(&mut self, machine: usize) {
        let now = self.now_of(machine);
        let Some(core) = &self.machines[machine].core else { return };
        if let Some(at) = core.deadline() {
            let at = self.at + at.saturating_duration_since(now.at);
            self.wake_at(machine, at);
        }
        let due = self.machines[machine].view.erasing.agenda(|agenda| agenda.due(self.is_shared()));
        if let (Due::At(due), false) = (due, self.machines[machine].erasing) {
            let at = self.at + due.saturating_duration_since(now.at);
            self.wake_at(machine, at);
        }
        let Some(core) = &self.machines[machine].core else { return };
        if let Some(position) = core.follows()
            && position < self.store.tail()
            && self.store.up
            && !self.machines[machine].grown_sent
        {
            self.machines[machine].grown_sent = true;
            let (process, wait) = (self.machines[machine].process, self.latency());
            self.after(wait, What::Arrive { machine, process, input: Input::Grown });
        }
    }

    /// Keeps what a machine has applied, for look-ups and for what a store may lose; erases what is due.
    fn follow(&mut self, machine: usize) {
        let to = &mut self.machines[machine];
        let (epoch, position) = {
            let state = to.view.state();
            (state.epoch, state.projections.position)
        };
        if epoch == self.store.epoch {
            let from = to.known.position.0 as usize;
            let upto = (position.0 as usize).min(self.store.entries.len()).max(from);
            let entries = self.store.entries[from..upto].to_vec();
            to.seen_epoch = epoch;
            to.follow(&entries);
        }
        let now = now(self.base, self.at, 0).at;
        let page = to.view.erasing.agenda(|agenda| match agenda.due(self.plan.nodes > 1) {
            Due::Now => Some(agenda.begin()),
            Due::At(at) if at <= now => Some(agenda.begin()),
            _ => None,
        });
        if let Some(page) = page.filter(|page| !to.erasing && page.upto > page.after) {
            to.erasing = true;
            let process = to.process;
            let wait = Duration::from_millis(self.rng.random_range(1..2_000));
            self.after(wait, What::Erase { machine, process, epoch, page });
        }
    }

    /// A request of somebody on a machine.
    pub(super) fn request(&mut self, machine: usize, request: Request) {
        let (process, wait) = (self.machines[machine].process, self.latency());
        self.after(wait, What::Arrive { machine, process, input: Input::Requests(vec![request]) });
    }

    /// Remembers the log's bytes, as a replica that is a little behind has them.
    pub(super) fn replicate(&mut self) {
        self.bodies = self.store.entries.clone();
    }

    pub(super) fn epoch_of(&self, machine: usize) -> Epoch {
        self.machines[machine].view.state().epoch
    }
}
