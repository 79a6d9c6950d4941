//! Messages and replies as rows of a table, for people with a spreadsheet.
//!
//! Promises: RFC 4180 (commas, CRLF, quotes doubled), UTF-8; a text never becomes a formula: what begins like one gets an
//! apostrophe before it (OWASP, "CSV Injection"); a text that was hidden is not in it unless the caller wants it.

use std::io::{self, Write};

use antiphon_schemas::{Entry, Event, MessageId, entry::Header, event::Author, time};
use serde::Serialize;

use super::{
    hidden::Hidden,
    messages::{Standing, makes_message},
};

/// The first row.
const COLUMNS: &[&str] = &[
    "position",
    "at",
    "id",
    "room",
    "kind",
    "author",
    "author_kind",
    "reply_to",
    "bot",
    "status",
    "reason",
    "model",
    "first_token_ms",
    "total_ms",
    "hidden",
    "text",
    "said_at",
];

/// What becomes of hidden texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Texts {
    /// They are left out.
    Shown,
    /// They are in it, as far as they were not erased.
    All,
}

/// Writes the row of names.
///
/// # Errors
/// As `out` says.
pub fn head(out: &mut dyn Write) -> io::Result<()> {
    line(out, COLUMNS.iter().map(|name| Cell::Text(name)))
}

/// Writes the row of an entry, if it makes a message or reply.
///
/// # Errors
/// As `out` says.
pub fn row(out: &mut dyn Write, entry: &Entry, standing: &Standing, hidden: &Hidden, texts: Texts) -> io::Result<()> {
    if !makes_message(entry) {
        return Ok(());
    }
    let Header { seq, at_ms, kind, room, subjects, .. } = &entry.header;
    let id = subjects.first().copied();
    let (status, reason) = id.map(|id| standing.of(id)).unwrap_or_default();
    let is_hidden = id.is_some_and(|id| hidden.since(id).is_some());
    let at = time::rfc3339(*at_ms);
    let (author, text, reply_to, bot): (Option<&Author>, &str, Option<MessageId>, &str) = match &entry.event {
        Event::MessagePosted(e) => {
            (Some(&e.author), &e.text, e.reply_to, e.ask.as_ref().map_or("", |ask| ask.bot.as_str()))
        }
        Event::ReplyPosted(e) => (Some(&e.author), &e.text, Some(e.message_id), ""),
        _ => (None, "", None, ""),
    };
    let said_at = match &entry.event {
        Event::MessagePosted(e) => e.said_at_ms.map_or(String::new(), time::rfc3339),
        _ => String::new(),
    };
    let made = match &entry.event {
        Event::ReplyPosted(e) => Some(&e.made),
        _ => None,
    };
    let text = if is_hidden && texts == Texts::Shown { "" } else { text };
    let hidden = match &entry.event {
        Event::Erased(_) => "erased",
        _ if is_hidden => "redacted",
        _ => "",
    };
    let id_text = |id: Option<MessageId>| id.map_or(String::new(), |id| id.to_string());
    line(
        out,
        [
            Cell::Number(Some(seq.0)),
            Cell::Text(&at),
            Cell::Text(&id_text(id)),
            Cell::Text(room.as_ref().map_or("", |room| room.as_str())),
            Cell::Text(if &**kind == "reply.posted" { "reply" } else { "message" }),
            Cell::Text(author.map_or("", |author| &author.name)),
            Cell::Text(&author.map_or(String::new(), |author| word(&author.kind))),
            Cell::Text(&id_text(reply_to)),
            Cell::Text(bot),
            Cell::Text(&word(&status)),
            Cell::Text(reason.as_deref().unwrap_or_default()),
            Cell::Text(made.map_or("", |made| &made.model)),
            Cell::Number(made.and_then(|made| made.first_token_ms)),
            Cell::Number(made.map(|made| made.total_ms)),
            Cell::Text(hidden),
            Cell::Text(text),
            Cell::Text(&said_at),
        ]
        .into_iter(),
    )
}

/// The text between two commas.
enum Cell<'a> {
    Number(Option<u64>),
    Text(&'a str),
}

fn line<'a>(out: &mut dyn Write, cells: impl Iterator<Item = Cell<'a>>) -> io::Result<()> {
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        match cell {
            Cell::Number(None) => {}
            Cell::Number(Some(number)) => write!(out, "{number}")?,
            Cell::Text(text) => quoted(out, text)?,
        }
    }
    out.write_all(b"\r\n")
}

fn quoted(out: &mut dyn Write, text: &str) -> io::Result<()> {
    let harmless = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if text.contains(['"', ',', '\r', '\n']) {
        write!(out, "\"{harmless}{}\"", text.replace('"', "\"\""))
    } else {
        write!(out, "{harmless}{text}")
    }
}

/// One of our words, as it is spoken.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cells of a table, read by the rules of RFC 4180.
    fn parse(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
                '"' => quoted = !quoted,
                ',' if !quoted => row.push(std::mem::take(&mut cell)),
                '\r' if !quoted => {
                    assert_eq!(chars.next(), Some('\n'));
                    row.push(std::mem::take(&mut cell));
                    rows.push(std::mem::take(&mut row));
                }
                c => cell.push(c),
            }
        }
        assert!(row.is_empty() && cell.is_empty() && !quoted, "it ends with a line");
        rows
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_text_holds_it_is_one_cell_and_never_a_formula(texts in proptest::collection::vec("[=+@\\-a\",\r\n\t' é]{0,8}", 1..4)) {
            let mut out = Vec::new();
            line(&mut out, texts.iter().map(|text| Cell::Text(text))).unwrap();
            let rows = parse(std::str::from_utf8(&out).unwrap());
            proptest::prop_assert_eq!(rows.len(), 1);
            for (cell, text) in rows[0].iter().zip(&texts) {
                let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
                proptest::prop_assert_eq!(cell.strip_prefix(if formula { "'" } else { "" }), Some(&**text));
                proptest::prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
            }
        }
    }
}
