//! The index of now, how far its readers see, and how it is replaced.
//!
//! Not here: the index itself (`index`), when it is rebuilt (`build`).

use std::sync::PoisonError;

use antiphon_schemas::{Epoch, Seq};
use tokio::sync::watch;
use tracing::error;

use super::{Error, Inner};
use crate::index::{Index, Indexer};

/// An index, and how far readers of it see.
#[derive(Clone)]
pub(super) struct Indexed {
    pub(super) index: Index,
    pub(super) applied: watch::Receiver<Seq>,
}

impl Indexed {
    /// An empty one, until there is a log to index.
    pub(super) fn empty() -> Result<Indexed, Error> {
        let index = Index::open(None, Epoch(0), Seq::ZERO).map_err(index_error)?;
        Ok(Indexed { index, applied: watch::channel(Seq::ZERO).1 })
    }
}

impl Inner {
    /// The index of now.
    pub(super) fn index(&self) -> Indexed {
        self.indexed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Inner {
    pub(super) fn set_index(&self, indexed: Indexed) {
        *self.indexed.write().unwrap_or_else(PoisonError::into_inner) = indexed;
    }
}

/// Ends an indexer, so that its index can be opened again.
pub(super) async fn close_index(indexer: Option<Indexer>) {
    let Some(indexer) = indexer else { return };
    if tokio::task::spawn_blocking(move || indexer.close()).await.is_err() {
        error!("the index did not close cleanly; the next start brings it up to date");
    }
}

pub(super) fn index_error(failure: crate::index::Error) -> Error {
    Error::Index(failure.to_string())
}
