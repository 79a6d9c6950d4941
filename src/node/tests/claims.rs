//! Claims: who gets a message, who loses it, and what a late worker can still do: nothing.

use antiphon_schemas::{event::release, wire::Status};
use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    decide::{Refusal, change::Change},
    log,
};

const LEASE: Duration = Duration::from_millis(LEASE_MS);

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Whether nobody waited for a lease of [`LONG_MS`].
fn at_once(since: Instant) -> bool {
    since.elapsed() < Duration::from_millis(LONG_MS / 10)
}

#[tokio::test]
async fn a_silent_workers_claim_is_taken_over_after_the_lease_and_the_late_one_can_do_nothing() {
    let rig = Rig::leasing(LEASE_MS).await;
    let mut view = rig.view().await;
    let id = rig.ask("hello").await;
    let a = rig.claim("a").await;
    rig.delta(a.held, 0, "words ").await.unwrap();
    rig.delta(a.held, 1, "of a").await.unwrap();
    // Alive for two leases although it writes nothing.
    let mut silent_since = Instant::now();
    for _ in 0..20 {
        sleep(LEASE / 10).await;
        silent_since = Instant::now();
        rig.node.say(a.held, LiveUpdate::Heartbeat).await.unwrap();
    }
    assert!(!a.over.is_cancelled());

    let b = rig.claim("b").await;
    assert!(silent_since.elapsed() >= LEASE, "{:?}", silent_since.elapsed());
    assert!(a.over.is_cancelled() && !b.over.is_cancelled());
    assert_eq!((b.held.message_id, b.attempt), (id, 2));
    assert!(b.held.fence > a.held.fence && b.reply_id != a.reply_id);

    let stale = Refusal::StaleFence { worker: "b".into(), fence: b.held.fence };
    assert_eq!(refusal(rig.delta(a.held, 2, "late").await), stale);
    assert_eq!(refusal(rig.node.say(a.held, LiveUpdate::Heartbeat).await), stale);
    assert_eq!(refusal(rig.node.end(a.held, answer("words of a")).await), stale);
    assert_eq!(refusal(rig.node.end(a.held, fails(true)).await), stale);
    assert_eq!(refusal(rig.node.end(a.held, End::Released(release::GOODBYE)).await), stale);

    rig.delta(b.held, 0, "words of b").await.unwrap();
    rig.node.end(b.held, answer("words of b")).await.unwrap();
    assert!(b.over.is_cancelled());
    let ended = Refusal::AlreadyEnded(Status::Answered);
    for late in [a.held, b.held] {
        assert_eq!(refusal(rig.delta(late, 1, "late").await), ended);
        assert_eq!(refusal(rig.node.say(late, LiveUpdate::Heartbeat).await), ended);
        assert_eq!(refusal(rig.node.end(late, answer("again")).await), ended);
    }

    let seen = view.until("message.completed").await;
    let expected = [
        ["message.posted", "message.claimed", "reply.started", "reply.delta", "reply.delta"].as_slice(),
        &["message.released", "reply.reset", "message.claimed", "reply.started", "reply.delta"],
        &["reply.posted", "message.completed"],
    ];
    assert_eq!(seen, expected.concat());
    let expected = [
        ["message.posted", "message.claimed", "message.released", "message.claimed"].as_slice(),
        &["reply.posted", "message.completed"],
    ];
    let entries = rig.entries().await;
    assert_eq!(kinds_of(&entries, id), expected.concat());
    assert_eq!(entries.len(), 6);
    assert!(matches!(&entries[2].event, Event::MessageReleased(e) if &*e.reason == release::LEASE_OVER));
}

/// The one who asked goes away while its claim is being written: nobody will work on it, so nobody should wait for it.
#[tokio::test]
async fn a_claim_whose_caller_is_gone_is_released_at_once_and_does_not_count() {
    let rig = Rig::new().await;
    let id = rig.ask("hello").await;
    let (there, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    rig.log.next(Trick::Held { there: there.clone(), go: go.clone() });
    let gone = rig.claiming("a");
    let (gone, ()) = tokio::join!(gone, there.notified());
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let begun = Instant::now();
    go.notify_one();
    let b = rig.claim("b").await;
    assert!(at_once(begun));
    assert_eq!((b.held.message_id, b.attempt), (id, 1));
    let entries = rig.entries().await;
    assert!(matches!(&entries[2].event, Event::MessageReleased(e) if &*e.reason == release::GOODBYE));
}

#[tokio::test]
async fn a_claimer_that_gave_up_waiting_gets_nothing() {
    let rig = Rig::new().await;
    let gone = rig.claiming("a").await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    rig.ask("hello").await;
    assert_eq!(rig.claim("b").await.attempt, 1);
    assert_eq!(rig.kinds().await, ["message.posted", "message.claimed"]);
}

#[tokio::test]
async fn of_two_claimers_that_wait_one_gets_the_message_and_the_other_the_next() {
    let rig = Rig::new().await;
    let (a, b) = (rig.claiming("a").await, rig.claiming("b").await);
    let first = rig.ask("one").await;
    let a = a.await.unwrap().unwrap();
    assert_eq!(a.held.message_id, first);
    rig.node.probe().await.unwrap();
    assert!(!b.is_finished());
    let second = rig.ask("two").await;
    let b = b.await.unwrap().unwrap();
    assert_eq!(b.held.message_id, second);
    assert!(b.held.fence > a.held.fence);
    assert_eq!(rig.kinds().await, ["message.posted", "message.claimed", "message.posted", "message.claimed"]);
}

#[tokio::test]
async fn pieces_are_taken_in_order_and_each_once() {
    let rig = Rig::new().await;
    let mut view = rig.view().await;
    let id = rig.ask("hello").await;
    let held = rig.claim("a").await.held;
    let gap = |result| match result {
        Err(Error::DeltaGap { expected }) => expected,
        other => panic!("{other:?}"),
    };
    assert_eq!(gap(rig.delta(held, 1, "too early").await), 0);
    rig.delta(held, 0, "one ").await.unwrap();
    rig.delta(held, 0, "one ").await.unwrap();
    assert_eq!(gap(rig.delta(held, 2, "too early").await), 1);
    rig.delta(held, 1, "two").await.unwrap();
    rig.delta(held, 0, "one ").await.unwrap();
    assert_eq!(rig.node.state().writing[&id].text, "one two");
    let long = "x".repeat(crate::node::REPLY_BYTES_MAX);
    assert!(matches!(rig.delta(held, 2, &long).await, Err(Error::ReplyTooLong)));
    rig.node.end(held, answer("one two")).await.unwrap();
    let seen = view.until("message.completed").await;
    assert_eq!(seen.iter().filter(|name| *name == "reply.delta").count(), 2);
    assert!(rig.node.state().writing.is_empty());
}

#[tokio::test]
async fn a_cancelled_message_ends_its_claim_within_the_same_turn() {
    let rig = Rig::new().await;
    let id = rig.ask("hello").await;
    let a = rig.claim("a").await;
    rig.delta(a.held, 0, "wor").await.unwrap();
    let begun = Instant::now();
    assert_eq!(rig.node.change(id, Change::Cancel).await.unwrap().status, Status::Cancelled);
    assert!(a.over.is_cancelled() && at_once(begun));
    let ended = Refusal::AlreadyEnded(Status::Cancelled);
    assert_eq!(refusal(rig.delta(a.held, 1, "ds").await), ended);
    assert_eq!(refusal(rig.node.end(a.held, answer("words")).await), ended);
    assert_eq!(rig.node.change(id, Change::Cancel).await.unwrap().status, Status::Cancelled, "twice is fine");
    assert_eq!(rig.kinds().await, ["message.posted", "message.claimed", "message.cancelled"]);
    assert_eq!(rig.node.state().projections.queue.depth(&bot()), Default::default());
}

#[tokio::test]
async fn an_attempt_that_the_model_had_no_part_in_is_not_used_up() {
    let rig = Rig::new().await;
    let id = rig.ask("hello").await;
    for _ in 0..2 * ATTEMPTS_MAX {
        let claimed = rig.claim("a").await;
        assert_eq!((claimed.held.message_id, claimed.attempt), (id, 1));
        let away = End::Away { reason: "model-unreachable: nobody".into(), after_ms: 1 };
        rig.node.end(claimed.held, away).await.unwrap();
    }
    assert_eq!(rig.claim("a").await.attempt, 1);
}

#[tokio::test]
async fn a_failed_attempt_is_tried_again_after_a_growing_wait_until_the_attempts_are_used_up() {
    let rig = Rig::new().await;
    let id = rig.ask("hello").await;
    for attempt in 1..=ATTEMPTS_MAX {
        let claimed = rig.claim("a").await;
        assert_eq!(claimed.attempt, attempt);
        rig.node.end(claimed.held, fails(true)).await.unwrap();
        let entries = rig.entries().await;
        let Event::MessageFailed(failed) = &entries[usize::try_from(claimed.held.fence.0).unwrap()].event else {
            panic!("{entries:?}")
        };
        if attempt == ATTEMPTS_MAX {
            assert_eq!(failed.retry_at_ms, None);
            break;
        }
        // Log time runs on beside the wall clock of this test, which does not.
        let wait = failed.retry_at_ms.unwrap() - rig.clock.now_ms();
        let whole = 20 << (attempt - 1);
        assert!(wait >= whole / 2, "{wait} of {whole} ms");
        assert_eq!(rig.node.state().projections.queue.depth(&bot()).retrying, 1);
        rig.pass_ms(wait);
    }
    let record = rig.node.record(id).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Dead);
    assert!(record.reason.unwrap().starts_with("attempts-used-up: model-broke"));
    let kinds = rig.kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "message.released").count(), 2);
    assert_eq!(kinds[kinds.len() - 2..], ["message.failed", "message.dead"]);

    assert_eq!(rig.node.change(id, Change::Retry).await.unwrap().status, Status::Waiting);
    let claimed = rig.claim("a").await;
    assert_eq!(claimed.attempt, 1, "a person's wish counts from one again");
    rig.node.end(claimed.held, fails(false)).await.unwrap();
    assert_eq!(rig.node.record(id).await.unwrap().unwrap().status, Status::Failed);
}

#[tokio::test]
async fn leases_that_run_out_use_up_attempts_too() {
    let rig = Rig::leasing(100).await;
    let id = rig.ask("hello").await;
    for attempt in 1..=ATTEMPTS_MAX {
        let silent = rig.claim("silent").await;
        silent.over.cancelled().await;
        assert_eq!(silent.attempt, attempt);
    }
    assert_eq!(rig.node.record(id).await.unwrap().unwrap().status, Status::Dead);
}

#[tokio::test]
async fn a_goodbye_or_a_restart_does_not_count_as_an_attempt() {
    let rig = Rig::new().await;
    rig.ask("hello").await;
    for _ in 0..2 * ATTEMPTS_MAX {
        let claimed = rig.claim("a").await;
        assert_eq!(claimed.attempt, 1);
        rig.node.end(claimed.held, End::Released(release::GOODBYE)).await.unwrap();
    }
    // Each new process on the log gives back at once what the one before it held.
    let mut node = rig.node.clone();
    for _ in 0..2 * ATTEMPTS_MAX {
        let begun = Instant::now();
        let claimed = node.claim(&bot(), &"in-process".into(), Some(node.incarnation())).await.unwrap();
        assert_eq!((claimed.attempt, at_once(begun)), (1, true));
        node = node_on(rig.log.clone(), rig.clock.clone(), policy()).await;
        claimed.over.cancelled().await;
    }
    let restarted = |e: &&Arc<Entry>| matches!(&e.event, Event::MessageReleased(e) if &*e.reason == release::RESTARTED);
    assert_eq!(rig.entries().await.iter().filter(restarted).count() as u32, 2 * ATTEMPTS_MAX);
}

#[tokio::test]
async fn a_message_that_waited_too_long_is_given_up() {
    let rig = Rig::with(Policy { max_age_ms: 50, ..policy() }).await;
    let mut view = rig.view().await;
    let id = rig.ask("last night's").await;
    rig.pass_ms(50);
    // Nobody can claim it, even before its timer fires.
    let claiming = rig.claiming("a").await;
    assert_eq!(view.until("message.dead").await, ["message.posted", "message.dead"]);
    assert!(!claiming.is_finished());
    assert_eq!(rig.node.record(id).await.unwrap().unwrap().reason.as_deref(), Some("too-old"));
}

/// Why claims were given back, in order.
async fn reasons(rig: &Rig) -> Vec<String> {
    let reason = |entry: &Arc<Entry>| match &entry.event {
        Event::MessageReleased(e) => Some(e.reason.to_string()),
        _ => None,
    };
    rig.entries().await.iter().filter_map(reason).collect()
}

fn full() -> Trick {
    Trick::Fails(log::Error::Full("no space".into()))
}

#[tokio::test]
async fn a_restart_on_a_full_disk_gives_back_what_was_held_once_there_is_space_and_counts_nothing() {
    let rig = Rig::with(Policy { attempts_max: 1, ..policy() }).await;
    let id = rig.ask("hello").await;
    let held = rig.node.claim(&bot(), &"in-process".into(), Some(rig.node.incarnation())).await.unwrap();
    rig.log.next(full());
    let node = node_on(rig.log.clone(), rig.clock.clone(), Policy { attempts_max: 1, ..policy() }).await;
    timeout(PATIENCE, held.over.cancelled()).await.expect("it is given back");
    assert!(rig.log.tricks.lock().unwrap().is_empty(), "the first try failed");
    let again = timeout(PATIENCE, node.claim(&bot(), &"in-process".into(), None)).await.unwrap().unwrap();
    assert_eq!((again.held.message_id, again.attempt), (id, 1));
    assert_eq!(reasons(&rig).await, [release::RESTARTED]);
}

#[tokio::test]
async fn a_goodbye_on_a_full_disk_is_said_once_there_is_space_and_counts_nothing() {
    let rig = Rig::with(Policy { attempts_max: 1, ..policy() }).await;
    let id = rig.ask("hello").await;
    let (there, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    rig.log.next(Trick::Held { there: there.clone(), go: go.clone() });
    let gone = rig.claiming("a");
    let (gone, ()) = tokio::join!(gone, there.notified());
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    rig.log.next(full());
    go.notify_one();
    let b = rig.claim("b").await;
    assert!(rig.log.tricks.lock().unwrap().is_empty(), "the first try failed");
    assert_eq!((b.held.message_id, b.attempt), (id, 1));
    assert_eq!(reasons(&rig).await, [release::GOODBYE]);
}
