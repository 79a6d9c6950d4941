//! Two nodes on a real Redis, the clock of one of them more than an hour off, each way: what is too old, due or late is
//! told by the store's time.

use antiphon_schemas::event::release;

use super::{on_redis as real, *};
use crate::log::redis as shared;
use real::{entries, node_with};
use shared::server::Redis;

/// More than the age at which messages are given up here.
const OFF_MS: i64 = 3_700_000;
/// More than any delay of a test, and far less than the clocks are off.
const SANE_MS: u64 = 600_000;
/// Long enough to distinguish an immediate retry from one that is due.
const RETRY_MS: u64 = 1_000;

struct Pair {
    redis: Redis,
    dir: tempfile::TempDir,
}

impl Pair {
    fn new() -> Pair {
        Pair { redis: Redis::start(), dir: tempfile::tempdir().unwrap() }
    }

    /// A node whose machine's clock is so far ahead of the right time.
    async fn node(&self, name: &str, ahead_ms: i64) -> Node {
        let (clock, _) = Clock::manual(Clock::system().now_ms().saturating_add_signed(ahead_ms));
        let policy = Policy { retry_base_ms: RETRY_MS, retry_max_ms: RETRY_MS, ..policy() };
        node_with(&self.redis.url(), name, &self.dir, clock, policy).await
    }
}

async fn ask(node: &Node, text: &str) -> MessageId {
    posted(node.post(question(text)).await.unwrap()).unwrap().0.id
}

async fn claim(node: &Node) -> Claimed {
    let claimed = timeout(PATIENCE, node.claim(&bot(), &"somebody".into(), None)).await;
    claimed.expect("what waits can be claimed").unwrap()
}

async fn a_message_waits(off_ms: i64) {
    let pair = Pair::new();
    let right = pair.node("right", 0).await;
    let before = ask(&right, "before the other node is there").await;
    let wrong = pair.node("wrong", off_ms).await;
    let asked = [before, ask(&right, "of the right one").await, ask(&wrong, "of the wrong one").await];
    timeout(PATIENCE, right.reached(Seq(3))).await.unwrap().unwrap();
    for id in asked {
        // To be answered by whichever node: none of them takes it for too old.
        let claimed = claim(&wrong).await;
        assert_eq!((claimed.held.message_id, claimed.attempt), (id, 1));
        wrong.end(claimed.held, answer("words")).await.unwrap();
    }
    let answered = ["message.posted", "message.claimed", "reply.posted", "message.completed"];
    let entries = entries(&wrong).await;
    for id in asked {
        assert_eq!(kinds_of(&entries, id), answered);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_an_hour_ahead_gives_up_nobodys_message() {
    a_message_waits(OFF_MS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_an_hour_behind_gives_up_nobodys_message() {
    a_message_waits(-OFF_MS).await;
}

/// The attempt fails on the node whose clock is right, then on the other, which has to bring both back by itself.
async fn a_retry_comes(off_ms: i64) {
    let pair = Pair::new();
    let (right, wrong) = (pair.node("right", 0).await, pair.node("wrong", off_ms).await);
    let id = ask(&right, "try").await;
    let first = claim(&wrong).await;
    timeout(PATIENCE, right.reached(first.held.fence)).await.unwrap().unwrap();
    right.end(first.held, fails(true)).await.unwrap();
    right.stop().await;
    let second = claim(&wrong).await;
    wrong.end(second.held, fails(true)).await.unwrap();
    let third = claim(&wrong).await;
    assert_eq!([second.attempt, third.attempt], [2, 3]);

    let (mut waits, mut due) = (Vec::new(), None);
    for entry in entries(&wrong).await.iter().filter(|entry| entry.header.subjects.contains(&id)) {
        let at_ms = entry.header.at_ms;
        match &entry.event {
            Event::MessageFailed(e) => {
                let retry_at_ms = e.retry_at_ms.unwrap();
                assert!(retry_at_ms.abs_diff(at_ms) <= 2 * RETRY_MS, "failed at {at_ms}, again at {retry_at_ms}");
                due = Some(at_ms);
            }
            Event::MessageReleased(e) if &*e.reason == release::RETRY_DUE => waits.push(at_ms - due.unwrap()),
            _ => {}
        }
    }
    assert_eq!(waits.len(), 2);
    // Between the half and the whole, less what the two clocks of a round trip may differ by.
    assert!(waits.iter().all(|ms| (RETRY_MS / 4..SANE_MS).contains(ms)), "{waits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_comes_when_it_is_due_on_a_node_whose_clock_is_an_hour_ahead() {
    a_retry_comes(OFF_MS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_comes_when_it_is_due_on_a_node_whose_clock_is_an_hour_behind() {
    a_retry_comes(-OFF_MS).await;
}

/// The claim is made before the node with the wrong clock starts, which so has only the claim's stamp to go by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_to_the_first_word_is_right_on_a_node_whose_clock_is_an_hour_off() {
    for off_ms in [OFF_MS, -OFF_MS] {
        let pair = Pair::new();
        let right = pair.node("right", 0).await;
        let id = ask(&right, "hello").await;
        let held = claim(&right).await.held;
        // Time that must be in it.
        tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
        let wrong = pair.node("wrong", off_ms).await;
        timeout(PATIENCE, wrong.reached(held.fence)).await.unwrap().unwrap();
        wrong.say(held, LiveUpdate::Delta { index: 0, text: "words".into(), before: None }).await.unwrap();
        let state = wrong.state();
        let first_ms = state.writing[&id].first_ms.unwrap();
        assert!((RETRY_MS / 2..SANE_MS).contains(&first_ms), "{off_ms}: {first_ms}");
        assert!((RETRY_MS / 2..SANE_MS).contains(&wrong.claimed_ms_ago(&state, &id)), "{off_ms}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_knows_how_far_its_clock_is_off() {
    for off_ms in [0, OFF_MS, -OFF_MS] {
        let pair = Pair::new();
        let node = pair.node("here", off_ms).await;
        ask(&node, "hello").await;
        let skew = node.skew();
        assert!(skew.wall_ms.abs_diff(-off_ms) < 60_000 && skew.log_ms.abs() < 60_000, "{off_ms}: {skew:?}");
        assert_eq!(skew.finding().is_some(), off_ms != 0);
    }
}
