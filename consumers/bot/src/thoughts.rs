//! Tells a model's thoughts, and the marks of its template, from what it says, where a server leaves them in the text.
//!
//! ```text
//! <think>…</think>   [THINK]…[/THINK]   <|channel|>analysis<|message|>…<|end|>      a thought
//! <|channel|>final<|message|>…<|return|>                                            words
//! <|im_end|>  <end_of_turn>  <|eot_id|> …                                           marks: taken out
//! <|im_start|>user …                                                                the next turn: the answer has ended
//! ```
//!
//! Promises:
//! - the same for every way of cutting the text; no more is held back than the longest mark and the white space after it;
//! - a thought begins only where a line does, and a mark in code (after a backtick, between fences) is text about a mark;
//! - a thought without an end is one only if nothing was said before it; else it was text.
//!
//! Not here: thoughts that a server tells apart itself (`decode`), a bot's own filters (`filter`).
//! Start with [`Thoughts`]; [`spoken`] is the same for a text that is complete.

use crate::marks::{CLOSES_LATE, END_ONLY, HEADER_END, HEADERS, MARKS, NEXT_TURNS, OWN_TURNS, PAIRS, longest};

/// The longest thought that is kept in case it turns out to be text.
const HELD_BYTES_MAX: usize = 64 << 10;
/// The longest header between `<|channel|>` and `<|message|>`.
const HEADER_BYTES_MAX: usize = 100;

/// A stretch of what came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// Said.
    Words(String),
    /// Thought.
    Thought(String),
}

/// Splits one answer.
#[derive(Debug, Clone)]
pub(crate) struct Thoughts {
    place: Place,
    /// The beginning of what may become a mark.
    held: String,
    /// Something other than white space was said.
    said: bool,
    /// Only white space was said since the line began.
    line_start: bool,
    after_backtick: bool,
    backticks: usize,
    in_fence: bool,
    /// The answer began inside a thought whose beginning is not to be seen.
    unopened: bool,
    /// The next turn has begun.
    over: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Place {
    Words,
    /// In a thought; `text` is kept if it may turn out to be words.
    Thought {
        close: &'static [&'static str],
        text: Option<String>,
    },
    Header(String),
}

impl Thoughts {
    /// At the beginning of an answer. `inside`: this model's answers begin within a thought, as the template has opened it.
    pub(crate) fn new(inside: bool) -> Thoughts {
        let place = match inside {
            true => Place::Thought { close: &CLOSES_LATE, text: Some(String::new()) },
            false => Place::Words,
        };
        Thoughts {
            place,
            held: String::new(),
            said: false,
            line_start: true,
            after_backtick: false,
            backticks: 0,
            in_fence: false,
            unopened: false,
            over: false,
        }
    }

    /// Takes the next words.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Stretch> {
        self.step(text, false)
    }

    /// Says that nothing follows.
    pub(crate) fn finish(&mut self) -> Vec<Stretch> {
        let mut out = self.step("", true);
        match std::mem::replace(&mut self.place, Place::Words) {
            Place::Thought { text: Some(text), .. } => put(&mut out, &text, true),
            Place::Header(text) => put(&mut out, &text, false),
            Place::Thought { text: None, .. } | Place::Words => {}
        }
        out
    }

    /// Whether the next turn has begun: what follows is not the model's to say.
    pub(crate) fn over(&self) -> bool {
        self.over
    }

    /// Whether a thought ended that had not begun: what was said before was thought, and so will be the next answer's
    /// beginning.
    pub(crate) fn unopened(&self) -> bool {
        self.unopened
    }

    fn step(&mut self, text: &str, last: bool) -> Vec<Stretch> {
        let mut out = Vec::new();
        if self.over {
            return out;
        }
        self.held.push_str(text);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_str();
        while let Some(first) = rest.chars().next() {
            match self.look(rest, last) {
                Look::Wait => {
                    self.held.push_str(rest);
                    break;
                }
                Look::Nothing => {
                    // Up to the next place where a mark may begin.
                    let next = rest[first.len_utf8()..].find(may_begin).map_or(rest.len(), |at| at + first.len_utf8());
                    self.plain(&rest[..next], &mut out);
                    rest = &rest[next..];
                }
                Look::Mark(len, mark) => {
                    rest = &rest[len..];
                    if self.mark(mark, &mut out) {
                        self.over = true;
                        break;
                    }
                }
            }
        }
        out
    }

    /// What stands at the beginning of `rest`.
    fn look(&self, rest: &str, last: bool) -> Look {
        if !rest.starts_with(may_begin) {
            return Look::Nothing;
        }
        let find = |marks: &[&'static str]| longest(rest, marks, last);
        match &self.place {
            Place::Header(_) => find(HEADER_END).map_or(Look::Nothing, |found| found.look(|_| Mark::HeaderEnd)),
            Place::Thought { close, .. } => find(close).map_or(Look::Nothing, |found| found.look(Mark::Close)),
            Place::Words if self.in_fence || self.after_backtick => Look::Nothing,
            Place::Words => self.look_in_words(rest, last),
        }
    }

    fn look_in_words(&self, rest: &str, last: bool) -> Look {
        let of =
            |marks: &[&'static str], mark: fn(&'static str) -> Mark| longest(rest, marks, last).map(|f| f.look(mark));
        let opens = self.line_start.then(|| of(&PAIRS.map(|(open, _)| open), Mark::Open)).flatten();
        let closes = (self.line_start && self.said).then(|| of(&CLOSES_LATE, Mark::Close)).flatten();
        let looks = [
            of(NEXT_TURNS, |_| Mark::NextTurn),
            self.said.then(|| turn_of_another(rest)).flatten(),
            of(HEADERS, |_| Mark::Header),
            opens,
            closes,
            of(MARKS, |_| Mark::Nothing),
            end_only(rest, last),
        ];
        looks.into_iter().flatten().next().unwrap_or(Look::Nothing)
    }

    fn plain(&mut self, text: &str, out: &mut Vec<Stretch>) {
        match &mut self.place {
            Place::Words => self.words(text, out),
            Place::Header(header) => {
                header.push_str(text);
                if header.len() > HEADER_BYTES_MAX {
                    let header = std::mem::take(header);
                    self.place = Place::Words;
                    self.words(&header, out);
                }
            }
            Place::Thought { text: kept, .. } => match kept {
                Some(kept) if kept.len() + text.len() <= HELD_BYTES_MAX => kept.push_str(text),
                _ => {
                    let before = kept.take().unwrap_or_default();
                    put(out, &(before + text), false);
                }
            },
        }
    }

    fn words(&mut self, text: &str, out: &mut Vec<Stretch>) {
        for c in text.chars() {
            self.backticks = if c == '`' { self.backticks + 1 } else { 0 };
            if self.backticks == 3 && self.line_start {
                self.in_fence = !self.in_fence;
            }
            self.after_backtick = c == '`';
            self.line_start = c == '\n' || self.line_start && (c.is_whitespace() || c == '`' && self.backticks < 3);
            self.said |= !c.is_whitespace();
        }
        put(out, text, true);
    }

    /// Takes a mark; whether the answer has ended with it.
    fn mark(&mut self, mark: Mark, out: &mut Vec<Stretch>) -> bool {
        match mark {
            Mark::NextTurn => return true,
            Mark::Nothing => {}
            Mark::Header => self.place = Place::Header(String::new()),
            Mark::HeaderEnd => {
                let Place::Header(header) = &self.place else { return false };
                let name = header.rsplit("<|channel|>").next().unwrap_or_default().trim();
                let thought = ["analysis", "commentary", "thought"].iter().any(|channel| name.starts_with(channel));
                self.place = match thought {
                    true => Place::Thought {
                        close: &["<|end|>", "<|return|>", "<|call|>", "<|channel|>", "<|start|>"],
                        text: None,
                    },
                    false => Place::Words,
                };
            }
            Mark::Open(open) => {
                let close = PAIRS.iter().find(|(other, _)| *other == open).map_or(&CLOSES_LATE[..], |(_, close)| close);
                self.place = Place::Thought { close, text: self.said.then(String::new) };
            }
            Mark::Close(close) => match std::mem::replace(&mut self.place, Place::Words) {
                Place::Thought { text, .. } => {
                    put(out, &text.unwrap_or_default(), false);
                    self.line_start = true;
                    // The next header begins with the same words that end this thought.
                    if matches!(close, "<|channel|>" | "<|start|>") {
                        self.place = Place::Header(String::new());
                    }
                }
                _ => self.unopened = true,
            },
        }
        false
    }
}

/// The words of a whole answer, without thoughts and marks.
pub(crate) fn spoken(text: &str) -> String {
    if !text.contains(may_begin) {
        return text.into();
    }
    let mut thoughts = Thoughts::new(false);
    let mut stretches = thoughts.push(text);
    stretches.extend(thoughts.finish());
    let words = stretches.into_iter().filter_map(|s| if let Stretch::Words(words) = s { Some(words) } else { None });
    words.collect()
}

fn may_begin(c: char) -> bool {
    matches!(c, '<' | '[' | '◁')
}

fn put(out: &mut Vec<Stretch>, text: &str, said: bool) {
    match (out.last_mut(), said) {
        _ if text.is_empty() => {}
        (Some(Stretch::Words(words)), true) => words.push_str(text),
        (Some(Stretch::Thought(words)), false) => words.push_str(text),
        (_, true) => out.push(Stretch::Words(text.into())),
        (_, false) => out.push(Stretch::Thought(text.into())),
    }
}

/// The turn of a role that a model made up.
fn turn_of_another(rest: &str) -> Option<Look> {
    OWN_TURNS.iter().find_map(|(mark, own)| {
        let role = rest.get(mark.len()..).filter(|_| rest[..mark.len()].eq_ignore_ascii_case(mark))?;
        let letters = role.bytes().take_while(u8::is_ascii_alphabetic).count();
        let common = letters.min(own.len());
        let is_own = role[..common].eq_ignore_ascii_case(&own[..common]);
        (!is_own).then_some(Look::Mark(mark.len(), Mark::NextTurn))
    })
}

/// A mark after which only white space may follow.
fn end_only(rest: &str, last: bool) -> Option<Look> {
    let mark = END_ONLY.iter().find(|mark| rest.starts_with(**mark));
    match mark {
        Some(mark) if rest[mark.len()..].trim().is_empty() => {
            Some(if last { Look::Mark(mark.len(), Mark::Nothing) } else { Look::Wait })
        }
        Some(_) => None,
        None => (!last && END_ONLY.iter().any(|mark| mark.starts_with(rest))).then_some(Look::Wait),
    }
}

/// What a mark means where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    Open(&'static str),
    Close(&'static str),
    Header,
    HeaderEnd,
    NextTurn,
    Nothing,
}

/// What stands at a place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Look {
    Mark(usize, Mark),
    Wait,
    Nothing,
}

#[cfg(test)]
mod tests;
