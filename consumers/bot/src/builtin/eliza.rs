//! Chooses a rule of the script for what was said and fills its reply.
//!
//! 0. A sum is worked out.
//! 1. The message is cut into clauses. The rule of the highest rank whose keyword stands in a clause and one of whose
//!    patterns fits that clause wins.
//! 2. Without one: a question is answered as a question, then something the same person said before is taken up, then a
//!    word of the message.
//! 3. Of a rule's replies a hash of the message picks the first to try; one that lacks what it would quote, or that
//!    the bot said in the room already, is passed over.
//!
//! Promises: pure; never empty.

use super::{
    script::{self, Rule},
    sum,
    words::{Clause, Word, clauses, fit, quote, reflect},
};
use crate::prompt::{Prompt, Role, Turn};

/// What can be said about a message, looked up once.
struct Said<'a> {
    prompt: &'a Prompt,
    text: &'a str,
    clauses: Vec<Clause>,
    /// What the bot said in the room, newest first.
    own: Vec<&'a str>,
    /// What the same person said before, newest first.
    earlier: Vec<&'a str>,
}

/// The answer to the prompt's message.
pub(super) fn answer(prompt: &Prompt) -> String {
    let message = prompt.message();
    let before = || prompt.turns.iter().rev().skip(1);
    let texts =
        |turn: fn(&Turn, &Turn) -> bool| before().filter(|t| turn(t, message)).map(|t| &*t.text).collect::<Vec<_>>();
    let said = Said {
        prompt,
        text: &message.text,
        clauses: spoken_to(clauses(&message.text), prompt.bot.as_str()),
        own: texts(|turn, _| turn.role == Role::Assistant),
        earlier: texts(|turn, message| turn.role == Role::User && turn.name == message.name),
    };
    said.by_sum()
        .or_else(|| said.by_rule())
        .or_else(|| said.by_question())
        .or_else(|| said.by_memory())
        .unwrap_or_else(|| said.by_topic())
}

/// Without the bot's own name, by which it was called.
fn spoken_to(mut clauses: Vec<Clause>, bot: &str) -> Vec<Clause> {
    let bot = bot.to_lowercase();
    if let Some(first) = clauses.first_mut()
        && first.first().is_some_and(|word| word.key == bot)
    {
        first.remove(0);
    }
    clauses.retain(|clause| !clause.is_empty());
    clauses
}

impl Said<'_> {
    fn by_sum(&self) -> Option<String> {
        let asked = self.text.trim().trim_end_matches(['?', '=', '.', '!', ' ']).to_lowercase();
        let sum = script::SUM_ASKED.iter().find_map(|words| asked.strip_prefix(words)).unwrap_or(&asked).trim();
        sum::of(sum).map(|value| format!("{sum} is {value}."))
    }

    fn by_rule(&self) -> Option<String> {
        let mut best: Option<(u8, String)> = None;
        for clause in &self.clauses {
            for rule in script::RULES.iter() {
                if best.as_ref().is_none_or(|(rank, _)| rule.rank > *rank)
                    && let Some(reply) = self.by(rule, clause)
                {
                    best = Some((rule.rank, reply));
                }
            }
        }
        best.map(|(_, reply)| reply)
    }

    fn by(&self, rule: &Rule, clause: &[Word]) -> Option<String> {
        if !clause.iter().any(|word| rule.keys.contains(&word.key.as_str())) {
            return None;
        }
        rule.parts.iter().find_map(|part| {
            let found = part.patterns.iter().find_map(|pattern| fit(pattern, clause))?;
            self.choose(&part.replies, &found)
        })
    }

    fn by_question(&self) -> Option<String> {
        let asks = self.text.trim_end().ends_with(['?', '？']);
        if !asks || !self.readable() { None } else { self.choose(script::QUESTION, &[]) }
    }

    /// Every third time at most, as else it would speak of nothing else.
    fn by_memory(&self) -> Option<String> {
        if !self.hash().is_multiple_of(3) || !self.english() { None } else { self.choose(script::MEMORY, &[]) }
    }

    fn by_topic(&self) -> String {
        let replies = match () {
            () if self.clauses.is_empty() => script::WORDLESS,
            () if self.readable() => script::TOPIC,
            () => script::FOREIGN,
        };
        self.choose(replies, &[]).unwrap_or_else(|| script::LAST_RESORT.into())
    }

    /// The first reply, from a place that depends on the message, that can be filled and was not said before; if all
    /// were said, the one whose last time is longest ago.
    fn choose(&self, replies: &[&str], found: &[&[Word]]) -> Option<String> {
        let start = (self.hash() % replies.len().max(1) as u64) as usize;
        let turned = replies.iter().cycle().skip(start).take(replies.len());
        let age = |reply: &String| self.own.iter().position(|own| own == reply).unwrap_or(usize::MAX);
        // Of equals `max_by_key` takes the last; the first of them is wanted.
        let filled: Vec<String> = turned.filter_map(|reply| self.fill(reply, found)).collect();
        filled.into_iter().rev().max_by_key(age)
    }

    /// The reply with its places filled; `None` if there is nothing to fill one with.
    fn fill(&self, reply: &str, found: &[&[Word]]) -> Option<String> {
        let mut out = String::new();
        let mut parts = reply.split('{');
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (place, after) = part.split_once('}')?;
            out.push_str(&self.place(place, found).filter(|text| !text.is_empty())?);
            out.push_str(after);
        }
        let mut chars = out.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect())
    }

    fn place(&self, place: &str, found: &[&[Word]]) -> Option<String> {
        let capture = |number: &str| found.get(number.parse::<usize>().ok()?.checked_sub(1)?);
        match place {
            "name" => self.prompt.message().name.as_deref().map(str::to_owned),
            "bot" => Some(self.prompt.bot.to_string()),
            "topic" => self.topic(),
            "quote" => Some(quote(&self.clauses.concat())),
            "earlier" => self.earlier.iter().map(|text| quote(&clauses(text).concat())).find(|text| !text.is_empty()),
            "memory" => self.earlier.iter().find_map(|text| memory(text)),
            _ => match place.strip_prefix('=') {
                Some(number) => capture(number).map(|words| quote(words)),
                None => capture(place).map(|words| reflect(words)),
            },
        }
    }

    /// The word that the message seems to be about: its longest that is neither a common one nor a path or address.
    fn topic(&self) -> Option<String> {
        let length = |word: &&Word| word.key.chars().count();
        let notable =
            self.clauses.iter().flatten().filter(|word| {
                length(word) > 3 && !word.key.contains('/') && !script::COMMON.contains(&word.key.as_str())
            });
        notable.rev().max_by_key(length).map(|word| quote(std::slice::from_ref(word)))
    }

    /// Whether there are words, and some that the script can speak of.
    fn readable(&self) -> bool {
        !self.clauses.is_empty() && (self.english() || self.text.is_ascii())
    }

    fn english(&self) -> bool {
        self.clauses.iter().flatten().any(|word| script::COMMON.contains(&word.key.as_str()))
    }

    /// FNV-1a of the message.
    fn hash(&self) -> u64 {
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = self.text.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
        hash ^ (hash >> 32)
    }
}

/// What somebody said of themselves, e.g. "your bike is broken".
fn memory(text: &str) -> Option<String> {
    clauses(text).iter().find_map(|clause| {
        script::REMEMBERED.iter().find_map(|(pattern, reply)| {
            let found = fit(pattern, clause)?;
            // The last `*` is what follows the words to remember by.
            let words = found.last().filter(|words| !words.is_empty())?;
            Some(format!("{reply} {}", reflect(words)))
        })
    })
}

#[cfg(test)]
mod tests {
    use antiphon_kit::bench;
    use antiphon_schemas::wire::AuthorKind;
    use proptest::prelude::*;

    use super::*;
    use crate::prompt::tests::{profile, said};

    fn reply(text: &str) -> String {
        reply_after(&[], text)
    }

    /// The reply to `text` after earlier messages, each with its author; `echo` is the bot.
    fn reply_after(earlier: &[(&str, &str)], text: &str) -> String {
        let mut delivery = bench::delivery(text, profile());
        let kind = |author: &str| if author == "echo" { AuthorKind::Bot } else { AuthorKind::Human };
        let message = |(n, (author, text)): (usize, &(&str, &str))| said(100 + n as u8, author, kind(author), text);
        delivery.context = earlier.iter().enumerate().map(message).collect();
        answer(&Prompt::of(&delivery))
    }

    /// Whether every word of `wanted` (`a|b`: one of them) stands in the reply.
    fn check(text: &str, wanted: &str) {
        let reply = reply(text);
        let has = |choice: &str| reply.to_lowercase().contains(&choice.to_lowercase());
        assert!(wanted.split(' ').all(|word| word.split('|').any(has)), "{text:?} got {reply:?}, wanted {wanted:?}");
    }

    #[test]
    fn what_was_said_is_answered() {
        check("Hello!", "hello|hi|welcome somebody");
        check("what is antiphon?", "antiphon log|conversation|room");
        check("hey echo, what's antiphon", "antiphon log|conversation|room");
        check("who are you?", "echo");
        check("what is my name?", "somebody");
        check("Thanks a lot!", "welcome|glad|pleasure|thank");
        check("ok, bye", "bye|until|see");
        check("How do I install the flash plugin?", "install");
        check("my sound card is broken", "your sound card|it");
        check("I feel sad about my job", "sad|feel your job|feel|that");
        check("what is 12 * (3 + 4)?", "12 84");
        check("tell me a joke", "?|.");
        check("repeat after me: Snow is White", "Snow is White");
        check("what time is it?", "clock|time");
        check("the kernel panics", "kernel|panic|happen|see");
        check("My dog is called Rex", "your dog");
        check("how old are you?", "program|script");
        check("is there a way to resize a partition?", "resize partition");
        check("please write a poem about the sea", "language model");
    }

    #[test]
    fn a_greeting_before_a_question_does_not_hide_the_question() {
        check("hi all, how can I mount a windows partition?", "mount windows partition");
    }

    #[test]
    fn being_called_by_name_is_not_part_of_what_was_said() {
        assert_eq!(reply("echo: what is antiphon?"), reply("ECHO, what is antiphon?"));
    }

    #[test]
    fn the_same_message_gets_another_answer_the_second_time() {
        let (mut said, mut seen) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let reply =
                reply_after(&said.iter().map(|(a, t): &(&str, String)| (*a, t.as_str())).collect::<Vec<_>>(), "hello");
            said.extend([("somebody", "hello".to_owned()), ("echo", reply.clone())]);
            seen.push(reply);
        }
        seen.dedup();
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert_eq!(reply("hello"), reply("hello"), "but the same prompt gets the same answer");
    }

    #[test]
    fn it_remembers_what_this_person_said_and_not_what_others_did() {
        let earlier = [("somebody", "my cat has run away"), ("echo", "Oh."), ("anna", "I have a yacht")];
        for n in 0..9 {
            let asked = format!("do you remember what I said {n}?");
            let (reply, nothing) = (reply_after(&earlier, &asked), reply_after(&[], &asked));
            assert!(reply.contains("my cat has run away") && nothing.contains("nothing from you"), "{reply} {nothing}");
        }
        let replies: Vec<_> =
            (0..40).map(|n| reply_after(&earlier, &format!("the cucumber report number {n}"))).collect();
        assert!(replies.iter().any(|reply| reply.contains("your cat has run away")), "{replies:#?}");
        assert!(!replies.iter().any(|reply| reply.contains("yacht")));
    }

    #[test]
    fn words_that_it_does_not_know_are_met_with_sense() {
        check("🙂🙂", "word|words");
        check("Wie spät ist es auf dem Mond, bitte schön?", "English");
        check("日本語を話しますか", "English");
        check("", "word|words");
        check("asdf", "asdf");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn any_text_is_answered_with_something_short(text in "\\PC{0,80}|[a-z ,.?'\u{0}\u{202e}{}1]{0,200}", earlier in "\\PC{0,40}") {
            let reply = reply_after(&[("somebody", &earlier), ("echo", "Hm.")], &text);
            prop_assert!(!reply.trim().is_empty() && reply.len() < 4000 && !reply.contains('\0'), "{reply}");
        }

        #[test]
        fn common_words_in_any_order_are_answered(words in prop::collection::vec(prop::sample::select(
            script::RULES.iter().flat_map(|rule| &rule.keys).chain(script::COMMON).copied().collect::<Vec<_>>()), 0..30)) {
            let reply = reply(&words.join(" "));
            prop_assert!(!reply.contains(['{', '}']), "{reply}");
        }
    }

    #[test]
    fn the_longest_text_takes_little_time() {
        for word in ["you ", "i want my ", "what is ", "a.", "(((1+", "é", "i "] {
            let start = std::time::Instant::now();
            assert!(!reply(&word.repeat(64 * 1024 / word.len())).is_empty());
            assert!(start.elapsed() < std::time::Duration::from_millis(500), "{word:?} took {:?}", start.elapsed());
        }
    }
}
