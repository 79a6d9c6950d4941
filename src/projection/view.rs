//! A message as everybody sees it, from the entry that posted it and its record.
//!
//! Promise: the one place where a redacted text is taken out, and an erased author's name; feeds, history, snapshots and
//! prompts all come by here.

use std::sync::Arc;

use antiphon_schemas::{
    BotName, Cursor, Entry, Epoch, Event, MessageId, RoomName, Seq,
    event::{self, Erased, Made},
    time,
    wire::{Author, AuthorKind, Message, Position, Status},
};
use bytes::Bytes;

use super::record::Record;

/// Who has said what was erased.
pub const ERASED_AUTHOR: &str = "erased";

/// A position of this log as given out.
pub fn position(epoch: Epoch, seq: Seq) -> Position {
    Position(Cursor::new(epoch, seq))
}

/// What a message shows of the entry that posted it: a fraction of its size, so that many can be kept. Texts are shared.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Its id.
    pub id: MessageId,
    /// Where it was posted.
    pub seq: Seq,
    at_ms: u64,
    said_at_ms: Option<u64>,
    author: event::Author,
    text: Arc<str>,
    reply_to: Option<MessageId>,
    /// Whom it asked.
    bot: Option<BotName>,
    /// Of replies that are not erased.
    made: Option<Arc<Made>>,
    is_reply: bool,
    erased: bool,
}

impl Posted {
    /// Of the entry that posts it; `None` for other entries.
    pub fn of(entry: &Entry) -> Option<Posted> {
        let (seq, at_ms) = (entry.header.seq, entry.header.at_ms);
        let gone = |id, reply_to: Option<MessageId>| Posted {
            id,
            seq,
            at_ms,
            said_at_ms: None,
            author: nobody(reply_to.is_some()),
            text: Arc::default(),
            reply_to,
            bot: None,
            made: None,
            is_reply: reply_to.is_some(),
            erased: true,
        };
        Some(match &entry.event {
            Event::MessagePosted(e) => Posted {
                id: e.id,
                seq,
                at_ms,
                said_at_ms: e.said_at_ms,
                author: e.author.clone(),
                text: e.text.clone(),
                reply_to: e.reply_to,
                bot: e.ask.as_ref().map(|ask| ask.bot.clone()),
                made: None,
                is_reply: false,
                erased: false,
            },
            Event::ReplyPosted(e) => Posted {
                id: e.id,
                seq,
                at_ms,
                said_at_ms: None,
                author: e.author.clone(),
                text: e.text.clone(),
                reply_to: Some(e.message_id),
                bot: None,
                made: Some(e.made.clone()),
                is_reply: true,
                erased: false,
            },
            Event::Erased(e) => match (&*e.kind, e.subjects.as_slice()) {
                ("message.posted", [id]) => gone(*id, None),
                ("reply.posted", [id, message_id]) => gone(*id, Some(*message_id)),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Keeps what is left of it once its entry is erased: what [`Posted::of`] makes of that.
    pub fn erase(&mut self) {
        (self.author, self.text) = (nobody(self.is_reply), Arc::default());
        (self.bot, self.made, self.said_at_ms, self.erased) = (None, None, None, true);
        if !self.is_reply {
            self.reply_to = None;
        }
    }

    /// The message, with a status, and hidden if it is redacted.
    pub fn message(
        &self,
        room: &RoomName,
        epoch: Epoch,
        status: Status,
        reason: Option<Arc<str>>,
        redacted: bool,
    ) -> Message {
        let event::Author { name, kind, color } = self.author.clone();
        let made = self.made.as_deref();
        let mut message = Message {
            id: self.id,
            room: room.clone(),
            author: Author { name, kind, color },
            text: self.text.clone(),
            at: time::rfc3339(self.at_ms).into(),
            said_at: self.said_at_ms.map(|ms| time::rfc3339(ms).into()),
            reply_to: self.reply_to,
            position: position(epoch, self.seq),
            status,
            reason,
            redacted: self.erased,
            bot: self.bot.clone(),
            model: made.map(|made| made.model.clone()),
            options: made.map(|made| made.options.clone()),
            prompt_sha256: made.map(|made| made.prompt_sha256.clone()),
            context: made.map(|made| made.context.clone()),
            first_token_ms: made.and_then(|made| made.first_token_ms),
            total_ms: made.map(|made| made.total_ms),
            deltas: made.map(|made| made.deltas),
            finish: made.map(|made| made.finish.clone()),
            usage: made.and_then(|made| made.usage),
            notes: made.map(|made| made.notes.clone()).filter(|notes| !notes.is_empty()),
        };
        if redacted {
            redact(&mut message);
        }
        message
    }
}

fn nobody(is_reply: bool) -> event::Author {
    let kind = if is_reply { AuthorKind::Bot } else { AuthorKind::Human };
    event::Author { name: ERASED_AUTHOR.into(), kind, color: None }
}

/// The message that an entry posts, as it was when it was posted; `None` for other entries.
pub fn message(entry: &Entry, epoch: Epoch) -> Option<Message> {
    let posted = Posted::of(entry)?;
    let status = if posted.bot.is_some() { Status::Waiting } else { Status::None };
    Some(posted.message(entry.header.room.as_ref()?, epoch, status, None, false))
}

/// The message that an entry posts, as it stands by its record.
pub fn message_now(entry: &Arc<Entry>, epoch: Epoch, record: &Record) -> Option<Message> {
    message_as(&as_recorded(entry, record), epoch, record.status, record.reason.clone(), record.redacted)
}

/// The entry that posted a message, erased if its record says so: the log may not have come to it yet.
pub fn as_recorded(posted: &Arc<Entry>, record: &Record) -> Arc<Entry> {
    if record.erased { erased(posted) } else { posted.clone() }
}

/// The entry without its body.
pub fn erased(entry: &Arc<Entry>) -> Arc<Entry> {
    if matches!(entry.event, Event::Erased(_)) {
        return entry.clone();
    }
    // Appends keep to the length; the last resort is an entry without a body that could be read.
    Arc::new(entry.erased().unwrap_or_else(|| Entry {
        header: entry.header.clone(),
        body: Bytes::new(),
        event: Event::Erased(Erased { kind: (&*entry.header.kind).into(), subjects: entry.header.subjects.to_vec() }),
    }))
}

/// The message that an entry posts, with a status, and hidden if it is redacted.
pub fn message_as(
    entry: &Entry,
    epoch: Epoch,
    status: Status,
    reason: Option<Arc<str>>,
    redacted: bool,
) -> Option<Message> {
    Some(Posted::of(entry)?.message(entry.header.room.as_ref()?, epoch, status, reason, redacted))
}

/// The ids of the messages that an entry posts: one or none.
pub fn posted_id(entry: &Entry) -> Option<MessageId> {
    match &entry.event {
        Event::MessagePosted(e) => Some(e.id),
        Event::ReplyPosted(e) => Some(e.id),
        Event::Erased(e) if matches!(&*e.kind, "message.posted" | "reply.posted") => e.subjects.first().copied(),
        _ => None,
    }
}

/// When what an entry posts was said, in ms since 1970, as far as anybody knows: for showing.
pub fn said_ms(entry: &Entry) -> u64 {
    match &entry.event {
        Event::MessagePosted(e) => e.said_at_ms.unwrap_or(entry.header.at_ms),
        _ => entry.header.at_ms,
    }
}

/// Takes the text out.
pub fn redact(message: &mut Message) {
    message.text = Arc::from("");
    // They may quote what the model said.
    message.notes = None;
    message.redacted = true;
}
