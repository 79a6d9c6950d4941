//! What the built-in model knows to say: the rules of `script.txt`, and the replies to what no rule knows.
//!
//! ```text
//! 7 work works                     rank, then the keys; the rule is tried for clauses in which a key stands
//! * does/did not work *            a pattern (see `words::fit`), or several that share their replies
//!     What does it do instead?     a reply
//! ```
//!
//! Places in replies: `{1}` what the first `*` stands for, seen from the other side; `{=1}` the same as written;
//! `{name}` who wrote; `{bot}`; `{topic}` the message's most notable word; `{quote}` the message; `{earlier}` the
//! person's last words before; `{memory}` something that they said of themselves.
//!
//! Not here: how a rule is chosen (`eliza`).

use std::sync::LazyLock;

/// What to say when one of the keys was said.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) rank: u8,
    pub(super) keys: Vec<&'static str>,
    /// Tried in order.
    pub(super) parts: Vec<Part>,
}

/// Replies to a clause that fits one of the patterns.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) patterns: Vec<&'static str>,
    pub(super) replies: Vec<&'static str>,
}

/// All rules; of those of one rank the earlier is preferred.
pub(super) static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| read(include_str!("script.txt")));

/// The rules of a script. Lines that fit nowhere are passed over; a test sees to it that ours has none.
fn read(script: &'static str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in script.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Ok(rank) = first.parse() {
            rules.push(Rule { rank, keys: rest.split(' ').collect(), parts: Vec::new() });
        } else if let Some(rule) = rules.last_mut() {
            match (line.strip_prefix("    "), rule.parts.last_mut()) {
                (Some(reply), Some(part)) => part.replies.push(reply),
                (None, Some(part)) if part.replies.is_empty() => part.patterns.push(line),
                (None, _) => rule.parts.push(Part { patterns: vec![line], replies: Vec::new() }),
                (Some(_), None) => {}
            }
        }
    }
    rules
}

/// To a question that no rule knows.
pub(super) const QUESTION: &[&str] = &[
    "I do not know, {name}; my script says nothing about “{topic}”. What do you think?",
    "A fair question. What would you expect about “{topic}”?",
    "I cannot tell you that. Why do you ask about “{topic}”?",
    "I do not know, {name}. What would be your guess?",
    "Would an answer change what you do next?",
];

/// When there is something to come back to.
pub(super) const MEMORY: &[&str] = &[
    "Earlier you spoke of this: {memory}. Has it to do with that?",
    "Let us come back to one thing: {memory}. How does this fit?",
    "I still have in mind what you said before: {memory}.",
];

/// To a statement that no rule knows.
pub(super) const TOPIC: &[&str] = &[
    "Tell me more about “{topic}”.",
    "What about “{topic}” matters most to you?",
    "I see. And what follows from that, as to “{topic}”?",
    "“{topic}”: how did you come to that?",
    "You say “{quote}”. Go on, {name}.",
    "I am listening, {name}.",
];

/// To words that are none of English.
pub(super) const FOREIGN: &[&str] = &[
    "I only know a little English, {name}; of “{quote}” I understand nothing.",
    "“{quote}”: I am afraid my script is in English. Can you say it so?",
];

/// To a message without a word.
pub(super) const WORDLESS: &[&str] =
    &["I see no words in that, {name}. What do you mean?", "Without words I am lost, {name}."];

/// If nothing else can be said, which the script rules out.
pub(super) const LAST_RESORT: &str = "Go on.";

/// What may stand before a sum, longest first.
pub(super) const SUM_ASKED: [&str; 6] = ["how much is", "what is", "what's", "whats", "calculate", "compute"];

/// What of somebody's earlier words is worth coming back to, and how it is taken up: followed by the last `*`.
pub(super) const REMEMBERED: [(&str, &str); 6] = [
    ("* my *", "your"),
    ("* i am *", "you are"),
    ("* i have *", "you have"),
    ("* i want/need *", "you want"),
    ("* i like/love *", "you like"),
    ("* i use/run *", "you use"),
];

/// Words that a topic is not, and by which English is known.
#[rustfmt::skip]
pub(super) const COMMON: &[&str] = &[
    "a", "about", "after", "again", "all", "already", "also", "always", "am", "an", "and", "another", "any", "anyone", "anything",
    "are", "around", "as", "at", "away", "back", "be", "because", "been", "before", "being", "best", "better", "but", "by", "can",
    "cannot", "come", "could", "did", "do", "does", "doing", "done", "down", "each", "else", "even", "ever", "every", "find",
    "first", "for", "from", "get", "gets", "getting", "give", "go", "goes", "going", "good", "got", "had", "has", "have", "having",
    "he", "hello", "help", "her", "here", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "keep", "know",
    "last", "least", "let", "like", "little", "long", "look", "looking", "made", "make", "many", "may", "maybe", "me", "mean",
    "might", "more", "most", "much", "must", "my", "need", "never", "new", "no", "not", "nothing", "now", "of", "off", "ok", "on",
    "once", "one", "only", "or", "other", "our", "out", "over", "please", "put", "really", "right", "said", "same", "say", "see",
    "seem", "seems", "she", "should", "since", "so", "some", "someone", "something", "still", "such", "sure", "take", "tell",
    "than", "thanks", "that", "the", "their", "them", "then", "there", "these", "they", "thing", "things", "think", "this",
    "those", "though", "thought", "through", "to", "too", "tried", "try", "trying", "under", "until", "up", "use", "used", "using",
    "very", "want", "was", "way", "we", "well", "went", "were", "what", "when", "where", "which", "while", "who", "why", "will",
    "with", "without", "work", "working", "works", "would", "yes", "yet", "you", "your",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> impl Iterator<Item = &'static Part> {
        RULES.iter().flat_map(|rule| &rule.parts)
    }

    #[test]
    fn every_line_of_the_script_has_its_place() {
        let lines =
            include_str!("script.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        let read: usize = parts().map(|part| part.patterns.len() + part.replies.len()).sum();
        assert_eq!(read + RULES.len(), lines);
        assert!(RULES.iter().all(|rule| (1..=9).contains(&rule.rank) && !rule.parts.is_empty()));
        assert!(parts().all(|part| !part.patterns.is_empty() && !part.replies.is_empty()));
    }

    #[test]
    fn patterns_have_few_stars_so_that_fitting_is_bounded() {
        let remembered = REMEMBERED.map(|(pattern, _)| pattern);
        for pattern in parts().flat_map(|part| part.patterns.iter().copied()).chain(remembered) {
            let words: Vec<&str> = pattern.split(' ').collect();
            assert!(words.iter().filter(|word| **word == "*").count() <= 3, "{pattern}");
            assert!(
                words.windows(2).all(|pair| pair != ["*", "*"]) && words.iter().all(|word| !word.is_empty()),
                "{pattern}"
            );
            assert_eq!(pattern, pattern.to_lowercase());
        }
    }

    #[test]
    fn every_place_in_a_reply_can_be_filled() {
        let check = |reply: &str, stars: usize| {
            for place in reply.split('{').skip(1) {
                let place = place.split_once('}').expect("closed").0;
                match place.trim_start_matches('=').parse::<usize>() {
                    Ok(number) => assert!((1..=stars).contains(&number), "{reply}"),
                    Err(_) => {
                        assert!(["name", "bot", "topic", "quote", "earlier", "memory"].contains(&place), "{reply}")
                    }
                }
            }
        };
        for part in parts() {
            let stars = part.patterns.iter().map(|p| p.matches('*').count()).min().unwrap();
            part.replies.iter().for_each(|reply| check(reply, stars));
        }
        [QUESTION, MEMORY, TOPIC, FOREIGN, WORDLESS].concat().iter().for_each(|reply| check(reply, 0));
    }

    #[test]
    fn one_reply_of_each_fallback_can_always_be_said() {
        for replies in [QUESTION, TOPIC, WORDLESS] {
            assert!(replies.iter().any(|reply| !reply.replace("{name}", "").contains('{')), "{replies:?}");
        }
    }
}
