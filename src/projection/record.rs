//! One message's record: where the log speaks of it, and where it stands on the way to its answer.
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
}

impl Change {
    fn to(status: Status) -> Change {
        Change { status: Some(status), ..Change::default() }
    }

    fn because(status: Status, reason: &Arc<str>) -> Change {
        Change { status: Some(status), reason: Some(reason.clone()), redacted: false }
    }

    /// The records that an entry changes: at most two.
    pub fn of(entry: &Entry) -> Vec<(MessageId, Change)> {
        match &entry.event {
            Event::MessagePosted(e) => {
                vec![(e.id, Change::to(if e.ask.is_some() { Status::Waiting } else { Status::None }))]
            }
            Event::MessageClaimed(e) => vec![(e.message_id, Change::to(Status::Claimed))],
            Event::MessageReleased(e) => vec![(e.message_id, Change::to(Status::Waiting))],
            Event::MessageFailed(e) => {
                let status = if e.retry_at_ms.is_some() { Status::Waiting } else { Status::Failed };
                vec![(e.message_id, Change::because(status, &e.reason))]
            }
            Event::MessageDead(e) => vec![(e.message_id, Change::because(Status::Dead, &e.reason))],
            Event::MessageCancelled(e) => vec![(e.message_id, Change::to(Status::Cancelled))],
            Event::MessageRedacted(e) => vec![(e.message_id, Change { redacted: true, ..Change::default() })],
            Event::ReplyPosted(e) => vec![(e.id, Change::to(Status::None)), (e.message_id, Change::default())],
            Event::MessageCompleted(e) => vec![(e.message_id, Change::to(Status::Answered))],
            Event::Unknown(_) => vec![],
        }
    }
}
