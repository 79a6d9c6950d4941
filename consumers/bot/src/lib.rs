//! A bot: takes a delivery, builds the prompt, asks a model, filters its words, streams them, returns the outcome.
//!
//! Promises:
//! - the pieces sent concatenate to exactly the reply's text, and nothing that a filter cuts is ever sent;
//! - thoughts and a template's marks are never shown, and stand in no later prompt;
//! - an answer is whole once the model's server has said so; a stream that only ends is a failure, never an answer;
//! - one unreadable part costs only that part, and a note reports it;
//! - dropping the work closes the model's connection; a model that is being loaded goes on loading;
//! - a bound that is reached after words were shown keeps the words as the answer, marked as cut off;
//! - a model that keeps failing is left alone for a while ([`Breaker`]); one that could not have answered (nobody there, too
//!   much to do, starting) costs a question no try, and is asked again when it says, or soon.
//!
//! Not here: the log, claims and leases, HTTP that the server speaks (the runtime's), retries (the runtime's too: an
//! outcome says whether another try may help).
//!
//! Start with `bot` (one delivery from end to end), then `model` (the contract), `filter`, `breaker`, `pins`; `builtin`,
//! `ollama` and `openai` are the models, `decode` reads their answers,
//! `shape` is how they want to be asked, `spec` names and finds them, `fake` plays their servers in tests.

mod bot;
mod breaker;
mod builtin;
mod client;
mod decode;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod filter;
mod marks;
mod model;
mod ollama;
mod openai;
mod pins;
mod prompt;
mod repeats;
mod shape;
mod spec;
#[cfg(test)]
mod tests;
mod thoughts;
mod unreachable;
mod wait;
mod watch;
mod writing;

pub use bot::Bot;
pub use breaker::{AWAY_FIRST, AWAY_MAX, Breaker, Circuit, FAILURES_MAX, PAUSE_FIRST, PAUSE_MAX, Permit, Readiness};
pub use builtin::Builtin;
pub use client::http_client;
pub use filter::Filter;
pub use model::{Answer, Clocks, Event, Finish, Model, ModelError, codes};
pub use ollama::Ollama;
pub use openai::OpenAi;
pub use pins::{Pins, RUNNER_OPTIONS};
pub use prompt::{CONTEXT_BYTES_MAX, Prompt, Role, Turn};
pub use shape::{Known, Shape};
pub use spec::{BadSpec, Endpoints, ModelSpec, discover, probe};
pub use writing::REPLY_BYTES_MAX;
