//! What is new: entries are applied in order, state and feeds change under one lock, claims are handed over.
//!
//! Promise: an entry that comes before one that is missing waits, and the missing one is read.

use std::sync::Arc;

use antiphon_schemas::{
    Entry, Epoch, Event, MessageId,
    event::release,
    wire::{
        feed::{Delta, Reset, Started},
        work::ClaimEnded,
    },
};

use super::{
    super::{State, Writing, queue_position::queued},
    Claimer, Command, Core, Effect, ReadGoal, To,
};
use crate::{
    decide::{
        Prefetched,
        work::{End, Held},
    },
    fanout::{Frame, feed::Wake, frame},
    log::BATCH_MAX,
    projection::{keys::Keys, queue::Claim, record::Change, view},
};

impl Core {
    /// Applies the entries at hand that follow on the state; has those read that are missing before the others.
    pub(super) fn apply(&mut self) {
        loop {
            let mut next = self.view.position().next();
            self.entries = self.entries.split_off(&next);
            let mut batch = Vec::new();
            while batch.len() < BATCH_MAX
                && let Some(entry) = self.entries.remove(&next)
            {
                next = next.next();
                batch.push(entry);
            }
            if batch.is_empty() {
                break;
            }
            self.applied(batch);
        }
        if let Some((last, _)) = self.entries.last_key_value().filter(|_| self.reading.is_none()) {
            self.begin_read(ReadGoal::Reach(*last));
        }
        self.answer_applied();
    }

    /// The next entries: published, deadlines set, waiting claims found, given to the index.
    fn applied(&mut self, batch: Vec<Arc<Entry>>) {
        let at = self.now.at;
        if let Some(last) = batch.last() {
            self.clock.observe(last.header.at_ms, at);
            self.show_skew();
        }
        self.publish(&batch).into_iter().for_each(Wake::wake);
        let position = batch.last().map(|entry| entry.header.seq);
        self.view.applied.send_replace(position.unwrap_or_else(|| self.view.position()));
        for entry in &batch {
            if let Event::MessageErased(e) = &entry.event {
                self.effects.push(Effect::Forget(e.positions.clone()));
                self.effects.push(Effect::Purge);
                self.view.erasing.note(entry.header.seq, at);
            }
            self.note_age(entry);
            for (id, _) in Change::of(entry) {
                self.arm(id);
            }
            if let Some(claimer) = self.claims.found(&entry.header.request) {
                let epoch = self.view.state().epoch;
                self.hand_over(epoch, claimer, std::slice::from_ref(entry));
            }
        }
        if batch.iter().any(|entry| Keys::are_touched_by(entry)) {
            self.view.notify_keys_changed();
        }
        for (since, said) in self.live.take_early(at) {
            self.hear(said, since);
        }
        self.effects.push(Effect::Index(batch));
    }

    /// Remembers how wrong the stamp of an asking is; forgets it when the message is no longer open.
    fn note_age(&mut self, entry: &Entry) {
        /// What answers on their way, and clocks that drift, make of a stamp.
        const WRONG_MS: u64 = 1_000;
        let asked = match &entry.event {
            Event::MessagePosted(e) => e.ask.as_ref().map(|_| e.id),
            Event::MessageReleased(e) if &*e.reason == release::RETRY_ASKED => Some(e.message_id),
            _ => None,
        };
        if let Some(id) = asked {
            let behind = self.clock.ahead_of(entry.header.at_ms, self.now.at);
            match behind.unsigned_abs() > WRONG_MS {
                true => drop(self.behind.insert(id, behind)),
                false => drop(self.behind.remove(&id)),
            }
        } else if !self.behind.is_empty() {
            let state = self.view.state();
            for (id, _) in Change::of(entry) {
                if state.projections.queue.get(&id).is_none() {
                    self.behind.remove(&id);
                }
            }
        }
    }

    /// Gives a claim just made to the one who asked for it; a claim that nobody takes is released.
    pub(super) fn hand_over(&mut self, epoch: Epoch, claimer: Claimer, own: &[Arc<Entry>]) {
        let view = self.view.clone();
        let handed = self.claims.hand_over(&view.state(), epoch, claimer, own);
        self.is_alive(handed.alive);
        if let Some(held) = handed.unwanted {
            self.release(held, release::GOODBYE);
        }
    }

    /// Gives back a claim of this node's own; tried until it is in the log.
    pub(super) fn release(&mut self, held: Held, reason: &'static str) {
        self.claims.owe(held, reason);
        self.deadlines.set(held.message_id, None);
        self.put(Command::End(held, End::Released(reason)), Prefetched::none(), To::Deadline);
    }

    /// State and feeds change here, under one lock.
    fn publish(&mut self, batch: &[Arc<Entry>]) -> Vec<Wake> {
        let view = self.view.clone();
        let mut guard = view.change();
        let state = &mut *guard;
        let epoch = state.epoch;
        let mut wakes = Vec::new();
        for entry in batch {
            let before = Change::of(entry).next().and_then(|(id, _)| state.projections.queue.claim(&id).cloned());
            state.projections.apply(entry);
            self.positions.note(entry);
            let feed = entry.header.room.as_ref().and_then(|room| view.feeds.get(room));
            let rest = rest(state, entry).filter(|_| feed.is_some());
            let live = self.follow_claims(state, entry, feed.is_some());
            if let Some(claim) = before {
                wakes.extend(self.claim_ended(state, entry, &claim));
            }
            let Some(feed) = feed else { continue };
            match &entry.event {
                Event::MessageRedacted(e) => feed.forget(e.message_id),
                Event::MessageErased(e) => feed.forget(e.message_id),
                _ => {}
            }
            let durable = frame::of_entry(entry, epoch, false);
            wakes.push(feed.push(rest.into_iter().chain(durable).chain(live)));
        }
        state.last = batch.last().cloned();
        if let Some(index) = &self.index {
            state.projections.newest.forget(index.applied());
        }
        wakes
    }

    /// Tells the worker of a claim if an entry just applied has ended it.
    fn claim_ended(&mut self, state: &State, entry: &Entry, claim: &Claim) -> Option<Wake> {
        let (message_id, change) = Change::of(entry).next()?;
        if state.projections.queue.claim(&message_id).is_some_and(|now| now.fence == claim.fence) {
            return None;
        }
        self.claims.end(&message_id, claim.fence);
        self.live.end(claim.fence);
        let feed = self.view.workers.get(&claim.worker)?;
        let fence = view::position(state.epoch, claim.fence);
        let ended = ClaimEnded { message_id, fence, status: change.status.unwrap_or_default() };
        Some(feed.push([frame::live("ended", &ended)]))
    }

    /// Keeps the texts in flight in step with an entry just applied; returns what followers of the room hear live.
    fn follow_claims(&self, state: &mut State, entry: &Entry, followed: bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut reset = |writing: Option<Writing>, message_id: MessageId, reason: &Arc<str>| {
            if let Some(writing) = writing.filter(|w| followed && w.next_index > 0) {
                let reset = Reset { message_id, reply_id: writing.reply_id, reason: reason.clone() };
                frames.push(frame::live("reply.reset", &reset));
            }
        };
        match &entry.event {
            Event::MessagePosted(e) if followed => {
                let ahead = e.ask.as_ref().map_or(0, |ask| state.projections.queue.ahead_of_new(ask));
                if ahead > 0 {
                    frames.push(queued(e.id, ahead));
                }
            }
            Event::MessageClaimed(e) => {
                let Some((open, claim)) =
                    state.projections.queue.get(&e.message_id).zip(state.projections.queue.claim(&e.message_id))
                else {
                    return frames;
                };
                let writing = Writing::new(open, claim, Some(self.now.at));
                if followed {
                    let (message_id, reply_id, bot) = (e.message_id, e.reply_id, e.bot.clone());
                    frames.push(frame::live("reply.started", &Started { message_id, reply_id, bot }));
                }
                state.writing.insert(e.message_id, writing);
            }
            Event::MessageReleased(e) => reset(state.writing.remove(&e.message_id), e.message_id, &e.reason),
            Event::MessageFailed(e) => {
                let writing = state.writing.remove(&e.message_id);
                reset(writing.filter(|_| e.retry_at_ms.is_some()), e.message_id, &e.reason);
            }
            Event::MessageCompleted(e) => drop(state.writing.remove(&e.message_id)),
            Event::MessageDead(e) => drop(state.writing.remove(&e.message_id)),
            Event::MessageCancelled(e) => drop(state.writing.remove(&e.message_id)),
            _ => {}
        }
        frames
    }
}

/// What of a reply was not shown here yet when the whole of it comes: the last words of another node may come later than
/// the entry. So a reply's deltas are its text on every node.
fn rest(state: &State, entry: &Entry) -> Option<Frame> {
    let Event::ReplyPosted(reply) = &entry.event else { return None };
    let writing = state.writing.get(&reply.message_id).filter(|w| w.reply_id == reply.id && w.next_index > 0)?;
    let rest = reply.text.strip_prefix(writing.text.as_str()).filter(|rest| !rest.is_empty())?;
    let (message_id, reply_id, index) = (reply.message_id, reply.id, writing.next_index);
    let delta = Delta { message_id, reply_id, index, text: rest.into() };
    Some(Frame { shows: Some(reply_id), ..frame::live("reply.delta", &delta) })
}
