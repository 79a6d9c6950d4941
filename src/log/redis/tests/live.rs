//! Live updates through a real store: what arrives, and what they may take of it.

use bytes::Bytes;

use super::*;
use crate::log::{
    UPDATE_BYTES_MAX,
    redis::live::{KEPT, PIECE_BYTES},
};

const LIVE: &str = "{antiphon:0}:live";

fn update(n: usize, bytes: usize) -> Bytes {
    n.to_string().bytes().cycle().take(bytes).collect::<Vec<_>>().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_of_any_size_arrives_whole_and_in_order() {
    let redis = Redis::start();
    let (a, b) = (open(&redis.url(), "a").await, open(&redis.url(), "b").await);
    let sizes = [1, PIECE_BYTES, PIECE_BYTES + 1, 300_000, 2, UPDATE_BYTES_MAX, 10 * PIECE_BYTES];
    for (n, bytes) in sizes.into_iter().enumerate() {
        a.broadcast(update(n, bytes));
        b.broadcast(update(n, bytes));
    }
    for (n, bytes) in sizes.into_iter().enumerate() {
        assert_eq!(b.recv().await.unwrap(), update(n, bytes), "{n}");
        assert_eq!(a.recv().await.unwrap(), update(n, bytes), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_is_too_large_is_dropped_and_the_next_one_arrives() {
    let redis = Redis::start();
    let (a, b) = (open(&redis.url(), "a").await, open(&redis.url(), "b").await);
    a.broadcast(update(1, UPDATE_BYTES_MAX + 1));
    a.broadcast(Bytes::from_static(b"next"));
    assert_eq!(b.recv().await.unwrap(), "next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_keeps_of_them_is_bounded_in_bytes() {
    let redis = Redis::start();
    let (a, b) = (open(&redis.url(), "a").await, open(&redis.url(), "b").await);
    // Three times as much as may be kept.
    for n in 0..3 * KEPT * PIECE_BYTES / UPDATE_BYTES_MAX {
        a.broadcast(update(n, UPDATE_BYTES_MAX));
        assert_eq!(b.recv().await.unwrap().len(), UPDATE_BYTES_MAX);
    }
    let used: usize = redis.command(&["MEMORY", "USAGE", LIVE, "SAMPLES", "0"]).parse().unwrap();
    assert!(used < 2 * KEPT * PIECE_BYTES, "{used} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_have_a_connection_of_their_own() {
    let redis = Redis::start();
    let (a, b) = (open(&redis.url(), "a").await, open(&redis.url(), "b").await);
    fill(&a, 1, 1).await;
    a.broadcast(Bytes::from_static(b"an update"));
    b.recv().await.unwrap();
    let clients = redis.command(&["CLIENT", "LIST"]);
    assert_eq!(clients.matches("cmd=xadd").count(), 1, "{clients}");
    assert_eq!(clients.matches("cmd=evalsha").count(), 1, "{clients}");
}
