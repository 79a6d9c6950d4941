//! The answer to one message, assembled from the events of its room.
//!
//! Pure: an event in, the text to print out. Promise: however the answer arrives (deltas, snapshots, only the final text,
//! a second attempt), the last thing printed is the whole answer, once.

use antiphon_kit::sse::TOO_LONG;
use antiphon_schemas::{
    MessageId,
    wire::{Message, Status, feed},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Events that may be about an answer.
const KINDS: [&str; 9] = [
    "reply.delta",
    "reply.snapshot",
    "reply.reset",
    "snapshot",
    "message.failed",
    "message.dead",
    "message.cancelled",
    "message.redacted",
    TOO_LONG,
];

/// One message's answer, as told by its events.
pub(super) struct Answer {
    message: MessageId,
    reply: Option<MessageId>,
    text: String,
    next_index: u32,
}

/// What one event brings.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    /// Text to print.
    pub(super) text: String,
    /// A note to show beside it.
    pub(super) note: Option<String>,
    /// Done, or why there will be no answer.
    pub(super) end: Option<Result<(), String>>,
}

impl Answer {
    /// Nothing of it is there yet.
    pub(super) fn new(message: MessageId) -> Answer {
        Answer { message, reply: None, text: String::new(), next_index: 0 }
    }

    /// What one event of the room brings; nothing if it is about something else.
    pub(super) fn event(&mut self, name: &str, data: &str) -> Step {
        if let Some(step) = self.step(name, data) {
            return step;
        }
        match Mine::of(data, self.message) {
            Mine::No => Step::default(),
            Mine::Yes(value) if name == "reply.posted" => self.loosely(&value),
            _ if !KINDS.contains(&name) => Step::default(),
            _ => Step { note: Some(format!("the event `{name}` could not be read")), ..Step::default() },
        }
    }

    fn step(&mut self, name: &str, data: &str) -> Option<Step> {
        let mut step = Step::default();
        match name {
            "reply.delta" => {
                let delta: feed::Delta = self.mine(data, |d: &feed::Delta| Some(d.message_id))?;
                if self.reply != Some(delta.reply_id) && delta.index == 0 {
                    step.text = self.begin(delta.reply_id);
                }
                if self.reply == Some(delta.reply_id) && delta.index == self.next_index {
                    self.next_index += 1;
                    self.text.push_str(&delta.text);
                    step.text.push_str(&delta.text);
                }
            }
            "reply.snapshot" => {
                let reply = self.mine(data, |s: &feed::ReplySnapshot| Some(s.message_id))?;
                step.text = self.so_far(&reply);
            }
            "reply.reset" => {
                let reset = self.mine(data, |r: &feed::Reset| Some(r.message_id))?;
                if self.reply == Some(reset.reply_id) {
                    step.text = self.begin(reset.reply_id);
                    self.reply = None;
                    step.note = Some(format!("the answer starts over: {}", reset.reason));
                }
            }
            "reply.posted" => {
                let reply = self.mine(data, |m: &Message| m.reply_to)?;
                return Some(self.whole(&reply));
            }
            "snapshot" => {
                // After a reset: the answer may be there already, or the end of it.
                let snapshot: feed::Snapshot = serde_json::from_str(data).ok()?;
                if let Some(reply) =
                    snapshot.messages.iter().find(|m| m.reply_to == Some(self.message) && m.model.is_some())
                {
                    return Some(self.whole(reply));
                }
                let mine = snapshot.messages.iter().find(|m| m.id == self.message);
                if let Some(message) =
                    mine.filter(|m| matches!(m.status, Status::Failed | Status::Dead | Status::Cancelled))
                {
                    step.end = Some(Err(message.reason.as_deref().unwrap_or("it ended without an answer").into()));
                }
                if let Some(reply) = snapshot.in_flight.iter().find(|r| r.message_id == self.message) {
                    step.text = self.so_far(reply);
                }
            }
            "message.failed" => {
                let failed = self.mine(data, |f: &feed::Failed| Some(f.message_id))?;
                match failed.retry_at {
                    Some(at) if failed.away => {
                        step.note = Some(format!("waiting: {}; next try at {at}", failed.reason))
                    }
                    Some(at) => step.note = Some(format!("{}; next try at {at}", failed.reason)),
                    None => step.end = Some(Err(format!("no answer: {}", failed.reason))),
                }
            }
            "message.dead" => {
                let dead = self.mine(data, |d: &feed::Dead| Some(d.message_id))?;
                step.end = Some(Err(format!("no answer, given up: {}", dead.reason)));
            }
            "message.cancelled" | "message.redacted" => {
                self.mine(data, |about: &feed::About| Some(about.message_id))?;
                step.end = Some(Err("no answer: it was cancelled".into()));
            }
            TOO_LONG => return None,
            _ => {}
        }
        if step.end.is_some() && !self.text.is_empty() {
            step.text.push('\n');
        }
        Some(step)
    }

    /// The event, if it is about our message.
    fn mine<T: DeserializeOwned>(&self, data: &str, message: impl Fn(&T) -> Option<MessageId>) -> Option<T> {
        let event: T = serde_json::from_str(data).ok()?;
        (message(&event) == Some(self.message)).then_some(event)
    }

    /// A reply that is not quite one, e.g. of a later version.
    fn loosely(&mut self, reply: &Value) -> Step {
        let id = reply["id"].as_str().and_then(|id| id.parse().ok()).or(self.reply).unwrap_or(self.message);
        let text = reply["text"].as_str().unwrap_or_default();
        Step { text: self.rest(id, text) + "\n", note: None, end: Some(Ok(())) }
    }

    /// Another attempt: ends the line of what was printed of the last one.
    fn begin(&mut self, reply: MessageId) -> String {
        self.reply = Some(reply);
        self.next_index = 0;
        if std::mem::take(&mut self.text).is_empty() { String::new() } else { "\n".into() }
    }

    fn so_far(&mut self, reply: &feed::ReplySnapshot) -> String {
        if self.reply == Some(reply.reply_id) && reply.next_index < self.next_index {
            return String::new();
        }
        let missing = self.rest(reply.reply_id, &reply.text);
        self.next_index = reply.next_index;
        missing
    }

    fn whole(&mut self, reply: &Message) -> Step {
        Step { text: self.rest(reply.id, &reply.text) + "\n", note: None, end: Some(Ok(())) }
    }

    /// What is missing of `text`; all of it, on a new line, if something else was printed.
    fn rest(&mut self, reply: MessageId, text: &str) -> String {
        let missing = match text.strip_prefix(self.text.as_str()).filter(|_| self.reply == Some(reply)) {
            Some(missing) => missing.to_owned(),
            None => self.begin(reply) + text,
        };
        self.text = text.into();
        missing
    }
}

/// Whose event it is that cannot be read.
enum Mine {
    No,
    Yes(Value),
    Unknown,
}

impl Mine {
    fn of(data: &str, message: MessageId) -> Mine {
        let Ok(value) = serde_json::from_str::<Value>(data) else { return Mine::Unknown };
        let is_mine = |field: &str| value[field].as_str().is_some_and(|id| id.parse() == Ok(message));
        if is_mine("message_id") || is_mine("reply_to") { Mine::Yes(value) } else { Mine::No }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const Q: &str = "00000000-0000-0000-0000-00000000000a";
    const R1: &str = "00000000-0000-0000-0000-00000000000b";
    const R2: &str = "00000000-0000-0000-0000-00000000000c";

    fn delta(reply: &str, index: u32, text: &str) -> (&'static str, Value) {
        ("reply.delta", json!({"message_id": Q, "reply_id": reply, "index": index, "text": text}))
    }

    fn so_far(reply: &str, next_index: u32, text: &str) -> (&'static str, Value) {
        (
            "reply.snapshot",
            json!({"message_id": Q, "reply_id": reply, "bot": "b", "next_index": next_index, "text": text}),
        )
    }

    fn reset(reply: &str) -> (&'static str, Value) {
        ("reply.reset", json!({"message_id": Q, "reply_id": reply, "reason": "lease-over"}))
    }

    fn whole(id: &str, reply_to: &str, text: &str) -> Value {
        json!({"id": id, "room": "r", "author": {"name": "b", "kind": "bot", "color": null}, "text": text, "model": "builtin",
            "at": "2026-11-22T08:27:00.125Z", "reply_to": reply_to, "position": "0000000000000001-00-0000000000000002", "status": "none"})
    }

    fn posted(id: &str, text: &str) -> (&'static str, Value) {
        ("reply.posted", whole(id, Q, text))
    }

    #[track_caller]
    fn check(events: &[(&str, Value)], printed: &str, end: Option<Result<(), &str>>) {
        let mut answer = Answer::new(Q.parse().unwrap());
        let steps: Vec<Step> = events.iter().map(|(name, data)| answer.event(name, &data.to_string())).collect();
        assert_eq!(steps.iter().map(|s| s.text.as_str()).collect::<String>(), printed);
        let ended = steps.last().and_then(|s| s.end.clone());
        assert_eq!(ended, end.map(|result| result.map_err(str::to_owned)));
        assert!(steps.iter().rev().skip(1).all(|s| s.end.is_none()));
    }

    #[test]
    fn the_answer_is_printed_once_however_it_comes() {
        let done = Some(Ok(()));
        check(&[delta(R1, 0, "one "), delta(R1, 1, "two"), posted(R1, "one two")], "one two\n", done);
        check(&[posted(R1, "one two")], "one two\n", done);
        check(&[delta(R1, 1, "late "), posted(R1, "one late")], "one late\n", done);
        check(
            &[so_far(R1, 1, "one "), delta(R1, 0, "one "), delta(R1, 1, "two"), posted(R1, "one two")],
            "one two\n",
            done,
        );
        check(
            &[delta(R1, 0, "one "), so_far(R1, 2, "one two "), delta(R1, 2, "x"), posted(R1, "one two x")],
            "one two x\n",
            done,
        );
        let snapshot = json!({"messages": [whole(R1, Q, "one two")], "in_flight": [], "position": "0000000000000001-00-0000000000000002"});
        check(&[delta(R1, 0, "one "), ("snapshot", snapshot)], "one two\n", done);
    }

    #[test]
    fn another_try_begins_on_a_new_line() {
        let again = [delta(R1, 0, "one "), reset(R1), delta(R2, 0, "eins "), posted(R2, "eins zwei")];
        check(&again, "one \neins zwei\n", Some(Ok(())));
        check(&[delta(R1, 0, "one "), posted(R2, "eins")], "one \neins\n", Some(Ok(())));
    }

    #[test]
    fn no_answer_ends_with_the_reason() {
        let failed = |retry_at: Value| {
            (
                "message.failed",
                json!({"message_id": Q, "reason": "model-refused: no", "attempt": 1, "retry_at": retry_at}),
            )
        };
        check(&[failed(json!("2026-11-22T08:27:00.125Z"))], "", None);
        check(&[delta(R1, 0, "o"), failed(Value::Null)], "o\n", Some(Err("no answer: model-refused: no")));
        let dead = ("message.dead", json!({"message_id": Q, "reason": "too-old"}));
        check(&[dead], "", Some(Err("no answer, given up: too-old")));
        check(&[("message.cancelled", json!({"message_id": Q}))], "", Some(Err("no answer: it was cancelled")));
    }

    #[test]
    fn an_answer_that_cannot_be_read_in_full_is_printed_and_what_is_lost_is_told() {
        let odd = json!({"id": R1, "reply_to": Q, "text": "one two", "author": {"name": "b", "kind": "robot"}, "status": "glad"});
        check(&[delta(R1, 0, "one "), ("reply.posted", odd)], "one two\n", Some(Ok(())));
        let mut answer = Answer::new(Q.parse().unwrap());
        for (name, data) in
            [("message.dead", "{"), (TOO_LONG, ""), ("message.failed", &format!(r#"{{"message_id":"{Q}"}}"#))]
        {
            let step = answer.event(name, data);
            assert!(step.note.as_ref().is_some_and(|note| note.contains(name)) && step.end.is_none(), "{step:?}");
        }
        assert_eq!(answer.event("message.failed", &format!(r#"{{"message_id":"{R2}"}}"#)), Step::default());
    }

    #[test]
    fn what_others_get_is_not_ours() {
        let other = |name, mut data: Value| {
            data["message_id"] = json!(R2);
            data["reply_to"] = json!(R2);
            (name, data)
        };
        let (delta, posted, dead) = (delta(R1, 0, "x").1, posted(R1, "x").1, json!({"reason": "too-old"}));
        let events = [other("reply.delta", delta), other("reply.posted", posted), other("message.dead", dead)];
        check(&events, "", None);
    }
}
