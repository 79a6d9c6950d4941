//! A store that goes away, comes back, comes back shorter, or comes back empty; and another node's words.

mod rig;

use antiphon_schemas::wire::Status;

pub(crate) use self::rig::Away;
use super::*;
use crate::{
    decide::Refusal,
    log::{self, Access, Shared},
    node::Condition,
};

#[tokio::test]
async fn while_the_store_is_away_posts_are_kept_and_come_into_the_log_in_order_once() {
    let rig = Away::new(policy()).await;
    let before = question("before");
    rig.node.post(before.clone()).await.unwrap();
    rig.log.away();
    rig.is("degraded").await;
    let posts: Vec<_> = (0..700).map(|n| question(&format!("number {n}"))).collect();
    for post in &posts {
        rig.parked(post).await;
    }
    // The same again is the same; another under its id is refused; what is in the log is found from memory.
    rig.parked(&posts[3]).await;
    let other = Post { text: "other".into(), ..posts[3].clone() };
    assert!(matches!(rig.node.post(other).await, Err(Error::Refused(Refusal::IdTaken(_)))));
    assert!(matches!(rig.node.post(before.clone()).await.unwrap(), Placed::Again(_)));
    // A reply to a message that is only in the outbox, too.
    let reply = Post { reply_to: Some(posts[0].id), ..question("a reply") };
    rig.parked(&reply).await;
    assert!(matches!(rig.node.change(before.id, crate::decide::change::Change::Cancel).await, Err(Error::Log(_))));
    assert!(rig.node.probe().await.is_err());

    rig.log.back();
    rig.settled().await;
    rig.is("connected").await;
    let expected: Vec<_> = [before.id].into_iter().chain(posts.iter().map(|post| post.id)).chain([reply.id]).collect();
    assert_eq!(rig.ids().await, expected);
    assert_eq!(rig.node.state().parked, 0);
    rig.node.probe().await.unwrap();
    assert!(matches!(rig.node.post(posts[3].clone()).await.unwrap(), Placed::Again(_)));
}

#[tokio::test]
async fn a_post_whose_answer_was_lost_is_in_the_log_once() {
    let rig = Away::new(policy()).await;
    *rig.log.lose_answer.lock().unwrap() = true;
    let fresh = Post { fresh: true, ..question("fresh") };
    rig.parked(&fresh).await;
    rig.log.back();
    rig.settled().await;
    assert_eq!(rig.ids().await, [fresh.id]);
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_handed_over_when_the_log_is_read_again() {
    let rig = Away::new(policy()).await;
    let post = question("hello");
    rig.node.post(post.clone()).await.unwrap();
    *rig.log.lose_answer.lock().unwrap() = true;
    let claim = rig.claim();
    let back = async {
        rig.is("degraded").await;
        rig.log.back();
    };
    let (claimed, ()) = tokio::join!(claim, back);
    assert_eq!(claimed.held.message_id, post.id);
    assert!(!claimed.over.is_cancelled());
    rig.node.end(claimed.held, answer("words")).await.unwrap();
    let kinds = rig.kinds(post.id).await;
    assert_eq!(kinds, ["message.posted", "message.claimed", "reply.posted", "message.completed"]);
}

#[tokio::test]
async fn leases_stand_still_while_the_store_is_away() {
    let rig = Away::new(Policy { lease_ms: LEASE_MS, ..policy() }).await;
    let post = question("hello");
    rig.node.post(post.clone()).await.unwrap();
    let claimed = rig.claim().await;
    rig.log.away();
    rig.is("degraded").await;
    tokio::time::sleep(Duration::from_millis(LEASE_MS + LEASE_MS / 2)).await;
    rig.log.back();
    rig.is("connected").await;
    rig.node.end(claimed.held, answer("words")).await.unwrap();
    assert_eq!(rig.kinds(post.id).await.len(), 4, "nobody took it over");
}

#[tokio::test]
async fn parked_posts_keep_their_order_whatever_they_ask_and_a_full_queue_does_not_refuse_them() {
    let rig = Away::new(Policy { queue_max: 2, ..policy() }).await;
    rig.log.away();
    rig.is("degraded").await;
    // More than a room's share of a first lane and more than the bot's queue holds, then some that ask nobody.
    let asks = (0..9).map(|n| question(&format!("question {n}")));
    let says = (0..3).map(|n| Post { to: Some(vec![]), ..question(&format!("remark {n}")) });
    let posts: Vec<_> = asks.chain(says).collect();
    for post in &posts {
        rig.parked(post).await;
    }
    rig.log.back();
    timeout(PATIENCE, rig.node.reached(Seq(12))).await.unwrap().unwrap();
    assert_eq!(rig.ids().await, posts.iter().map(|post| post.id).collect::<Vec<_>>());
    // A new one finds the queue full.
    rig.settled().await;
    assert!(matches!(rig.node.post(question("one more")).await, Err(Error::Refused(Refusal::QueueFull { .. }))));
}

#[tokio::test]
async fn parked_posts_that_are_in_the_log_already_are_settled_without_anybody_asking() {
    let rig = Away::new(policy()).await;
    let posts: Vec<_> = (0..3).map(|n| Post { to: Some(vec![]), ..question(&format!("number {n}")) }).collect();
    // Each was appended, and its answer lost.
    for post in &posts {
        *rig.log.lose_answer.lock().unwrap() = true;
        rig.parked(post).await;
        rig.log.back();
        rig.is("connected").await;
    }
    let none_left = async {
        while rig.node.state().parked > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, none_left).await.expect("nothing is left in the outbox");
    assert_eq!(rig.ids().await.len(), 3);
}

#[tokio::test]
async fn a_reply_whose_target_cannot_be_looked_up_now_is_kept_and_decided_later() {
    // The store is away when the node starts: it knows nothing.
    let rig = Away::starting(policy(), Access::Away { why: "not there yet".into() }).await;
    let target = question("target");
    let event = super::log::posted(&target);
    let draft = log::Draft::new(Some(room()), event.into(), rand::random()).unwrap();
    let (after, request) = (Seq::ZERO, antiphon_schemas::RequestId(Uuid::new_v4()));
    let append = Append { after, request, subjects: vec![], drafts: vec![draft], moves: vec![] };
    rig.log.inner().append(vec![append]).await.unwrap();
    let there = Post { reply_to: Some(target.id), ..question("a reply") };
    let nowhere = Post { reply_to: Some(MessageId(Uuid::new_v4())), ..question("a reply to nothing") };
    rig.parked(&there).await;
    rig.parked(&nowhere).await;
    rig.log.back();
    rig.settled().await;
    assert_eq!(rig.ids().await, [target.id, there.id]);
    assert_eq!(rig.node.state().refused, 1, "the other is kept for a person");
}

#[tokio::test]
async fn a_store_that_comes_back_shorter_gets_back_what_the_node_knew_and_subscribers_start_anew() {
    let rig = Away::new(policy()).await;
    let [kept, answered, open] = ["kept", "answered", "open"].map(question);
    rig.node.post(kept.clone()).await.unwrap();
    let kept_claim = rig.claim().await;
    rig.node.post(answered.clone()).await.unwrap();
    let claimed = rig.claim().await;
    rig.node.end(claimed.held, answer("the one answer")).await.unwrap();
    rig.node.post(open.clone()).await.unwrap();
    let (mut follower, _) = Follower::snapshot(rig.node.clone(), room(), 10, None).await.unwrap();
    let cursor = rig.node.cursor(rig.node.position());

    rig.log.away();
    rig.is("degraded").await;
    // `kept` and its claim stay, the rest is gone.
    rig.log.back_shorter(2).await;
    rig.settled().await;
    assert!(kept_claim.over.is_cancelled(), "its worker must ask again");
    assert_eq!(rig.ids().await, [kept.id, answered.id, open.id]);
    assert_eq!(rig.kinds(answered.id).await, ["message.posted", "reply.posted", "message.completed"]);
    let entries = rig.log.inner().read(Seq::ZERO, usize::MAX).await.unwrap();
    let repaired = entries.iter().find_map(|e| match &e.event {
        Event::LogRepaired(e) => Some(e.clone()),
        _ => None,
    });
    let repaired = repaired.expect("it says what it did");
    assert_eq!((repaired.before, repaired.after, repaired.refused.len()), (Epoch(7), Seq(2), 0));
    assert_eq!((repaired.offered, repaired.again), (2, 2), "two messages");
    assert_eq!(rig.node.epoch(), Epoch(8));

    assert_eq!(Follower::obstacle(&rig.node, &cursor).await, Some("other-epoch"));
    assert!(matches!(poll_fn(|cx| follower.poll_next(cx)).await, Followed::Frames(_) | Followed::Behind));
    let bytes = loop {
        match poll_fn(|cx| follower.poll_next(cx)).await {
            Followed::Behind => break follower.catch_up().await.unwrap().0,
            Followed::Frames(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains("event: reset\n") && text.contains("other-epoch") && text.contains("event: snapshot\n"));
    assert!(text.contains("the one answer"));
    // The two that wait are answered once.
    for _ in 0..2 {
        let claimed = rig.claim().await;
        rig.node.end(claimed.held, answer("words")).await.unwrap();
    }
    for post in [kept, answered, open] {
        assert_eq!(rig.node.message(post.id).await.unwrap().unwrap().status, Status::Answered);
    }
}

#[tokio::test]
async fn a_store_that_comes_back_shorter_again_before_all_of_it_is_back_gets_back_all_of_it() {
    let rig = Away::new(policy()).await;
    let posts: Vec<_> = (0..1_000).map(|n| Post { to: Some(vec![]), ..question(&format!("number {n}")) }).collect();
    for post in &posts {
        rig.node.post(post.clone()).await.unwrap();
    }
    let first = rig.log.inner();
    rig.log.away();
    rig.is("degraded").await;
    // The first part is written, and the store goes once more.
    *rig.log.lose_answer.lock().unwrap() = true;
    rig.log.back_shorter(2).await;
    let mut access = rig.log.access();
    let again = access.wait_for(|access| matches!(access, Access::Away { .. }));
    timeout(PATIENCE, again).await.expect("it goes again").unwrap();
    let back = rig.log.tail();
    assert!(back > Seq(2) && back < first.tail(), "a part of it is back: {back}");
    rig.log.back_shorter(1).await;
    rig.settled().await;
    let (mut there, mut wanted) = (rig.ids().await, posts.iter().map(|post| post.id).collect::<Vec<_>>());
    assert_eq!(there.len(), wanted.len());
    there.sort();
    wanted.sort();
    assert!(there == wanted);
}

#[tokio::test]
async fn an_empty_store_is_refused_until_a_person_accepts_it() {
    let rig = Away::new(policy()).await;
    let known = question("known");
    rig.node.post(known.clone()).await.unwrap();
    *rig.log.lost.lock().unwrap() = rig.log.inner().read(Seq::ZERO, 10).await.unwrap();
    rig.log.access.send_replace(Access::Empty);
    rig.is("refusing").await;
    assert!(matches!(rig.node.post(question("no")).await, Err(Error::Log(log::Error::Away(_)))));
    let shown = rig.node.state().condition.clone();
    assert!(matches!(shown, Condition::Refusing { why, .. } if why.contains("accept-empty-store")));
    rig.node.begin_anew().await.unwrap();
    rig.settled().await;
    assert_eq!(rig.ids().await, [known.id]);
}

#[tokio::test]
async fn what_another_node_writes_is_shown_here_and_a_missed_piece_heals() {
    let mut rig = Away::new(Policy { lease_ms: LEASE_MS, ..policy() }).await;
    let mut twin = Away::new(policy()).await;
    // The twin writes on the same log; the test carries its words.
    *twin.log.inner.lock().unwrap() = rig.log.inner();
    twin.log.away();
    twin.is("degraded").await;
    twin.log.back();
    let post = question("hello");
    rig.node.post(post.clone()).await.unwrap();
    let claimed = timeout(PATIENCE, twin.node.claim(&bot(), &"twin/bot/1".into(), None)).await.unwrap().unwrap();
    for (index, text) in ["one ", "two ", "three"].into_iter().enumerate() {
        twin.node
            .say(claimed.held, LiveUpdate::Delta { index: index as u32, text: text.into(), before: None })
            .await
            .unwrap();
        let words = twin.said.recv().await.unwrap();
        // The second piece is lost on the way.
        if index != 1 {
            rig.others.send(words).unwrap();
        }
    }
    let text = |node: &Node| node.state().writing.get(&post.id).map(|w| w.text.clone());
    let whole = timeout(PATIENCE, async {
        while text(&rig.node).as_deref() != Some("one two three") {
            // The node that lacks a piece asks for the whole text, and gets it.
            tokio::select! {
                words = rig.said.recv() => twin.others.send(words.unwrap()).unwrap(),
                words = twin.said.recv() => rig.others.send(words.unwrap()).unwrap(),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    });
    whole.await.expect("it heals");
    twin.node.end(claimed.held, answer("one two three")).await.unwrap();
    timeout(PATIENCE, rig.node.reached(twin.node.position())).await.unwrap().unwrap();
    assert_eq!(text(&rig.node), None);
}
