//! The events, named in the past tense: one struct per event kind, stored as MessagePack maps by field name.
//!
//! The states of a message (every arrow is an entry; a post that asks no bot ends at once as `none`):
//!
//! ```text
//! message.posted ─▶ waiting ─ message.claimed ─▶ claimed ─ reply.posted + message.completed ─▶ answered
//!                     ▲  │                        │  │ └── message.failed, no retry ─▶ failed
//!                     │  └── message.dead ─▶ dead │  └──── message.failed + message.dead ─▶ dead
//!                     └─ message.released ◀───────┴── message.failed, retry_at: waits for its released
//!  message.cancelled ends waiting and claimed; message.released (reason retry-asked) opens failed and dead again
//! ```
//!
//! `message.redacted` hides a text and `message.erased` removes it from the log's bytes; a message can be erased once it has
//! ended.
//!
//! Four kinds concern no message and no room: `key.created` and `key.revoked` (workers on other machines),
//! `log.checkpoint` (the signed state of the log), and `log.repaired`, after a store came back with entries missing. The
//! restored entries come before it, under the old message ids and at new positions; such a message may go from waiting to its
//! end without a claim, because claims are not restored.
//!
//! Promises: kinds and fields are only ever added; new fields have defaults; an unknown kind is kept as its bytes.
//! Not here: the room, the time and the subjects of an entry (`entry`).

mod erased;
mod log;

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

pub use self::{
    erased::{Erased, ErasedReply, MessageErased},
    log::{KeyCreated, KeyRevoked, LogCheckpoint, LogRepaired, NotRepaired, REFUSED_MAX, REFUSED_REASON_BYTES_MAX},
};
use crate::{
    id::{BotName, MessageId, Seq},
    met::Met,
    pack, quick,
    subjects::Subjects,
};

/// Who wrote a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Author {
    /// The name as shown; no control characters.
    pub name: Arc<str>,
    /// Person or program.
    #[serde(default)]
    pub kind: AuthorKind,
    /// The colour as the client gave it, e.g. `#80c0ff` or the older nine digits `128192255`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<Arc<str>>,
}

/// Person or program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorKind {
    /// A person.
    #[default]
    Human,
    /// A program.
    Bot,
}

/// What a post wants: an answer from one bot, and the lane on which it waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ask {
    /// Who is asked to answer.
    pub bot: BotName,
    /// 0-9, higher first.
    pub priority: u8,
    /// The lane's second half, read after the first: the room already had its share waiting at this priority.
    #[serde(default)]
    pub second: bool,
}

/// `message.posted`: somebody said something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessagePosted {
    /// The message's id.
    pub id: MessageId,
    /// Who said it.
    pub author: Author,
    /// What was said: any Unicode but NUL.
    pub text: Arc<str>,
    /// `to` as the client gave it: absent, empty, or one bot. Part of what makes a repeated post "the same".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<BotName>>,
    /// The answer it waits for; absent when nobody was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask>,
    /// The message it replies to, in the same room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// How many bots are between this message and a person: 0 for a person's.
    #[serde(default)]
    pub hops: u8,
    /// When it was said, in ms since 1970, where that is not when the log took it: imports. It is shown, and nothing more: order,
    /// ages and limits go by the log's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said_at_ms: Option<u64>,
}

/// `message.claimed`: a worker holds the message; the entry's own position is the fence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageClaimed {
    /// The message.
    pub message_id: MessageId,
    /// The id that the reply of this attempt will have.
    pub reply_id: MessageId,
    /// The bot that answers.
    pub bot: BotName,
    /// Who works on it, e.g. `node-1/echo`.
    pub worker: Arc<str>,
    /// The process that claimed for itself; its claims are released when it restarts. Absent for remote workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Uuid>,
    /// 1 for the first try since the post, or since a person asked for a retry.
    pub attempt: u32,
    /// How long the claim lives without a heartbeat.
    pub lease_ms: u64,
}

/// `message.released`: the message waits again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageReleased {
    /// The message.
    pub message_id: MessageId,
    /// The claim that this ends, if one was live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Seq>,
    /// A kebab code, one of [`release`].
    pub reason: Arc<str>,
    /// The lane on which it waits now.
    pub ask: Ask,
}

/// Why a message was released; codes never change meaning.
pub mod release {
    /// The lease ran out without a heartbeat.
    pub const LEASE_OVER: &str = "lease-over";
    /// The wait after a failure is over.
    pub const RETRY_DUE: &str = "retry-due";
    /// A person asked for another try; attempts count from one again.
    pub const RETRY_ASKED: &str = "retry-asked";
    /// The process that held it has restarted.
    pub const RESTARTED: &str = "restarted";
    /// The worker gave it back.
    pub const GOODBYE: &str = "goodbye";
    /// It was open when the store lost its end, which had to be repaired; attempts count from one again.
    pub const RESTORED: &str = "restored";
}

/// `message.failed`: an attempt ended with an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageFailed {
    /// The message.
    pub message_id: MessageId,
    /// The claim that this ends.
    pub fence: Seq,
    /// What went wrong: `code: words`.
    pub reason: Arc<str>,
    /// Which attempt it was.
    pub attempt: u32,
    /// When it will be tried again; absent when it will not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at_ms: Option<u64>,
    /// The model could not have answered (nobody there, too much to do): the attempt is not used up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub away: bool,
}

/// `message.dead`: given up; only a person can open it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageDead {
    /// The message.
    pub message_id: MessageId,
    /// Why: `too-old`, `attempts-used-up: …`, `no-such-bot`.
    pub reason: Arc<str>,
}

/// `message.cancelled`: a person no longer wants the answer; a live claim ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageCancelled {
    /// The message.
    pub message_id: MessageId,
}

/// `message.redacted`: hidden from feeds, history and prompts; open work on it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageRedacted {
    /// The message, or a reply.
    pub message_id: MessageId,
}

/// `reply.posted`: a bot's answer, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplyPosted {
    /// The reply's id, made by the claim.
    pub id: MessageId,
    /// The message that it answers.
    pub message_id: MessageId,
    /// The bot, as it showed itself.
    pub author: Author,
    /// The whole answer; its deltas concatenate to exactly this.
    pub text: Arc<str>,
    /// The question's hops plus one.
    pub hops: u8,
    /// How it was made.
    // Shared: most of those who keep a reply keep this of it, and nothing of its entry.
    pub made: Arc<Made>,
}

/// How a reply was made: what an auditor asks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Made {
    /// The model, e.g. `ollama:llama3.2`.
    pub model: Arc<str>,
    /// Options sent to the model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
    /// SHA-256 of the prompt as sent, in hex.
    pub prompt_sha256: Arc<str>,
    /// The room's messages that stood in the prompt, oldest first.
    #[serde(default)]
    pub context: Vec<MessageId>,
    /// From the claim to the first delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// From the claim to the end.
    pub total_ms: u64,
    /// How many deltas were sent.
    pub deltas: u32,
    /// Why the model stopped: `stop` or `length`.
    pub finish: Arc<str>,
    /// Tokens, where the model tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What people should know about the answer beside its words, each as `code: words`: e.g. why it was cut off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Arc<str>>,
}

/// Tokens read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
}

/// `message.completed`: the message has its answer; in the same append as its `reply.posted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageCompleted {
    /// The message.
    pub message_id: MessageId,
    /// Its answer.
    pub reply_id: MessageId,
    /// The claim that this ends.
    pub fence: Seq,
    /// From the claim to the end.
    pub ms: u64,
}

/// A fact of a kind that this version does not know (or cannot read): kept as its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Unknown {
    /// The kind as stored.
    pub kind: Arc<str>,
    /// The MessagePack as stored, without the salt.
    pub data: Bytes,
    /// The subjects as stored.
    pub subjects: Vec<MessageId>,
}

/// Reads and writes one body.
#[derive(Debug, thiserror::Error)]
#[error("the body of a `{kind}` cannot be {done}: {why}")]
pub struct CodecError {
    kind: String,
    done: &'static str,
    why: String,
}

macro_rules! events {
    ($($kind:literal $name:ident { $($subject:ident),* })*) => {
        /// A fact. Each variant's kind is listed in [`Event::KINDS`].
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "each variant is documented at its struct")]
        pub enum Event { $($name($name),)* Erased(Erased), Unknown(Unknown) }

        impl Event {
            /// Every kind that this version writes.
            pub const KINDS: &[&str] = &[$($kind),*];

            /// The kind with this name, if this version writes it.
            pub(crate) fn known_kind(name: &[u8]) -> Option<&'static str> {
                $(if name == $kind.as_bytes() {
                    return Some($kind);
                })*
                None
            }

            /// The stable name under which it is stored.
            pub fn kind(&self) -> &str {
                match self {
                    $(Event::$name(_) => $kind,)*
                    Event::Erased(erased) => &erased.kind,
                    Event::Unknown(unknown) => &unknown.kind,
                }
            }

            /// All message ids that the event creates or changes: the unit of conflict.
            #[expect(unused_variables, reason = "a kind may have no subjects")]
            pub fn subjects(&self) -> Subjects {
                match self {
                    $(Event::$name(e) => [$(e.$subject),*].into(),)*
                    Event::Erased(erased) => erased.subjects.as_slice().into(),
                    Event::Unknown(unknown) => unknown.subjects.as_slice().into(),
                }
            }

            /// The body as MessagePack, by field name.
            ///
            /// # Errors
            /// [`CodecError`] for an erased body; never for the types of this module, but options hold arbitrary JSON.
            pub fn encode(&self) -> Result<Bytes, CodecError> {
                let bytes = match self {
                    $(Event::$name(e) => rmp_serde::to_vec_named(e),)*
                    Event::Erased(_) => {
                        let why = "it was erased".into();
                        return Err(CodecError { kind: self.kind().into(), done: "written", why });
                    }
                    Event::Unknown(unknown) => return Ok(unknown.data.clone()),
                };
                let error = |e: rmp_serde::encode::Error| CodecError { kind: self.kind().into(), done: "written", why: e.to_string() };
                bytes.map(Bytes::from).map_err(error)
            }

            /// The event of `kind` with this body. An unknown kind gives [`Event::Unknown`]; unknown fields are passed over.
            ///
            /// # Errors
            /// [`CodecError`] if a known kind's body is not readable.
            pub fn decode(kind: &str, data: &Bytes, subjects: &[MessageId]) -> Result<Event, CodecError> {
                match quick::decode(kind, data) {
                    Some(event) => Ok(event),
                    None => Event::decode_any(kind, data, subjects),
                }
            }

            /// [`Event::decode`] as serde does it, which says what a body means.
            pub(crate) fn decode_any(kind: &str, data: &Bytes, subjects: &[MessageId]) -> Result<Event, CodecError> {
                let error = |e: rmp_serde::decode::Error| CodecError { kind: kind.into(), done: "read", why: e.to_string() };
                match kind {
                    $($kind => pack::from_slice(data).map(Event::$name).map_err(error),)*
                    _ => Ok(Event::unknown(kind, data, subjects)),
                }
            }

            /// The JSON Schemas of all bodies, by kind.
            pub fn json_schemas() -> Vec<(&'static str, schemars::Schema)> {
                vec![$(($kind, schemars::schema_for!($name))),*]
            }
        }

        $(impl From<$name> for Event {
            fn from(event: $name) -> Event {
                Event::$name(event)
            }
        })*
    };
}

events! {
    "message.posted" MessagePosted { id }
    "message.claimed" MessageClaimed { message_id, reply_id }
    "message.released" MessageReleased { message_id }
    "message.failed" MessageFailed { message_id }
    "message.dead" MessageDead { message_id }
    "message.cancelled" MessageCancelled { message_id }
    "message.redacted" MessageRedacted { message_id }
    "reply.posted" ReplyPosted { id, message_id }
    "message.completed" MessageCompleted { message_id, reply_id }
    "log.repaired" LogRepaired {}
    "key.created" KeyCreated {}
    "key.revoked" KeyRevoked {}
    "log.checkpoint" LogCheckpoint {}
    "message.erased" MessageErased { message_id }
}

impl Event {
    /// A body carried through as it is.
    pub fn unknown(kind: &str, data: &Bytes, subjects: &[MessageId]) -> Event {
        Event::Unknown(Unknown { kind: kind.into(), data: data.clone(), subjects: subjects.to_vec() })
    }
}

/// A word of which few are in use: a worker, a model, a bot as it shows itself. One that was met is shared.
pub(crate) fn word(bytes: &[u8]) -> Option<Arc<str>> {
    thread_local!(static MET: RefCell<Met<Arc<str>>> = const { RefCell::new(Met::new()) });
    MET.with_borrow_mut(|met| met.get(bytes, |text| Some(text.into())))
}
