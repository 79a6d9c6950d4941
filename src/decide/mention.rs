//! Whom a text names: `@poet write a line` asks poet.
//!
//! A mention is an `@` at the start of the text or after a space, a bracket or a quote, and the longest name of a bot after it
//! that ends there or before a sign that no name has. So `ann@poet.example` and `@poetry` name nobody. Case does not matter.

use antiphon_schemas::{BotName, RoomName};

use super::Policy;

/// The first bot that the text names and the room takes.
pub(super) fn mentioned<'a>(text: &str, policy: &'a Policy, room: &RoomName) -> Option<&'a BotName> {
    let takes = |name: &str| {
        let rule = policy.bots.iter().find(|rule| rule.name.as_str().eq_ignore_ascii_case(name))?;
        rule.serves(room).then_some(&rule.name)
    };
    text.match_indices('@')
        .filter(|(at, _)| {
            text[..*at].chars().next_back().is_none_or(|before| before.is_whitespace() || "([{\"'“‘«".contains(before))
        })
        .find_map(|(at, _)| {
            let word = &text[at + 1..];
            let end = word.find(|sign: char| !is_of_name(sign)).unwrap_or(word.len());
            // A sentence may end in a sign that a name can have: `@poet.`
            takes(&word[..end]).or_else(|| takes(word[..end].trim_end_matches(['.', '-', '_', '~'])))
        })
}

/// The signs of a bot's name.
fn is_of_name(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || "._~-".contains(sign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{BotRule, tests::room};

    #[test]
    fn the_first_bot_of_the_room_that_a_text_names_is_found() {
        let rule = |name: &str, rooms: &[&str]| BotRule {
            name: BotName::new(name).unwrap(),
            rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
            answers_all: false,
        };
        let bots = vec![rule("poet", &[]), rule("gpt-4.1", &[]), rule("elsewhere", &["another-room"])];
        let policy = Policy { bots, ..crate::decide::tests::World::new().policy };
        let named = |text: &str| mentioned(text, &policy, &room(0)).map(BotName::as_str).unwrap_or_default();
        for (text, expected) in [
            ("@poet write a line", "poet"),
            ("write a line, @Poet.", "poet"),
            ("(@poet) and @gpt-4.1", "poet"),
            ("ask @gpt-4.1: why?", "gpt-4.1"),
            ("ask @gpt-4.1...", "gpt-4.1"),
            ("@ann, do you know @poet?", "poet"),
            ("@elsewhere or @poet", "poet"),
            ("@elsewhere", ""),
            ("ann@poet.example", ""),
            ("@poetry", ""),
            ("@@poet", ""),
            ("@", ""),
            ("poet", ""),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
    }
}
