//! Goal: the room as it was, by index and a few entries, is what a fold of the log up to there comes to.
//!
//! Method: random conversations in a log, a node over it, and at each position and time both are asked.

use std::collections::BTreeMap;

use antiphon_schemas::{
    Stored, time,
    wire::{Message, MessagesThen, Status},
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use super::*;
use crate::{
    decide::tests::{history, room, steps_that_erase},
    node::Moment,
    projection::record::Change,
    replay::{
        hidden::Hidden,
        room::{RoomThen, Stands},
    },
};

/// Each starts a node and asks it some hundred times.
const CONVERSATIONS: usize = 12;

async fn node_over(entries: &[Arc<Entry>]) -> Node {
    let clock = Clock::manual(START_MS).0;
    let log = Arc::new(MemoryLog::new(Epoch(7), clock.clone()));
    if !entries.is_empty() {
        log.load(entries.to_vec()).await.unwrap();
    }
    // Nobody answers, and nothing grows too old.
    node_on(log, clock, Policy { bots: vec![], max_age_ms: u64::MAX, ..policy() }).await
}

fn random_conversations() -> Vec<Vec<Arc<Entry>>> {
    let mut runner = TestRunner::default();
    let tree = || steps_that_erase().new_tree(&mut runner).unwrap().current();
    std::iter::repeat_with(tree).map(|steps| history(&steps)).filter(|e| e.len() > 20).take(CONVERSATIONS).collect()
}

#[tokio::test]
async fn a_room_as_it_was_is_what_the_log_folded_up_to_there_says() {
    let mut was_claimed = 0;
    for entries in random_conversations() {
        let node = node_over(&entries).await;
        // What was to be erased is erased beside: from then on nobody knows what it was.
        node.inner.view.erasing.reached(node.position()).await;
        let stored: Vec<Stored> = entries.iter().map(|entry| Stored::from(&**entry)).collect();
        let mut hidden = Hidden::default();
        stored.iter().for_each(|stored| hidden.apply(stored));
        let erased = |id: &MessageId| {
            entries.iter().any(|entry| matches!(&entry.event, Event::MessageErased(e) if e.message_id == *id))
        };
        for n in 0..2 {
            let mut folded = RoomThen::new(node.epoch(), room(n), usize::MAX);
            let mut last_at = None;
            for (entry, stored) in entries.iter().zip(&stored) {
                if folded.apply(stored).unwrap().is_some() {
                    last_at = Some(time::rfc3339(entry.header.at_ms));
                }
                let seq = entry.header.seq;
                let then = node.messages_then(&room(n), Moment::Position(seq), None, 500).await.unwrap();
                let expected = folded.messages(&hidden).into_iter().map(|message| {
                    // By now nobody knows any more who said it and whom it asked.
                    let gone = erased(&message.id);
                    let message = Message { author: then_author(&then, &message, gone), ..message };
                    // Only the post says that it waits, and whom it asked is gone with its body.
                    let said = |entry: &&Arc<Entry>| {
                        let mut changes = Change::of(entry);
                        entry.header.seq <= seq && changes.any(|(id, c)| id == message.id && c.status.is_some())
                    };
                    let only_posted = entries.iter().filter(said).count() == 1;
                    match gone {
                        true if only_posted => Message { status: Status::None, ..unasked(message) },
                        true => unasked(message),
                        false => message,
                    }
                });
                assert_eq!(
                    then.messages.iter().map(|m| Message::clone(m)).collect::<Vec<_>>(),
                    expected.collect::<Vec<_>>()
                );
                assert_eq!((then.position.0.seq, &then.at), (seq, &last_at));
                let held: BTreeMap<_, _> = folded
                    .unanswered()
                    .into_iter()
                    .filter_map(|one| match one.stands {
                        Stands::Claimed { worker, since_ms, .. } => {
                            Some((one.message_id, (worker, time::rfc3339(since_ms))))
                        }
                        _ => None,
                    })
                    .collect();
                was_claimed += held.len();
                let told: BTreeMap<_, _> = then
                    .in_flight
                    .iter()
                    .map(|one| (one.message_id, (one.worker.clone(), one.claimed_at.clone())))
                    .collect();
                assert_eq!(told, held);
                // The same moment by its time: the last of the entries that have it.
                let last = entries.iter().rfind(|other| other.header.at_ms <= entry.header.at_ms).unwrap();
                let by_time = node.messages_then(&room(n), Moment::Time(entry.header.at_ms), None, 1).await.unwrap();
                assert_eq!(by_time.position.0.seq, last.header.seq);
            }
        }
        node.stop().await;
    }
    assert!(was_claimed > 20, "something was being answered: {was_claimed}");
}

/// An erased author is `erased`.
fn then_author(then: &MessagesThen, message: &Message, gone: bool) -> antiphon_schemas::wire::Author {
    let shown = then.messages.iter().find(|shown| shown.id == message.id);
    match shown.filter(|_| gone) {
        Some(shown) => {
            assert_eq!(&*shown.author.name, "erased");
            shown.author.clone()
        }
        None => message.author.clone(),
    }
}

/// What of an erased message is shown.
fn unasked(message: Message) -> Message {
    Message {
        reply_to: message.reply_to.filter(|_| message.author.kind == AuthorKind::Bot),
        bot: None,
        model: None,
        options: None,
        prompt_sha256: None,
        context: None,
        first_token_ms: None,
        total_ms: None,
        deltas: None,
        finish: None,
        usage: None,
        notes: None,
        ..message
    }
}

#[tokio::test]
async fn looking_back_goes_on_by_pages_and_knows_the_rooms_whole_time() {
    let rig = Rig::new().await;
    let nothing = rig.node.messages_then(&super::room(), Moment::Time(START_MS), None, 5).await.unwrap();
    assert_eq!((nothing.messages.len(), &nothing.at, &nothing.first_at), (0, &None, &None));
    let mut positions = Vec::new();
    for n in 0..20 {
        rig.pass_ms(300);
        let post = Post { to: Some(vec![]), ..question(&format!("message {n}")) };
        positions.push(rig.post(post).await.unwrap().0.position.0.seq);
    }
    let texts = |then: &MessagesThen| then.messages.iter().map(|m| m.text.to_string()).collect::<Vec<_>>();
    let named = |range: std::ops::Range<usize>| range.map(|n| format!("message {n}")).collect::<Vec<_>>();
    let at = |n: u64| Moment::Time(START_MS + 300 * n);
    // After the tenth, and one ms before it.
    let then = rig.node.messages_then(&super::room(), at(10), None, 4).await.unwrap();
    assert_eq!((texts(&then), then.position.0.seq), (named(6..10), positions[9]));
    assert_eq!(then.at, Some(time::rfc3339(START_MS + 3_000)));
    assert_eq!(then.first_at, Some(time::rfc3339(START_MS + 300)));
    assert_eq!(then.last_at, Some(time::rfc3339(START_MS + 6_000)));
    let then = rig.node.messages_then(&super::room(), Moment::Time(START_MS + 2_999), None, 4).await.unwrap();
    assert_eq!((texts(&then), then.position.0.seq), (named(5..9), positions[8]));
    let older = rig.node.messages_then(&super::room(), at(10), Some(positions[5]), 4).await.unwrap();
    assert_eq!((texts(&older), older.position.0.seq), (named(1..5), positions[9]));
    let before = rig.node.messages_then(&super::room(), Moment::Time(START_MS), None, 4).await.unwrap();
    assert_eq!((texts(&before), before.position.0.seq, &before.at), (vec![], Seq::ZERO, &None));
    assert_eq!(before.first_at, Some(time::rfc3339(START_MS + 300)));
    let beyond = rig.node.messages_then(&super::room(), Moment::Position(Seq(1_000)), None, 1).await.unwrap();
    assert_eq!((texts(&beyond), beyond.position.0.seq), (named(19..20), positions[19]));
}

#[tokio::test]
async fn what_is_hidden_now_was_never_said_and_its_status_is_that_of_then() {
    let rig = Rig::new().await;
    let asked = rig.ask("a secret").await;
    let claimed = rig.claim("w").await;
    rig.node.end(claimed.held, answer("done")).await.unwrap();
    rig.node.change(asked, crate::decide::change::Change::Redact).await.unwrap();
    // The reply and its end are one append, and so one moment.
    let statuses = [Status::Waiting, Status::Claimed, Status::Answered, Status::Answered, Status::Answered];
    for (seq, status) in (1..).zip(statuses) {
        let then = rig.node.messages_then(&super::room(), Moment::Position(Seq(seq)), None, 10).await.unwrap();
        let message = &then.messages[0];
        assert_eq!((message.status, &*message.text, message.redacted), (status, "", true), "at {seq}");
        assert_eq!(then.in_flight.len(), usize::from(status == Status::Claimed), "at {seq}");
        assert_eq!(then.messages.len(), if seq < 3 { 1 } else { 2 });
    }
}
