//! Starting a node: an empty state, then the core, which builds it from the log as soon as that is there.

use std::{
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Duration,
};

use antiphon_schemas::{Seq, wire::feed::Heartbeat};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::{
    Error, Inner, Node, REQUESTS_MAX, WORDS_MAX,
    core::{Core, Now, Pending, Setup},
    driver::Driver,
    erase,
    indexed::Indexed,
    snapshot,
    view::View,
};
use crate::{
    clock::Clock,
    decide::Policy,
    fanout::frame,
    log::Log,
    outbox::Outbox,
    projection::Limits,
    tasks::{End, Kind, Tasks},
};

/// A restart folds what came after the last snapshot: a few seconds' worth of entries.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(10);
/// Proxies cut connections that are silent for longer; half of the shortest usual limit.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// How long startup waits for an unresponsive store; then the node serves without it.
const STORE_WAIT: Duration = Duration::from_secs(3);

/// A node without it starts more slowly, that is all.
const SNAPSHOTS: Kind = Kind::Helper { without: "no snapshot is written, so the next start folds more of the log" };

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
/// short wait, and serves what can be served without. What it runs is among `tasks`.
///
/// # Errors
/// [`Error::Log`] if the log cannot be read, [`Error::Index`] if its folder cannot be written.
pub async fn start(settings: Settings, tasks: &Tasks) -> Result<Node, Error> {
    let Settings { name, log, outbox, clock, policy, limits, data } = settings;
    let (policy, shared) = (Arc::new(policy), log.shared().is_some());
    let view = Arc::new(View::new(limits, clock.now_ms()));
    let (requests, requests_taken) = mpsc::channel(REQUESTS_MAX);
    let (words, words_taken) = mpsc::channel(WORDS_MAX);
    let (stops, stops_taken) = mpsc::channel(1);
    let inner = Arc::new(Inner {
        view: view.clone(),
        indexed: RwLock::new(Indexed::empty()?),
        name: name.clone(),
        log,
        clock: clock.clone(),
        policy: policy.clone(),
        limits,
        data,
        requests,
        words,
        stops,
        incarnation: Uuid::new_v4(),
        stopped: CancellationToken::new(),
    });
    let node = Node { inner: inner.clone() };
    let (ready, is_built) = oneshot::channel();
    {
        let mut state = view.change();
        let counts = outbox.as_ref().map(Outbox::counts).unwrap_or_default();
        (state.parked, state.refused) = (counts.pending, counts.refused);
    }
    let pending = outbox.clone().map(|outbox| Arc::new(outbox) as Arc<dyn Pending>);
    let setup = Setup { view, policy, name, shared, outbox: pending, seed: rand::random(), ready };
    let core = Core::new(setup, Now { at: clock.instant(), wall_ms: clock.now_ms() });
    let driver = Driver { inner, core, requests: requests_taken, words: words_taken, stops: stops_taken, outbox };
    let conductor = tasks.spawn("conductor", Kind::Critical, driver.run());
    tasks.spawn("erase", Kind::Owned, erase::run(node.clone()));
    tasks.spawn("heartbeats", Kind::Owned, heartbeats(node.clone()));
    tasks.spawn("snapshots", SNAPSHOTS, snapshots(node.clone(), conductor));
    let wait = if shared { STORE_WAIT } else { Duration::MAX };
    match tokio::time::timeout(wait, is_built).await {
        Ok(built) => built.map_err(|_| Error::Stopping)??,
        Err(_) => warn!("the log is unavailable: posts are kept on this node's disk until it is back"),
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
                node.inner.view.feeds.push_to_all(&heartbeat);
                node.inner.view.workers.push_to_all(&heartbeat);
                node.inner.view.monitor.beat(&heartbeat);
            }
            () = node.inner.requests.closed() => return,
        }
    }
}

/// Writes a snapshot every so often, if there is something newer than the last one, and one at the end. None once the
/// core has panicked: the state may be half of a change.
async fn snapshots(node: Node, conductor: JoinHandle<End>) {
    let _stopped = node.inner.stopped.clone().drop_guard();
    let mut conductor = conductor;
    let Some(data) = node.inner.data.clone() else { return drop(conductor.await) };
    let mut written = None;
    let mut ticks = tokio::time::interval(SNAPSHOT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ended = tokio::select! {
            biased;
            end = &mut conductor => match end {
                Ok(End::Returned) => true,
                Ok(End::Panicked(_)) | Err(_) => return,
            },
            _ = ticks.tick() => false,
        };
        // The lock is let go of before the end of the task is seen.
        if node.inner.view.state.is_poisoned() {
            return drop(conductor.await);
        }
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
            let write = move || snapshot::write(&data, epoch, last.hash(), frozen.into_data());
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
