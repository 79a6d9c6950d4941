//! Every case once by a table, and random histories, cut anywhere, offered once, twice, and by two nodes.

mod cuts;
mod erased;
mod keys;

use std::collections::{BTreeMap, BTreeSet};

use antiphon_schemas::event::{Author, AuthorKind, Made, MessageClaimed, Unknown};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use uuid::Uuid;

use antiphon_schemas::BotName;

use self::cuts::*;
use super::*;
use crate::{
    decide::{
        change::change,
        tests::{
            How, MAX_AGE_MS, MESSAGES, Step, World, bot, config, erased, history, id, room, steps, steps_that_erase,
        },
    },
    projection::{
        record::{Change as Changed, Record},
        view,
    },
};

/// What an offer came to, in letters: the events, `=` for "already so", or the refusal's name.
fn letters(decided: &Result<Decision, Refusal>) -> String {
    let letter = |event: &Event| match event {
        Event::MessagePosted(_) => 'p',
        Event::MessageReleased(_) => 'r',
        Event::ReplyPosted(_) => 'a',
        Event::MessageCompleted(_) => 'c',
        Event::MessageCancelled(_) => 'x',
        Event::MessageDead(_) => 'd',
        Event::MessageRedacted(_) => 'h',
        Event::MessageErased(_) => 'e',
        other => panic!("{other:?}"),
    };
    match decided {
        Ok(Decision::Append { events, .. }) => events.iter().map(letter).collect(),
        Ok(Decision::Already(_) | Decision::Stands(_)) => "=".into(),
        Err(refusal) => format!("{refusal:?}").split([' ', '(', '{']).next().unwrap().into(),
    }
}

fn post(message: usize) -> Step {
    Step::Post { message, room: 0, bot: Some(0), priority: 5 }
}

fn end(how: How) -> Step {
    Step::End { message: 0, stale: false, how }
}

fn world(steps: &[Step]) -> World {
    let mut world = World::new();
    steps.iter().for_each(|step| drop(world.act(step).unwrap()));
    world
}

fn reply_id(n: u128) -> MessageId {
    MessageId(Uuid::from_u128(n))
}

/// What the lost entries said of message 0: posted, and this end. Its reply has the id that the first claim would give.
fn lost(end: RestoredEnd) -> Restore {
    let posted = MessagePosted {
        id: id(0),
        author: Author { name: "ann".into(), kind: AuthorKind::Human, color: Some("red".into()) },
        text: "message 0".into(),
        to: Some(vec![bot(0)]),
        ask: Some(antiphon_schemas::event::Ask { bot: bot(0), priority: 5, second: true }),
        reply_to: None,
        hops: 0,
        said_at_ms: None,
    };
    let (posted, reopened, earlier, hidden) = (Some(posted), false, vec![], vec![]);
    Restore { id: id(0), room: room(0), posted, reopened, earlier, end, hidden }
}

fn answered(reply: u128) -> RestoredEnd {
    let (message_id, author) = (id(0), Author { name: "ann-bot".into(), kind: AuthorKind::Bot, color: None });
    let made = Arc::new(Made { total_ms: 7, ..Made::default() });
    let reply = ReplyPosted { id: reply_id(reply), message_id, author, text: "words".into(), hops: 1, made };
    let completed = MessageCompleted { message_id, reply_id: reply.id, fence: Seq(4_711), ms: 7 };
    RestoredEnd::Answered { reply: Some(Box::new(reply)), completed }
}

/// It was answered, asked again, and came to this end.
fn asked_again(end: RestoredEnd) -> Restore {
    let RestoredEnd::Answered { reply: Some(first), .. } = answered(1_001) else { unreachable!("made with one") };
    Restore { reopened: true, earlier: vec![*first], ..lost(end) }
}

fn offer(world: &World, wish: &Restore) -> Result<Decision, Refusal> {
    restore(&world.projections, &Prefetched::none(), wish)
}

#[test]
fn every_end_meets_every_state() {
    use Step::{Change, Claim, Due, Wait};
    let (claim, cancel) = (Claim { bot: 0 }, Change { message: 0, change: super::Change::Cancel });
    let asks_nobody = Step::Post { message: 0, room: 0, bot: None, priority: 5 };
    // In the last of these the id means another message.
    let states: [(&str, Vec<Step>); 10] = [
        ("unknown", vec![]),
        ("waiting", vec![post(0)]),
        ("claimed", vec![post(0), claim.clone()]),
        ("retrying", vec![post(0), claim.clone(), end(How::Failed)]),
        ("answered", vec![post(0), claim.clone(), end(How::Completed)]),
        ("failed", vec![post(0), claim.clone(), end(How::FailedForGood)]),
        ("dead", vec![post(0), Wait { ms: MAX_AGE_MS }, Due { message: 0 }]),
        ("cancelled", vec![post(0), cancel]),
        ("taken", vec![Step::Post { message: 0, room: 1, bot: Some(0), priority: 5 }]),
        ("asks nobody", vec![asks_nobody]),
    ];
    // The first claim in an empty log promises 1,001 to its reply.
    let ends = [
        lost(RestoredEnd::Open),
        Restore { reopened: true, ..lost(RestoredEnd::Open) },
        asked_again(RestoredEnd::Open),
        lost(answered(1_001)),
        lost(answered(9_999)),
        asked_again(answered(9_999)),
        lost(RestoredEnd::Cancelled),
        Restore { reopened: true, ..lost(RestoredEnd::Cancelled) },
        lost(RestoredEnd::Dead("too-old".into())),
        Restore { reopened: true, ..lost(RestoredEnd::Dead("too-old".into())) },
    ];
    let ended = "AlreadyEnded";
    let taken = "IdTaken";
    // Columns: open, reopened, reopened after an answer (1,001), answered (1,001), answered by another, the same after the first
    // answer, cancelled, reopened and cancelled, dead, reopened and dead.
    let expected = [
        ["p", "p", "pa", "pac", "pac", "paac", "px", "px", "pd", "pd"],
        ["=", "=", "a", "ac", "ac", "aac", "x", "x", "d", "d"],
        // Its claim promised 1,001, and is over.
        ["=", "=", "ar", "ac", "ac", "aac", "x", "x", "d", "d"],
        ["=", "=", "a", "ac", "ac", "aac", "x", "x", "d", "d"],
        ["=", "r", "r", "=", ended, "a", ended, "rx", ended, "rd"],
        ["=", "r", "ar", "ac", "ac", "aac", ended, "x", "=", "="],
        ["=", "r", "ar", "ac", "ac", "aac", ended, "x", "=", "="],
        ["=", "r", "ar", ended, ended, "arac", "=", "=", ended, "rd"],
        [taken; 10],
        [taken; 10],
    ];
    for ((name, steps), expected) in states.iter().zip(expected) {
        let found: Vec<_> = ends.iter().map(|wish| letters(&offer(&world(steps), wish))).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn without_its_post_only_a_message_that_is_there_can_end() {
    let wish = Restore { posted: None, ..lost(answered(1_001)) };
    assert_eq!(offer(&world(&[]), &wish), Err(Refusal::NoSuchMessage(id(0))));
    assert_eq!(letters(&offer(&world(&[post(0)]), &wish)), "ac");
    let elsewhere = Step::Post { message: 0, room: 0, bot: None, priority: 5 };
    assert_eq!(offer(&world(&[elsewhere]), &wish), Err(Refusal::AlreadyEnded(Status::None)));
}

#[test]
fn a_post_comes_back_word_for_word_on_the_lane_that_is_its_own_now() {
    let mut wish = lost(answered(1_001));
    let posted = wish.posted.as_mut().unwrap();
    (posted.reply_to, posted.hops) = (Some(id(19)), 3);
    posted.ask.as_mut().unwrap().bot = BotName::new("nobody-here-knows-it").unwrap();
    let world = world(&[]);
    let Ok(Decision::Append { room: of, subjects, events }) = offer(&world, &wish) else { panic!() };
    assert_eq!((of, subjects), (room(0), vec![id(0), reply_id(1_001)]));
    let mut expected = wish.posted.clone().unwrap();
    expected.ask.as_mut().unwrap().second = false;
    assert_eq!(events[0], expected.into(), "reply_to too, though it names what is not there");
    let RestoredEnd::Answered { reply, completed } = wish.end.clone() else { panic!() };
    assert_eq!(events[1..], [(*reply.unwrap()).into(), completed.into()], "the fence as it was");
    // The fifth to wait in its room goes onto the second lane.
    let flood = self::world(&(1..5).map(post).collect::<Vec<_>>());
    let Ok(Decision::Append { events, .. }) = offer(&flood, &lost(RestoredEnd::Open)) else { panic!() };
    assert!(matches!(&events[0], Event::MessagePosted(MessagePosted { ask: Some(ask), .. }) if ask.second));
    // Nor is a full queue a reason to lose it.
    let full = self::world(&(1..9).map(post).collect::<Vec<_>>());
    assert_eq!(letters(&full.act_on_clone(&post(0))), "QueueFull");
    assert_eq!(letters(&offer(&full, &lost(RestoredEnd::Open))), "p");
}

impl World {
    /// What a step would come to.
    fn act_on_clone(&self, step: &Step) -> Result<Decision, Refusal> {
        let mut clone = World::new();
        self.entries.iter().for_each(|entry| clone.append(entry.header.room.as_ref().unwrap(), &entry.event));
        clone.act(step).map(|came| came.expect("a decision"))
    }
}

#[test]
fn what_was_hidden_is_hidden_in_the_same_append() {
    let hidden = vec![id(0), reply_id(1_001)];
    let wish = Restore { hidden: hidden.clone(), ..lost(answered(1_001)) };
    assert_eq!(letters(&offer(&world(&[]), &wish)), "pachh");
    assert_eq!(letters(&offer(&world(&[post(0)]), &wish)), "achh");
    let redacted = world(&[post(0), Step::Change { message: 0, change: Change::Redact }]);
    assert_eq!(offer(&redacted, &wish), Err(Refusal::AlreadyEnded(Status::Cancelled)));
    // Hidden while it waits, and the store kept it waiting: nobody may answer it.
    let wish = Restore { hidden: vec![id(0)], ..lost(RestoredEnd::Open) };
    assert_eq!(letters(&offer(&world(&[]), &wish)), "pxh");
    let again = Restore { reopened: true, ..lost(RestoredEnd::Open) };
    assert_eq!(offer(&redacted, &again), Err(Refusal::Redacted));
    let steps = [post(0), Step::Wait { ms: MAX_AGE_MS }, Step::Due { message: 0 }];
    let mut dead = world(&steps);
    dead.act(&Step::Change { message: 0, change: Change::Redact }).unwrap();
    assert_eq!(offer(&dead, &again), Err(Refusal::Redacted));
}

#[test]
fn an_id_that_is_anothers_by_now_is_refused() {
    // The reply's id is a message, and the message's id is promised to a reply.
    let mut world = World::new();
    world.replies_from = 0;
    [post(1), Step::Claim { bot: 0 }].iter().for_each(|step| drop(world.act(step).unwrap()));
    assert!(world.projections.queue.is_promised(&id(0)));
    assert_eq!(offer(&world, &lost(RestoredEnd::Open)), Err(Refusal::IdTaken(id(0))));
    let RestoredEnd::Answered { reply, completed } = answered(2) else { panic!() };
    assert_eq!(completed.reply_id, id(1));
    let wish = Restore { id: id(7), ..lost(RestoredEnd::Answered { reply, completed }) };
    assert_eq!(offer(&world, &wish), Err(Refusal::IdTaken(id(1))));
}

#[test]
fn a_cut_between_an_answer_and_its_end_gives_the_end_alone() {
    let mut world = world(&[post(0), Step::Claim { bot: 0 }]);
    let RestoredEnd::Answered { reply, completed } = answered(1_001) else { panic!() };
    let end = RestoredEnd::Answered { reply: None, completed };
    let wish = Restore { posted: None, ..lost(end) };
    assert_eq!(offer(&world, &wish), Err(Refusal::NoSuchMessage(reply_id(1_001))));
    world.append(&room(0), &(*reply.unwrap()).into());
    assert_eq!(letters(&offer(&world, &wish)), "c");
    assert_eq!(letters(&offer(&world, &lost(answered(1_001)))), "c");
}

#[test]
fn of_an_erased_message_its_place_and_its_answer_come_back_and_no_text() {
    let steps = [post(0), Step::Claim { bot: 0 }, end(How::Completed)];
    let erase = Step::Change { message: 0, change: Change::Erase };
    let entries = history(&[&steps[..], &[erase, Step::EraseReply { nth: 0 }]].concat());
    // This node had seen all of it; whether it had let the texts go makes no difference.
    for lost in [entries.clone(), erased(&entries)] {
        let mut world = World::new();
        let plan = plan(&lost);
        assert_eq!(plan.changes, [id(0), reply_id(1_001)].map(|id| (id, Change::Erase)));
        assert_eq!(carry_out(&mut world, &plan, &mut BTreeMap::new()), []);
        let kinds: Vec<_> = world.entries.iter().map(|entry| entry.event.kind().to_string()).collect();
        let expected = ["message.posted", "reply.posted", "message.completed", "message.redacted", "message.redacted"];
        assert_eq!(kinds[..5], expected);
        assert_eq!(kinds[5..], ["message.erased"; 2]);
        assert!(
            !format!("{:?}", world.entries).contains("words") && !format!("{:?}", world.entries).contains("message 0")
        );
        // And offered once more, by another node or after it was erased again.
        let mut again = fork(&erased(&world.entries));
        assert_eq!(carry_out(&mut again, &plan, &mut BTreeMap::new()), []);
        assert_eq!(again.entries.len(), world.entries.len());
    }
    // The store kept the messages, even without their texts: only that they are to be erased was lost.
    for kept in [entries[..4].to_vec(), erased(&entries)[..4].to_vec()] {
        let mut world = fork(&kept);
        assert_eq!(carry_out(&mut world, &plan(&entries[4..]), &mut BTreeMap::new()), []);
        let kinds: Vec<_> = world.entries[4..].iter().map(|entry| entry.event.kind().to_string()).collect();
        assert_eq!(kinds, ["message.redacted", "message.erased", "message.redacted", "message.erased"]);
    }
}

fn entry(seq: u64, room: Option<RoomName>, event: Event) -> Arc<Entry> {
    let header = antiphon_schemas::Header {
        seq: Seq(seq),
        at_ms: 0,
        request: antiphon_schemas::RequestId(Uuid::nil()),
        kind: event.kind().into(),
        room,
        subjects: event.subjects(),
        version: antiphon_schemas::entry::VERSION,
    };
    Arc::new(Entry { header, body: Entry::body_of(&event, [0; 16]).unwrap(), event })
}

#[test]
fn a_plan_offers_what_somebody_was_told_and_lists_what_it_cannot() {
    let posted = lost(RestoredEnd::Open).posted.unwrap();
    let RestoredEnd::Answered { reply, completed } = answered(1_001) else { panic!() };
    let reply = *reply.unwrap();
    let ask = posted.ask.clone().unwrap();
    let claimed = MessageClaimed {
        message_id: id(0),
        reply_id: reply.id,
        bot: bot(0),
        worker: "w".into(),
        incarnation: None,
        attempt: 1,
        lease_ms: 1,
    };
    let released = |n, reason: &str| {
        let (message_id, reason, ask) = (id(n), reason.into(), ask.clone());
        Event::from(MessageReleased { message_id, fence: None, reason, ask })
    };
    let failed = |n, reason: &str, retry_at_ms| {
        let (message_id, fence, attempt, reason) = (id(n), Seq(1), 1, reason.into());
        Event::from(antiphon_schemas::event::MessageFailed {
            message_id,
            fence,
            reason,
            attempt,
            retry_at_ms,
            away: false,
        })
    };
    let dead = |n, reason: &str| Event::from(MessageDead { message_id: id(n), reason: reason.into() });
    let events: Vec<Event> = vec![
        claimed.clone().into(),
        posted.clone().into(),
        claimed.clone().into(),
        released(0, release::LEASE_OVER),
        failed(0, "again", Some(5)),
        failed(3, "for good", None),
        failed(4, "once more", None),
        dead(4, "attempts-used-up: once more"),
        released(5, release::RETRY_ASKED),
        dead(6, "too-old"),
        released(6, release::RETRY_ASKED),
        MessageCancelled { message_id: id(7) }.into(),
        MessageRedacted { message_id: id(7) }.into(),
        reply.clone().into(),
        completed.clone().into(),
        MessageRedacted { message_id: reply.id }.into(),
        MessageRedacted { message_id: id(8) }.into(),
        ReplyPosted { id: reply_id(50), message_id: id(9), ..reply.clone() }.into(),
    ];
    let mut entries: Vec<_> = (1..).zip(events).map(|(seq, event)| entry(seq, Some(room(0)), event)).collect();
    let unknown = Unknown { kind: "weather.changed".into(), data: vec![0xc0].into(), subjects: vec![id(11), id(12)] };
    let of_no_room = [Event::Unknown(unknown), report("n", Epoch(1), Seq(1), 0, vec![]).into(), dead(13, "in no room")];
    entries.extend((100..).zip(of_no_room).map(|(seq, event)| entry(seq, None, event)));
    let plan = plan(&entries);

    let message = |n, end| Restore { id: id(n), posted: None, ..lost(end) };
    // Hidden, and offered by itself in case its question came to another end.
    let alone = Restore { earlier: vec![reply.clone()], hidden: vec![reply.id], ..message(0, RestoredEnd::Open) };
    let end = RestoredEnd::Answered { reply: Some(Box::new(reply.clone())), completed };
    let expected = [
        Restore { posted: Some(posted), hidden: vec![reply.id], ..lost(end) },
        message(3, RestoredEnd::Dead("for good".into())),
        message(4, RestoredEnd::Dead("attempts-used-up: once more".into())),
        Restore { reopened: true, ..message(5, RestoredEnd::Open) },
        Restore { reopened: true, ..message(6, RestoredEnd::Open) },
        Restore { hidden: vec![id(7)], ..message(7, RestoredEnd::Cancelled) },
        alone,
    ];
    assert_eq!(plan.restores, expected);
    assert_eq!(plan.changes, [id(7), reply.id, id(8)].map(|id| (id, Change::Redact)));
    let refused: Vec<_> = plan.refused.iter().map(|r| (&*r.kind, r.id)).collect();
    let expected = [("weather.changed", Some(id(11))), ("message.dead", Some(id(13))), ("reply.posted", Some(id(9)))];
    assert_eq!(refused, expected);
    assert_eq!(plan.offered(), 7 + 3 + 3);
    assert_eq!(super::plan(&[]), Plan::default());
}

#[test]
fn a_report_is_bounded_and_its_numbers_add_up() {
    let long = Refusal::StaleFence { worker: "ä".repeat(5_000).into(), fence: Seq(1) };
    let refused = lost(answered(1)).refused(&long);
    assert_eq!((&*refused.kind, refused.id), ("reply.posted", Some(id(0))));
    assert!((250..=256).contains(&refused.reason.len()), "{}", refused.reason);
    let report = report("node-1", Epoch(7), Seq(9), 100_000, vec![refused; 50_000]);
    assert_eq!((report.refused.len(), report.refused_more, report.again), (1_000, 49_000, 50_000));
    let body = Entry::body_of(&report.into(), [0; 16]).unwrap();
    assert!(body.len() < antiphon_schemas::entry::BODY_BYTES_MAX / 2, "{}", body.len());
    let kinds = [
        (lost(RestoredEnd::Open), Refusal::Redacted, "message.posted"),
        (lost(RestoredEnd::Cancelled), Refusal::IdTaken(id(0)), "message.posted"),
        (lost(RestoredEnd::Cancelled), Refusal::AlreadyEnded(Status::Answered), "message.cancelled"),
        (lost(RestoredEnd::Dead("".into())), Refusal::AlreadyEnded(Status::Answered), "message.dead"),
        (Restore { posted: None, reopened: true, ..lost(RestoredEnd::Open) }, Refusal::Redacted, "message.released"),
        (Restore { posted: None, ..lost(RestoredEnd::Open) }, Refusal::NoSuchMessage(id(0)), "reply.posted"),
    ];
    assert!(kinds.iter().all(|(wish, why, kind)| &*wish.refused(why).kind == *kind));
    assert_eq!(&*refused_change(id(0), Change::Redact, &Refusal::NoSuchMessage(id(0))).kind, "message.redacted");
}
