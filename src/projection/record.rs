//! One message's record: where the log mentions it, and how far it is on the way to its answer.
//!
//! Shared by the index (on disk, a little behind) and by what a node keeps of the newest entries (in memory), so that
//! the two cannot disagree about what an entry means.

use std::sync::Arc;

use antiphon_schemas::{Entry, Event, MessageId, Seq, wire::Status};
use serde::{Deserialize, Serialize};

/// What is known of a message or reply without reading the log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// The entries that speak of it, oldest first; the first one posted it. Never empty once posted.
    pub positions: Vec<Seq>,
    /// Where it stands.
    pub status: Status,
    /// Why it failed or died.
    pub reason: Option<Arc<str>>,
    /// Hidden on somebody's wish.
    pub redacted: bool,
    /// Its text and its author's name are out of the log, or about to be: whatever still has them shows neither.
    pub erased: bool,
}

impl Record {
    /// The entry that posted it.
    pub fn posted(&self) -> Seq {
        self.positions.first().copied().unwrap_or_default()
    }

    /// Folds one change in; a position that is already there changes nothing.
    pub fn apply(&mut self, seq: Seq, change: &Change) {
        if self.positions.last().is_some_and(|last| *last >= seq) {
            return;
        }
        self.positions.push(seq);
        if let Some(status) = change.status {
            self.status = status;
            self.reason = change.reason.clone();
        }
        self.redacted |= change.redacted;
        self.erased |= change.erased;
    }
}

/// What one entry does to one record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Its new status; with it the reason is replaced.
    pub status: Option<Status>,
    /// Why it failed or died.
    pub reason: Option<Arc<str>>,
    /// It is hidden from now on.
    pub redacted: bool,
    /// It is erased from now on.
    pub erased: bool,
}

impl Change {
    fn to(status: Status) -> Change {
        Change { status: Some(status), ..Change::default() }
    }

    fn because(status: Status, reason: &Arc<str>) -> Change {
        Change { status: Some(status), reason: Some(reason.clone()), ..Change::default() }
    }

    /// The records that an entry changes: at most two.
    pub fn of(entry: &Entry) -> impl Iterator<Item = (MessageId, Change)> + use<> {
        let (first, second) = match &entry.event {
            Event::MessagePosted(e) => {
                ((e.id, Change::to(if e.ask.is_some() { Status::Waiting } else { Status::None })), None)
            }
            Event::MessageClaimed(e) => ((e.message_id, Change::to(Status::Claimed)), None),
            Event::MessageReleased(e) => ((e.message_id, Change::to(Status::Waiting)), None),
            Event::MessageFailed(e) => {
                let status = if e.retry_at_ms.is_some() { Status::Waiting } else { Status::Failed };
                ((e.message_id, Change::because(status, &e.reason)), None)
            }
            Event::MessageDead(e) => ((e.message_id, Change::because(Status::Dead, &e.reason)), None),
            Event::MessageCancelled(e) => ((e.message_id, Change::to(Status::Cancelled)), None),
            Event::MessageRedacted(e) => ((e.message_id, Change { redacted: true, ..Change::default() }), None),
            Event::ReplyPosted(e) => ((e.id, Change::to(Status::None)), Some((e.message_id, Change::default()))),
            Event::MessageCompleted(e) => ((e.message_id, Change::to(Status::Answered)), None),
            Event::MessageErased(e) => {
                ((e.message_id, Change { redacted: true, erased: true, ..Change::default() }), None)
            }
            // Whether it asked somebody is gone with its body. A message is erased once it has ended, so another entry
            // says where it stands.
            Event::Erased(e) => match (&*e.kind, e.subjects.as_slice()) {
                ("message.posted", [id]) => ((*id, Change::to(Status::None)), None),
                ("reply.posted", [id, message_id]) => {
                    ((*id, Change::to(Status::None)), Some((*message_id, Change::default())))
                }
                _ => return None.into_iter().chain(None),
            },
            Event::LogRepaired(_)
            | Event::LogCheckpoint(_)
            | Event::KeyCreated(_)
            | Event::KeyRevoked(_)
            | Event::Unknown(_) => {
                return None.into_iter().chain(None);
            }
        };
        Some(first).into_iter().chain(second)
    }
}
