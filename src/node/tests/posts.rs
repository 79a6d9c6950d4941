//! Posts: repeated, side by side, refused, and decided on facts that went stale.

use std::collections::BTreeSet;

use super::*;
use crate::{
    decide::Refusal,
    node::{Answer, Answered, Command, REQUESTS_MAX, Request},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_post_the_same_id_at_once_make_one_entry() {
    let rig = Rig::new().await;
    let post = question("me first");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (node, post) = (rig.node.clone(), post.clone());
        tasks.spawn(async move { node.post(post).await.unwrap() });
    }
    let (mut positions, mut new) = (BTreeSet::new(), 0);
    while let Some(posted) = tasks.join_next().await {
        let (posted, repeated) = super::posted(posted.unwrap()).unwrap();
        positions.insert(posted.position.0);
        new += usize::from(!repeated);
    }
    assert_eq!((positions.len(), new), (1, 1));
    assert_eq!(rig.kinds().await, ["message.posted"]);
    let other = Post { text: "another text".into(), ..post.clone() };
    assert!(matches!(rig.post(other).await, Err(Error::Refused(Refusal::IdTaken(id))) if id == post.id));
}

#[tokio::test]
async fn a_full_queue_refuses_questions_but_not_other_posts_until_one_is_taken() {
    let rig = Rig::with(Policy { queue_max: 2, ..policy() }).await;
    rig.ask("one").await;
    rig.ask("two").await;
    let three = question("three");
    let refused = rig.post(three.clone()).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::QueueFull { waiting: 2, .. }))), "{refused:?}");
    rig.post(Post { to: Some(vec![]), ..question("by the way") }).await.unwrap();
    rig.claim("a").await;
    assert!(!rig.post(three).await.unwrap().1);
}

/// Goal: facts read before the projections forgot what happened since are not decided on. The window is made by hand:
/// read the facts of an unknown id, then post it and so much more that memory no longer covers the time between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_that_went_stale_are_read_again_and_not_decided_on() {
    let rig = Rig::new().await;
    let post = Post { to: Some(vec![]), ..question("once") };
    let facts = rig.node.facts(&[post.id]).await.unwrap();
    assert!(facts.known.is_empty());
    rig.post(post.clone()).await.unwrap();
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..5_000 {
        let (node, id) = (rig.node.clone(), rig.node.fresh_id());
        let other = Post { id, fresh: true, to: Some(vec![]), ..question("other") };
        others.spawn(async move { node.post(other).await.unwrap() });
    }
    while let Some(other) = others.join_next().await {
        other.unwrap();
    }
    rig.node.index_reached(rig.node.position()).await.unwrap();
    // The next entry makes the projections forget what the index has.
    rig.post(Post { to: Some(vec![]), ..question("one more") }).await.unwrap();
    assert!(rig.node.state().projections.newest.posted(&post.id).is_none(), "still in memory: nothing is tested");

    let (answer, decided) = tokio::sync::oneshot::channel();
    rig.node
        .send(Request::Command { command: Command::Post(post.clone()), facts, epoch: rig.node.epoch(), answer })
        .await
        .unwrap();
    assert!(matches!(decided.await.unwrap(), Ok(Answered { answer: Answer::Stale, .. })));
    let (first, repeated) = rig.post(post).await.unwrap();
    assert_eq!((first.position.0.seq, repeated), (Seq(1), true));
}

/// All at once, so that they share appends: what one asks for counts for the next of the same batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_of_one_batch_count_for_each_others_lane_and_queue() {
    let rig = Rig::with(Policy { queue_max: 30, ..policy() }).await;
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (node, id) = (rig.node.clone(), rig.node.fresh_id());
        let post = Post { id, fresh: true, ..question("flood") };
        posts.spawn(async move { node.post(post).await });
    }
    let mut taken = 0;
    while let Some(posted) = posts.join_next().await {
        match posted.unwrap() {
            Ok(_) => taken += 1,
            Err(Error::Refused(Refusal::QueueFull { .. })) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let state = rig.node.state();
    let lanes: Vec<_> = state.projections.queue.lanes(&bot()).collect();
    assert_eq!((taken, lanes), (30, vec![(5, false, 4), (5, true, 26)]));
}

/// A message whose first entries the projections have forgotten, and whose newest one they have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_message_that_is_touched_again_keeps_its_whole_story() {
    let rig = Rig::new().await;
    let id = rig.ask("long ago").await;
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..5_000 {
        let (node, other) = (rig.node.clone(), rig.node.fresh_id());
        let other = Post { id: other, fresh: true, to: Some(vec![]), ..question("other") };
        others.spawn(async move { node.post(other).await.unwrap() });
    }
    while let Some(other) = others.join_next().await {
        other.unwrap();
    }
    rig.node.index_reached(rig.node.position()).await.unwrap();
    rig.claim("a").await;
    let steps = rig.node.timeline(id).await.unwrap().unwrap().steps;
    assert_eq!(steps.iter().map(|s| &*s.event).collect::<Vec<_>>(), ["message.posted", "message.claimed"]);
}

#[tokio::test]
async fn words_are_answered_while_an_append_is_held_and_thousands_of_posts_wait() {
    let rig = Rig::new().await;
    rig.ask("hello").await;
    let claimed = rig.claim("a").await;
    let (there, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    rig.log.next(Trick::Held { there: there.clone(), go: go.clone() });
    // What is being appended, what the core has taken, what it takes at once, and more than the way to it holds.
    let mut posts = tokio::task::JoinSet::new();
    for n in 0..4 * REQUESTS_MAX {
        let (node, text) = (rig.node.clone(), format!("number {n}"));
        posts.spawn(async move { node.post(Post { fresh: true, to: Some(vec![]), ..question(&text) }).await });
    }
    let all_wait = async {
        there.notified().await;
        while rig.node.inner.requests.capacity() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all_wait).await.expect("the way to the core is full");
    let words = async {
        rig.node.say(claimed.held, LiveUpdate::Heartbeat).await.unwrap();
        rig.delta(claimed.held, 0, "words").await.unwrap();
    };
    timeout(PATIENCE, words).await.expect("words do not wait for posts");
    assert!(posts.try_join_next().is_none(), "all of them still wait");
    go.notify_one();
    while let Some(posted) = posts.join_next().await {
        posted.unwrap().unwrap();
    }
}
