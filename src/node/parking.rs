//! The outbox on its way in and out: posts are parked while the store is away, and drained in order when it is back.
//!
//! Promises: a post is in the log or in the outbox before it is answered; while any post waits there, new ones queue behind
//! it; one that is drained is settled only when the log has it or `decide` has refused it, so a crash in between offers it
//! again, and its id finds what is there.
//! Not here: the outbox's folder (`outbox`), when the store is away (`away`).

use std::{future::Future, pin::Pin, time::Duration};

use antiphon_schemas::{Event, MessageId};
use tokio::time::Instant;
use tracing::{error, warn};

use super::{
    Answer, Command, Condition, Error, Node,
    conductor::{Conductor, Item, To},
};
use crate::{
    decide::{Refusal, post::Post},
    log::{self, SCAN_MAX},
    outbox::{Parked, Settled},
};

/// When a post cannot be brought into the log for a reason that may last, it is offered again after this time.
const DRAIN_AGAIN: Duration = Duration::from_secs(1);
/// When only its facts went stale: as long as an index lags.
const DRAIN_SOON: Duration = Duration::from_millis(10);
/// Own commands decided at once: as many as an append may look through.
pub(super) const OWN_MAX: usize = SCAN_MAX as usize;

/// A write to the outbox under way.
pub(super) struct Parking {
    /// Whom to tell; empty when drained posts are put down as such.
    pub(super) items: Vec<Item>,
    pub(super) done: Pin<Box<dyn Future<Output = Result<Vec<Parked>, log::Error>> + Send>>,
}

/// Posts of the outbox on their way into the log.
#[derive(Default)]
pub(super) struct Draining {
    /// So many have no answer yet.
    left: usize,
    settled: Vec<(MessageId, Settled)>,
    /// Some found no place: try again then.
    again_at: Option<Instant>,
    /// They are being put down as settled.
    settling: bool,
    /// What is settled is to leave the disk at once.
    purge: bool,
}

/// Where a post goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is decided and appended.
    Log,
    /// Onto this node's disk.
    Outbox,
    /// It waits a moment, until the last ones of the outbox are in the log: order is kept, and nobody is sent to the
    /// outbox only because it was not empty yet.
    Behind,
}

impl Conductor {
    /// Where people's posts go now.
    pub(super) fn way(&self) -> Way {
        let Some(outbox) = &self.outbox else { return Way::Log };
        if matches!(self.read().condition, Condition::Refusing { .. }) {
            return Way::Log;
        }
        let pending = outbox.pending();
        let stuck = self.draining.as_ref().is_some_and(|draining| draining.again_at.is_some());
        match pending > 0 || self.is_parking {
            _ if !self.open || self.repair.is_some() => Way::Outbox,
            false => Way::Log,
            true if stuck || pending > OWN_MAX => Way::Outbox,
            true => Way::Behind,
        }
    }

    pub(super) fn replies_to_parked(&self, command: &Command) -> bool {
        let Command::Post(Post { room, reply_to: Some(target), .. }) = command else { return false };
        let parked = self.outbox.as_ref().and_then(|outbox| outbox.get(target));
        parked.is_some_and(|parked| parked.post.room == *room)
    }

    /// Begins to write these posts to the outbox, or to put down what was drained from it.
    pub(super) fn begin_parking(&mut self, items: Vec<Item>) -> Option<Parking> {
        let mut fresh: Vec<Item> = Vec::new();
        for item in items {
            let Command::Post(post) = &item.command else { continue };
            let Some(outbox) = &self.outbox else { continue };
            if let Some(parked) = outbox.get(&post.id) {
                let answer = answer(&parked, post);
                item.answer_with(self, answer);
            } else {
                fresh.push(item);
            }
        }
        if fresh.is_empty() {
            return None;
        }
        let posts = fresh.iter().filter_map(|item| match &item.command {
            Command::Post(post) => Some(Post { fresh: false, ..post.clone() }),
            _ => None,
        });
        let done = Box::pin(self.outbox.as_ref()?.park(posts.collect()));
        self.is_parking = true;
        Some(Parking { items: fresh, done })
    }

    /// Puts down what was drained, once all of it has its answer.
    pub(super) fn begin_settling(&mut self) -> Option<Parking> {
        let draining = self.draining.as_mut().filter(|draining| draining.left == 0 && !draining.settling)?;
        let settled = std::mem::take(&mut draining.settled);
        if settled.is_empty() {
            if draining.again_at.is_none_or(|at| at <= Instant::now()) {
                self.draining = None;
            }
            return None;
        }
        draining.settling = true;
        let (outbox, purge) = (self.outbox.as_ref()?, std::mem::take(&mut draining.purge));
        let done = outbox.settle(settled);
        if purge {
            outbox.purge();
        }
        Some(Parking { items: Vec::new(), done: Box::pin(async move { done.await.map(|()| Vec::new()) }) })
    }

    /// The outbox has written, or not.
    pub(super) fn parked(&mut self, items: Vec<Item>, result: Result<Vec<Parked>, log::Error>) {
        if items.is_empty() {
            if let Err(failure) = &result {
                // They are drained once more and found in the log.
                error!(error = %failure, "the outbox cannot be written");
            }
            let again_at = self.draining.take().and_then(|draining| draining.again_at);
            let again_at = again_at.or(result.is_err().then(|| Instant::now() + DRAIN_AGAIN));
            self.draining = again_at.map(|at| Draining { again_at: Some(at), ..Draining::default() });
        } else {
            self.is_parking = false;
            match result {
                Ok(parked) => {
                    for (item, parked) in items.into_iter().zip(parked) {
                        if let Command::Post(post) = &item.command {
                            let answer = answer(&parked, post);
                            item.answer_with(self, answer);
                        }
                    }
                }
                Err(failure) => {
                    error!(error = %failure, posts = items.len(), "the outbox took nothing");
                    items.into_iter().for_each(|item| item.answer_with(self, Err(Error::Log(failure.clone()))));
                }
            }
        }
        self.show_outbox();
    }

    /// When the node itself has something to do although nobody asks.
    pub(super) fn own_due(&self) -> Option<Instant> {
        let now = Instant::now();
        if self.repair.is_some() {
            return (self.lost_is_due() && self.look_again.is_none()).then_some(now);
        }
        match &self.draining {
            Some(draining) if draining.left > 0 || draining.settling => None,
            Some(draining) if draining.settled.is_empty() => Some(draining.again_at.unwrap_or(now)),
            Some(_) => Some(now),
            None => self.outbox.as_ref().is_some_and(|outbox| outbox.pending() > 0).then_some(now),
        }
    }

    /// Brings what the node itself has to say, when it is its turn: first what was lost, then the outbox.
    pub(super) async fn bring_own(&mut self) {
        if self.repair.is_some() {
            return self.bring_lost().await;
        }
        let Some(outbox) = self.outbox.as_ref().filter(|outbox| outbox.pending() > 0 && self.draining.is_none()) else {
            return;
        };
        let posts = outbox.first(OWN_MAX);
        let node = Node { inner: self.inner.clone() };
        let mut ready = Vec::with_capacity(posts.len());
        for parked in posts {
            match node.facts(&parked.post.needs()).await {
                Ok(facts) => ready.push((parked.post, facts)),
                Err(failure) => {
                    warn!(error = %failure, "the outbox cannot be drained yet");
                    let again_at = Some(Instant::now() + DRAIN_AGAIN);
                    self.draining = Some(Draining { again_at, ..Draining::default() });
                    return;
                }
            }
        }
        self.draining = Some(Draining { left: ready.len(), ..Draining::default() });
        for (post, facts) in ready {
            let id = post.id;
            self.put(Command::Post(post), facts, To::Outbox(id));
        }
    }

    /// What became of a post of the outbox.
    pub(super) fn drained(&mut self, id: MessageId, result: Result<Answer, Error>) {
        let Some(draining) = &mut self.draining else { return };
        draining.left -= 1;
        match result {
            Ok(Answer::Already(entry)) => {
                // It was erased meanwhile: its text is not to stay here either.
                draining.purge |= matches!(entry.event, Event::Erased(_));
                draining.settled.push((id, Settled::Appended));
            }
            Ok(Answer::Entries(_)) => draining.settled.push((id, Settled::Appended)),
            Err(Error::Busy) => draining.again_at = Some(Instant::now() + DRAIN_AGAIN),
            Err(Error::Refused(refusal)) => {
                warn!(message = %id, why = %refusal, "a post that was accepted while the log was away does not fit any more");
                draining.settled.push((id, Settled::Refused(refusal.to_string().into())));
            }
            // Offered again, with the facts of then.
            _ => drop(draining.again_at.get_or_insert(Instant::now() + DRAIN_SOON)),
        }
    }
}

/// What the poster is told of what stands in the outbox under the post's id.
fn answer(parked: &Parked, post: &Post) -> Result<Answer, Error> {
    if parked.is(post) { Ok(Answer::Parked(parked.at_ms)) } else { Err(Refusal::IdTaken(post.id).into()) }
}
