//! A room's events as text, for a terminal or a file.
//!
//! Pure: an event in, text out. On a terminal, answers grow word by word and changes of a question are shown; otherwise
//! there is one message per line (further lines of its text are indented), and nothing else.
//! Promise: whatever is in a message, it cannot move the cursor, fake a line or hide (`foreign`).

use std::{borrow::Cow, collections::HashMap};

use antiphon_kit::sse::TOO_LONG;
use antiphon_schemas::{
    MessageId,
    wire::{Message, Position, feed},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::foreign::lines;

/// Replies whose text so far is kept; more than anyone can follow in one room.
const GROWING_MAX: usize = 256;

/// What is already on the screen.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// Answers may grow, and notes are wanted.
    live: bool,
    /// The newest message shown.
    newest: Option<Position>,
    growing: HashMap<MessageId, Growing>,
    /// The reply in whose line the cursor is.
    open: Option<MessageId>,
    complaint: Option<String>,
}

#[derive(Debug, Default)]
struct Growing {
    bot: String,
    /// When it was claimed, if we saw that.
    at: String,
    text: String,
    next_index: u32,
    /// How much of `text` was shown, in bytes.
    shown: usize,
}

impl Screen {
    /// For a terminal (`live`), or for a file.
    pub(super) fn new(live: bool) -> Screen {
        Screen { live, ..Screen::default() }
    }

    /// The text to be written for an event; often empty. Unknown events give none; of one that cannot be read there is what can
    /// be made out, and a [complaint](Screen::complaint).
    pub(super) fn event(&mut self, name: &str, data: &str) -> String {
        let mut out = String::new();
        if self.apply(name, data, &mut out).is_none() {
            self.complaint = Some(format!("the event `{}` could not be read", lines(name)));
            if let ("message.posted" | "reply.posted", Some((author, text))) = (name, loosely(data)) {
                out.push_str(self.close_line());
                out.push_str(&format!("{}: {}\n", lines(&author), lines(&text)));
            }
        }
        out
    }

    /// What has gone wrong since it was last asked.
    pub(super) fn complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// Ends an open line, so that something else can be written.
    pub(super) fn close_line(&mut self) -> &'static str {
        if self.open.take().is_some() { "\n" } else { "" }
    }

    fn apply(&mut self, name: &str, data: &str, out: &mut String) -> Option<()> {
        match name {
            "snapshot" => {
                let snapshot: feed::Snapshot = read(data)?;
                for message in &snapshot.messages {
                    self.message(message, out);
                }
                snapshot.in_flight.iter().for_each(|reply| self.snapshot(reply, out));
            }
            "message.posted" | "reply.posted" => self.message(&read::<Message>(data)?, out),
            _ if !self.live => {}
            "message.claimed" => {
                let claimed: feed::Claimed = read(data)?;
                let (bot, at) = (claimed.bot.to_string(), claimed.at);
                self.grow(claimed.reply_id, Growing { bot, at, ..Growing::default() });
            }
            "reply.started" => {
                let started: feed::Started = read(data)?;
                self.grow(started.reply_id, Growing { bot: started.bot.to_string(), ..Growing::default() });
            }
            "reply.snapshot" => self.snapshot(&read(data)?, out),
            "reply.delta" => {
                let delta: feed::Delta = read(data)?;
                let Some(growing) = self.growing.get_mut(&delta.reply_id) else { return Some(()) };
                // Another index is an old delta, or a gap that the next snapshot closes.
                if delta.index == growing.next_index {
                    growing.next_index += 1;
                    growing.text.push_str(&delta.text);
                    self.show(delta.reply_id, out);
                }
            }
            "reply.reset" => {
                let reset: feed::Reset = read(data)?;
                if self.growing.remove(&reset.reply_id).is_some_and(|g| g.shown > 0) {
                    self.note(&format!("the answer starts over: {}", reset.reason), out);
                }
            }
            "message.failed" => {
                let failed: feed::Failed = read(data)?;
                let next = failed.retry_at.map_or(String::new(), |at| format!("; next try at {}", short(&at)));
                self.note(&format!("no answer: {}{next}", failed.reason), out);
            }
            "message.dead" => self.note(&format!("given up: {}", read::<feed::Dead>(data)?.reason), out),
            "message.cancelled" => self.note("the answer was cancelled", out),
            "message.redacted" => self.note("a message was deleted", out),
            "reset" => self.note(&format!("starting over: {}", read::<feed::Restart>(data)?.reason), out),
            TOO_LONG => return None,
            "busy" => self.note("the server is busy; waiting", out),
            _ => {}
        }
        Some(())
    }

    /// A whole message: its line, or the rest of it.
    fn message(&mut self, message: &Message, out: &mut String) {
        // A snapshot after a reset repeats what was shown, unless the log is another one.
        let known = |newest: &Position| newest.0.epoch == message.position.0.epoch && *newest >= message.position;
        if self.newest.as_ref().is_some_and(known) {
            return;
        }
        self.newest = Some(message.position);
        let growing = self.growing.remove(&message.id).filter(|g| g.shown > 0);
        if let Some(growing) = growing
            && message.text.starts_with(&growing.text[..growing.shown])
            && (self.open == Some(message.id) || growing.shown == message.text.len())
        {
            out.push_str(&lines(&message.text[growing.shown..]));
            if self.open == Some(message.id) {
                out.push_str(self.close_line());
            }
            return;
        }
        out.push_str(self.close_line());
        let text: Cow<'_, str> = if message.redacted { "(deleted)".into() } else { lines(&message.text) };
        out.push_str(&format!("{} {}: {text}\n", short(message.shown_at()), lines(&message.author.name)));
    }

    fn snapshot(&mut self, reply: &feed::ReplySnapshot, out: &mut String) {
        if !self.live {
            return;
        }
        let fresh = Growing { bot: reply.bot.to_string(), ..Growing::default() };
        let growing = self.grow(reply.reply_id, fresh);
        if reply.next_index < growing.next_index {
            return;
        }
        if !reply.text.starts_with(&growing.text[..growing.shown]) {
            growing.shown = 0;
        }
        growing.text.clone_from(&reply.text);
        growing.next_index = reply.next_index;
        self.show(reply.reply_id, out);
    }

    /// The reply as known, or as `fresh` if it is not.
    fn grow(&mut self, id: MessageId, fresh: Growing) -> &mut Growing {
        if self.growing.len() >= GROWING_MAX && !self.growing.contains_key(&id) {
            // Their final texts will still be shown, whole.
            self.growing.clear();
        }
        self.growing.entry(id).or_insert(fresh)
    }

    /// Writes the part of a growing reply that was not shown yet.
    fn show(&mut self, id: MessageId, out: &mut String) {
        let Some(growing) = self.growing.get_mut(&id).filter(|g| g.shown < g.text.len()) else { return };
        if self.open != Some(id) {
            if self.open.replace(id).is_some() {
                out.push('\n');
            }
            let at = if growing.at.is_empty() { String::new() } else { format!("{} ", short(&growing.at)) };
            let goes_on = if growing.shown > 0 { "… " } else { "" };
            out.push_str(&format!("{at}{}: {goes_on}", lines(&growing.bot)));
        }
        out.push_str(&lines(&growing.text[growing.shown..]));
        growing.shown = growing.text.len();
    }

    fn note(&mut self, words: &str, out: &mut String) {
        out.push_str(self.close_line());
        out.push_str(&format!("    [{}]\n", lines(words)));
    }
}

fn read<T: DeserializeOwned>(data: &str) -> Option<T> {
    serde_json::from_str(data).ok()
}

/// Author and text of a message that is not quite one, e.g. of a later version.
fn loosely(data: &str) -> Option<(String, String)> {
    let value: Value = serde_json::from_str(data).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some((text(&value["author"]["name"])?, text(&value["text"])?))
}

/// Without the milliseconds.
fn short(at: &str) -> String {
    let seconds = at.split_once('.').map_or(at.into(), |(seconds, _)| format!("{seconds}Z"));
    lines(&seconds).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "00000000-0000-0000-0000-00000000000a";
    const B: &str = "00000000-0000-0000-0000-00000000000b";

    fn message(id: &str, seq: u64, name: &str, text: &str) -> Value {
        json!({"id": id, "room": "r", "author": {"name": name, "kind": "human", "color": null}, "text": text,
            "at": "2026-11-22T08:27:00.125Z", "reply_to": null, "position": format!("0000000000000001-00-{seq:016}"), "status": "none"})
    }

    fn delta(index: u32, text: &str) -> (&'static str, Value) {
        ("reply.delta", json!({"message_id": A, "reply_id": B, "index": index, "text": text}))
    }

    fn so_far(next_index: u32, text: &str) -> (&'static str, Value) {
        (
            "reply.snapshot",
            json!({"message_id": A, "reply_id": B, "bot": "bot", "next_index": next_index, "text": text}),
        )
    }

    fn started() -> (&'static str, Value) {
        ("reply.started", json!({"message_id": A, "reply_id": B, "bot": "bot"}))
    }

    #[track_caller]
    fn check(live: bool, events: &[(&str, Value)], expected: &str) {
        let mut screen = Screen::new(live);
        let out: String = events.iter().map(|(name, data)| screen.event(name, &data.to_string())).collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn an_answer_grows_in_its_line_and_is_not_said_twice() {
        let posted = ("reply.posted", message(B, 2, "bot", "one two three"));
        check(
            true,
            &[
                ("message.posted", message(A, 1, "Ann", "hi")),
                started(),
                delta(0, "one "),
                delta(1, "two"),
                delta(1, "two"),
                posted.clone(),
                ("message.posted", message(A, 3, "Ann", "ok")),
            ],
            "2026-11-22T08:27:00Z Ann: hi\nbot: one two three\n2026-11-22T08:27:00Z Ann: ok\n",
        );
        check(false, &[started(), delta(0, "one "), posted], "2026-11-22T08:27:00Z bot: one two three\n");
    }

    #[test]
    fn somebody_who_speaks_in_between_gets_a_line_and_the_answer_goes_on_below() {
        let ann = ("message.posted", message(A, 1, "Ann", "hi"));
        let posted = ("reply.posted", message(B, 2, "bot", "one two"));
        check(
            true,
            &[started(), delta(0, "one "), ann.clone(), delta(1, "two"), posted.clone()],
            "bot: one \n2026-11-22T08:27:00Z Ann: hi\nbot: … two\n",
        );
        check(
            true,
            &[started(), delta(0, "one "), ann, posted],
            "bot: one \n2026-11-22T08:27:00Z Ann: hi\n2026-11-22T08:27:00Z bot: one two\n",
        );
    }

    #[test]
    fn a_snapshot_heals_a_gap_and_a_reset_is_told() {
        check(true, &[so_far(2, "one two "), delta(1, "two "), delta(2, "three")], "bot: one two three");
        check(true, &[so_far(1, "one "), delta(2, "gap"), so_far(3, "one two three")], "bot: one two three");
        let reset = ("reply.reset", json!({"message_id": A, "reply_id": B, "reason": "lease-over"}));
        check(
            true,
            &[so_far(1, "one "), reset, delta(1, "late")],
            "bot: one \n    [the answer starts over: lease-over]\n",
        );
    }

    #[test]
    fn a_snapshot_after_a_reset_repeats_nothing_unless_the_log_is_another() {
        let at = |epoch: u64, seq: u64| {
            let position = format!("{epoch:016x}-00-{seq:016}");
            let mut message = message(A, seq, "Ann", &seq.to_string());
            message["position"] = json!(position);
            ("snapshot", json!({"messages": [message], "in_flight": [], "position": position}))
        };
        let line = |n: u64| format!("2026-11-22T08:27:00Z Ann: {n}\n");
        check(false, &[at(1, 5), at(1, 5), at(1, 6), at(2, 3)], &[line(5), line(6), line(3)].concat());
    }

    #[test]
    fn names_texts_and_reasons_are_made_visible() {
        let nasty = ("message.posted", message(A, 1, "A\u{1b}[2J", "x\r\ny\u{7}\u{9b}z\tt\u{202e}"));
        check(false, &[nasty], "2026-11-22T08:27:00Z A␛[2J: x\n    y␇\u{fffd}z\tt<U+202E>\n");
        let dead = ("message.dead", json!({"message_id": A, "reason": "a\u{2066}b"}));
        check(true, &[started(), delta(0, "\u{202e}one "), dead], "bot: <U+202E>one \n    [given up: a<U+2066>b]\n");
    }

    #[test]
    fn what_was_imported_has_the_time_at_which_it_was_said() {
        let mut old = message(A, 1, "will", "hi");
        old["said_at"] = json!("2004-12-25T09:15:00.000Z");
        check(false, &[("message.posted", old)], "2004-12-25T09:15:00Z will: hi\n");
    }
}
