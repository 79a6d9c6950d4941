//! The outbox on its way in and out: posts are parked while the store is away, and drained in order when it is back.
//!
//! Promises: a post is in the log or in the outbox before it is answered; while any post waits there, new ones queue behind
//! it; one that is drained is settled only when the log has it or `decide` has refused it, so a crash in between offers it
//! again, and its id finds what is there. If the outbox's disk fails, what it holds still goes into the log, and new posts
//! go there directly.
//! Not here: the outbox's folder (`outbox`), when the store is away (`store`).

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use antiphon_schemas::{Event, MessageId};
use tracing::{error, warn};

use super::{super::Error, Answer, Answers, Command, Item};
use crate::{
    decide::{Refusal, post::Post},
    log::{self, SCAN_MAX},
    outbox::{Counts, Outbox, Parked, Settled},
};

/// When a post cannot be brought into the log for a reason that may last, it is offered again after this time.
const AGAIN: Duration = Duration::from_secs(1);
/// When only its facts went stale: as long as an index lags.
const SOON: Duration = Duration::from_millis(10);
/// The node's own commands decided at once: as many as an append may look through.
pub(crate) const OWN_MAX: usize = SCAN_MAX as usize;

/// What the core sees of an outbox.
pub(crate) trait Pending: Send + Sync {
    fn counts(&self) -> Counts;
    fn get(&self, id: &MessageId) -> Option<Parked>;
    fn first(&self, n: usize) -> Vec<Parked>;
}

impl Pending for Outbox {
    fn counts(&self) -> Counts {
        Outbox::counts(self)
    }

    fn get(&self, id: &MessageId) -> Option<Parked> {
        Outbox::get(self, id)
    }

    fn first(&self, n: usize) -> Vec<Parked> {
        Outbox::first(self, n)
    }
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

/// What is to be done next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Take these out of the outbox; with `purge` off the disk, too.
    Settle { ends: Vec<(MessageId, Settled)>, purge: bool },
    /// Offer these to the log.
    Offer(Vec<Post>),
}

/// See the module header.
#[derive(Default)]
pub(super) struct Drain {
    outbox: Option<Arc<dyn Pending>>,
    writing: Option<Writing>,
    round: Option<Round>,
    /// The disk failed: nothing more is written there.
    broken: bool,
    /// Drained, but not settled since the disk failed.
    landed: HashSet<MessageId>,
}

/// A write to the outbox under way.
enum Writing {
    Parking(Vec<Item>),
    Settling,
}

/// Posts of the outbox on their way into the log.
#[derive(Default)]
struct Round {
    /// How many have no answer yet.
    left: usize,
    settled: Vec<(MessageId, Settled)>,
    /// Some found no place: try again then.
    again_at: Option<Instant>,
    /// What is settled is to leave the disk at once.
    purge: bool,
}

impl Drain {
    pub(super) fn new(outbox: Option<Arc<dyn Pending>>) -> Drain {
        Drain { outbox, ..Drain::default() }
    }

    pub(super) fn has_outbox(&self) -> bool {
        self.outbox.is_some()
    }

    pub(super) fn counts(&self) -> Counts {
        self.outbox.as_ref().map(|outbox| outbox.counts()).unwrap_or_default()
    }

    /// Whether posts are on their way, so that they are decided with patience.
    pub(super) fn is_draining(&self) -> bool {
        self.round.is_some()
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Where people's posts go now.
    pub(super) fn way(&self, open: bool, repairing: bool) -> Way {
        if self.outbox.is_none() || self.broken {
            return Way::Log;
        }
        let pending = self.counts().pending;
        let stuck = self.round.as_ref().is_some_and(|round| round.again_at.is_some());
        match pending > 0 || matches!(self.writing, Some(Writing::Parking(_))) {
            _ if !open || repairing => Way::Outbox,
            false => Way::Log,
            true if stuck || pending > OWN_MAX => Way::Outbox,
            true => Way::Behind,
        }
    }

    /// Whether a post replies to one that is only in the outbox.
    pub(super) fn replies_to_parked(&self, command: &Command) -> bool {
        let Command::Post(Post { room, reply_to: Some(target), .. }) = command else { return false };
        let parked = self.outbox.as_ref().and_then(|outbox| outbox.get(target));
        parked.is_some_and(|parked| parked.post.room == *room)
    }

    /// Begins to write these posts to the outbox: what to write, and answers to those that are there already.
    pub(super) fn park(&mut self, items: Vec<Item>) -> (Vec<Post>, Answers) {
        let (mut posts, mut fresh, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for item in items {
            let (Command::Post(post), Some(outbox)) = (&item.command, &self.outbox) else { continue };
            match outbox.get(&post.id) {
                Some(parked) => {
                    let answer = answer(&parked, post);
                    answers.push((item, answer));
                }
                None => {
                    posts.push(Post { fresh: false, ..post.clone() });
                    fresh.push(item);
                }
            }
        }
        if !fresh.is_empty() {
            self.writing = Some(Writing::Parking(fresh));
        }
        (posts, answers)
    }

    /// The outbox has written posts, or not.
    pub(super) fn parked(&mut self, result: Result<Vec<Parked>, log::Error>) -> Answers {
        let Some(Writing::Parking(items)) = self.writing.take() else { return Vec::new() };
        match result {
            Ok(parked) => {
                let answered = items.into_iter().zip(parked).map(|(item, parked)| {
                    let answer = match &item.command {
                        Command::Post(post) => answer(&parked, post),
                        _ => Ok(Answer::Stale),
                    };
                    (item, answer)
                });
                answered.collect()
            }
            Err(failure) => {
                error!(error = %failure, posts = items.len(), "the outbox took nothing");
                self.breaks(&failure);
                items.into_iter().map(|item| (item, Err(Error::Log(failure.clone())))).collect()
            }
        }
    }

    /// The outbox has put down what was drained, or not.
    pub(super) fn settled(&mut self, result: Result<(), log::Error>, now: Instant) {
        self.writing = None;
        let mut again_at = self.round.take().and_then(|round| round.again_at);
        if let Err(failure) = result {
            // They are drained once more and found in the log.
            error!(error = %failure, "the outbox cannot be written");
            self.breaks(&failure);
            again_at = again_at.or(Some(now + AGAIN));
        }
        self.round = again_at.map(|at| Round { again_at: Some(at), ..Round::default() });
    }

    fn breaks(&mut self, failure: &log::Error) {
        if !failure.retryable() && !self.broken {
            self.broken = true;
            error!(
                error = %failure,
                "the outbox's disk failed: posts go only to the log, and are rejected while it is unavailable; repair the disk and restart"
            );
        }
    }

    /// What to do next, if anything. `may_offer`: the log takes what is offered.
    pub(super) fn step(&mut self, now: Instant, may_offer: bool) -> Option<Step> {
        if self.writing.is_some() {
            return None;
        }
        if let Some(round) = self.round.as_mut().filter(|round| round.left == 0) {
            let (ends, purge) = (std::mem::take(&mut round.settled), std::mem::take(&mut round.purge));
            if !ends.is_empty() && self.broken {
                self.landed.extend(ends.into_iter().map(|(id, _)| id));
            } else if !ends.is_empty() {
                self.writing = Some(Writing::Settling);
                return Some(Step::Settle { ends, purge });
            }
            if self.round.as_ref().is_some_and(|round| round.again_at.is_none_or(|at| at <= now)) {
                self.round = None;
            }
        }
        if !may_offer || self.round.is_some() {
            return None;
        }
        let outbox = self.outbox.as_ref()?;
        let posts = outbox.first(OWN_MAX + self.landed.len()).into_iter().map(|parked| parked.post);
        let posts: Vec<_> = posts.filter(|post| !self.landed.contains(&post.id)).take(OWN_MAX).collect();
        if posts.is_empty() {
            return None;
        }
        self.round = Some(Round { left: posts.len(), ..Round::default() });
        Some(Step::Offer(posts))
    }

    /// What was to be offered could not be looked up.
    pub(super) fn not_offered(&mut self, now: Instant) {
        self.round = Some(Round { again_at: Some(now + AGAIN), ..Round::default() });
    }

    /// What became of a post of the outbox.
    pub(super) fn done(&mut self, id: MessageId, result: Result<Answer, Error>, now: Instant) {
        let Some(round) = &mut self.round else { return };
        round.left = round.left.saturating_sub(1);
        match result {
            Ok(Answer::Already(entry)) => {
                // It was erased meanwhile: its text is not to stay here either.
                round.purge |= matches!(entry.event, Event::Erased(_));
                round.settled.push((id, Settled::Appended));
            }
            Ok(Answer::Entries(_)) => round.settled.push((id, Settled::Appended)),
            Err(Error::Busy) => round.again_at = Some(now + AGAIN),
            Err(Error::Refused(refusal)) => {
                warn!(message = %id, why = %refusal, "a post that was accepted while the log was away does not fit any more");
                round.settled.push((id, Settled::Refused(refusal.to_string().into())));
            }
            // Offered again, with the facts of then.
            _ => drop(round.again_at.get_or_insert(now + SOON)),
        }
    }

    /// When there is something to do although nobody asks.
    pub(super) fn due(&self) -> Option<Instant> {
        self.round.as_ref().filter(|round| round.left == 0 && self.writing.is_none())?.again_at
    }
}

/// The response to a poster about what is in the outbox under the post's id.
fn answer(parked: &Parked, post: &Post) -> Result<Answer, Error> {
    if parked.is(post) { Ok(Answer::Parked(parked.at_ms)) } else { Err(Refusal::IdTaken(post.id).into()) }
}
