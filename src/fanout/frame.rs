//! Entries and live events as SSE frames.
//!
//! ```text
//! id: <cursor>            on durable events, `snapshot` and `reset` only
//! event: message.posted
//! data: {…}               one line: JSON has no raw line feeds
//! ```

use std::sync::Arc;

use antiphon_schemas::{
    Cursor, Entry, Epoch, Event, MessageId, Seq, time,
    wire::{Message, feed},
};
use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde_json::Value;

use crate::projection::view;

/// An encoded SSE event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What goes over the wire.
    pub bytes: Bytes,
    /// The position, for durable events.
    pub seq: Option<Seq>,
    /// The message whose text it shows, if any.
    pub shows: Option<MessageId>,
}

/// A live event: no id, not replayed.
pub fn live(name: &str, data: &impl Serialize) -> Frame {
    Frame { bytes: encode(None, name, data), seq: None, shows: None }
}

/// An event with an id: the subscriber has seen everything up to there.
pub fn at(cursor: Cursor, name: &str, data: &impl Serialize) -> Frame {
    Frame { bytes: encode(Some(cursor), name, data), seq: Some(cursor.seq), shows: None }
}

/// The frame of an entry; `None` for kinds that a feed does not carry. `redacted`: its text is hidden.
pub fn of_entry(entry: &Entry, epoch: Epoch, redacted: bool) -> Option<Frame> {
    let cursor = Cursor::new(epoch, entry.header.seq);
    let shows = view::posted_id(entry);
    let name = entry.event.kind();
    let bytes = match data(entry, epoch, redacted)? {
        Data::Message(message) => encode(Some(cursor), name, &message),
        Data::Other(value) => encode(Some(cursor), name, &value),
    };
    Some(Frame { bytes, seq: Some(entry.header.seq), shows })
}

/// What an entry says, as JSON: the data of its frame.
pub fn value_of(entry: &Entry, epoch: Epoch, redacted: bool) -> Value {
    match data(entry, epoch, redacted) {
        Some(Data::Message(message)) => serde_json::to_value(message).unwrap_or_default(),
        Some(Data::Other(value)) => value,
        None => Value::Null,
    }
}

enum Data {
    Message(Arc<Message>),
    Other(Value),
}

fn data(entry: &Entry, epoch: Epoch, redacted: bool) -> Option<Data> {
    let json = |value: serde_json::Result<Value>| value.ok().map(Data::Other);
    let position = |seq| view::position(epoch, seq);
    match &entry.event {
        Event::MessagePosted(_) | Event::ReplyPosted(_) | Event::Erased(_) => {
            let mut message = view::message(entry, epoch)?;
            if redacted {
                view::redact(&mut message);
            }
            Some(Data::Message(Arc::new(message)))
        }
        Event::MessageClaimed(e) => json(serde_json::to_value(feed::Claimed {
            message_id: e.message_id,
            reply_id: e.reply_id,
            bot: e.bot.clone(),
            worker: e.worker.clone(),
            fence: position(entry.header.seq),
            at: time::rfc3339(entry.header.at_ms),
        })),
        Event::MessageReleased(e) => json(serde_json::to_value(feed::Released {
            message_id: e.message_id,
            fence: e.fence.map(position),
            reason: e.reason.clone(),
        })),
        Event::MessageFailed(e) => json(serde_json::to_value(feed::Failed {
            message_id: e.message_id,
            reason: e.reason.clone(),
            attempt: e.attempt,
            retry_at: e.retry_at_ms.map(time::rfc3339),
            away: e.away,
        })),
        Event::MessageDead(e) => {
            json(serde_json::to_value(feed::Dead { message_id: e.message_id, reason: e.reason.clone() }))
        }
        Event::MessageCancelled(e) => json(serde_json::to_value(feed::About { message_id: e.message_id })),
        Event::MessageRedacted(e) => json(serde_json::to_value(feed::About { message_id: e.message_id })),
        Event::MessageErased(e) => json(serde_json::to_value(feed::About { message_id: e.message_id })),
        Event::MessageCompleted(e) => {
            json(serde_json::to_value(feed::Completed { message_id: e.message_id, reply_id: e.reply_id, ms: e.ms }))
        }
        // Who may answer is between the operator and the log.
        Event::LogRepaired(_)
        | Event::LogCheckpoint(_)
        | Event::KeyCreated(_)
        | Event::KeyRevoked(_)
        | Event::Unknown(_) => None,
    }
}

fn encode(cursor: Option<Cursor>, name: &str, data: &impl Serialize) -> Bytes {
    let mut out = BytesMut::with_capacity(256).writer();
    // Writing to memory cannot fail, and the wire types have only string keys.
    let _ = (|| -> std::io::Result<()> {
        use std::io::Write;
        if let Some(cursor) = cursor {
            writeln!(out, "id: {cursor}")?;
        }
        write!(out, "event: {name}\ndata: ")?;
        serde_json::to_writer(&mut out, data)?;
        out.write_all(b"\n\n")
    })();
    out.into_inner().freeze()
}
