//! Cuts a model's words before anybody sees them, piece by piece as they come.
//!
//! Three stages, each fed by the one before:
//! 1. `filter_out`: one pass from the left; at each place the longest of the strings is taken out. What a cut pushes
//!    together is not looked at again, as with replacing in an editor;
//! 2. `trim_after`: the text ends before the first occurrence of any of the strings;
//! 3. `trim_whitespace`: white space at both ends is taken off.
//!
//! Promises: for every way of cutting the text into pieces the output is that of the whole text at once; a character is
//! held back only while what follows could still decide about it: at most the length of the longest string, and white
//! space until something else comes.
//!
//! Not here: bounds on the whole text (`bot`).

use antiphon_kit::Filters;

/// An incremental filter of one reply.
#[derive(Debug, Clone)]
pub struct Filter {
    out: Scanner,
    after: Scanner,
    ended: bool,
    trim: bool,
    /// White space that is shown only if something follows it.
    space: String,
    /// Something other than white space was seen.
    begun: bool,
}

impl Filter {
    /// A filter at the beginning of a reply. Empty strings in `filters` cut nothing.
    pub fn new(filters: &Filters) -> Filter {
        Filter {
            out: Scanner::new(&filters.filter_out, Find::Longest),
            after: Scanner::new(&filters.trim_after, Find::First),
            ended: false,
            trim: filters.trim_whitespace,
            space: String::new(),
            begun: false,
        }
    }

    /// Takes the next words and returns what may be shown now.
    pub fn push(&mut self, text: &str) -> String {
        self.step(text, false)
    }

    /// Says that nothing follows, and returns what was still held back.
    pub fn finish(&mut self) -> String {
        self.step("", true)
    }

    /// Whether the text has ended at one of `trim_after`: nothing that follows can change the output.
    pub fn ended(&self) -> bool {
        self.ended
    }

    fn step(&mut self, text: &str, last: bool) -> String {
        if self.ended {
            return String::new();
        }
        let (mut kept, mut shown) = (String::new(), String::new());
        self.out.scan(text, last, &mut kept);
        self.ended = self.after.scan(&kept, last, &mut shown);
        if self.trim { self.trimmed(&shown) } else { shown }
    }

    fn trimmed(&mut self, text: &str) -> String {
        let text = if self.begun { text } else { text.trim_start() };
        let body = text.trim_end();
        if body.is_empty() {
            if self.begun {
                self.space.push_str(text);
            }
            return String::new();
        }
        self.begun = true;
        let mut shown = std::mem::replace(&mut self.space, text[body.len()..].into());
        shown.push_str(body);
        shown
    }
}

/// Looks for strings in a text that comes in pieces.
#[derive(Debug, Clone)]
struct Scanner {
    needles: Vec<String>,
    find: Find,
    /// The beginning of what may become one of the needles.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Find {
    /// Take out all, at each place the longest: wait for it.
    Longest,
    /// Stop at the first, whichever it is.
    First,
}

enum Look {
    /// A needle of this many bytes stands here.
    Needle(usize),
    /// What follows decides.
    Wait,
    /// Nothing can stand here.
    Nothing,
}

impl Scanner {
    fn new(needles: &[String], find: Find) -> Scanner {
        let needles = needles.iter().filter(|needle| !needle.is_empty()).cloned().collect();
        Scanner { needles, find, held: String::new() }
    }

    /// Moves on through `text`, everything that is no needle into `out`; `last` says that no more will come. `true` if
    /// it stopped at a needle.
    fn scan(&mut self, text: &str, last: bool, out: &mut String) -> bool {
        self.held.push_str(text);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_str();
        while let Some(first) = rest.chars().next() {
            match self.look(rest, last) {
                Look::Needle(_) if self.find == Find::First => return true,
                Look::Needle(len) => rest = &rest[len..],
                Look::Wait => {
                    self.held.push_str(rest);
                    return false;
                }
                Look::Nothing => {
                    out.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        false
    }

    fn look(&self, rest: &str, last: bool) -> Look {
        let longest =
            self.needles.iter().map(String::as_str).filter(|needle| rest.starts_with(needle)).map(str::len).max();
        let longer = !last && self.needles.iter().any(|needle| needle.len() > rest.len() && needle.starts_with(rest));
        match longest {
            Some(len) if !longer || self.find == Find::First => Look::Needle(len),
            _ if longer => Look::Wait,
            _ => Look::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filters(out: &[&str], after: &[&str], trim_whitespace: bool) -> Filters {
        let own = |strings: &[&str]| strings.iter().map(|s| s.to_string()).collect();
        Filters { filter_out: own(out), trim_after: own(after), trim_whitespace }
    }

    fn in_pieces<'a>(filters: &Filters, pieces: impl IntoIterator<Item = &'a str>) -> String {
        let mut filter = Filter::new(filters);
        let mut out: String = pieces.into_iter().map(|piece| filter.push(piece)).collect();
        out.push_str(&filter.finish());
        out
    }

    /// The same, said plainly and about the whole text.
    fn at_once(filters: &Filters, text: &str) -> String {
        let (mut kept, mut rest) = (String::new(), text);
        while let Some(c) = rest.chars().next() {
            let cut =
                filters.filter_out.iter().filter(|s| !s.is_empty() && rest.starts_with(*s)).map(|s| s.len()).max();
            if cut.is_none() {
                kept.push(c);
            }
            rest = &rest[cut.unwrap_or(c.len_utf8())..];
        }
        let end = filters.trim_after.iter().filter(|s| !s.is_empty()).filter_map(|s| kept.find(s)).min();
        kept.truncate(end.unwrap_or(kept.len()));
        if filters.trim_whitespace { kept.trim().into() } else { kept }
    }

    fn check(filters: Filters, text: &str, expected: &str) {
        assert_eq!(at_once(&filters, text), expected);
        assert_eq!(in_pieces(&filters, [text]), expected);
        let letters: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(in_pieces(&filters, letters.iter().map(String::as_str)), expected);
    }

    #[test]
    fn words_are_cut_also_across_the_borders_of_pieces() {
        check(filters(&["</s>"], &[], false), "Hi</s> there</s", "Hi there</s");
        check(filters(&["ab", "abcd"], &[], false), "abcabcdab x", "c x");
        check(filters(&[], &["\nanna:", "###"], false), "Yes.\nanna: no ###", "Yes.");
        check(filters(&["#"], &["###"], false), "a###b", "ab");
        check(filters(&[], &[], true), " \n Two  words \t", "Two  words");
        check(filters(&["x"], &["END"], true), "  x a x \u{3000}xEND b", "a");
        check(filters(&["", "é"], &[""], false), "né☃", "n☃");
        check(filters(&[], &["."], true), "  . a", "");
    }

    #[test]
    fn no_more_is_held_back_than_what_can_still_be_cut() {
        let mut filter = Filter::new(&filters(&["</s>"], &["STOP"], true));
        assert_eq!(filter.push("one two<"), "one two");
        assert_eq!(filter.push("b> "), "<b>");
        assert_eq!(filter.push("ST"), "");
        assert_eq!(filter.push("ART"), " START");
        assert_eq!((filter.push(" STOP this"), filter.ended()), (String::new(), true));
        assert_eq!((filter.push("more"), filter.finish()), (String::new(), String::new()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn every_way_of_cutting_the_text_gives_the_same_output(
            text in "[ab \u{e9}\u{2603}\n]{0,40}",
            filter_out in prop::collection::vec("[ab \u{e9}]{0,4}", 0..4),
            trim_after in prop::collection::vec("[ab \u{2603}]{0,4}", 0..3),
            trim_whitespace: bool,
            cuts in prop::collection::vec(any::<bool>(), 40),
        ) {
            let filters = Filters { filter_out, trim_after, trim_whitespace };
            let mut pieces = vec![String::new()];
            for (c, cut) in text.chars().zip(cuts) {
                if cut {
                    pieces.push(String::new());
                }
                pieces.last_mut().unwrap().push(c);
            }
            prop_assert_eq!(in_pieces(&filters, pieces.iter().map(String::as_str)), at_once(&filters, &text));
        }
    }
}
