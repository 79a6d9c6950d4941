//! `antiphon replay show`: a room as it was at a given moment.

use std::io::Write;

use antiphon_schemas::{
    Entry, Event, RoomName, Seq, time,
    wire::{Message, Status},
};
use serde_json::json;

use super::{Desk, LogArgument, Output, Paint, Progress, cat, duration, each_stored, json_line, many, out, play};
use crate::{
    cli::{
        DONE,
        foreign::{self, one_line},
    },
    replay::{
        hidden::Hidden,
        pace::Speed,
        room::{RoomThen, Stands, Unanswered},
        span::{Moment, Span},
    },
};

const EXAMPLES: &str = "\
Examples:
  antiphon replay show lobby --at 2026-11-25T10:00          the lobby at ten o'clock, UTC
  antiphon replay show lobby --at 2h --follow --speed 10    and what followed, ten times as fast
  antiphon replay show lobby --at 0 --follow --step         from its beginning, line by line with Enter

Texts redacted before that moment are hidden, as they were then; texts redacted later are hidden too, unless you pass
--with-redacted. While replaying, pauses are shortened to 5 seconds, which is noted in the output.";

/// Show a room as it was, with what was being answered
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Show {
    /// The room
    #[arg(required_unless_present = "in_room")]
    room: Option<RoomName>,
    /// The same, as other commands have it
    #[arg(long = "room", id = "in_room", value_name = "ROOM", conflicts_with = "room", hide = true)]
    in_room: Option<RoomName>,
    #[command(flatten)]
    log: LogArgument,
    /// The moment: 2026-11-25T10:00, 2h (ago), 1234 [default: now]
    #[arg(long, alias = "from", value_name = "TIME|POSITION")]
    at: Option<Moment>,
    /// Replay up to this time or position [default: the log's end]
    #[arg(long, value_name = "TIME|POSITION", requires = "follow")]
    to: Option<Moment>,
    /// Number of newest messages to show
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 50)]
    count: usize,
    /// Also show texts redacted since then
    #[arg(long)]
    with_redacted: bool,
    /// Replay from there
    #[arg(short, long)]
    follow: bool,
    /// Speed: 1 is the original pace, 10 ten times as fast, max without pauses
    #[arg(long, default_value = "1", requires = "follow")]
    speed: Speed,
    /// Keep pauses at their original length
    #[arg(long, requires = "follow")]
    gaps: bool,
    /// Wait for Enter before each line instead
    #[arg(long, requires = "follow", conflicts_with_all = ["speed", "gaps"])]
    step: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        let room = self.room.or(self.in_room).expect("one of both is required");
        let mut source = desk.open(&self.log)?;
        let now_ms = desk.clock.now_ms();
        let until = match self.at {
            Some(at) => Span::at(&mut *source, at, now_ms)?,
            None => source.tail()?,
        };
        let mut then = RoomThen::new(source.epoch(), room.clone(), self.count);
        let (mut hidden, mut append) = (Hidden::default(), None);
        source.seek(Seq::ZERO)?;
        // Up to the end, because texts hidden later are hidden now.
        let whole = Span { after: Seq::ZERO, until: None };
        let progress = Progress::of(&mut *source, whole)?;
        each_stored(&mut *source, whole, &progress, |stored| {
            if stored.seq() > until {
                // An append is atomic: nobody ever saw an answer whose question was still open.
                if append.is_none_or(|append| stored.request() != append) {
                    append = None;
                    hidden.apply(stored);
                    return Ok(!self.with_redacted);
                }
            } else if stored.seq() == until {
                append = Some(stored.request());
            }
            then.apply(stored)?;
            Ok(true)
        })?;
        progress.done();
        if self.with_redacted {
            hidden = Hidden::default();
        }
        let (position, entry_ms) = then.at();
        let at_ms = match self.at {
            Some(Moment::Time(ms)) => ms.max(entry_ms),
            Some(Moment::Ago(ms)) => now_ms.saturating_sub(ms).max(entry_ms),
            Some(Moment::Position(_) | Moment::Cursor(_)) => entry_ms,
            None => now_ms.max(entry_ms),
        };
        let mut screen = Screen { json: self.json, paint: Paint::stdout(), hidden, out: out() };
        screen.room(&room, &then, at_ms)?;
        if self.follow {
            let end = self.to.map(|to| Span::at(&mut *source, to, now_ms)).transpose()?.unwrap_or(Seq::MAX);
            source.seek(position)?;
            let how = if self.step { play::How::Step } else { play::How::Paced(self.speed, self.gaps) };
            play::run(desk, &mut *source, (&room, end), at_ms, how, &mut screen)?;
        }
        Ok(DONE)
    }
}

/// Where it is shown.
pub(super) struct Screen {
    json: bool,
    paint: Paint,
    hidden: Hidden,
    out: Output,
}

impl Screen {
    fn room(&mut self, room: &RoomName, then: &RoomThen, at_ms: u64) -> anyhow::Result<()> {
        let ((position, _), messages, open) = (then.at(), then.messages(&self.hidden), then.unanswered());
        if self.json {
            let at = time::rfc3339(at_ms);
            let value = json!({"room": room, "position": position, "at": at, "said": then.said(), "messages": messages, "unanswered": open});
            json_line(&mut self.out, &value)?;
            self.out.flush()?;
            return Ok(());
        }
        let count = match (messages.len(), then.said()) {
            (_, 0) => "nothing had been said".into(),
            (shown, said) if shown as u64 == said => many(said, "message"),
            (shown, said) => format!("the last {shown} of {}", many(said, "message")),
        };
        let head = format!("{room} at {}, position {position}: {count}", time::rfc3339(at_ms));
        writeln!(self.out, "{}", self.paint.bold(&head))?;
        for message in &messages {
            writeln!(self.out, "{}", self.message(message))?;
        }
        if !open.is_empty() {
            writeln!(self.out, "{}", self.paint.bold("not answered yet:"))?;
        }
        for one in &open {
            let asked = messages.iter().find(|message| message.id == one.message_id);
            let who = asked.map_or(String::new(), |message| format!(" of {}", one_line(&message.author.name, 40)));
            writeln!(self.out, "  {}{who} → {}: {}", one.message_id, one.bot, stands(one, at_ms))?;
        }
        self.out.flush()?;
        Ok(())
    }

    fn message(&self, message: &Message) -> String {
        let text = if message.redacted { cat::TAKEN_BACK.into() } else { foreign::lines(&message.text) };
        let asks = message.bot.as_ref().map_or(String::new(), |bot| format!(" → {bot}"));
        let ended = match message.status {
            Status::None | Status::Answered | Status::Waiting | Status::Claimed => String::new(),
            Status::Failed => "failed".into(),
            Status::Dead => "given up".into(),
            Status::Cancelled => "cancelled".into(),
        };
        let reason = message.reason.as_deref().filter(|_| !ended.is_empty());
        let reason = reason.map_or(String::new(), |reason| format!(": {}", one_line(reason, 100)));
        let ended = if ended.is_empty() { ended } else { self.paint.faint(&format!("  [{ended}{reason}]")) };
        let (at, name) = (self.paint.faint(message.shown_at()), self.paint.bold(&one_line(&message.author.name, 40)));
        format!("{at}  {name}{asks}: {text}{ended}")
    }

    /// Whether an entry is visible: all but those that only complete another one.
    pub(super) fn shows(&self, event: &Event) -> bool {
        self.json || !matches!(event, Event::MessageCompleted(_))
    }

    /// An entry of the room, while replaying.
    pub(super) fn entry(&mut self, mut entry: Entry) -> anyhow::Result<()> {
        let hidden = self.hidden.hide(&mut entry);
        if self.json {
            json_line(&mut self.out, &cat::as_json(&entry, hidden))?;
        } else {
            let line = match crate::projection::view::message(&entry, antiphon_schemas::Epoch(0)) {
                Some(mut message) => {
                    message.redacted = hidden;
                    self.message(&message)
                }
                None => {
                    let what = format!(
                        "    [{}: {}]",
                        one_line(&entry.header.kind, cat::KIND_CHARS_MAX),
                        cat::what(&entry.event, hidden)
                    );
                    format!("{}  {}", self.paint.faint(&time::rfc3339(entry.header.at_ms)), self.paint.faint(&what))
                }
            };
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()?;
        Ok(())
    }

    /// A shortened pause.
    pub(super) fn shortened(&mut self, was_ms: u64) -> anyhow::Result<()> {
        if !self.json {
            let words = format!("    … {} of silence, shortened to 5 s", duration(was_ms));
            writeln!(self.out, "{}", self.paint.faint(&words))?;
            self.out.flush()?;
        }
        Ok(())
    }
}

fn stands(one: &Unanswered, at_ms: u64) -> String {
    let for_ms = |since_ms: u64| duration(at_ms.saturating_sub(since_ms));
    match &one.stands {
        Stands::Claimed { worker, since_ms, attempt, .. } => {
            format!("claimed by {} for {}, try {attempt}", one_line(worker, 80), for_ms(*since_ms))
        }
        Stands::Waiting { number, since_ms } => format!("waiting for {} as number {number}", for_ms(*since_ms)),
        Stands::Retrying { due_at_ms } => {
            let due = duration(due_at_ms.saturating_sub(at_ms));
            format!("tried again in {due}, after try {}", one.attempts)
        }
    }
}
