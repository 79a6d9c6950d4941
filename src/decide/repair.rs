//! Restoring entries that a store has lost: each node that saw them offers them again, under their old ids.
//!
//! Restored is everything that was acknowledged to someone: posts, answers, cancellations, messages given up, redactions,
//! people's requests for another attempt, keys and above all their revocations. Not restored is how messages were worked on:
//! claims, other releases, and failures that were to be retried. That work is redone under new claims.
//!
//! Promises:
//! - an answered message has that answer again, or another one that it got meanwhile, and never two each time it was asked;
//!   of a message asked several times, the last [`EARLIER_MAX`] answers before its end are restored too;
//! - a post is restored word for word, including `reply_to`, even if the message it names is not: a repeat of the same post
//!   must find it, and `log.repaired` says what is missing;
//! - a hidden message is restored and hidden in one append, so that no feed shows it in between;
//! - an answer is in the log once: restoring it ends the claim that promised it, so its worker cannot repeat it, and an answer
//!   that is already there does not end a question asked since;
//! - an erased text is never restored: a message without text and author takes its place, so that its answer still has a
//!   question, and it is erased again; erasures and redactions are restored even if the message ended differently
//!   meanwhile, because a node that does not know of them could restore the text later;
//! - a revoked key does not become valid again, whichever node offers what first;
//! - repeating an offer, from this node or another, changes nothing.
//!
//! Known limit: nodes that saw the lost entries up to different points may disagree about a message that had ended and was
//! then asked again. The later offer wins, so it may be given up or answered once more; a person can ask again.
//! Not here: which entries are lost (`log`), appending, and the order among nodes (any order is fine).
//! Start with [`plan()`]; then [`restore`] for each, then its changes by [`change`](super::change::change), then [`report`].

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use antiphon_schemas::{
    Entry, Epoch, Event, MessageId, RoomName, Seq,
    event::{
        LogRepaired, MessageCancelled, MessageCompleted, MessageDead, MessagePosted, MessageRedacted, MessageReleased,
        NotRepaired, REFUSED_MAX, REFUSED_REASON_BYTES_MAX, ReplyPosted, release,
    },
    wire::Status,
};

pub use self::plan::plan;
use super::{Decision, Prefetched, Refusal, change::Change, key::KeyWish, lane};
use crate::projection::Projections;

/// Who says what comes back of an erased message. No bot can have this name, and nobody can post an empty text.
const NOBODY: &str = "(erased)";

/// Answers of earlier askings that come back with a message: with everything else they fit into one append.
pub const EARLIER_MAX: usize = 4;

/// What is to be offered, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Keys and revocations, in their order. They come first: until then the wrong ones are good.
    pub keys: Vec<KeyWish>,
    /// Messages, by their first lost entry, so that what is replied to comes before its reply.
    pub restores: Vec<Restore>,
    /// To be decided after all of [`Plan::restores`]. An id that somebody else has taken meanwhile is hidden too: hiding
    /// too much is the lesser fault.
    pub changes: Vec<(MessageId, Change)>,
    /// What cannot be offered.
    pub refused: Vec<NotRepaired>,
}

impl Plan {
    /// How much it offers, in the sense of [`LogRepaired::offered`].
    pub fn offered(&self) -> usize {
        self.keys.len() + self.restores.len() + self.changes.len() + self.refused.len()
    }
}

/// A message, as far as its entries were lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Restore {
    /// The message.
    pub id: MessageId,
    /// Its room.
    pub room: RoomName,
    /// The post; `None` if that was not lost.
    pub posted: Option<MessagePosted>,
    /// A person had asked for another try after it had ended.
    pub reopened: bool,
    /// The answers that it had before that.
    pub earlier: Vec<ReplyPosted>,
    /// How it ended.
    pub end: RestoredEnd,
    /// The message and its replies, if they had been hidden.
    pub hidden: Vec<MessageId>,
}

/// How a message ended, as far as that was lost.
#[derive(Debug, Clone, PartialEq)]
pub enum RestoredEnd {
    /// It had not, or that was not lost.
    Open,
    /// With an answer.
    Answered {
        /// The answer; `None` if the store kept it and lost only what came after it.
        reply: Option<Box<ReplyPosted>>,
        /// Its fence stays as it was: the position of a claim in the epoch that ended.
        completed: MessageCompleted,
    },
    /// Somebody no longer wanted the answer.
    Cancelled,
    /// Given up, or failed without another try: why.
    Dead(Arc<str>),
}

impl Restore {
    /// The messages that must be looked up before this can be decided.
    pub fn needs(&self) -> Vec<MessageId> {
        [self.id].into_iter().chain(self.replies()).collect()
    }

    fn replies(&self) -> impl Iterator<Item = MessageId> {
        self.earlier.iter().map(|reply| reply.id).chain(self.reply_id())
    }

    /// How it appears in the list of entries that were not restored.
    pub fn refused(&self, why: &Refusal) -> NotRepaired {
        let kind = match (&self.end, &self.posted) {
            (_, Some(_)) if *why == Refusal::IdTaken(self.id) => "message.posted",
            (RestoredEnd::Answered { .. }, _) => "reply.posted",
            (RestoredEnd::Cancelled, _) => "message.cancelled",
            (RestoredEnd::Dead(_), _) => "message.dead",
            (RestoredEnd::Open, Some(_)) => "message.posted",
            (RestoredEnd::Open, None) if self.reopened => "message.released",
            (RestoredEnd::Open, None) => "reply.posted",
        };
        not_repaired(kind, Some(self.id), &why.to_string())
    }

    fn reply_id(&self) -> Option<MessageId> {
        match &self.end {
            RestoredEnd::Answered { completed, .. } => Some(completed.reply_id),
            _ => None,
        }
    }

    fn end_events(&self) -> Vec<Event> {
        let message_id = self.id;
        match &self.end {
            RestoredEnd::Open => vec![],
            RestoredEnd::Answered { reply, completed } => {
                let reply = reply.as_deref().cloned().map(Event::from);
                reply.into_iter().chain([completed.clone().into()]).collect()
            }
            RestoredEnd::Cancelled => vec![MessageCancelled { message_id }.into()],
            RestoredEnd::Dead(reason) => vec![MessageDead { message_id, reason: reason.clone() }.into()],
        }
    }
}

/// A rejected change, as it appears in the list of entries that were not restored.
pub fn refused_change(id: MessageId, change: Change, why: &Refusal) -> NotRepaired {
    let kind = match change {
        Change::Cancel => "message.cancelled",
        Change::Retry => "message.released",
        Change::Redact => "message.redacted",
        Change::Erase => "message.erased",
    };
    not_repaired(kind, Some(id), &why.to_string())
}

/// Decides a message that is offered again. Neither a full queue nor a bot that this node does not know is a reason to
/// refuse: somebody was told that the message is safe.
///
/// # Errors
/// [`Refusal::IdTaken`] (another message has the id), [`Refusal::AlreadyEnded`] (it came to another end meanwhile),
/// [`Refusal::NoSuchMessage`] (its post or its answer is neither there nor was it lost), [`Refusal::NotFailed`],
/// [`Refusal::Redacted`].
pub fn restore(state: &Projections, facts: &Prefetched, restore: &Restore) -> Result<Decision, Refusal> {
    let id = restore.id;
    let answers = |event: &Event| match event {
        Event::ReplyPosted(reply) => reply.message_id == id,
        Event::Erased(erased) => &*erased.kind == "reply.posted" && erased.subjects.last() == Some(&id),
        _ => false,
    };
    let known = |reply_id: MessageId| facts.look(state, &reply_id);
    if let Some(taken) = restore.replies().find(|reply| known(*reply).is_some_and(|f| !answers(&f.posted.event))) {
        return Err(Refusal::IdTaken(taken));
    }
    let reply = restore.reply_id().and_then(known);
    let live = state.queue.get(&id).zip(state.queue.claim(&id));
    let missing = restore.earlier.iter().filter(|reply| known(reply.id).is_none()).cloned();
    let missing: Vec<Event> = missing.map(Event::from).collect();
    if let RestoredEnd::Answered { reply: None, completed } = &restore.end
        && reply.is_none()
    {
        return Err(Refusal::NoSuchMessage(completed.reply_id));
    }
    let mut events = match (facts.look(state, &id), &restore.posted) {
        (None, None) => return Err(Refusal::NoSuchMessage(id)),
        (None, Some(_)) if state.queue.is_promised(&id) => return Err(Refusal::IdTaken(id)),
        (None, Some(posted)) => {
            let ask = posted.ask.as_ref().map(|ask| lane(state, &restore.room, &ask.bot, ask.priority));
            let mut events = vec![Event::from(MessagePosted { ask, ..posted.clone() })];
            events.extend(missing.into_iter().chain(restore.end_events()));
            // As `change` does: hiding ends open work.
            if restore.hidden.contains(&id) && restore.end == RestoredEnd::Open && posted.ask.is_some() {
                events.push(MessageCancelled { message_id: id }.into());
            }
            events
        }
        (Some(fact), posted) => {
            let elsewhere = fact.posted.header.room.as_ref() != Some(&restore.room);
            if elsewhere || posted.as_ref().is_some_and(|posted| !same(&fact.posted, &restore.room, posted)) {
                return Err(Refusal::IdTaken(id));
            }
            let status = fact.record.status;
            // Of an erased post nobody knows whom it asked.
            let again = match &fact.posted.event {
                Event::MessagePosted(MessagePosted { ask: Some(ask), .. }) => {
                    let ask = lane(state, &restore.room, &ask.bot, ask.priority);
                    let reason = release::RESTORED.into();
                    Some(Event::from(MessageReleased { message_id: id, fence: None, reason, ask }))
                }
                _ => None,
            };
            let had_ended = matches!(status, Status::Failed | Status::Dead | Status::Answered | Status::Cancelled);
            // A worker may still say, or say again, the answer that its claim promised; that one is in the log from here on.
            let kept = live.filter(|(_, claim)| restore.earlier.iter().any(|reply| reply.id == claim.reply_id));
            let over = kept.map(|(open, claim)| {
                let ask = lane(state, &restore.room, &open.ask.bot, open.ask.priority);
                let (fence, reason) = (Some(claim.fence), release::RESTORED.into());
                Event::from(MessageReleased { message_id: id, fence, reason, ask })
            });
            let promised = live.is_some_and(|(_, claim)| Some(claim.reply_id) == restore.reply_id());
            let end = match (status, &restore.end) {
                (_, RestoredEnd::Open) if over.is_some() => over.into_iter().collect(),
                (_, RestoredEnd::Open) if restore.reopened && had_ended => {
                    let again = again.ok_or(Refusal::NotFailed(Status::None))?;
                    if fact.record.redacted {
                        return Err(Refusal::Redacted);
                    }
                    vec![again]
                }
                (_, RestoredEnd::Open) => vec![],
                // With this answer an earlier asking ended, in this log, too: what came after it is newer than this wish.
                (_, RestoredEnd::Answered { reply: Some(_), .. }) if reply.is_some() && !promised => vec![],
                (Status::Waiting | Status::Claimed, _) => restore.end_events(),
                // Whether it had asked somebody was erased; since it had ended, it had.
                (Status::None, _) if matches!(fact.posted.event, Event::Erased(_)) => restore.end_events(),
                (Status::Answered, RestoredEnd::Answered { .. }) if reply.is_some() => vec![],
                // One more answer; it has ended with one.
                (Status::Answered, RestoredEnd::Answered { reply, .. }) if restore.reopened => {
                    reply.as_deref().cloned().map(Event::from).into_iter().collect()
                }
                // Given up meanwhile, though it had its answer: it has it again.
                (Status::Failed | Status::Dead, RestoredEnd::Answered { .. }) => restore.end_events(),
                (Status::Failed | Status::Dead, RestoredEnd::Cancelled) if restore.reopened => restore.end_events(),
                (Status::Failed | Status::Dead, RestoredEnd::Dead(_)) | (Status::Cancelled, RestoredEnd::Cancelled) => {
                    vec![]
                }
                (Status::Answered | Status::Cancelled, _) if restore.reopened => {
                    again.into_iter().chain(restore.end_events()).collect()
                }
                (status, _) => return Err(Refusal::AlreadyEnded(status)),
            };
            let events: Vec<_> = missing.into_iter().chain(end).collect();
            if events.is_empty() {
                return Ok(Decision::Stands(status));
            }
            events
        }
    };
    if reply.is_some() {
        // The store kept the answer and lost what came after it.
        events.retain(|event| !matches!(event, Event::ReplyPosted(e) if Some(e.id) == restore.reply_id()));
    }
    let hidden_now = |id: &MessageId| facts.look(state, id).is_some_and(|fact| fact.record.redacted);
    let hide = restore.hidden.iter().filter(|id| !hidden_now(id));
    events.extend(hide.map(|message_id| Event::from(MessageRedacted { message_id: *message_id })));
    Ok(Decision::Append { room: restore.room.clone(), subjects: restore.needs(), events })
}

/// What to append when everything was offered; what did not fit, cut to its bounds.
pub fn report(node: &str, before: Epoch, after: Seq, offered: usize, mut refused: Vec<NotRepaired>) -> LogRepaired {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let again = count(offered.saturating_sub(refused.len()));
    let refused_more = count(refused.len().saturating_sub(REFUSED_MAX));
    refused.truncate(REFUSED_MAX);
    LogRepaired { node: node.into(), before, after, offered: count(offered), again, refused, refused_more }
}

fn not_repaired(kind: &str, id: Option<MessageId>, reason: &str) -> NotRepaired {
    let fits =
        reason.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= REFUSED_REASON_BYTES_MAX);
    let reason = reason[..fits.last().unwrap_or(0)].into();
    NotRepaired { kind: kind.into(), id, reason }
}

/// Whether the entry posted this: same room, text, author's name, `reply_to` and `to`, as for a repeated post. Of what was
/// erased, here or there, room and id are left.
fn same(entry: &Entry, room: &RoomName, lost: &MessagePosted) -> bool {
    let erased = |posted: &MessagePosted| &*posted.author.name == NOBODY && posted.text.is_empty();
    let posted = match &entry.event {
        Event::MessagePosted(posted) => posted,
        Event::Erased(e) => return &*e.kind == "message.posted" && entry.header.room.as_ref() == Some(room),
        _ => return false,
    };
    if erased(posted) || erased(lost) {
        return entry.header.room.as_ref() == Some(room);
    }
    entry.header.room.as_ref() == Some(room)
        && posted.text == lost.text
        && posted.author.name == lost.author.name
        && posted.reply_to == lost.reply_to
        && posted.to == lost.to
}
