//! temporary
use super::*;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speed() {
    for aof in [
        &[("appendonly", "no")][..],
        &[("appendonly", "yes"), ("appendfsync", "everysec")],
        &[("appendonly", "yes"), ("appendfsync", "always")],
    ] {
        for round in 0..2 {
            let redis = Redis::start_with(aof);
            let log = open(&redis.url(), "n1").await;
            const N: usize = 60_000;
            let text = "x".repeat(200);
            let batches: Vec<Vec<Append>> = (0..N / 64)
                .map(|b| (0..64).map(|i| append(0, 1, &[], vec![post((b * 64 + i) as u128, &text)])).collect())
                .collect();
            let start = Instant::now();
            let mut slow = std::time::Duration::ZERO;
            for batch in batches {
                let s = Instant::now();
                log.append(batch).await.unwrap();
                slow = slow.max(s.elapsed());
            }
            let ours = N as f64 / start.elapsed().as_secs_f64();
            // with subjects, as claims have them
            let batches: Vec<Vec<Append>> = (0..N / 256)
                .map(|b| {
                    (0..64)
                        .map(|i| {
                            append(0, 1, &[(b * 64 + i) as u128 + 1_000_000], vec![post((b * 64 + i) as u128, &text)])
                        })
                        .collect()
                })
                .collect();
            let start = Instant::now();
            for mut batch in batches {
                let at = log.tail().0;
                batch.iter_mut().for_each(|a| a.after = Seq(at - 64));
                log.append(batch).await.unwrap();
            }
            let scanned = (N / 4) as f64 / start.elapsed().as_secs_f64();
            // one at a time
            let start = Instant::now();
            for n in 0..2_000 {
                put(&log, n).await.unwrap();
            }
            let single = start.elapsed() / 2_000;
            let later = open(&redis.url(), "n9").await;
            let start = Instant::now();
            let mut at = Seq::ZERO;
            while at < later.tail() {
                at = later.read(at, usize::MAX).await.unwrap().last().unwrap().header.seq;
            }
            let replay = later.tail().0 as f64 / start.elapsed().as_secs_f64();
            log.close().await.unwrap();
            later.close().await.unwrap();
            let client = ::redis::Client::open(redis.url()).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            let body = crate::log::conformance::post(7, &text).body;
            let raw = async |fields: bool, connection: &mut ::redis::aio::MultiplexedConnection| {
                let key = if fields { "raw" } else { "rawd" };
                let start = Instant::now();
                for b in 0..N / 64 {
                    let mut pipe = ::redis::pipe();
                    for i in 1..=64 {
                        let c = pipe.cmd("XADD").arg(key).arg(format!("{}-0", b * 64 + i));
                        if fields {
                            c.arg("k")
                                .arg("message.posted")
                                .arg("s")
                                .arg("00000000-0000-0000-0000-000000000001")
                                .arg("r")
                                .arg("lobby")
                                .arg("t")
                                .arg(1_700_000_000_000u64)
                                .arg("v")
                                .arg(1)
                                .arg("q")
                                .arg("00000000-0000-0000-0000-000000000001");
                        }
                        c.arg("d").arg(&body[..]);
                    }
                    let _: Vec<String> = pipe.query_async(connection).await.unwrap();
                }
                N as f64 / start.elapsed().as_secs_f64()
            };
            let full = raw(true, &mut connection).await;
            let only = raw(false, &mut connection).await;
            println!(
                "{aof:?} {round}: ours {ours:.0}/s (slowest batch {slow:?}), scanning {scanned:.0}/s, single {single:?}, replay {replay:.0}/s; raw XADD same fields {full:.0}/s ({:.2}), body only {only:.0}/s ({:.2})",
                ours / full,
                ours / only
            );
        }
    }
}
