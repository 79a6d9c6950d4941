//! Deciding what waits, as one batch; and what the log says to it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use antiphon_schemas::{BotName, Event, MessageId, RequestId, RoomName, Seq, event::MessagePosted, wire::Status};
use tokio::time::Instant;
use tracing::error;
use uuid::Uuid;

use super::{
    Answer, Command, Error, State, TRIES_MAX,
    claimers::Told,
    conductor::{Conductor, Item, To, read, touches},
    lanes,
    parking::Way,
};
use crate::{
    decide::{self, Decision, FIRST_LANE_PER_ROOM, Policy, Refusal, work},
    log::{self, Append, BATCH_MAX, Draft, SCAN_MAX, Verdict},
    projection::{Projections, queue::Queue},
};

/// A command that the log could not take for want of space is looked at again after this time.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long a command waits for entries that it has to know and that are on their way.
const BEHIND_MAX: Duration = Duration::from_millis(500);
/// With a failed index the node keeps what is new in memory; beyond so many changes posts are refused.
const UNINDEXED_MAX: usize = 262_144;

/// What shares one append.
#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    appends: Vec<Append>,
    /// The messages that it touches.
    busy: HashSet<MessageId>,
    /// Its events so far: as many newer entries the next append finds.
    drafts: u64,
}

impl Conductor {
    /// Decides what waits: answers what needs no append, and returns the rest as one batch, and the posts that go to the
    /// outbox. What may not go anywhere now goes on waiting.
    pub(super) fn decide(&mut self, may_append: bool, may_park: bool) -> (Vec<Item>, Vec<Append>, Vec<Item>) {
        let inner = self.inner.clone();
        let state = read(&inner);
        let projections = &state.projections;
        let way = self.way();
        let may_append = may_append && self.open;
        // What was acknowledged is not refused for want of room in a queue.
        let patient = self.draining.as_ref().map(|_| Policy { queue_max: usize::MAX, ..(*inner.policy).clone() });
        // The outbox's posts stay in their order: behind one that must wait all others wait.
        let mut drain_waits = false;
        let mut batch = Batch::default();
        let now_ms = inner.clock.now_ms();
        let (mut later, mut early, mut to_park) = (VecDeque::new(), Vec::new(), Vec::new());
        let mut asks = Asks::default();
        let index = inner.index().index;
        let unindexed = index.failed().filter(|_| projections.newest.len() >= UNINDEXED_MAX);
        while let Some(item) = self.waiting.pop_front() {
            let post = matches!((&item.command, &item.answer), (Command::Post(_), To::Caller(_)));
            let drained = matches!(item.answer, To::Outbox(_));
            let to_outbox = post && way == Way::Outbox;
            let busy = touches(&item.command).is_some_and(|id| batch.busy.contains(&id));
            let may = if to_outbox { may_park } else { may_append && !(post && way == Way::Behind) };
            let note = matches!(item.command, Command::Note(_));
            if !may && !to_outbox && !self.open && !note {
                self.turn_away(item);
                continue;
            }
            if !may || batch.appends.len() >= BATCH_MAX || busy || (drained && drain_waits) {
                drain_waits |= drained;
                later.push_back(item);
                continue;
            }
            let fresh = state.built && item.facts.fresh(projections);
            if !fresh && !to_outbox {
                item.answer_with(self, Ok(Answer::Stale));
                continue;
            }
            if let (Some(failure), Command::Post(_)) = (unindexed, &item.command) {
                item.answer_with(self, Err(Error::Index(failure.to_string())));
                continue;
            }
            let facts = &item.facts;
            let decision = match &item.command {
                Command::Post(post) => {
                    let policy = patient.as_ref().filter(|_| drained).unwrap_or(&inner.policy);
                    decide::post::post(projections, facts, policy, post)
                }
                Command::Change(id, change) => decide::change::change(projections, facts, &inner.policy, *id, *change),
                Command::End(held, end) => {
                    work::end(projections, facts, &inner.policy, *held, end, now_ms, rand::random())
                }
                Command::Restore(restore) => decide::repair::restore(projections, facts, restore),
                Command::Note(noted) => {
                    let noted = Event::from(noted.clone());
                    batch.push(None, vec![], vec![noted], item, projections);
                    continue;
                }
                Command::Checkpoint(checkpoint) => {
                    let event = Event::from(checkpoint.clone());
                    batch.push(None, vec![], vec![event], item, projections);
                    continue;
                }
                Command::Key(wish) => {
                    match decide::key::key(&projections.keys, &inner.policy, wish) {
                        Ok(Some(event)) => batch.push(None, vec![], vec![event], item, projections),
                        Ok(None) => item.answer_with(self, Ok(Answer::Stands(Status::None))),
                        Err(refusal) => item.answer_with(self, Err(refusal.into())),
                    }
                    continue;
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
                Command::Claim(wish) => {
                    match work::claim(projections, facts, &inner.policy, wish, now_ms, &batch.busy) {
                        Ok(Some(decision)) => Ok(decision),
                        Ok(None) => {
                            if let (Command::Claim(wish), To::Claimer(claimer)) = (item.command, item.answer) {
                                self.claimers.put(wish, claimer);
                            }
                            continue;
                        }
                        Err(refusal) => Err(refusal),
                    }
                }
            };
            match decision {
                // What it replies to may stand in the outbox, too, or cannot be looked up now.
                Err(Refusal::ReplyToElsewhere) if to_outbox && (!fresh || self.replies_to_parked(&item.command)) => {
                    to_park.push(item);
                }
                Ok(Decision::Append { .. }) if to_outbox => to_park.push(item),
                Ok(decision) if !asks.fits(&decision, &projections.queue, queue_max(&item, &inner.policy)) => {
                    drain_waits |= drained;
                    later.push_back(item);
                }
                Ok(Decision::Append { room, subjects, events }) => {
                    if !subjects.is_empty() && batch.drafts >= SCAN_MAX {
                        drain_waits |= drained;
                        later.push_back(item);
                    } else {
                        batch.push(Some(room), subjects, events, item, projections);
                    }
                }
                Ok(Decision::Already(entry)) => item.answer_with(self, Ok(Answer::Already(entry))),
                Ok(Decision::Stands(status)) => item.answer_with(self, Ok(Answer::Stands(status))),
                Err(refusal) => item.answer_with(self, Err(refusal.into())),
            }
        }
        if may_append {
            self.claim(&state, now_ms, &mut batch);
        }
        self.waiting = later;
        drop(state);
        early.into_iter().for_each(|id| self.arm(id));
        (batch.items, batch.appends, to_park)
    }

    /// Gives what waits to those that wait for it.
    fn claim(&mut self, state: &State, now_ms: u64, batch: &mut Batch) {
        let (inner, projections) = (self.inner.clone(), &state.projections);
        let wanted = self.claimers.bots().filter(|bot| projections.queue.depth(bot).waiting > 0);
        let wanted: Vec<BotName> = wanted.cloned().collect();
        for bot in wanted {
            while batch.appends.len() < BATCH_MAX
                && batch.drafts < SCAN_MAX
                && let Some((wish, claimer)) = self.claimers.take_first(&bot)
            {
                if !claimer.facts.fresh(projections) {
                    let _gone = claimer.tell(Ok(Told::Stale));
                    continue;
                }
                match work::claim(projections, &claimer.facts, &inner.policy, &wish, now_ms, &batch.busy) {
                    Ok(Some(Decision::Append { room, subjects, events })) => {
                        let (request, facts) = (RequestId(Uuid::new_v4()), claimer.facts.clone());
                        let (command, answer) = (Command::Claim(wish), To::Claimer(claimer));
                        let item = Item { command, facts, request, tries: 0, answer };
                        batch.push(Some(room), subjects, events, item, projections);
                    }
                    Ok(Some(_)) => self.grant_again(wish, claimer),
                    Ok(None) => {
                        self.claimers.put(wish, claimer);
                        break;
                    }
                    Err(refusal) => drop(claimer.tell(Err(refusal.into()))),
                }
            }
        }
    }

    /// Takes the log's verdicts: applies what is new, answers what is done, keeps what must be decided again.
    pub(super) async fn finish(&mut self, items: Vec<Item>, verdicts: Result<Vec<Verdict>, log::Error>) {
        let verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(log::Error::Away(why)) => return self.went_away(items, why),
            Err(failure) => return self.failed(items, &failure),
        };
        let (mut entries, mut done, mut again, mut behind) = (BTreeMap::new(), Vec::new(), Vec::new(), None);
        for (mut item, verdict) in items.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Appended(own) => {
                    entries.extend(own.iter().map(|e| (e.header.seq, e.clone())));
                    done.push((item, Ok(own)));
                    continue;
                }
                Verdict::Conflict(missed) => {
                    let own: Vec<_> = missed.iter().filter(|e| e.header.request == item.request).cloned().collect();
                    entries.extend(missed.into_iter().map(|e| (e.header.seq, e)));
                    if !own.is_empty() {
                        // The first try had succeeded; only its answer was lost.
                        done.push((item, Ok(own)));
                        continue;
                    }
                }
                Verdict::Behind { tail } => behind = behind.max(Some(tail)),
                Verdict::OutOfStep => self.mend_due = true,
                Verdict::Diverged { tail } => {
                    let why = format!("it ends at entry {tail}, before what this node has applied");
                    self.diverged(&why);
                    done.push((item, Err(Error::Log(log::Error::Away(why.into())))));
                    continue;
                }
            }
            item.tries += 1;
            if item.tries >= TRIES_MAX {
                done.push((item, Err(Error::Busy)));
            } else {
                again.push(item);
            }
        }
        // In front and in their order: they came first.
        again.into_iter().rev().for_each(|item| self.waiting.push_front(item));
        if let Some(tail) = behind {
            // What others appended is on its way here; without it the next try is as far behind.
            let reached = self.inner.log.beyond(Seq(tail.0.saturating_sub(1)));
            let _ = tokio::time::timeout(BEHIND_MAX, reached).await;
            drop(self.apply(BTreeMap::new()).await);
        }
        drop(self.apply(entries).await);
        for (item, result) in done {
            match (item.answer, result) {
                (To::Claimer(answer), Ok(own)) => self.hand_over(answer, &own),
                (answer, result) => {
                    let item = Item { answer, ..item };
                    if let (To::Nobody, Some(id), Err(_)) = (&item.answer, touches(&item.command), &result) {
                        // A timer's own wish: it is wished again by the timer.
                        self.arm(id);
                    }
                    item.answer_with(self, result.map(Answer::Entries));
                }
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
            item.answer_with(self, Err(Error::Log(failure.clone())));
        }
    }
}

/// How many messages may wait for a bot as far as this command is concerned.
fn queue_max(item: &Item, policy: &Policy) -> usize {
    match item.answer {
        To::Outbox(_) | To::Repair(_) => usize::MAX,
        _ => policy.queue_max,
    }
}

impl Item {
    /// Tells whoever waits for it.
    pub(super) fn answer_with(self, conductor: &mut Conductor, result: Result<Answer, Error>) {
        match self.answer {
            To::Caller(answer) => drop(answer.send(result)),
            To::Claimer(claimer) => match (result, self.command) {
                (Ok(Answer::Stands(_)), Command::Claim(wish)) => conductor.grant_again(wish, claimer),
                (Ok(_), _) => drop(claimer.tell(Ok(Told::Stale))),
                (Err(why), _) => drop(claimer.tell(Err(why))),
            },
            To::Outbox(id) => conductor.drained(id, result),
            To::Repair(place) => conductor.repaired(place, self.command, result),
            To::Nobody => {}
        }
    }
}

impl Batch {
    fn push(
        &mut self,
        room: Option<RoomName>,
        subjects: Vec<MessageId>,
        events: Vec<Event>,
        item: Item,
        projections: &Projections,
    ) {
        let moves = lanes::moves(&projections.queue, &events);
        let draft = |event| Draft::new(room.clone(), event, rand::random());
        match events.into_iter().map(draft).collect::<Result<Vec<Draft>, _>>() {
            Ok(drafts) => {
                self.busy.extend(drafts.iter().flat_map(|d| d.event.subjects()));
                self.drafts += drafts.len() as u64;
                let after: Seq = projections.position;
                self.appends.push(Append { after, request: item.request, subjects, drafts, moves });
                self.items.push(item);
            }
            Err(why) => {
                let why = Error::Log(log::Error::Invalid(why.to_string()));
                match item.answer {
                    To::Caller(answer) => drop(answer.send(Err(why))),
                    To::Claimer(claimer) => drop(claimer.tell(Err(why))),
                    _ => {}
                }
            }
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
        // One that comes with its end does not wait.
        let [Event::MessagePosted(MessagePosted { ask: Some(ask), .. })] = events.as_slice() else { return true };
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
