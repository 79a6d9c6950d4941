//! JSON that is not quite JSON, as servers in a hurry write it, made strict.
//!
//! Mended: Python's literals and single quotes, `NaN` and `Infinity`, commas before a closing bracket, control characters
//! in strings, halves of surrogate pairs, escapes that are none. Promise: strict JSON means the same as before; pure.
//! Not here: text that has no end.

use std::{iter::Peekable, str::Chars};

use serde_json::Value;

/// The value that `text` was meant to be.
pub(super) fn repaired(text: &str) -> Option<Value> {
    let mut reader = Reader { chars: text.chars().peekable(), out: String::with_capacity(text.len() + 16) };
    while let Some(c) = reader.chars.next() {
        match c {
            '"' | '\'' => reader.string(c)?,
            ',' => reader.comma(),
            c if c.is_ascii_alphabetic() => reader.word(c),
            '-' if reader.chars.peek() == Some(&'I') => reader.chars.next().map_or((), |first| reader.word(first)),
            c => reader.out.push(c),
        }
    }
    serde_json::from_str(&reader.out).ok()
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    out: String,
}

impl Reader<'_> {
    fn string(&mut self, quote: char) -> Option<()> {
        self.out.push('"');
        loop {
            match self.chars.next()? {
                c if c == quote => break,
                '"' => self.out.push_str("\\\""),
                '\\' => self.escape()?,
                c if c.is_control() => self.out.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        Some(())
    }

    fn escape(&mut self) -> Option<()> {
        match self.chars.next()? {
            'u' => self.unicode(),
            c @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => self.out.extend(['\\', c]),
            'x' => {
                let digits: String = self.chars.by_ref().take(2).collect();
                let code = u32::from_str_radix(&digits, 16).ok()?;
                self.out.push_str(&format!("\\u{code:04x}"));
            }
            // No escape at all: the character itself.
            c if c.is_control() => {}
            c => self.out.push(c),
        }
        Some(())
    }

    /// `\uXXXX`, with its other half if it has one.
    fn unicode(&mut self) {
        let first = self.hex();
        let mut rest = self.chars.clone();
        let second = (rest.next() == Some('\\') && rest.next() == Some('u'))
            .then(|| rest.clone().take(4).collect::<String>())
            .and_then(|digits| u16::from_str_radix(&digits, 16).ok());
        let (high, low) = (0xd800..=0xdbff, 0xdc00..=0xdfff);
        match (first, second) {
            (Some(first), Some(second)) if high.contains(&first) && low.contains(&second) => {
                self.chars.nth(5);
                self.out.push_str(&format!("\\u{first:04x}\\u{second:04x}"));
            }
            (Some(first), _) if !high.contains(&first) && !low.contains(&first) => {
                self.out.push_str(&format!("\\u{first:04x}"));
            }
            _ => self.out.push(char::REPLACEMENT_CHARACTER),
        }
    }

    fn hex(&mut self) -> Option<u16> {
        let digits: String = self.chars.clone().take(4).take_while(char::is_ascii_hexdigit).collect();
        for _ in 0..digits.len() {
            self.chars.next();
        }
        u16::from_str_radix(&digits, 16).ok()
    }

    /// A comma, unless nothing follows it.
    fn comma(&mut self) {
        let mut rest = self.chars.clone();
        if !matches!(rest.find(|c| !c.is_whitespace()), Some('}' | ']') | None) {
            self.out.push(',');
        }
    }

    fn word(&mut self, first: char) {
        let mut word = String::from(first);
        while let Some(c) = self.chars.next_if(char::is_ascii_alphanumeric) {
            word.push(c);
        }
        self.out.push_str(match word.as_str() {
            "True" => "true",
            "False" => "false",
            "None" | "NaN" | "nan" | "Infinity" | "inf" | "undefined" => "null",
            other => other,
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_servers_write_in_a_hurry_is_read_as_it_was_meant() {
        for (text, expected) in [
            (r#"{"a": NaN, "b": -Infinity, "c": [1, 2,],}"#, json!({ "a": null, "b": null, "c": [1, 2] })),
            (r#"{'a': 'it\'s "so"', 'b': None, 'c': True}"#, json!({ "a": "it's \"so\"", "b": null, "c": true })),
            ("{\"a\": \"two\nlines\tand a tab\"}", json!({ "a": "two\nlines\tand a tab" })),
            (r#"{"a": "\ud83d", "b": "\ud83e\udd6a"}"#, json!({ "a": "\u{fffd}", "b": "\u{1f96a}" })),
            (r#"{"a": "\x41\q", "n": -1.5e3}"#, json!({ "a": "Aq", "n": -1500.0 })),
        ] {
            assert_eq!(repaired(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn strict_json_stays_what_it_is_and_nonsense_stays_nonsense() {
        let strict = json!({ "s": "\u{1f96a}\\\"\n'", "n": [-1, 2.5e-7, true, null], "o": { "": [] } });
        assert_eq!(repaired(&strict.to_string()), Some(strict));
        for text in ["", "hello", "{\"a\":\"b", "{a:}", "<html>"] {
            assert_eq!(repaired(text), None, "{text}");
        }
    }
}
