//! What time it is by the store's clock.

use super::{
    super::{connect::connect, facts::clock_ahead_ms},
    *,
};
use crate::clock::Clock;

/// A round trip and a scheduler that is busy with other tests.
const OFF_MAX_MS: u64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn now_is_what_the_store_stamps_entries_with() {
    let redis = Redis::start();
    let log = open(&redis.url(), "n1").await;
    for n in 0..3 {
        let before = log.now_ms();
        let Verdict::Appended(entries) = put(&log, n).await.unwrap() else { panic!("it is appended") };
        let stamped = entries[0].header.at_ms;
        assert!(before.abs_diff(stamped) < OFF_MAX_MS, "{before} and {stamped}");
        assert!(log.now_ms() >= stamped, "it is never before the last entry");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_has_never_been_reached_leaves_the_clock_of_this_machine() {
    let log = RedisLog::open(options("redis://127.0.0.1:1", "n1", Stamp::Store));
    assert!(log.now_ms().abs_diff(Clock::system().now_ms()) < OFF_MAX_MS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_an_hour_behind_the_stores_is_told_from_one_that_is_right() {
    let redis = Redis::start();
    let connected = connect(&Address::parse(&redis.url()).unwrap(), PATIENCE).await.unwrap();
    let right_ms = Clock::system().now_ms();
    for behind_ms in [0, 3_700_000] {
        let (clock, _) = Clock::manual(right_ms - behind_ms);
        let ahead_ms = clock_ahead_ms(&connected.connection, &clock).await.unwrap().unwrap();
        assert!(ahead_ms.abs_diff(behind_ms as i64) < OFF_MAX_MS, "{ahead_ms} of {behind_ms}");
    }
}
