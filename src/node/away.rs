//! The store comes and goes: what is kept meanwhile, and what happens in which order when it is back.
//!
//! ```text
//! open ──▶ away ──▶ open, same epoch   catch up ▶ mend the lanes ▶ claims in doubt ▶ drain the outbox ▶ go on
//!               └─▶ open, other epoch  build anew ▶ mend ▶ offer what was lost ▶ note log.repaired ▶ drain ▶ go on
//! ```
//!
//! Promises:
//! - a post is in the log or in the outbox before it is answered; from the outbox it comes into the log in order and,
//!   since its id is fixed, once; while any post waits there, new ones queue behind it;
//! - what was lost is offered to `decide` under its old ids, so it fits or is listed, and no message has two answers;
//! - leases do not run while the store is away.

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, sync::PoisonError, time::Duration};

use antiphon_schemas::{
    Epoch, MessageId, Seq,
    event::NotRepaired,
    time,
    wire::{StoreState, feed},
};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{
    Answer, Command, Condition, Error, Node, State,
    conductor::{Conductor, Item, To},
    lanes,
};
use crate::{
    decide::{Refusal, post::Post, repair},
    fanout::{Frame, frame},
    log::{self, Access, Mended, SCAN_MAX},
    outbox::{Counts, Outbox, Parked, Settled},
};

/// The access is looked at again after this time when an append failed and nobody told of a change.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A post that found no place (its bot's queue is full) is offered again after this time.
const DRAIN_AGAIN: Duration = Duration::from_secs(1);
/// Own commands decided at once: as many as an append may look through.
const OWN_MAX: usize = SCAN_MAX as usize;
/// The lanes are compared so often before something else gets a turn.
const MEND_TRIES: usize = 3;

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
}

/// What was lost on its way back into the log.
pub(super) struct Repair {
    queue: VecDeque<Command>,
    /// So many have no answer yet.
    left: usize,
    before: Epoch,
    after: Seq,
    offered: usize,
    refused: Vec<NotRepaired>,
}

impl Conductor {
    /// Looks whether the log can be used, and does what follows from it.
    ///
    /// # Errors
    /// Only before the first state is built: why it cannot be, other than that the store is away.
    pub(super) async fn look(&mut self) -> Result<(), Error> {
        let access = self.access.borrow_and_update().clone();
        let epoch = match access {
            Access::Open { epoch } => epoch,
            Access::Away { why } => {
                self.leave(&why, false);
                return Ok(());
            }
            Access::Empty => {
                let why = "the store is empty, but this node knows a history of it; put the data back, or accept it as a \
                           new log with `antiphon accept-empty-store`";
                self.leave(why, true);
                return Ok(());
            }
        };
        let (built, known) = {
            let state = self.read();
            (state.built, state.epoch)
        };
        let done = if built && known == epoch { self.catch_up().await } else { self.build_anew(known).await };
        match done {
            Ok(()) => {
                self.open = true;
                self.mend_due = self.inner.log.shared();
                self.doubts();
                self.condition(Condition::Connected);
                Ok(())
            }
            Err(Error::Log(log::Error::Away(why))) => {
                self.leave(&why, false);
                self.look_again = Some(Instant::now() + LOOK_AGAIN);
                Ok(())
            }
            Err(failure) if built || self.inner.log.shared() => {
                error!(error = %failure, "the log cannot be followed");
                self.leave(&failure.to_string(), false);
                self.look_again = Some(Instant::now() + LOOK_AGAIN);
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Reads what came meanwhile, and lets leases run again from now.
    async fn catch_up(&mut self) -> Result<(), Error> {
        self.apply(Default::default()).await?;
        let open: Vec<_> = self.read().projections.queue.iter().map(|(id, _)| *id).collect();
        open.into_iter().for_each(|id| self.arm(id));
        Ok(())
    }

    async fn build_anew(&mut self, known: Epoch) -> Result<(), Error> {
        let again = self.read().built;
        self.build().await?;
        let lost = self.inner.log.lost();
        if again {
            let after = lost.first().map(|entry| entry.header.seq.0 - 1);
            warn!(lost = lost.len(), after, before = %known, "the store is not what it was; the state was built anew");
        }
        if let Some(first) = lost.first() {
            let plan = repair::plan(&lost);
            let (offered, after) = (plan.offered(), Seq(first.header.seq.0 - 1));
            let restores = plan.restores.into_iter().map(Command::Restore);
            let changes = plan.changes.into_iter().map(|(id, change)| Command::Change(id, change));
            let mut queue: VecDeque<Command> = restores.chain(changes).collect();
            match &mut self.repair {
                // The store went again before all of it was back: the rest stands nowhere else, and comes after this.
                Some(repair) => {
                    queue.append(&mut repair.queue);
                    repair.queue = queue;
                    repair.after = repair.after.min(after);
                    repair.offered += offered;
                    repair.refused.extend(plan.refused);
                }
                None => {
                    self.repair = Some(Repair { queue, left: 0, before: known, after, offered, refused: plan.refused });
                }
            }
        }
        Ok(())
    }

    /// Claims that were not found in the log were never made: whoever asked goes on waiting.
    fn doubts(&mut self) {
        for (_, item) in std::mem::take(&mut self.doubtful) {
            if let (Command::Claim(wish), To::Claimer(answer)) = (item.command, item.answer) {
                self.claimers.entry(wish.bot.clone()).or_default().push_front((wish, answer));
            }
        }
    }

    fn leave(&mut self, why: &str, refusing: bool) {
        self.open = false;
        let since_ms = self.read().condition.trouble().map_or(self.inner.clock.now_ms(), |(since_ms, _)| since_ms);
        let why = why.into();
        self.condition(match refusing {
            true => Condition::Refusing { since_ms, why },
            false => Condition::Degraded { since_ms, why },
        });
    }

    /// Shows a condition, and tells everybody who follows a room if it is another one.
    fn condition(&mut self, condition: Condition) {
        let inner = self.inner.clone();
        let Counts { pending: parked, refused, .. } = self.outbox.as_ref().map(Outbox::counts).unwrap_or_default();
        let mut state = inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let changed = state.condition.as_str() != condition.as_str();
        let emptied = state.parked > 0 && parked == 0;
        (state.condition, state.parked, state.refused) = (condition, parked, refused);
        if changed || emptied {
            let frame = state.frame();
            inner.feeds.push_to_all(&frame);
        }
        let trouble = state.condition.trouble().map(|(_, why)| why.clone());
        let word = state.condition.as_str();
        drop(state);
        match trouble {
            Some(why) if changed => warn!(state = word, %why, "the store cannot be used"),
            None if changed => info!(state = word, parked, "the store is used"),
            _ => {}
        }
    }

    /// Shows how much stands in the outbox.
    fn show_outbox(&mut self) {
        let condition = self.read().condition.clone();
        self.condition(condition);
    }

    /// The log answered that it is away: whether it took these is not known now.
    pub(super) fn went_away(&mut self, items: Vec<Item>, why: Arc<str>) {
        self.leave(&why, false);
        self.look_again = Some(Instant::now() + LOOK_AGAIN);
        let mut posts = Vec::new();
        for mut item in items {
            match (&mut item.command, &item.answer) {
                (Command::Post(post), To::Caller(_)) if self.outbox.is_some() => {
                    // It may be in the log by now: from here on its id is looked for.
                    post.fresh = false;
                    posts.push(item);
                }
                (Command::Claim(_), To::Claimer(_)) => drop(self.doubtful.insert(item.request, item)),
                // Twice is no harm.
                (Command::Note(_), _) => self.waiting.push_back(item),
                _ => self.turn_away(item),
            }
        }
        posts.into_iter().rev().for_each(|item| self.waiting.push_front(item));
    }

    /// The log ends before what this node has applied.
    pub(super) fn diverged(&mut self, why: &str) {
        error!(why, "the log is not what this node has applied");
        self.leave(why, false);
        self.look_again = Some(Instant::now() + LOOK_AGAIN);
    }

    /// A command that cannot be done while the store is away.
    pub(super) fn turn_away(&mut self, item: Item) {
        let why = self.read().condition.trouble().map_or_else(|| "it is away".into(), |(_, why)| why.clone());
        match (item.command, item.answer) {
            (Command::Claim(wish), To::Claimer(answer)) => {
                self.claimers.entry(wish.bot.clone()).or_default().push_front((wish, answer));
            }
            (command, To::Repair(_)) => {
                if let Some(repair) = &mut self.repair {
                    repair.left -= 1;
                    repair.queue.push_front(command);
                }
            }
            (command, answer) => {
                let item = Item { command, answer, ..item };
                item.answer_with(self, Err(Error::Log(log::Error::Away(why))));
            }
        }
    }

    /// Whether posts go to the outbox now.
    pub(super) fn parks(&self) -> bool {
        let refusing = matches!(self.read().condition, Condition::Refusing { .. });
        let before = |outbox: &Outbox| !self.open || self.repair.is_some() || outbox.pending() > 0;
        !refusing && self.outbox.as_ref().is_some_and(before)
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
        let done = self.outbox.as_ref()?.settle(settled);
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

    /// When something of the node's own is to be offered again.
    pub(super) fn own_due(&self) -> Option<Instant> {
        self.draining.as_ref().filter(|draining| draining.left == 0 && !draining.settling)?.again_at
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

    async fn bring_lost(&mut self) {
        let Some(repair) = self.repair.as_mut().filter(|repair| repair.left == 0) else { return };
        if repair.queue.is_empty() {
            let refused = std::mem::take(&mut repair.refused);
            let report = repair::report(&self.inner.name, repair.before, repair.after, repair.offered, refused);
            let (again, refused) = (report.again, report.refused.len());
            info!(offered = report.offered, again, refused, "what was lost was offered again");
            self.repair = None;
            return self.wish(Command::Note(report));
        }
        let node = Node { inner: self.inner.clone() };
        for _ in 0..OWN_MAX {
            let Some(command) = self.repair.as_mut().and_then(|repair| repair.queue.pop_front()) else { break };
            let (id, needs) = match &command {
                Command::Restore(restore) => (restore.id, restore.needs()),
                Command::Change(id, _) => (*id, vec![*id]),
                _ => continue,
            };
            let facts = node.facts(&needs).await;
            let Some(repair) = &mut self.repair else { return };
            match facts {
                Ok(facts) => {
                    repair.left += 1;
                    self.put(command, facts, To::Repair(id));
                }
                Err(failure) => {
                    warn!(error = %failure, "what was lost cannot be offered yet");
                    repair.queue.push_front(command);
                    self.look_again = Some(Instant::now() + LOOK_AGAIN);
                    return;
                }
            }
        }
    }

    /// What became of a post of the outbox.
    pub(super) fn drained(&mut self, id: MessageId, result: Result<Answer, Error>) {
        let Some(draining) = &mut self.draining else { return };
        draining.left -= 1;
        match result {
            Ok(Answer::Entries(_) | Answer::Already(_)) => draining.settled.push((id, Settled::Appended)),
            Err(Error::Refused(Refusal::QueueFull { .. }) | Error::Busy) => {
                draining.again_at = Some(Instant::now() + DRAIN_AGAIN);
            }
            Err(Error::Refused(refusal)) => {
                warn!(message = %id, why = %refusal, "a post that was accepted while the log was away does not fit any more");
                draining.settled.push((id, Settled::Refused(refusal.to_string().into())));
            }
            // Offered again, with the facts of then.
            _ => {}
        }
    }

    /// What became of something lost.
    pub(super) fn repaired(&mut self, id: MessageId, command: &Command, result: Result<Answer, Error>) {
        let Some(repair) = &mut self.repair else { return };
        repair.left -= 1;
        match result {
            Ok(Answer::Stale) => repair.queue.push_front(command.clone()),
            Ok(_) => {}
            Err(Error::Refused(why)) => {
                warn!(message = %id, %why, "something that was lost does not fit any more");
                repair.refused.push(match command {
                    Command::Restore(restore) => restore.refused(&why),
                    Command::Change(id, change) => repair::refused_change(*id, *change, &why),
                    _ => return,
                });
            }
            Err(_) => repair.queue.push_back(command.clone()),
        }
    }

    /// Compares the lanes with the queue, if that is due.
    pub(super) async fn mend_if_due(&mut self) {
        for _ in 0..MEND_TRIES {
            if !self.mend_due || !self.open {
                return;
            }
            let (at, picture) = {
                let state = self.read();
                (state.projections.position, lanes::picture(&state.projections.queue))
            };
            match self.inner.log.mend(at, picture).await {
                Ok(Mended::InStep) => self.mend_due = false,
                Ok(Mended::Mended(lanes)) => {
                    warn!(lanes, "lanes were out of step with the log; they were built anew");
                    self.mend_due = false;
                }
                Ok(Mended::Moved) => drop(self.apply(Default::default()).await),
                Err(log::Error::Away(why)) => return self.went_away(Vec::new(), why),
                Err(failure) => {
                    error!(error = %failure, "the lanes cannot be compared with the log");
                    self.mend_due = false;
                }
            }
        }
    }
}

impl State {
    /// How the store is, as a frame of a feed.
    pub(super) fn frame(&self) -> Frame {
        let trouble = self.condition.trouble();
        let said = feed::State {
            state: match self.condition {
                Condition::Connected => StoreState::Connected,
                Condition::Degraded { .. } => StoreState::Degraded,
                Condition::Refusing { .. } => StoreState::Refusing,
            },
            since: trouble.map(|(since_ms, _)| time::rfc3339(since_ms)),
            reason: trouble.map(|(_, why)| why.clone()),
            parked: self.parked as u64,
        };
        frame::live("state", &said)
    }
}

/// What the poster is told of what stands in the outbox under the post's id.
fn answer(parked: &Parked, post: &Post) -> Result<Answer, Error> {
    if parked.is(post) { Ok(Answer::Parked(parked.at_ms)) } else { Err(Refusal::IdTaken(post.id).into()) }
}
