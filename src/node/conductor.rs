//! The conductor: the task that owns a node's state.
//!
//! One turn: take what was asked → decide it against the state → one append → apply, publish, answer. Live words and
//! heartbeats are handled at once, also while an append is under way. Beside the append one write to the outbox may be
//! under way; they never hold the same command.
//!
//! Two commands that touch the same message never share an append: the second waits for the next turn and is decided
//! against what the first one did.
//!
//! Not here: deciding a batch (`batch`), what is new (`apply`), the store's comings and goings (`away`), words (`live`).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, PoisonError, RwLockReadGuard},
    time::Duration,
};

use antiphon_schemas::{MessageId, RequestId, Seq, event::release};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

use super::{
    Answer, Command, Error, Inner, Request, State,
    claimers::{Claimer, Claimers, Told},
    live::Live,
    parking::{Draining, Parking},
    places::Places,
    repair::Repair,
    timer::Timers,
};
use crate::{
    decide::{
        Facts,
        work::{self, End, Held},
    },
    fanout::frame,
    index::Indexer,
    log::{self, Access, Log, Pending, Verdict},
    outbox::Outbox,
    projection::queue,
};

/// Far enough to mean "no deadline", near enough for the timer wheel.
pub(super) const FAR: Duration = Duration::from_secs(24 * 3600);

/// A command on its way, with whoever waits for it.
pub(super) struct Item {
    pub(super) command: Command,
    pub(super) facts: Facts,
    pub(super) request: RequestId,
    pub(super) tries: u32,
    pub(super) answer: To,
}

/// Who is told what became of a command.
pub(super) enum To {
    Caller(oneshot::Sender<Result<Answer, Error>>),
    Claimer(Claimer),
    /// The outbox, about this post.
    Outbox(MessageId),
    /// The repair of a lost tail, about what has this place in it.
    Repair(i64),
    Nobody,
}

pub(super) struct Conductor {
    pub(super) inner: Arc<Inner>,
    requests: mpsc::Receiver<Request>,
    /// None until the state is built.
    pub(super) indexer: Option<Indexer>,
    pub(super) waiting: VecDeque<Item>,
    pub(super) claimers: Claimers,
    /// The claims given out here, by fence.
    pub(super) claims: HashMap<Seq, CancellationToken>,
    pub(super) timers: Timers,
    pub(super) access: watch::Receiver<Access>,
    /// The log takes appends, as far as is known here.
    pub(super) open: bool,
    /// When to look at the access again although nobody told of a change.
    pub(super) look_again: Option<Instant>,
    /// The lanes may not be as the queue says.
    pub(super) mend_due: bool,
    /// They were compared in vain: not again before then.
    pub(super) mend_at: Option<Instant>,
    /// Posts are being written to the outbox.
    pub(super) is_parking: bool,
    /// Claims whose append may have happened: found by their request once the log is read again.
    pub(super) doubtful: HashMap<RequestId, Item>,
    pub(super) outbox: Option<Outbox>,
    pub(super) draining: Option<Draining>,
    pub(super) repair: Option<Repair>,
    pub(super) live: Live,
    pub(super) places: Places,
}

impl Conductor {
    pub(super) fn new(inner: Arc<Inner>, requests: mpsc::Receiver<Request>, outbox: Option<Outbox>) -> Conductor {
        Conductor {
            access: access(&*inner.log),
            live: Live::new(inner.log.shared().is_some()),
            places: Places::default(),
            inner,
            requests,
            indexer: None,
            waiting: VecDeque::new(),
            claimers: Claimers::default(),
            claims: HashMap::new(),
            timers: Timers::default(),
            open: false,
            look_again: None,
            mend_due: false,
            mend_at: None,
            is_parking: false,
            doubtful: HashMap::new(),
            outbox,
            draining: None,
            repair: None,
        }
    }

    /// Runs until somebody asks it to stop. Tells `built` once the state is built for the first time, or why it cannot.
    pub(super) async fn run(mut self, built: oneshot::Sender<Result<(), Error>>) {
        let log = self.inner.log.clone();
        let mut built = Some(built);
        let mut appending: Option<(Vec<Item>, Pending<'_, Vec<Verdict>>)> = None;
        let mut parking: Option<Parking> = None;
        let mut stopping: Vec<oneshot::Sender<()>> = Vec::new();
        let (mut access_ended, mut log_ended, mut look) = (false, false, true);
        loop {
            // What was decided against one history is not appended to another.
            look |= !access_ended && self.access.has_changed().unwrap_or(false);
            if look && appending.is_none() {
                look = false;
                self.look_again = None;
                let looked = self.look().await;
                let is_built = self.read().built;
                if let Some(built) = built.take_if(|_| is_built || looked.is_err()) {
                    let failed = looked.is_err();
                    let _ = built.send(looked);
                    if failed {
                        break;
                    }
                }
            }
            if parking.is_none() {
                parking = self.begin_settling();
            }
            if appending.is_none() && self.open {
                self.mend_if_due().await;
                self.bring_own().await;
            }
            let (items, batch, to_park) = self.decide(appending.is_none(), parking.is_none());
            if !items.is_empty() {
                appending = Some((items, log.append(batch)));
            }
            if parking.is_none() {
                parking = self.begin_parking(to_park);
            }
            if appending.is_none() && parking.is_none() && !stopping.is_empty() {
                break;
            }
            let position = *self.inner.applied.borrow();
            let idle = appending.is_none() && stopping.is_empty();
            let own = self.own_due().filter(|_| self.open && appending.is_none() && parking.is_none());
            let mend = self.mend_at.filter(|_| self.open && self.mend_due && appending.is_none());
            let due = [self.timers.next().filter(|_| self.open), own, mend].into_iter().flatten().min();
            let next = due.unwrap_or_else(|| Instant::now() + FAR);
            let again = self.look_again.unwrap_or_else(|| Instant::now() + FAR);
            let places_due = self.places.due().unwrap_or_else(|| Instant::now() + FAR);
            let live_due = self.live.due().unwrap_or_else(|| Instant::now() + FAR);
            tokio::select! {
                verdicts = async { appending.as_mut().expect("guarded").1.as_mut().await }, if appending.is_some() => {
                    let items = appending.take().expect("guarded").0;
                    self.finish(items, verdicts).await;
                }
                parked = async { parking.as_mut().expect("guarded").done.as_mut().await }, if parking.is_some() => {
                    let items = parking.take().expect("guarded").items;
                    self.parked(items, parked);
                }
                request = self.requests.recv(), if self.waiting.len() < super::REQUESTS_MAX => {
                    let Some(request) = request else { break };
                    self.take(request, &mut stopping).await;
                    while self.waiting.len() < super::REQUESTS_MAX
                        && let Ok(request) = self.requests.try_recv()
                    {
                        self.take(request, &mut stopping).await;
                    }
                }
                () = sleep_until(next) => if self.open {
                    self.fire();
                },
                changed = self.access.changed(), if appending.is_none() && !access_ended => {
                    access_ended = changed.is_err();
                    look = !access_ended;
                }
                () = sleep_until(again) => look = true,
                moved = log.beyond(position), if idle && self.open && !log_ended => {
                    // Entries that another node appended. On a log of one node there are none.
                    match moved {
                        Ok(()) => drop(self.apply(BTreeMap::new()).await),
                        Err(_) => log_ended = true,
                    }
                }
                words = heard(&*log) => if let Ok(words) = words {
                    self.heard(&words);
                },
                () = sleep_until(live_due) => self.speak(),
                () = sleep_until(places_due) => self.tell_places(),
            }
        }
        self.stop().await;
        for done in stopping {
            let _ = done.send(());
        }
    }

    pub(super) fn wish(&mut self, command: Command) {
        self.put(command, Facts::none(), To::Nobody);
    }

    pub(super) fn put(&mut self, command: Command, facts: Facts, answer: To) {
        let request = RequestId(Uuid::new_v4());
        self.waiting.push_back(Item { command, facts, request, tries: 0, answer });
    }

    async fn take(&mut self, request: Request, stopping: &mut Vec<oneshot::Sender<()>>) {
        match request {
            Request::Stop { done } => stopping.push(done),
            Request::Probe => self.inner.canary.push([frame::live("canary", &())]).wake(),
            Request::BeginAnew { answer } => {
                let begun = match self.inner.log.shared() {
                    Some(shared) => shared.begin_anew().await,
                    None => Err(log::Error::Invalid("the log is not empty".into())),
                };
                let _ = answer.send(begun.map_err(Error::Log));
            }
            Request::Word { held, word, answer } => drop(answer.send(self.word(held, word))),
            Request::Command { answer, .. } if !stopping.is_empty() => drop(answer.send(Err(Error::Stopping))),
            Request::Claim { .. } if !stopping.is_empty() => {}
            Request::Command { epoch, answer, .. } if epoch != self.read().epoch => {
                // Its facts are those of another history.
                let _ = answer.send(Ok(Answer::Stale));
            }
            Request::Command { command, facts, answer, .. } => self.put(command, facts, To::Caller(answer)),
            Request::Claim { wish, claimer } => self.grant_again(wish, claimer),
            Request::Withdraw { ticket } => {
                if let Some((_, claimer)) = self.claimers.take(ticket) {
                    let _gone = claimer.tell(Ok(Told::Nothing));
                }
            }
        }
    }

    /// Turns deadlines that have passed into commands.
    fn fire(&mut self) {
        let now = Instant::now();
        while let Some(id) = self.timers.take_due(now) {
            let claim = self.read().projections.queue.claim(&id).map(|claim| claim.fence);
            match claim {
                Some(fence) => {
                    warn!(message = %id, fence = fence.0, "no heartbeat within the lease: the claim is over");
                    let held = Held { message_id: id, fence };
                    self.wish(Command::End(held, End::Released(release::LEASE_OVER)));
                }
                None => self.wish(Command::Due(id)),
            }
        }
    }

    /// Sets the deadline of a message by the state that it is in now.
    pub(super) fn arm(&mut self, id: MessageId) {
        let inner = self.inner.clone();
        let state = read(&inner);
        let open = state.projections.queue.get(&id);
        let at = open.and_then(|open| match &open.state {
            queue::State::Claimed(claim) => Some(Instant::now() + Duration::from_millis(claim.lease_ms)),
            _ => {
                let due_at_ms = work::due_at_ms(&inner.policy, open)?;
                let wait = due_at_ms.saturating_sub(inner.clock.now_ms());
                Some(Instant::now() + Duration::from_millis(wait).min(FAR))
            }
        });
        self.timers.set(id, at);
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        read(&self.inner)
    }

    async fn stop(mut self) {
        self.requests.close();
        self.inner.feeds.close();
        self.inner.workers.close();
        self.inner.monitor.close();
        if let Err(failure) = self.inner.log.close().await {
            error!(error = %failure, "the log did not close cleanly");
        }
        if let Some(outbox) = self.outbox.take()
            && let Err(failure) = outbox.close().await
        {
            error!(error = %failure, "the outbox did not close cleanly");
        }
        self.close_index().await;
    }

    /// Ends the indexer, so that the index can be opened again.
    pub(super) async fn close_index(&mut self) {
        let Some(indexer) = self.indexer.take() else { return };
        if tokio::task::spawn_blocking(move || indexer.close()).await.is_err() {
            error!("the index did not close cleanly; the next start brings it up to date");
        }
    }
}

pub(super) fn read(inner: &Inner) -> RwLockReadGuard<'_, State> {
    inner.state.read().unwrap_or_else(PoisonError::into_inner)
}

/// Follows whether the log can be used; a log of this process always can.
fn access(log: &dyn Log) -> watch::Receiver<Access> {
    match log.shared() {
        Some(shared) => shared.access(),
        // A channel whose sender is gone keeps its value.
        None => watch::channel(Access::Open { epoch: log.info().epoch }).1,
    }
}

/// The next live update of another node; never, where there are none.
async fn heard(log: &dyn Log) -> Result<Bytes, log::Error> {
    match log.shared() {
        Some(shared) => shared.recv().await,
        None => std::future::pending().await,
    }
}

/// The message that a command is about.
pub(super) fn touches(command: &Command) -> Option<MessageId> {
    match command {
        Command::Post(post) => Some(post.id),
        Command::Change(id, _) | Command::Due(id) => Some(*id),
        Command::End(held, _) => Some(held.message_id),
        Command::Restore(restore) => Some(restore.id),
        Command::Claim(_) | Command::Note(_) | Command::Checkpoint(_) | Command::Key(_) => None,
    }
}
