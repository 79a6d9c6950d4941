//! Random wishes, decided and applied, against a small model that knows only the rules.

mod claims;
mod model;
mod world;

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

use self::model::{Expected, Model};
pub(crate) use self::world::{Came, World};
use super::{
    BotRule, Decision, FIRST_LANE_PER_ROOM, Policy, Prefetched, Refusal,
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
