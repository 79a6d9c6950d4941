//! Builds the state from the log: at startup, and again when the store comes back as another one.
//!
//! Promises: the state is the fold of the whole log; other files on disk may be deleted, are checked against
//! the log, and are rebuilt if they do not match.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use antiphon_schemas::{Entry, Event, Seq};
use tracing::{info, warn};

use super::{
    Error, Inner,
    core::{IndexProgress, Rebuilt},
    indexed::{Indexed, close_index, index_error},
    snapshot,
};
use crate::{
    index::{Index, Indexer},
    log::Log,
    projection::{Projections, SnapshotData},
};

/// Entries read at once while folding.
const READ_ENTRIES: usize = 4_096;
/// Long folds say how far they are, this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Folds the log into a new state while everything else continues. Readers see an empty index meanwhile, then the new one.
///
/// # Errors
/// [`Error::Log`] if the log cannot be read, [`Error::Index`] if the folder of the index cannot be written.
pub(super) async fn build(inner: &Inner, old: Option<Indexer>) -> Result<(Rebuilt, Indexer), Error> {
    let (log, data) = (&*inner.log, inner.data.as_deref());
    let epoch = log.info().epoch;
    let kept = match data {
        Some(data) => snapshot::read(data, log).await,
        None => SnapshotData::default(),
    };
    // The index's file can be open once only.
    inner.set_index(Indexed::empty()?);
    close_index(old).await;
    let index = open_index(data, log).await?;
    let indexer = Indexer::start(index.clone()).map_err(index_error)?;
    let from = kept.position.min(index.position());
    let mut projections = Projections::resume(epoch, inner.limits, kept);
    let last = fold(log, &mut projections, &indexer, from).await?;
    let indexed = Indexed { index, applied: indexer.applied() };
    inner.set_index(indexed.clone());
    let lost = log.shared().map(|shared| shared.lost()).unwrap_or_default();
    Ok((Rebuilt { epoch, projections, last, lost, index: Arc::new(indexed) }, indexer))
}

impl IndexProgress for Indexed {
    fn applied(&self) -> Seq {
        *self.applied.borrow()
    }

    fn failed(&self) -> Option<String> {
        self.index.failed().map(ToString::to_string)
    }
}

async fn open_index(data: Option<&Path>, log: &dyn Log) -> Result<Index, Error> {
    let (path, epoch, tail) = (data.map(|data| data.join("index")), log.info().epoch, log.tail());
    let opened = tokio::task::spawn_blocking(move || {
        if let Some(path) = &path {
            std::fs::create_dir_all(path).map_err(|e| Error::Index(e.to_string()))?;
        }
        let file = path.map(|path| path.join("index.redb"));
        Index::open(file.as_deref(), epoch, tail).map_err(index_error)
    });
    let index = opened.await.map_err(|e| Error::Index(e.to_string()))??;
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
