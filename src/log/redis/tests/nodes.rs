//! Several nodes on one store: what one writes the others see; who wins; what an idle one asks.

use std::collections::HashMap;

use bytes::Bytes;

use super::*;
use crate::log::conformance::read_all;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_writes_another_reads_and_words_go_to_the_others_in_order() {
    let redis = Redis::start();
    let (a, b) = (open(&redis.url(), "a").await, open(&redis.url(), "b").await);
    assert_eq!(a.info().epoch, b.info().epoch);
    for n in 0..50 {
        let (from, to) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        fill(from, n, n).await;
        to.beyond(Seq(n as u64)).await.unwrap();
        from.broadcast(Bytes::from(format!("words {n}")));
        assert_eq!(to.recv().await.unwrap(), format!("words {n}"));
    }
    assert_eq!(read_all(&a).await, read_all(&b).await);
    for n in 0..200 {
        a.broadcast(Bytes::from(n.to_string()));
    }
    let mut heard = Vec::new();
    b.broadcast(Bytes::from_static(b"end"));
    a.probe().await.unwrap();
    for _ in 0..200 {
        heard.push(b.recv().await.unwrap());
    }
    assert!(heard.iter().map(|words| words.to_vec()).eq((0..200).map(|n| n.to_string().into_bytes())));
    assert_eq!(a.recv().await.unwrap(), "end", "and its own were not heard");
}

/// In rounds of twenty, decided by both nodes against the same position; one asks in the opposite order and one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_claims_made_at_the_same_time_have_one_winner_each() {
    const ROUND: u128 = 20;
    let redis = Redis::start();
    let nodes = [Arc::new(open(&redis.url(), "a").await), Arc::new(open(&redis.url(), "b").await)];
    let mut wins = [0, 0];
    for after in (0..1_000).step_by(ROUND as usize) {
        let claim = move |n, node| append(after, node, &[n], vec![post(n, "claimed")]);
        let ids = u128::from(after)..u128::from(after) + ROUND;
        let calls = [
            vec![ids.clone().map(|n| claim(n, 0)).collect::<Vec<_>>()],
            ids.rev().map(|n| vec![claim(n, 1)]).collect(),
        ];
        let racers = nodes.iter().zip(calls).map(|(log, calls)| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut won = Vec::new();
                for call in calls {
                    let ids: Vec<_> = call.iter().map(|append| append.subjects[0]).collect();
                    for (id, verdict) in ids.into_iter().zip(log.append(call).await.unwrap()) {
                        match verdict {
                            Verdict::Appended(_) => won.push(id),
                            Verdict::Conflict(missed) => {
                                assert!(missed.iter().any(|entry| entry.header.subjects.contains(&id)));
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                }
                won
            })
        });
        let mut winners = Vec::new();
        for (node, racer) in racers.collect::<Vec<_>>().into_iter().enumerate() {
            let won = racer.await.unwrap();
            wins[node] += won.len();
            winners.extend(won);
        }
        winners.sort_unstable();
        winners.dedup();
        assert_eq!(winners.len(), ROUND as usize, "each has a winner");
    }
    assert_eq!(wins[0] + wins[1], 1_000, "and only one: {wins:?}");
    assert!(wins[0] > 0 && wins[1] > 0, "a race that both can win: {wins:?}");
    nodes[0].beyond(Seq(999)).await.unwrap();
    assert_eq!(read_all(&*nodes[0]).await.len(), 1_000);
}

/// INFO commandstats before and after some seconds without work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_log_asks_for_nothing_but_what_wakes_it() {
    let redis = Redis::start();
    let log = open(&redis.url(), "n1").await;
    fill(&log, 1, 3).await;
    log.probe().await.unwrap();
    let calls = || -> HashMap<String, u64> {
        let stats = redis.command(&["INFO", "commandstats"]);
        let line = |line: &str| {
            let (name, rest) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        stats.lines().filter_map(line).collect()
    };
    let before = calls();
    let blocked = std::time::Instant::now();
    crate::log::redis::server::until("two blocking reads have ended", || {
        (calls()["xread"] >= before["xread"] + 2).then_some(())
    });
    assert!(blocked.elapsed() > std::time::Duration::from_secs(2), "they do block");
    let asked: Vec<_> =
        calls().into_iter().filter(|(name, n)| before.get(name) != Some(n)).map(|(name, _)| name).collect();
    assert!(asked.iter().all(|name| name == "xread" || name == "info"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_one_name_are_told_so() {
    let redis = Redis::start();
    let (first, second) = (open(&redis.url(), "twin").await, open(&redis.url(), "twin").await);
    let refused = put(&first, 1).await.unwrap_err().to_string();
    assert!(refused.contains("node `twin`"), "{refused}");
    fill(&second, 2, 2).await;
    assert_eq!(redis.command(&["XLEN", "{antiphon:0}:log"]), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_history_is_read_page_by_page_by_a_node_that_comes_later() {
    let redis = Redis::start();
    let log = open(&redis.url(), "n1").await;
    for batch in 0..5u128 {
        let batch = (0..1_000).map(|n| append(0, 1, &[], vec![post(batch * 1_000 + n, "history")])).collect();
        log.append(batch).await.unwrap();
    }
    let later = open(&redis.url(), "n2").await;
    assert_eq!(later.tail(), Seq(5_000));
    let all = read_all(&log).await;
    assert_eq!(read_all(&later).await, all);
    let page = later.read(Seq::ZERO, usize::MAX).await.unwrap();
    assert_eq!(page.len(), super::super::calls::READ_ENTRIES_MAX, "as many as their size allows");
    later.close().await.unwrap();
    assert!(matches!(later.beyond(Seq(5_000)).await, Err(Error::Closed)));
    assert!(matches!(later.recv().await, Err(Error::Closed)));
}
