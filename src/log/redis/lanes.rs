//! The lanes as the store keeps them: comparing them with the queue projection, and rebuilding what differs.
//!
//! ```text
//! {ns:0}:work:<bot>:<p>    a stream with the consumer group `workers`; b at its end: the second lane of that priority
//!                          id <since>-0   m message id
//! {ns:0}:lanes             the set of the lanes that exist
//! ```
//!
//! What was given to a worker and not dropped is pending: the pending entries are exactly the claims.

use std::{collections::BTreeMap, time::Duration};

use ::redis::Value;
use antiphon_schemas::Seq;

use super::{Inner, codec, link::Link, script};
use crate::log::{Error, Lane, Resynced};

/// Reading and building lanes: they may be long, after a night without workers.
pub(super) const LANES_MAX: Duration = Duration::from_secs(5);
/// How long a consumer may hold nothing before it is removed.
const IDLE_MAX: Duration = Duration::from_secs(3_600);

/// One lane, as the store has it or as it should be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stand {
    /// Position and worker.
    taken: Vec<(Seq, String)>,
    /// Position and message; those taken come first.
    entries: Vec<(Seq, String)>,
}

/// As [`Shared::resync_lanes`](crate::log::Shared::resync_lanes).
pub(super) async fn resync(inner: &Inner, link: &Link, at: Seq, lanes: Vec<Lane>) -> Result<Resynced, Error> {
    let mut wanted: BTreeMap<String, Stand> =
        existing(inner, link).await?.into_iter().map(|k| (k, Stand::default())).collect();
    for lane in &lanes {
        wanted.insert(inner.keys.lane(&lane.ask), Stand::of(lane));
    }
    let names: Vec<&String> = wanted.keys().collect();
    let mut keys = vec![&inner.keys.log, &inner.keys.lanes];
    keys.extend(&names);
    let call = script::LOOK.call(&keys);
    let mut connection = link.reads().connection;
    let answer = link.ask(LANES_MAX, script::run(&mut connection, &call)).await?;
    let mut answer = codec::array(answer).unwrap_or_default().into_iter();
    let tail = answer.next().and_then(codec::bytes).and_then(|id| codec::seq_of(&id));
    if tail != Some(at) {
        return Ok(Resynced::Moved);
    }
    let differing: Vec<(&String, &Stand)> = wanted
        .iter()
        .zip(answer)
        .filter(|((_, wanted), found)| !wanted.stands(found, at))
        .map(|(lane, _)| lane)
        .collect();
    let resynced = if differing.is_empty() { Resynced::InStep } else { build(inner, link, at, &differing).await? };
    sweep(inner, link, &names).await?;
    Ok(resynced)
}

async fn build(inner: &Inner, link: &Link, at: Seq, lanes: &[(&String, &Stand)]) -> Result<Resynced, Error> {
    let mut keys = vec![&inner.keys.log, &inner.keys.meta, &inner.keys.lanes];
    keys.extend(lanes.iter().map(|(name, _)| *name));
    let mut call = script::RESYNC.call(&keys);
    link.writer.sign(&mut call);
    call.arg(at.0);
    for (_, stand) in lanes {
        let (taken, waiting) = stand.entries.split_at(stand.taken.len());
        call.arg(taken.len());
        for ((since, message), (_, worker)) in taken.iter().zip(&stand.taken) {
            call.arg(since.0).arg(message).arg(worker);
        }
        call.arg(waiting.len());
        for (since, message) in waiting {
            call.arg(since.0).arg(message);
        }
    }
    let mut connection = link.appends.clone();
    let answer = link.ask(LANES_MAX, script::run(&mut connection, &call)).await?;
    match codec::array(answer).as_deref().and_then(|answer| codec::number(answer.first()?)) {
        Some(0) => Ok(Resynced::Resynced(lanes.len())),
        Some(1 | 2) => Err(link.fail("another session of this node, or another epoch, has begun")),
        _ => Ok(Resynced::Moved),
    }
}

impl Stand {
    fn of(lane: &Lane) -> Stand {
        let taken = lane.taken.iter().map(|(since, _, worker)| (*since, worker.to_string())).collect();
        let entries = lane.taken.iter().map(|(since, message, _)| (*since, message.to_string()));
        let waiting = lane.waiting.iter().map(|(since, message)| (*since, message.to_string()));
        Stand { taken, entries: entries.chain(waiting).collect() }
    }

    /// Whether the store's lane is correct: with its entries and claims, listed, and able to continue after `at`.
    fn stands(&self, found: &Value, at: Seq) -> bool {
        let Value::Array(found) = found else {
            // Not there, or something else under its name.
            return self.entries.is_empty() && matches!(found, Value::Int(0));
        };
        let [listed, last, given, entries, pending] = &found[..] else { return false };
        let seq = |value: &Value| codec::bytes(value.clone()).and_then(|id| codec::seq_of(&id));
        let pairs = |value: &Value| -> Option<Vec<(Seq, String)>> {
            let values = codec::array(value.clone())?;
            values.chunks(2).map(|pair| Some((seq(&pair[0])?, codec::text(pair.get(1)?.clone())?))).collect()
        };
        let (Some(last), Some(given)) = (seq(last), seq(given)) else { return false };
        let first_waiting = self.entries.get(self.taken.len()).map_or(at.next(), |(since, _)| *since);
        let last_taken = self.taken.last().map_or(Seq::ZERO, |(since, _)| *since);
        matches!(listed, Value::Int(1))
            && last <= at
            && (last_taken..first_waiting).contains(&given)
            && pairs(entries).as_ref() == Some(&self.entries)
            && pairs(pending).as_ref() == Some(&self.taken)
    }
}

/// The lanes that the store lists as ours.
async fn existing(inner: &Inner, link: &Link) -> Result<Vec<String>, Error> {
    let mut connection = link.reads().connection;
    let question = async {
        let kind: String = ::redis::cmd("TYPE").arg(&inner.keys.lanes).query_async(&mut connection).await?;
        // Something else under its name counts as no list: a resync makes one.
        if kind != "set" {
            return Ok(Vec::new());
        }
        ::redis::cmd("SMEMBERS").arg(&inner.keys.lanes).query_async::<Vec<String>>(&mut connection).await
    };
    let lanes = link.ask(LANES_MAX, question).await?;
    Ok(lanes.into_iter().filter(|lane| lane.starts_with(&inner.keys.work)).collect())
}

/// Removes consumers that nobody uses, from these lanes or from all.
pub(super) async fn sweep(inner: &Inner, link: &Link, lanes: &[&String]) -> Result<(), Error> {
    let all = if lanes.is_empty() { existing(inner, link).await? } else { Vec::new() };
    let mut keys = vec![&inner.keys.lanes];
    keys.extend(lanes);
    keys.extend(&all);
    if keys.len() == 1 {
        return Ok(());
    }
    let mut call = script::SWEEP.call(&keys);
    call.arg(IDLE_MAX.as_millis() as u64);
    let mut connection = link.appends.clone();
    link.ask(LANES_MAX, script::run(&mut connection, &call)).await.map(|_| ())
}
