//! Deciding what waits, as one batch: which commands share an append, which go to the outbox, which keep waiting.
//!
//! Promises: two commands that touch the same message never share an append; posts of the outbox keep their order; what the
//! posts of a batch ask for counts for those after them in the same batch.
//! Not here: what may happen (`decide`), what the log says to the batch (`verdicts`).

use std::collections::{HashMap, HashSet, VecDeque};

use antiphon_schemas::{
    BotName, Event, MessageId, RequestId, RoomName, Seq,
    entry::SALT_BYTES,
    event::{MessagePosted, release},
    time::LogTime,
    wire::Status,
};
use rand::{RngExt, rngs::StdRng};

use super::{
    super::Error,
    Answer, Answers, Command, Item, To,
    claimers::{ClaimReply, Claimer},
    claims::Claims,
    deadlines::Deadlines,
    drain::{Drain, Way},
    lanes,
};
use crate::{
    decide::{
        self, Decision, FIRST_LANE_PER_ROOM, Policy, Refusal,
        work::{self, Ages, ClaimRequest, End},
    },
    log::{self, Append, BATCH_MAX, Draft, SCAN_MAX},
    projection::{Projections, queue::Queue},
};

/// With a failed index the node keeps what is new in memory; beyond so many changes posts are refused.
const UNINDEXED_MAX: usize = 262_144;

/// What a turn decides with.
pub(super) struct Turn<'a> {
    pub(super) projections: &'a Projections,
    /// The projections are those of a log.
    pub(super) built: bool,
    pub(super) policy: &'a Policy,
    pub(super) drain: &'a Drain,
    pub(super) deadlines: &'a Deadlines,
    pub(super) rng: &'a mut StdRng,
    pub(super) ages: Ages<'a>,
    /// The log can be used; what needs it is turned away otherwise.
    pub(super) open: bool,
    /// An append can begin.
    pub(super) may_append: bool,
    /// A write to the outbox can begin.
    pub(super) may_park: bool,
    pub(super) way: Way,
    /// Why the index stopped for good.
    pub(super) unindexed: Option<String>,
}

/// What a turn decided.
#[derive(Default)]
pub(super) struct Decided {
    /// Share one append.
    pub(super) items: Vec<Item>,
    pub(super) appends: Vec<Append>,
    /// Go to the outbox.
    pub(super) park: Vec<Item>,
    /// Need nothing written.
    pub(super) answers: Answers,
    /// Cannot be done while the store is away.
    pub(super) turned_away: Vec<Item>,
    /// Are not due yet: to be looked at again.
    pub(super) early: Vec<(MessageId, LogTime)>,
    /// Wait for the next turn.
    pub(super) later: VecDeque<Item>,
    /// Found nothing that they could have.
    pub(super) waiting: Vec<(ClaimRequest, Claimer)>,
    /// The messages that the append touches.
    busy: HashSet<MessageId>,
    /// Its events so far: as many newer entries the next append finds.
    drafts: u64,
    asks: Asks,
}

/// What one command comes to.
enum Outcome {
    Append {
        room: Option<RoomName>,
        subjects: Vec<MessageId>,
        events: Vec<Event>,
    },
    /// Onto this node's disk.
    Park,
    Answer(Result<Answer, Error>),
    /// Nothing, and nobody waits for it.
    Dropped,
}

impl Turn<'_> {
    /// Decides what waits.
    pub(super) fn decide(mut self, inbox: VecDeque<Item>, claims: &mut Claims) -> Decided {
        let mut decided = Decided::default();
        // What was acknowledged is not refused for want of room in a queue.
        let patient = self.drain.is_draining().then(|| Policy { queue_max: usize::MAX, ..self.policy.clone() });
        // The outbox's posts keep their order: behind one that must wait all others wait.
        let mut drain_waits = false;
        for item in inbox {
            let post = matches!((&item.command, &item.answer), (Command::Post(_), To::Caller(_)));
            let drained = matches!(item.answer, To::Drain(_));
            let to_outbox = post && self.way == Way::Outbox;
            let busy = item.command.message().is_some_and(|id| decided.busy.contains(&id));
            let may = if to_outbox { self.may_park } else { self.may_append && !(post && self.way == Way::Behind) };
            if !may && !to_outbox && !self.open && !matches!(item.command, Command::Note(_)) {
                decided.turned_away.push(item);
                continue;
            }
            if !may || decided.appends.len() >= BATCH_MAX || busy || (drained && drain_waits) {
                drain_waits |= drained;
                decided.later.push_back(item);
                continue;
            }
            let policy = patient.as_ref().filter(|_| drained).unwrap_or(self.policy);
            match self.outcome(&item, policy, to_outbox, &mut decided) {
                Outcome::Dropped => {}
                Outcome::Answer(answer) => decided.answers.push((item, answer)),
                Outcome::Park => decided.park.push(item),
                Outcome::Append { room, subjects, events } => {
                    let crowded = !subjects.is_empty() && decided.drafts >= SCAN_MAX;
                    let queue_max = if item.answer.is_own() { usize::MAX } else { policy.queue_max };
                    if crowded || !decided.asks.fit(room.as_ref(), &events, &self.projections.queue, queue_max) {
                        drain_waits |= drained;
                        decided.later.push_back(item);
                    } else {
                        decided.append(&mut self, room, subjects, events, item);
                    }
                }
            }
        }
        if self.may_append {
            self.grant(claims, &mut decided);
        }
        decided
    }

    fn outcome(&mut self, item: &Item, policy: &Policy, to_outbox: bool, decided: &mut Decided) -> Outcome {
        let (projections, facts) = (self.projections, &item.facts);
        let fresh = self.built && facts.fresh(projections);
        if !fresh && !to_outbox {
            return Outcome::Answer(Ok(Answer::Stale));
        }
        let result = match &item.command {
            Command::Post(_) if self.unindexed.is_some() && projections.newest.len() >= UNINDEXED_MAX => {
                Err(Error::Index(self.unindexed.clone().unwrap_or_default()))
            }
            Command::Post(post) => match decide::post::post(projections, facts, policy, post) {
                // What it replies to may be in the outbox, too, or cannot be looked up now.
                Err(Refusal::ReplyToElsewhere)
                    if to_outbox && (!fresh || self.drain.replies_to_parked(&item.command)) =>
                {
                    return Outcome::Park;
                }
                Ok(Decision::Append { .. }) if to_outbox => return Outcome::Park,
                decision => decision.map_err(Error::from),
            },
            Command::Change(id, change) => {
                decide::change::change(projections, facts, policy, *id, *change).map_err(Error::from)
            }
            // Its worker was heard since: the lease is not over.
            Command::End(held, End::Released(release::LEASE_OVER))
                if item.answer.is_deadline() && self.deadlines.has(held.message_id) =>
            {
                return Outcome::Dropped;
            }
            Command::End(held, end) => {
                let jitter = self.rng.random();
                work::end(projections, facts, policy, *held, end, self.ages.now, jitter).map_err(Error::from)
            }
            Command::Restore(restore) => decide::repair::restore(projections, facts, restore).map_err(Error::from),
            Command::Note(_) | Command::Checkpoint(_) => return Outcome::of(item.command.fact()),
            Command::Key(wish) => match decide::key::key(&projections.keys, policy, wish) {
                Ok(Some(event)) => return Outcome::of(Some(event)),
                Ok(None) => Ok(Decision::Stands(Status::None)),
                Err(refusal) => Err(refusal.into()),
            },
            Command::Due(id, at) => match work::due(projections, policy, *id, self.ages, *at) {
                Some(decision) => Ok(decision),
                None => {
                    let waits = projections.queue.get(id).is_some() && projections.queue.claim(id).is_none();
                    decided.early.extend(waits.then_some((*id, *at)));
                    return Outcome::Dropped;
                }
            },
            Command::Claim(wish) => {
                match work::claim(projections, facts, policy, wish, self.ages, &decided.busy) {
                    Ok(Some(decision)) => Ok(decision),
                    // It keeps waiting.
                    Ok(None) => Ok(Decision::Stands(Status::Waiting)),
                    Err(refusal) => Err(refusal.into()),
                }
            }
        };
        match result {
            Ok(Decision::Append { room, subjects, events }) => Outcome::Append { room: Some(room), subjects, events },
            Ok(Decision::Already(entry)) => Outcome::Answer(Ok(Answer::Already(entry))),
            Ok(Decision::Stands(status)) => Outcome::Answer(Ok(Answer::Stands(status))),
            Err(failure) => Outcome::Answer(Err(failure)),
        }
    }

    /// Gives what waits to those that wait for it.
    fn grant(&mut self, claims: &mut Claims, decided: &mut Decided) {
        let projections = self.projections;
        let wanted = claims.claimers.bots().filter(|bot| projections.queue.depth(bot).waiting > 0);
        let wanted: Vec<BotName> = wanted.cloned().collect();
        for bot in wanted {
            while decided.appends.len() < BATCH_MAX
                && decided.drafts < SCAN_MAX
                && let Some((wish, claimer)) = claims.claimers.take_first(&bot)
            {
                if !claimer.facts.fresh(projections) {
                    let _gone = claimer.tell(Ok(ClaimReply::Stale));
                    continue;
                }
                let result = work::claim(projections, &claimer.facts, self.policy, &wish, self.ages, &decided.busy);
                if let Ok(None) = result {
                    decided.waiting.push((wish, claimer));
                    break;
                }
                let (request, facts) = (self.request(), claimer.facts.clone());
                let (command, answer) = (Command::Claim(wish), To::Claimer(claimer));
                let item = Item { command, facts, request, tries: 0, answer };
                match result {
                    Ok(Some(Decision::Append { room, subjects, events })) => {
                        decided.append(self, Some(room), subjects, events, item);
                    }
                    Ok(_) => decided.answers.push((item, Ok(Answer::Stands(Status::Claimed)))),
                    Err(refusal) => decided.answers.push((item, Err(refusal.into()))),
                }
            }
        }
    }

    fn request(&mut self) -> RequestId {
        fresh_request(self.rng)
    }
}

/// A request id that nobody else has.
pub(super) fn fresh_request(rng: &mut StdRng) -> RequestId {
    RequestId(uuid::Builder::from_random_bytes(rng.random()).into_uuid())
}

impl Outcome {
    /// An event of no room about no message.
    fn of(event: Option<Event>) -> Outcome {
        Outcome::Append { room: None, subjects: vec![], events: event.into_iter().collect() }
    }
}

impl Decided {
    fn append(
        &mut self,
        turn: &mut Turn<'_>,
        room: Option<RoomName>,
        subjects: Vec<MessageId>,
        events: Vec<Event>,
        item: Item,
    ) {
        let moves = lanes::moves(&turn.projections.queue, &events);
        let mut draft = |event| Draft::new(room.clone(), event, turn.rng.random::<[u8; SALT_BYTES]>());
        match events.into_iter().map(&mut draft).collect::<Result<Vec<Draft>, _>>() {
            Ok(drafts) => {
                self.busy.extend(drafts.iter().flat_map(|d| d.event.subjects()));
                self.drafts += drafts.len() as u64;
                let after: Seq = turn.projections.position;
                self.appends.push(Append { after, request: item.request, subjects, drafts, moves });
                self.items.push(item);
            }
            Err(why) => self.answers.push((item, Err(Error::Log(log::Error::Invalid(why.to_string()))))),
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
    fn fit(&mut self, room: Option<&RoomName>, events: &[Event], queue: &Queue, queue_max: usize) -> bool {
        // One that comes with its end does not wait.
        let (Some(room), [Event::MessagePosted(MessagePosted { ask: Some(ask), .. })]) = (room, events) else {
            return true;
        };
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
