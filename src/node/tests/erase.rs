//! Erasing: what is shown, what the log holds, what is asked twice, and what a crash or a failure leaves to be done.

use antiphon_schemas::{entry::is_erased, event::MessageErased, wire::Status};

use super::*;
use crate::{
    decide::{Refusal, change::Change},
    log::{self, Draft},
    node::Range,
};

const SECRET: &str = "nobody may know this";

/// Whether the log has a text anywhere.
async fn tells(rig: &Rig, text: &str) -> bool {
    rig.entries().await.iter().any(|entry| entry.body.windows(text.len()).any(|part| part == text.as_bytes()))
}

/// What somebody sees who reads the room from its beginning, and who only begins to follow it.
async fn seen(rig: &Rig) -> String {
    let (_, snapshot) = Follower::snapshot(rig.node.clone(), room(), 10, None).await.unwrap();
    let mut all = snapshot.to_vec();
    let mut follower = Follower::resume(rig.node.clone(), room(), None, 10);
    loop {
        let (bytes, whole) = follower.catch_up().await.unwrap();
        all.extend_from_slice(&bytes);
        if whole {
            break;
        }
    }
    let (messages, _) = rig.node.messages(&room(), Range { limit: 100, ..Range::default() }).await.unwrap();
    String::from_utf8(all).unwrap() + &serde_json::to_string(&messages).unwrap()
}

#[tokio::test]
async fn an_erased_message_is_cancelled_hidden_and_gone_from_the_log_and_stays_in_its_place() {
    let rig = Rig::new().await;
    rig.ask("before").await;
    let author = Author { name: "zoe".into(), kind: AuthorKind::Human, color: Some("red".into()) };
    let post = Post { author, ..question(SECRET) };
    let id = rig.post(post.clone()).await.unwrap().0.id;
    rig.ask("after").await;
    let mut view = rig.view().await;
    assert!(seen(&rig).await.contains(SECRET) && tells(&rig, SECRET).await && tells(&rig, "zoe").await);

    let (changed, gone) = rig.node.erase(id).await.unwrap();
    assert_eq!((changed.id, changed.status, gone), (id, Status::Cancelled, true));
    assert!(!tells(&rig, SECRET).await && !tells(&rig, "zoe").await, "gone when answered");
    let kinds = ["message.posted", "message.cancelled", "message.redacted", "message.erased"];
    assert_eq!(kinds_of(&rig.entries().await, id), kinds);
    assert_eq!(view.until("message.erased").await, kinds[1..]);
    let all = seen(&rig).await;
    assert!(!all.contains(SECRET) && !all.contains("zoe"), "{all}");
    let message = rig.node.message(id).await.unwrap().unwrap();
    assert_eq!((&*message.author.name, message.author.kind, &*message.text), ("erased", AuthorKind::Human, ""));
    assert!(message.redacted && message.status == Status::Cancelled && message.bot.is_none());
    let (messages, _) = rig.node.messages(&room(), Range { limit: 10, ..Range::default() }).await.unwrap();
    assert_eq!(messages.iter().map(|m| m.id).collect::<Vec<_>>()[1], id, "in its place");
    let timeline = rig.node.timeline(id).await.unwrap().unwrap();
    assert_eq!(timeline.steps.iter().map(|step| &*step.event).collect::<Vec<_>>(), kinds);

    // Again is once; and nothing makes it speak again.
    let tail = rig.node.position();
    assert_eq!(rig.node.erase(id).await.unwrap().0.status, Status::Cancelled);
    assert_eq!(rig.node.position(), tail);
    assert!(matches!(rig.post(post).await, Err(Error::Refused(Refusal::IdTaken(_)))));
    assert!(rig.node.change(id, Change::Retry).await.is_err());
    let nobody = rig.node.fresh_id();
    assert!(matches!(rig.node.erase(nobody).await, Err(Error::Refused(Refusal::NoSuchMessage(_)))));
}

#[tokio::test]
async fn a_reply_is_erased_alone_and_its_question_stays_answered() {
    let rig = Rig::new().await;
    let id = rig.ask("what is it?").await;
    let claimed = rig.claim("w").await;
    rig.delta(claimed.held, 0, SECRET).await.unwrap();
    rig.node.end(claimed.held, answer(SECRET)).await.unwrap();
    let counts = rig.node.state().projections.counts.clone();
    assert!(rig.node.erase(claimed.reply_id).await.unwrap().1);
    assert!(!tells(&rig, SECRET).await && !seen(&rig).await.contains(SECRET));
    let reply = rig.node.message(claimed.reply_id).await.unwrap().unwrap();
    assert_eq!((&*reply.author.name, reply.author.kind, reply.reply_to), ("erased", AuthorKind::Bot, Some(id)));
    assert!(reply.redacted && reply.model.is_none() && reply.context.is_none() && reply.total_ms.is_none());
    let question = rig.node.message(id).await.unwrap().unwrap();
    assert_eq!((question.status, &*question.text), (Status::Answered, "what is it?"));
    assert_eq!(rig.node.state().projections.counts.bots, counts.bots);

    // A node that begins now comes to the same.
    let other = node_on(rig.log.clone(), rig.clock.clone(), policy()).await;
    assert_eq!(other.state().projections.snapshot(), rig.node.state().projections.snapshot());
    assert_eq!(other.message(claimed.reply_id).await.unwrap(), Some(reply));
    assert_eq!(other.record(id).await.unwrap(), rig.node.record(id).await.unwrap());
}

#[tokio::test]
async fn whoever_is_behind_in_the_ring_never_reads_what_was_erased_meanwhile() {
    let rig = Rig::new().await;
    let mut behind = rig.view().await;
    let id = rig.post(Post { to: Some(vec![]), ..question(SECRET) }).await.unwrap().0.id;
    rig.node.erase(id).await.unwrap();
    match poll_fn(|cx| behind.follower.poll_next(cx)).await {
        Followed::Behind => {}
        other => panic!("{other:?}"),
    }
    let (bytes, _) = behind.follower.catch_up().await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains("message.posted") && text.contains("message.erased") && !text.contains(SECRET), "{text}");
    assert!(!text.contains("\"ann\""), "nor who said it: {text}");
}

/// The entry was written; the process ended before the act.
#[tokio::test]
async fn what_a_crash_left_to_be_erased_is_erased_at_the_next_start() {
    let (clock, _) = Clock::manual(START_MS);
    let inner = MemoryLog::new(Epoch(7), clock.clone());
    let log = Arc::new(Tricky::over(inner));
    let first = node_on(log.clone(), clock.clone(), policy()).await;
    let post = Post { to: Some(vec![]), ..question(SECRET) };
    let id = posted(first.post(post).await.unwrap()).unwrap().0.id;
    first.change(id, Change::Redact).await.unwrap();
    let erased = MessageErased { message_id: id, positions: vec![Seq(1), Seq(99)], reply: None };
    let draft = Draft::new(Some(room()), erased.into(), [3; 16]).unwrap();
    let append = Append {
        after: Seq::ZERO,
        request: antiphon_schemas::RequestId(Uuid::new_v4()),
        subjects: vec![],
        drafts: vec![draft],
        moves: vec![],
    };
    log.unerased.lock().unwrap().extend((0..9).map(|_| Unerased::Fails(log::Error::Full("no room".into()))));
    log.inner.append(vec![append]).await.unwrap();
    assert!(!is_erased(&log.inner.read(Seq::ZERO, 1).await.unwrap()[0].body));
    first.reached(Seq(3)).await.unwrap();
    assert_eq!(&*first.message(id).await.unwrap().unwrap().author.name, "erased", "hidden from the entry on");
    assert!(first.node_erased(Seq(3), 50).await.is_none(), "not without room");

    log.unerased.lock().unwrap().clear();
    let next = node_on(log.clone(), clock, policy()).await;
    next.node_erased(Seq(3), 60_000).await.expect("it is done at the start, whatever else cannot be erased");
    assert!(is_erased(&log.inner.read(Seq::ZERO, 1).await.unwrap()[0].body));
}

impl Node {
    /// Waits until everything up to a position is erased.
    async fn node_erased(&self, at: Seq, ms: u64) -> Option<()> {
        timeout(Duration::from_millis(ms), self.inner.view.erasing.reached(at)).await.ok()
    }
}

#[tokio::test]
async fn a_failure_is_said_and_whoever_asks_again_has_it_tried_at_once() {
    let rig = Rig::new().await;
    let id = rig.post(Post { to: Some(vec![]), ..question(SECRET) }).await.unwrap().0.id;
    rig.log.unerased.lock().unwrap().push_back(Unerased::Fails(log::Error::Full("no room".into())));
    let first = tokio::spawn({
        let node = rig.node.clone();
        async move { node.erase(id).await }
    });
    while !rig.log.unerased.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(tells(&rig, SECRET).await, "it failed");
    let begun = tokio::time::Instant::now();
    assert!(rig.node.erase(id).await.unwrap().1);
    assert!(begun.elapsed() < Duration::from_secs(5), "not at the time of the next try");
    assert!(!tells(&rig, SECRET).await && first.await.unwrap().unwrap().1);
    assert_eq!(rig.kinds().await.iter().filter(|kind| *kind == "message.erased").count(), 1);
}

/// A failover may have lost what an erasure did: only what is done after the log opened again counts.
#[tokio::test]
async fn an_erasure_that_was_under_way_when_the_log_opened_again_is_done_once_more_before_it_counts() {
    let rig = Rig::new().await;
    let id = rig.post(Post { to: Some(vec![]), ..question(SECRET) }).await.unwrap().0.id;
    let holds: Vec<_> = (0..2).map(|_| (Arc::new(Notify::new()), Arc::new(Notify::new()))).collect();
    let held = holds.iter().cloned().map(|(there, go)| Unerased::Held { there, go });
    rig.log.unerased.lock().unwrap().extend(held);
    // Nothing was done since the log was opened: the page under way began where the next one will.
    rig.node.inner.view.erasing.opened(rig.node.position());
    let erasing = tokio::spawn({
        let node = rig.node.clone();
        async move { node.erase(id).await }
    });
    let there = |n: usize| timeout(PATIENCE, holds[n].0.notified());
    there(0).await.expect("it is under way");
    rig.node.inner.view.erasing.opened(rig.node.position());
    holds[0].1.notify_one();
    there(1).await.expect("it is done once more");
    assert!(!erasing.is_finished(), "nobody is told before");
    holds[1].1.notify_one();
    assert!(erasing.await.unwrap().unwrap().1);
    assert!(!tells(&rig, SECRET).await);
}

/// What versions before have left behind: a reply that came back after it was erased.
#[tokio::test]
async fn a_log_with_an_erased_reply_twice_is_followed_by_nodes_old_and_new() {
    let rig = Rig::new().await;
    let id = rig.ask("what is it?").await;
    let claimed = rig.claim("w").await;
    rig.node.end(claimed.held, answer(SECRET)).await.unwrap();
    let twice: Vec<Event> = rig.entries().await.iter().rev().take(2).rev().map(|entry| entry.event.clone()).collect();
    assert!(rig.node.erase(claimed.reply_id).await.unwrap().1);
    rig.node.change(id, Change::Retry).await.unwrap();
    let append = Append {
        after: rig.log.tail(),
        request: antiphon_schemas::RequestId(Uuid::new_v4()),
        subjects: vec![],
        drafts: twice.into_iter().map(|event| Draft::new(Some(room()), event, [3; 16]).unwrap()).collect(),
        moves: vec![],
    };
    rig.log.inner.append(vec![append]).await.unwrap();
    rig.node.reached(rig.log.tail()).await.unwrap();
    let other = node_on(rig.log.clone(), rig.clock.clone(), policy()).await;
    for node in [&rig.node, &other] {
        assert!(node.message(claimed.reply_id).await.unwrap().unwrap().text.is_empty());
        assert_eq!(node.message(id).await.unwrap().unwrap().status, Status::Answered);
    }
    assert_eq!(other.state().projections.snapshot(), rig.node.state().projections.snapshot());
}
