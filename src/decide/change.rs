//! What people may do to a message afterwards: cancel it, have it tried again, hide it, erase it.

use antiphon_schemas::{
    BotName, Event, MessageId,
    event::{ErasedReply, MessageCancelled, MessageErased, MessageRedacted, MessageReleased, release},
    wire::Status,
};

use super::{Decision, Policy, Prefetched, Refusal, lane, room_for_one_more};
use crate::projection::Projections;

/// A wish of a person about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The answer is no longer wanted.
    Cancel,
    /// Try again, or answer once more.
    Retry,
    /// Hide it.
    Redact,
    /// Take its text and its author's name out of the log.
    Erase,
}

/// Decides a change.
///
/// # Errors
/// [`Refusal::NoSuchMessage`]; cancel: [`Refusal::AlreadyEnded`]; retry: [`Refusal::NotFailed`],
/// [`Refusal::Redacted`], [`Refusal::UnknownBot`], [`Refusal::QueueFull`].
pub fn change(
    state: &Projections,
    facts: &Prefetched,
    policy: &Policy,
    message_id: MessageId,
    change: Change,
) -> Result<Decision, Refusal> {
    let fact = facts.look(state, &message_id).ok_or(Refusal::NoSuchMessage(message_id))?;
    let room = fact.posted.header.room.clone().ok_or(Refusal::NoSuchMessage(message_id))?;
    let open = matches!(fact.record.status, Status::Waiting | Status::Claimed);
    let cancelled = Event::from(MessageCancelled { message_id });
    let events = match (change, fact.record.status) {
        (Change::Cancel, Status::Cancelled) => return Ok(Decision::Stands(Status::Cancelled)),
        (Change::Cancel, _) if open => vec![cancelled],
        (Change::Cancel, status) => return Err(Refusal::AlreadyEnded(status)),
        (Change::Retry, Status::Failed | Status::Dead | Status::Answered | Status::Cancelled) => {
            // First: of an erased message nobody knows any more what it asked.
            if fact.record.redacted {
                return Err(Refusal::Redacted);
            }
            let Event::MessagePosted(posted) = &fact.posted.event else { return Err(Refusal::NotFailed(Status::None)) };
            let Some(ask) = &posted.ask else { return Err(Refusal::NotFailed(Status::None)) };
            if !policy.can_ask(&ask.bot, &room) {
                return Err(policy.unknown_bot(&ask.bot, &room));
            }
            room_for_one_more(state, policy, &ask.bot)?;
            let ask = lane(state, &room, &ask.bot, ask.priority);
            vec![MessageReleased { message_id, fence: None, reason: release::RETRY_ASKED.into(), ask }.into()]
        }
        (Change::Retry, status) => return Err(Refusal::NotFailed(status)),
        (Change::Redact, status) if fact.record.redacted => return Ok(Decision::Stands(status)),
        (Change::Redact, _) => {
            let redacted = Event::from(MessageRedacted { message_id });
            open.then_some(cancelled).into_iter().chain([redacted]).collect()
        }
        (Change::Erase, status) if fact.record.erased => return Ok(Decision::Stands(status)),
        (Change::Erase, _) => {
            let redacted = (!fact.record.redacted).then(|| MessageRedacted { message_id }.into());
            let (positions, reply) = (vec![fact.posted.header.seq], erased_reply(&fact.posted.event));
            let erased = Event::from(MessageErased { message_id, positions, reply });
            open.then_some(cancelled).into_iter().chain(redacted).chain([erased]).collect()
        }
    };
    Ok(Decision::Append { room, subjects: vec![message_id], events })
}

/// What is to be known of a reply after its entry was erased; `None` for other messages.
fn erased_reply(posted: &Event) -> Option<ErasedReply> {
    match posted {
        Event::ReplyPosted(e) => Some(ErasedReply {
            bot: BotName::new(&e.author.name).ok(),
            total_ms: e.made.total_ms,
            first_token_ms: e.made.first_token_ms,
        }),
        // Its `message.erased` was lost: what it said is lost, too.
        Event::Erased(e) if &*e.kind == "reply.posted" => Some(ErasedReply::default()),
        _ => None,
    }
}
