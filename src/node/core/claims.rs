//! Claims: who waits for one, who holds one, and which may have been made without this node knowing.
//!
//! Promises: a claim whose append may have happened is found by its request or made again; a release that this node owes
//! (it restarted, or the one who asked has gone) keeps its reason until it is in the log.
//! Not here: which message they get (`decide::work`), when a lease is over (`deadlines`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use antiphon_schemas::{Entry, Epoch, Event, MessageId, RequestId, Seq};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Claimed, State},
    claimers::{ClaimReply, Claimer, Claimers},
};
use crate::decide::{
    Refusal,
    work::{ClaimRequest, Held},
};

/// See the module header.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) claimers: Claimers,
    /// The claims given out here, by fence.
    over: HashMap<Seq, CancellationToken>,
    /// Claims whose append may have happened, by their request.
    doubtful: BTreeMap<RequestId, (ClaimRequest, Claimer)>,
    /// Releases that this node owes: which claim, and why.
    owed: HashMap<MessageId, (Seq, &'static str)>,
}

/// What follows from handing a claim over.
#[derive(Debug, Default)]
pub(super) struct HandedOver {
    /// The one who asked has gone: give it back.
    pub(super) unwanted: Option<Held>,
    /// It was handed over again, which is a sign of life.
    pub(super) alive: Option<(Held, Duration)>,
}

impl Claims {
    /// Gives a claim just made to the one who asked for it.
    pub(super) fn hand_over(
        &mut self,
        state: &State,
        epoch: Epoch,
        claimer: Claimer,
        own: &[Arc<Entry>],
    ) -> HandedOver {
        let mut handed = HandedOver::default();
        let Some(Entry { header, event: Event::MessageClaimed(e), .. }) = own.first().map(|e| &**e) else {
            return handed;
        };
        let Some(room) = header.room.clone() else { return handed };
        let held = Held { message_id: e.message_id, fence: header.seq };
        let over = CancellationToken::new();
        let live = state.projections.queue.claim(&e.message_id).filter(|_| state.epoch == epoch);
        if live.is_some_and(|claim| claim.fence == header.seq) {
            self.over.insert(header.seq, over.clone());
        } else {
            over.cancel();
        }
        let (bot, attempt, lease) = (e.bot.clone(), e.attempt, Duration::from_millis(e.lease_ms));
        let claimed = Claimed { held, epoch, reply_id: e.reply_id, room, bot, attempt, lease, over };
        let kept = claimer.kept;
        if claimer.tell(Ok(ClaimReply::Claimed(claimed))).is_err() && !kept {
            handed.unwanted = Some(held);
        }
        // It asked again while the claim was being made.
        if let Some((_, claimer)) = self.claimers.take_for(&e.reply_id) {
            handed.alive = self.hand_again(state, claimer, e.message_id);
        }
        handed
    }

    /// Gives what was granted to this wish before, or lets it wait; a key whose reply is posted is refused at once.
    pub(super) fn ask(
        &mut self,
        state: &State,
        wish: ClaimRequest,
        claimer: Claimer,
        now: Instant,
    ) -> Option<(Held, Duration)> {
        match state.projections.queue.promised(&wish.reply_id) {
            Some(message_id) => self.hand_again(state, claimer, message_id),
            None if claimer.facts.look(&state.projections, &wish.reply_id).is_some() => {
                let _gone = claimer.tell(Err(Refusal::KeyUsed.into()));
                None
            }
            None => {
                self.claimers.put(wish, claimer, now);
                None
            }
        }
    }

    /// Gives the live claim on a message once more to its holder: the first answer was lost.
    fn hand_again(&mut self, state: &State, claimer: Claimer, message_id: MessageId) -> Option<(Held, Duration)> {
        let queue = &state.projections.queue;
        let (open, claim) = queue.get(&message_id).zip(queue.claim(&message_id))?;
        let (held, lease) = (Held { message_id, fence: claim.fence }, Duration::from_millis(claim.lease_ms));
        let claimed = Claimed {
            held,
            epoch: state.epoch,
            reply_id: claim.reply_id,
            room: open.room.clone(),
            bot: open.ask.bot.clone(),
            attempt: claim.attempt,
            lease,
            over: self.over.entry(claim.fence).or_default().clone(),
        };
        let _gone = claimer.tell(Ok(ClaimReply::Claimed(claimed)));
        Some((held, lease))
    }

    /// A claim is over: its worker is to stop.
    pub(super) fn end(&mut self, message_id: &MessageId, fence: Seq) {
        if let Some(over) = self.over.remove(&fence) {
            over.cancel();
        }
        if self.owed.get(message_id).is_some_and(|(owed, _)| *owed == fence) {
            self.owed.remove(message_id);
        }
    }

    /// All claims given out here are of another history.
    pub(super) fn end_all(&mut self) {
        self.over.drain().for_each(|(_, over)| over.cancel());
        self.owed.clear();
    }

    /// Whether the log took this claim is not known.
    pub(super) fn doubt(&mut self, request: RequestId, wish: ClaimRequest, claimer: Claimer) {
        self.doubtful.insert(request, (wish, claimer));
    }

    /// The claimer whose doubtful claim turned up in the log.
    pub(super) fn found(&mut self, request: &RequestId) -> Option<Claimer> {
        if self.doubtful.is_empty() {
            return None;
        }
        self.doubtful.remove(request).map(|(_, claimer)| claimer)
    }

    /// Everything was read: claims that were not found were never made, and their claimers keep waiting.
    pub(super) fn resolve_doubts(&mut self, now: Instant) {
        for (_, (wish, claimer)) in std::mem::take(&mut self.doubtful) {
            self.claimers.put(wish, claimer, now);
        }
    }

    /// This node has to release a claim, for this reason.
    pub(super) fn owe(&mut self, held: Held, reason: &'static str) {
        self.owed.insert(held.message_id, (held.fence, reason));
    }

    /// Why this node has to release a claim, if it has.
    pub(super) fn owes(&self, held: Held) -> Option<&'static str> {
        self.owed.get(&held.message_id).filter(|(fence, _)| *fence == held.fence).map(|(_, reason)| *reason)
    }
}
