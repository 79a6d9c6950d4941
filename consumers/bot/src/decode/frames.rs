//! From lines to JSON values, whether they come as server-sent events, as JSON lines, or as one object on many lines.
//!
//! Promises: a value is handed on as soon as it is complete, also before the blank line that ends its event; what is not
//! quite JSON is [mended](super::repair) if that can be done; what cannot be read comes out as [`Frame::Unreadable`],
//! never as nothing.
//! Not here: what a value says (`said`).

use serde_json::Value;

use super::repair::repaired;

/// Words that servers send to keep a connection open.
const KEEP_ALIVE: [&str; 5] = ["ping", "keep-alive", "keepalive", "heartbeat", "null"];

/// One thing that arrived.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Frame {
    /// A JSON value.
    Value(Value),
    /// The last word of a stream of events, `[DONE]`.
    Done,
    /// The words of an event that is named `error` and holds no JSON.
    Error(String),
    /// Something that cannot be read, as it came.
    Unreadable(String),
}

/// Puts values together.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of a value that goes on in the next line.
    open: String,
    nesting: Nesting,
    /// The value that is open came as the data of an event, which a blank line ends.
    in_event: bool,
    /// The event is named `error`.
    is_error: bool,
}

impl Frames {
    /// Takes the next line.
    pub(super) fn line(&mut self, line: &str, out: &mut Vec<Frame>) {
        if line.trim().is_empty() {
            if self.in_event {
                self.give_up(out);
            }
            self.is_error = false;
            return;
        }
        match field(line) {
            Some(("data" | "error", value)) => {
                self.in_event = true;
                // Some proxies write the field twice.
                let mut value = value;
                while let Some(inner) = value.strip_prefix("data:") {
                    value = inner.trim_start();
                }
                self.payload(value, out);
            }
            Some(("event", name)) => self.is_error = name.trim() == "error",
            Some(_) => {}
            None => {
                self.in_event = false;
                self.payload(line, out);
            }
        }
    }

    /// Says that nothing follows.
    pub(super) fn end(&mut self, out: &mut Vec<Frame>) {
        self.give_up(out);
    }

    fn payload(&mut self, text: &str, out: &mut Vec<Frame>) {
        let plain = text.trim();
        if self.open.is_empty() {
            if matches!(plain.trim_matches(['[', ']']), "DONE" | "done") {
                return out.push(Frame::Done);
            }
            if plain.is_empty() || KEEP_ALIVE.contains(&plain.to_ascii_lowercase().as_str()) {
                return;
            }
            if !plain.starts_with(['{', '[']) {
                let words = plain.to_owned();
                return out.push(if self.is_error { Frame::Error(words) } else { Frame::Unreadable(words) });
            }
        } else if is_whole_event(plain) {
            // What was open never got its end.
            self.give_up(out);
        }
        if !self.open.is_empty() {
            self.open.push('\n');
            self.nesting.step('\n');
        }
        self.open.push_str(text);
        text.chars().for_each(|c| self.nesting.step(c));
        if self.nesting.closed() {
            let text = self.take();
            values(&text, out);
        }
    }

    /// The value that is open will not be completed.
    fn give_up(&mut self, out: &mut Vec<Frame>) {
        let text = self.take();
        if !text.trim().is_empty() {
            values(&text, out);
        }
    }

    fn take(&mut self) -> String {
        self.nesting = Nesting::default();
        std::mem::take(&mut self.open)
    }
}

/// A field of server-sent events and its value. `error` is none of theirs: llama.cpp had it for an error's object.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let (name, value) = (name.trim(), value.trim_start());
    let known = matches!(name, "" | "data" | "event" | "id" | "retry") || name == "error" && value.starts_with('{');
    known.then_some((name, value))
}

/// Whether a line is an event of its own and no part of a larger value.
fn is_whole_event(line: &str) -> bool {
    let known = |value: Value| ["choices", "error", "done", "object"].iter().any(|key| value.get(key).is_some());
    line.starts_with('{') && serde_json::from_str(line).is_ok_and(known)
}

/// The values that stand in `text` one after the other.
fn values(text: &str, out: &mut Vec<Frame>) {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let at = stream.byte_offset();
        match stream.next() {
            None => return,
            Some(Ok(value)) => out.push(Frame::Value(value)),
            Some(Err(_)) => {
                let rest = text[at..].trim();
                return out.push(repaired(rest).map_or_else(|| Frame::Unreadable(rest.to_owned()), Frame::Value));
            }
        }
    }
}

/// How deep in brackets a text is, and whether in a string.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    fn step(&mut self, c: char) {
        match c {
            _ if std::mem::take(&mut self.escaped) => {}
            '\\' if self.in_string => self.escaped = true,
            '"' => self.in_string = !self.in_string,
            '{' | '[' if !self.in_string => self.depth += 1,
            '}' | ']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn closed(&self) -> bool {
        self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frames(text: &str) -> Vec<Frame> {
        let (mut frames, mut out) = (Frames::default(), Vec::new());
        text.split('\n').for_each(|line| frames.line(line, &mut out));
        frames.end(&mut out);
        out
    }

    #[test]
    fn values_are_found_in_events_in_lines_and_over_many_lines() {
        let one = Frame::Value(json!({ "a": 1 }));
        for text in [
            "event: message\nid: 7\ndata: {\"a\":1}\n\n: comment",
            "data:{\"a\":1}",
            "data: data: {\"a\":1}\n\n",
            "{\"a\":1}",
            "{\n  \"a\":\n\n 1\n}",
            "data: {\ndata:  \"a\": 1\ndata: }\n\n",
            "data: ping\n\ndata:\n\nretry: 5\n\n{\"a\":1}\n",
            "error: {\"a\":1}\n\n",
        ] {
            assert_eq!(frames(text), std::slice::from_ref(&one), "{text}");
        }
        assert_eq!(frames("data: {\"a\":1}\ndata: {\"a\":1}\ndata: [DONE]"), [one.clone(), one.clone(), Frame::Done]);
        assert_eq!(frames("{\"a\":1}{\"a\":1}"), [one.clone(), one]);
    }

    #[test]
    fn what_cannot_be_read_is_told_and_costs_nothing_else() {
        let one = Frame::Value(json!({ "done": 1 }));
        let unreadable = |text: &str| Frame::Unreadable(text.into());
        assert_eq!(frames("data: {\"a\":\"b\n\ndata: {\"done\":1}\n\n"), [unreadable("{\"a\":\"b"), one.clone()]);
        assert_eq!(
            frames("{\"a\":\"b\n{\"done\":1}\nBad Gateway"),
            [unreadable("{\"a\":\"b"), one, unreadable("Bad Gateway")]
        );
        assert_eq!(frames("event: error\ndata: no memory\n\n"), [Frame::Error("no memory".into())]);
    }
}
