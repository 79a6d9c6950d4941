//! What others wrote, as text for a terminal: all commands print names, texts and reasons through here.
//!
//! Pure. Promises: no control character leaves it but line ends and tabs, so nothing can move the cursor, set the clipboard or
//! fake a line; a character that hides or turns others round (bidi overrides, zero-width characters, tags) is shown as
//! `<U+202E>`; what such characters are for in ordinary writing (emoji of several parts, Persian, variants) stays as it is.
//! JSON keeps its meaning: there they are escaped.
//! Not here: which characters those are (`antiphon_schemas::visible`).

use std::{borrow::Cow, fmt::Write};

use antiphon_schemas::visible::{is_format, is_joiner, is_selector, shows};

/// What becomes of line ends and tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// The next line is indented, so that it is not taken for another message.
    Indent,
    /// They stay.
    Keep,
    /// Blanks: the text stays in its line.
    Blank,
}

const INDENT: &str = "\n    ";

/// A text whose further lines are indented.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    show(text, Ends::Indent)
}

/// A text, or a piece of one, with the line ends that it has.
pub(super) fn piece(text: &str) -> Cow<'_, str> {
    show(text, Ends::Keep)
}

/// A text in one line, cut after `max` of its characters.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let cut = text.char_indices().nth(max).map(|(at, _)| &text[..at]);
    let mut line = show(cut.unwrap_or(text), Ends::Blank).into_owned();
    if cut.is_some() {
        line.push('…');
    }
    line
}

/// JSON that means the same, with every such character in it escaped.
pub(super) fn json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_odd_in_json) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len() + 32);
    for c in json.chars() {
        if is_odd_in_json(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| push(&mut out, format_args!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// Those that serde leaves as they are. They can stand only inside of strings.
fn is_odd_in_json(c: char) -> bool {
    c >= '\u{7f}' && is_odd(c)
}

fn is_odd(c: char) -> bool {
    c.is_control() || is_separator(c) || is_format(c)
}

/// Lines and paragraphs may also end in these.
fn is_separator(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

fn show(text: &str, ends: Ends) -> Cow<'_, str> {
    let stays = |c: char| ends == Ends::Keep && matches!(c, '\n' | '\t');
    if !text.contains(|c: char| is_odd(c) && !stays(c)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 32);
    let (mut before, mut chars) = (None, text.chars().peekable());
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match c {
            '\n' | '\u{2028}' | '\u{2029}' => out.push_str(match ends {
                Ends::Indent => INDENT,
                Ends::Keep => "\n",
                Ends::Blank => " ",
            }),
            // Half of a line end, whose other half may come with the next piece.
            '\r' if next.is_none_or(|next| next == '\n') => {}
            '\t' => out.push(if ends == Ends::Blank { ' ' } else { c }),
            '\0'..='\u{1f}' => out.push(char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER)),
            '\u{7f}'..='\u{9f}' => out.push(char::REPLACEMENT_CHARACTER),
            c if is_format(c) && !belongs(before, c, next) => push(&mut out, format_args!("<U+{:04X}>", c as u32)),
            c => out.push(c),
        }
        before = Some(c);
    }
    out.into()
}

/// Whether a format character does here what it is for. At the border of a piece the neighbour is not known, and may be one.
fn belongs(before: Option<char>, c: char, next: Option<char>) -> bool {
    let joined = |one: char| !one.is_ascii() && (shows(one) || is_selector(one));
    if is_joiner(c) {
        before.is_none_or(joined) && next.is_none_or(joined)
    } else {
        is_selector(c) && before.is_none_or(shows)
    }
}

fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_move_the_cursor_nor_fake_a_line() {
        assert_eq!(lines("x\r\ny\u{7}\u{9b}z\tt\u{2028}u"), "x\n    y␇\u{fffd}z\tt\n    u");
        assert_eq!(lines("good\revil"), "good␍evil");
    }

    #[test]
    fn what_hides_or_turns_text_round_is_shown() {
        assert_eq!(lines("a\u{202e}b\u{2066}c\u{200b}d\u{feff}"), "a<U+202E>b<U+2066>c<U+200B>d<U+FEFF>");
        assert_eq!(lines("x\u{e0041}"), "x<U+E0041>");
        assert_eq!(lines("pay\u{200d}pal"), "pay<U+200D>pal");
        assert_eq!(lines("❤\u{fe0f}\u{fe01}"), "❤\u{fe0f}<U+FE01>", "a second one selects nothing");
    }

    #[test]
    fn ordinary_writing_stays_as_it_is() {
        for text in [
            "👩\u{200d}👩\u{200d}👧",
            "❤\u{fe0f}\u{200d}🔥",
            "1\u{fe0f}\u{20e3}",
            "می\u{200c}خواهم",
            "葛\u{e0100}",
            "شלום",
        ] {
            assert_eq!(lines(text), text);
        }
    }

    #[test]
    fn an_emoji_that_comes_in_pieces_is_whole() {
        assert_eq!(["👩", "\u{200d}", "👧"].map(piece).concat(), "👩\u{200d}👧");
    }

    #[test]
    fn a_piece_keeps_its_line_ends() {
        assert_eq!(piece("a\r\n\tb\n\u{1b}[2J"), "a\n\tb\n␛[2J");
    }

    #[test]
    fn a_text_stays_in_its_line() {
        assert_eq!(one_line("a\nb\t\u{1b}[2J\u{9b}c", 100), "a b ␛[2J\u{fffd}c");
        assert_eq!((one_line("äöü", 2), one_line("äö", 2)), ("äö…".into(), "äö".into()));
    }

    #[test]
    fn json_means_what_it_meant() {
        let text = "\u{1b}\u{9b}\u{202e}\u{e0041}ä☃\u{2028}";
        let written = serde_json::to_string(text).unwrap();
        let shown = json(&written);
        assert_eq!(shown, "\"\\u001b\\u009b\\u202e\\udb40\\udc41ä☃\\u2028\"");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }
}
