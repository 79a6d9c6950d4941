//! A simulated machine: a core, what it published, its disk, its clock, its mailbox; and its bots.
//!
//! The mailbox is taken in the order of the real driver: an append that has ended, words, other ends, requests, what other
//! nodes did, time last.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use antiphon_schemas::{Entry, MessageId, Seq};
use tokio::sync::oneshot;

use super::super::{
    Error,
    core::{Core, IndexProgress, Input, Now, Pending, Setup},
    view::View,
};
use crate::{
    decide::{Fact, Policy, Prefetched, post::Post},
    outbox::{Counts, Parked, Settled},
    projection::{Limits, Projections, SnapshotData},
};
use antiphon_schemas::Epoch;

pub(super) const LIMITS: Limits = Limits { recent_messages: 20, rooms: 4 };

/// The disk's outbox: it outlives the process.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pending: Mutex<BTreeMap<u64, Parked>>,
    next: AtomicU64,
    pub(super) refused: Mutex<Vec<MessageId>>,
}

impl Disk {
    pub(super) fn park(&self, posts: Vec<Post>, at_ms: u64) -> Vec<Parked> {
        posts
            .into_iter()
            .map(|post| {
                if let Some(parked) = self.get(&post.id) {
                    return parked;
                }
                let parked = Parked { post, at_ms };
                self.pending.lock().unwrap().insert(self.next.fetch_add(1, Ordering::Relaxed), parked.clone());
                parked
            })
            .collect()
    }

    pub(super) fn settle(&self, ends: Vec<(MessageId, Settled)>) {
        for (id, how) in ends {
            self.pending.lock().unwrap().retain(|_, parked| parked.post.id != id);
            if let Settled::Refused(_) = how {
                self.refused.lock().unwrap().push(id);
            }
        }
    }
}

impl Pending for Disk {
    fn counts(&self) -> Counts {
        let pending = self.pending.lock().unwrap().len();
        Counts { pending, refused: self.refused.lock().unwrap().len(), bytes: 0, oldest_at_ms: None }
    }

    fn get(&self, id: &MessageId) -> Option<Parked> {
        self.pending.lock().unwrap().values().find(|parked| parked.post.id == *id).cloned()
    }

    fn first(&self, n: usize) -> Vec<Parked> {
        self.pending.lock().unwrap().values().take(n).cloned().collect()
    }
}

/// An index that is always a little behind.
#[derive(Debug, Default)]
pub(super) struct Indexed(pub(super) AtomicU64);

impl IndexProgress for Indexed {
    fn applied(&self) -> Seq {
        Seq(self.0.load(Ordering::Relaxed))
    }

    fn failed(&self) -> Option<String> {
        None
    }
}

/// What waits for a core: by class, then by order of arrival.
pub(super) type Mailbox = BTreeMap<(u8, u64), Input>;

/// Where the driver would take an input.
pub(super) fn class(input: &Input) -> u8 {
    match input {
        Input::Appended(_) => 0,
        Input::Say { .. } => 1,
        Input::Read(_)
        | Input::LookedUp(_)
        | Input::Parked(_)
        | Input::Settled(_)
        | Input::Resynced(_)
        | Input::Rebuilt(_) => 2,
        Input::Requests(_) => 3,
        Input::Access { .. } => 4,
        Input::Heard(_) => 5,
        Input::Grown | Input::Indexed => 6,
        Input::Time => 7,
    }
}

/// See the module header.
pub(super) struct Machine {
    pub(super) name: Arc<str>,
    /// The process: what arrives for an earlier one is lost.
    pub(super) process: u64,
    /// The connection to the store: what was sent over an earlier one never happens.
    pub(super) session: u64,
    pub(super) core: Option<Core>,
    pub(super) view: Arc<View>,
    pub(super) disk: Arc<Disk>,
    pub(super) index: Arc<Indexed>,
    /// The wall clock minus the true time, in ms.
    pub(super) wall_ms: i64,
    pub(super) mailbox: Mailbox,
    pub(super) paused_until: Duration,
    pub(super) wakes_at: Option<Duration>,
    pub(super) grown_sent: bool,
    /// Every entry that was ever applied here, in this epoch: never forgets, so that anything can be looked up.
    pub(super) known: Projections,
    pub(super) seen: Vec<Arc<Entry>>,
    pub(super) seen_epoch: Epoch,
    /// What the store has lost of it.
    pub(super) lost: Vec<Arc<Entry>>,
    /// A page that is being erased.
    pub(super) erasing: bool,
    /// Up to where it called texts erased when that was last looked at.
    pub(super) certified: Seq,
}

impl Machine {
    pub(super) fn new(name: &str, wall_ms: i64) -> Machine {
        Machine {
            name: name.into(),
            process: 0,
            session: 0,
            core: None,
            view: Arc::new(View::new(LIMITS, 0)),
            disk: Arc::default(),
            index: Arc::default(),
            wall_ms,
            mailbox: Mailbox::new(),
            paused_until: Duration::ZERO,
            wakes_at: None,
            grown_sent: false,
            known: fresh(),
            seen: Vec::new(),
            seen_epoch: Epoch(0),
            lost: Vec::new(),
            erasing: false,
            certified: Seq::ZERO,
        }
    }

    /// Starts a process on what the disk has.
    pub(super) fn start(&mut self, shared: bool, policy: &Arc<Policy>, seed: [u8; 32], now: Now) -> Ready {
        let (ready, is_ready) = oneshot::channel();
        self.process += 1;
        self.session += 1;
        self.view = Arc::new(View::new(LIMITS, now.wall_ms));
        self.index = Arc::default();
        self.mailbox.clear();
        (self.wakes_at, self.grown_sent, self.erasing) = (None, false, false);
        (self.known, self.seen, self.lost) = (fresh(), Vec::new(), Vec::new());
        (self.seen_epoch, self.certified) = (Epoch(0), Seq::ZERO);
        let outbox = shared.then(|| self.disk.clone() as Arc<dyn Pending>);
        let (view, policy, name) = (self.view.clone(), policy.clone(), self.name.clone());
        self.core = Some(Core::new(Setup { view, policy, name, shared, outbox, seed, ready }, now));
        is_ready
    }

    /// What is known of these messages as of what is applied here.
    pub(super) fn facts(&self, ids: &[MessageId]) -> Result<Prefetched, Error> {
        if ids.is_empty() {
            return Ok(Prefetched::none());
        }
        let known = &self.known.newest;
        let fact = |id: &MessageId| {
            let (record, posted) = (known.record(id, None)?, known.posted(id)?.clone());
            Some((*id, Fact { record, posted }))
        };
        Ok(Prefetched { as_of: self.known.position, known: ids.iter().filter_map(fact).collect() })
    }

    /// Follows what the core has applied.
    pub(super) fn follow(&mut self, entries: &[Arc<Entry>]) {
        for entry in entries {
            if entry.header.seq == self.known.position.next() {
                self.known.apply(entry);
                self.seen.push(entry.clone());
            }
        }
    }
}

pub(super) type Ready = oneshot::Receiver<Result<(), Error>>;

pub(super) fn fresh() -> Projections {
    Projections::resume(Epoch(0), LIMITS, SnapshotData::default())
}

/// A moment as the core sees it.
pub(super) fn now(base: Instant, at: Duration, wall_ms: i64) -> Now {
    let true_ms = at.as_millis() as u64;
    Now { at: base + at, wall_ms: (super::store::BEGIN_MS + true_ms).saturating_add_signed(wall_ms) }
}
