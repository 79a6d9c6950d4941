//! What a log has beyond [`Log`](super::Log) where several nodes use the same one: it can be unavailable, it keeps the lanes, and
//! it carries live updates between the nodes.
//!
//! Not here: what a node does while the log is unavailable (`node`).

use std::sync::Arc;

use antiphon_schemas::{Entry, Epoch, Seq};
use bytes::Bytes;
use tokio::sync::watch;

use super::{Lane, Pending, Resynced};

/// Whether a shared log can be used at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// It takes appends. A new epoch here means: the end of what was read before may be gone ([`Shared::lost`]); read
    /// it all again.
    Open {
        /// The epoch of its entries.
        epoch: Epoch,
    },
    /// It cannot be reached or takes nothing. It comes back by itself.
    Away {
        /// What is wrong, as a sentence for the operator.
        why: Arc<str>,
    },
    /// It can be reached and is empty, though this process knows a history of it. A person says which is right:
    /// somebody puts the data back and it opens by itself, or [`Shared::begin_anew`].
    Empty,
}

/// Bytes of one live update; a caller with more sends several. The longest reply fits twice, and a store that is slow takes it
/// within a second.
pub const UPDATE_BYTES_MAX: usize = 1 << 20;

/// See the module header. While the log is not open, every call answers [`Error::Away`](super::Error::Away) at once or soon.
pub trait Shared: Send + Sync {
    /// Follows whether the log can be used.
    fn access(&self) -> watch::Receiver<Access>;

    /// Compares the lanes with what the queue projection has at position `at`, and rebuilds those that differ; writes
    /// nothing if the log does not end at `at`.
    ///
    /// # Errors
    /// [`Error::Away`](super::Error::Away).
    fn resync_lanes(&self, at: Seq, lanes: Vec<Lane>) -> Pending<'_, Resynced>;

    /// Sends a live update to the other nodes: it arrives at most once and is never the truth. Does not block; what cannot
    /// be sent in time is dropped, and so is an update of more than [`UPDATE_BYTES_MAX`].
    fn broadcast(&self, update: Bytes);

    /// The next live update of another node, in the order in which that node sent them. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Closed`](super::Error::Closed) once the log is closed.
    fn recv(&self) -> Pending<'_, Bytes>;

    /// Entries of the epoch before that this process has seen and that the log no longer has, in order; given out once. At
    /// most the newest 100,000.
    fn lost(&self) -> Vec<Arc<Entry>>;

    /// Takes an [`Access::Empty`] store as a new log, because a person says so. Everything seen before counts as lost.
    ///
    /// # Errors
    /// [`Error::Invalid`](super::Error::Invalid) if it is not empty (any more).
    fn begin_anew(&self) -> Pending<'_, ()>;
}
