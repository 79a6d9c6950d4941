//! The model that needs nothing: answers from a script, in the manner of ELIZA, word by word.
//!
//! Promises: the same prompt gives the same answer; it is about what was said; any text is safe and takes bounded time
//! ([`words::CHARS_MAX`]); it never fails and never says nothing.
//!
//! Start with `script` (what it knows to say), then `eliza` (how a rule is chosen and filled), `words` (cutting text
//! into clauses and words, turning *my* into *your*).
//! Source: J. Weizenbaum, "ELIZA", Communications of the ACM 9 (1966): ranked keywords, decomposition, reassembly, memory.

mod eliza;
mod script;
mod sum;
mod words;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use antiphon_kit::{BoxFuture, Usage};
use tokio::time::sleep;

use crate::{
    model::{Answer, Event, Finish, Model, answer_of},
    prompt::Prompt,
};

/// The built-in model.
pub struct Builtin {
    pace: Duration,
}

impl Builtin {
    /// A model that pauses for `pace` between its words; zero pauses nowhere.
    pub fn new(pace: Duration) -> Builtin {
        Builtin { pace }
    }
}

impl Model for Builtin {
    fn name(&self) -> &str {
        "builtin"
    }

    fn answer(&self, prompt: Arc<Prompt>) -> Answer {
        let pace = self.pace;
        answer_of(move |events| async move {
            let text = eliza::answer(&prompt);
            // Its tokens are its words, each with the space before it.
            let mut words = 0;
            for word in pieces(&text) {
                if words > 0 && !pace.is_zero() {
                    sleep(pace).await;
                }
                events.send(Event::Text(word.into())).await;
                words += 1;
            }
            let prompt_tokens = prompt.turns.iter().map(|turn| turn.text.split_whitespace().count() as u64).sum();
            let usage = Some(Usage { prompt_tokens, completion_tokens: words });
            Ok(Event::Done { finish: Finish::Stop, usage })
        })
    }

    fn probe(&self) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        Box::pin(async { Ok("the built-in model needs nothing".into()) })
    }

    fn warm(&self) -> BoxFuture<'_, Option<bool>> {
        Box::pin(std::future::ready(Some(true)))
    }
}

/// The text in words, each with the white space before it.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let word = rest.find(|c: char| !c.is_whitespace())?;
        let end = rest[word..].find(char::is_whitespace).map_or(rest.len(), |space| word + space);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use antiphon_kit::bench;
    use futures_util::StreamExt;
    use tokio::time::Instant;

    use super::*;
    use crate::prompt::tests::profile;

    async fn told(pace: Duration) -> (Vec<String>, Duration) {
        let start = Instant::now();
        let prompt = Prompt::of(&bench::delivery("what is antiphon?", profile()));
        let mut answer = Builtin::new(pace).answer(Arc::new(prompt));
        let mut words = Vec::new();
        while let Some(event) = answer.next().await {
            match event.unwrap() {
                Event::Text(word) => words.push(word),
                end => assert!(matches!(end, Event::Done { finish: Finish::Stop, .. })),
            }
        }
        (words, start.elapsed())
    }

    #[tokio::test]
    async fn it_speaks_word_by_word_at_its_pace() {
        let pace = Duration::from_millis(5);
        let (words, took) = told(pace).await;
        assert!(words.len() > 5 && words.iter().all(|word| word.split_whitespace().count() == 1), "{words:?}");
        assert!(took >= pace * (words.len() as u32 - 1), "{took:?}");
        assert_eq!(told(Duration::ZERO).await.0, words);
    }

    #[test]
    fn pieces_make_up_the_text() {
        for text in ["", "one", "one two\n\n three", " lead", "é ☃"] {
            assert_eq!(pieces(text).collect::<String>(), text);
        }
    }
}
