//! The fold behind the view: where it begins, and how it catches up with the state.
//!
//! Promise: bounded work: of a long log the newest [`FOLDED_MAX`] entries are read, also when it has fallen behind further.

use std::sync::Arc;

use antiphon_schemas::{Entry, Epoch, Seq};
use tracing::debug;

use super::Node;
use crate::{
    node::Error,
    projection::{monitor::MonitorFold, queue::All},
};

/// Entries that are folded when the first monitor comes: some tenths of a second, and hours of a log that people fill.
pub(super) const FOLDED_MAX: u64 = 50_000;
/// Entries read at once.
const PAGE: usize = 2_048;

/// The fold, and its position.
pub(super) struct Fold {
    pub(super) monitor: MonitorFold,
    /// The time of the first entry in it.
    pub(super) since_ms: Option<u64>,
    epoch: Epoch,
    position: Seq,
}

impl Fold {
    /// Whether it can be brought to this position, or has to start over.
    pub(super) fn reaches(&self, epoch: Epoch, position: Seq) -> bool {
        self.epoch == epoch && self.position <= position && position.0 - self.position.0 <= FOLDED_MAX
    }

    /// Starts over for a state at `position`, where these messages are open.
    ///
    /// # Errors
    /// [`Error::Log`].
    pub(super) async fn begin(node: &Node, (epoch, position): (Epoch, Seq), open: &All) -> Result<Fold, Error> {
        let bots = node.policy().bots.iter().map(|bot| bot.name.clone());
        let position_before = Seq(position.0.saturating_sub(FOLDED_MAX));
        let monitor = MonitorFold::new(epoch, bots);
        let mut fold = Fold { monitor, since_ms: None, epoch, position: position_before };
        fold.advance(node, position).await?;
        fold.monitor.take_in(open.iter());
        Ok(fold)
    }

    /// Folds the log up to this position.
    ///
    /// # Errors
    /// [`Error::Log`]; the next call resumes from there.
    pub(super) async fn advance(&mut self, node: &Node, position: Seq) -> Result<(), Error> {
        while self.position < position {
            let page = PAGE.min(usize::try_from(position.0 - self.position.0).unwrap_or(PAGE));
            let entries = node.stored(self.epoch, self.position, page).await?;
            if entries.is_empty() {
                debug!(position = position.0, "the log ends before what was applied");
                return Ok(());
            }
            self.fold(&entries);
            // Others have their turn, however much there is to fold.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn fold(&mut self, entries: &[Arc<Entry>]) {
        for entry in entries {
            self.since_ms.get_or_insert(entry.header.at_ms);
            self.monitor.apply(entry);
            self.position = entry.header.seq;
        }
    }
}
