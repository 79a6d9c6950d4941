//! A bot: takes a delivery, builds the prompt, asks a model, filters its words, streams them, returns the outcome.
//!
//! Promises:
//! - the pieces sent concatenate to exactly the reply's text, and nothing that a filter cuts is ever sent;
//! - whatever ends a model's stream without a known finish is a failure, never an answer;
//! - dropping the work closes the model's connection; a model that is being loaded goes on loading;
//! - a model that keeps failing is left alone for a while ([`Breaker`]).
//!
//! Not here: the log, claims and leases, HTTP that the server speaks (the runtime's), retries (the runtime's too: an
//! outcome says whether another try may help).
//!
//! Start with `bot` (one delivery from end to end), then `model` (the contract), `filter`, `breaker`, `pins`; `builtin`,
//! `ollama` and `openai` are the models, `spec` names and finds them, `fake` plays their servers in tests.

mod bot;
mod breaker;
mod builtin;
mod client;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod filter;
mod lines;
mod model;
mod ollama;
mod openai;
mod pins;
mod prompt;
mod spec;
#[cfg(test)]
mod tests;

pub use bot::{Bot, REPLY_BYTES_MAX};
pub use breaker::{Breaker, Circuit, FAILURES_MAX, PAUSE_FIRST, PAUSE_MAX, Permit, Readiness};
pub use builtin::Builtin;
pub use client::http_client;
pub use filter::Filter;
pub use model::{Answer, Clocks, Event, Finish, Model, ModelError, codes};
pub use ollama::Ollama;
pub use openai::OpenAi;
pub use pins::{Pins, RUNNER_OPTIONS};
pub use prompt::{CONTEXT_BYTES_MAX, Prompt, Role, Turn};
pub use spec::{BadSpec, Endpoints, ModelSpec, discover, probe};
