//! `antiphon replay cat`: the entries as they are.

use std::io::Write;

use antiphon_schemas::{Entry, Event, MessageId, entry::Header, time};
use serde_json::{Value, json};

use super::{Desk, Paint, Part, Progress, each_stored, json_line, out, plain, position};
use crate::{cli::DONE, replay::span::Filter};

/// Characters of a text that are shown to people.
const TEXT_CHARS_MAX: usize = 100;

/// The entries as they are
#[derive(Debug, clap::Args)]
pub(super) struct Cat {
    #[command(flatten)]
    part: Part,
    /// Only this kind, or kinds that begin so (`message.`); several with commas
    #[arg(long = "kind", value_name = "KIND,…", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Only what is about this message
    #[arg(long, value_name = "ID")]
    message: Option<MessageId>,
    /// Only what this author posted, or this worker or bot claimed
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

impl Cat {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        let (mut source, span) = desk.open_part(&self.part)?;
        let filter =
            Filter { room: self.part.room.clone(), kinds: self.kinds, message: self.message, author: self.author };
        let (mut out, paint, json) = (out(), Paint::stdout(), self.part.json);
        let progress = Progress::of(&mut *source, span)?;
        each_stored(&mut *source, span, &progress, |stored| {
            let header = Header::decode(&stored.header)?;
            if !filter.takes_header(&header) {
                return Ok(true);
            }
            let entry = stored.entry()?;
            if filter.takes(&entry) {
                if json {
                    json_line(&mut out, &as_json(&entry))?;
                } else {
                    writeln!(out, "{}", line(&entry, paint))?;
                }
            }
            Ok(true)
        })?;
        progress.done();
        out.flush()?;
        Ok(DONE)
    }
}

/// An entry as a JSON object: what the header says, and the event's own fields.
pub(super) fn as_json(entry: &Entry) -> Value {
    let header = &entry.header;
    json!({
        "position": header.seq.0,
        "at": time::rfc3339(header.at_ms),
        "kind": header.kind,
        "room": header.room,
        "subjects": header.subjects,
        "request": header.request,
        "event": event_json(&entry.event),
    })
}

fn event_json(event: &Event) -> Value {
    let value = match event {
        Event::MessagePosted(e) => serde_json::to_value(e),
        Event::MessageClaimed(e) => serde_json::to_value(e),
        Event::MessageReleased(e) => serde_json::to_value(e),
        Event::MessageFailed(e) => serde_json::to_value(e),
        Event::MessageDead(e) => serde_json::to_value(e),
        Event::MessageCancelled(e) => serde_json::to_value(e),
        Event::MessageRedacted(e) => serde_json::to_value(e),
        Event::MessageErased(e) => serde_json::to_value(e),
        Event::ReplyPosted(e) => serde_json::to_value(e),
        Event::MessageCompleted(e) => serde_json::to_value(e),
        Event::LogRepaired(e) => serde_json::to_value(e),
        Event::LogCheckpoint(e) => serde_json::to_value(e),
        Event::KeyCreated(e) => serde_json::to_value(e),
        Event::KeyRevoked(e) => serde_json::to_value(e),
        Event::Erased(_) => Ok(json!({ "erased": true })),
        Event::Unknown(e) => Ok(json!({ "unknown": e.data.len() })),
    };
    value.unwrap_or(Value::Null)
}

/// An entry in one line: position, time, kind, room, and what matters most of it.
fn line(entry: &Entry, paint: Paint) -> String {
    let header = &entry.header;
    let room = header.room.as_ref().map_or("-", |room| room.as_str());
    format!(
        "{:>9}  {}  {:<18} {:<12} {}",
        position(header.seq),
        paint.faint(&time::rfc3339(header.at_ms)),
        paint.bold(&header.kind),
        room,
        what(&entry.event)
    )
}

/// What an event says, in few words.
fn what(event: &Event) -> String {
    match event {
        Event::MessagePosted(e) => {
            let asks = e.ask.as_ref().map_or(String::new(), |ask| format!(" → {}", ask.bot));
            format!("{} {}{asks}: {}", e.id, plain(&e.author.name, 40), plain(&e.text, TEXT_CHARS_MAX))
        }
        Event::ReplyPosted(e) => {
            format!("{} {}: {}", e.message_id, plain(&e.author.name, 40), plain(&e.text, TEXT_CHARS_MAX))
        }
        Event::MessageClaimed(e) => {
            format!("{} by {} for {}, try {}", e.message_id, plain(&e.worker, 80), e.bot, e.attempt)
        }
        Event::MessageReleased(e) => format!("{} {}", e.message_id, e.reason),
        Event::MessageFailed(e) => format!("{} {}", e.message_id, plain(&e.reason, TEXT_CHARS_MAX)),
        Event::MessageDead(e) => format!("{} {}", e.message_id, plain(&e.reason, TEXT_CHARS_MAX)),
        Event::MessageCancelled(e) => e.message_id.to_string(),
        Event::MessageRedacted(e) => e.message_id.to_string(),
        Event::MessageErased(e) => e.message_id.to_string(),
        Event::MessageCompleted(e) => format!("{} by {} after {} ms", e.message_id, e.reply_id, e.ms),
        Event::LogRepaired(e) => {
            format!("by {}: {} of {} are there again, lost after {}", e.node, e.again, e.offered, e.after)
        }
        Event::LogCheckpoint(e) => format!("of {} entries", e.size),
        Event::KeyCreated(e) => format!("{} for {}", e.key_id, plain(&e.worker, 80)),
        Event::KeyRevoked(e) => e.key_id.to_string(),
        Event::Erased(e) => e.subjects.first().map_or("erased".into(), |id| format!("{id} erased")),
        Event::Unknown(e) => format!("a kind that this version does not know, {} bytes", e.data.len()),
    }
}
