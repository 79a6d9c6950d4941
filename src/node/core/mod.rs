//! The core of a node: a state machine that owns the node's state and does no I/O.
//!
//! ```text
//!            ┌ core.on(now, input) ──────────────────────────────────────────┐
//!  inputs ──▶│ take the input ▶ settle what follows ▶ decide what waits      │──▶ effects ──▶ driver (or simulation)
//!            │                    └▶ apply ▶ state and feeds (view)          │
//!            └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! Promises:
//! - no clock, no randomness of its own, no await: time and the seed are arguments, so whole nodes run in a simulation;
//! - at most one append is in progress, and nothing is decided against a state that lacks entries known to be in the log;
//! - a request is answered after its entries are durable *and* applied;
//! - live words are processed at once, whatever else is in progress;
//! - a pause of this process ends no claim: leases are postponed by it.
//!
//! Not here: a runtime, log, disk (`driver`; of tokio only channels are used here), what may happen (`decide`).
//! Start with [`Core::on`] (`turn`), then `sequencer` (deciding), `verdicts` (the log's results), `apply` (new entries); `speech`
//! (live words), `timing` (deadlines), `own_work` (outbox, lost tail), `access` and `rebuild` (the log opens and closes). Parts with
//! a state of their own: `claims`, `deadlines`, `drain`, `lane_sync`, `live`, `log_clock`, `positions`, `store`,
//! `tail_repair`.

mod access;
mod apply;
mod claimers;
mod claims;
mod deadlines;
mod drain;
mod io;
mod lane_sync;
mod lanes;
mod live;
mod log_clock;
mod own_work;
mod positions;
mod rebuild;
mod sequencer;
mod speech;
mod store;
mod tail_repair;
#[cfg(test)]
mod tests;
mod timing;
mod turn;
mod verdicts;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use antiphon_schemas::{Entry, Epoch, MessageId, Seq, event::LogRepaired};
use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::oneshot;

pub(super) use self::{
    claimers::{ClaimReply, Claimer},
    drain::Pending,
    io::{Answer, Answered, Command, Effect, IndexProgress, Input, Now, Rebuilt, Request, To},
    log_clock::SKEW_MAX,
};
use self::{
    claims::Claims,
    deadlines::{Deadlines, Due},
    drain::Drain,
    io::{Answers, Item},
    lane_sync::LaneSync,
    live::Live,
    log_clock::LogClock,
    positions::QueuePositions,
    store::Store,
    tail_repair::TailRepair,
};
use super::{Error, view::View};
use crate::{decide::Policy, index::QUEUE_ENTRIES_MAX};

/// How often the core looks at the time while leases run: a longer gap between two turns was a pause of this process.
const PULSE_MAX: Duration = Duration::from_secs(1);
const PULSE_MIN: Duration = Duration::from_millis(20);

/// What a core is made of.
pub(super) struct Setup {
    pub(super) view: Arc<View>,
    pub(super) policy: Arc<Policy>,
    /// The node's name.
    pub(super) name: Arc<str>,
    /// Other nodes may use the same log.
    pub(super) shared: bool,
    pub(super) outbox: Option<Arc<dyn Pending>>,
    /// Of random numbers, salts among them: from the system, or a simulation's own.
    pub(super) seed: [u8; 32],
    /// Hears once the state is built for the first time, or why it cannot be.
    pub(super) ready: oneshot::Sender<Result<(), Error>>,
}

/// See the module header.
pub(super) struct Core {
    view: Arc<View>,
    policy: Arc<Policy>,
    name: Arc<str>,
    shared: bool,
    rng: StdRng,
    ready: Option<oneshot::Sender<Result<(), Error>>>,
    /// The time of this turn, and that of the last one.
    now: Now,
    turned_at: Option<Instant>,
    effects: Vec<Effect>,
    /// Something has changed that a command may wait for.
    unsettled: bool,
    /// Commands that wait to be decided.
    inbox: VecDeque<Item>,
    appending: Option<Appending>,
    reading: Option<ReadGoal>,
    looking_up: Option<(Epoch, LookUp)>,
    /// Entries that wait for one before them.
    entries: BTreeMap<Seq, Arc<Entry>>,
    /// Answers that wait until their entries are applied.
    unanswered: Vec<Unanswered>,
    stopping: Vec<oneshot::Sender<()>>,
    stopped: bool,
    index: Option<Arc<dyn IndexProgress>>,
    clock: LogClock,
    /// How far the stamps of askings were behind the log clock, where a step of the log's clock has made them wrong.
    behind: HashMap<MessageId, i64>,
    store: Store,
    claims: Claims,
    deadlines: Deadlines,
    drain: Drain,
    tail_repair: Option<TailRepair>,
    /// The report of a repair that the log could not take, and when it is tried again.
    unnoted: Option<(Instant, LogRepaired)>,
    lanes: LaneSync,
    live: Live,
    positions: QueuePositions,
}

/// An append under way, of an epoch.
struct Appending {
    epoch: Epoch,
    items: Vec<Item>,
}

/// What the log is being read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadGoal {
    /// All that came while the log was closed.
    CatchUp,
    /// What another node appended.
    Follow,
    /// At least up to here.
    Reach(Seq),
}

/// What is read of messages before the node's own commands are decided.
enum LookUp {
    Drain(Vec<crate::decide::post::Post>),
    TailRepair(Vec<(i64, Command)>),
}

/// An answer that waits for its entries to be applied.
struct Unanswered {
    until: Seq,
    epoch: Epoch,
    item: Item,
    own: Vec<Arc<Entry>>,
}

impl Core {
    /// A core that knows nothing yet: it waits for the log's access.
    pub(super) fn new(setup: Setup, now: Now) -> Core {
        let Setup { view, policy, name, shared, outbox, seed, ready } = setup;
        Core {
            view,
            policy,
            name,
            shared,
            rng: StdRng::from_seed(seed),
            ready: Some(ready),
            now,
            turned_at: None,
            effects: Vec::new(),
            unsettled: false,
            inbox: VecDeque::new(),
            appending: None,
            reading: None,
            looking_up: None,
            entries: BTreeMap::new(),
            unanswered: Vec::new(),
            stopping: Vec::new(),
            stopped: false,
            index: None,
            clock: LogClock::default(),
            behind: HashMap::new(),
            store: Store::new(),
            claims: Claims::default(),
            deadlines: Deadlines::default(),
            drain: Drain::new(outbox),
            tail_repair: None,
            unnoted: None,
            lanes: LaneSync::default(),
            live: Live::new(shared),
            positions: QueuePositions::default(),
        }
    }

    /// Whether more requests can be taken: those that wait here are bounded.
    pub(super) fn takes_requests(&self) -> bool {
        self.inbox.len() < super::REQUESTS_MAX
    }

    /// The position after which the log is to be followed, while nothing else is read or appended.
    pub(super) fn follows(&self) -> Option<Seq> {
        let idle = self.appending.is_none() && self.reading.is_none() && !self.lanes.is_running();
        (idle && self.store.is_open() && self.stopping.is_empty()).then(|| self.view.position())
    }

    /// How far the index must come before anything more is handed to it; `None` if it keeps up.
    pub(super) fn waits_for_index(&self) -> Option<Seq> {
        let index = self.index.as_ref()?;
        let reach = Seq(self.view.position().0.saturating_sub(QUEUE_ENTRIES_MAX as u64));
        (index.applied() < reach && index.failed().is_none()).then_some(reach)
    }

    /// When [`Input::Time`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let open = self.store.is_open();
        let pulse = self.deadlines.has_leases().then(|| self.now.at + self.pulse());
        [
            self.deadlines.next().filter(|_| open),
            pulse.filter(|_| open),
            self.lanes.due().filter(|_| open),
            self.drain.due().filter(|_| open),
            self.unnoted.as_ref().map(|(at, _)| *at).filter(|_| open),
            self.store.due(),
            self.live.due(self.now.at),
            self.positions.due(self.now.at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn pulse(&self) -> Duration {
        Duration::from_millis(self.policy.lease_ms / 8).clamp(PULSE_MIN, PULSE_MAX)
    }
}
