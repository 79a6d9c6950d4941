//! What a model's server takes: which roles, which fields, how much. Said by settings, else learnt from its refusals.
//!
//! ```text
//! settings ─▶ given ─┐
//!                    ├─▶ shape ─▶ fit: the prompt in this shape ─▶ the server ─ refuses, in its words ─▶ lesson ─▶ shape …
//! models.json ─▶ learnt ┘                                        └ answers ─▶ what was learnt is kept
//! ```
//!
//! Promises: what settings say is never unlearnt; a lesson is kept only once the server has answered in that shape; nothing
//! of this costs the question itself.
//! Not here: requests (`openai`, `ollama`), where what was learnt is stored (the server's business: [`Known::remembering`]).
//! Start with [`Shape`], then `fit`, `lesson`; `trial` is the loop around a request.

mod fit;
mod lesson;
mod trial;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    fit::{ANSWER_OPTIONS, Fitted},
    trial::trial,
};

/// What a model's server takes. What is absent is as OpenAI and Ollama have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// The roles must alternate: what several people say one after the other is one turn. Else `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_roles: Option<bool>,
    /// It takes `stream_options`, which asks for token counts. Else `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<bool>,
    /// It takes the role `system`; if not, the persona begins the first turn. Else `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_role: Option<bool>,
    /// It takes a request that only loads the model. Else `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preload: Option<bool>,
    /// It calls a bound in tokens `max_completion_tokens`, not `max_tokens`. Else `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<bool>,
    /// As many tokens fit into prompt and answer together. Else as many as the server lets through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u32>,
}

impl Shape {
    /// The names of the settings.
    pub const KEYS: [&'static str; 6] =
        ["merge_roles", "stream_options", "system_role", "preload", "max_completion_tokens", "context_tokens"];

    /// This, and `other` where this says nothing.
    pub fn or(self, other: Shape) -> Shape {
        Shape {
            merge_roles: self.merge_roles.or(other.merge_roles),
            stream_options: self.stream_options.or(other.stream_options),
            system_role: self.system_role.or(other.system_role),
            preload: self.preload.or(other.preload),
            max_completion_tokens: self.max_completion_tokens.or(other.max_completion_tokens),
            context_tokens: self.context_tokens.or(other.context_tokens),
        }
    }

    /// What it says, in words for people: `merge_roles = true, context_tokens = 4096`; empty if it says nothing.
    pub fn words(&self) -> String {
        let flag = |name: &str, value: Option<bool>| value.map(|value| format!("{name} = {value}"));
        let said = [
            flag("merge_roles", self.merge_roles),
            flag("stream_options", self.stream_options),
            flag("system_role", self.system_role),
            flag("preload", self.preload),
            flag("max_completion_tokens", self.max_completion_tokens),
            self.context_tokens.map(|tokens| format!("context_tokens = {tokens}")),
        ];
        said.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn merges(&self) -> bool {
        self.merge_roles.unwrap_or(false)
    }

    fn has_system(&self) -> bool {
        self.system_role.unwrap_or(true)
    }

    /// Whether token counts are asked for.
    pub(crate) fn counts(&self) -> bool {
        self.stream_options.unwrap_or(true)
    }

    /// What a bound in tokens is called.
    pub(crate) fn tokens_name(&self) -> &'static str {
        if self.max_completion_tokens.unwrap_or(false) { "max_completion_tokens" } else { "max_tokens" }
    }

    /// Whether the model is loaded by a request of its own.
    pub(crate) fn preloads(&self) -> bool {
        self.preload.unwrap_or(true)
    }
}

/// Bytes of a prompt for each token, until the server has counted: less than any language has on the average, so that more
/// is left out rather than refused.
const BYTES_PER_TOKEN: f64 = 3.0;
/// What counts give beyond this is no count of the prompt: a server that counts only what it had not read before.
const BYTES_PER_TOKEN_MAX: f64 = 8.0;

/// Told what was learnt.
type Remember = Arc<dyn Fn(Shape) + Send + Sync>;

/// What is known of one model's server; clones share it.
#[derive(Clone, Default)]
pub struct Known(Arc<Inner>);

#[derive(Default)]
struct Inner {
    given: Shape,
    /// A std mutex: held for a few instructions, never across an `.await`.
    learnt: Mutex<Learnt>,
    remember: Option<Remember>,
}

#[derive(Default)]
struct Learnt {
    shape: Shape,
    bytes_per_token: Option<f64>,
}

impl Known {
    /// What settings say.
    pub fn given(given: Shape) -> Known {
        Known(Arc::new(Inner { given, ..Inner::default() }))
    }

    /// The same, with what was `learnt` before; `remember` gets what is learnt from now on, each time all of it.
    pub fn remembering(given: Shape, learnt: Shape, remember: impl Fn(Shape) + Send + Sync + 'static) -> Known {
        let learnt = Mutex::new(Learnt { shape: learnt, bytes_per_token: None });
        Known(Arc::new(Inner { given, learnt, remember: Some(Arc::new(remember)) }))
    }

    /// The shape to ask in now.
    pub fn shape(&self) -> Shape {
        self.0.given.or(self.learnt().shape)
    }

    fn bytes_per_token(&self) -> f64 {
        self.learnt().bytes_per_token.unwrap_or(BYTES_PER_TOKEN)
    }

    /// The server has answered in this shape.
    fn learn(&self, shape: Shape) {
        let mut learnt = self.learnt();
        // What settings say is not learnt; what is as usual is no lesson.
        let all = without(shape, self.0.given).or(learnt.shape);
        if all != learnt.shape {
            learnt.shape = all;
            drop(learnt);
            tracing::info!("learnt how this model wants to be asked: {}", all.words());
            self.0.remember.iter().for_each(|remember| remember(all));
        }
    }

    /// The server has refused to load the model ahead, and answered nevertheless.
    pub(crate) fn takes_no_preload(&self) {
        self.learn(Shape { preload: Some(false), ..Shape::default() });
    }

    /// The server has counted.
    fn count(&self, bytes: usize, tokens: u64) {
        let ratio = bytes as f64 / tokens.max(1) as f64;
        if tokens > 0 && ratio <= BYTES_PER_TOKEN_MAX {
            self.learnt().bytes_per_token = Some(ratio.max(0.5));
        }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.0.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without(shape: Shape, given: Shape) -> Shape {
    Shape {
        merge_roles: shape.merge_roles.filter(|_| given.merge_roles.is_none()),
        stream_options: shape.stream_options.filter(|_| given.stream_options.is_none()),
        system_role: shape.system_role.filter(|_| given.system_role.is_none()),
        preload: shape.preload.filter(|_| given.preload.is_none()),
        max_completion_tokens: shape.max_completion_tokens.filter(|_| given.max_completion_tokens.is_none()),
        context_tokens: shape.context_tokens.filter(|_| given.context_tokens.is_none()),
    }
}

#[cfg(test)]
mod tests;
