//! What a log may do to a node: another node comes first, an answer is lost, a disk is full.

use antiphon_schemas::{
    RequestId,
    event::{MessageClaimed, MessagePosted, MessageRedacted},
    wire::Status,
};

use super::*;
use crate::{
    decide::{Refusal, change::Change},
    log::{self, Draft},
    node::TRIES_MAX,
};

/// An append of another node.
fn elsewhere(event: impl Into<Event>) -> Append {
    let draft = Draft::new(Some(room()), event.into(), rand::random()).unwrap();
    Append {
        after: Seq::ZERO,
        request: RequestId(Uuid::new_v4()),
        subjects: vec![],
        drafts: vec![draft],
        moves: vec![],
    }
}

pub(super) fn posted(post: &Post) -> MessagePosted {
    let Post { id, author, text, to, reply_to, said_at_ms, .. } = post.clone();
    MessagePosted { id, author, text, to, ask: None, reply_to, hops: 0, said_at_ms }
}

#[tokio::test]
async fn a_message_that_another_node_claimed_first_is_not_claimed_here_until_that_lease_is_over() {
    let rig = Rig::new().await;
    let id = rig.ask("hello").await;
    let claim = MessageClaimed {
        message_id: id,
        reply_id: MessageId(Uuid::new_v4()),
        bot: bot(),
        worker: "elsewhere".into(),
        incarnation: None,
        attempt: 1,
        lease_ms: LEASE_MS,
    };
    rig.log.next(Trick::After(vec![elsewhere(claim)]));
    let begun = tokio::time::Instant::now();
    let claimed = rig.claim("here").await;
    assert!(begun.elapsed() >= Duration::from_millis(LEASE_MS));
    assert_eq!((claimed.held.message_id, claimed.attempt), (id, 2));
    let kinds = rig.kinds().await;
    assert_eq!(kinds, ["message.posted", "message.claimed", "message.released", "message.claimed"]);
}

#[tokio::test]
async fn a_post_that_another_node_took_first_is_found_or_refused() {
    let rig = Rig::new().await;
    let post = question("hello");
    rig.log.next(Trick::After(vec![elsewhere(posted(&post))]));
    let (first, repeated) = rig.post(post).await.unwrap();
    assert_eq!((first.position.0.seq, repeated), (Seq(1), true));

    let (mine, theirs) = (question("mine"), question("theirs"));
    rig.log.next(Trick::After(vec![elsewhere(MessagePosted { id: mine.id, ..posted(&theirs) })]));
    assert!(matches!(rig.post(mine).await, Err(Error::Refused(Refusal::IdTaken(_)))));
    assert_eq!(rig.kinds().await, ["message.posted"; 2]);
}

#[tokio::test]
async fn what_is_decided_again_and_again_in_vain_is_busy() {
    let rig = Rig::new().await;
    let id = rig.ask("hello").await;
    let claimed = rig.claim("a").await;
    let hide = || Trick::After(vec![elsewhere(MessageRedacted { message_id: id })]);
    (0..TRIES_MAX).for_each(|_| rig.log.next(hide()));
    assert!(matches!(rig.node.end(claimed.held, answer("words")).await, Err(Error::Busy)));
    // Once less often, and it goes through.
    (1..TRIES_MAX).for_each(|_| rig.log.next(hide()));
    rig.node.end(claimed.held, answer("words")).await.unwrap();
    assert_eq!(rig.kinds().await.iter().filter(|kind| *kind == "reply.posted").count(), 1);
}

#[tokio::test]
async fn what_happened_although_its_answer_was_lost_happens_once() {
    let rig = Rig::new().await;
    rig.log.next(Trick::AnswerLost);
    let chosen = question("chosen");
    let (first, repeated) = rig.post(chosen).await.unwrap();
    assert_eq!((first.position.0.seq, repeated), (Seq(1), false));
    rig.log.next(Trick::AnswerLost);
    let claimed = rig.claim("a").await;
    assert_eq!((claimed.held.fence, claimed.over.is_cancelled()), (Seq(2), false));
    rig.log.next(Trick::AnswerLost);
    rig.node.end(claimed.held, answer("words")).await.unwrap();
    assert!(claimed.over.is_cancelled());
    rig.log.next(Trick::AnswerLost);
    let fresh = Post { fresh: true, ..question("fresh") };
    let id = rig.post(fresh).await.unwrap().0.id;
    rig.log.next(Trick::AnswerLost);
    assert_eq!(rig.node.change(id, Change::Cancel).await.unwrap().status, Status::Cancelled);
    let expected = [
        ["message.posted", "message.claimed", "reply.posted", "message.completed"].as_slice(),
        &["message.posted", "message.cancelled"],
    ];
    assert_eq!(rig.kinds().await, expected.concat());
    assert_eq!(rig.node.position(), Seq(6));
}

#[tokio::test]
async fn a_node_that_is_far_behind_catches_up_and_decides_again() {
    let rig = Rig::new().await;
    let others = |n: u64| (0..n).map(|_| elsewhere(posted(&question("other")))).collect::<Vec<_>>();
    let post = question("hello");
    let mut many = others(log::SCAN_MAX + 50);
    many.push(elsewhere(posted(&post)));
    rig.log.next(Trick::After(many));
    let (first, repeated) = rig.post(post).await.unwrap();
    assert_eq!((first.position.0.seq, repeated), (Seq(log::SCAN_MAX + 51), true));
    rig.log.next(Trick::After(others(log::SCAN_MAX + 50)));
    assert!(!rig.post(question("after that")).await.unwrap().1);
    assert_eq!(rig.node.position(), rig.log.tail());
}

#[tokio::test]
async fn entries_of_another_node_are_followed_without_being_asked() {
    let rig = Rig::new().await;
    let claiming = rig.claiming("a").await;
    let other = node_on(rig.log.clone(), rig.clock.clone(), policy()).await;
    let id = super::posted(other.post(question("hello")).await.unwrap()).unwrap().0.id;
    assert_eq!(claiming.await.unwrap().unwrap().held.message_id, id);
    rig.node.reached(Seq(2)).await.unwrap();
    other.reached(Seq(2)).await.unwrap();
    assert_eq!(other.state().projections.queue.claim(&id).unwrap().fence, Seq(2));
}

fn full() -> Trick {
    Trick::Fails(log::Error::Full("no space".into()))
}

#[tokio::test]
async fn a_full_log_refuses_with_its_reason_and_goes_on_when_there_is_space_again() {
    let rig = Rig::new().await;
    let post = question("hello");
    rig.log.next(full());
    assert!(matches!(rig.post(post.clone()).await, Err(Error::Log(log::Error::Full(_)))));
    assert!(rig.kinds().await.is_empty());
    assert!(!rig.post(post.clone()).await.unwrap().1, "it was not there");

    rig.log.next(full());
    let refused = rig.node.claim(&bot(), &"a".into(), None).await;
    assert!(matches!(refused, Err(Error::Log(log::Error::Full(_)))), "{refused:?}");
    let a = rig.claim("a").await;
    assert_eq!((a.held.message_id, a.attempt), (post.id, 1), "nothing was lost by that");

    rig.log.next(full());
    assert!(matches!(rig.node.end(a.held, answer("words")).await, Err(Error::Log(_))));
    assert!(!a.over.is_cancelled(), "the claim is as it was");
    rig.node.end(a.held, answer("words")).await.unwrap();
    assert_eq!(rig.node.record(post.id).await.unwrap().unwrap().status, Status::Answered);
}

#[tokio::test]
async fn the_end_of_a_lease_is_written_as_soon_as_the_log_has_space_again() {
    let rig = Rig::leasing(LEASE_MS).await;
    let id = rig.ask("hello").await;
    rig.claim("a").await;
    rig.log.next(full());
    rig.log.next(full());
    let b = rig.claim("b").await;
    assert_eq!((b.held.message_id, b.attempt), (id, 2));
    assert!(rig.log.tricks.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_failed_log_acknowledges_nothing_and_reading_goes_on() {
    let rig = Rig::new().await;
    let id = rig.ask("hello").await;
    let poisoned = || Trick::Fails(log::Error::Poisoned("fsync".into()));
    (0..10).for_each(|_| rig.log.next(poisoned()));
    for _ in 0..5 {
        assert!(matches!(rig.post(question("lost")).await, Err(Error::Log(log::Error::Poisoned(_)))));
        let refused = rig.node.claim(&bot(), &"a".into(), None).await;
        assert!(matches!(refused, Err(Error::Log(log::Error::Poisoned(_)))), "{refused:?}");
    }
    let (messages, position) =
        rig.node.messages(&room(), crate::node::Range { limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!((messages.len(), messages[0].id, messages[0].status, position), (1, id, Status::Waiting, Seq(1)));
    assert_eq!(rig.kinds().await, ["message.posted"]);
}
