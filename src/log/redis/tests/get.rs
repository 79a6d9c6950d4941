//! Single entries that the store has and this node has not in memory.

use super::*;
use crate::log::conformance::read_all;

/// More than a node reads when it begins.
const COUNT: u128 = 1_100;

async fn filled(redis: &Redis) -> RedisLog {
    let log = open(&redis.url(), "writer").await;
    let batches: Vec<_> = (1..=COUNT).map(|n| append(0, n, &[], vec![post(n, "text")])).collect();
    for batch in batches.chunks(500) {
        log.append(batch.to_vec()).await.unwrap();
    }
    open(&redis.url(), "reader").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_far_apart_are_one_round_trip() {
    let redis = Redis::start();
    let log = filled(&redis).await;
    let all = read_all(&log).await;
    let positions: Vec<_> = (1..60).step_by(3).chain([80, 81, 82, 90]).map(Seq).collect();
    let reads = || redis.info("total_reads_processed").unwrap().parse::<usize>().unwrap();
    let before = reads();
    let got = log.get(positions.clone()).await.unwrap();
    let after = reads();
    assert!(got.iter().eq(positions.iter().map(|seq| &all[seq.0 as usize - 1])));
    // This question, and what two idle readers ask.
    assert!(after - before < 8, "{} reads", after - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_the_store_has_lost_is_named() {
    let redis = Redis::start();
    let log = filled(&redis).await;
    assert_eq!(redis.command(&["XDEL", "{antiphon:0}:log", "5-0"]), "1");
    for positions in [vec![5], vec![4, 5, 6], vec![1, 5], vec![5, 9]] {
        let error = log.get(positions.iter().copied().map(Seq).collect()).await.unwrap_err();
        assert!(matches!(&error, Error::Damaged { place, .. } if place.contains("5-0")), "{positions:?}: {error}");
    }
}
