//! Which characters show: the one rule for names, texts and terminals. `web/room/visible.js` is its twin for pages.
//!
//! Pure, and without tables of the characters that exist: one that is not assigned yet, or for private use, counts as shown,
//! because a later Unicode or a font of the reader's may show it.
//! Not here: what is done about the others (`http` refuses, `cli::foreign` marks).

/// The first of Unicode's blanks that are not called white space: a Braille pattern without a dot.
const BRAILLE_BLANK: char = '\u{2800}';

/// Whether a reader sees anything of a text at all.
pub fn is_visible(text: &str) -> bool {
    text.chars().any(shows)
}

/// Whether a character leaves something to be seen: it is no blank, no control and no [format](is_format) character.
pub fn shows(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_graphic();
    }
    !(c.is_whitespace() || c.is_control() || c == BRAILLE_BLANK || is_format(c))
}

/// Whether a character is not seen itself but may change how others are: Unicode's category Cf and its
/// `Default_Ignorable_Code_Point` (version 16), without those few of Cf that have a sign of their own (e.g. U+0600).
pub fn is_format(c: char) -> bool {
    !c.is_ascii()
        && matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a character picks a variant of the one before it, as in ❤️ or a Han character of a certain shape.
pub fn is_selector(c: char) -> bool {
    matches!(c, '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Whether a character joins or parts its neighbours: spelling in Persian or Hindi, and what makes one emoji of several.
pub fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_visible_if_anything_of_it_is() {
        for shown in ["a", " . ", "\u{200b}x", "☃", "👩\u{200d}👧", "\u{600}", "\u{e000}", "\u{378}", "ا"] {
            assert!(is_visible(shown), "{shown:?}");
        }
    }

    #[test]
    fn blanks_controls_and_format_characters_show_nothing() {
        for hidden in [
            "",
            " \t\r\n",
            "\u{a0}\u{3000}\u{2028}",
            "\u{7}\u{7f}\u{9b}",
            "\u{200b}\u{2060}\u{feff}",
            "\u{202e}\u{2066}\u{2069}",
            "\u{115f}\u{3164}\u{ffa0}",
            "\u{2800}",
            "\u{fe0f}\u{e0100}\u{e0041}",
        ] {
            assert!(!is_visible(hidden), "{hidden:?}");
        }
    }
}
