//! What is new: entries are applied in order, state and feeds change under one lock, claims are handed over.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use antiphon_schemas::{
    Entry, Event, MessageId, Seq,
    event::release,
    wire::{
        feed::{Delta, Reset, Started},
        work::ClaimEnded,
    },
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    Claimed, Command, State, Text, Writing,
    claimers::{Claimer, Told},
    conductor::{Conductor, To, read},
    places::queued,
};
use crate::{
    decide::{
        Refusal,
        work::{End, Held, Wish},
    },
    fanout::{Frame, feed::Wake, frame},
    log::{self, BATCH_MAX},
    projection::{keys::Keys, queue::Claim, record::Change, view},
};

impl Conductor {
    /// Applies entries in order, reading again what is missing between the state and them, or up to the tail.
    ///
    /// # Errors
    /// Why not all of them could be read; what could be is applied.
    pub(super) async fn apply(&mut self, mut entries: BTreeMap<Seq, Arc<Entry>>) -> Result<(), log::Error> {
        let mut position = *self.inner.applied.borrow();
        let end = entries.last_key_value().map_or_else(|| self.inner.log.tail(), |(seq, _)| *seq);
        let mut result = Ok(());
        while position < end && result.is_ok() {
            let mut batch = Vec::with_capacity(entries.len());
            while position < end && batch.len() < BATCH_MAX {
                if let Some(entry) = entries.remove(&position.next()) {
                    position = entry.header.seq;
                    batch.push(entry);
                    continue;
                }
                match self.inner.log.read(position, BATCH_MAX).await {
                    Ok(read) if !read.is_empty() => entries.extend(read.into_iter().map(|e| (e.header.seq, e))),
                    Ok(_) => {
                        // It ends earlier than it said: it is not what it was. Its access will tell.
                        result = Err(log::Error::Io(format!("entry {} is not there", position.next())));
                        break;
                    }
                    Err(failure) => {
                        error!(error = %failure, "entries cannot be read back from the log");
                        result = Err(failure);
                        break;
                    }
                }
            }
            if !batch.is_empty() {
                self.applied(batch).await;
            }
        }
        result
    }

    /// The next entries: published, timers set, waiting claims found, given to the index.
    async fn applied(&mut self, batch: Vec<Arc<Entry>>) {
        self.publish(&batch).into_iter().for_each(Wake::wake);
        for entry in &batch {
            if let Event::MessageErased(e) = &entry.event {
                self.inner.log.forget(&e.positions);
                if let Some(outbox) = &self.outbox {
                    outbox.purge();
                }
                self.inner.erasing.note(entry.header.seq);
            }
            for (id, _) in Change::of(entry) {
                self.arm(id);
            }
            if let Some(item) = self.doubtful.remove(&entry.header.request)
                && let To::Claimer(answer) = item.answer
            {
                self.hand_over(answer, std::slice::from_ref(entry));
            }
        }
        let position = batch.last().map(|entry| entry.header.seq);
        if batch.iter().any(|entry| Keys::are_touched_by(entry)) {
            self.keys_changed();
        }
        self.inner.applied.send_replace(position.unwrap_or_else(|| *self.inner.applied.borrow()));
        self.heard_early();
        if let Some(indexer) = &self.indexer {
            indexer.apply(batch).await;
        }
    }

    /// Gives a claim just made to whoever asked for it.
    pub(super) fn hand_over(&mut self, claimer: Claimer, own: &[Arc<Entry>]) {
        let Some(Entry { header, event: Event::MessageClaimed(e), .. }) = own.first().map(|e| &**e) else { return };
        let Some(room) = header.room.clone() else { return };
        let held = Held { message_id: e.message_id, fence: header.seq };
        let over = CancellationToken::new();
        if read(&self.inner).projections.queue.claim(&e.message_id).is_some_and(|claim| claim.fence == header.seq) {
            self.claims.insert(header.seq, over.clone());
        } else {
            over.cancel();
        }
        let (bot, attempt, lease) = (e.bot.clone(), e.attempt, Duration::from_millis(e.lease_ms));
        let claimed = Claimed { held, reply_id: e.reply_id, room, bot, attempt, lease, over };
        let kept = claimer.kept;
        if claimer.tell(Ok(Told::Claimed(claimed))).is_err() && !kept {
            self.wish(Command::End(held, End::Released(release::GOODBYE)));
        }
        // It asked again while the claim was being made.
        if let Some((_, claimer)) = self.claimers.take_for(&e.reply_id) {
            self.hand_again(claimer, e.message_id);
        }
    }

    /// Gives what was granted to this wish before, or lets it wait; a key whose reply is posted is refused at once.
    pub(super) fn grant_again(&mut self, wish: Wish, claimer: Claimer) {
        let inner = self.inner.clone();
        let state = read(&inner);
        let promised = state.projections.queue.promised(&wish.reply_id);
        let used = promised.is_none() && claimer.facts.look(&state.projections, &wish.reply_id).is_some();
        drop(state);
        match promised {
            Some(message_id) => self.hand_again(claimer, message_id),
            None if used => drop(claimer.tell(Err(Refusal::KeyUsed.into()))),
            None => self.claimers.put(wish, claimer),
        }
    }

    /// Gives the live claim on a message once more to whoever has it: the first answer was lost.
    pub(super) fn hand_again(&mut self, claimer: Claimer, message_id: MessageId) {
        let inner = self.inner.clone();
        let state = read(&inner);
        let queue = &state.projections.queue;
        let (Some(open), Some(claim)) = (queue.get(&message_id), queue.claim(&message_id)) else { return };
        let claimed = Claimed {
            held: Held { message_id, fence: claim.fence },
            reply_id: claim.reply_id,
            room: open.room.clone(),
            bot: open.ask.bot.clone(),
            attempt: claim.attempt,
            lease: Duration::from_millis(claim.lease_ms),
            over: self.claims.entry(claim.fence).or_default().clone(),
        };
        drop(state);
        // Asking is a sign of life.
        self.timers.set(message_id, Some(Instant::now() + claimed.lease));
        let _gone = claimer.tell(Ok(Told::Claimed(claimed)));
    }

    /// State and feeds change here, under one lock.
    fn publish(&mut self, batch: &[Arc<Entry>]) -> Vec<Wake> {
        let inner = self.inner.clone();
        let indexed = *inner.index().applied.borrow();
        let mut guard = inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let epoch = state.epoch;
        let mut wakes = Vec::new();
        for entry in batch {
            let before = Change::of(entry).next().and_then(|(id, _)| state.projections.queue.claim(&id).cloned());
            state.projections.apply(entry);
            self.places.note(entry);
            let rest = rest(state, entry);
            let live = follow_claims(state, entry);
            if let Some(claim) = before {
                wakes.extend(self.claim_ended(state, entry, &claim));
            }
            let Some(feed) = entry.header.room.as_ref().and_then(|room| inner.feeds.get(room)) else { continue };
            match &entry.event {
                Event::MessageRedacted(e) => feed.forget(e.message_id),
                Event::MessageErased(e) => feed.forget(e.message_id),
                _ => {}
            }
            let durable = frame::of_entry(entry, epoch, false);
            wakes.push(feed.push(rest.into_iter().chain(durable).chain(live)));
        }
        state.last = batch.last().cloned();
        state.projections.newest.forget(indexed);
        wakes
    }

    /// Tells whoever worked on a claim if an entry just applied has ended it.
    fn claim_ended(&mut self, state: &State, entry: &Entry, claim: &Claim) -> Option<Wake> {
        let (message_id, change) = Change::of(entry).next()?;
        if state.projections.queue.claim(&message_id).is_some() {
            return None;
        }
        if let Some(over) = self.claims.remove(&claim.fence) {
            over.cancel();
        }
        let feed = self.inner.workers.get(&claim.worker)?;
        let fence = view::position(state.epoch, claim.fence);
        let ended = ClaimEnded { message_id, fence, status: change.status.unwrap_or_default() };
        Some(feed.push([frame::live("ended", &ended)]))
    }
}

/// Keeps the texts in flight in step with an entry just applied; returns what to say live.
fn follow_claims(state: &mut State, entry: &Entry) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut reset = |writing: Option<Writing>, message_id, reason: &Arc<str>| {
        if let Some(writing) = writing.filter(|w| w.next_index > 0) {
            let reset = Reset { message_id, reply_id: writing.reply_id, reason: reason.clone() };
            frames.push(frame::live("reply.reset", &reset));
        }
    };
    match &entry.event {
        Event::MessagePosted(e) => {
            let ahead = state.projections.queue.ahead(&e.id).unwrap_or(0);
            if ahead > 0 {
                frames.push(queued(e.id, ahead));
            }
        }
        Event::MessageClaimed(e) => {
            let Some(room) = entry.header.room.clone() else { return frames };
            let (message_id, reply_id, bot) = (e.message_id, e.reply_id, e.bot.clone());
            frames.push(frame::live("reply.started", &Started { message_id, reply_id, bot: bot.clone() }));
            let writing =
                Writing { room, reply_id, bot, next_index: 0, text: Text::default(), first_ms: None, stage: None };
            state.writing.insert(message_id, writing);
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
