//! Claims of workers outside this process: repeated by their key, waited for, and abandoned.

use super::*;
use crate::{
    decide::{Refusal, work::reply_of},
    node::work::{Asked, Ended},
};

/// As nobody waits in a test.
const LONG: Duration = Duration::from_millis(LONG_MS);

fn asked(key: &str, wait: Duration) -> Asked {
    let worker = Arc::from("box");
    Asked { bots: [bot()].into(), reply_id: reply_of(&worker, key), worker, cold: false, models: [].into(), wait }
}

impl Rig {
    async fn again(&self, key: &str, wait: Duration) -> Result<Option<Claimed>, Error> {
        timeout(PATIENCE, self.node.claim_again(asked(key, wait))).await.expect("an answer within a minute")
    }

    /// One that asks beside the test; its wish is with the core when this returns.
    async fn asking(&self, key: &str, wait: Duration) -> tokio::task::JoinHandle<Result<Option<Claimed>, Error>> {
        let (node, asked) = (self.node.clone(), asked(key, wait));
        let asking = tokio::spawn(async move { node.claim_again(asked).await });
        tokio::task::yield_now().await;
        self.node.probe().await.unwrap();
        asking
    }

    /// The next append of a claim is held back: notified when it is there; the second lets it continue.
    fn hold_back(&self) -> (Arc<Notify>, Arc<Notify>) {
        let (there, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        self.log.next(Trick::Held { there: there.clone(), go: go.clone() });
        (there, go)
    }

    async fn claims(&self) -> usize {
        self.kinds().await.iter().filter(|kind| *kind == "message.claimed").count()
    }
}

fn key_used(result: Result<Option<Claimed>, Error>) -> bool {
    matches!(result, Err(Error::Refused(Refusal::KeyUsed)))
}

#[tokio::test]
async fn a_key_is_one_claim_as_long_as_that_lives_and_another_after_it() {
    let rig = Rig::new().await;
    let id = rig.ask("hello").await;
    let first = rig.again("k", LONG).await.unwrap().unwrap();
    assert_eq!((first.held.message_id, first.reply_id), (id, reply_of("box", "k")));
    let second = rig.again("k", Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((second.held, second.attempt), (first.held, 1));
    assert_eq!(rig.claims().await, 1);

    rig.node.end(first.held, End::Released("goodbye")).await.unwrap();
    assert!(first.over.is_cancelled() && second.over.is_cancelled());
    let third = rig.again("k", LONG).await.unwrap().unwrap();
    assert_eq!((third.held.message_id, third.reply_id), (id, first.reply_id));
    assert!(third.held.fence > first.held.fence);

    rig.node.end(third.held, answer("hello yourself")).await.unwrap();
    // At once, although it would wait and nothing is there.
    assert!(key_used(rig.again("k", LONG).await));
    rig.ask("another").await;
    assert!(key_used(rig.again("k", LONG).await));
    assert!(rig.again("k2", LONG).await.unwrap().is_some());
}

#[tokio::test]
async fn who_asks_again_while_its_claim_is_being_made_gets_that_one() {
    let rig = Rig::new().await;
    rig.ask("one").await;
    rig.ask("two").await;
    let (there, go) = rig.hold_back();
    let first = rig.asking("k", LONG).await;
    there.notified().await;
    let second = rig.asking("k", LONG).await;
    go.notify_one();
    let (first, second) = (first.await.unwrap().unwrap().unwrap(), second.await.unwrap().unwrap().unwrap());
    assert_eq!(first.held, second.held);
    assert_eq!(rig.claims().await, 1);
}

#[tokio::test]
async fn a_claim_whose_answer_the_log_lost_is_found_and_made_once() {
    let rig = Rig::new().await;
    let id = rig.ask("hello").await;
    rig.log.next(Trick::AnswerLost);
    let first = rig.again("k", LONG).await.unwrap().unwrap();
    assert_eq!(first.held.message_id, id);
    assert_eq!(rig.again("k", LONG).await.unwrap().unwrap().held, first.held);
    assert_eq!(rig.claims().await, 1);
}

#[tokio::test]
async fn whoever_waited_in_vain_or_left_is_given_nothing() {
    let rig = Rig::new().await;
    assert!(rig.again("k", Duration::ZERO).await.unwrap().is_none());
    let gone = rig.asking("gone", LONG).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    rig.ask("hello").await;
    let other = rig.again("other", LONG).await.unwrap().unwrap();
    assert_eq!((other.reply_id, rig.claims().await), (reply_of("box", "other"), 1));
}

#[tokio::test]
async fn a_claim_under_way_when_the_time_is_over_is_still_given() {
    let rig = Rig::new().await;
    rig.ask("hello").await;
    let (there, go) = rig.hold_back();
    let asking = rig.asking("k", Duration::ZERO).await;
    there.notified().await;
    // Longer than the shortest wait: the wish is withdrawn meanwhile.
    tokio::time::sleep(Duration::from_millis(50)).await;
    go.notify_one();
    assert!(asking.await.unwrap().unwrap().is_some());
}

#[tokio::test]
async fn a_claim_made_for_a_caller_who_was_cut_off_waits_for_it() {
    let rig = Rig::new().await;
    let id = rig.ask("hello").await;
    let (there, go) = rig.hold_back();
    let asking = rig.asking("k", LONG).await;
    there.notified().await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    go.notify_one();
    let back = rig.again("k", LONG).await.unwrap().unwrap();
    assert_eq!((back.held.message_id, rig.claims().await), (id, 1));
    assert!(!rig.kinds().await.contains(&"message.released".to_owned()));
}

#[tokio::test]
async fn a_call_that_says_all_words_before_it_heals_the_gap_and_changes_none() {
    let rig = Rig::new().await;
    let mut view = rig.view().await;
    rig.ask("hello").await;
    let held = rig.again("k", LONG).await.unwrap().unwrap().held;
    let say = |index, text: &'static str, before: Option<&'static str>| {
        rig.node.say(held, LiveUpdate::Delta { index, text: text.into(), before: before.map(Into::into) })
    };
    assert_eq!(say(0, "a ", None).await.unwrap().next_index, 1);
    assert!(matches!(say(3, "d", None).await, Err(Error::DeltaGap { expected: 1 })));
    assert!(matches!(say(3, "d", Some("x b c ")).await, Err(Error::TextMismatch)));
    assert_eq!(say(3, "d", Some("a b c ")).await.unwrap().next_index, 4);
    assert_eq!(say(2, "?", Some("whatever")).await.unwrap().next_index, 4, "known, so not looked at");
    view.until("reply.delta").await;
    // The jump is one event that has the whole of it, and then the piece.
    let snapshot = view.next().await;
    assert_eq!(snapshot.name, "reply.snapshot");
    let data: serde_json::Value = serde_json::from_str(&snapshot.data).unwrap();
    assert_eq!((&data["text"], &data["next_index"]), (&"a b c ".into(), &3.into()));
    rig.node.end(held, answer("a b c d and the end")).await.unwrap();
}

#[tokio::test]
async fn an_end_that_was_said_is_found_by_its_fence_and_no_other() {
    let rig = Rig::new().await;
    let id = rig.ask("hello").await;
    let first = rig.again("k1", LONG).await.unwrap().unwrap().held;
    rig.node.end(first, End::Released("goodbye")).await.unwrap();
    let second = rig.again("k2", LONG).await.unwrap().unwrap().held;
    let how = async |held: Held| rig.node.ended_by_worker(held).await.unwrap();
    assert_eq!(how(first).await.unwrap().entry.event.kind(), "message.released");
    assert!(how(second).await.is_none());
    rig.node.end(second, answer("words")).await.unwrap();
    let Ended { entry: end, reply, .. } = how(second).await.unwrap();
    assert_eq!((end.event.kind(), reply.unwrap().event.kind()), ("message.completed", "reply.posted"));
    assert_eq!(how(first).await.unwrap().entry.event.kind(), "message.released", "as before");
    assert!(how(Held { message_id: id, fence: Seq(1) }).await.is_none());
}
