//! A connection that ends is not a store that is away: idle ones are closed, answers cut off, and nobody is notified.

use std::{future::Future, time::Duration};

use antiphon_schemas::RequestId;
use tokio::sync::watch;
use uuid::Uuid;

use super::*;
use crate::log::{
    conformance::read_all,
    redis::server::{Wire, until},
};

const LOG: &str = "{antiphon:0}:log";

/// The log's state as everybody sees it from now on; looked at with [`watch::Receiver::has_changed`].
fn told(log: &RedisLog) -> watch::Receiver<Access> {
    let mut told = log.access();
    told.mark_unchanged();
    told
}

/// Closes all connections of the log, as a server does with idle ones.
fn close_all(redis: &Redis) {
    assert_ne!(redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]), "0");
}

/// `work`, which takes a new connection without notifying anybody.
async fn in_silence<T>(log: &RedisLog, work: impl Future<Output = T>) -> T {
    let told = told(log);
    let done = work.await;
    assert!(!told.has_changed().unwrap(), "{:?}", *told.borrow());
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_after_the_server_closed_every_connection_is_written_once_and_nobody_is_told() {
    let redis = Redis::start();
    let log = open(&redis.url(), "n1").await;
    fill(&log, 1, 3).await;
    close_all(&redis);
    let verdict = in_silence(&log, put(&log, 4)).await;
    assert!(matches!(verdict, Ok(Verdict::Appended(_))), "{verdict:?}");
    assert_eq!((read_all(&log).await.len(), redis.command(&["XLEN", LOG]).as_str()), (4, "4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_answer_is_lost_with_its_connection_is_found_in_the_log_and_not_written_again() {
    let redis = Redis::start();
    let wire = Wire::to(redis.port());
    let log = open(&wire.url(), "n1").await;
    fill(&log, 1, 3).await;
    wire.swallow_next_answer("needle");
    // Without subjects nothing but the search keeps a second one away; the third of them is in conflict both times.
    let batch = vec![
        append(0, 77, &[], vec![post(9, "needle")]),
        append(0, 78, &[], vec![post(10, "and another")]),
        append(0, 79, &[1], vec![post(1, "too late")]),
    ];
    let verdicts = in_silence(&log, log.append(batch)).await.unwrap();
    let seqs = verdicts.iter().map(|verdict| match verdict {
        Verdict::Appended(entries) => entries[0].header.seq.0,
        Verdict::Conflict(_) => 0,
        other => panic!("{other:?}"),
    });
    assert_eq!(seqs.collect::<Vec<_>>(), [4, 5, 0]);
    assert_eq!((wire.swallowed(), redis.command(&["XLEN", LOG]).as_str()), (1, "5"));
    assert_eq!(read_all(&log).await[3].header.request, RequestId(Uuid::from_u128(77)));
}

/// It is held up on its way until the node has written it a second time, and arrives then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_is_lost_on_its_way_is_written_on_the_next_connection_and_not_when_it_arrives_late() {
    let redis = Redis::start();
    let wire = Wire::to(redis.port());
    let log = open(&wire.url(), "n1").await;
    fill(&log, 1, 3).await;
    wire.hold_requests("ghost");
    let told = told(&log);
    let appending = log.append(vec![append(0, 77, &[], vec![post(9, "ghost")])]);
    until("it is held", || (wire.held() > 0).then_some(()));
    wire.pass();
    wire.cut();
    let verdict = appending.await.unwrap().remove(0);
    assert!(matches!(&verdict, Verdict::Appended(entries) if entries[0].header.seq == Seq(4)), "{verdict:?}");
    assert!(!told.has_changed().unwrap());
    let answers = wire.let_go();
    assert!(format!("{answers:?}").contains("Number(2)"), "the script refused the old session: {answers:?}");
    assert_eq!(redis.command(&["XLEN", LOG]), "4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_loaded_as_their_connection_ends_are_there_once() {
    let redis = Redis::start();
    let wire = Wire::to(redis.port());
    let source = Redis::start();
    let from = open(&source.url(), "source").await;
    fill(&from, 1, 5).await;
    let entries = read_all(&from).await;
    let log = open(&wire.url(), "n1").await;
    wire.swallow_next_answer("message 2");
    in_silence(&log, log.load(entries.clone())).await.unwrap();
    assert_eq!((wire.swallowed(), read_all(&log).await), (1, entries));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_after_the_server_closed_every_connection_is_answered() {
    let redis = Redis::start();
    let writer = open(&redis.url(), "writer").await;
    for batch in 0..3u128 {
        let batch = (0..500).map(|n| append(0, 1, &[], vec![post(batch * 500 + n, "history")])).collect();
        writer.append(batch).await.unwrap();
    }
    let log = open(&redis.url(), "n1").await;
    let close = async || {
        // The session after one that was lost must have lasted; before, another loss is trouble.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        close_all(&redis);
    };
    let told = told(&log);
    close().await;
    assert_eq!(log.read(Seq(1), 9).await.unwrap().len(), 9, "not in memory");
    close().await;
    assert_eq!(log.get(vec![Seq(2), Seq(7)]).await.unwrap().len(), 2);
    close().await;
    log.probe().await.unwrap();
    close().await;
    assert!(log.resync_lanes(log.tail(), Vec::new()).await.is_ok());
    close().await;
    assert_eq!(log.erase(vec![Seq(3)]).await.unwrap(), 1);
    assert!(!told.has_changed().unwrap(), "{:?}", *told.borrow());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_closes_idle_connections_soon_is_kept_awake_and_nobody_is_ever_told() {
    let redis = Redis::start_with(&[("timeout", "2")]);
    let log = open(&redis.url(), "n1").await;
    fill(&log, 1, 1).await;
    let told = told(&log);
    let made = || redis.info("total_connections_received").unwrap().parse::<usize>().unwrap();
    // Each look is a connection, too: `made` is compared over two looks that are seconds apart.
    let idle = Duration::from_secs(5);
    tokio::time::sleep(idle).await;
    let before = made();
    tokio::time::sleep(idle).await;
    assert_eq!(made(), before + 1, "once it has learned how long they last, none is closed");
    fill(&log, 2, 2).await;
    assert!(!told.has_changed().unwrap(), "{:?}", *told.borrow());
}

/// The limit is below one page of the usual size, and above one entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_the_servers_output_buffer_cuts_off_get_smaller_until_they_pass() {
    const COUNT: u128 = 1_200;
    let redis = Redis::start();
    let writer = open(&redis.url(), "writer").await;
    let text = "x".repeat(16 << 10);
    for n in 0..COUNT / 100 {
        let batch = (0..100).map(|i| append(0, n * 100 + i, &[], vec![post(n * 100 + i, &text)])).collect();
        writer.append(batch).await.unwrap();
    }
    let all = read_all(&writer).await;
    writer.close().await.unwrap();
    assert_eq!(redis.command(&["CONFIG", "SET", "client-output-buffer-limit", "normal 200kb 0 0"]), "OK");
    let log = open(&redis.url(), "n1").await;
    assert!(in_silence(&log, read_all(&log)).await == all, "from the log");
    let address = Address::parse(&redis.url()).unwrap();
    let mut outside = crate::log::redis::History::open(&address).await.unwrap();
    let mut seen = 0;
    loop {
        let page = outside.read().await.unwrap();
        if page.is_empty() {
            break;
        }
        seen += page.len();
    }
    assert_eq!(seen, all.len(), "from outside");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_come_back_is_away_for_the_reason_of_the_second_try() {
    let redis = Redis::start();
    let log = open(&redis.url(), "n1").await;
    fill(&log, 1, 1).await;
    redis.kill();
    let refused = put(&log, 2).await.unwrap_err().to_string();
    assert!(refused.contains("cannot be reached") && refused.contains("refused"), "{refused}");
    redis.restart();
}
