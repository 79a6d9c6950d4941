//! Bad days: answers and requests that get lost, servers that hang, are full, read-only, killed.

use std::{sync::atomic::AtomicU64, time::Duration};

use antiphon_schemas::RequestId;
use uuid::Uuid;

use super::*;
use crate::log::{
    conformance::read_all,
    redis::server::{Cluster, Sentinels, Wire, until},
};

/// A second try of an append whose answer was lost, and whose store went with it, finds its own request; nothing is there
/// twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_answer_was_lost_is_found_by_its_request_id() {
    let redis = Redis::start();
    let wire = Wire::to(redis.port());
    let log = open(&wire.url(), "n1").await;
    fill(&log, 1, 3).await;
    let epoch = log.info().epoch;
    wire.swallow_next_answer("needle");
    wire.refuse_new();
    let lost = append(3, 77, &[9], vec![post(9, "needle")]);
    assert!(matches!(log.append(vec![lost.clone()]).await, Err(Error::Away(_))));
    wire.pass();
    assert_eq!(opened(&log).await, epoch);
    let verdict = log.append(vec![lost]).await.unwrap().remove(0);
    let Verdict::Conflict(missed) = verdict else { panic!("the first try was written: {verdict:?}") };
    assert_eq!(missed[0].header.request, RequestId(Uuid::from_u128(77)));
    assert_eq!((wire.swallowed(), log.tail(), read_all(&log).await.len()), (1, Seq(4), 4));
}

/// Another node wrote just before, and the store goes before that is read here: a store that has lost both could not be
/// given this one back, so it is not called written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_behind_an_entry_that_this_node_has_not_read_is_unknown_when_the_store_goes() {
    let redis = Redis::start();
    let wire = Wire::to(redis.port());
    let (log, other) = (open(&wire.url(), "n1").await, open(&redis.url(), "n2").await);
    until("both nodes read", || (redis.command(&["CLIENT", "LIST"]).matches("cmd=xread").count() == 2).then_some(()));
    wire.hold_requests("XREAD");
    // The read that is under way brings the first, the next one is held.
    fill(&other, 1, 1).await;
    log.beyond(Seq::ZERO).await.unwrap();
    until("its next read is held", || (wire.held() == 1).then_some(()));
    fill(&other, 2, 2).await;
    let wish = append(0, 77, &[3], vec![post(3, "mine")]);
    let appending = log.append(vec![wish.clone()]);
    until("it is written", || (redis.command(&["XLEN", "{antiphon:0}:log"]) == "3").then_some(()));
    wire.refuse();
    let answer = appending.await;
    assert!(matches!(answer, Err(Error::Away(_))), "{answer:?}");
    wire.pass();
    opened(&log).await;
    let again = log.append(vec![wish]).await.unwrap().remove(0);
    let Verdict::Conflict(missed) = again else { panic!("the first try was written: {again:?}") };
    assert_eq!(missed[2].header.request, RequestId(Uuid::from_u128(77)));
    assert_eq!(read_all(&log).await, read_all(&other).await);
}

/// A request that is held up on its way until the node has reconnected writes nothing when it arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_arrives_after_the_log_is_open_again_writes_nothing() {
    let redis = Redis::start();
    let wire = Wire::to(redis.port());
    let log = open(&wire.url(), "n1").await;
    fill(&log, 1, 3).await;
    wire.hold_requests("ghost");
    let held = log.append(vec![append(0, 77, &[], vec![post(9, "ghost")])]).await;
    assert!(matches!(held, Err(Error::Away(_))), "{held:?}");
    assert!(wire.held() > 0);
    opened(&log).await;
    wire.pass();
    let answers = wire.let_go();
    assert!(format!("{answers:?}").contains("Number(2)"), "the script refused the old session: {answers:?}");
    assert_eq!(redis.command(&["XLEN", "{antiphon:0}:log"]), "3");
    fill(&log, 10, 11).await;
    assert_eq!(read_all(&log).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_is_away_within_two_seconds_and_what_it_had_taken_is_written_once() {
    let redis = Redis::start();
    let log = open(&redis.url(), "n1").await;
    fill(&log, 1, 3).await;
    redis.stop();
    let since = std::time::Instant::now();
    let wish = append(3, 77, &[9], vec![post(9, "in the socket")]);
    assert!(matches!(log.append(vec![wish.clone()]).await, Err(Error::Away(_))));
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert!(matches!(put(&log, 10).await, Err(Error::Away(_))), "and the next fails at once");
    assert_eq!(log.read(Seq(1), 9).await.unwrap().len(), 2, "what is in memory can still be read");
    redis.go_on();
    opened(&log).await;
    let written = log.tail() == Seq(4);
    let again = log.append(vec![wish]).await.unwrap().remove(0);
    assert_eq!(matches!(again, Verdict::Conflict(_)), written, "{again:?}");
    assert_eq!((read_all(&log).await.len(), redis.command(&["XLEN", "{antiphon:0}:log"]).as_str()), (4, "4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgot_the_scripts_is_sent_them_again() {
    let redis = Redis::start();
    let log = open(&redis.url(), "n1").await;
    for n in 1..4 {
        redis.command(&["SCRIPT", "FLUSH"]);
        fill(&log, n, n).await;
    }
    assert_eq!(log.tail(), Seq(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_a_read_only_and_a_locked_server_take_nothing_and_say_why_until_it_is_over() {
    let redis = Redis::start();
    let log = open(&redis.url(), "n1").await;
    fill(&log, 1, 1).await;
    let epoch = log.info().epoch;
    for (n, begin, end, words) in [
        (2, &["CONFIG", "SET", "maxmemory", "1"][..], &["CONFIG", "SET", "maxmemory", "0"][..], "memory"),
        (3, &["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"], "replica"),
        (
            4,
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
            "replicas",
        ),
    ] {
        assert_eq!(redis.command(begin), "OK");
        let refused = put(&log, n).await;
        assert!(matches!(&refused, Err(Error::Away(_))), "{begin:?}: {refused:?}");
        away(&log, words).await;
        assert!(log.probe().await.is_err());
        assert_eq!(redis.command(end), "OK");
        assert_eq!(opened(&log).await, epoch);
        fill(&log, n, n).await;
        log.probe().await.unwrap();
    }
    assert_eq!((log.tail(), redis.command(&["XLEN", "{antiphon:0}:log"]).as_str()), (Seq(4), "4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_that_comes_back_has_everything_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::durable(dir.path());
    let log = Arc::new(open(&redis.url(), "n1").await);
    let epoch = log.info().epoch;
    for round in 0..3u128 {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let writer = tokio::spawn({
            let (log, acknowledged) = (log.clone(), acknowledged.clone());
            async move {
                let mut unknown = None;
                for n in 1.. {
                    let n = round * 100_000 + n;
                    match put(&*log, n).await {
                        Ok(_) => acknowledged.store(n as u64, std::sync::atomic::Ordering::Relaxed),
                        Err(_) => {
                            unknown = Some(n);
                            break;
                        }
                    }
                }
                unknown.unwrap()
            }
        });
        while acknowledged.load(std::sync::atomic::Ordering::Relaxed) < round as u64 * 100_000 + 50 {
            tokio::task::yield_now().await;
        }
        redis.kill();
        let unknown = writer.await.unwrap();
        let before = acknowledged.load(std::sync::atomic::Ordering::Relaxed);
        redis.restart();
        assert_eq!(opened(&*log).await, epoch, "the same log");
        let ids: Vec<_> = read_all(&*log).await.iter().map(|entry| entry.header.request.0.as_u128()).collect();
        let of_round: Vec<_> = ids.iter().copied().filter(|id| id / 100_000 == round).collect();
        let expected: Vec<_> = (round * 100_000 + 1..=u128::from(before)).collect();
        assert!(of_round == expected || of_round == [expected, vec![unknown]].concat(), "{of_round:?}");
    }
    assert!(log.lost().is_empty());
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_server_was_never_there_opens_when_it_comes() {
    let redis = Redis::start();
    redis.kill();
    let log = RedisLog::open(options(&redis.url(), "n1", Stamp::Store));
    assert_eq!((log.info().epoch, log.tail()), (Epoch(0), Seq::ZERO));
    away(&log, "cannot be reached").await;
    assert!(matches!(put(&log, 1).await, Err(Error::Away(_))));
    redis.restart();
    assert_eq!(opened(&log).await, log.info().epoch);
    fill(&log, 1, 1).await;
    log.probe().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_program_put_under_our_names_is_refused_by_name() {
    let redis = Redis::start();
    redis.command(&["SET", "{antiphon:0}:log", "mine"]);
    let log = RedisLog::open(options(&redis.url(), "n1", Stamp::Store));
    away(&log, "`{antiphon:0}:log`").await;
    redis.command(&["DEL", "{antiphon:0}:log"]);
    opened(&log).await;
    fill(&log, 1, 2).await;
    redis.command(&["XADD", "{antiphon:0}:log", "3-0", "k", "weather"]);
    away(&log, "the log is damaged at `{antiphon:0}:log` 3-0: it has no subjects (s)").await;
    redis.command(&["XDEL", "{antiphon:0}:log", "3-0"]);
    away(&log, "had 3-0").await;
    redis.command(&["DEL", "{antiphon:0}:meta"]);
    redis.command(&["HSET", "{antiphon:0}:meta", "version", "9"]);
    away(&log, "format version 9").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_may_delete_the_log_is_refused_until_it_may_not() {
    let redis = Redis::start_with(&[("maxmemory-policy", "allkeys-lru")]);
    let log = RedisLog::open(options(&redis.url(), "n1", Stamp::Store));
    away(&log, "maxmemory-policy is allkeys-lru").await;
    assert_eq!(redis.command(&["DBSIZE"]), "0", "nothing was written to it");
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    opened(&log).await;
    assert!(!log.info().durability.is_empty());
    log.probe().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_a_cluster_follows_its_keys_to_another_node() {
    const KEY: &str = "{antiphon:0}:log";
    let cluster = Cluster::start();
    let log = open(&cluster.url(), "n1").await;
    let epoch = log.info().epoch;
    fill(&log, 1, 5).await;
    let all = read_all(&log).await;
    let to = cluster.begin_move(KEY);
    cluster.migrate(KEY, to, 1);
    let refused = put(&log, 6).await;
    assert!(matches!(refused, Err(Error::Away(_))), "half of the keys are elsewhere: {refused:?}");
    cluster.migrate(KEY, to, 100);
    cluster.finish_move(KEY, to);
    assert_eq!(opened(&log).await, epoch);
    fill(&log, 6, 6).await;
    assert_eq!((&read_all(&log).await[..5], log.tail(), log.lost().len()), (&all[..], Seq(6), 0));
    assert_eq!(cluster.nodes()[to].command(&["XLEN", KEY]), "6");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_behind_sentinels_goes_on_with_the_replica_when_the_master_dies() {
    let sentinels = Sentinels::start();
    let log = open(&sentinels.url(), "n1").await;
    let epoch = log.info().epoch;
    fill(&log, 1, 5).await;
    let there = || sentinels.replica().command(&["XLEN", "{antiphon:0}:log"]) == "5";
    until("the replica has it", || there().then_some(()));
    let old = sentinels.kill_master();
    away(&log, "").await;
    sentinels.wait_for_another(old);
    assert_eq!(opened(&log).await, epoch);
    fill(&log, 6, 6).await;
    assert_eq!((read_all(&log).await.len(), log.lost().len()), (6, 0));
}
