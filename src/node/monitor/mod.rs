//! The monitor: one view of queues, messages, workers and health, computed once for all monitors.
//!
//! ```text
//! applied, stirred ─▶ task: look at the state ▶ fold the log up to there ▶ view ─┬▶ kept for new monitors
//!                     (at most every UPDATE_EVERY)                                   └▶ what changed ─▶ feed ─▶ monitors
//! ```
//!
//! Promises: the first monitor starts the task and the last one ends it; without monitors the only cost is checking whether
//! there are any; no work is done per entry while the state is locked; a monitor gets a snapshot and its place in the feed in
//! one step, so it misses nothing and sees nothing twice; one that is too slow gets a new snapshot.
//! Not here: the fold (`projection::monitor`), the order of the list (`projection::open_list`), the wire format (`view`),
//! changes (`change`), workers (`workers`).

mod change;
mod fold;
mod view;

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use antiphon_schemas::{MessageId, wire::monitor::MonitorSnapshot};
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use self::fold::Fold;
use super::{Error, Node, Surroundings};
use crate::fanout::{Feed, FeedItem, Frame, frame};

/// Changes within this time are sent together: faster than the eye can follow, slower than a log fills.
const UPDATE_EVERY: Duration = Duration::from_millis(250);
/// The message id of every frame of the feed for [`Feed::forget`], because any of them may show a hidden text.
const ANY_TEXT: MessageId = MessageId(Uuid::nil());

/// What a node's monitors share.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    // A std mutex: held to look and to start a task, never across an await.
    hub: Mutex<Place>,
    stirred: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Place {
    hub: Weak<Hub>,
    closed: bool,
}

/// What the monitors of a time share; it lives as long as one of them.
#[derive(Debug)]
struct Hub {
    feed: Arc<Feed>,
    // Under its lock the feed moves, too.
    view: watch::Sender<Option<Arc<MonitorView>>>,
    _last_is_gone: DropGuard,
}

/// Everything that is shown, at one position.
#[derive(Debug)]
struct MonitorView {
    snapshot: MonitorSnapshot,
    ended_count: u64,
    hidden_count: u64,
    encoded: OnceLock<Bytes>,
}

/// A monitor's place in the feed.
pub struct Watching {
    hub: Arc<Hub>,
    slot: u64,
}

impl Monitor {
    /// Something changed that is not in the log. Cost, while nobody watches: one load.
    pub(super) fn stir(&self) {
        if self.stirred.receiver_count() > 0 {
            self.stirred.send_replace(());
        }
    }

    /// A heartbeat for everybody who watches; time has passed for them, too.
    pub(super) fn beat(&self, heartbeat: &Frame) {
        let hub = self.place().hub.upgrade();
        if let Some(hub) = hub {
            hub.feed.push([heartbeat.clone()]).wake();
        }
        self.stir();
    }

    /// Ends the feed, also for later monitors.
    pub(super) fn close(&self) {
        let mut place = self.place();
        place.closed = true;
        if let Some(hub) = place.hub.upgrade() {
            hub.feed.close();
        }
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Place> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Starts to watch: first an event with everything, then what changes.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn watch(&self, surroundings: Arc<dyn Surroundings>) -> Result<(Watching, Bytes), Error> {
        let hub = self.hub(surroundings)?;
        let mut views = hub.view.subscribe();
        tokio::select! {
            shown = views.wait_for(Option::is_some) => drop(shown.map_err(|_| Error::Stopping)?),
            () = self.inner.requests.closed() => return Err(Error::Stopping),
        }
        let (slot, first) = hub.join();
        Ok((Watching { hub, slot }, first))
    }

    /// Whether somebody watches.
    pub fn is_watched(&self) -> bool {
        self.inner.view.monitor.stirred.receiver_count() > 0
    }

    fn hub(&self, surroundings: Arc<dyn Surroundings>) -> Result<Arc<Hub>, Error> {
        let mut place = self.inner.view.monitor.place();
        if place.closed {
            return Err(Error::Stopping);
        }
        if let Some(hub) = place.hub.upgrade() {
            return Ok(hub);
        }
        let gone = CancellationToken::new();
        let hub = Arc::new(Hub {
            feed: Arc::default(),
            view: watch::Sender::default(),
            _last_is_gone: gone.clone().drop_guard(),
        });
        place.hub = Arc::downgrade(&hub);
        tokio::spawn(run(self.clone(), place.hub.clone(), gone, surroundings));
        Ok(hub)
    }
}

impl Hub {
    /// A place in the feed, and everything that came before it.
    fn join(&self) -> (u64, Bytes) {
        let (slot, view) = {
            let view = self.view.borrow();
            (self.feed.end(), view.clone())
        };
        (slot, view.map_or_else(Bytes::new, |view| view.encoded()))
    }

    /// Shows a new view; `anew`: it does not continue the last one.
    fn show(&self, view: MonitorView, anew: bool) {
        let before = self.view.borrow().clone();
        let frame = before.as_ref().filter(|_| !anew).map(|before| {
            let update = change::between(before, &view)?;
            Some(Frame { shows: Some(ANY_TEXT), ..frame::live("update", &update) })
        });
        let hides = before.is_some_and(|before| before.hidden_count != view.hidden_count);
        let mut wake = None;
        self.view.send_modify(|shown| {
            if hides {
                self.feed.forget(ANY_TEXT);
            }
            match frame {
                Some(Some(frame)) => wake = Some(self.feed.push([frame])),
                // Nothing but the time has changed.
                Some(None) => return,
                None => self.feed.outdate(),
            }
            *shown = Some(Arc::new(view));
        });
        wake.into_iter().for_each(crate::fanout::feed::Wake::wake);
    }
}

impl MonitorView {
    fn encoded(&self) -> Bytes {
        self.encoded.get_or_init(|| frame::live("snapshot", &self.snapshot).bytes).clone()
    }
}

impl Watching {
    /// The next events; `None` when the feed ends.
    pub async fn next(&mut self) -> Option<Bytes> {
        match poll_fn(|cx| self.hub.feed.poll_take(&mut self.slot, cx)).await {
            FeedItem::Frames(bytes, _) => Some(bytes),
            FeedItem::Lagged => {
                let (slot, bytes) = self.hub.join();
                self.slot = slot;
                Some(bytes)
            }
            FeedItem::Closed => None,
        }
    }
}

/// Looks whenever something has changed, until nobody watches any more.
async fn run(node: Node, hub: Weak<Hub>, gone: CancellationToken, surroundings: Arc<dyn Surroundings>) {
    let mut applied = node.applied();
    let mut stirred = node.inner.view.monitor.stirred.subscribe();
    let mut fold: Option<Fold> = None;
    let watching = async {
        loop {
            applied.mark_unchanged();
            stirred.mark_unchanged();
            let mut indexed = node.inner.index().applied;
            indexed.mark_unchanged();
            let (view, anew) = view::look(&node, &mut fold, &*surroundings).await;
            let Some(hub) = hub.upgrade() else { return };
            hub.show(view, anew);
            drop(hub);
            tokio::time::sleep(UPDATE_EVERY).await;
            tokio::select! {
                _ = applied.changed() => {}
                _ = stirred.changed() => {}
                // An index that is replaced says nothing more; what replaces it comes with what is applied.
                Ok(()) = indexed.changed() => {}
            }
        }
    };
    tokio::select! {
        () = watching => {}
        () = gone.cancelled() => {}
        () = node.inner.requests.closed() => {}
    }
}
