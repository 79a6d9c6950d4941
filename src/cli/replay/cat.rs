//! `antiphon replay cat`: prints entries.

use std::io::Write;

use antiphon_schemas::{Entry, Event, MessageId, Seq, Stored, entry::Header, time};
use serde_json::{Value, json};

use super::{Desk, Output, Paint, Part, Progress, each_stored, json_line, out, position};
use crate::{
    cli::{DONE, foreign::one_line},
    replay::{
        hidden::Hidden,
        source::{self, Source},
        span::{Filter, Span},
    },
};

/// Characters shown of a text.
const TEXT_CHARS_MAX: usize = 100;
/// Characters shown of a kind; ours have fewer, another version's may have any.
pub(super) const KIND_CHARS_MAX: usize = 40;
/// Replaces a redacted text.
pub(super) const TAKEN_BACK: &str = "(taken back)";

const EXAMPLES: &str = "\
Examples:
  antiphon replay cat --from 2h --kind message.      what happened to messages in the last two hours
  antiphon replay cat --room lobby --author Ann      what Ann said in the lobby
  antiphon replay cat --log redis://127.0.0.1:6379 --json | jq .kind";

/// Print entries
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Cat {
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    wanted: Wanted,
}

/// Which entries of a part are wanted.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// Only this kind, or kinds with this prefix (`message.`); several, separated by commas
    #[arg(long = "kind", value_name = "KIND,…", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Only entries about this message
    #[arg(long, value_name = "ID")]
    message: Option<MessageId>,
    /// Only what this author posted, or this worker or bot claimed
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Also show redacted texts; erased ones are gone
    #[arg(long)]
    with_redacted: bool,
}

impl Cat {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        let (mut source, span) = desk.open_part(&self.part)?;
        let mut lines = Lines::new(&self.part, self.wanted);
        lines.look_ahead(&mut *source, span.after)?;
        source.seek(span.after)?;
        let progress = Progress::of_output(&mut *source, span)?;
        each_stored(&mut *source, span, &progress, |stored| {
            lines.show(stored)?;
            Ok(true)
        })?;
        progress.done();
        lines.flush()?;
        Ok(DONE)
    }
}

/// Writes the wanted entries, one per line.
pub(super) struct Lines {
    filter: Filter,
    hidden: Option<Hidden>,
    json: bool,
    paint: Paint,
    out: Output,
}

impl Lines {
    pub(super) fn new(part: &Part, wanted: Wanted) -> Lines {
        let Wanted { kinds, message, author, with_redacted } = wanted;
        let filter = Filter { room: part.room.clone(), kinds, message, author };
        let hidden = (!with_redacted).then(Hidden::default);
        Lines { filter, hidden, json: part.json, paint: Paint::stdout(), out: out() }
    }

    /// Finds out which texts after a position are hidden by now, if texts are wanted at all.
    pub(super) fn look_ahead(&mut self, source: &mut dyn Source, after: Seq) -> Result<(), source::Error> {
        let texts = ["message.posted", "reply.posted"].iter().any(|kind| self.filter.takes_kind(kind));
        if let Some(hidden) = self.hidden.as_mut().filter(|_| texts) {
            let progress = Progress::of(source, Span { after, until: None })?;
            *hidden = Hidden::now(source, after, |entries| progress.more(entries))?;
            progress.done();
        }
        Ok(())
    }

    /// The entry, if it is wanted.
    pub(super) fn take(&self, stored: &Stored) -> anyhow::Result<Option<Entry>> {
        if !self.filter.takes_kind(stored.kind()) || !self.filter.takes_header(&Header::decode(&stored.header)?) {
            return Ok(None);
        }
        Ok(Some(stored.entry()?).filter(|entry| self.filter.takes(entry)))
    }

    /// Writes the entry, if it is wanted.
    pub(super) fn show(&mut self, stored: &Stored) -> anyhow::Result<()> {
        let Some(mut entry) = self.take(stored)? else { return Ok(()) };
        let hidden = self.hidden.as_ref().is_some_and(|hidden| hidden.hide(&mut entry));
        if self.json {
            json_line(&mut self.out, &as_json(&entry, hidden))?;
        } else {
            writeln!(self.out, "{}", line(&entry, hidden, self.paint))?;
        }
        Ok(())
    }

    /// Notes which text a newly arrived entry hides.
    pub(super) fn heed(&mut self, stored: &Stored) {
        self.hidden.iter_mut().for_each(|hidden| hidden.apply(stored));
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// An entry as a JSON object: the header's fields and the event's own; `redacted` if its text was removed.
pub(super) fn as_json(entry: &Entry, redacted: bool) -> Value {
    let header = &entry.header;
    let mut value = json!({
        "position": header.seq.0,
        "at": time::rfc3339(header.at_ms),
        "kind": header.kind,
        "room": header.room,
        "subjects": header.subjects,
        "request": header.request,
        "event": event_json(&entry.event),
    });
    if redacted {
        value["redacted"] = true.into();
    }
    value
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

/// An entry in one line: position, time, kind, room, and the essentials of its content.
fn line(entry: &Entry, hidden: bool, paint: Paint) -> String {
    let header = &entry.header;
    let room = header.room.as_ref().map_or("-", |room| room.as_str());
    format!(
        "{:>9}  {}  {:<18} {:<12} {}",
        position(header.seq),
        paint.faint(&time::rfc3339(header.at_ms)),
        paint.bold(&one_line(&header.kind, KIND_CHARS_MAX)),
        room,
        what(&entry.event, hidden)
    )
}

/// A text in one line, unless it is hidden.
pub(super) fn text_line(text: &str, hidden: bool) -> String {
    if hidden { TAKEN_BACK.into() } else { one_line(text, TEXT_CHARS_MAX) }
}

/// A summary of an event.
pub(super) fn what(event: &Event, hidden: bool) -> String {
    match event {
        Event::MessagePosted(e) => {
            let asks = e.ask.as_ref().map_or(String::new(), |ask| format!(" → {}", ask.bot));
            format!("{} {}{asks}: {}", e.id, one_line(&e.author.name, 40), text_line(&e.text, hidden))
        }
        Event::ReplyPosted(e) => {
            format!("{} {}: {}", e.message_id, one_line(&e.author.name, 40), text_line(&e.text, hidden))
        }
        Event::MessageClaimed(e) => {
            format!("{} by {} for {}, try {}", e.message_id, one_line(&e.worker, 80), e.bot, e.attempt)
        }
        Event::MessageReleased(e) => format!("{} {}", e.message_id, one_line(&e.reason, TEXT_CHARS_MAX)),
        Event::MessageFailed(e) => format!("{} {}", e.message_id, one_line(&e.reason, TEXT_CHARS_MAX)),
        Event::MessageDead(e) => format!("{} {}", e.message_id, one_line(&e.reason, TEXT_CHARS_MAX)),
        Event::MessageCancelled(e) => e.message_id.to_string(),
        Event::MessageRedacted(e) => e.message_id.to_string(),
        Event::MessageErased(e) => e.message_id.to_string(),
        Event::MessageCompleted(e) => format!("{} by {} after {} ms", e.message_id, e.reply_id, e.ms),
        Event::LogRepaired(e) => {
            format!("by {}: {} of {} restored, lost after {}", one_line(&e.node, 80), e.again, e.offered, e.after)
        }
        Event::LogCheckpoint(e) => format!("of {} entries", e.size),
        Event::KeyCreated(e) => format!("{} for {}", e.key_id, one_line(&e.worker, 80)),
        Event::KeyRevoked(e) => e.key_id.to_string(),
        Event::Erased(e) => e.subjects.first().map_or("erased".into(), |id| format!("{id} erased")),
        Event::Unknown(e) => format!("a kind that this version does not know, {} bytes", e.data.len()),
    }
}
