//! The task that changes an outbox: one call after another, each on the disk before it is in the pending set.
//!
//! Promises: calls are done in the order in which they were made, whether or not somebody still waits for them; after a
//! failure that leaves open what is on the disk nothing is acknowledged until the process restarts.

use std::{collections::HashSet, sync::Arc};

use antiphon_schemas::{Entry, MessageId, RequestId, Seq};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    CALL_MAX, Parked, Settled, Shared,
    folder::{Folder, NotCompacted},
    pending_set::bytes_of,
    record::Record,
};
use crate::{
    decide::post::Post,
    log::{Append, DRAFTS_MAX, Draft, Error, Log, Verdict},
};

/// Where the answer to a call goes. A caller that went away needs none, so a failed send is no error.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What may be asked of the task.
#[derive(Debug)]
pub(super) enum Call {
    Park(Vec<Post>, Answer<Vec<Parked>>),
    Settle(Vec<(MessageId, Settled)>, Answer<()>),
    Purge,
    Close(Answer<()>),
}

/// See the module header.
pub(super) struct Worker {
    shared: Arc<Shared>,
    folder: Folder,
    /// Nobody knows what is on the disk: the answer to everything that comes later.
    broken: Option<Error>,
    /// After a failed compaction: not again before this many dead bytes.
    compact_again_at: u64,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, folder: Folder) -> Worker {
        Worker { shared, folder, broken: None, compact_again_at: 0 }
    }

    /// Works until it is closed or the last handle is gone.
    pub(super) async fn run(mut self, mut calls: mpsc::UnboundedReceiver<Call>) {
        while let Some(call) = calls.recv().await {
            match call {
                Call::Park(posts, answer) => drop(answer.send(self.park(posts).await)),
                Call::Settle(ends, answer) => {
                    drop(answer.send(self.settle(ends).await));
                    self.compact_if_large().await;
                }
                Call::Purge => {
                    if self.shared.pending_set().dead_bytes() > 0 {
                        self.compact().await;
                    }
                }
                Call::Close(answer) => {
                    calls.close();
                    let closed = self.folder.log.close().await;
                    // Release the lock before answering: the caller may open the folder at once.
                    drop(self);
                    drop(answer.send(closed));
                    return;
                }
            }
        }
    }

    async fn park(&mut self, posts: Vec<Post>) -> Result<Vec<Parked>, Error> {
        let (ids, records) = {
            let pending_set = self.shared.pending_set();
            let mut new = HashSet::new();
            let ids: Vec<_> = posts.iter().map(|post| post.id).collect();
            let unknown = posts.into_iter().filter(|post| pending_set.get(&post.id).is_none() && new.insert(post.id));
            (ids, unknown.map(Record::Parked).collect::<Vec<_>>())
        };
        let drafts = drafts(&records)?;
        let counts = self.shared.pending_set().counts();
        let (settings, parked) = (&self.shared.settings, counts.pending + counts.refused);
        let bytes: u64 = drafts.iter().map(|draft| bytes_of(draft.body.len())).sum();
        if parked + drafts.len() > settings.parked_max || counts.bytes + bytes > settings.parked_bytes_max {
            return Err(Error::Full(format!("{parked} posts ({} bytes) wait on this node's disk", counts.bytes)));
        }
        self.append(drafts).await?;
        let pending_set = self.shared.pending_set();
        Ok(ids.iter().map(|id| pending_set.get(id).expect("it was pending, or is now").clone()).collect())
    }

    async fn settle(&mut self, ends: Vec<(MessageId, Settled)>) -> Result<(), Error> {
        let records: Vec<_> = {
            let pending_set = self.shared.pending_set();
            let mut settled = HashSet::new();
            let pending = ends.into_iter().filter(|(id, _)| pending_set.get(id).is_some() && settled.insert(*id));
            pending.map(|(id, how)| Record::Settled(id, how)).collect()
        };
        self.append(drafts(&records)?).await
    }

    /// Puts entries on the disk, all or none, and then into the pending set.
    async fn append(&mut self, drafts: Vec<Draft>) -> Result<(), Error> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        if drafts.is_empty() {
            return Ok(());
        }
        let mut batch = Vec::with_capacity(drafts.len().div_ceil(DRAFTS_MAX));
        let mut drafts = drafts.into_iter().peekable();
        while drafts.peek().is_some() {
            batch.push(Append {
                // Nobody else writes here, so there is nothing to look for.
                after: Seq::ZERO,
                request: RequestId(Uuid::new_v4()),
                subjects: Vec::new(),
                drafts: drafts.by_ref().take(DRAFTS_MAX).collect(),
                moves: Vec::new(),
            });
        }
        let verdicts = self.folder.log.append(batch).await?;
        let entries: Vec<Arc<Entry>> = verdicts
            .into_iter()
            .flat_map(|verdict| match verdict {
                Verdict::Appended(entries) => entries,
                other => unreachable!("an append without subjects after 0: {other:?}"),
            })
            .collect();
        let mut pending_set = self.shared.pending_set();
        entries.iter().for_each(|entry| pending_set.apply(entry).expect("what we wrote can be read"));
        Ok(())
    }

    /// At open, when nothing is pending, whatever is settled goes.
    pub(super) async fn compact_at_open(&mut self) {
        let (pending, dead) = {
            let pending_set = self.shared.pending_set();
            (pending_set.pending(), pending_set.dead_bytes())
        };
        if pending == 0 && dead > 0 {
            self.compact().await;
        } else {
            self.compact_if_large().await;
        }
    }

    async fn compact_if_large(&mut self) {
        let (live, dead) = {
            let pending_set = self.shared.pending_set();
            (pending_set.counts().bytes, pending_set.dead_bytes())
        };
        // So a copy never costs more than what was written since the last one.
        if dead > self.shared.settings.settled_bytes_max.max(live).max(self.compact_again_at) {
            self.compact().await;
        }
    }

    async fn compact(&mut self) {
        if self.broken.is_some() {
            return;
        }
        let pending_set = self.shared.pending_set().clone();
        match self.folder.compact(&pending_set).await {
            Ok(compacted) => {
                self.compact_again_at = 0;
                *self.shared.pending_set() = compacted;
            }
            Err(NotCompacted::Later(why)) => {
                tracing::warn!(%why, "the outbox could not be compacted; this is retried later");
                self.compact_again_at = pending_set.dead_bytes() + self.shared.settings.settled_bytes_max;
            }
            Err(NotCompacted::Broken(error)) => {
                tracing::error!(%error, "the outbox accepts no more posts until a restart");
                self.broken = Some(Error::Poisoned(error.to_string()));
            }
        }
    }
}

fn drafts(records: &[Record]) -> Result<Vec<Draft>, Error> {
    if records.len() > CALL_MAX {
        return Err(Error::Invalid(format!("{} posts in one call; {CALL_MAX} are allowed", records.len())));
    }
    records.iter().map(Record::draft).collect()
}
