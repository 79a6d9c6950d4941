//! Erasing on a real Redis: nothing of the text stays, nothing else changes, and nobody is in the way of anybody.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::log::conformance::{read_all, without};

const LOG: &str = "{antiphon:0}:log";
const SECRET: &str = "do not tell anybody";

/// Everything that the store says of its keys.
fn dump(redis: &Redis) -> String {
    let parts = [
        redis.command(&["XRANGE", LOG, "-", "+"]),
        redis.command(&["XRANGE", "{antiphon:0}:live", "-", "+"]),
        redis.command(&["KEYS", "*"]),
    ];
    parts.concat()
}

/// Length, last id, added ever, deleted up to.
fn info(redis: &Redis) -> Vec<String> {
    let all = redis.command(&["XINFO", "STREAM", LOG]);
    let lines: Vec<_> = all.lines().map(str::to_owned).collect();
    let value = |name: &str| lines.iter().position(|line| line.contains(name)).map(|at| lines[at + 1].clone()).unwrap();
    ["length", "last-generated-id", "entries-added", "max-deleted-entry-id"].map(value).to_vec()
}

async fn say(log: &dyn Log, n: u128, text: &str) {
    assert!(matches!(log.append(vec![append(0, n, &[], vec![post(n, text)])]).await.unwrap()[0], Verdict::Appended(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_text_stays_in_the_store_and_nothing_else_changes() {
    let redis = Redis::start();
    let (a, b) = (open(&redis.url(), "a").await, open(&redis.url(), "b").await);
    for n in 1..=1_500 {
        say(&a, n, if n % 500 == 7 { SECRET } else { "plain" }).await;
    }
    a.broadcast(Bytes::from(format!("delta {SECRET}")));
    b.recv().await.unwrap();
    b.beyond(Seq(1_499)).await.unwrap();
    let (written, before) = (read_all(&a).await, info(&redis));
    assert!(dump(&redis).contains(SECRET));
    // Live ids are the store's milliseconds.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let wanted = [7, 507, 1_007].map(Seq).to_vec();
    assert_eq!(a.erase(wanted.clone()).await.unwrap(), 3);
    let all = dump(&redis);
    assert!(!all.contains(SECRET) && !all.contains("erasing") && !all.contains("erased\n"), "no text, and no copy");
    assert_eq!(info(&redis), before);
    let gone = without(&written, &[7, 507, 1_007]);
    assert_eq!(read_all(&a).await, gone);

    // The other node still has them in memory until it learns of it; then it finds nothing to do.
    assert_eq!(read_all(&b).await, written);
    b.forget(&wanted);
    assert_eq!(read_all(&b).await, gone);
    assert_eq!(b.erase(wanted).await.unwrap(), 0);
    // A follower continues: its read was waiting while the key was swapped.
    for (from, to, n) in [(&a, &b, 1_501), (&b, &a, 1_502)] {
        say(from, n, "after").await;
        tokio::time::timeout(PATIENCE, to.beyond(Seq(n as u64 - 1))).await.expect("it wakes up").unwrap();
    }
    let fresh = open(&redis.url(), "c").await;
    assert_eq!((fresh.info().epoch, read_all(&fresh).await), (a.info().epoch, read_all(&b).await));
}

/// A node that still has a text in memory connects to a store that has it no more: the same history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_a_text_is_the_store_that_had_it() {
    let redis = Redis::start();
    let (a, b) = (open(&redis.url(), "a").await, open(&redis.url(), "b").await);
    say(&a, 1, SECRET).await;
    b.beyond(Seq::ZERO).await.unwrap();
    let epoch = b.info().epoch;
    a.erase(vec![Seq(1)]).await.unwrap();
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    say(&b, 2, "on").await;
    assert_eq!(opened(&b).await, epoch);
    assert!(b.lost().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_erase_at_once_while_both_append_harm_nothing() {
    let redis = Redis::start();
    let logs = [Arc::new(open(&redis.url(), "a").await), Arc::new(open(&redis.url(), "b").await)];
    for n in 1..=1_000 {
        say(&*logs[0], n, SECRET).await;
    }
    let tasks = [0usize, 1].map(|which| {
        let log = logs[which].clone();
        tokio::spawn(async move {
            let writer = log.clone();
            let writing = tokio::spawn(async move {
                for n in 0..300 {
                    say(&*writer, 10_000 * (which as u128 + 1) + n, "beside").await;
                }
            });
            let (mut waited, mut erased) = (0, 0);
            for seq in (1 + which as u64..=1_000).step_by(100) {
                erased += loop {
                    match log.erase(vec![Seq(seq)]).await {
                        Ok(count) => break count,
                        Err(Error::Full(why)) => {
                            assert!(why.contains("is already copying the log"), "{why}");
                            waited += 1;
                            tokio::task::yield_now().await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                };
            }
            writing.await.unwrap();
            (waited, erased)
        })
    });
    let mut waited = 0;
    for task in tasks {
        let (own, erased) = task.await.unwrap();
        assert_eq!(erased, 10);
        waited += own;
    }
    assert!(waited > 0, "they met");
    for log in &logs {
        log.beyond(Seq(1_599)).await.unwrap();
        log.forget(&(1..=1_000).map(Seq).collect::<Vec<_>>());
    }
    let read = read_all(&open(&redis.url(), "c").await).await;
    assert!(read.iter().map(|e| e.header.seq.0).eq(1..=1_600), "nothing is lost");
    let gone = |e: &Arc<Entry>| antiphon_schemas::entry::is_erased(&e.body);
    assert!(read.iter().all(|e| gone(e) == (e.header.seq.0 <= 1_000 && matches!(e.header.seq.0 % 100, 1 | 2))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_is_said_and_what_a_dead_node_left_is_swept_away() {
    let redis = Redis::start();
    let log = open(&redis.url(), "a").await;
    for n in 1..=700 {
        say(&log, n, SECRET).await;
    }
    let written = read_all(&log).await;
    let lock = "{antiphon:0}:erasing";
    redis.command(&["SET", lock, "other/1", "PX", "60000"]);
    let why = log.erase(vec![Seq(1)]).await.unwrap_err();
    assert!(matches!(&why, Error::Full(_)) && why.to_string().contains("node `other`"), "{why}");
    redis.command(&["DEL", lock]);
    redis.command(&["XADD", "{antiphon:0}:log.erasing", "1-0", "half", "a copy"]);
    redis.command(&["XGROUP", "CREATE", LOG, "audit", "0"]);
    let why = log.erase(vec![Seq(1)]).await.unwrap_err();
    assert!(matches!(&why, Error::Io(_)) && why.to_string().contains("XGROUP DESTROY"), "{why}");
    redis.command(&["XGROUP", "DESTROY", LOG, "audit"]);
    let used: u64 = redis.info("used_memory").unwrap().parse().unwrap();
    redis.command(&["CONFIG", "SET", "maxmemory", &(used + 60_000).to_string()]);
    let why = log.erase(vec![Seq(1)]).await.unwrap_err();
    assert!(matches!(&why, Error::Full(_)) && why.to_string().contains("maxmemory"), "{why}");
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    for right in ["+rename", "+unlink", "+set"] {
        redis.command(&["ACL", "SETUSER", "default", &right.replace('+', "-")]);
        let why = log.erase(vec![Seq(1)]).await.unwrap_err();
        assert!(matches!(&why, Error::Io(_)) && why.to_string().contains("ACL"), "{right}: {why}");
        redis.command(&["ACL", "SETUSER", "default", right]);
    }
    assert_eq!(read_all(&open(&redis.url(), "b").await).await, written, "nothing was changed");
    say(&log, 701, "the session never ended").await;
    assert_eq!(log.erase(vec![Seq(1), Seq(700)]).await.unwrap(), 2);
    assert_eq!(read_all(&open(&redis.url(), "c").await).await[..700], without(&written, &[1, 700]));
    assert!(!redis.command(&["KEYS", "*"]).contains("eras"));
}
