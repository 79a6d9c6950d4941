//! Notices a text that says the same over and over.
//!
//! Promises: pure; a passage of [`PASSAGE_BYTES_MIN`] to [`PASSAGE_BYTES_MAX`] is noticed once it stands there
//! [`TIMES`] times in a row, a shorter one (a row of dashes is no loop yet) once it fills [`SHORT_BYTES`]; at most the
//! last passages are held. Cost: one look back for each [`STEP_BYTES`].
//! Not here: what becomes of the answer (`writing`).

/// Shorter passages stand in lists, tables and songs.
pub(crate) const PASSAGE_BYTES_MIN: usize = 40;
/// The longest passage that is looked for: a page of text.
const PASSAGE_BYTES_MAX: usize = 4_096;
/// Four times may be meant.
pub(crate) const TIMES: usize = 5;
/// How much of a shorter repeated passage ends an answer: a model that says `!` for ever.
const SHORT_BYTES: usize = 2_000;
/// How often it is looked back.
const STEP_BYTES: usize = 64;
/// What is compared first; a passage repeats only where this does.
const PROBE_BYTES: usize = 16;

/// The last words of a text.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    tail: Vec<u8>,
    /// Bytes since it was last looked back.
    fresh: usize,
}

impl Repeats {
    /// Takes the next words; whether the text repeats itself now.
    pub(crate) fn push(&mut self, text: &str) -> bool {
        for part in text.as_bytes().chunks(STEP_BYTES) {
            self.tail.extend_from_slice(part);
            self.fresh += part.len();
            if self.fresh >= STEP_BYTES {
                self.fresh = 0;
                if self.repeats() {
                    return true;
                }
                let kept = TIMES * PASSAGE_BYTES_MAX;
                if self.tail.len() > 2 * kept {
                    self.tail.drain(..self.tail.len() - kept);
                }
            }
        }
        false
    }

    fn repeats(&self) -> bool {
        let text = &self.tail;
        let Some(at) = text.len().checked_sub(PROBE_BYTES) else { return false };
        let probe = &text[at..];
        let nearest = at.saturating_sub(PASSAGE_BYTES_MAX);
        let found = text[nearest..].windows(PROBE_BYTES).rev().skip(1).position(|window| window == probe);
        let Some(period) = found.map(|back| back + 1) else { return false };
        let wanted = if period < PASSAGE_BYTES_MIN { SHORT_BYTES } else { TIMES * period };
        // It has this period where each byte is as the one a period before.
        let same = text.iter().rev().zip(text.iter().rev().skip(period)).take_while(|(a, b)| a == b).count();
        same + period >= wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noticed_after(text: &str, size: usize) -> Option<usize> {
        let mut repeats = Repeats::default();
        let bytes: Vec<char> = text.chars().collect();
        let mut taken = 0;
        for piece in bytes.chunks(size) {
            let piece: String = piece.iter().collect();
            taken += piece.len();
            if repeats.push(&piece) {
                return Some(taken);
            }
        }
        None
    }

    const PASSAGE: &str = "It is made up of a series of lines, each of which represents a dot. ";

    #[test]
    fn a_passage_that_stands_there_five_times_is_noticed_however_it_comes() {
        let text = format!("The answer begins. {}", PASSAGE.repeat(40));
        for size in [1, 3, 10, 1000] {
            let after = noticed_after(&text, size).unwrap();
            assert!((5 * PASSAGE.len()..7 * PASSAGE.len() + size).contains(&after), "{size}: {after}");
        }
        let page = (0..60).map(|n| format!("line {n} of a page; ")).collect::<String>();
        assert!(noticed_after(&page.repeat(6), 5).is_some());
        assert!(noticed_after(&"é☃ ".repeat(2_000), 7).is_some());
    }

    #[test]
    fn what_is_said_four_times_or_differs_is_no_loop() {
        for text in [
            PASSAGE.repeat(4),
            (0..5_000).map(|n| format!("{n} ")).collect(),
            (0..60).map(|n| format!("| {n:>3} | a row of a table that looks the same each time |\n")).collect(),
            "-".repeat(500),
            "la ".repeat(300),
        ] {
            assert_eq!(noticed_after(&text, 10), None, "{}", &text[..60]);
        }
    }
}
