//! Lanes: after any trace they are as the projection says, and the pending entries are exactly the claims.

use std::collections::BTreeMap;

use antiphon_schemas::{BotName, MessageId, event::Ask};

use super::*;
use crate::log::{
    Lane, Move, Resynced,
    conformance::{Xorshift, id},
    redis::server::Reply,
};

fn lane(n: u64) -> Ask {
    Ask { bot: BotName::new(if n < 2 { "eliza" } else { "sum.2" }).unwrap(), priority: 5, second: n % 2 == 1 }
}

fn name(n: u64) -> &'static str {
    [
        "{antiphon:0}:work:eliza:5",
        "{antiphon:0}:work:eliza:5b",
        "{antiphon:0}:work:sum.2:5",
        "{antiphon:0}:work:sum.2:5b",
    ][n as usize]
}

/// Positions, with message and holder.
type Stand = BTreeMap<Seq, (MessageId, Option<Arc<str>>)>;

/// The queue as a projection would have it: positions by lane, with who holds them.
#[derive(Default, Clone)]
struct Projected {
    lanes: BTreeMap<u64, Stand>,
}

impl Projected {
    fn lanes(&self) -> Vec<Lane> {
        let lane_of = |(n, stand): (&u64, &Stand)| Lane {
            ask: lane(*n),
            taken: stand.iter().filter_map(|(at, (m, w))| Some((*at, *m, w.clone()?))).collect(),
            waiting: stand.iter().filter(|(_, (_, w))| w.is_none()).map(|(at, (m, _))| (*at, *m)).collect(),
        };
        self.lanes.iter().map(lane_of).collect()
    }

    fn head(&self, lane: u64) -> Option<Seq> {
        self.lanes.get(&lane)?.iter().find(|(_, (_, worker))| worker.is_none()).map(|(at, _)| *at)
    }

    /// A random step: what it moves, and the projection after it if it is written as the entry `at`.
    fn step(&mut self, random: &mut Xorshift, at: Seq) -> Vec<Move> {
        let on = random.below(4);
        let stand = self.lanes.entry(on).or_default();
        let held: Vec<Seq> = stand.iter().filter(|(_, (_, w))| w.is_some()).map(|(at, _)| *at).collect();
        let all: Vec<Seq> = stand.keys().copied().collect();
        let message_id = id(u128::from(at.0));
        match random.below(8) {
            0 if !held.is_empty() => {
                let since = held[random.below(held.len() as u64) as usize];
                stand.remove(&since);
                vec![Move::Drop { lane: lane(on), since }]
            }
            1 if !held.is_empty() => {
                // Released: back to the end of its lane.
                let since = held[random.below(held.len() as u64) as usize];
                let (message_id, _) = stand.remove(&since).unwrap();
                stand.insert(at, (message_id, None));
                vec![Move::Drop { lane: lane(on), since }, Move::Put { lane: lane(on), draft: 0, message_id }]
            }
            2 if !all.is_empty() => {
                let since = all[random.below(all.len() as u64) as usize];
                stand.remove(&since);
                vec![Move::Drop { lane: lane(on), since }]
            }
            3 | 4 => match self.head(on) {
                Some(since) => {
                    let worker: Arc<str> = format!("worker {}", random.below(3)).into();
                    self.lanes.get_mut(&on).unwrap().get_mut(&since).unwrap().1 = Some(worker.clone());
                    vec![Move::Take { lane: lane(on), since, worker }]
                }
                None => Vec::new(),
            },
            _ => {
                stand.insert(at, (message_id, None));
                vec![Move::Put { lane: lane(on), draft: 0, message_id }]
            }
        }
    }
}

fn moved(n: u64, moves: Vec<Move>) -> Append {
    Append { moves, ..append(n - 1, 1, &[], vec![post(u128::from(n), "step")]) }
}

fn pending(redis: &Redis, lane: &str) -> Vec<(String, String)> {
    let reply = redis.ask(&["XPENDING", lane, "workers", "-", "+", "1000"]);
    let text = |reply: &Reply| reply.to_string();
    match &reply {
        Reply::List(held) => held.iter().map(|held| (text(&held.parts()[0]), text(&held.parts()[1]))).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_trace_the_lanes_are_the_picture_and_pending_is_exactly_what_is_claimed() {
    for seed in 1..=8 {
        let redis = Redis::start();
        let logs = [open(&redis.url(), "a").await, open(&redis.url(), "b").await];
        let mut random = Xorshift(seed);
        let mut projected = Projected::default();
        let mut at = Seq::ZERO;
        for call in 0..80 {
            let mut batch = Vec::new();
            for _ in 0..=random.below(4) {
                at = at.next();
                batch.push(moved(at.0, projected.step(&mut random, at)));
            }
            let log = &logs[call % 2];
            for verdict in log.append(batch).await.unwrap() {
                assert!(matches!(verdict, Verdict::Appended(_)), "seed {seed}, call {call}: {verdict:?}");
            }
        }
        assert_eq!(logs[0].resync_lanes(at, projected.lanes()).await.unwrap(), Resynced::InStep, "seed {seed}");
        let mut claims = 0;
        for (n, stand) in &projected.lanes {
            let held =
                stand.iter().filter_map(|(at, (_, worker))| Some((format!("{at}-0"), worker.as_ref()?.to_string())));
            let held: Vec<_> = held.collect();
            assert_eq!(pending(&redis, name(*n)), held, "seed {seed}");
            claims += held.len();
        }
        assert!(claims > 0 || seed > 1, "a trace with claims");

        // Whatever is done to them, they are rebuilt; untouched ones are left alone.
        let broken = projected.lanes.iter().find(|(_, stand)| !stand.is_empty()).map(|(n, _)| *n).unwrap();
        for harm in [
            vec!["DEL", name(broken)],
            vec!["SET", name(broken), "something else"],
            vec!["XGROUP", "DESTROY", name(broken), "workers"],
            vec!["XGROUP", "SETID", name(broken), "workers", "$"],
            vec!["XADD", name(broken), "9007199254740990-0", "m", "x"],
            vec!["SREM", "{antiphon:0}:lanes", name(broken)],
        ] {
            redis.command(&harm);
            let other = projected.head(broken).is_none() && harm[1] == "SETID";
            let resynced = logs[1].resync_lanes(at, projected.lanes()).await.unwrap();
            assert_eq!(resynced, if other { Resynced::InStep } else { Resynced::Resynced(1) }, "{harm:?}");
            assert_eq!(logs[1].resync_lanes(at, projected.lanes()).await.unwrap(), Resynced::InStep, "{harm:?}");
        }
        redis.command(&["SET", "{antiphon:0}:lanes", "x"]);
        assert!(matches!(logs[0].resync_lanes(at, projected.lanes()).await.unwrap(), Resynced::Resynced(n) if n > 0));
        assert_eq!(logs[0].resync_lanes(at, projected.lanes()).await.unwrap(), Resynced::InStep);
        assert_eq!(logs[0].resync_lanes(Seq(at.0 - 1), vec![]).await.unwrap(), Resynced::Moved, "another position");
        assert!(
            matches!(logs[0].resync_lanes(at, vec![]).await.unwrap(), Resynced::Resynced(n) if n > 0),
            "none of them is there"
        );
        assert_eq!(redis.command(&["EXISTS", name(0), name(1), name(2), name(3), "{antiphon:0}:lanes"]), "0");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_head_of_a_lane_can_be_taken_and_who_is_out_of_step_writes_nothing() {
    let redis = Redis::start();
    let log = open(&redis.url(), "n1").await;
    let put = |n: u64| moved(n, vec![Move::Put { lane: lane(0), draft: 0, message_id: id(n.into()) }]);
    let take = |n: u64, since: u64| moved(n, vec![Move::Take { lane: lane(0), since: Seq(since), worker: "w".into() }]);
    let verdicts = log.append(vec![take(1, 1), put(1), take(2, 9), put(2), take(3, 1), take(4, 1)]).await.unwrap();
    let codes: Vec<_> = verdicts.iter().map(|verdict| matches!(verdict, Verdict::Appended(_))).collect();
    assert_eq!(codes, [false, true, false, true, true, false], "{verdicts:?}");
    assert!(matches!(verdicts[0], Verdict::OutOfStep) && matches!(verdicts[5], Verdict::OutOfStep));
    assert_eq!((log.tail(), pending(&redis, name(0))), (Seq(3), vec![("1-0".into(), "w".into())]));

    // A lane that cannot follow does not fail the append; nothing is taken until the lanes are mended.
    redis.command(&["SET", name(0), "something else"]);
    assert!(matches!(log.append(vec![put(4)]).await.unwrap()[0], Verdict::Appended(_)));
    assert!(matches!(log.append(vec![take(5, 2)]).await.unwrap()[0], Verdict::OutOfStep));
    let projected = Lane {
        ask: lane(0),
        taken: vec![(Seq(1), id(1), "w".into())],
        waiting: vec![(Seq(2), id(2)), (Seq(4), id(4))],
    };
    assert_eq!(log.resync_lanes(Seq(4), vec![projected]).await.unwrap(), Resynced::Resynced(1));
    assert!(matches!(log.append(vec![take(5, 2)]).await.unwrap()[0], Verdict::Appended(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_holds_nothing_is_removed_once_it_is_idle_and_one_that_holds_is_not() {
    let redis = Redis::start();
    let log = open(&redis.url(), "n1").await;
    let link = log.inner.link().unwrap();
    let move_one = |n: u64, step: Move| moved(n, vec![step]);
    log.append(vec![
        move_one(1, Move::Put { lane: lane(0), draft: 0, message_id: id(1) }),
        move_one(2, Move::Put { lane: lane(0), draft: 0, message_id: id(2) }),
        move_one(3, Move::Take { lane: lane(0), since: Seq(1), worker: "left".into() }),
        move_one(4, Move::Take { lane: lane(0), since: Seq(2), worker: "works".into() }),
        move_one(5, Move::Drop { lane: lane(0), since: Seq(1) }),
    ])
    .await
    .unwrap();
    let consumers = || redis.command(&["XINFO", "CONSUMERS", name(0), "workers"]);
    super::super::lanes::sweep(&log.inner, &link, &[]).await.unwrap();
    assert!(consumers().contains("left"), "not idle for long");
    let mut call = super::super::script::SWEEP.call(&["{antiphon:0}:lanes", name(0)]);
    call.arg(-1);
    let mut connection = link.appends.clone();
    super::super::script::run(&mut connection, &call).await.unwrap();
    assert!(!consumers().contains("left") && consumers().contains("works"), "{}", consumers());
    assert_eq!(pending(&redis, name(0)), [("2-0".into(), "works".into())]);
}
