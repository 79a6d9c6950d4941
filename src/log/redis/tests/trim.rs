//! A log whose beginning one node moved up, and the other nodes.

use super::*;
use crate::log::{conformance::read_all, redis::History};

const LOG: &str = "{antiphon:0}:log";
const META: &str = "{antiphon:0}:meta";
const COUNT: u128 = 1_600;
const UPTO: Seq = Seq(700);
const BASE: Seq = Seq(701);

async fn filled(redis: &Redis) -> RedisLog {
    let log = open(&redis.url(), "a").await;
    let batches: Vec<_> = (1..=COUNT).map(|n| append(0, n, &[], vec![post(n, "text")])).collect();
    for batch in batches.chunks(400) {
        log.append(batch.to_vec()).await.unwrap();
    }
    log
}

fn trimmed<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Trimmed { base: BASE }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_nodes_are_told_where_it_begins() {
    let redis = Redis::start();
    let a = filled(&redis).await;
    // It has the newest thousand in memory, and what it knows of the beginning is old.
    let b = open(&redis.url(), "b").await;
    assert_eq!(a.trim(UPTO).await.unwrap(), BASE);
    assert_eq!((redis.command(&["HGET", META, "base"]), redis.command(&["XLEN", LOG])), ("701".into(), "900".into()));
    assert_eq!(b.base(), Seq(1));
    assert!(trimmed(b.read(Seq(100), 10).await) && b.base() == BASE);
    let c = open(&redis.url(), "c").await;
    assert!(c.base() == BASE && trimmed(c.get(vec![Seq(700)]).await));
    assert_eq!(read_all(&c).await, read_all(&a).await);
    assert_eq!(b.trim(Seq(5)).await.unwrap(), BASE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_last_entry_was_trimmed_meanwhile_has_lost_nothing() {
    let redis = Redis::start();
    let a = filled(&redis).await;
    let known = a.get(vec![Seq(100)]).await.unwrap().remove(0);
    let epoch = a.info().epoch;
    a.trim(UPTO).await.unwrap();
    let known = Some((epoch, Seq(100), known.hash()));
    let b = RedisLog::open(Options { known, ..options(&redis.url(), "b", Stamp::Store) });
    assert_eq!(opened(&b).await, epoch);
    assert_eq!((b.base(), b.tail(), b.lost().len()), (BASE, Seq(COUNT as u64), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_trimmed_while_a_copy_is_made() {
    let redis = Redis::start();
    let log = filled(&redis).await;
    redis.command(&["SET", "{antiphon:0}:erasing", "b/session"]);
    assert!(matches!(log.trim(UPTO).await, Err(Error::Full(_))));
    assert_eq!((log.base(), redis.command(&["XLEN", LOG])), (Seq(1), COUNT.to_string()));
    redis.command(&["DEL", "{antiphon:0}:erasing"]);
    assert_eq!(log.trim(UPTO).await.unwrap(), BASE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_outside_it_is_said_where_it_begins() {
    let redis = Redis::start();
    let log = filled(&redis).await;
    log.trim(UPTO).await.unwrap();
    let mut history = History::open(&Address::parse(&redis.url()).unwrap()).await.unwrap();
    assert!(trimmed(history.read().await));
    history.seek(UPTO);
    assert_eq!(history.read().await.unwrap()[0].seq(), BASE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_gone_though_it_was_not_trimmed_is_damage() {
    let redis = Redis::start();
    let a = filled(&redis).await;
    a.trim(UPTO).await.unwrap();
    let b = open(&redis.url(), "b").await;
    assert_eq!(redis.command(&["XDEL", LOG, "750-0", "701-0"]), "2");
    for after in [700, 749] {
        // Nothing that is older is in memory.
        b.inner.cache.begin_after(b.tail());
        assert!(matches!(b.read(Seq(after), 10).await, Err(Error::Damaged { .. })), "after {after}");
    }
}
