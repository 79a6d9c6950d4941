//! Random wishes, decided and applied, against a small model that knows only the rules.

mod claims;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use antiphon_schemas::{
    BotName, Entry, Epoch, Event, Header, MessageId, RequestId, RoomName, Seq,
    entry::VERSION,
    event::{Author, AuthorKind, Made, release},
    time::LogTime,
    wire::Status,
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use uuid::Uuid;

use super::{
    BotRule, Decision, FIRST_LANE_PER_ROOM, Facts, Policy, Refusal,
    change::{self, Change},
    post::{self, Post},
    work::{self, Ages, ClaimRequest, End, Held},
};
use crate::projection::{
    Limits, Projections, SnapshotData,
    queue::{Depth, State},
};

pub(crate) const MESSAGES: usize = 20;
const QUEUE_MAX: usize = 8;
const ATTEMPTS_MAX: u32 = 2;
pub(crate) const MAX_AGE_MS: u64 = 10_000;
const RETRY_BASE_MS: u64 = 100;
const RETRY_MAX_MS: u64 = 150;
pub(crate) const LIMITS: Limits = Limits { recent_messages: 5, rooms: 2 };
pub(crate) const EPOCH: Epoch = Epoch(7);

/// A wish, or time that passes.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Post {
        message: usize,
        room: usize,
        bot: Option<usize>,
        priority: u8,
    },
    Claim {
        bot: usize,
    },
    End {
        message: usize,
        stale: bool,
        how: How,
    },
    Due {
        message: usize,
    },
    Change {
        message: usize,
        change: Change,
    },
    /// Erases one of the replies so far; not among [`steps`], whose model knows no replies.
    EraseReply {
        nth: usize,
    },
    Wait {
        ms: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum How {
    Completed,
    Failed,
    FailedForGood,
    Released(&'static str),
}

/// Many posts, most for one bot in one room, so that lanes fill; ends mostly under the live fence, so that something happens.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop_oneof![
        2 => Just(How::Completed),
        3 => Just(How::Failed),
        1 => Just(How::FailedForGood),
        1 => Just(How::Released(release::GOODBYE)),
        1 => Just(How::Released(release::RESTARTED)),
        2 => Just(How::Released(release::LEASE_OVER)),
    ];
    let change = prop_oneof![
        3 => Just(Change::Retry),
        1 => Just(Change::Cancel),
        2 => Just(Change::Redact),
        1 => Just(Change::Erase),
    ];
    let busy = || prop_oneof![4 => Just(0usize), 1 => Just(1usize)];
    let post = (0..MESSAGES, busy(), proptest::option::weighted(0.9, busy()), 4u8..6);
    let step = prop_oneof![
        8 => post.prop_map(|(message, room, bot, priority)| Step::Post { message, room, bot, priority }),
        4 => (0..2usize).prop_map(|bot| Step::Claim { bot }),
        9 => (0..MESSAGES, prop::bool::weighted(0.2), how).prop_map(|(message, stale, how)| Step::End { message, stale, how }),
        3 => (0..MESSAGES).prop_map(|message| Step::Due { message }),
        2 => (0..MESSAGES, change).prop_map(|(message, change)| Step::Change { message, change }),
        2 => prop_oneof![4 => 0..200u64, 1 => Just(MAX_AGE_MS / 2)].prop_map(|ms| Step::Wait { ms }),
    ];
    proptest::collection::vec(step, 1..200)
}

/// As [`steps`], and replies are erased, too.
pub(crate) fn steps_that_erase() -> impl Strategy<Value = Vec<Step>> {
    let erase = prop_oneof![
        (0..20usize).prop_map(|nth| Step::EraseReply { nth }),
        (0..MESSAGES).prop_map(|message| Step::Change { message, change: Change::Erase }),
    ];
    (steps(), proptest::collection::vec((any::<prop::sample::Index>(), erase), 0..12)).prop_map(
        |(mut steps, erasures)| {
            for (at, erase) in erasures {
                steps.insert(at.index(steps.len() + 1), erase);
            }
            steps
        },
    )
}

/// The log that these wishes make; each is decided on the folds of those before it.
pub(crate) fn history(steps: &[Step]) -> Vec<Arc<Entry>> {
    let mut world = World::new();
    steps.iter().for_each(|step| drop(world.act(step)));
    world.entries
}

/// The log as it is once everything that it says is to be erased is.
pub(crate) fn erased(entries: &[Arc<Entry>]) -> Vec<Arc<Entry>> {
    let mut positions: Vec<Seq> = entries.iter().flat_map(|entry| erases(entry)).collect();
    positions.sort_unstable();
    let gone = |entry: &Arc<Entry>| positions.binary_search(&entry.header.seq).is_ok();
    entries.iter().map(|entry| if gone(entry) { Arc::new(entry.erased().unwrap()) } else { entry.clone() }).collect()
}

/// What an entry says is to be erased.
fn erases(entry: &Entry) -> Vec<Seq> {
    match &entry.event {
        Event::MessageErased(e) => e.positions.clone(),
        _ => Vec::new(),
    }
}

/// An event as the log stores it, at as many ms as its position.
pub(crate) fn stored(seq: u64, room: &RoomName, event: &Event) -> antiphon_schemas::Stored {
    let entry = roomless(seq, event.clone());
    let header = Header { room: Some(room.clone()), ..entry.header.clone() };
    antiphon_schemas::Stored::from(&Entry { header, ..(*entry).clone() })
}

/// An entry of no room, at as many ms as its position.
pub(crate) fn roomless(seq: u64, event: Event) -> Arc<Entry> {
    let header = Header {
        seq: Seq(seq),
        at_ms: seq,
        request: RequestId(Uuid::from_u128(seq.into())),
        kind: event.kind().into(),
        room: None,
        subjects: event.subjects(),
        version: VERSION,
    };
    Arc::new(Entry { header, body: Entry::body_of(&event, [0; 16]).unwrap(), event })
}

/// As many cases as `./scripts/soak` or the developer can wait for.
pub(crate) fn config() -> ProptestConfig {
    let cases = if std::env::var_os("ANTIPHON_SOAK").is_some_and(|v| v == "1") { 10_000 } else { 300 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

pub(crate) fn id(message: usize) -> MessageId {
    MessageId(Uuid::from_u128(message as u128 + 1))
}

pub(crate) fn room(n: usize) -> RoomName {
    RoomName::new(["one", "two"][n]).unwrap()
}

pub(crate) fn bot(n: usize) -> BotName {
    BotName::new(["ann-bot", "bob-bot"][n]).unwrap()
}

fn policy() -> Policy {
    Policy {
        queue_max: QUEUE_MAX,
        attempts_max: ATTEMPTS_MAX,
        max_age_ms: MAX_AGE_MS,
        lease_ms: 1_000,
        retry_base_ms: RETRY_BASE_MS,
        retry_max_ms: RETRY_MAX_MS,
        bots: (0..2).map(|n| BotRule { name: bot(n), rooms: vec![], answers_all: false }).collect(),
    }
}

/// The code under test: decide, append, apply.
pub(crate) struct World {
    pub(crate) projections: Projections,
    pub(crate) policy: Policy,
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) now_ms: u64,
    jitter: u64,
    /// The next claim's reply gets this id and the number of entries.
    pub(crate) replies_from: u128,
}

/// What a wish came to: the events appended, nothing to do, or refused.
pub(crate) type Came = Result<Option<Decision>, Refusal>;

impl World {
    pub(crate) fn now(&self) -> LogTime {
        LogTime::from_log_ms(self.now_ms)
    }

    pub(crate) fn new() -> World {
        let projections = Projections::resume(EPOCH, LIMITS, SnapshotData::default());
        World { projections, policy: policy(), entries: vec![], now_ms: 1_000_000, jitter: 0, replies_from: 1_000 }
    }

    pub(crate) fn act(&mut self, step: &Step) -> Came {
        let came = self.decide(step);
        if let Ok(Some(Decision::Append { room, events, .. })) = &came {
            events.iter().for_each(|event| self.append(room, event));
        }
        came
    }

    fn decide(&mut self, step: &Step) -> Came {
        let (state, policy, facts) = (&self.projections, &self.policy, Facts::none());
        let ages = Ages { now: self.now(), judged: true, behind: &HashMap::new() };
        self.jitter += 37;
        match step {
            Step::Post { message, room: n, bot: asked, priority } => {
                let post = Post {
                    room: room(*n),
                    id: id(*message),
                    fresh: false,
                    // Some are imported.
                    author: Author {
                        name: "ann".into(),
                        kind: [AuthorKind::Human, AuthorKind::Bot][message % 2],
                        color: None,
                    },
                    text: format!("message {message}").into(),
                    to: Some(asked.map(bot).into_iter().collect()),
                    priority: *priority,
                    reply_to: None,
                };
                post::post(state, &facts, policy, &post).map(Some)
            }
            Step::Claim { bot: n } => {
                let reply_id = MessageId(Uuid::from_u128(self.replies_from + self.entries.len() as u128));
                let wish = ClaimRequest {
                    bots: [bot(*n)].into(),
                    worker: "w".into(),
                    incarnation: None,
                    reply_id,
                    keyed: false,
                };
                work::claim(state, &Facts::none(), policy, &wish, ages, &HashSet::new())
            }
            Step::End { message, stale, how } => {
                let live = state.queue.claim(&id(*message)).map(|claim| claim.fence);
                // A stale fence is one that this message had, or never had.
                let fence = if *stale { Seq(live.map_or(1, |fence| fence.0 - 1)) } else { live.unwrap_or_default() };
                let end = match how {
                    How::Completed => End::Completed {
                        author: Author { name: "ann-bot".into(), kind: AuthorKind::Bot, color: None },
                        text: "words".into(),
                        made: Made { total_ms: 3, first_token_ms: Some(1), ..Made::default() },
                    },
                    How::Failed | How::FailedForGood => {
                        End::Failed { reason: "model-broke".into(), retryable: *how == How::Failed }
                    }
                    How::Released(reason) => End::Released(reason),
                };
                let held = Held { message_id: id(*message), fence };
                work::end(state, &facts, policy, held, &end, self.now(), self.jitter).map(Some)
            }
            Step::Due { message } => Ok(work::due(state, policy, id(*message), ages, LogTime::default())),
            Step::Change { message, change } => change::change(state, &facts, policy, id(*message), *change).map(Some),
            Step::EraseReply { nth } => {
                let replies = self.entries.iter().filter_map(|entry| match &entry.event {
                    Event::ReplyPosted(e) => Some(e.id),
                    _ => None,
                });
                let replies: Vec<_> = replies.collect();
                let Some(reply) = nth.checked_rem(replies.len()).map(|at| replies[at]) else { return Ok(None) };
                change::change(state, &facts, policy, reply, Change::Erase).map(Some)
            }
            Step::Wait { ms } => {
                self.now_ms += ms;
                Ok(None)
            }
        }
    }

    pub(crate) fn append(&mut self, room: &RoomName, event: &Event) {
        let seq = self.projections.position.next();
        let header = Header {
            seq,
            at_ms: self.now_ms,
            request: RequestId(Uuid::from_u128(seq.0.into())),
            kind: event.kind().into(),
            room: Some(room.clone()),
            subjects: event.subjects(),
            version: VERSION,
        };
        let body = Entry::body_of(event, [0; 16]).unwrap();
        self.push(Arc::new(Entry { header, body, event: event.clone() }));
    }

    pub(crate) fn push(&mut self, entry: Arc<Entry>) {
        self.projections.apply(&entry);
        self.entries.push(entry);
    }
}

/// Where a message stands by the rules.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stands {
    Waiting { since: u64 },
    Retrying { at_ms: u64 },
    Claimed { fence: u64 },
    Ended(Status),
}

#[derive(Debug, Clone)]
struct Modelled {
    room: usize,
    bot: Option<usize>,
    priority: u8,
    second: bool,
    asked_at_ms: u64,
    attempts: u32,
    stands: Stands,
    redacted: bool,
    erased: bool,
    answers: u32,
}

/// The rules, as plainly as they can be said: one record a message, everything else is searched for.
#[derive(Debug, Default)]
struct Model {
    messages: BTreeMap<usize, Modelled>,
    tail: u64,
}

/// What the model expects of a wish.
#[derive(Debug, Clone, PartialEq)]
enum Expected {
    Kinds(Vec<&'static str>),
    Already,
    Stands(Status),
    Nothing,
    Refused(Refusal),
}

impl Modelled {
    fn status(&self) -> Status {
        match self.stands {
            Stands::Waiting { .. } | Stands::Retrying { .. } => Status::Waiting,
            Stands::Claimed { .. } => Status::Claimed,
            Stands::Ended(status) => status,
        }
    }

    fn is_open(&self) -> bool {
        !matches!(self.stands, Stands::Ended(_))
    }

    fn too_old(&self, now_ms: u64) -> bool {
        now_ms >= self.asked_at_ms + MAX_AGE_MS
    }
}

impl Model {
    fn waiting(&self) -> impl Iterator<Item = (usize, u64, &Modelled)> {
        self.messages.iter().filter_map(|(n, m)| match m.stands {
            Stands::Waiting { since } => Some((*n, since, m)),
            _ => None,
        })
    }

    /// The messages that wait for a bot, in the order in which they are claimed.
    fn line(&self, bot: usize) -> Vec<usize> {
        let mut line: Vec<_> = self.waiting().filter(|(_, _, m)| m.bot == Some(bot)).collect();
        line.sort_by_key(|(_, since, m)| (9 - m.priority, m.second, *since));
        line.into_iter().map(|(n, ..)| n).collect()
    }

    fn in_room(&self, room: usize, priority: u8) -> usize {
        self.waiting().filter(|(_, _, m)| (m.room, m.priority) == (room, priority)).count()
    }

    fn full(&self, n: usize) -> Option<Expected> {
        let waiting = self.line(n).len();
        (waiting >= QUEUE_MAX).then(|| Expected::Refused(Refusal::QueueFull { bot: bot(n), waiting }))
    }

    /// Puts a message on its lane again; the entry that does it is the next one.
    fn back(&mut self, n: usize) {
        let (room, priority) = (self.messages[&n].room, self.messages[&n].priority);
        let second = self.in_room(room, priority) >= FIRST_LANE_PER_ROOM as usize;
        let since = self.tail + 1;
        let message = self.messages.get_mut(&n).unwrap();
        (message.second, message.stands) = (second, Stands::Waiting { since });
    }

    fn end(&mut self, n: usize, status: Status) {
        self.messages.get_mut(&n).unwrap().stands = Stands::Ended(status);
    }

    /// What must come of a wish, and what it does to the model. `came` is looked at for what chance decides: when a
    /// retry is due.
    fn act(&mut self, step: &Step, now_ms: u64, came: &Came) -> Expected {
        let expected = self.expect(step, now_ms, came);
        if let Expected::Kinds(kinds) = &expected {
            self.tail += kinds.len() as u64;
        }
        expected
    }

    fn expect(&mut self, step: &Step, now_ms: u64, came: &Came) -> Expected {
        use Expected::{Already, Kinds, Nothing, Refused};
        match *step {
            Step::Wait { .. } => Nothing,
            Step::EraseReply { .. } => unreachable!("not among these steps"),
            Step::Post { message, room, bot, priority } => {
                if let Some(known) = self.messages.get(&message) {
                    let same = known.room == room && (known.erased || known.bot == bot);
                    return if same { Already } else { Refused(Refusal::IdTaken(id(message))) };
                }
                if let Some(full) = bot.and_then(|bot| self.full(bot)) {
                    return full;
                }
                let stands = Stands::Ended(Status::None);
                let asked_at_ms = now_ms;
                let (second, attempts, redacted, erased, answers) = (false, 0, false, false, 0);
                let new =
                    Modelled { room, bot, priority, second, asked_at_ms, attempts, stands, redacted, erased, answers };
                self.messages.insert(message, new);
                if bot.is_some() {
                    self.back(message);
                }
                Kinds(vec!["message.posted"])
            }
            Step::Claim { bot } => {
                let line = self.line(bot);
                let Some(n) = line.into_iter().next().filter(|n| !self.messages[n].too_old(now_ms)) else {
                    return Nothing;
                };
                let fence = self.tail + 1;
                let message = self.messages.get_mut(&n).unwrap();
                message.attempts += 1;
                message.stands = Stands::Claimed { fence };
                let Ok(Some(Decision::Append { subjects, .. })) = came else { panic!("{came:?}") };
                assert_eq!(subjects, &[id(n)], "the first in line");
                Kinds(vec!["message.claimed"])
            }
            Step::End { message: n, stale, how } => {
                let Some(message) = self.messages.get_mut(&n) else {
                    return Refused(Refusal::NoSuchMessage(id(n)));
                };
                match message.stands {
                    Stands::Ended(status) => return Refused(Refusal::AlreadyEnded(status)),
                    Stands::Waiting { .. } | Stands::Retrying { .. } => return Refused(Refusal::ClaimOver),
                    Stands::Claimed { fence } if stale => {
                        return Refused(Refusal::StaleFence { worker: "w".into(), fence: Seq(fence) });
                    }
                    Stands::Claimed { .. } => {}
                }
                let used_up = message.attempts >= ATTEMPTS_MAX;
                match how {
                    How::Completed => {
                        message.answers += 1;
                        self.end(n, Status::Answered);
                        Kinds(vec!["reply.posted", "message.completed"])
                    }
                    How::Failed if used_up => {
                        self.end(n, Status::Dead);
                        Kinds(vec!["message.failed", "message.dead"])
                    }
                    How::Failed => {
                        let Ok(Some(Decision::Append { events, .. })) = came else { panic!("{came:?}") };
                        let Event::MessageFailed(failed) = &events[0] else { panic!("{came:?}") };
                        let at_ms = failed.retry_at_ms.expect("attempts are left");
                        let whole = (RETRY_BASE_MS << (message.attempts - 1)).min(RETRY_MAX_MS);
                        assert!((whole / 2..=whole).contains(&(at_ms - now_ms)), "{} of {whole}", at_ms - now_ms);
                        message.stands = Stands::Retrying { at_ms };
                        Kinds(vec!["message.failed"])
                    }
                    How::FailedForGood => {
                        self.end(n, Status::Failed);
                        Kinds(vec!["message.failed"])
                    }
                    How::Released(release::LEASE_OVER) if used_up => {
                        self.end(n, Status::Dead);
                        Kinds(vec!["message.dead"])
                    }
                    How::Released(reason) => {
                        message.attempts -= u32::from(reason != release::LEASE_OVER);
                        self.back(n);
                        Kinds(vec!["message.released"])
                    }
                }
            }
            Step::Due { message: n } => {
                let Some(message) = self.messages.get(&n) else { return Nothing };
                match message.stands {
                    Stands::Ended(_) | Stands::Claimed { .. } => Nothing,
                    _ if message.too_old(now_ms) => {
                        self.end(n, Status::Dead);
                        Kinds(vec!["message.dead"])
                    }
                    Stands::Retrying { at_ms } if at_ms <= now_ms => {
                        self.back(n);
                        Kinds(vec!["message.released"])
                    }
                    _ => Nothing,
                }
            }
            Step::Change { message: n, change } => {
                let Some(message) = self.messages.get_mut(&n) else {
                    return Refused(Refusal::NoSuchMessage(id(n)));
                };
                let (status, open) = (message.status(), message.is_open());
                match change {
                    Change::Cancel if open => {
                        self.end(n, Status::Cancelled);
                        Kinds(vec!["message.cancelled"])
                    }
                    Change::Cancel if status == Status::Cancelled => Expected::Stands(status),
                    Change::Cancel => Refused(Refusal::AlreadyEnded(status)),
                    Change::Redact if message.redacted => Expected::Stands(status),
                    Change::Redact => {
                        message.redacted = true;
                        if !open {
                            return Kinds(vec!["message.redacted"]);
                        }
                        self.end(n, Status::Cancelled);
                        Kinds(vec!["message.cancelled", "message.redacted"])
                    }
                    Change::Erase if message.erased => Expected::Stands(status),
                    Change::Erase => {
                        let hide = (!std::mem::replace(&mut message.redacted, true)).then_some("message.redacted");
                        message.erased = true;
                        if open {
                            self.end(n, Status::Cancelled);
                        }
                        let cancel = open.then_some("message.cancelled");
                        Kinds(cancel.into_iter().chain(hide).chain(["message.erased"]).collect())
                    }
                    Change::Retry if open || status == Status::None => Refused(Refusal::NotFailed(status)),
                    Change::Retry if message.redacted => Refused(Refusal::Redacted),
                    Change::Retry => {
                        let bot = message.bot.expect("it has ended, so it was asked");
                        if let Some(full) = self.full(bot) {
                            return full;
                        }
                        let message = self.messages.get_mut(&n).unwrap();
                        assert!(message.answers <= 1, "each asking is answered once");
                        (message.attempts, message.asked_at_ms, message.answers) = (0, now_ms, 0);
                        self.back(n);
                        Kinds(vec!["message.released"])
                    }
                }
            }
        }
    }

    /// The projections say of every message what the model says, and nothing more.
    fn check(&self, projections: &Projections) {
        let queue = &projections.queue;
        assert_eq!(projections.position.0, self.tail);
        assert_eq!(queue.iter().count(), self.messages.values().filter(|m| m.is_open()).count());
        for (n, message) in &self.messages {
            let record = projections.newest.record(&id(*n), None).unwrap();
            let stands = (message.status(), message.redacted, message.erased);
            assert_eq!((record.status, record.redacted, record.erased), stands, "{n}");
            let open = queue.get(&id(*n));
            assert_eq!(open.is_some(), message.is_open(), "{n}");
            let Some(open) = open else { continue };
            assert_eq!((open.attempts, open.asked_at_ms), (message.attempts, message.asked_at_ms), "{n}");
            assert_eq!((&open.room, Some(&open.ask.bot)), (&room(message.room), message.bot.map(bot).as_ref()));
            let stands = match &open.state {
                State::Waiting { since, .. } => {
                    assert_eq!((open.ask.priority, open.ask.second), (message.priority, message.second), "{n}");
                    Stands::Waiting { since: since.0 }
                }
                State::Retrying { at_ms } => Stands::Retrying { at_ms: *at_ms },
                State::Claimed(claim) => {
                    assert!(queue.is_promised(&claim.reply_id));
                    Stands::Claimed { fence: claim.fence.0 }
                }
            };
            assert_eq!(stands, message.stands, "{n}");
        }
        for b in 0..2 {
            let name = bot(b);
            let line = self.line(b);
            assert!(queue.waiting(&name).eq(line.iter().map(|n| id(*n))), "the line of {name}");
            let ahead = line.iter().map(|n| queue.ahead(&id(*n)));
            assert!(ahead.eq((0..line.len()).map(Some)));
            assert_eq!(queue.lanes(&name).map(|(.., n)| n).sum::<usize>(), line.len());
            assert!(queue.lanes(&name).is_sorted_by_key(|(priority, second, _)| (9 - priority, second)));
            let of =
                |is: fn(&Stands) -> bool| self.messages.values().filter(|m| m.bot == Some(b) && is(&m.stands)).count();
            let depth = Depth {
                waiting: line.len(),
                retrying: of(|s| matches!(s, Stands::Retrying { .. })),
                claimed: of(|s| matches!(s, Stands::Claimed { .. })),
            };
            assert_eq!(queue.depth(&name), depth);
        }
        for r in 0..2 {
            for priority in 0..=9 {
                assert_eq!(queue.waiting_in_room(&room(r), priority) as usize, self.in_room(r, priority));
            }
        }
    }
}

/// Reads a log as an auditor would, from the entries alone: fences rise; what ends a claim names the live one; a reply
/// comes only under a live claim, with the id that it promised; each asking ends once, and has one answer at most.
pub(crate) fn audit(entries: &[Arc<Entry>]) {
    #[derive(Default)]
    struct Seen {
        claim: Option<(Seq, MessageId)>,
        last_fence: Seq,
        ended: bool,
        replied: Option<MessageId>,
    }
    let mut messages: BTreeMap<MessageId, Seen> = BTreeMap::new();
    for entry in entries {
        let subject = *entry.header.subjects.last().unwrap();
        let seen = match &entry.event {
            Event::MessageClaimed(e) => messages.get_mut(&e.message_id).unwrap(),
            Event::ReplyPosted(e) => messages.get_mut(&e.message_id).unwrap(),
            Event::MessageCompleted(e) => messages.get_mut(&e.message_id).unwrap(),
            _ => messages.entry(subject).or_default(),
        };
        match &entry.event {
            Event::MessageClaimed(e) => {
                assert!(seen.claim.is_none() && !seen.ended && entry.header.seq > seen.last_fence, "{entry:?}");
                (seen.claim, seen.last_fence) = (Some((entry.header.seq, e.reply_id)), entry.header.seq);
            }
            Event::MessageReleased(e) => {
                assert_eq!(seen.claim.take().map(|(fence, _)| fence), e.fence, "{entry:?}");
                assert_eq!(seen.ended, &*e.reason == release::RETRY_ASKED, "{entry:?}");
                (seen.ended, seen.replied) = (false, seen.replied.filter(|_| &*e.reason != release::RETRY_ASKED));
            }
            Event::MessageFailed(e) => {
                assert_eq!(seen.claim.take().map(|(fence, _)| fence), Some(e.fence), "{entry:?}");
                seen.ended = e.retry_at_ms.is_none();
            }
            Event::ReplyPosted(e) => {
                assert_eq!(seen.claim.map(|(_, reply_id)| reply_id), Some(e.id), "{entry:?}");
                assert!(seen.replied.replace(e.id).is_none(), "a second reply: {entry:?}");
            }
            Event::MessageCompleted(e) => {
                assert_eq!(seen.claim.take(), Some((e.fence, e.reply_id)), "{entry:?}");
                assert_eq!(seen.replied, Some(e.reply_id), "{entry:?}");
                assert!(!std::mem::replace(&mut seen.ended, true), "{entry:?}");
            }
            // After the last failure it follows in the same append.
            Event::MessageDead(_) => (seen.claim, seen.ended) = (None, true),
            Event::MessageCancelled(_) => {
                assert!(!std::mem::replace(&mut seen.ended, true), "{entry:?}");
                seen.claim = None;
            }
            _ => {}
        }
    }
}

fn outcome(came: &Came) -> Expected {
    match came {
        Err(refusal) => Expected::Refused(refusal.clone()),
        Ok(None) => Expected::Nothing,
        Ok(Some(Decision::Already(_))) => Expected::Already,
        Ok(Some(Decision::Stands(status))) => Expected::Stands(*status),
        Ok(Some(Decision::Append { events, .. })) => {
            let known = |kind: &str| *Event::KINDS.iter().find(|k| **k == kind).unwrap();
            Expected::Kinds(events.iter().map(|event| known(event.kind())).collect())
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_is_wished_the_rules_hold(steps in steps()) {
        let (mut world, mut model) = (World::new(), Model::default());
        for step in &steps {
            let came = world.act(step);
            let expected = model.act(step, world.now_ms, &came);
            assert_eq!(outcome(&came), expected, "{step:?}");
            model.check(&world.projections);
        }
        audit(&world.entries);
        assert!(model.messages.values().all(|m| m.answers <= 1));
    }
}

/// A property that holds because nothing happens would be worth nothing: the random wishes come to every outcome.
#[test]
fn the_random_wishes_reach_every_event_and_every_refusal() {
    let mut runner = TestRunner::deterministic();
    let (mut kinds, mut refusals, mut second) = (BTreeMap::new(), BTreeMap::new(), 0);
    for _ in 0..1_000 {
        let (mut world, steps) = (World::new(), steps().new_tree(&mut runner).unwrap().current());
        for step in &steps {
            match outcome(&world.act(step)) {
                Expected::Kinds(appended) => *kinds.entry(appended).or_insert(0) += 1,
                Expected::Refused(refusal) => {
                    let name = format!("{refusal:?}").split([' ', '(', '{']).next().unwrap().to_owned();
                    *refusals.entry(name).or_insert(0) += 1;
                }
                _ => {}
            }
        }
        second += world.projections.queue.iter().filter(|(_, open)| open.ask.second).count();
    }
    assert!(second > 0);
    let expected: [&[_]; 13] = [
        &["message.cancelled"],
        &["message.cancelled", "message.redacted"],
        &["message.cancelled", "message.redacted", "message.erased"],
        &["message.claimed"],
        &["message.dead"],
        &["message.erased"],
        &["message.failed"],
        &["message.failed", "message.dead"],
        &["message.posted"],
        &["message.redacted"],
        &["message.redacted", "message.erased"],
        &["message.released"],
        &["reply.posted", "message.completed"],
    ];
    assert!(kinds.keys().eq(expected.iter()), "{kinds:?}");
    let expected = [
        ["AlreadyEnded", "ClaimOver", "IdTaken", "NoSuchMessage", "NotFailed"].as_slice(),
        &["QueueFull", "Redacted", "StaleFence"],
    ];
    assert!(refusals.keys().eq(expected.concat().iter()), "{refusals:?}");
}

#[test]
fn lanes_are_read_by_priority_then_second_lane_then_age() {
    let mut world = World::new();
    let mut ask = |message, room, priority| {
        world.act(&Step::Post { message, room, bot: Some(0), priority }).unwrap();
        let state = &world.projections.queue.get(&id(message)).unwrap();
        state.ask.second
    };
    // A flood in room one: its fifth post at this priority goes onto the second lane; another room's does not.
    let second: Vec<_> = (0..6).map(|message| ask(message, 0, 5)).collect();
    assert_eq!(second, [false, false, false, false, true, true]);
    assert!(!ask(6, 1, 5));
    assert!(!ask(7, 0, 6), "another priority has its own share");
    let order: Vec<_> = world.projections.queue.waiting(&bot(0)).collect();
    assert_eq!(order, [7, 0, 1, 2, 3, 6, 4, 5].map(id));
    let lanes: Vec<_> = world.projections.queue.lanes(&bot(0)).collect();
    assert_eq!(lanes, [(6, false, 1), (5, false, 5), (5, true, 2)]);
    assert_eq!(world.projections.queue.ahead(&id(6)), Some(5), "the flood's first four and the urgent one");
}
