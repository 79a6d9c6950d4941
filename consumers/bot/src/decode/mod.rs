//! Reads the answer of a model's server, in whatever dialect and however oddly it is served: bytes in, words out.
//!
//! ```text
//! bytes ─▶ lines ─▶ frames (events, JSON lines, one object) ─▶ said ─▶ thoughts, words │ finish, usage │ error
//! ```
//!
//! Promises:
//! - one unreadable part costs only that part: the rest is kept, and a note reports what was lost;
//! - an answer is whole once the server has said why it ended, or `[DONE]`; a stream that only ends broke off;
//! - what is not an answer at all (a login page, compressed bytes, an error's body) is quoted in the failure;
//! - pure, no clock; at most [`lines::LINE_BYTES_MAX`] are held, and the beginning of what came.
//!
//! Not here: connections, waiting, what marks in the text mean (`bot`).
//! Start with [`Decoder`].

mod finish;
mod frames;
mod lines;
mod repair;
mod said;

use antiphon_kit::Usage;

use self::{
    finish::{Ended, ended},
    frames::{Frame, Frames},
    lines::{Lines, TooLong},
    said::{Failing, Part, Said, said},
};
use crate::{
    client::refusal,
    model::{Event, Finish, ModelError, codes},
    wait::wait_said,
};

/// How much of the response is kept, in bytes, to quote it if it is not an answer.
const BEGINNING_BYTES_MAX: usize = 16 << 10;
/// How much of an unreadable part a note quotes, in characters.
const TOLD_MAX: usize = 80;
/// Compressed bytes that nobody asked for: gzip, zstd.
const COMPRESSED: [(&[u8], &str); 2] = [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd")];

/// What is left to say about the end.
#[derive(Debug)]
enum End {
    Finish(Finish),
    Failure(ModelError),
}

/// Reads one answer.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    lines: Lines,
    frames: Frames,
    beginning: Vec<u8>,
    /// The words so far, while only pieces of them came: a whole answer after them brings the rest.
    words: String,
    pieces: bool,
    /// There were thoughts.
    thought: bool,
    /// How many tokens of the prompt the model has read, as far as it says.
    read: u64,
    end: Option<End>,
    done: bool,
    usage: Option<Usage>,
    notes: Vec<String>,
    /// How many things were lost, and the first.
    lost: usize,
    first_lost: String,
}

impl Decoder {
    /// Takes the next bytes; words and thoughts go to `out`.
    ///
    /// # Errors
    /// The server said that there will be no answer, or what it sends has no end.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), ModelError> {
        let room = BEGINNING_BYTES_MAX - self.beginning.len();
        self.beginning.extend_from_slice(&bytes[..room.min(bytes.len())]);
        if self.beginning.len() == BEGINNING_BYTES_MAX && !self.understood() && self.lost > 0 {
            return Err(self.no_answer());
        }
        let lines = self.lines.push(bytes).map_err(|TooLong| {
            ModelError::retryable(codes::PROTOCOL, "the model's server sent an event or a line without end")
        })?;
        let mut frames = Vec::new();
        lines.iter().for_each(|line| self.frames.line(line, &mut frames));
        self.take(frames, out)
    }

    /// Says that nothing follows, and returns how the answer ended; the last words go to `out`.
    ///
    /// # Errors
    /// It is not whole, or no answer.
    pub(crate) fn end(&mut self, out: &mut Vec<Event>) -> Result<Event, ModelError> {
        let mut frames = Vec::new();
        if let Some(line) = self.lines.end() {
            self.frames.line(&line, &mut frames);
        }
        self.frames.end(&mut frames);
        self.take(frames, out)?;
        if !self.understood() && self.lost > 0 {
            return Err(self.no_answer());
        }
        let finish = match self.end.take() {
            Some(End::Failure(error)) => return Err(error),
            Some(End::Finish(finish)) => finish,
            None if self.done => Finish::Stop,
            None => {
                let words = "the model's server ended the answer without saying that it was done";
                return Err(ModelError::retryable(codes::BROKE_OFF, format!("{words}{}", self.told_lost())));
            }
        };
        if self.lost > 0 {
            let things = if self.lost == 1 { "one thing".to_owned() } else { format!("{} things", self.lost) };
            let words = format!("the model's server sent {things} that could not be read{}", self.told_lost());
            if self.words.is_empty() {
                return Err(ModelError::retryable(codes::PROTOCOL, words));
            }
            out.push(Event::Note(format!("unreadable: {words}")));
        }
        out.extend(std::mem::take(&mut self.notes).into_iter().map(Event::Note));
        Ok(Event::Done { finish, usage: self.usage })
    }

    /// Whether the answer has ended; what still comes is at most counts and `[DONE]`.
    pub(crate) fn ended(&self) -> bool {
        self.done || self.end.is_some()
    }

    /// Whether nothing follows that is worth waiting for.
    pub(crate) fn done(&self) -> bool {
        self.done
    }

    fn understood(&self) -> bool {
        self.pieces || !self.words.is_empty() || self.ended() || self.usage.is_some()
    }

    /// Whether the model has begun to answer, if only in thought.
    fn begun(&self) -> bool {
        self.understood() || self.thought
    }

    fn take(&mut self, frames: Vec<Frame>, out: &mut Vec<Event>) -> Result<(), ModelError> {
        for frame in frames {
            match frame {
                _ if self.done => return Ok(()),
                Frame::Done => self.done = true,
                Frame::Value(value) => self.said(said(&value), out)?,
                // Nothing that comes after the end can spoil it.
                _ if self.ended() => {}
                Frame::Error(words) => return Err(self.broke_off(Failing { all: words.clone(), words, status: None })),
                Frame::Unreadable(text) => self.lose(text),
            }
        }
        Ok(())
    }

    fn said(&mut self, said: Said, out: &mut Vec<Event>) -> Result<(), ModelError> {
        let Said { parts, whole, error, finish, done, usage, read } = said;
        match error {
            Some(_) if self.ended() => return Ok(()),
            Some(error) => return Err(self.broke_off(error)),
            None => {}
        }
        if read > Some(self.read) && !self.begun() {
            self.read = read.unwrap_or_default();
            out.push(Event::Reading);
        }
        let before = if whole { self.pieces.then(|| std::mem::take(&mut self.words)) } else { None };
        for part in parts {
            match part {
                Part::Thought(words) => {
                    self.thought = true;
                    out.push(Event::Thinking(words));
                }
                Part::Lost(what) => self.lose(what),
                Part::Text(text) => {
                    self.words.push_str(&text);
                    if before.is_none() {
                        out.push(Event::Text(text));
                    }
                }
            }
        }
        if let Some(before) = before {
            match self.words.strip_prefix(before.as_str()) {
                Some("") => {}
                Some(rest) => out.push(Event::Text(rest.to_owned())),
                // Another text than the one that was shown: the shown one stands.
                None => self.words = before,
            }
        } else if !whole {
            self.pieces |= !self.words.is_empty();
        }
        self.usage = usage.or(self.usage);
        self.done |= done;
        if let (Some(word), None) = (finish, &self.end) {
            self.end = Some(match ended(&word) {
                Ended::Well(finish) => End::Finish(finish),
                Ended::Badly(error) => End::Failure(error),
                Ended::Unknown(word) => {
                    let words = format!("unknown-end: the model's server ended the answer with `{}`", told(&word));
                    self.notes.push(words);
                    End::Finish(Finish::Stop)
                }
            });
        }
        Ok(())
    }

    fn lose(&mut self, what: String) {
        self.lost += 1;
        if self.first_lost.is_empty() {
            self.first_lost = what;
        }
    }

    fn told_lost(&self) -> String {
        if self.lost == 0 { String::new() } else { format!(": {}", told(&self.first_lost)) }
    }

    fn broke_off(&self, Failing { words, status, all }: Failing) -> ModelError {
        let lower = words.to_lowercase();
        let nothing_there =
            ["endpoint", "no such path", "not found", "no route"].iter().any(|sign| lower.contains(sign));
        if nothing_there && status.is_none() && !self.understood() {
            let words =
                format!("the model's server says: {words}; check its address (`OPENAI_BASE_URL`, `OLLAMA_HOST`)");
            return ModelError::permanent(codes::PROTOCOL, words);
        }
        match status {
            // Nothing of the answer was there yet: the status only came too late for the head.
            Some(status) if !self.begun() => {
                let missing = "no such model there, or the address is wrong";
                refusal(status, "the model's server", &words, missing, &all, wait_said(|_| None, &all, None))
            }
            _ => ModelError::retryable(codes::ERROR, format!("the model's server broke off: {words}")).saying(&all),
        }
    }

    /// What came instead of an answer.
    fn no_answer(&self) -> ModelError {
        let begins = |bytes: &[u8]| self.beginning.starts_with(bytes);
        let text = String::from_utf8_lossy(&self.beginning);
        let text = text.trim();
        if let Some((_, name)) = COMPRESSED.iter().find(|(magic, _)| begins(magic)) {
            let words =
                format!("the answer came compressed ({name}), which nobody asked for; mend the proxy before the model");
            return ModelError::permanent(codes::PROTOCOL, words);
        }
        if text.starts_with('<') {
            let words = match title(text) {
                Some(title) => format!("a web page came instead of an answer, `{}`", told(&title)),
                None => format!("a web page came instead of an answer: {}", told(text)),
            };
            let words = format!("{words}; check the model server's address, and what stands before it");
            return ModelError::permanent(codes::PROTOCOL, words);
        }
        ModelError::retryable(codes::PROTOCOL, format!("what came is no answer: {}", told(text)))
    }
}

fn title(page: &str) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let at = lower.find("<title")?;
    let begin = at + lower[at..].find('>')? + 1;
    let end = begin + lower[begin..].find('<')?;
    Some(page[begin..end].trim().to_owned()).filter(|title| !title.is_empty())
}

/// The beginning of something, on one line.
fn told(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let begin: String = chars.by_ref().take(TOLD_MAX).collect();
    if chars.next().is_some() { format!("{begin}…") } else { begin }
}

#[cfg(test)]
mod tests;
