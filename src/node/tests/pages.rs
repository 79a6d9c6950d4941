//! What a page of old messages costs: as many as are in it lie far apart in the log.

use super::{on_redis as real, *};
use crate::{
    log::{Access, BATCH_MAX, Draft, conformance, redis as shared},
    node::Range,
};
use real::node;
use shared::server::Redis;

/// Rooms that talk at the same time.
const ROOMS: usize = 16;
/// Messages of each on the page.
const PAGE: usize = 500;
/// Newer ones than the page, more than a node takes into memory when it begins.
const NEWER: usize = 1_200;

fn room_of(n: usize) -> RoomName {
    RoomName::new(&format!("room-{n}")).unwrap()
}

/// A log's worth of rooms whose messages alternate.
async fn talk(log: &dyn Log) {
    let draft =
        |n: usize| Draft { room: Some(room_of(n % ROOMS)), ..conformance::post(n as u128, &format!("message {n}")) };
    let appends: Vec<_> =
        (0..ROOMS * PAGE + NEWER).map(|n| conformance::append(0, n as u128, &[], vec![draft(n)])).collect();
    for batch in appends.chunks(BATCH_MAX) {
        log.append(batch.to_vec()).await.unwrap();
    }
}

/// The oldest messages of a room.
async fn page(node: &Node) {
    let range = Range { after: Some(Seq::ZERO), limit: PAGE, ..Range::default() };
    let (messages, _) = node.messages(&room_of(3), range).await.unwrap();
    let texts = messages.iter().map(|message| message.text.to_string());
    assert!(texts.eq((0..PAGE).map(|n| format!("message {}", n * ROOMS + 3))));
}

#[tokio::test]
async fn a_page_of_old_messages_is_a_few_questions_to_the_log() {
    let (clock, _) = Clock::manual(START_MS);
    let log = Arc::new(Tricky::over(MemoryLog::new(Epoch(7), clock.clone())));
    talk(&*log).await;
    let node = node_on(log.clone(), clock, policy()).await;
    let before = log.gets.load(Ordering::Relaxed);
    page(&node).await;
    assert_eq!(log.gets.load(Ordering::Relaxed) - before, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_old_messages_is_a_few_round_trips_to_a_store() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let first = node(&redis.url(), "a", &dir).await;
    let log = first.inner.log.clone();
    let mut access = log.shared().unwrap().access();
    let open = access.wait_for(|access| matches!(access, Access::Open { .. }));
    timeout(PATIENCE, open).await.unwrap().unwrap();
    talk(&*log).await;
    first.stop().await;
    let node = node(&redis.url(), "b", &dir).await;
    let end = Seq((ROOMS * PAGE + NEWER) as u64);
    timeout(PATIENCE, async { while node.reached(end).await.is_err() {} }).await.unwrap();
    // How often it took something from any connection.
    let reads = || redis.info("total_reads_processed").unwrap().parse::<usize>().unwrap();
    let before = reads();
    page(&node).await;
    let after = reads();
    // The node's reader, its lanes, and this question are among them.
    assert!(after - before < 20, "{} reads", after - before);
    node.stop().await;
}
