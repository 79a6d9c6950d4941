//! Live updates between nodes: delivered at most once, never authoritative, and never waited for.
//!
//! ```text
//! {ns:0}:live   n node │ d update                     one that fits into a piece
//!               n node │ p which/of how many │ x piece   of a larger one, in order; those of other nodes may lie between
//!               n node │ c the number of a canary     or   e a new epoch
//! ```
//!
//! Bounds, all of them in bytes too: no entry has more than [`PIECE_BYTES`], so that what counts entries (what the store keeps,
//! what one read brings) counts bytes; what waits in either direction; one update.
//! Not here: what an update says (`node`), in what order entries and updates are taken (`reader`).

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ::redis::Value;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use super::{Inner, codec};
use crate::log::UPDATE_BYTES_MAX;

/// Bytes of one entry of the live stream: more than most updates have, and as much as Redis puts into one of its nodes.
pub(super) const PIECE_BYTES: usize = 4 << 10;
/// Entries kept by the store, about, and so 16 MiB: readers that are further behind have missed some updates.
pub(super) const KEPT: usize = 4_096;
/// Updates that wait to be sent: a node makes one each 20 ms, so more than these are late anyway …
const WAITING_MAX: usize = 256;
/// … and their bytes: some seconds of a busy node.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Bytes of updates that go to the store together: few enough that a slow one answers in time.
const SENT_BYTES_MAX: usize = 1 << 20;
/// Updates are sent within this time, or the store is away.
const SEND_MAX: Duration = Duration::from_millis(1_500);
/// Updates of others that wait to be taken; the oldest go. About ten seconds of ten nodes …
const RECEIVED_MAX: usize = 4_096;
/// … and their bytes.
const RECEIVED_BYTES_MAX: usize = 16 << 20;
/// Nodes of which a beginning is kept; more than there are.
const BEGUN_MAX: usize = 64;

/// The updates in both directions.
pub(super) struct Live {
    waiting: mpsc::Sender<Bytes>,
    waiting_bytes: AtomicUsize,
    // A std mutex: held for moving pointers and copying a piece, never across an await.
    received: Mutex<Received>,
    news: Notify,
    canary: watch::Sender<u64>,
}

#[derive(Default)]
struct Received {
    updates: VecDeque<Bytes>,
    bytes: usize,
    /// Those of which the end has not come yet, by node: how many pieces are there, and those.
    begun: HashMap<String, (usize, Vec<u8>)>,
}

impl Live {
    /// And what is to be sent, for [`send`].
    pub(super) fn new() -> (Live, mpsc::Receiver<Bytes>) {
        let (waiting, to_send) = mpsc::channel(WAITING_MAX);
        let (received, news, canary) = (Mutex::default(), Notify::new(), watch::Sender::new(0));
        (Live { waiting, waiting_bytes: AtomicUsize::new(0), received, news, canary }, to_send)
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Shared::broadcast`](crate::log::Shared::broadcast).
    pub(super) fn broadcast(&self, update: Bytes) {
        let bytes = update.len();
        if bytes > UPDATE_BYTES_MAX {
            tracing::debug!(bytes, most = UPDATE_BYTES_MAX, "a live update is too large and was dropped");
            return;
        }
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > WAITING_BYTES_MAX || self.waiting.try_send(update).is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            tracing::debug!(bytes, waiting = before, "too many live updates wait; one was dropped");
        }
    }

    /// As [`Shared::recv`](crate::log::Shared::recv).
    pub(super) async fn recv(&self) -> Bytes {
        loop {
            let news = self.news.notified();
            {
                let mut received = self.received();
                if let Some(update) = received.updates.pop_front() {
                    received.bytes -= update.len();
                    return update;
                }
            }
            news.await;
        }
    }

    /// Follows the number of this node's last canary that came back.
    pub(super) fn canaries(&self) -> watch::Receiver<u64> {
        self.canary.subscribe()
    }

    /// One entry of the live stream; a new epoch is given out.
    pub(super) fn take(&self, own: &str, mut fields: Vec<Value>) -> Option<String> {
        let mut field = |name| codec::take(&mut fields, name);
        if let Some(epoch) = field("e") {
            return codec::text(epoch);
        }
        let node = field("n").and_then(codec::text)?;
        if node == own {
            let number = codec::number(&field("c")?)?;
            self.canary.send_if_modified(|last| std::mem::replace(last, number.max(*last)) < number);
        } else if let Some(update) = field("d") {
            self.push(codec::bytes(update)?.into());
        } else if let (Some(place), Some(piece)) = (field("p"), field("x")) {
            let place = codec::text(place)?;
            let (at, of) = place.split_once('/')?;
            self.put_together(node, at.parse().ok()?, of.parse().ok()?, codec::bytes(piece)?);
        }
        None
    }

    /// A piece of an update. What does not follow the one before belongs to an update whose beginning was missed.
    fn put_together(&self, node: String, at: usize, of: usize, piece: Vec<u8>) {
        let mut received = self.received();
        let (here, mut update) = received.begun.remove(&node).filter(|_| at > 0).unwrap_or_default();
        if here != at || at >= of || update.len() + piece.len() > UPDATE_BYTES_MAX {
            return;
        }
        update.extend_from_slice(&piece);
        if at + 1 == of {
            drop(received);
            self.push(update.into());
        } else {
            if received.begun.len() == BEGUN_MAX {
                received.begun.clear();
            }
            received.begun.insert(node, (at + 1, update));
        }
    }

    fn push(&self, update: Bytes) {
        let mut received = self.received();
        received.bytes += update.len();
        received.updates.push_back(update);
        while received.updates.len() > RECEIVED_MAX || received.bytes > RECEIVED_BYTES_MAX {
            let Some(oldest) = received.updates.pop_front() else { break };
            received.bytes -= oldest.len();
        }
        drop(received);
        self.news.notify_one();
    }
}

/// Sends updates as they come, while the log lives.
pub(super) async fn send(inner: &Arc<Inner>, mut to_send: mpsc::Receiver<Bytes>) {
    while let Some(update) = to_send.recv().await {
        let (mut next, mut bytes) = (Some(update), 0);
        // Away: nobody gets it, and later is too late.
        let link = inner.link();
        let mut pipeline = ::redis::pipe();
        while let Some(update) = next {
            inner.live.waiting_bytes.fetch_sub(update.len(), Ordering::Relaxed);
            if link.is_some() {
                put(&mut pipeline, inner, &update);
            }
            bytes += update.len();
            next = if bytes < SENT_BYTES_MAX { to_send.try_recv().ok() } else { None };
        }
        let Some(link) = link else { continue };
        let mut connection = link.live.clone();
        // Whatever goes wrong ends the session, and these updates with it.
        let _ = link.ask(SEND_MAX, pipeline.query_async::<()>(&mut connection)).await;
    }
}

/// The entries of one update.
fn put(pipeline: &mut ::redis::Pipeline, inner: &Inner, update: &Bytes) {
    let of = update.len().div_ceil(PIECE_BYTES);
    for (at, piece) in update.chunks(PIECE_BYTES).enumerate() {
        let command = pipeline.cmd("XADD").arg(&inner.keys.live).arg("MAXLEN").arg("~").arg(KEPT);
        command.arg("*").arg("n").arg(&*inner.node).ignore();
        match of {
            1 => command.arg("d").arg(piece),
            _ => command.arg("p").arg(format!("{at}/{of}")).arg("x").arg(piece),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &str) -> Value {
        Value::BulkString(bytes.as_bytes().to_vec())
    }

    fn piece(live: &Live, node: &str, place: &str, piece: &str) {
        live.take("own", vec![text("n"), text(node), text("p"), text(place), text("x"), text(piece)]);
    }

    fn taken(live: &Live) -> Vec<Bytes> {
        live.received().updates.drain(..).collect()
    }

    #[test]
    fn what_waits_to_be_sent_is_bounded_in_bytes() {
        let (live, mut to_send) = Live::new();
        for _ in 0..20 {
            live.broadcast(vec![0; UPDATE_BYTES_MAX].into());
        }
        live.broadcast(vec![0; UPDATE_BYTES_MAX + 1].into());
        let waiting: Vec<_> = std::iter::from_fn(|| to_send.try_recv().ok()).collect();
        assert_eq!(waiting.len(), WAITING_BYTES_MAX / UPDATE_BYTES_MAX);
    }

    #[test]
    fn what_waits_to_be_taken_is_bounded_in_bytes_and_the_newest_stay() {
        let (live, _to_send) = Live::new();
        for n in 0..40u8 {
            live.push(vec![n; UPDATE_BYTES_MAX].into());
        }
        let taken = taken(&live);
        assert_eq!(taken.len(), RECEIVED_BYTES_MAX / UPDATE_BYTES_MAX);
        assert_eq!(taken.last().unwrap()[0], 39);
    }

    #[test]
    fn pieces_are_put_together_by_node_and_an_update_that_lacks_one_is_dropped() {
        let (live, _to_send) = Live::new();
        piece(&live, "a", "0/2", "one ");
        piece(&live, "b", "0/3", "x");
        piece(&live, "a", "1/2", "two");
        // The middle one was missed; then the beginning.
        piece(&live, "b", "2/3", "z");
        piece(&live, "a", "1/2", "two");
        piece(&live, "b", "0/2", "th");
        piece(&live, "b", "0/2", "thr");
        piece(&live, "b", "1/2", "ee");
        piece(&live, "own", "0/2", "mine");
        assert_eq!(taken(&live), ["one two", "three"]);
    }
}
