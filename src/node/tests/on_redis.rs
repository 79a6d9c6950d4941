//! Nodes on a real Redis, with a wire in between that loses answers: claims are raced for, and nothing is doubled.

use std::collections::HashMap;

use super::*;
use crate::{
    decide::{Refusal, change::Change, work::reply_of},
    log::{self, redis as shared},
    node::work::Asked,
    outbox::Outbox,
};

use shared::{
    Options, RedisLog, Stamp,
    address::Address,
    server::{Redis, Wire},
};

/// A node named `name` on the Redis at `url`.
pub(super) async fn node(url: &str, name: &str, dir: &tempfile::TempDir) -> Node {
    let policy = Policy { retry_base_ms: LONG_MS, retry_max_ms: LONG_MS, ..policy() };
    node_with(url, name, dir, Clock::system(), policy).await
}

/// The same, with the clock of its machine and a policy.
pub(super) async fn node_with(url: &str, name: &str, dir: &tempfile::TempDir, clock: Clock, policy: Policy) -> Node {
    let address = Address::parse(url).unwrap();
    let log = RedisLog::open(Options { address, node: name.into(), stamp: Stamp::Store, known: None });
    let outbox = Outbox::open(dir.path().join(name), clock.clone(), &Tasks::new()).await.unwrap();
    let limits = Limits { recent_messages: 100, rooms: 10 };
    let (name, log, outbox) = (name.into(), Arc::new(log), Some(outbox));
    let policy = Policy { queue_max: 100_000, ..policy };
    start(Settings { name, log, outbox, clock, policy, limits, data: None }, &Tasks::new()).await.unwrap()
}

pub(super) async fn entries(node: &Node) -> Vec<Arc<Entry>> {
    let (mut all, mut after) = (Vec::new(), Seq::ZERO);
    loop {
        let more = node.inner.log.read(after, 1_000).await.unwrap();
        let Some(last) = more.last() else { return all };
        after = last.header.seq;
        all.extend(more);
    }
}

/// Both nodes have a worker that waits when a message comes, so each is raced for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_two_nodes_claim_at_the_same_instant_has_one_winner() {
    let count = if std::env::var_os("ANTIPHON_SOAK").is_some() { 10_000 } else { 500 };
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let nodes = [node(&redis.url(), "a", &dir).await, node(&redis.url(), "b", &dir).await];
    let (won, mut wins) = tokio::sync::mpsc::unbounded_channel();
    for (n, node) in nodes.iter().enumerate() {
        let (node, won) = (node.clone(), won.clone());
        tokio::spawn(async move {
            let (bot, worker) = (bot(), format!("{}/bot/1", node.name()).into());
            while let Ok(claimed) = node.claim(&bot, &worker, Some(node.incarnation())).await {
                won.send((n, claimed.held.message_id)).unwrap();
                node.end(claimed.held, answer("mine")).await.unwrap();
            }
        });
    }
    let mut of = [0, 0];
    for n in 0..count {
        let post = question("whose is it?");
        posted(nodes[n % 2].post(post.clone()).await.unwrap()).unwrap();
        let (winner, id) = timeout(PATIENCE, wins.recv()).await.expect("somebody wins").unwrap();
        assert_eq!(id, post.id);
        of[winner] += 1;
    }
    assert!(of[0] > 0 && of[1] > 0, "a race that both can win: {of:?}");
    let end = Seq(count as u64 * 4);
    for node in &nodes {
        timeout(PATIENCE, node.reached(end)).await.unwrap().unwrap();
        assert_eq!(node.state().projections.queue.iter().count(), 0);
    }
    let mut claims: HashMap<MessageId, u32> = HashMap::new();
    for entry in entries(&nodes[0]).await {
        if let Event::MessageClaimed(e) = &entry.event {
            *claims.entry(e.message_id).or_default() += 1;
        }
    }
    assert_eq!((claims.len(), claims.values().max()), (count, Some(&1)), "each was claimed once");
    let lane = "{antiphon:0}:work:bot:5";
    assert_eq!(redis.command(&["XLEN", lane]), "0");
    assert!(redis.command(&["XPENDING", lane, "workers"]).starts_with('0'));
}

/// A worker whose answer was lost asks the next node, while the first is still at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_two_nodes_are_asked_under_at_the_same_instant_is_one_claim() {
    let count = if std::env::var_os("ANTIPHON_SOAK").is_some() { 2_000 } else { 200 };
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let nodes = [node(&redis.url(), "a", &dir).await, node(&redis.url(), "b", &dir).await];
    for n in 0..count {
        let reply_id = reply_of("box", &format!("key {n}"));
        let wait = Duration::from_millis(LONG_MS);
        let asked =
            Asked { bots: [bot()].into(), worker: "box".into(), reply_id, cold: false, models: [].into(), wait };
        let ask = |node: &Node| {
            tokio::spawn({
                let (node, asked) = (node.clone(), asked.clone());
                async move { node.claim_again(asked).await }
            })
        };
        let both = [ask(&nodes[0]), ask(&nodes[1])];
        // Another waits, too: a second claim under the key would take it.
        for _ in 0..2 {
            posted(nodes[n % 2].post(question("whose is it?")).await.unwrap()).unwrap();
        }
        let mut claims = Vec::new();
        for asking in both {
            let claimed = timeout(PATIENCE, asking).await.expect("an answer within a minute").unwrap();
            claims.push(claimed.unwrap().unwrap());
        }
        assert_eq!((claims[0].held, claims[0].reply_id), (claims[1].held, reply_id));
        // Words to one node, the end to the other.
        let word = LiveUpdate::Delta { index: 0, text: "it is ".into(), before: None };
        nodes[n % 2].say(claims[0].held, word).await.unwrap();
        nodes[(n + 1) % 2].end(claims[0].held, answer("it is mine")).await.unwrap();
        let rest = timeout(PATIENCE, nodes[0].claim(&bot(), &"rest".into(), None)).await.unwrap().unwrap();
        nodes[0].end(rest.held, answer("the other one")).await.unwrap();
    }
    let claims = entries(&nodes[0]).await.iter().filter(|e| matches!(e.event, Event::MessageClaimed(_))).count();
    assert_eq!(claims, 2 * count, "one a message");
}

/// The words of a reply go to one node first and to another then, as a worker does whose first node is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_that_are_said_to_another_node_go_on_where_they_were_on_all() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let nodes = [node(&redis.url(), "a", &dir).await, node(&redis.url(), "b", &dir).await];
    posted(nodes[0].post(question("go on")).await.unwrap()).unwrap();
    let held = timeout(PATIENCE, nodes[0].claim(&bot(), &"box".into(), None)).await.unwrap().unwrap().held;
    timeout(PATIENCE, nodes[1].reached(held.fence)).await.unwrap().unwrap();
    let (mut text, mut known) = (String::new(), [0, 0]);
    for index in 0..40 {
        let (piece, n) = (format!("{index} "), (index / 5 % 2) as usize);
        let say = |before: Option<&str>| {
            let word = LiveUpdate::Delta { index, text: piece.as_str().into(), before: before.map(Into::into) };
            nodes[n].say(held, word)
        };
        let heard = match say(None).await {
            Err(Error::DeltaGap { .. }) => say(Some(&text)).await,
            heard => heard,
        };
        known[n] = heard.unwrap().next_index;
        assert_eq!(known[n], index + 1);
        text.push_str(&piece);
    }
    let caught_up = async {
        // Nothing changes by a piece that is known already.
        let known = LiveUpdate::Delta { index: 0, text: "0 ".into(), before: None };
        while nodes[0].say(held, known.clone()).await.unwrap().next_index < 40 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, caught_up).await.expect("the other node is told");
    nodes[0].end(held, answer(&text)).await.unwrap();
}

/// The answer to the append is swallowed and the connection cut: posts, claims, completions, failures, cancels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_although_the_connection_was_cut_before_the_answer_happens_once() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let wire = Wire::to(redis.port());
    let node = node(&wire.url(), "a", &dir).await;
    let (bot, worker) = (bot(), "a/bot/1".into());
    let again = Duration::from_millis(20);

    // A post is found in the log over the next connection, before anybody is told that the store was away.
    let post = question("the needle of the post");
    wire.swallow_next_answer("needle of the post");
    let placed = timeout(PATIENCE, node.post(post.clone())).await.unwrap().unwrap();
    assert!(matches!(placed, Placed::Posted(_)), "{placed:?}");
    assert!(matches!(node.post(post.clone()).await, Ok(Placed::Again(_))), "it is there once");

    // A claim is handed over when the log is read again.
    wire.swallow_next_answer("message.claimed");
    let claimed = timeout(PATIENCE, node.claim(&bot, &worker, None)).await.unwrap().unwrap();
    assert_eq!(claimed.held.message_id, post.id);

    // A connection that is lost as soon as it is there is told, so what follows is repeated until it is answered. Whether it
    // was found quietly or by the repetition: it happened once.
    let end = async |held, end: End| {
        loop {
            match node.end(held, end.clone()).await {
                Err(Error::Log(log::Error::Away(_))) => tokio::time::sleep(again).await,
                other => return other,
            }
        }
    };
    wire.swallow_next_answer("message.failed");
    let ended = timeout(PATIENCE, end(claimed.held, fails(true))).await.unwrap();
    assert!(matches!(ended, Ok(_) | Err(Error::Refused(Refusal::ClaimOver))), "{ended:?}");

    // A completion, likewise.
    let other = question("another");
    let placed = timeout(PATIENCE, async {
        loop {
            match node.post(other.clone()).await.unwrap() {
                Placed::Parked(_) => tokio::time::sleep(again).await,
                placed => return placed,
            }
        }
    });
    placed.await.unwrap();
    let claimed = timeout(PATIENCE, node.claim(&bot, &worker, None)).await.unwrap().unwrap();
    wire.swallow_next_answer("message.completed");
    let ended = timeout(PATIENCE, end(claimed.held, answer("words"))).await.unwrap();
    assert!(matches!(ended, Ok(_) | Err(Error::Refused(Refusal::AlreadyEnded(_)))), "{ended:?}");

    // And a cancel.
    wire.swallow_next_answer("message.cancelled");
    let cancelled = timeout(PATIENCE, async {
        loop {
            match node.change(post.id, Change::Cancel).await {
                Err(Error::Log(log::Error::Away(_))) => tokio::time::sleep(again).await,
                other => return other,
            }
        }
    });
    cancelled.await.unwrap().unwrap();

    assert_eq!(wire.swallowed(), 5, "each answer was lost");
    let entries = entries(&node).await;
    assert_eq!(
        kinds_of(&entries, post.id),
        ["message.posted", "message.claimed", "message.failed", "message.cancelled"]
    );
    let expected = ["message.posted", "message.claimed", "reply.posted", "message.completed"];
    assert_eq!(kinds_of(&entries, other.id), expected);
    assert_eq!(entries.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_erases_is_gone_from_the_store_and_from_the_memory_of_the_other() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let nodes = [node(&redis.url(), "a", &dir).await, node(&redis.url(), "b", &dir).await];
    let secret = "nobody may know this";
    let post = Post { to: Some(vec![]), ..question(secret) };
    let id = posted(nodes[1].post(post.clone()).await.unwrap()).unwrap().0.id;
    nodes[0].reached(Seq(1)).await.unwrap();
    let (changed, gone) = nodes[0].erase(id).await.unwrap();
    assert!(gone && changed.id == id);
    let tail = nodes[0].tail();
    for node in &nodes {
        timeout(PATIENCE, node.reached(tail)).await.unwrap().unwrap();
        let all = entries(node).await;
        assert!(!all.iter().any(|entry| entry.body.windows(secret.len()).any(|part| part == secret.as_bytes())));
        let message = node.message(id).await.unwrap().unwrap();
        assert_eq!((&*message.author.name, &*message.text), ("erased", ""));
        assert!(!format!("{:?}", node.state()).contains(secret));
    }
    assert!(!redis.command(&["XRANGE", "{antiphon:0}:log", "-", "+"]).contains(secret));
    assert!(nodes[1].erase(id).await.unwrap().1, "asked there it is found to be done");
    // A post that had stayed in an outbox all the while is settled, and does not come back.
    let again = nodes[1].post(post).await;
    assert!(matches!(again, Err(Error::Refused(Refusal::IdTaken(_)))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_is_a_little_ahead_is_waited_for_and_one_of_the_far_future_is_not() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let node = node(&redis.url(), "a", &dir).await;
    let position = node.position();
    let next = node.cursor(position.next());
    let (obstacle, placed) = tokio::join!(Follower::obstacle(&node, &next), node.post(question("a moment")));
    posted(placed.unwrap()).unwrap();
    assert_eq!(obstacle, None);

    let far = node.cursor(Seq(node.position().0 + 1_000_000));
    let mut obstacle = std::pin::pin!(Follower::obstacle(&node, &far));
    let at_once = poll_fn(|cx| std::task::Poll::Ready(obstacle.as_mut().poll(cx))).await;
    assert_eq!(at_once, std::task::Poll::Ready(Some("beyond-tail")));
}
