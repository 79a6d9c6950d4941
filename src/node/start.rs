//! Starting a node: an empty state, then the conductor, which builds it from the log as soon as that is there.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use antiphon_schemas::{Epoch, Seq, wire::feed::Heartbeat};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::{
    Condition, Error, Inner, Node, REQUESTS_MAX, State, build::Indexed, conductor::Conductor, erase, monitor, snapshot,
    workers,
};
use crate::{
    clock::Clock,
    decide::Policy,
    fanout::{Feeds, frame},
    log::Log,
    outbox::Outbox,
    projection::{Kept, Limits, Projections},
};

/// A restart folds what came after the last snapshot: a few seconds' worth of entries.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(10);
/// Proxies cut connections that are silent for longer; half of the shortest usual limit.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// So long a start waits for a store that does not answer; then the node serves without it.
const STORE_WAIT: Duration = Duration::from_secs(3);

/// What a node is made of.
pub struct Settings {
    /// Its name, the same after each restart; no two nodes on one log have the same.
    pub name: Arc<str>,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Where posts go while the store is away; for logs that can be away.
    pub outbox: Option<Outbox>,
    /// The wall clock.
    pub clock: Clock,
    /// Settings for decisions.
    pub policy: Policy,
    /// How much the recent view keeps.
    pub limits: Limits,
    /// Where index and snapshot live; `None`: in memory.
    pub data: Option<PathBuf>,
}

/// Starts a node: returns once it has folded the log and serves; or, when a log that others share is away, after a
/// short wait, and serves what can be served without.
///
/// # Errors
/// [`Error::Log`] if the log cannot be read, [`Error::Index`] if its folder cannot be written.
pub async fn start(settings: Settings) -> Result<Node, Error> {
    let Settings { name, log, outbox, clock, policy, limits, data } = settings;
    let shared = log.shared();
    let why: Arc<str> = "the log has not been reached yet".into();
    let state = State {
        projections: Projections::resume(Epoch(0), limits, Kept::default()),
        writing: HashMap::new(),
        epoch: Epoch(0),
        condition: Condition::Degraded { since_ms: clock.now_ms(), why },
        parked: outbox.as_ref().map_or(0, Outbox::pending),
        refused: outbox.as_ref().map_or(0, |outbox| outbox.counts().refused),
        built: false,
        last: None,
    };
    let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
    let inner = Arc::new(Inner {
        applied: watch::Sender::new(Seq::ZERO),
        keys_changed: watch::Sender::new(0),
        keys_lost: AtomicBool::new(false),
        indexed: RwLock::new(Indexed::empty()?),
        name,
        log,
        clock,
        policy: Arc::new(policy),
        limits,
        data,
        state: RwLock::new(state),
        feeds: Feeds::default(),
        workers: Feeds::default(),
        monitor: monitor::Monitor::default(),
        roster: workers::Roster::default(),
        tickets: AtomicU64::new(0),
        canary: Arc::default(),
        requests,
        erasing: erase::Erasing::new(),
        incarnation: Uuid::new_v4(),
        stopped: CancellationToken::new(),
    });
    let node = Node { inner: inner.clone() };
    let (built, is_built) = oneshot::channel();
    let conductor = tokio::spawn(Conductor::new(inner, receiver, outbox).run(built));
    tokio::spawn(erase::run(node.clone()));
    tokio::spawn(heartbeats(node.clone()));
    tokio::spawn(snapshots(node.clone(), conductor));
    let wait = if shared { STORE_WAIT } else { Duration::MAX };
    match tokio::time::timeout(wait, is_built).await {
        Ok(built) => built.map_err(|_| Error::Stopping)??,
        Err(_) => warn!("the log is away: posts are kept on this node's disk until it is back"),
    }
    Ok(node)
}

/// Pushes a heartbeat to everybody who follows a room, a worker's claims or the monitor's feed, until the node is gone.
async fn heartbeats(node: Node) {
    let mut ticks = tokio::time::interval(HEARTBEAT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let at = antiphon_schemas::time::rfc3339(node.inner.clock.now_ms());
                let heartbeat = frame::live("heartbeat", &Heartbeat { at });
                node.inner.feeds.push_to_all(&heartbeat);
                node.inner.workers.push_to_all(&heartbeat);
                node.inner.monitor.beat(&heartbeat);
            }
            () = node.inner.requests.closed() => return,
        }
    }
}

/// Writes a snapshot every so often, if there is something newer than the last one, and one at the end.
async fn snapshots(node: Node, conductor: tokio::task::JoinHandle<()>) {
    let _stopped = node.inner.stopped.clone().drop_guard();
    let mut conductor = conductor;
    let Some(data) = node.inner.data.clone() else { return drop(conductor.await) };
    let mut written = None;
    let mut ticks = tokio::time::interval(SNAPSHOT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ended = tokio::select! {
            _ = ticks.tick() => false,
            _ = &mut conductor => true,
        };
        let (frozen, last, epoch) = {
            let state = node.state();
            let place = Some((state.epoch, state.projections.position));
            if !state.built || place == written || state.projections.position == Seq::ZERO {
                if ended {
                    break;
                }
                continue;
            }
            (state.projections.freeze(), state.last.clone(), state.epoch)
        };
        let position = frozen.position();
        if let Some(last) = last.filter(|last| last.header.seq == position) {
            let data = data.clone();
            let write = move || snapshot::write(&data, epoch, last.hash(), frozen.keep());
            match tokio::task::spawn_blocking(write).await {
                Ok(Ok(())) => written = Some((epoch, position)),
                Ok(Err(e)) => warn!(error = %e, "no snapshot could be written; the next start folds more of the log"),
                Err(e) => warn!(error = %e, "the snapshot writer failed"),
            }
        }
        if ended {
            break;
        }
    }
}
