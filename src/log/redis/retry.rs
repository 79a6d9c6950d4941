//! Once more on the next session, where a connection ended under a request and the store is there.
//!
//! ```text
//! append ──▶ session 1 ──✂   was it written?   session 2 has begun: session 1 can write nothing any more,
//!                                              and everything that it wrote has been read
//!        ──▶ what is not in the log is asked for again on session 2
//! ```
//!
//! Promises: what was written is found by its request id and body, never appended a second time; in another epoch nothing
//! is tried again.
//! Not here: whether a session is lost (`link`), and how long the next one may take (`keeper`).

use std::{collections::VecDeque, future::Future, sync::Arc};

use antiphon_schemas::{Entry, Seq};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{Inner, link::Link};
use crate::log::{Access, Append, Draft, Error, Verdict};

/// A session that has something to finish before the next one begins.
pub(super) struct Entered {
    pub(super) link: Arc<Link>,
    _under_way: TaskTrackerToken,
}

impl Entered {
    fn into(link: Arc<Link>) -> Entered {
        Entered { _under_way: link.tasks.token(), link }
    }
}

impl Inner {
    /// The session, or why there is none; where one is lost, the next.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Closed`].
    pub(super) async fn session(&self) -> Result<Arc<Link>, Error> {
        let mut access = self.access.subscribe();
        loop {
            let opened = self.opened.notified();
            if self.closing.is_cancelled() {
                return Err(Error::Closed);
            }
            if let Some(link) = self.link().filter(|link| !link.is_over()) {
                return Ok(link);
            }
            match &*access.borrow_and_update() {
                Access::Away { why } => return Err(Error::Away(why.clone())),
                Access::Empty => {
                    let why = "the store is empty; put the data back, or run `antiphon accept-empty-store`";
                    return Err(Error::Away(why.into()));
                }
                Access::Open { .. } => {}
            }
            tokio::select! {
                () = opened => {}
                _ = access.changed() => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// The session, if there is one at this moment: what enters it now is finished before the log closes.
    pub(super) fn enter_now(&self) -> Option<Entered> {
        let link = self.link().filter(|link| !link.is_over() && !self.closing.is_cancelled());
        link.map(Entered::into)
    }

    /// As [`Inner::session`], with something to finish; `entered` as long as it lasts.
    pub(super) async fn enter(&self, entered: &mut Option<Entered>) -> Result<Arc<Link>, Error> {
        if let Some(entered) = entered.as_ref().filter(|entered| !entered.link.is_over()) {
            return Ok(entered.link.clone());
        }
        // The next one does not begin before this is given back.
        *entered = None;
        Ok(entered.insert(Entered::into(self.session().await?)).link.clone())
    }

    /// Does something that may be done twice, again where the session is lost meanwhile.
    pub(super) async fn persist<T, F>(&self, work: impl Fn(Arc<Link>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        loop {
            let link = self.session().await?;
            match work(link.clone()).await {
                Err(Error::Away(_)) if link.is_lost() => {}
                done => return done,
            }
        }
    }

    /// The entries after `after`, on a session that has begun after they were written. `None`: more than are kept.
    pub(super) fn written_after(&self, after: Seq) -> Option<Vec<Arc<Entry>>> {
        let tail = self.cache.tail();
        let count = usize::try_from(tail.0.saturating_sub(after.0)).ok()?;
        let entries = self.cache.up_to(tail, count);
        (entries.len() == count).then_some(entries)
    }
}

/// Which of a call's appends these entries are; `None` for those that were not written.
pub(super) fn found(batch: &[Append], entries: Vec<Arc<Entry>>) -> Vec<Option<Verdict>> {
    let mut rest = VecDeque::from(entries);
    let of = |append: &Append, entry: &Entry, draft: &Draft| {
        entry.header.request == append.request && entry.header.room == draft.room && entry.body == draft.body
    };
    let mut verdicts = Vec::with_capacity(batch.len());
    for append in batch {
        // Written in the order of the call, each whole and without a gap.
        let starts = (0..rest.len()).find(|at| {
            append.drafts.iter().enumerate().all(|(n, draft)| rest.get(at + n).is_some_and(|e| of(append, e, draft)))
        });
        verdicts.push(starts.map(|at| {
            rest.drain(..at);
            Verdict::Appended(rest.drain(..append.drafts.len()).collect())
        }));
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::conformance::{append, post};

    fn entries_of(appends: &[&Append], from: u64) -> Vec<Arc<Entry>> {
        let drafts = appends.iter().flat_map(|append| append.drafts.iter().map(|draft| (append.request, draft)));
        let entry = |(seq, (request, draft)): (u64, (_, &Draft))| {
            let header = antiphon_schemas::Header {
                seq: Seq(seq),
                at_ms: 1,
                request,
                kind: draft.event.kind().into(),
                room: draft.room.clone(),
                subjects: draft.event.subjects(),
                version: antiphon_schemas::entry::VERSION,
            };
            Arc::new(Entry { header, body: draft.body.clone(), event: draft.event.clone() })
        };
        (from..).zip(drafts).map(entry).collect()
    }

    #[test]
    fn what_was_written_is_found_by_request_and_body_among_the_entries_of_others() {
        let own = [1u128, 2, 3].map(|n| append(0, n, &[n], vec![post(n, "mine"), post(n + 10, "and more")]));
        let other = append(0, 9, &[9], vec![post(9, "theirs")]);
        let same_request = append(0, 2, &[8], vec![post(8, "of an earlier call")]);
        let entries = entries_of(&[&other, &same_request, &own[0], &own[2], &other], 5);
        let found = found(&own, entries);
        let seqs = found.iter().map(|verdict| match verdict {
            Some(Verdict::Appended(entries)) => entries.iter().map(|entry| entry.header.seq.0).collect(),
            _ => Vec::new(),
        });
        assert_eq!(seqs.collect::<Vec<_>>(), [vec![7, 8], vec![], vec![9, 10]]);
    }
}
