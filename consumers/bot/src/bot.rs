//! One delivery from end to end: prompt, breaker, model under its clocks, filter, outbox, outcome.
//!
//! Promises (see the crate's): the pieces concatenate to the reply; whatever the filters cut never leaves; the model's
//! connection is closed as soon as the outcome is known or the work is dropped.
//!
//! ```text
//! model ─▶ events ─▶ watch (load │ first token │ gap, and total) ─▶ bound ─▶ thoughts ─▶ filter ─▶ outbox
//! ```
//!
//! Not here: clocks (`watch`), the reply as it grows (`writing`), how a model is asked (`ollama`, `openai`, `builtin`), whether a failure is retried (the runtime).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use antiphon_kit::{BoxFuture, Consumer, Delivery, Outbox, Outcome, Reply};
use antiphon_schemas::visible::is_visible;
use serde_json::Value;

use crate::{
    breaker::Breaker,
    filter::Filter,
    model::{Clocks, Finish, Model, ModelError, codes},
    pins::Pins,
    prompt::Prompt,
    shape::ANSWER_OPTIONS,
    thoughts::Thoughts,
    watch::Watch,
    writing::{Limits, REPLY_BYTES_MAX, Stop, Writing, Written},
};

/// A consumer that answers with a model.
pub struct Bot {
    model: Arc<dyn Model>,
    clocks: Clocks,
    breaker: Breaker,
    pins: Pins,
    /// The model's answers begin within a thought, as its template has opened it: seen in an answer, until one shows otherwise.
    thinks_first: AtomicBool,
}

impl Bot {
    /// A bot on `model`. Bots on the same model share its `breaker`.
    pub fn new(model: Arc<dyn Model>, clocks: Clocks, breaker: Breaker) -> Bot {
        Bot { model, clocks, breaker, pins: Pins::default(), thinks_first: AtomicBool::new(false) }
    }

    /// The same bot, whose model is asked with these options whatever a delivery says.
    pub fn pinned(mut self, pins: Pins) -> Bot {
        self.pins = pins;
        self
    }

    /// The model's name, e.g. `ollama:llama3.2`.
    pub fn model(&self) -> &str {
        self.model.name()
    }

    /// As [`Model::warm`].
    pub fn warm(&self) -> BoxFuture<'_, Option<bool>> {
        self.model.warm()
    }

    /// As [`Model::preload`], with the pins over `options`.
    pub fn preload(&self, options: &BTreeMap<String, Value>) -> BoxFuture<'static, Result<(), ModelError>> {
        let mut options = options.clone();
        self.pins.apply(&mut options);
        self.model.preload(&options)
    }

    /// Whether the model is well enough to claim work for it.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    async fn answer(&self, delivery: Delivery, outbox: &mut Outbox) -> Outcome {
        // Somebody else's failure, or somebody else's probe, came between the claim and here.
        let Ok(permit) = self.breaker.enter().await else { return Outcome::NotNow };
        let mut prompt = Prompt::of(&delivery);
        self.pins.apply(&mut prompt.options);
        let bounds = delivery.bot.answer;
        // A bot's own option for it stands.
        if let (Some(name), Some(tokens)) = (self.model.tokens_option(), bounds.tokens)
            && !ANSWER_OPTIONS.iter().any(|name| prompt.options.contains_key(*name))
        {
            prompt.options.insert(name.into(), tokens.into());
        }
        let prompt = Arc::new(prompt);
        let answer = self.model.answer(prompt.clone());
        let thinks_first = self.thinks_first.load(Relaxed);
        let limits =
            Limits { tokens: bounds.tokens, bytes: bounds.bytes.unwrap_or(REPLY_BYTES_MAX).min(REPLY_BYTES_MAX) };
        let (thoughts, filter) = (Thoughts::new(thinks_first), Filter::new(&delivery.bot.filters));
        let mut writing = Writing::new(outbox, thoughts, filter, limits);
        let total = bounds.seconds.map_or(self.clocks.total, |s| self.clocks.total.min(Duration::from_secs(s)));
        let end = writing.run(Watch::new(answer, Clocks { total, ..self.clocks })).await;
        let Written { text, notes, thought, sent } = writing.written();
        let (finish, usage) = match end {
            Ok(end) => {
                permit.succeeded();
                end
            }
            Err(Stop::WasThought) if !thinks_first => {
                permit.succeeded();
                self.thinks_first.store(true, Relaxed);
                return Outcome::NotNow;
            }
            Err(Stop::WasThought | Stop::Unwanted) => {
                return failed(codes::UNWANTED, "the answer is no longer waited for", true);
            }
            Err(Stop::Failed(error)) => {
                if let (Some(away), true) = (error.away, text.is_empty()) {
                    let (reason, after) = (error.to_string(), permit.away(&error.to_string(), away));
                    return Outcome::Away { reason, after };
                }
                if error.fault {
                    permit.failed(&error.to_string());
                }
                return Outcome::Failed { reason: error.to_string(), retryable: error.retryable };
            }
        };
        if thinks_first && !thought {
            self.thinks_first.store(false, Relaxed);
        }
        if !is_visible(&text) {
            let words = match thought {
                true => "the model only thought, and said nothing; give it more tokens, or a `think` that suits it",
                false => "the model said nothing, or nothing that the filters leave",
            };
            // A limit that was reached in thought would be reached in thought again.
            return failed(codes::EMPTY, words, !(thought && finish == Finish::Length));
        }
        let prompt = sent.unwrap_or(prompt);
        Outcome::Reply(Reply {
            text,
            model: self.model.name().into(),
            options: prompt.options.clone(),
            prompt_sha256: prompt.sha256(),
            context: prompt.context.clone(),
            finish: finish.as_str().into(),
            usage,
            notes,
        })
    }
}

impl Consumer for Bot {
    fn handle<'a>(&'a self, delivery: Delivery, outbox: &'a mut Outbox) -> BoxFuture<'a, Outcome> {
        Box::pin(self.answer(delivery, outbox))
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.breaker.wait_ready())
    }

    fn paused(&self) -> Option<String> {
        self.breaker.paused()
    }
}

fn failed(code: &str, words: &str, retryable: bool) -> Outcome {
    Outcome::Failed { reason: format!("{code}: {words}"), retryable }
}
