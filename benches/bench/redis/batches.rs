//! The log alone: batched conditional appends beside pipelined `XADD`s, and reading back beside `XRANGE`.
//!
//! Method: one call in flight on one connection; what is sent is made before the clock starts. The raw loop writes the
//! same fields and bytes with the same number of entries a pipeline. Ours and raw turn about; medians.

use std::time::{Duration, Instant};

use ::redis::{Pipeline, Value, aio::MultiplexedConnection, cmd, pipe};
use antiphon::log::{
    Access, Append, BATCH_MAX, Log, Move, Shared, Verdict,
    redis::{Options, RedisLog, Stamp, address::Address, connect::connect},
};
use antiphon_schemas::{BotName, MessageId, RequestId, Seq, entry::VERSION, event::Ask};
use uuid::Uuid;

use super::Fsync;
use crate::{
    log::draft,
    measure::{folder, median},
    redis_server::Redis,
};

const ROUNDS: usize = 7;
/// In one round.
const APPENDS: usize = 51_200;
/// For reading back.
const ENTRIES: usize = 300_000;
/// Entries of one `XRANGE`, as the log asks for at most.
const PAGE: usize = 1_000;

pub(super) async fn append() {
    println!(
        "Redis log, batched append_if, one call in flight, {ROUNDS} rounds, medians; ratio = ours / pipelined XADD\n"
    );
    println!("| appendfsync | appends a call | what | appends/s | raw/s | ratio |");
    println!("|---|---|---|---|---|---|");
    for fsync in Fsync::BOTH {
        for size in [64, 256] {
            for asks in [false, true] {
                let dir = folder();
                let redis = fsync.start(dir.path());
                let (ours, raw, ratio) = appends(&redis, size, asks).await;
                let what = if asks { "posts that ask" } else { "posts" };
                println!("| {fsync} | {size} | {what} | {ours:.0} | {raw:.0} | {ratio:.2} |");
            }
        }
    }
}

async fn appends(redis: &Redis, size: usize, asks: bool) -> (f64, f64, f64) {
    let log = open(redis, "writer").await;
    let mut plain = plain(redis).await;
    let all: Vec<Append> = (0..APPENDS).map(|_| post(asks)).collect();
    let (mut ours, mut raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut position = 0;
    for _ in 0..ROUNDS {
        let batches: Vec<Vec<Append>> = all.chunks(size).map(<[_]>::to_vec).collect();
        let start = Instant::now();
        for batch in batches {
            let verdicts = log.append(batch).await.expect("an answer");
            assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Appended(_))));
        }
        ours.push(APPENDS as f64 / start.elapsed().as_secs_f64());

        let commands: Vec<Vec<Fields>> = all.chunks(size).map(|batch| batch.iter().map(Fields::of).collect()).collect();
        let start = Instant::now();
        for batch in commands {
            let mut pipeline = pipe();
            for fields in &batch {
                position += 1;
                fields.add_to(&mut pipeline, &format!("{position}-0"));
            }
            let ids: Vec<Value> = pipeline.query_async(&mut plain).await.expect("ids");
            assert_eq!(ids.len(), pipeline.len());
        }
        raw.push(APPENDS as f64 / start.elapsed().as_secs_f64());
        ratios.push(ours[ours.len() - 1] / raw[raw.len() - 1]);
    }
    assert_eq!(log.tail().0, position, "ours wrote as much");
    log.close().await.expect("closed");
    (median(ours), median(raw), median(ratios))
}

/// An entry as the fields that the log writes, and the message that goes onto a lane with it.
struct Fields {
    entry: Vec<(&'static str, Vec<u8>)>,
    waits: Option<String>,
}

impl Fields {
    fn of(append: &Append) -> Fields {
        let draft = &append.drafts[0];
        let message = draft.event.subjects()[0].to_string();
        let at_ms = "1800000000000";
        let entry = vec![
            ("k", draft.event.kind().into()),
            ("s", message.clone().into()),
            ("r", draft.room.as_ref().map_or("", |room| room.as_str()).into()),
            ("t", at_ms.into()),
            ("v", VERSION.to_string().into()),
            ("q", append.request.to_string().into()),
            ("d", draft.body.to_vec()),
        ];
        Fields { entry, waits: (!append.moves.is_empty()).then_some(message) }
    }

    fn add_to(&self, pipeline: &mut Pipeline, id: &str) {
        let command = pipeline.cmd("XADD").arg("{raw}:log").arg(id);
        for (name, value) in &self.entry {
            command.arg(name).arg(value);
        }
        if let Some(message) = &self.waits {
            pipeline.cmd("XADD").arg("{raw}:work").arg(id).arg("m").arg(message);
        }
    }
}

/// A log read from its beginning by a node that has just come, beside `XRANGE` alone.
pub(super) async fn read() {
    let dir = folder();
    let redis = Fsync::EverySecond.start(dir.path());
    let writer = open(&redis, "writer").await;
    let all: Vec<Append> = (0..ENTRIES).map(|_| post(false)).collect();
    for batch in all.chunks(BATCH_MAX) {
        writer.append(batch.to_vec()).await.expect("an answer");
    }
    writer.close().await.expect("closed");
    let (mut ours, mut raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let log = open(&redis, "reader").await;
        let start = Instant::now();
        let mut seq = Seq::ZERO;
        while seq < log.tail() {
            seq = log.read(seq, usize::MAX).await.expect("entries").last().expect("one").header.seq;
        }
        assert_eq!(seq.0, ENTRIES as u64);
        ours.push(ENTRIES as f64 / start.elapsed().as_secs_f64());
        log.close().await.expect("closed");

        let mut plain = plain(&redis).await;
        let start = Instant::now();
        let mut read = 0;
        while read < ENTRIES {
            let mut command = cmd("XRANGE");
            command.arg("{antiphon:0}:log").arg(format!("{}-0", read + 1)).arg("+").arg("COUNT").arg(PAGE);
            let page: Vec<Value> = command.query_async(&mut plain).await.expect("a page");
            assert!(!page.is_empty());
            read += page.len();
        }
        raw.push(ENTRIES as f64 / start.elapsed().as_secs_f64());
        ratios.push(ours[ours.len() - 1] / raw[raw.len() - 1]);
    }
    println!(
        "read back {ENTRIES} entries from Redis    {:.0} k/s   (raw XRANGE COUNT {PAGE} {:.0} k/s, ratio {:.2})",
        median(ours) / 1e3,
        median(raw) / 1e3,
        median(ratios)
    );
}

fn post(asks: bool) -> Append {
    let id = MessageId(Uuid::new_v4());
    let lane = asks.then(|| Ask { bot: BotName::new("antiphon").expect("a name"), priority: 5, second: false });
    let moves = lane.clone().map(|lane| Move::Put { lane, draft: 0, message_id: id });
    Append {
        after: Seq::ZERO,
        request: RequestId(id.0),
        subjects: vec![],
        drafts: vec![draft(id, lane)],
        moves: moves.into_iter().collect(),
    }
}

async fn open(redis: &Redis, node: &str) -> RedisLog {
    let log = RedisLog::open(Options { address: address(redis), node: node.into(), stamp: Stamp::Store, known: None });
    log.access().wait_for(|access| matches!(access, Access::Open { .. })).await.expect("it opens");
    log
}

/// A connection with the settings of the log's own.
async fn plain(redis: &Redis) -> MultiplexedConnection {
    connect(&address(redis), Duration::from_secs(5)).await.expect("a connection").connection
}

fn address(redis: &Redis) -> Address {
    Address::parse(&redis.url()).expect("an address")
}
