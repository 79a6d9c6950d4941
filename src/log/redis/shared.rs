//! What the nodes of one store have in common, as [`Shared`] names it.

use std::sync::{Arc, atomic::Ordering};

use antiphon_schemas::{Entry, Seq};
use bytes::Bytes;
use tokio::sync::watch;

use super::{RedisLog, keeper, lanes, link::Link};
use crate::log::{Access, Error, Lane, Pending, Resynced, Shared};

impl Shared for RedisLog {
    fn access(&self) -> watch::Receiver<Access> {
        self.inner.access.subscribe()
    }

    fn resync_lanes(&self, at: Seq, lanes: Vec<Lane>) -> Pending<'_, Resynced> {
        Box::pin(async move {
            // What fails from here on is looked at by the next resync.
            let doubtful = self.inner.lanes_doubtful.swap(false, Ordering::Relaxed);
            let (inner, lanes) = (&*self.inner, &lanes);
            let resync = |link: Arc<Link>| async move { lanes::resync(inner, &link, at, lanes.clone()).await };
            let resynced = inner.persist(resync).await;
            if doubtful && !matches!(resynced, Ok(Resynced::InStep | Resynced::Resynced(_))) {
                self.inner.lanes_doubtful.store(true, Ordering::Relaxed);
            }
            resynced
        })
    }

    fn broadcast(&self, update: Bytes) {
        self.inner.live.broadcast(update);
    }

    fn recv(&self) -> Pending<'_, Bytes> {
        Box::pin(async move {
            tokio::select! {
                update = self.inner.live.recv() => Ok(update),
                () = self.inner.closing.cancelled() => Err(Error::Closed),
            }
        })
    }

    fn lost(&self) -> Vec<Arc<Entry>> {
        std::mem::take(&mut self.inner.state().lost)
    }

    fn begin_anew(&self) -> Pending<'_, ()> {
        Box::pin(keeper::begin_anew(&self.inner))
    }
}
