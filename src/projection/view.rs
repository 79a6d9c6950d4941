//! A message as everybody sees it, from the entry that posted it and its record.
//!
//! Promise: the one place where a redacted text is taken out, and an erased author's name; feeds, history, snapshots and
//! prompts all come by here.

use std::sync::Arc;

use antiphon_schemas::{
    Cursor, Entry, Epoch, Event, MessageId,
    event::Erased,
    time,
    wire::{Author, AuthorKind, Message, Position, Status},
};
use bytes::Bytes;

use super::record::Record;

/// Who has said what was erased.
pub const ERASED_AUTHOR: &str = "erased";

/// A position of this log as given out.
pub fn position(epoch: Epoch, seq: antiphon_schemas::Seq) -> Position {
    Position(Cursor { epoch, partition: 0, seq })
}

/// The message that an entry posts, as it was when it was posted; `None` for other entries.
pub fn message(entry: &Entry, epoch: Epoch) -> Option<Message> {
    let header = &entry.header;
    let nobody = |kind| Author { name: ERASED_AUTHOR.into(), kind, color: None };
    let nothing: Arc<str> = "".into();
    let author =
        |a: &antiphon_schemas::event::Author| Author { name: a.name.clone(), kind: a.kind, color: a.color.clone() };
    let (id, who, text, reply_to) = match &entry.event {
        Event::MessagePosted(e) => (e.id, author(&e.author), &e.text, e.reply_to),
        Event::ReplyPosted(e) => (e.id, author(&e.author), &e.text, Some(e.message_id)),
        Event::Erased(e) => match (&*e.kind, e.subjects.as_slice()) {
            ("message.posted", [id]) => (*id, nobody(AuthorKind::Human), &nothing, None),
            ("reply.posted", [id, message_id]) => (*id, nobody(AuthorKind::Bot), &nothing, Some(*message_id)),
            _ => return None,
        },
        _ => return None,
    };
    let mut message = Message {
        id,
        room: header.room.clone()?,
        author: who,
        text: text.clone(),
        at: time::rfc3339(header.at_ms).into(),
        reply_to,
        position: position(epoch, header.seq),
        status: Status::None,
        reason: None,
        redacted: matches!(entry.event, Event::Erased(_)),
        bot: None,
        model: None,
        options: None,
        prompt_sha256: None,
        context: None,
        first_token_ms: None,
        total_ms: None,
        deltas: None,
        finish: None,
        usage: None,
    };
    match &entry.event {
        Event::MessagePosted(e) => {
            message.bot = e.ask.as_ref().map(|ask| ask.bot.clone());
            message.status = if e.ask.is_some() { Status::Waiting } else { Status::None };
        }
        Event::ReplyPosted(e) => {
            let made = &e.made;
            message.model = Some(made.model.clone());
            message.options = Some(made.options.clone());
            message.prompt_sha256 = Some(made.prompt_sha256.clone());
            message.context = Some(made.context.clone());
            message.first_token_ms = made.first_token_ms;
            message.total_ms = Some(made.total_ms);
            message.deltas = Some(made.deltas);
            message.finish = Some(made.finish.clone());
            message.usage = made.usage;
        }
        _ => {}
    }
    Some(message)
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
    // Whoever appends keeps to the length; the last resort is an entry without a body that could be read.
    Arc::new(entry.erased().unwrap_or_else(|| Entry {
        header: entry.header.clone(),
        body: Bytes::new(),
        event: Event::Erased(Erased { kind: (&*entry.header.kind).into(), subjects: entry.header.subjects.clone() }),
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
    let mut message = Message { status, reason, ..message(entry, epoch)? };
    if redacted {
        redact(&mut message);
    }
    Some(message)
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

/// Takes the text out.
pub fn redact(message: &mut Message) {
    message.text = Arc::from("");
    message.redacted = true;
}
