//! The workers: what each holds, from the log, plus this node's recent sightings, which are not persisted.
//!
//! Promises: a request counts as waiting for exactly as long as its caller waits; [`WORKERS_MAX`] are remembered, and one
//! that holds nothing, waits for nothing and was not heard of for [`FORGOTTEN_MS`] is not.
//! Not here: who gets what (`claimers`), leases (`core`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use antiphon_schemas::{
    BotName, Epoch, MessageId, time,
    wire::monitor::{Hold, Worker, WorkerKind, Workers},
};

use super::{Error, Inner, Node, Stage, State, Surroundings, Writing};
use crate::projection::{
    queue::{self, Claim, Open},
    view,
};

/// How many are remembered: more than a monitor can show. Beyond that, a new one replaces one that has gone.
const WORKERS_MAX: usize = 1_024;
/// A worker that has been silent for this long and holds nothing is considered gone.
const FORGOTTEN_MS: u64 = 10 * 60_000;

/// The workers that were heard of.
#[derive(Debug, Default)]
pub(super) struct Roster {
    // A std mutex: held for short work in memory, never across an await.
    seen: Mutex<HashMap<Arc<str>, Seen>>,
}

#[derive(Debug, Clone)]
struct Seen {
    kind: WorkerKind,
    bots: Arc<[BotName]>,
    /// As it said itself.
    models: Arc<[String]>,
    waiting: u64,
    last_ms: u64,
}

impl Seen {
    fn gone(&self, now_ms: u64) -> bool {
        self.waiting == 0 && now_ms.saturating_sub(self.last_ms) >= FORGOTTEN_MS
    }
}

impl Roster {
    /// A sign of life from the holder of a claim, which may have been made on another node.
    pub(super) fn heard(&self, claim: &Claim, bot: &BotName, now_ms: u64) {
        let worker = &claim.worker;
        if let Some(seen) = self.seen().get_mut(worker) {
            seen.last_ms = seen.last_ms.max(now_ms);
            return;
        }
        let (kind, bots) = (kind(claim), [bot.clone()].into());
        self.remember(worker, Seen { kind, bots, models: [].into(), waiting: 0, last_ms: now_ms }, now_ms);
    }

    fn waits(&self, worker: &Arc<str>, wish: Seen) {
        let now_ms = wish.last_ms;
        if let Some(seen) = self.seen().get_mut(worker) {
            *seen = Seen { waiting: seen.waiting + 1, ..wish };
            return;
        }
        self.remember(worker, Seen { waiting: 1, ..wish }, now_ms);
    }

    fn waits_no_longer(&self, worker: &Arc<str>, now_ms: u64) {
        if let Some(seen) = self.seen().get_mut(worker) {
            seen.waiting = seen.waiting.saturating_sub(1);
            seen.last_ms = seen.last_ms.max(now_ms);
        }
    }

    fn remember(&self, worker: &Arc<str>, new: Seen, now_ms: u64) {
        let mut seen = self.seen();
        if seen.len() >= WORKERS_MAX {
            seen.retain(|_, seen| !seen.gone(now_ms));
        }
        if seen.len() >= WORKERS_MAX {
            let idle = seen.iter().filter(|(_, seen)| seen.waiting == 0);
            let Some(oldest) = idle.min_by_key(|(_, seen)| seen.last_ms).map(|(name, _)| name.clone()) else { return };
            seen.remove(&oldest);
        }
        seen.insert(worker.clone(), new);
    }

    /// Those that are not gone.
    fn here(&self, now_ms: u64) -> BTreeMap<Arc<str>, Seen> {
        let mut seen = self.seen();
        seen.retain(|_, seen| !seen.gone(now_ms));
        seen.iter().map(|(name, seen)| (name.clone(), seen.clone())).collect()
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Arc<str>, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wish that waits, for as long as this lives.
pub(super) struct Waits {
    inner: Arc<Inner>,
    worker: Arc<str>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.inner.view.roster.waits_no_longer(&self.worker, self.inner.clock.now_ms());
        self.inner.view.monitor.stir();
    }
}

/// What is live of a reply that is being written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Live {
    pub(super) stage: Option<Stage>,
    pub(super) deltas: u32,
    pub(super) first_ms: Option<u64>,
}

impl Live {
    pub(super) fn of(writing: &Writing) -> Live {
        Live { stage: writing.stage.clone(), deltas: writing.next_index, first_ms: writing.first_ms }
    }
}

/// A live claim, and what is known of it.
pub(super) struct Held {
    message_id: MessageId,
    open: Open,
    live: Live,
}

/// Every live claim.
pub(super) fn held(state: &State) -> Vec<Held> {
    let queue = &state.projections.queue;
    let held = state.writing.iter().filter_map(|(message_id, writing)| {
        let open = queue.get(message_id)?.clone();
        Some(Held { message_id: *message_id, open, live: Live::of(writing) })
    });
    held.collect()
}

fn kind(claim: &Claim) -> WorkerKind {
    if claim.incarnation.is_some() { WorkerKind::InProcess } else { WorkerKind::Remote }
}

impl Node {
    /// A worker's wish waits from here on. `models`: as it says; `None` for one in this process.
    pub(super) fn waits(
        &self,
        worker: &Arc<str>,
        kind: WorkerKind,
        bots: &Arc<[BotName]>,
        models: Option<Arc<[String]>>,
    ) -> Waits {
        let (bots, models) = (bots.clone(), models.unwrap_or_default());
        let last_ms = self.clock().now_ms();
        self.inner.view.roster.waits(worker, Seen { kind, bots, models, waiting: 0, last_ms });
        self.inner.view.monitor.stir();
        Waits { inner: self.inner.clone(), worker: worker.clone() }
    }

    /// Everybody who answers, as far as this node knows.
    ///
    /// # Errors
    /// [`Error::Log`] while the log has never been reached.
    pub fn workers(&self, surroundings: &dyn Surroundings) -> Result<Workers, Error> {
        let (held, position) = {
            let state = self.state();
            state.check_built()?;
            (held(&state), view::position(state.epoch, state.projections.position))
        };
        Ok(Workers { workers: self.listed(held, position.0.epoch, surroundings), position })
    }

    /// Those that were heard of and those that hold something, by name.
    pub(super) fn listed(&self, mut held: Vec<Held>, epoch: Epoch, surroundings: &dyn Surroundings) -> Vec<Worker> {
        let mut workers: BTreeMap<Arc<str>, Worker> = BTreeMap::new();
        for (name, seen) in self.inner.view.roster.here(self.clock().now_ms()) {
            let mut models = seen.models.to_vec();
            if seen.kind == WorkerKind::InProcess {
                models.extend(seen.bots.iter().filter_map(|bot| surroundings.model(bot)));
            }
            let worker = Worker {
                worker: name.clone(),
                kind: seen.kind,
                bots: seen.bots.to_vec(),
                models,
                waiting: seen.waiting,
                holds: Vec::new(),
                last_seen_at: Some(time::rfc3339(seen.last_ms)),
            };
            workers.insert(name, worker);
        }
        let fence = |open: &Open| match &open.state {
            queue::State::Claimed(claim) => Some(claim.fence),
            _ => None,
        };
        held.sort_by_key(|held| fence(&held.open));
        for Held { message_id, open, live } in held {
            let queue::State::Claimed(claim) = &open.state else { continue };
            let kind = kind(claim);
            let worker = workers.entry(claim.worker.clone()).or_insert_with(|| Worker {
                worker: claim.worker.clone(),
                kind,
                bots: Vec::new(),
                models: Vec::new(),
                waiting: 0,
                holds: Vec::new(),
                last_seen_at: None,
            });
            worker.kind = kind;
            worker.bots.push(open.ask.bot.clone());
            let stage = live.stage.as_ref();
            worker.holds.push(Hold {
                message_id,
                room: open.room.clone(),
                bot: open.ask.bot.clone(),
                fence: view::position(epoch, claim.fence),
                attempt: claim.attempt,
                claimed_at: time::rfc3339(claim.at_ms),
                stage: stage.map(|stage| stage.name.clone()),
                progress: stage.and_then(|stage| stage.progress),
                deltas: live.deltas,
            });
        }
        let mut workers: Vec<_> = workers.into_values().collect();
        for worker in &mut workers {
            worker.bots.sort();
            worker.bots.dedup();
        }
        workers
    }
}
