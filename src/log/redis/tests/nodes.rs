//! Several nodes on one store: what one writes the others see; who wins; what an idle one asks.

use std::collections::HashMap;

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
        from.say(Bytes::from(format!("words {n}")));
        assert_eq!(to.hear().await.unwrap(), format!("words {n}"));
    }
    assert_eq!(read_all(&a).await, read_all(&b).await);
    for n in 0..200 {
        a.say(Bytes::from(n.to_string()));
    }
    let mut heard = Vec::new();
    b.say(Bytes::from_static(b"end"));
    a.probe().await.unwrap();
    for _ in 0..200 {
        heard.push(b.hear().await.unwrap());
    }
    assert!(heard.iter().map(|words| words.to_vec()).eq((0..200).map(|n| n.to_string().into_bytes())));
    assert_eq!(a.hear().await.unwrap(), "end", "and its own were not heard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_claims_made_at_the_same_time_have_one_winner_each() {
    const CLAIMS: u128 = 1_000;
    let redis = Redis::start();
    let nodes = [Arc::new(open(&redis.url(), "a").await), Arc::new(open(&redis.url(), "b").await)];
    let claims = nodes.iter().zip(1..).map(|(log, node)| {
        let log = log.clone();
        tokio::spawn(async move {
            let mut won = Vec::new();
            for first in (0..CLAIMS).step_by(20) {
                let after = log.tail().0;
                let batch = (first..first + 20).map(|n| append(after, node, &[n], vec![post(n, "claimed")])).collect();
                for (n, verdict) in (first..).zip(log.append(batch).await.unwrap()) {
                    match verdict {
                        Verdict::Appended(_) => won.push(n),
                        // Whoever read the tail after the other had written is no loser, but late: look.
                        Verdict::Conflict(missed) => {
                            assert!(missed.iter().any(|entry| entry.header.request.0.as_u128() != node));
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            won
        })
    });
    let mut winners: HashMap<u128, usize> = HashMap::new();
    for claim in claims.collect::<Vec<_>>() {
        for n in claim.await.unwrap() {
            *winners.entry(n).or_default() += 1;
        }
    }
    assert_eq!(winners.len(), CLAIMS as usize);
    let entries = read_all(&*nodes[0]).await;
    assert_eq!(entries.len(), winners.values().sum::<usize>(), "what was won is there, and nothing else");
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
    assert!(matches!(later.hear().await, Err(Error::Closed)));
}
