//! Claims and how they end: completed, failed, released; and what time does to a message that waits.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use antiphon_schemas::{
    BotName, Event, MessageId, Seq,
    event::{
        Author, AuthorKind, Made, MessageClaimed, MessageCompleted, MessageDead, MessageFailed, MessageReleased,
        ReplyPosted, release,
    },
    time::LogTime,
    wire::Status,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Decision, Policy, Prefetched, Refusal, lane};
use crate::projection::{
    Projections,
    queue::{Claim, Open, State},
};

/// A worker's request for the next message of a bot.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimRequest {
    /// The bots, in no order; at least one.
    pub bots: Arc<[BotName]>,
    /// Who asks.
    pub worker: Arc<str>,
    /// The process, for workers that live in it.
    pub incarnation: Option<Uuid>,
    /// The id for the reply.
    pub reply_id: MessageId,
    /// That id is made of a key that the worker chose, so the same request may come again, here or on another node, and
    /// may have been granted already. Else it is fresh.
    pub keyed: bool,
}

/// The id of the reply to whatever a worker claims under a key: the same for the same two texts, on every node, and
/// nobody else's. A UUID of version 8 (RFC 9562) made of SHA-256.
pub fn reply_of(worker: &str, claim_key: &str) -> MessageId {
    let mut hash = Sha256::new();
    hash.update(b"antiphon claim\0");
    hash.update((worker.len() as u64).to_be_bytes());
    hash.update(worker);
    hash.update(claim_key);
    let bytes: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[..16]);
    MessageId(uuid::Builder::from_custom_bytes(id).into_uuid())
}

/// Which claim a worker speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held {
    /// The message.
    pub message_id: MessageId,
    /// The claim.
    pub fence: Seq,
}

/// How a claim ends, as its worker says it.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a claim ends once")]
pub enum End {
    /// With an answer.
    Completed {
        /// The bot as it shows itself.
        author: Author,
        /// The whole answer.
        text: Arc<str>,
        /// How it was made.
        made: Made,
    },
    /// With an error.
    Failed {
        /// `code: words`.
        reason: Arc<str>,
        /// Whether another try may help.
        retryable: bool,
    },
    /// With an error that the model had no part in: the attempt is not used up.
    Away {
        /// `code: words`.
        reason: Arc<str>,
        /// When another try makes sense, from now.
        after_ms: u64,
    },
    /// Given back, or its lease is over; a code of [`release`].
    Released(&'static str),
}

/// How old messages are: the log's time as the node knows it, corrected where an entry's stamp is not to be believed.
#[derive(Debug, Clone, Copy)]
pub struct Ages<'a> {
    /// The log's time now.
    pub now: LogTime,
    /// Whether messages may be given up for their age; a node whose log clock is in doubt leaves that to others.
    pub judged: bool,
    /// By how many ms the stamp of a message's asking was behind the log clock when the node saw it (ahead, if negative).
    /// Only those that a step of the log's clock has made wrong.
    pub behind: &'a HashMap<MessageId, i64>,
}

impl Ages<'_> {
    /// The time to compare with the stamp of a message's asking.
    pub fn now_for(&self, id: &MessageId) -> LogTime {
        let behind = self.behind.get(id).copied().unwrap_or(0);
        LogTime::from_log_ms(self.now.ms().saturating_add_signed(behind.saturating_neg()))
    }

    fn too_old(&self, policy: &Policy, id: &MessageId, open: &Open) -> bool {
        self.judged && self.now_for(id) >= too_old_at(policy, open)
    }
}

/// Decides who gets the next message of some bots: of the heads of their lanes the most urgent one, of equals the one
/// that has waited longest.
///
/// [`Decision::Stands`] if a live claim has promised its reply this id: the request has been granted before. `None` when
/// nothing waits, when the heads are in `busy`, or too old: then [`due`] ends them first, so that a claim always takes a
/// lane's head.
///
/// # Errors
/// [`Refusal::KeyUsed`]: there is a message of that id already.
pub fn claim(
    state: &Projections,
    facts: &Prefetched,
    policy: &Policy,
    request: &ClaimRequest,
    ages: Ages<'_>,
    busy: &HashSet<MessageId>,
) -> Result<Option<Decision>, Refusal> {
    if request.keyed {
        if state.queue.is_promised(&request.reply_id) {
            return Ok(Some(Decision::Stands(Status::Claimed)));
        }
        if facts.look(state, &request.reply_id).is_some() {
            return Err(Refusal::KeyUsed);
        }
        if busy.contains(&request.reply_id) {
            return Ok(None);
        }
    }
    let head = |bot: &BotName| {
        let id = state.queue.waiting(bot).find(|id| !busy.contains(id))?;
        let open = state.queue.get(&id).filter(|open| !ages.too_old(policy, &id, open))?;
        let State::Waiting { since, .. } = open.state else { return None };
        Some(((Reverse(open.ask.priority), open.ask.second, since), id, open))
    };
    let Some((_, message_id, open)) = request.bots.iter().filter_map(head).min_by_key(|(place, ..)| *place) else {
        return Ok(None);
    };
    let event = MessageClaimed {
        message_id,
        reply_id: request.reply_id,
        bot: open.ask.bot.clone(),
        worker: request.worker.clone(),
        incarnation: request.incarnation,
        attempt: open.attempts + 1,
        lease_ms: policy.lease_ms,
    };
    // A fresh id cannot be anybody else's.
    let subjects = if request.keyed { vec![message_id, request.reply_id] } else { vec![message_id] };
    Ok(Some(Decision::Append { room: open.room.clone(), subjects, events: vec![event.into()] }))
}

/// The open message and the live claim that `held` speaks for.
///
/// # Errors
/// [`Refusal::StaleFence`] (somebody else holds it), [`Refusal::ClaimOver`] (it waits again),
/// [`Refusal::AlreadyEnded`], [`Refusal::NoSuchMessage`].
pub fn holder<'a>(state: &'a Projections, facts: &Prefetched, held: Held) -> Result<(&'a Open, &'a Claim), Refusal> {
    let Some(open) = state.queue.get(&held.message_id) else {
        let fact = facts.look(state, &held.message_id).ok_or(Refusal::NoSuchMessage(held.message_id))?;
        return Err(Refusal::AlreadyEnded(fact.record.status));
    };
    match &open.state {
        State::Claimed(claim) if claim.fence == held.fence => Ok((open, claim)),
        State::Claimed(claim) => Err(Refusal::StaleFence { worker: claim.worker.clone(), fence: claim.fence }),
        _ => Err(Refusal::ClaimOver),
    }
}

/// Decides how a claim ends.
///
/// `jitter` is a random number that spreads retries.
///
/// # Errors
/// As [`holder`].
pub fn end(
    state: &Projections,
    facts: &Prefetched,
    policy: &Policy,
    held: Held,
    end: &End,
    now: LogTime,
    jitter: u64,
) -> Result<Decision, Refusal> {
    let (open, claim) = holder(state, facts, held)?;
    let Held { message_id, fence } = held;
    let dead = |reason: String| Event::from(MessageDead { message_id, reason: reason.into() });
    let events = match end {
        End::Completed { author, text, made } => {
            let author = Author { kind: AuthorKind::Bot, ..author.clone() };
            let (id, text, made) = (claim.reply_id, text.clone(), Arc::new(made.clone()));
            let ms = made.total_ms;
            vec![
                ReplyPosted { id, message_id, author, text, hops: 1, made }.into(),
                MessageCompleted { message_id, reply_id: id, fence, ms }.into(),
            ]
        }
        End::Failed { reason, retryable } => {
            let again = *retryable && claim.attempt < policy.attempts_max;
            let retry_at_ms = again.then(|| now.plus_ms(backoff_ms(policy, claim.attempt, jitter)).ms());
            let (reason, attempt) = (reason.clone(), claim.attempt);
            let given_up = (*retryable && !again).then(|| dead(format!("attempts-used-up: {reason}")));
            let failed = MessageFailed { message_id, fence, reason, attempt, retry_at_ms, away: false };
            [Event::from(failed)].into_iter().chain(given_up).collect()
        }
        End::Away { reason, after_ms } => {
            let (reason, attempt) = (reason.clone(), claim.attempt);
            let retry_at_ms = Some(now.plus_ms((*after_ms).max(1)).ms());
            vec![MessageFailed { message_id, fence, reason, attempt, retry_at_ms, away: true }.into()]
        }
        End::Released(reason) if *reason == release::LEASE_OVER && claim.attempt >= policy.attempts_max => {
            vec![dead(format!("attempts-used-up: no heartbeat from `{}`", claim.worker))]
        }
        End::Released(reason) => {
            let ask = lane(state, &open.room, &open.ask.bot, open.ask.priority);
            vec![MessageReleased { message_id, fence: Some(fence), reason: (*reason).into(), ask }.into()]
        }
    };
    Ok(Decision::Append { room: open.room.clone(), subjects: vec![message_id], events })
}

/// Decides what time does to a message that nobody holds: back to its lane, or given up. `None`: nothing yet.
///
/// `since`: a deadline that this node has waited for, and so has passed whatever the clock says.
pub fn due(
    state: &Projections,
    policy: &Policy,
    message_id: MessageId,
    ages: Ages<'_>,
    since: LogTime,
) -> Option<Decision> {
    let open = state.queue.get(&message_id)?;
    let event: Event = match open.state {
        State::Claimed(_) => return None,
        _ if ages.too_old(policy, &message_id, open) => MessageDead { message_id, reason: "too-old".into() }.into(),
        State::Retrying { at_ms } if LogTime::from_log_ms(at_ms) <= ages.now.max(since) => {
            let ask = lane(state, &open.room, &open.ask.bot, open.ask.priority);
            MessageReleased { message_id, fence: None, reason: release::RETRY_DUE.into(), ask }.into()
        }
        _ => return None,
    };
    Some(Decision::Append { room: open.room.clone(), subjects: vec![message_id], events: vec![event] })
}

/// When [`due`] will have something to say, and how long that is from now, in ms.
///
/// A retry waits no longer than the longest wait after a failure: its time was set by the clock of the node that saw the
/// failure, which may be another one.
pub fn due_at(policy: &Policy, message_id: &MessageId, open: &Open, ages: Ages<'_>) -> Option<(LogTime, u64)> {
    let too_old = (too_old_at(policy, open), too_old_at(policy, open).ms_since(ages.now_for(message_id)));
    match open.state {
        State::Waiting { .. } => Some(too_old),
        State::Retrying { at_ms } => {
            let retry = LogTime::from_log_ms(at_ms);
            let wait_ms = retry.ms_since(ages.now).min(policy.retry_max_ms.max(2));
            Some(if wait_ms < too_old.1 { (retry, wait_ms) } else { too_old })
        }
        State::Claimed(_) => None,
    }
}

/// Whether a status is an end.
pub fn ended(status: Status) -> bool {
    !matches!(status, Status::Waiting | Status::Claimed)
}

fn too_old_at(policy: &Policy, open: &Open) -> LogTime {
    LogTime::from_log_ms(open.asked_at_ms).plus_ms(policy.max_age_ms)
}

/// Doubles with each attempt up to the longest wait; between half and the whole of that, by `jitter`.
fn backoff_ms(policy: &Policy, attempt: u32, jitter: u64) -> u64 {
    let whole = policy.retry_base_ms.saturating_mul(1 << (attempt - 1).min(20)).min(policy.retry_max_ms).max(2);
    whole / 2 + jitter % (whole / 2 + 1)
}
