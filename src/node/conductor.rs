//! The conductor: the task that owns a node's state.
//!
//! One turn: take what was asked → decide it against the state → one append → apply, publish, answer. Live words and
//! heartbeats are handled at once, also while an append is under way.
//!
//! Two commands that touch the same message never share an append: the second waits for the next turn and is decided
//! against what the first one did.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, PoisonError},
    time::Duration,
};

use antiphon_schemas::{
    BotName, Entry, Event, MessageId, RequestId, RoomName, Seq,
    event::{MessagePosted, release},
    wire::feed::{Delta, Progress, Reset, Started},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

use super::{
    Answer, Claimed, Command, Error, Inner, REPLY_BYTES_MAX, Request, State, TRIES_MAX, Word, Writing, timer::Timers,
};
use crate::{
    decide::work::{End, Held, Wish},
    decide::{self, Decision, FIRST_LANE_PER_ROOM, Facts, work},
    fanout::{Frame, feed::Wake, frame},
    index::Indexer,
    log::{self, Append, BATCH_MAX, Draft, Pending, Verdict},
    projection::{queue::Queue, record::Change},
};

/// A command that the log could not take for want of space is looked at again after this time.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// With a failed index the node keeps what is new in memory; beyond so many changes posts are refused.
const UNINDEXED_MAX: usize = 262_144;
/// Far enough to mean "no deadline", near enough for the timer wheel.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// A command on its way, with whoever waits for it.
struct Item {
    command: Command,
    facts: Facts,
    request: RequestId,
    tries: u32,
    answer: To,
}

/// Whoever waits for a claim.
type Claimer = oneshot::Sender<Result<Claimed, Error>>;

enum To {
    Caller(oneshot::Sender<Result<Answer, Error>>),
    Claimer(Claimer),
    Nobody,
}

pub(super) struct Conductor {
    inner: Arc<Inner>,
    requests: mpsc::Receiver<Request>,
    indexer: Indexer,
    waiting: VecDeque<Item>,
    claimers: HashMap<BotName, VecDeque<(Wish, Claimer)>>,
    claims: HashMap<Seq, CancellationToken>,
    timers: Timers,
}

impl Conductor {
    pub(super) fn new(inner: Arc<Inner>, requests: mpsc::Receiver<Request>, indexer: Indexer) -> Conductor {
        Conductor {
            inner,
            requests,
            indexer,
            waiting: VecDeque::new(),
            claimers: HashMap::new(),
            claims: HashMap::new(),
            timers: Timers::default(),
        }
    }

    /// Runs until somebody asks it to stop.
    pub(super) async fn run(mut self) {
        self.begin();
        let log = self.inner.log.clone();
        let mut under_way: Option<(Vec<Item>, Pending<'_, Vec<Verdict>>)> = None;
        let mut stopping: Vec<oneshot::Sender<()>> = Vec::new();
        let mut log_ended = false;
        loop {
            if under_way.is_none() {
                let (items, batch) = self.decide();
                if !items.is_empty() {
                    under_way = Some((items, log.append(batch)));
                } else if !stopping.is_empty() {
                    break;
                }
            }
            let position = *self.inner.applied.borrow();
            let next = self.timers.next().unwrap_or_else(|| Instant::now() + FAR);
            tokio::select! {
                verdicts = async { under_way.as_mut().expect("guarded").1.as_mut().await }, if under_way.is_some() => {
                    let items = under_way.take().expect("guarded").0;
                    self.finish(items, verdicts).await;
                }
                request = self.requests.recv(), if self.waiting.len() < super::REQUESTS_MAX => {
                    let Some(request) = request else { break };
                    self.take(request, &mut stopping);
                    while self.waiting.len() < super::REQUESTS_MAX
                        && let Ok(request) = self.requests.try_recv()
                    {
                        self.take(request, &mut stopping);
                    }
                }
                () = sleep_until(next) => self.fire(),
                moved = log.beyond(position), if under_way.is_none() && stopping.is_empty() && !log_ended => {
                    // Entries that another node appended. On a single node there are none.
                    match moved {
                        Ok(()) => self.apply(BTreeMap::new()).await,
                        Err(_) => log_ended = true,
                    }
                }
            }
        }
        self.stop().await;
        for done in stopping {
            let _ = done.send(());
        }
    }

    /// Arms the timers of what is open, and gives back what this data folder's earlier processes held.
    fn begin(&mut self) {
        let inner = self.inner.clone();
        let state = read(&inner);
        let open: Vec<_> = state.projections.queue.iter().map(|(id, open)| (*id, open.clone())).collect();
        drop(state);
        for (message_id, open) in open {
            self.arm(message_id);
            if let crate::projection::queue::State::Claimed(claim) = &open.state
                && claim.incarnation.is_some_and(|process| process != inner.incarnation)
            {
                let held = Held { message_id, fence: claim.fence };
                self.wish(Command::End(held, End::Released(release::RESTARTED)));
            }
        }
    }

    fn wish(&mut self, command: Command) {
        let request = RequestId(Uuid::new_v4());
        self.waiting.push_back(Item { command, facts: Facts::none(), request, tries: 0, answer: To::Nobody });
    }

    fn take(&mut self, request: Request, stopping: &mut Vec<oneshot::Sender<()>>) {
        match request {
            Request::Stop { done } => stopping.push(done),
            Request::Probe => self.inner.canary.push([frame::live("canary", &())]).wake(),
            Request::Word { held, word, answer } => drop(answer.send(self.word(held, word))),
            Request::Command { answer, .. } if !stopping.is_empty() => drop(answer.send(Err(Error::Stopping))),
            Request::Claim { .. } if !stopping.is_empty() => {}
            Request::Command { command, facts, answer } => {
                let request = RequestId(Uuid::new_v4());
                self.waiting.push_back(Item { command, facts, request, tries: 0, answer: To::Caller(answer) });
            }
            Request::Claim { wish, answer } => {
                self.claimers.entry(wish.bot.clone()).or_default().push_back((wish, answer));
            }
        }
    }

    /// Decides what waits: answers what needs no append, and returns the rest as one batch.
    fn decide(&mut self) -> (Vec<Item>, Vec<Append>) {
        let inner = self.inner.clone();
        let state = read(&inner);
        let projections = &state.projections;
        let (mut items, mut batch, mut busy) = (Vec::new(), Vec::new(), HashSet::new());
        let now_ms = inner.clock.now_ms();
        let (mut later, mut early) = (VecDeque::new(), Vec::new());
        let mut asks = Asks::default();
        let unindexed = inner.index.failed().filter(|_| projections.newest.len() >= UNINDEXED_MAX);
        while let Some(item) = self.waiting.pop_front() {
            if batch.len() >= BATCH_MAX || touches(&item.command).is_some_and(|id| busy.contains(&id)) {
                later.push_back(item);
                continue;
            }
            if !item.facts.fresh(projections) {
                item.answer.answer(Ok(Answer::Stale));
                continue;
            }
            if let (Some(failure), Command::Post(_)) = (unindexed, &item.command) {
                item.answer.answer(Err(Error::Index(failure.to_string())));
                continue;
            }
            let facts = &item.facts;
            let decision = match &item.command {
                Command::Post(post) => decide::post::post(projections, facts, &inner.policy, post),
                Command::Change(id, change) => decide::change::change(projections, facts, &inner.policy, *id, *change),
                Command::End(held, end) => {
                    work::end(projections, facts, &inner.policy, *held, end, now_ms, rand::random())
                }
                Command::Due(id) => match work::due(projections, &inner.policy, *id, now_ms) {
                    Some(decision) => Ok(decision),
                    // The wall clock is behind the timer: somebody set it back, or the deadline is beyond `FAR`.
                    None if projections.queue.claim(id).is_none() => {
                        early.push(*id);
                        continue;
                    }
                    None => continue,
                },
                Command::Claim(wish) => match work::claim(projections, &inner.policy, wish, now_ms, &busy) {
                    Some(decision) => Ok(decision),
                    None => {
                        if let To::Claimer(answer) = item.answer {
                            self.claimers.entry(wish.bot.clone()).or_default().push_front((wish.clone(), answer));
                        }
                        continue;
                    }
                },
            };
            match decision {
                Ok(decision) if !asks.fits(&decision, &projections.queue, inner.policy.queue_max) => {
                    later.push_back(item);
                }
                Ok(decision) => push(decision, item, projections.position, &mut items, &mut batch, &mut busy),
                Err(refusal) => item.answer.answer(Err(refusal.into())),
            }
        }
        for claimers in self.claimers.values_mut() {
            claimers.retain(|(_, answer)| !answer.is_closed());
            while batch.len() < BATCH_MAX
                && let Some((wish, _)) = claimers.front()
                && let Some(decision) = work::claim(projections, &inner.policy, wish, now_ms, &busy)
                && let Some((wish, answer)) = claimers.pop_front()
            {
                let request = RequestId(Uuid::new_v4());
                let command = Command::Claim(wish);
                let item = Item { command, facts: Facts::none(), request, tries: 0, answer: To::Claimer(answer) };
                push(decision, item, projections.position, &mut items, &mut batch, &mut busy);
            }
        }
        self.waiting = later;
        drop(state);
        early.into_iter().for_each(|id| self.arm(id));
        (items, batch)
    }

    /// Takes the log's verdicts: applies what is new, answers what is done, keeps what must be decided again.
    async fn finish(&mut self, items: Vec<Item>, verdicts: Result<Vec<Verdict>, log::Error>) {
        let verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(failure) => return self.failed(items, &failure),
        };
        let (mut entries, mut done) = (BTreeMap::new(), Vec::new());
        for (mut item, verdict) in items.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Appended(own) => {
                    entries.extend(own.iter().map(|e| (e.header.seq, e.clone())));
                    done.push((item.answer, Ok(own)));
                }
                Verdict::Conflict(missed) => {
                    let own: Vec<_> = missed.iter().filter(|e| e.header.request == item.request).cloned().collect();
                    entries.extend(missed.into_iter().map(|e| (e.header.seq, e)));
                    item.tries += 1;
                    if !own.is_empty() {
                        // The first try had succeeded; only its answer was lost.
                        done.push((item.answer, Ok(own)));
                    } else if item.tries >= TRIES_MAX {
                        done.push((item.answer, Err(Error::Busy)));
                    } else {
                        self.waiting.push_front(item);
                    }
                }
                Verdict::Behind { .. } | Verdict::OutOfStep => {
                    item.tries += 1;
                    if item.tries >= TRIES_MAX {
                        done.push((item.answer, Err(Error::Busy)));
                    } else {
                        self.waiting.push_front(item);
                    }
                }
                Verdict::Diverged { tail } => {
                    let why = format!("it ends at entry {tail}, before what this node has applied; restart the server");
                    done.push((item.answer, Err(Error::Log(log::Error::Poisoned(why)))));
                }
            }
        }
        self.apply(entries).await;
        for (to, result) in done {
            match (to, result) {
                (To::Claimer(answer), Ok(own)) => self.hand_over(answer, &own),
                (to, result) => to.answer(result.map(Answer::Entries)),
            }
        }
    }

    /// The log took nothing: tells everybody who waits, and looks at the timers' wishes again a little later.
    fn failed(&mut self, items: Vec<Item>, failure: &log::Error) {
        error!(error = %failure, code = failure.code(), commands = items.len(), "the log took nothing");
        for item in items {
            if let (To::Nobody, Some(id)) = (&item.answer, touches(&item.command)) {
                self.timers.set(id, Some(Instant::now() + AFTER_FAILURE));
            }
            item.answer.answer(Err(Error::Log(failure.clone())));
        }
    }

    fn hand_over(&mut self, answer: Claimer, own: &[Arc<Entry>]) {
        let Some(Entry { header, event: Event::MessageClaimed(e), .. }) = own.first().map(|e| &**e) else { return };
        let Some(room) = header.room.clone() else { return };
        let held = Held { message_id: e.message_id, fence: header.seq };
        let over = CancellationToken::new();
        if read(&self.inner).projections.queue.claim(&e.message_id).is_some_and(|claim| claim.fence == header.seq) {
            self.claims.insert(header.seq, over.clone());
        } else {
            over.cancel();
        }
        let (attempt, lease) = (e.attempt, Duration::from_millis(e.lease_ms));
        if answer.send(Ok(Claimed { held, reply_id: e.reply_id, room, attempt, lease, over })).is_err() {
            self.wish(Command::End(held, End::Released(release::GOODBYE)));
        }
    }

    /// Applies entries in order, reading again what is missing between the state and them, or up to the tail.
    async fn apply(&mut self, mut entries: BTreeMap<Seq, Arc<Entry>>) {
        let mut position = *self.inner.applied.borrow();
        let end = entries.last_key_value().map_or_else(|| self.inner.log.tail(), |(seq, _)| *seq);
        let mut batch = Vec::with_capacity(entries.len());
        while position < end {
            if let Some(entry) = entries.remove(&position.next()) {
                position = entry.header.seq;
                batch.push(entry);
                continue;
            }
            match self.inner.log.read(position, BATCH_MAX).await {
                Ok(read) if !read.is_empty() => entries.extend(read.into_iter().map(|e| (e.header.seq, e))),
                Ok(_) => break,
                Err(failure) => {
                    error!(error = %failure, "entries cannot be read back from the log");
                    break;
                }
            }
        }
        if batch.is_empty() {
            return;
        }
        self.publish(&batch).into_iter().for_each(Wake::wake);
        for entry in &batch {
            for (id, _) in Change::of(entry) {
                self.arm(id);
            }
        }
        self.inner.applied.send_replace(position);
        self.indexer.apply(batch).await;
    }

    /// State and feeds change here, under one lock.
    fn publish(&mut self, batch: &[Arc<Entry>]) -> Vec<Wake> {
        let inner = self.inner.clone();
        let mut guard = inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let mut wakes = Vec::new();
        for entry in batch {
            let before = Change::of(entry).next().and_then(|(id, _)| state.projections.queue.claim(&id).cloned());
            state.projections.apply(entry);
            let live = self.follow_claims(state, entry, before);
            let Some(feed) = entry.header.room.as_ref().and_then(|room| inner.feeds.get(room)) else { continue };
            if let Event::MessageRedacted(e) = &entry.event {
                feed.forget(e.message_id);
            }
            let durable = frame::of_entry(entry, inner.info.epoch, false);
            wakes.push(feed.push(durable.into_iter().chain(live)));
        }
        state.last = batch.last().cloned();
        state.projections.newest.forget(*inner.indexed.borrow());
        wakes
    }

    /// Keeps the texts in flight and the claims' tokens in step with an entry just applied; returns what to say live.
    fn follow_claims(
        &mut self,
        state: &mut State,
        entry: &Entry,
        before: Option<crate::projection::queue::Claim>,
    ) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut reset = |writing: Option<Writing>, message_id, reason: &Arc<str>| {
            if let Some(writing) = writing.filter(|w| w.next_index > 0) {
                let reset = Reset { message_id, reply_id: writing.reply_id, reason: reason.clone() };
                frames.push(frame::live("reply.reset", &reset));
            }
        };
        match &entry.event {
            Event::MessagePosted(e) => {
                let ahead = state.projections.queue.ahead(&e.id).unwrap_or(0) as u64;
                if ahead > 0 {
                    let progress = Progress { message_id: e.id, stage: "queued".into(), ahead: Some(ahead) };
                    frames.push(frame::live("reply.progress", &progress));
                }
            }
            Event::MessageClaimed(e) => {
                let Some(room) = entry.header.room.clone() else { return frames };
                let (message_id, reply_id, bot) = (e.message_id, e.reply_id, e.bot.clone());
                frames.push(frame::live("reply.started", &Started { message_id, reply_id, bot: bot.clone() }));
                let writing = Writing { room, reply_id, bot, next_index: 0, text: String::new() };
                state.writing.insert(message_id, writing);
            }
            Event::MessageReleased(e) => reset(state.writing.remove(&e.message_id), e.message_id, &e.reason),
            Event::MessageFailed(e) => {
                let writing = state.writing.remove(&e.message_id);
                reset(writing.filter(|_| e.retry_at_ms.is_some()), e.message_id, &e.reason);
            }
            Event::MessageCompleted(e) => drop(state.writing.remove(&e.message_id)),
            Event::MessageDead(e) => drop(state.writing.remove(&e.message_id)),
            Event::MessageCancelled(e) => drop(state.writing.remove(&e.message_id)),
            _ => {}
        }
        if let Some(claim) = before
            && Change::of(entry).next().and_then(|(id, _)| state.projections.queue.claim(&id)).is_none()
            && let Some(over) = self.claims.remove(&claim.fence)
        {
            over.cancel();
        }
        frames
    }

    /// A live word: only of the live claim, and pieces only in order.
    fn word(&mut self, held: Held, word: Word) -> Result<(), Error> {
        let inner = self.inner.clone();
        let mut guard = inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let (_, claim) = work::holder(&state.projections, &Facts::none(), held)?;
        let lease = Duration::from_millis(claim.lease_ms);
        let message_id = held.message_id;
        let Some(writing) = state.writing.get_mut(&message_id) else { return Ok(()) };
        let frame = match word {
            Word::Heartbeat => None,
            Word::Stage(stage) => Some(frame::live("reply.progress", &Progress { message_id, stage, ahead: None })),
            Word::Delta { index, .. } if index < writing.next_index => None,
            Word::Delta { index, .. } if index > writing.next_index => {
                return Err(Error::DeltaGap { expected: writing.next_index });
            }
            Word::Delta { text, .. } if writing.text.len() + text.len() > REPLY_BYTES_MAX => {
                return Err(Error::ReplyTooLong);
            }
            Word::Delta { index, text } => {
                writing.next_index += 1;
                writing.text.push_str(&text);
                let reply_id = writing.reply_id;
                let delta = frame::live("reply.delta", &Delta { message_id, reply_id, index, text });
                Some(Frame { shows: Some(reply_id), ..delta })
            }
        };
        let wake = frame.and_then(|frame| Some(inner.feeds.get(&writing.room)?.push([frame])));
        drop(guard);
        wake.into_iter().for_each(Wake::wake);
        self.timers.set(message_id, Some(Instant::now() + lease));
        Ok(())
    }

    /// Turns deadlines that have passed into commands.
    fn fire(&mut self) {
        let now = Instant::now();
        while let Some(id) = self.timers.take_due(now) {
            let claim = read(&self.inner).projections.queue.claim(&id).map(|claim| claim.fence);
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

    fn arm(&mut self, id: MessageId) {
        use crate::projection::queue::State as S;
        let state = read(&self.inner);
        let open = state.projections.queue.get(&id);
        let at = open.and_then(|open| match &open.state {
            S::Claimed(claim) => Some(Instant::now() + Duration::from_millis(claim.lease_ms)),
            _ => {
                let due_at_ms = work::due_at_ms(&self.inner.policy, open)?;
                let wait = due_at_ms.saturating_sub(self.inner.clock.now_ms());
                Some(Instant::now() + Duration::from_millis(wait).min(FAR))
            }
        });
        drop(state);
        self.timers.set(id, at);
    }

    async fn stop(mut self) {
        self.requests.close();
        self.inner.feeds.close();
        if let Err(failure) = self.inner.log.close().await {
            error!(error = %failure, "the log did not close cleanly");
        }
        let indexer = self.indexer;
        if tokio::task::spawn_blocking(move || indexer.close()).await.is_err() {
            error!("the index did not close cleanly; the next start brings it up to date");
        }
    }
}

impl To {
    fn answer(self, result: Result<Answer, Error>) {
        match self {
            To::Caller(answer) => drop(answer.send(result)),
            To::Claimer(answer) => drop(result.err().map(|why| answer.send(Err(why)))),
            To::Nobody => {}
        }
    }
}

/// What the posts of one batch ask for. They are decided against the same state, so each counts for the next here: a
/// room's share of a first lane and a bot's queue hold within a batch, too.
#[derive(Default)]
struct Asks {
    first_lanes: HashMap<(RoomName, u8), u32>,
    bots: HashMap<BotName, usize>,
}

impl Asks {
    /// Whether a decision still holds after those before it in the batch; if not, it is made again in the next turn.
    fn fits(&mut self, decision: &Decision, queue: &Queue, queue_max: usize) -> bool {
        let Decision::Append { room, events, .. } = decision else { return true };
        let Some(Event::MessagePosted(MessagePosted { ask: Some(ask), .. })) = events.first() else { return true };
        let bot = self.bots.entry(ask.bot.clone()).or_default();
        if queue.depth(&ask.bot).waiting + *bot >= queue_max {
            return false;
        }
        if !ask.second {
            let lane = self.first_lanes.entry((room.clone(), ask.priority)).or_default();
            if queue.waiting_in_room(room, ask.priority) + *lane >= FIRST_LANE_PER_ROOM {
                return false;
            }
            *lane += 1;
        }
        *bot += 1;
        true
    }
}

/// The message that a command is about.
fn touches(command: &Command) -> Option<MessageId> {
    match command {
        Command::Post(post) => Some(post.id),
        Command::Change(id, _) | Command::Due(id) => Some(*id),
        Command::End(held, _) => Some(held.message_id),
        Command::Claim(_) => None,
    }
}

fn push(
    decision: Decision,
    item: Item,
    after: Seq,
    items: &mut Vec<Item>,
    batch: &mut Vec<Append>,
    busy: &mut HashSet<MessageId>,
) {
    let (room, subjects, events) = match decision {
        Decision::Append { room, subjects, events } => (room, subjects, events),
        Decision::Already(entry) => return item.answer.answer(Ok(Answer::Already(entry))),
        Decision::Stands(status) => return item.answer.answer(Ok(Answer::Stands(status))),
    };
    match drafts(&room, events) {
        Ok(drafts) => {
            busy.extend(drafts.iter().flat_map(|d| d.event.subjects()));
            batch.push(Append { after, request: item.request, subjects, drafts, moves: vec![] });
            items.push(item);
        }
        Err(why) => item.answer.answer(Err(Error::Log(log::Error::Invalid(why)))),
    }
}

fn drafts(room: &RoomName, events: Vec<Event>) -> Result<Vec<Draft>, String> {
    let draft = |event| Draft::new(Some(room.clone()), event, rand::random()).map_err(|e| e.to_string());
    events.into_iter().map(draft).collect()
}

fn read(inner: &Inner) -> std::sync::RwLockReadGuard<'_, State> {
    inner.state.read().unwrap_or_else(PoisonError::into_inner)
}
