//! This node's folded state, for comparison with a new fold of the log (`replay diff`).
//!
//! Not here: what people see of it (`query`).

use antiphon_schemas::{MessageId, Seq};

use super::{Error, Node, indexed::index_error, snapshot};
use crate::projection::{Limits, SnapshotData, record::Record};

impl Node {
    /// How much the recent view keeps.
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// What a snapshot of now would hold.
    ///
    /// # Errors
    /// [`Error::Log`] while the log has never been reached.
    pub fn kept(&self) -> Result<SnapshotData, Error> {
        let frozen = {
            let state = self.state();
            state.check_built()?;
            state.projections.freeze()
        };
        Ok(frozen.into_data())
    }

    /// What the snapshot on disk holds, if there is one of this epoch.
    pub async fn snapshot(&self) -> Option<SnapshotData> {
        let (data, epoch) = (self.inner.data.clone()?, self.epoch());
        let read = tokio::task::spawn_blocking(move || snapshot::kept(&data, epoch));
        read.await.ok().flatten()
    }

    /// Records of the index, by id, from the first one after `after`; and their position.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn index_records(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<(Seq, Vec<(MessageId, Record)>), Error> {
        let reader = self.inner.index().index.reader();
        Ok((reader.position(), reader.records(after, limit).map_err(index_error)?))
    }
}
