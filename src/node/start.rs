//! Starting a node: snapshot, index, the log's tail, then the conductor.
//!
//! Promises: the state that serves is the fold of the whole log; what is on disk beside the log may be deleted, is
//! checked against the log, and is built anew when it does not fit.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use antiphon_schemas::{MessageId, Seq, wire::feed::Heartbeat};
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::{Error, Inner, Node, REQUESTS_MAX, State, Writing, conductor::Conductor, read::index_error, snapshot};
use crate::{
    clock::Clock,
    decide::Policy,
    fanout::{Feeds, frame},
    index::{Index, Indexer},
    log::Log,
    projection::{Kept, Limits, Projections, queue},
};

/// Entries read at once while starting.
const READ_ENTRIES: usize = 4_096;
/// A restart folds what came after the last snapshot: a few seconds' worth of entries.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(10);
/// Proxies cut connections that are silent for longer; half of the shortest usual limit.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Long starts say how far they are, this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// What a node is made of.
pub struct Settings {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The wall clock.
    pub clock: Clock,
    /// Settings for decisions.
    pub policy: Policy,
    /// How much the recent view keeps.
    pub limits: Limits,
    /// Where index and snapshot live; `None`: in memory.
    pub data: Option<PathBuf>,
}

/// Starts a node: returns once it has folded the log and serves.
///
/// # Errors
/// [`Error::Log`] if the log cannot be read, [`Error::Index`] if its folder cannot be written.
pub async fn start(settings: Settings) -> Result<Node, Error> {
    let Settings { log, clock, policy, limits, data } = settings;
    let epoch = log.info().epoch;
    let kept = match &data {
        Some(data) => snapshot::read(data, &*log).await,
        None => Kept::default(),
    };
    let index = open_index(data.as_ref(), &*log).await?;
    let indexer = Indexer::start(index.clone()).map_err(index_error)?;
    let (snapshot_at, index_at) = (kept.position, index.position());
    let mut projections = Projections::resume(epoch, limits, kept);
    let last = fold(&*log, &mut projections, &indexer, snapshot_at.min(index_at)).await?;

    let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
    let inner = Arc::new(Inner {
        info: log.info().clone(),
        applied: watch::Sender::new(projections.position),
        indexed: indexer.applied(),
        log,
        clock,
        policy: Arc::new(policy),
        state: RwLock::new(State { writing: adopted(&projections), projections, last }),
        feeds: Feeds::default(),
        canary: Arc::default(),
        index,
        requests,
        incarnation: Uuid::new_v4(),
        stopped: CancellationToken::new(),
    });
    let node = Node { inner: inner.clone() };
    let conductor = tokio::spawn(Conductor::new(inner, receiver, indexer).run());
    tokio::spawn(heartbeats(node.clone()));
    tokio::spawn(snapshots(node.clone(), data, snapshot_at, conductor));
    Ok(node)
}

/// The replies that claims of before the start are writing. What they wrote is not known here: whoever writes is asked
/// for it from index 0.
fn adopted(projections: &Projections) -> HashMap<MessageId, Writing> {
    let claims = projections.queue.iter().filter_map(|(id, open)| match &open.state {
        queue::State::Claimed(claim) => Some((id, open, claim)),
        _ => None,
    });
    let writing = |open: &queue::Open, claim: &queue::Claim| Writing {
        room: open.room.clone(),
        reply_id: claim.reply_id,
        bot: open.ask.bot.clone(),
        next_index: 0,
        text: String::new(),
    };
    claims.map(|(id, open, claim)| (*id, writing(open, claim))).collect()
}

async fn open_index(data: Option<&PathBuf>, log: &dyn Log) -> Result<Index, Error> {
    let path = data.map(|data| data.join("index"));
    if let Some(path) = &path {
        std::fs::create_dir_all(path).map_err(|e| Error::Index(e.to_string()))?;
    }
    let file = path.map(|path| path.join("index.redb"));
    let index = Index::open(file.as_deref(), log.info().epoch, log.tail()).map_err(index_error)?;
    let position = index.position();
    if position == Seq::ZERO {
        return Ok(index);
    }
    match log.read(Seq(position.0 - 1), 1).await?.first() {
        Some(entry) => index.checked(entry).map_err(index_error),
        None => Ok(index),
    }
}

/// Folds the log after `from` into projections and index; each passes over what it has.
async fn fold(
    log: &dyn Log,
    projections: &mut Projections,
    indexer: &Indexer,
    from: Seq,
) -> Result<Option<Arc<antiphon_schemas::Entry>>, Error> {
    let (started, mut said, tail) = (Instant::now(), Instant::now(), log.tail());
    let (mut position, mut last) = (from, None);
    let mut entries = log.read(position, READ_ENTRIES).await?;
    while let Some(newest) = entries.last().cloned() {
        position = newest.header.seq;
        last = Some(newest);
        // The next page is read while this one is folded.
        let (next, ()) = tokio::join!(log.read(position, READ_ENTRIES), async {
            entries.iter().for_each(|entry| projections.apply(entry));
            projections.newest.forget(*indexer.applied().borrow());
            indexer.apply(std::mem::take(&mut entries)).await;
        });
        entries = next?;
        if said.elapsed() > PROGRESS_EVERY {
            said = Instant::now();
            info!(position = position.0, tail = tail.0, "folding the log");
        }
    }
    // Nothing may be looked up in an index that has not reached what the projections do not cover.
    let mut applied = indexer.applied();
    if applied.wait_for(|at| *at >= position).await.is_err() {
        warn!("the index stopped while it was being built; see the error above");
    }
    if last.is_none() && tail > Seq::ZERO {
        last = log.read(Seq(tail.0 - 1), 1).await?.pop();
    }
    let ms = started.elapsed().as_millis() as u64;
    info!(entries = position.0 - from.0, position = position.0, ms, "the log is folded");
    Ok(last)
}

/// Pushes a heartbeat to everybody who follows a room, until the node is gone.
async fn heartbeats(node: Node) {
    let mut ticks = tokio::time::interval(HEARTBEAT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let at = antiphon_schemas::time::rfc3339(node.inner.clock.now_ms());
                node.inner.feeds.push_to_all(&frame::live("heartbeat", &Heartbeat { at }));
            }
            () = node.inner.requests.closed() => return,
        }
    }
}

/// Writes a snapshot every so often, if there is something newer than the last one, and one at the end.
async fn snapshots(node: Node, data: Option<PathBuf>, mut written: Seq, conductor: tokio::task::JoinHandle<()>) {
    let _stopped = node.inner.stopped.clone().drop_guard();
    let mut conductor = conductor;
    let Some(data) = data else { return drop(conductor.await) };
    let mut ticks = tokio::time::interval(SNAPSHOT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ended = tokio::select! {
            _ = ticks.tick() => false,
            _ = &mut conductor => true,
        };
        let (kept, last) = {
            let state = node.state();
            if state.projections.position == written {
                if ended {
                    break;
                }
                continue;
            }
            (state.projections.keep(), state.last.clone())
        };
        let position = kept.position;
        if let Some(last) = last.filter(|last| last.header.seq == position) {
            let (data, epoch) = (data.clone(), node.info().epoch);
            let write = tokio::task::spawn_blocking(move || snapshot::write(&data, epoch, last.hash(), kept)).await;
            match write {
                Ok(Ok(())) => written = position,
                Ok(Err(e)) => warn!(error = %e, "no snapshot could be written; the next start folds more of the log"),
                Err(e) => warn!(error = %e, "the snapshot writer failed"),
            }
        }
        if ended {
            break;
        }
    }
}
