//! One delivery from end to end: prompt, breaker, model under its clocks, filter, outbox, outcome.
//!
//! Promises (see the crate's): the pieces concatenate to the reply; whatever the filters cut never leaves; the model's
//! connection is closed as soon as the outcome is known or the work is dropped.
//!
//! ```text
//! model ─▶ events ─▶ clock (load │ first token │ gap, and total) ─▶ bound ─▶ filter ─▶ outbox
//! ```
//!
//! Not here: how a model is asked (`ollama`, `openai`, `builtin`), whether a failure is retried (the runtime).

use std::{collections::BTreeMap, sync::Arc};

use antiphon_kit::{BoxFuture, Closed, Consumer, Delivery, Outbox, Outcome, Reply, Usage};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::{
    breaker::Breaker,
    filter::Filter,
    model::{Answer, Clocks, Event, Finish, Model, ModelError, codes},
    pins::Pins,
    prompt::Prompt,
};

/// The longest answer taken from a model, before filters; a longer one is cut there and ends as `length`. Far above
/// what anybody reads, far below what an entry can hold.
pub const REPLY_BYTES_MAX: usize = 256 << 10;

/// A consumer that answers with a model.
pub struct Bot {
    model: Arc<dyn Model>,
    clocks: Clocks,
    breaker: Breaker,
    pins: Pins,
}

impl Bot {
    /// A bot on `model`. Bots on the same model share its `breaker`.
    pub fn new(model: Arc<dyn Model>, clocks: Clocks, breaker: Breaker) -> Bot {
        Bot { model, clocks, breaker, pins: Pins::default() }
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
        let prompt = Arc::new(prompt);
        let answer = self.model.answer(prompt.clone());
        let mut writing = Writing::new(outbox, Filter::new(&delivery.bot.filters));
        let end = writing.run(Watch::new(answer, self.clocks)).await;
        let text = writing.text;
        let (finish, usage) = match end {
            Ok(end) => {
                permit.succeeded();
                end
            }
            Err(Stop::Unwanted) => return failed(codes::UNWANTED, "the answer is no longer waited for", true),
            Err(Stop::Failed(error)) => {
                if error.fault {
                    permit.failed(&error.to_string());
                }
                return Outcome::Failed { reason: error.to_string(), retryable: error.retryable };
            }
        };
        if text.is_empty() {
            return failed(codes::EMPTY, "the model said nothing, or nothing that the filters leave", true);
        }
        Outcome::Reply(Reply {
            text,
            model: self.model.name().into(),
            options: prompt.options.clone(),
            prompt_sha256: prompt.sha256(),
            context: prompt.context.clone(),
            finish: finish.as_str().into(),
            usage,
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

/// Why writing ended without an answer.
enum Stop {
    Failed(ModelError),
    Unwanted,
}

impl From<Closed> for Stop {
    fn from(Closed: Closed) -> Stop {
        Stop::Unwanted
    }
}

/// A reply being written.
struct Writing<'a> {
    outbox: &'a mut Outbox,
    filter: Filter,
    /// What has left.
    text: String,
    /// Bytes that may still be taken from the model.
    left: usize,
    /// A stage was shown that ends with the first words.
    staged: bool,
}

impl<'a> Writing<'a> {
    fn new(outbox: &'a mut Outbox, filter: Filter) -> Writing<'a> {
        Writing { outbox, filter, text: String::new(), left: REPLY_BYTES_MAX, staged: false }
    }

    /// Writes until the end; dropping `model` on return closes its connection.
    async fn run(&mut self, mut model: Watch) -> Result<(Finish, Option<Usage>), Stop> {
        loop {
            match model.next().await.map_err(Stop::Failed)? {
                Event::Loading => self.stage("loading-model").await?,
                Event::Reading => self.stage("reading-prompt").await?,
                Event::Thinking => {}
                Event::Text(text) => {
                    if let Some(finish) = self.take(&text).await? {
                        return Ok((finish, None));
                    }
                }
                Event::Done { finish, usage } => {
                    self.flush().await?;
                    return Ok((finish, usage));
                }
            }
        }
    }

    async fn stage(&mut self, stage: &'static str) -> Result<(), Closed> {
        self.staged = true;
        self.outbox.stage(stage).await
    }

    /// Takes the model's next words; `Some` if the reply ends with them.
    async fn take(&mut self, text: &str) -> Result<Option<Finish>, Closed> {
        let end = (0..=self.left.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        let fits = &text[..end];
        self.left -= fits.len();
        // A text in the log may hold any character but NUL.
        let shown = self.filter.push(&fits.replace('\0', ""));
        self.show(shown).await?;
        if self.filter.ended() {
            return Ok(Some(Finish::Stop));
        }
        if fits.len() < text.len() {
            self.flush().await?;
            return Ok(Some(Finish::Length));
        }
        Ok(None)
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        let rest = self.filter.finish();
        self.show(rest).await
    }

    async fn show(&mut self, text: String) -> Result<(), Closed> {
        if text.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.staged) {
            self.outbox.stage("writing").await?;
        }
        self.text.push_str(&text);
        self.outbox.text(text).await
    }
}

/// A model's events under its clocks. Only waiting for the model counts, not waiting for the outbox.
struct Watch {
    answer: Answer,
    clocks: Clocks,
    phase: Phase,
    end: Instant,
}

#[derive(Clone, Copy)]
enum Phase {
    Load,
    FirstToken,
    Gap,
}

impl Watch {
    fn new(answer: Answer, clocks: Clocks) -> Watch {
        Watch { answer, clocks, phase: Phase::Load, end: Instant::now() + clocks.total }
    }

    async fn next(&mut self) -> Result<Event, ModelError> {
        let (wait, what) = match self.phase {
            Phase::Load => (self.clocks.load, "the model was not loaded"),
            Phase::FirstToken => (self.clocks.first_token, "no first word"),
            Phase::Gap => (self.clocks.gap, "no further word"),
        };
        let limit = (Instant::now() + wait).min(self.end);
        let event = match timeout_at(limit, self.answer.next()).await {
            Ok(Some(event)) => event?,
            Ok(None) => return Err(ModelError::retryable(codes::BROKE_OFF, "the answer ended before it was done")),
            Err(_) if limit == self.end => {
                let words = format!("the answer was not complete within {:?}", self.clocks.total);
                return Err(ModelError::retryable(codes::TIMEOUT, words));
            }
            Err(_) => return Err(ModelError::retryable(codes::TIMEOUT, format!("{what} within {wait:?}"))),
        };
        self.phase = match event {
            Event::Loading => Phase::Load,
            Event::Reading => Phase::FirstToken,
            Event::Thinking | Event::Text(_) | Event::Done { .. } => Phase::Gap,
        };
        Ok(event)
    }
}
