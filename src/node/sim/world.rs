//! The simulated world: time, machines, store, and what is on its way between them.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use antiphon_schemas::{BotName, Entry, Epoch, Event, RoomName, Seq};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    super::{
        core::{Effect, Input, Rebuilt, Request},
        erase::{Due, Page},
    },
    actors::Actors,
    checks::Checks,
    machine::{LIMITS, Machine, Ready, class, fresh, now},
    store::{Store, away},
};
use crate::{
    decide::{BotRule, Policy},
    log::{Access, Append, Error, Resynced},
    projection::{Projections, SnapshotData},
};

pub(super) const LEASE: Duration = Duration::from_secs(10);
pub(super) const MAX_AGE_MS: u64 = 120_000;
pub(super) const RETRY_BASE_MS: u64 = 1_000;
pub(super) const ATTEMPTS_MAX: u32 = 3;

/// What may go wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    /// People act and things go wrong for so long.
    pub(super) busy: Duration,
    pub(super) pauses: bool,
    pub(super) kills: bool,
    pub(super) outages: bool,
    pub(super) lost_answers: bool,
    pub(super) failovers: bool,
    pub(super) skews: bool,
    pub(super) steps: bool,
    pub(super) full: bool,
}

impl Plan {
    /// Everything that may go wrong, chosen by a seed. One node has its log for itself: that one cannot go away.
    pub(super) fn of(seed: u64) -> Plan {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        let nodes = rng.random_range(1..=3);
        let shared = nodes > 1;
        Plan {
            seed,
            nodes,
            busy: Duration::from_secs(rng.random_range(20..=90)),
            pauses: rng.random_bool(0.6),
            kills: rng.random_bool(0.5),
            outages: shared && rng.random_bool(0.5),
            lost_answers: shared && rng.random_bool(0.5),
            failovers: shared && rng.random_bool(0.3),
            skews: rng.random_bool(0.5),
            steps: rng.random_bool(0.3),
            full: rng.random_bool(0.3),
        }
    }
}

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

/// See the module header.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: StdRng,
    pub(super) at: Duration,
    base: Instant,
    order: u64,
    events: BinaryHeap<Reverse<Scheduled>>,
    pub(super) store: Store,
    /// The bodies that a failover brings back: those of before the last erasures.
    bodies: Vec<Arc<Entry>>,
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
            actors: Actors::new(plan.nodes, &mut rng),
            plan,
            rng,
            at: Duration::ZERO,
            base: Instant::now(),
            order: 0,
            events: BinaryHeap::new(),
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
        self.order += 1;
        self.events.push(Reverse(Scheduled { at: self.at + wait, order: self.order, what }));
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
        while let Some(Reverse(Scheduled { at, what, .. })) = self.events.pop() {
            self.at = self.at.max(at);
            self.steps += 1;
            self.happen(what)?;
            if !self.is_busy() && self.steps % 64 == 0 && self.has_settled() {
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
                self.after(Duration::from_millis(20), What::Act);
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

    // -- machines

    fn start(&mut self, machine: usize) {
        let (seed, now, shared) = (self.rng.random(), self.now_of(machine), self.is_shared());
        let ready = self.machines[machine].start(shared, &self.policy, seed, now);
        let process = self.machines[machine].process;
        self.readies.push((machine, process, ready));
        self.tell_access(machine);
    }

    fn kill(&mut self, machine: usize) {
        self.machines[machine].core = None;
        self.machines[machine].process += 1;
        self.machines[machine].mailbox.clear();
        self.actors.killed(machine);
        let wait = Duration::from_millis(self.rng.random_range(100..5_000));
        self.after(wait, What::Restart { machine });
    }

    /// The store tells a machine how it is; a new connection may have seen another history.
    fn tell_access(&mut self, machine: usize) {
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

    fn arrive(&mut self, machine: usize, process: u64, input: Input) {
        self.order += 1;
        let order = self.order;
        let to = &mut self.machines[machine];
        if to.process != process {
            return;
        }
        to.mailbox.insert((class(&input), order), input);
        let at = to.paused_until.max(self.at);
        self.wake_at(machine, at);
    }

    fn wake_at(&mut self, machine: usize, at: Duration) {
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

    // -- effects

    fn start_effect(&mut self, machine: usize, process: u64, effect: Effect) {
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

    fn append(&mut self, machine: usize, process: u64, session: u64, batch: Vec<Append>) {
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

    fn effect_ends(&mut self, machine: usize, process: u64, effect: Effect) {
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
    fn erase(&mut self, machine: usize, process: u64, epoch: Epoch, page: Page) {
        let wanted = |entry: &Arc<Entry>| match &entry.event {
            Event::MessageErased(e) if entry.header.seq > page.after && entry.header.seq <= page.upto => {
                e.positions.clone()
            }
            _ => vec![],
        };
        let positions: Vec<Seq> = self.store.entries.iter().flat_map(wanted).collect();
        let done = epoch == self.store.epoch && self.store.erase(&positions).is_ok();
        if self.plan.failovers && self.is_busy() && !positions.is_empty() && self.rng.random_bool(0.2) {
            self.fail_over();
        }
        let wait = Duration::from_millis(self.rng.random_range(1..2_000));
        self.after(wait, What::Erased { machine, process, page, done });
    }

    fn erased(&mut self, machine: usize, process: u64, page: Page, done: bool) {
        let now = now(self.base, self.at, 0).at;
        let to = &mut self.machines[machine];
        if to.process == process {
            to.erasing = false;
            to.view.erasing.agenda(|agenda| match done {
                true => agenda.ended(&page, page.upto),
                false => agenda.failed(&page, now),
            });
        }
    }

    // -- faults

    fn fault(&mut self) {
        let machine = self.rng.random_range(0..self.machines.len());
        let running = self.machines[machine].core.is_some();
        match self.rng.random_range(0..7) {
            0 if self.plan.pauses => {
                let pause = LEASE.mul_f64(self.rng.random_range(0.2..4.0));
                // A machine that sleeps takes its bots along; of several, one sleeps.
                self.machines[machine].paused_until = self.at + pause;
            }
            // The one that gives back what a failover lost must live meanwhile.
            1 if self.plan.kills && running && self.checks.failed_over_at + 30_000 < self.true_ms() + 1 => {
                self.kill(machine)
            }
            2 if self.plan.outages && self.store.up => {
                self.store.up = false;
                (0..self.machines.len()).for_each(|machine| self.tell_access(machine));
                let wait = Duration::from_millis(self.rng.random_range(100..25_000));
                self.after(wait, What::StoreBack);
            }
            3 if self.plan.failovers && self.store.up => self.fail_over(),
            4 if self.plan.steps => {
                // What drifts is followed; only a step of more than a minute must not be.
                let size = self.rng.random_range(120_000..4_000_000);
                let step = if self.rng.random_bool(0.5) { size } else { -size };
                self.store.clock_ms += step;
                if !self.is_shared() {
                    self.machines[0].wall_ms += step;
                }
            }
            5 if self.plan.full && !self.store.full => {
                self.store.full = true;
                let wait = Duration::from_millis(self.rng.random_range(100..4_000));
                self.after(wait, What::Space);
            }
            _ => {}
        }
    }

    /// Another master takes over without the end of the log. One machine that has seen everything must live: what nobody
    /// has, nobody can give back.
    fn fail_over(&mut self) {
        let saw_all = |machine: &Machine| {
            machine.core.is_some()
                && machine.seen_epoch == self.store.epoch
                && machine.known.position == self.store.tail()
        };
        let repairing = self.machines.iter().any(|machine| !machine.lost.is_empty());
        if repairing || !self.machines.iter().any(saw_all) || self.checks.failed_over_at + 60_000 > self.true_ms() {
            return;
        }
        self.checks.failed_over_at = self.true_ms();
        let lose = self.rng.random_range(0..=self.store.entries.len().min(12));
        let keep = self.store.entries.len() - lose;
        let bodies = std::mem::take(&mut self.bodies);
        self.store.fail_over(keep, if self.rng.random_bool(0.5) { &bodies } else { &[] });
        self.checks.failed_over(&self.store);
        (0..self.machines.len()).for_each(|machine| self.tell_access(machine));
    }

    fn store_is_back(&mut self) {
        self.store.up = true;
        (0..self.machines.len()).for_each(|machine| self.tell_access(machine));
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
