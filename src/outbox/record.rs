//! The entries of the outbox's file log: two kinds, stored as MessagePack maps by field name.
//!
//! Promises: as for events: kinds and fields are only ever added, and what is not there has a default.

use std::sync::Arc;

use antiphon_schemas::{
    BotName, Entry, Event, MessageId, RoomName,
    event::{Author, Unknown},
    pack,
};
use serde::{Deserialize, Serialize};

use super::Settled;
use crate::{
    decide::post::Post,
    log::{Draft, Error},
};

const PARKED: &str = "outbox.parked";
const SETTLED: &str = "outbox.settled";

/// What an entry says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    Parked(Post),
    Settled(MessageId, Settled),
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredPost {
    room: RoomName,
    id: MessageId,
    author: Author,
    text: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Vec<BotName>>,
    priority: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<MessageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    said_at_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredEnd {
    id: MessageId,
    /// Why it was refused; absent: it was appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Arc<str>>,
}

impl Record {
    /// The record as a draft for the file log.
    pub(super) fn draft(&self) -> Result<Draft, Error> {
        let (kind, room, id, data) = match self {
            Record::Parked(post) => {
                let stored = StoredPost {
                    room: post.room.clone(),
                    id: post.id,
                    author: post.author.clone(),
                    text: post.text.clone(),
                    to: post.to.clone(),
                    priority: post.priority,
                    reply_to: post.reply_to,
                    said_at_ms: post.said_at_ms,
                };
                (PARKED, Some(post.room.clone()), post.id, rmp_serde::to_vec_named(&stored))
            }
            Record::Settled(id, how) => {
                let refused = match how {
                    Settled::Appended => None,
                    Settled::Refused(reason) => Some(reason.clone()),
                };
                (SETTLED, None, *id, rmp_serde::to_vec_named(&StoredEnd { id: *id, refused }))
            }
        };
        let data = data.map_err(|error| Error::Invalid(error.to_string()))?.into();
        let event = Event::Unknown(Unknown { kind: kind.into(), data, subjects: vec![id] });
        Draft::new(room, event, rand::random()).map_err(|error| Error::Invalid(error.to_string()))
    }

    /// What an entry of the file log says, or why it cannot be read.
    pub(super) fn of(entry: &Entry) -> Result<Record, String> {
        let Event::Unknown(unknown) = &entry.event else { return Err(format!("it is a `{}`", entry.header.kind)) };
        let error = |error: rmp_serde::decode::Error| error.to_string();
        match &*unknown.kind {
            PARKED => {
                let StoredPost { room, id, author, text, to, priority, reply_to, said_at_ms } =
                    pack::from_slice(&unknown.data).map_err(error)?;
                Ok(Record::Parked(Post { room, id, fresh: false, author, text, to, priority, reply_to, said_at_ms }))
            }
            SETTLED => {
                let StoredEnd { id, refused } = pack::from_slice(&unknown.data).map_err(error)?;
                Ok(Record::Settled(id, refused.map_or(Settled::Appended, Settled::Refused)))
            }
            kind => Err(format!("it is a `{kind}`")),
        }
    }
}
