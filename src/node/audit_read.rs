//! What an auditor needs of a node: its history as stored, entry by entry, and a place for a checkpoint in it.
//!
//! Promises: entries that are given out are of the epoch that was asked for, durable and applied; nothing here waits in the way
//! of an append.
//! Not here: what is made of them (`audit`).

use std::sync::Arc;

use antiphon_schemas::{Entry, Epoch, Seq, event::LogCheckpoint};
use tokio::sync::{oneshot, watch};

use super::{Answer, Command, Error, Node, Request};
use crate::{
    decide::Prefetched,
    log::{self, Access},
};

impl Node {
    /// Epoch and last position of what it shows; `None` until it was built.
    pub fn built(&self) -> Option<(Epoch, Seq)> {
        let state = self.state();
        state.built.then_some((state.epoch, state.projections.position))
    }

    /// Changes whenever something is applied, or the state is rebuilt.
    pub fn applied(&self) -> watch::Receiver<Seq> {
        self.inner.view.applied.subscribe()
    }

    /// The entries after a position, in order: at least one if there is one, at most `entries_max`, bounded as
    /// [`Log::read`](log::Log::read). Empty at the end of what is applied.
    ///
    /// # Errors
    /// [`Error::Log`]: it cannot be read, or is not of this epoch now; see [`Node::built`].
    pub async fn stored(&self, epoch: Epoch, after: Seq, entries_max: usize) -> Result<Vec<Arc<Entry>>, Error> {
        let position = self.stored_until(epoch)?;
        let mut entries = self.inner.log.read(after, entries_max).await?;
        // If a store came back as another one meanwhile, nobody knows of which they are.
        self.stored_until(epoch)?;
        entries.retain(|entry| entry.header.seq <= position);
        Ok(entries)
    }

    /// Writes a checkpoint into the log if that is still of this epoch, and says whether it did.
    ///
    /// # Errors
    /// [`Error::Log`], [`Error::Stopping`]: whether it was written shows in the log. It is not written later.
    pub async fn note_checkpoint(&self, epoch: Epoch, checkpoint: LogCheckpoint) -> Result<bool, Error> {
        let (answer, decided) = oneshot::channel();
        let command = Command::Checkpoint(checkpoint);
        self.send(Request::Command { command, facts: Prefetched::none(), epoch, answer }).await?;
        let decided = decided.await.map_err(|_| Error::Stopping)??;
        Ok(matches!(decided.answer, Answer::Entries(_)))
    }

    /// The last position that [`Node::stored`] gives out.
    ///
    /// # Errors
    /// [`Error::Log`]: the log is not open, or not of this epoch now.
    pub fn stored_until(&self, epoch: Epoch) -> Result<Seq, Error> {
        let shared = self.inner.log.shared();
        let is_open = shared.is_none_or(|shared| *shared.access().borrow() == Access::Open { epoch });
        match self.built() {
            Some((shown, position)) if is_open && shown == epoch => Ok(position),
            _ => Err(Error::Log(log::Error::Away("it is not open, or not what it was".into()))),
        }
    }
}
