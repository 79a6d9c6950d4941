//! What a consumer of work sees: a delivery in, deltas on the way, an outcome at the end.
//!
//! Promises:
//! - the runtime, not the consumer, appends the outcome and only then acknowledges: a consumer cannot forget to, nor
//!   do it too early;
//! - the same consumer runs in the server's process or behind HTTP without knowing which.
//!
//! Not here: leases and heartbeats (the runtime's), the log, HTTP.
//! Start with [`Consumer`]; [`mod@bench`] feeds one by hand.

pub mod bench;
pub mod body;
#[cfg(test)]
mod fuzz;
mod outbox;
pub mod sse;

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

pub use antiphon_schemas::wire::{
    Usage,
    work::{Bounds, Filters, Profile},
};
use antiphon_schemas::{MessageId, wire::Message};
pub use outbox::{Closed, DELTA_GATHER, Outbox, OutboxReader, Piece, outbox};
use serde_json::Value;

/// A boxed future, so that consumers can be kept behind `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that answers deliveries, one at a time per call, any number of calls side by side.
pub trait Consumer: Send + Sync + 'static {
    /// Works on one delivery. Pieces of the reply go to `outbox` as they come; the outcome is returned.
    ///
    /// Guarantee wanted: the pieces sent concatenate to exactly the `text` of [`Outcome::Reply`]. The future may be
    /// dropped at any `.await` (cancel, lost claim); it must then free what it holds, e.g. close the model's connection.
    fn handle<'a>(&'a self, delivery: Delivery, outbox: &'a mut Outbox) -> BoxFuture<'a, Outcome>;

    /// Waits until it makes sense to hand it work. A consumer whose model is down keeps its runtime from claiming.
    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Why it takes no work at the moment, for people.
    fn paused(&self) -> Option<String> {
        None
    }
}

/// One message to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// The id that the reply will have.
    pub reply_id: MessageId,
    /// 1 for the first try.
    pub attempt: u32,
    /// The room's messages before it, oldest first; without redacted ones. The message itself is not among them.
    pub context: Vec<Arc<Message>>,
    /// As whom to answer.
    pub bot: Arc<Profile>,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// An answer.
    Reply(Reply),
    /// No answer; `retryable` says whether the same again may help.
    Failed {
        /// `code: words`, e.g. `model-timeout: no first word within 120 s`.
        reason: String,
        /// Whether another try may help.
        retryable: bool,
    },
    /// No answer, as the model could not have given one: the try does not count.
    Away {
        /// As of a failure; what is waited for.
        reason: String,
        /// When the next try makes sense.
        after: Duration,
    },
    /// Not begun: it goes back to its lane, and the try does not count. Wait in [`Consumer::ready`] for better times.
    NotNow,
}

/// A whole answer and how it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Exactly the concatenation of the pieces sent.
    pub text: String,
    /// The model, e.g. `ollama:llama3.2`.
    pub model: String,
    /// Options as sent.
    pub options: BTreeMap<String, Value>,
    /// SHA-256 of the prompt as sent, hex.
    pub prompt_sha256: String,
    /// The room's messages that stood in the prompt, oldest first.
    pub context: Vec<MessageId>,
    /// `stop` or `length`.
    pub finish: String,
    /// Tokens, where the model tells.
    pub usage: Option<Usage>,
    /// What people should know about the answer beside its words, each as `code: words`.
    pub notes: Vec<String>,
}
