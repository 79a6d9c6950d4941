//! `antiphon replay why`: traces one message.

use std::io::{IsTerminal, Write};

use antiphon_schemas::{Entry, Event, MessageId, Seq, event::AuthorKind, event::Made, event::release, time};
use serde_json::{Value, json};

use super::{
    Desk, LogArgument, Paint, Progress, Whole,
    cat::{as_json, text_line},
    duration, each_stored, json_line, many, out,
};
use crate::{
    cli::{DONE, FAILED, complain, foreign::one_line},
    replay::{
        lanes::{Behind, Lanes},
        legs::{Leg, Outcome, Way},
        life::{Life, Search},
        source::Source,
        span::Span,
    },
};

const EXAMPLES: &str = "\
Examples:
  antiphon replay why 0192f0c1-8b7e-7cc3-98a4-3a5e1c0d9f10          by the id of the question, or of its reply
  antiphon replay why 0192f0c1-8b7e-7cc3-98a4-3a5e1c0d9f10 --json | jq .legs

You find ids in `antiphon replay cat`, in a message's link, in the monitor, and in the response to a post.";

/// Why it rejects ranges.
const WHOLE: &str = "`why` always reads the whole log: omit --room, --from and --to";

/// Width of the drawing of the legs.
const BAR: usize = 40;
/// How many ids of a list are shown; the rest are counted.
const IDS_MAX: usize = 3;

/// Trace one message: what it waited behind, who answered it, with which model, and how long each step took
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Why {
    /// The id of a message or of a reply
    message: MessageId,
    #[command(flatten)]
    log: LogArgument,
    #[command(flatten)]
    whole: Whole,
    #[arg(long, hide = true)]
    room: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Why {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        self.whole.check(self.room.is_some(), WHOLE)?;
        let mut source = desk.open(&self.log)?;
        let Some(mut life) = search(&mut *source, self.message)? else {
            complain(&format!("no message {} in {}", self.message, source.shown()));
            return Ok(FAILED);
        };
        if let Some(last) = life.last_wait() {
            let (mut lanes, span) = (Lanes::default(), Span { after: Seq::ZERO, until: Some(last) });
            source.seek(Seq::ZERO)?;
            let progress = Progress::of(&mut *source, span)?;
            each_stored(&mut *source, span, &progress, |stored| {
                life.fold(&mut lanes, stored)?;
                Ok(true)
            })?;
            progress.done();
        }
        let mut out = out();
        if self.json {
            json_line(&mut out, &life_json(&life))?;
        } else {
            write(&mut out, &life)?;
        }
        out.flush()?;
        Ok(DONE)
    }
}

/// The first pass; a second one if the id is that of a reply.
fn search(source: &mut dyn Source, mut id: MessageId) -> anyhow::Result<Option<Life>> {
    let whole = Span { after: Seq::ZERO, until: None };
    loop {
        let (mut search, mut question) = (Search::of(id), None);
        source.seek(Seq::ZERO)?;
        let progress = Progress::of(source, whole)?;
        each_stored(source, whole, &progress, |stored| {
            question = search.take(stored);
            Ok(question.is_none())
        })?;
        progress.done();
        match question {
            Some(question) => id = question,
            None => return Ok(search.finish()?),
        }
    }
}

fn life_json(life: &Life) -> Value {
    let steps = life.entries.iter().map(|entry| {
        let mut step = as_json(entry, life.hidden_texts.contains(&entry.header.seq));
        if let Some(behind) = life.waits.get(&entry.header.seq) {
            let first: Vec<_> = behind.first.iter().map(|(id, room)| json!({"message_id": id, "room": room})).collect();
            step["waits_behind"] = json!({"ahead": behind.ahead, "first": first, "held": behind.held});
        }
        step
    });
    let room = life.entries.first().and_then(|entry| entry.header.room.clone());
    json!({
        "message_id": life.message_id,
        "room": room,
        "outcome": life.way.outcome,
        "total_ms": life.way.total_ms(),
        "legs": life.way.legs,
        "steps": steps.collect::<Vec<_>>(),
        "line": last_line(life),
    })
}

fn write(out: &mut impl Write, life: &Life) -> anyhow::Result<()> {
    let paint = Paint::stdout();
    let room = life.entries.first().and_then(|entry| entry.header.room.clone());
    let place = room.map_or(String::new(), |room| format!(" in {room}"));
    let head = format!("{}{place}: {}", life.message_id, life.way.outcome.words());
    writeln!(out, "{}", paint.bold(&head))?;
    let begin_ms = life.entries.first().map_or(0, |entry| entry.header.at_ms);
    for entry in &life.entries {
        let header = &entry.header;
        let after = format!("+{}", duration(header.at_ms.saturating_sub(begin_ms)));
        let (at, what) = (paint.faint(&time::rfc3339(header.at_ms)), what(life, entry));
        writeln!(out, "{:>9}  {at}  {after:>12}  {what}", header.seq.0)?;
        for more in details(life, entry) {
            writeln!(out, "{:51}{}", "", paint.faint(&more))?;
        }
    }
    let way = &life.way;
    if !way.legs.is_empty() {
        let parts: Vec<_> = way.legs.iter().map(|leg| format!("{} {}", leg.leg.words(), duration(leg.ms))).collect();
        writeln!(out, "{}", parts.join(", "))?;
        if std::io::stdout().is_terminal() {
            picture(way).into_iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
    }
    writeln!(out, "{}", last_line(life))?;
    Ok(())
}

/// An entry in words.
fn what(life: &Life, entry: &Entry) -> String {
    let hidden = life.hidden_texts.contains(&entry.header.seq);
    let whose = |id: &MessageId| if *id == life.message_id { "" } else { "the reply " };
    match &entry.event {
        Event::MessagePosted(e) => {
            let name = one_line(&e.author.name, 40);
            let asks =
                e.ask.as_ref().map_or(String::new(), |ask| format!(", asks {} (priority {})", ask.bot, ask.priority));
            format!("posted by {name}{asks}: {}", text_line(&e.text, hidden))
        }
        Event::MessageClaimed(e) => {
            let (worker, lease) = (one_line(&e.worker, 80), duration(e.lease_ms));
            format!("claimed by {worker} for {}, try {}, fence {}, lease {lease}", e.bot, e.attempt, entry.header.seq)
        }
        Event::MessageReleased(e) => match &*e.reason {
            release::LEASE_OVER => "taken from a worker whose lease expired (lease-over)".into(),
            release::RETRY_DUE => "waits again: the next try is due".into(),
            release::RETRY_ASKED => "waits again: somebody asked for another try".into(),
            release::RESTARTED => "waits again: the server that held it has restarted".into(),
            release::GOODBYE => "waits again: the worker gave it back".into(),
            release::RESTORED => "waits again: the store had lost its end".into(),
            other => format!("waits again: {}", one_line(other, 80)),
        },
        Event::MessageFailed(e) => {
            let again = match e.retry_at_ms {
                Some(at_ms) => {
                    format!(", tried again in {}", duration(at_ms.saturating_sub(entry.header.at_ms)))
                }
                None => ", not tried again".into(),
            };
            format!("try {} failed: {}{again}", e.attempt, one_line(&e.reason, 200))
        }
        Event::MessageDead(e) => format!("given up: {}", one_line(&e.reason, 200)),
        Event::MessageCancelled(_) => "cancelled".into(),
        Event::MessageRedacted(e) => format!("{}taken back", whose(&e.message_id)),
        Event::MessageErased(e) => format!("{}erased", whose(&e.message_id)),
        Event::ReplyPosted(e) => format!("reply by {}: {}", one_line(&e.author.name, 40), text_line(&e.text, hidden)),
        Event::MessageCompleted(_) => "completed".into(),
        Event::Erased(_) => match &*entry.header.kind {
            "message.posted" => "posted; its text is erased".into(),
            "reply.posted" => "reply; its text is erased".into(),
            kind => format!("{}, erased", one_line(kind, 80)),
        },
        other => one_line(other.kind(), 80),
    }
}

/// Detail lines below an entry.
fn details(life: &Life, entry: &Entry) -> Vec<String> {
    let mut lines: Vec<_> = life.waits.get(&entry.header.seq).map(waits).into_iter().collect();
    match &entry.event {
        Event::MessagePosted(e) => lines.extend(e.reply_to.map(|id| format!("replies to {id}"))),
        Event::MessageClaimed(e) => lines.push(format!("its reply will be {}", e.reply_id)),
        Event::ReplyPosted(e) => lines.extend([e.id.to_string()].into_iter().chain(made(&e.made))),
        _ => {}
    }
    lines
}

fn waits(behind: &Behind) -> String {
    let held = match behind.held {
        0 => String::new(),
        1 => ", while 1 is being answered".into(),
        n => format!(", while {n} are being answered"),
    };
    if behind.ahead == 0 {
        return format!("waits as the next one{held}");
    }
    let ids: Vec<_> = behind.first.iter().take(IDS_MAX).map(|(id, room)| format!("{id} in {room}")).collect();
    let more = if behind.ahead > ids.len() { ", …" } else { "" };
    format!("waits behind {}{held}: {}{more}", behind.ahead, ids.join(", "))
}

fn made(made: &Made) -> Vec<String> {
    let first = made.first_token_ms.map_or("no first token".into(), |ms| format!("first token after {}", duration(ms)));
    let usage = made.usage.map_or(String::new(), |usage| {
        format!(", {} tokens read and {} written", usage.prompt_tokens, usage.completion_tokens)
    });
    let finish = one_line(&made.finish, 40);
    let mut lines = vec![format!("{first}, {}, ended by {finish}{usage}", many(made.deltas.into(), "delta"))];
    let options = if made.options.is_empty() { "none".into() } else { json!(made.options).to_string() };
    lines.push(format!("model {}, options {}", one_line(&made.model, 100), one_line(&options, 300)));
    lines.push(format!("prompt sha256 {}", one_line(&made.prompt_sha256, 64)));
    lines.extend(made.notes.iter().map(|note| format!("note: {}", one_line(note, 300))));
    let ids: Vec<_> = made.context.iter().rev().take(IDS_MAX).map(ToString::to_string).collect();
    if !ids.is_empty() {
        let more = if made.context.len() > ids.len() { ", …" } else { "" };
        let count = many(made.context.len() as u64, "message");
        lines.push(format!("context: {count}, newest first: {}{more}", ids.join(", ")));
    }
    lines
}

/// The legs, one per line, each as long as its share of the total.
fn picture(way: &Way) -> Vec<String> {
    let (begin_ms, total) = (way.legs.first().map_or(0, |leg| leg.from_ms), way.total_ms().max(1));
    let column = |ms: u64| (u128::from(ms) * BAR as u128 / u128::from(total)) as usize;
    let words = way.legs.iter().map(|leg| leg.leg.words().len()).max().unwrap_or(0);
    let line = |leg: &Leg| {
        let from = column(leg.from_ms - begin_ms).min(BAR - 1);
        let to = column(leg.from_ms - begin_ms + leg.ms).max(from + 1);
        let (space, bar) = (" ".repeat(from), "█".repeat(to - from));
        format!("  {:<words$}  {:>10}  {space}{bar}", leg.leg.words(), duration(leg.ms))
    };
    way.legs.iter().map(line).collect()
}

/// The line that the predecessor of this system wrote below each answer.
fn last_line(life: &Life) -> String {
    let asker = life.entries.iter().find_map(|entry| match &entry.event {
        Event::MessagePosted(e) => Some(e.author.kind),
        _ => None,
    });
    let asker = if asker == Some(AuthorKind::Bot) { "AI" } else { "human" };
    let total = duration(life.way.total_ms());
    match life.way.outcome {
        Outcome::Answered => format!("[{asker} → AI reply: {total}]"),
        Outcome::NotAsked => format!("[{asker}: nobody was asked]"),
        outcome => format!("[{asker} → no AI reply: {}, after {total}]", outcome.words()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::legs::What;

    #[test]
    fn the_picture_shows_each_leg_after_the_one_before_it() {
        let leg = |leg, from_ms, ms| Leg { leg, from_ms, ms };
        let mut way = Way::default();
        way.legs =
            vec![leg(What::Queue, 1_000, 100), leg(What::FirstToken, 1_100, 2_400), leg(What::Writing, 3_500, 700)];
        let expected = [
            format!("  queue            100 ms  {}", "█"),
            format!("  first token       2.4 s   {}", "█".repeat(30)),
            format!("  writing          700 ms  {}{}", " ".repeat(31), "█".repeat(9)),
        ];
        assert_eq!(picture(&way), expected);
    }
}
