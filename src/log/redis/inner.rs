//! What the tasks of a log share: its session while there is one, and what is known of the store.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64},
};

use antiphon_schemas::{Entry, Epoch, Seq};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Stamp,
    address::Address,
    cache::{self, Cache},
    facts::{Finding, Level},
    keys::Keys,
    link::Link,
    live::Live,
    paging::PageSize,
    time::StoreTime,
};
use crate::log::Access;

/// What the tasks of a log share.
pub(super) struct Inner {
    pub(super) address: Address,
    pub(super) node: Arc<str>,
    pub(super) stamp: Stamp,
    pub(super) known: Option<(Epoch, Seq, [u8; 32])>,
    pub(super) keys: Keys,
    pub(super) cache: Cache,
    pub(super) live: Live,
    pub(super) access: watch::Sender<Access>,
    /// The first position that the store has, as far as is known.
    pub(super) base: AtomicU64,
    /// A lane command failed: nothing is taken from a lane until they are resynced.
    pub(super) lanes_doubtful: AtomicBool,
    /// The number of this node's last canary.
    pub(super) canary: AtomicU64,
    /// What one answer with entries may have.
    pub(super) page: PageSize,
    pub(super) closing: CancellationToken,
    /// Wakes the keeper before its pause is over.
    pub(super) hurry: Notify,
    /// Wakes those who wait for a session.
    pub(super) opened: Notify,
    /// Held while this node erases, with what it signs its copies of the log with.
    pub(super) erasing: tokio::sync::Mutex<Uuid>,
    // A std mutex: held to look or set, never across an await.
    pub(super) state: Mutex<State>,
    pub(super) runtime: Handle,
}

#[derive(Default)]
pub(super) struct State {
    /// While open.
    pub(super) link: Option<Arc<Link>>,
    /// Of the last session that was open.
    pub(super) epoch: Option<Epoch>,
    /// Of what is in the cache; earlier than `epoch` by the last steps of a beginning.
    pub(super) cached: Option<Epoch>,
    pub(super) durability: String,
    /// The store's clock, once a session has begun.
    pub(super) time: Option<StoreTime>,
    pub(super) lost: Vec<Arc<Entry>>,
    /// What was said of the server last, so that it is said once.
    pub(super) findings: Vec<Finding>,
}

impl Inner {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, while the log is open.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.state().link.clone()
    }

    /// The epoch of what is in the cache, once it was compared with a store.
    pub(super) fn cached(&self) -> Option<Epoch> {
        self.state().cached
    }

    /// Epoch and last position of the history that this node knows, if it knows one.
    pub(super) fn history(&self) -> Option<(Epoch, Seq)> {
        let history = match self.cached() {
            Some(epoch) => Some((epoch, self.cache.tail())),
            None => self.known.map(|(epoch, seq, _)| (epoch, seq)),
        };
        history.filter(|(_, seq)| *seq > Seq::ZERO)
    }

    /// Says how the log is, if that is news.
    pub(super) fn publish(&self, access: Access) {
        self.access.send_if_modified(|last| {
            let news = *last != access;
            if news {
                match &access {
                    Access::Open { epoch } => tracing::info!(%epoch, tail = self.cache.tail().0, "the log is open"),
                    Access::Away { why } if !self.closing.is_cancelled() => tracing::warn!("the log is unavailable: {why}"),
                    Access::Away { .. } => {}
                    Access::Empty => tracing::error!(
                        "the store is empty, but this node knows a history of the log; put the data back, or run `antiphon accept-empty-store`"
                    ),
                }
                *last = access;
            }
            news
        });
    }

    pub(super) fn open(&self, link: Arc<Link>, durability: String, time: StoreTime) {
        let epoch = link.epoch;
        let mut state = self.state();
        state.epoch = Some(epoch);
        state.durability = durability;
        state.time = Some(time);
        state.link = Some(link);
        // Under the lock: nobody can use the session, and so end it, before it is said to be open.
        self.publish(Access::Open { epoch });
        drop(state);
        self.opened.notify_waiters();
    }

    /// Tells the operator what the server says of itself, if that is news.
    pub(super) fn tell(&self, findings: Vec<Finding>) {
        let before = std::mem::replace(&mut self.state().findings, findings.clone());
        for finding in findings.iter().filter(|finding| before.iter().all(|before| before.code != finding.code)) {
            match finding.level {
                Level::Note => tracing::info!(code = finding.code, "{finding}"),
                Level::Warn | Level::Refuse => tracing::warn!(code = finding.code, "{finding}"),
            }
        }
    }

    pub(super) fn shut(&self) {
        self.state().link = None;
    }

    pub(super) fn keep_lost(&self, entries: Vec<Arc<Entry>>) {
        let lost = &mut self.state().lost;
        lost.extend(entries);
        let too_many = lost.len().saturating_sub(cache::ENTRIES_MAX);
        lost.drain(..too_many);
    }
}
