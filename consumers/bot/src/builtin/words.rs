//! Text into clauses and words; patterns over words; *my* turned into *your*.
//!
//! Promises: any Unicode is taken; at most [`CHARS_MAX`] characters, [`CLAUSES_MAX`] clauses and [`WORDS_MAX`] words of
//! each are looked at, so every step is bounded.

/// The part of a text that is looked at: more than anybody types at once.
pub(super) const CHARS_MAX: usize = 4000;
/// Clauses looked at.
pub(super) const CLAUSES_MAX: usize = 64;
/// Words of a clause looked at.
pub(super) const WORDS_MAX: usize = 64;
/// Words quoted back; a longer quotation is cut with an ellipsis.
const QUOTED_WORDS_MAX: usize = 16;
/// Characters quoted back, for text that has no spaces.
const QUOTED_CHARS_MAX: usize = 120;

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// As written.
    pub(super) shown: String,
    /// In lower case, with a plain apostrophe.
    pub(super) key: String,
}

/// Words between two marks of punctuation.
pub(super) type Clause = Vec<Word>;

/// Marks that belong to a word when they stand between two of its letters or digits.
const INSIDE: &str = "'-.:@&=%";

/// The clauses of a text, without empty ones.
pub(super) fn clauses(text: &str) -> Vec<Clause> {
    let chars: Vec<char> = text.chars().take(CHARS_MAX).map(|c| if c == '’' { '\'' } else { c }).collect();
    let (mut clauses, mut clause, mut word) = (Vec::new(), Clause::new(), String::new());
    for (i, &c) in chars.iter().enumerate() {
        let near = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(|c| c.is_alphanumeric());
        let inside = near(i.checked_sub(1)) && near(Some(i + 1)) && INSIDE.contains(c);
        if c.is_alphanumeric() || matches!(c, '_' | '+' | '#' | '~' | '/') || inside {
            word.push(c);
            continue;
        }
        end_word(&mut word, &mut clause);
        if matches!(c, '.' | '!' | '?' | ';' | ',' | '\n' | '(' | ')' | '…' | '。' | '？' | '！' | '、') {
            end_clause(&mut clause, &mut clauses);
        }
    }
    end_word(&mut word, &mut clause);
    end_clause(&mut clause, &mut clauses);
    clauses
}

fn end_clause(clause: &mut Clause, clauses: &mut Vec<Clause>) {
    let done = std::mem::take(clause);
    if !done.is_empty() && clauses.len() < CLAUSES_MAX {
        clauses.push(done);
    }
}

fn end_word(word: &mut String, clause: &mut Clause) {
    let shown = std::mem::take(word);
    if shown.is_empty() || clause.len() + 2 > WORDS_MAX {
        return;
    }
    let key = shown.to_lowercase();
    match spelt_out(&key) {
        Some((first, second)) => {
            // "I'm" keeps its capital: it is the only word here that has one anywhere.
            let first_shown = if first == "i" { "I" } else { first };
            clause.extend(
                [(first_shown, first), (second, second)]
                    .into_iter()
                    .filter(|(_, key)| !key.is_empty())
                    .map(|(shown, key)| Word { shown: shown.into(), key: key.into() }),
            );
        }
        None => clause.push(Word { shown, key }),
    }
}

/// A contraction as two words; the second is empty for a mere abbreviation.
fn spelt_out(key: &str) -> Option<(&str, &str)> {
    Some(match key {
        "im" => ("i", "am"),
        "ive" => ("i", "have"),
        "can't" | "cant" | "cannot" => ("can", "not"),
        "won't" | "wont" => ("will", "not"),
        "dont" => ("do", "not"),
        "doesnt" => ("does", "not"),
        "didnt" => ("did", "not"),
        "isnt" => ("is", "not"),
        "whats" => ("what", "is"),
        "wheres" => ("where", "is"),
        "hows" => ("how", "is"),
        "wanna" => ("want", "to"),
        "u" => ("you", ""),
        "ur" => ("your", ""),
        "r" => ("are", ""),
        "thx" | "ty" | "thanx" | "tnx" => ("thanks", ""),
        _ => {
            let (stem, ending) = key.rsplit_once('\'')?;
            match ending {
                "m" => (stem, "am"),
                "re" => (stem, "are"),
                "ve" => (stem, "have"),
                "ll" => (stem, "will"),
                "d" => (stem, "would"),
                "t" => (stem.strip_suffix('n')?, "not"),
                "s" if IS_AFTER.contains(&stem) => (stem, "is"),
                _ => return None,
            }
        }
    })
}

/// Words after which 's stands for "is"; after others it is a genitive.
const IS_AFTER: [&str; 11] = ["what", "who", "where", "how", "when", "why", "it", "that", "there", "he", "she"];

/// What each `*` of a pattern stands for, if the whole clause fits it. A pattern is words, `a/b` for either, and `*`
/// for any number of words, as few as do.
pub(super) fn fit<'w>(pattern: &str, words: &'w [Word]) -> Option<Vec<&'w [Word]>> {
    let parts: Vec<&str> = pattern.split_whitespace().collect();
    let mut found = Vec::new();
    fit_from(&parts, words, &mut found).then_some(found)
}

fn fit_from<'w>(parts: &[&str], words: &'w [Word], found: &mut Vec<&'w [Word]>) -> bool {
    match parts {
        [] => words.is_empty(),
        ["*"] => {
            found.push(words);
            true
        }
        ["*", rest @ ..] => (0..=words.len()).any(|n| {
            found.push(&words[..n]);
            fit_from(rest, &words[n..], found) || {
                found.pop();
                false
            }
        }),
        [part, rest @ ..] => match words {
            [word, after @ ..] if part.split('/').any(|choice| choice == word.key) => fit_from(rest, after, found),
            _ => false,
        },
    }
}

/// Words as they are, cut to a length that can be quoted.
pub(super) fn quote(words: &[Word]) -> String {
    cut(words.iter().map(|word| word.shown.clone()))
}

/// The same seen from the other side: "my bike and you" becomes "your bike and me".
pub(super) fn reflect(words: &[Word]) -> String {
    let keys = |at: Option<usize>| at.and_then(|at| words.get(at)).map_or("", |word| word.key.as_str());
    cut(words.iter().enumerate().map(|(i, word)| {
        let (before, after) = (keys(i.checked_sub(1)), keys(Some(i + 1)));
        let turned = match word.key.as_str() {
            "i" | "me" => "you",
            "my" => "your",
            "mine" => "yours",
            "myself" => "yourself",
            "your" => "my",
            "yours" => "mine",
            "yourself" => "myself",
            "am" if before == "i" || after == "i" => "are",
            "was" if before == "i" || after == "i" => "were",
            "are" if before == "you" || after == "you" => "am",
            "were" if before == "you" || after == "you" => "was",
            "you" if VERBS.contains(&after) || INVERTED.contains(&before) => "I",
            "you" => "me",
            _ => return word.shown.clone(),
        };
        turned.into()
    }))
}

/// Words before which "you" is who does something.
const VERBS: [&str; 24] = [
    "are",
    "were",
    "can",
    "could",
    "will",
    "would",
    "should",
    "do",
    "did",
    "have",
    "had",
    "must",
    "may",
    "might",
    "think",
    "know",
    "like",
    "want",
    "need",
    "mean",
    "say",
    "said",
    "see",
    "understand",
];
/// The same before "you", in a question.
const INVERTED: [&str; 9] = ["are", "were", "can", "could", "will", "would", "should", "do", "did"];

fn cut(words: impl Iterator<Item = String>) -> String {
    let mut words = words.peekable();
    let mut out = words.by_ref().take(QUOTED_WORDS_MAX).collect::<Vec<_>>().join(" ");
    let mut more = words.peek().is_some();
    if let Some((end, _)) = out.char_indices().nth(QUOTED_CHARS_MAX) {
        out.truncate(end);
        more = true;
    }
    if more {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        let join = |clause: &Clause| clause.iter().map(|word| word.key.as_str()).collect::<Vec<_>>().join(" ");
        clauses(text).iter().map(join).collect()
    }

    #[test]
    fn text_is_cut_at_punctuation_but_not_inside_words() {
        assert_eq!(
            keys("Hi, what's Ubuntu 7.10? See ubuntu.com/x."),
            ["hi", "what is ubuntu 7.10", "see ubuntu.com/x"]
        );
        assert_eq!(keys("I’m sure it isn't… anna's"), ["i am sure it is not", "anna's"]);
        assert_eq!(keys("☃ ?! \u{0}\u{202e}"), Vec::<String>::new());
        assert_eq!(keys("日本語。はい"), ["日本語", "はい"]);
    }

    #[test]
    fn patterns_take_as_few_words_as_do() {
        let fits = |pattern: &str, text: &str| {
            let clauses = clauses(text);
            fit(pattern, &clauses[0]).map(|found| found.into_iter().map(quote).collect::<Vec<_>>())
        };
        assert_eq!(fits("* i need/want *", "well I want a bike I want").unwrap(), ["well", "a bike I want"]);
        assert_eq!(fits("* my * is broken", "now my old bike is broken").unwrap(), ["now", "old bike"]);
        assert_eq!(fits("my * is broken", "now my old bike is broken"), None);
        assert_eq!(fits("* help *", "help").unwrap(), ["", ""]);
    }

    #[test]
    fn words_are_seen_from_the_other_side() {
        for (said, turned) in [
            ("I am sad about my bike", "you are sad about your bike"),
            ("you are like me", "I am like you"),
            ("what you think of yourself and mine", "what I think of myself and yours"),
            ("that I was with you", "that you were with me"),
            ("are you sure", "am I sure"),
        ] {
            assert_eq!(reflect(&clauses(said)[0]), turned);
        }
        assert!(reflect(&clauses(&"x".repeat(9999))[0]).chars().count() <= QUOTED_CHARS_MAX + 1);
    }
}
