//! Building the state from the log: at the start, and again when the store came back as another one.
//!
//! Promises: the state is the fold of the whole log; what is on disk beside the log may be deleted, is checked against
//! the log, and is built anew when it does not fit.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use antiphon_schemas::{Entry, Epoch, Event, MessageId, Seq, event::release};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    Command, Error, Inner, Writing,
    conductor::{Conductor, To},
    read::index_error,
    snapshot,
};
use crate::{
    decide::{
        Facts,
        work::{End, Held},
    },
    index::{Index, Indexer},
    log::Log,
    projection::{Kept, Projections, queue},
};

/// Entries read at once while folding.
const READ_ENTRIES: usize = 4_096;
/// Long folds say how far they are, this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

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

impl Conductor {
    /// Folds the log into a new state and shows it. Whoever follows a room is given a reset, whoever works on a claim of
    /// before is told to stop.
    ///
    /// # Errors
    /// [`Error::Log`] if the log cannot be read, [`Error::Index`] if its folder cannot be written. Then nothing is shown
    /// until it is built: what was there before is no longer true.
    pub(super) async fn build(&mut self) -> Result<(), Error> {
        let inner = self.inner.clone();
        let (log, data) = (&*inner.log, inner.data.as_deref());
        let epoch = log.info().epoch;
        let kept = match data {
            Some(data) => snapshot::read(data, log).await,
            None => Kept::default(),
        };
        // Nothing is shown that is half of one history and half of another; and the index's file can be open once only.
        inner.state.write().unwrap_or_else(PoisonError::into_inner).built = false;
        for item in &mut self.waiting {
            if matches!(item.answer, To::Caller(_) | To::Outbox(_) | To::Repair(_)) {
                item.facts = Facts::unknown();
            }
        }
        self.close_index().await;
        self.set_index(Indexed::empty()?);
        let index = open_index(data, log).await?;
        let indexer = Indexer::start(index.clone()).map_err(index_error)?;
        let from = kept.position.min(index.position());
        let mut projections = Projections::resume(epoch, inner.limits, kept);
        let last = fold(log, &mut projections, &indexer, from).await?;

        let position = projections.position;
        self.set_index(Indexed { index, applied: indexer.applied() });
        self.indexer = Some(indexer);
        {
            let mut state = inner.state.write().unwrap_or_else(PoisonError::into_inner);
            state.writing = adopted(&projections);
            state.projections = projections;
            state.epoch = epoch;
            state.last = last;
            // Until it is known what the log has lost.
            inner.keys_lost.store(true, Ordering::Release);
            state.built = true;
        }
        inner.applied.send_replace(position);
        inner.feeds.restart();
        inner.workers.restart();
        inner.monitor.stir();
        self.claims.drain().for_each(|(_, over)| over.cancel());
        self.timers = super::timer::Timers::default();
        self.live.forget();
        self.begin();
        Ok(())
    }

    fn set_index(&self, indexed: Indexed) {
        *self.inner.indexed.write().unwrap_or_else(PoisonError::into_inner) = indexed;
    }

    /// Arms the timers of what is open, and gives back what this node's earlier processes held, or this one before.
    fn begin(&mut self) {
        let inner = self.inner.clone();
        let open: Vec<_> = self.read().projections.queue.iter().map(|(id, open)| (*id, open.clone())).collect();
        let own = format!("{}/", inner.name);
        // A log of one process has the claims of this folder only, under whatever name.
        let ours = |claim: &queue::Claim| {
            claim.incarnation.is_some() && (inner.log.shared().is_none() || claim.worker.starts_with(&own))
        };
        for (message_id, open) in open {
            self.arm(message_id);
            if let queue::State::Claimed(claim) = &open.state
                && ours(claim)
            {
                let held = Held { message_id, fence: claim.fence };
                self.wish(Command::End(held, End::Released(release::RESTARTED)));
            }
        }
    }
}

/// The replies that claims of before the start are writing. What they wrote is not known here: whoever writes is asked
/// for it from index 0.
fn adopted(projections: &Projections) -> HashMap<MessageId, Writing> {
    let claims = projections.queue.iter().filter_map(|(id, open)| match &open.state {
        queue::State::Claimed(claim) => Some((id, open, claim)),
        _ => None,
    });
    claims.map(|(id, open, claim)| (*id, Writing::new(open, claim))).collect()
}

async fn open_index(data: Option<&Path>, log: &dyn Log) -> Result<Index, Error> {
    let path = data.map(|data| data.join("index"));
    if let Some(path) = &path {
        std::fs::create_dir_all(path).map_err(|e| Error::Index(e.to_string()))?;
    }
    let file = path.map(|path| path.join("index.redb"));
    let index = Index::open(file.as_deref(), log.info().epoch, log.tail()).map_err(index_error)?;
    let position = index.position();
    if position == Seq::ZERO {
        return Ok(index);
    }
    match log.read(Seq(position.0 - 1), 1).await?.first() {
        Some(entry) => index.checked(entry).map_err(index_error),
        None => Ok(index),
    }
}

/// Folds the log after `from` into projections and index; each passes over what it has.
async fn fold(
    log: &dyn Log,
    projections: &mut Projections,
    indexer: &Indexer,
    from: Seq,
) -> Result<Option<Arc<Entry>>, Error> {
    let (started, mut said, tail) = (Instant::now(), Instant::now(), log.tail());
    let (mut position, mut last) = (from, None);
    let mut entries = log.read(position, READ_ENTRIES).await?;
    while let Some(newest) = entries.last().cloned() {
        position = newest.header.seq;
        last = Some(newest);
        // The next page is read while this one is folded.
        let (next, ()) = tokio::join!(log.read(position, READ_ENTRIES), async {
            for entry in &entries {
                projections.apply(entry);
                if let Event::MessageErased(e) = &entry.event {
                    log.forget(&e.positions);
                }
            }
            projections.newest.forget(*indexer.applied().borrow());
            indexer.apply(std::mem::take(&mut entries)).await;
        });
        entries = next?;
        if said.elapsed() > PROGRESS_EVERY {
            said = Instant::now();
            info!(position = position.0, tail = tail.0, "folding the log");
        }
    }
    // Nothing may be looked up in an index that has not reached what the projections do not cover.
    let mut applied = indexer.applied();
    if applied.wait_for(|at| *at >= position).await.is_err() {
        warn!("the index stopped while it was being built; see the error above");
    }
    if last.is_none() && tail > Seq::ZERO {
        last = log.read(Seq(tail.0 - 1), 1).await?.pop();
    }
    let ms = started.elapsed().as_millis() as u64;
    info!(entries = position.0 - from.0, position = position.0, ms, "the log is folded");
    Ok(last)
}
