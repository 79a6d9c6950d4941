//! What HTTP and SSE speak: JSON in snake_case, times as RFC 3339 (`…at`) or integer `…ms`, positions as strings.
//!
//! Promises: fields and codes only grow; unknown fields in requests are refused by name, so that a typing error is
//! not silently a wish ignored; fields that a reader may count on are always there, `null` where there is nothing.
//! Not here: status codes and routes (`http`), stored forms (`event`).

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

pub mod bots;
pub mod feed;
pub mod monitor;
mod position;
pub mod state;
pub mod work;

pub use self::position::Position;
pub use crate::event::{AuthorKind, Usage};
use crate::id::{BotName, MessageId, RoomName};

/// Body of `POST /api/rooms/{room}/messages`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostMessage {
    /// 1 byte to 16 KiB (a setting); any Unicode but NUL.
    pub text: String,
    /// Who says it.
    #[serde(deserialize_with = "object")]
    pub author: PostAuthor,
    /// A UUID of the client's choice; the same id and content again is the same message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// Who is asked to answer: absent = the first bot that the text names (`@poet …`), else the room's rule; empty = nobody; or one bot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// 0-9, higher is answered first; 5 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// An earlier message of the same room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// For imports: when it was said, RFC 3339, not in the future. Shown in place of the log's time. Accepted from loopback only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said_at: Option<String>,
}

/// Reads an object, and only an object: derived code would also take an array of the fields in order.
///
/// # Errors
/// The deserializer's, and for anything else than an object.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(fields))
        }
    }
    deserializer.deserialize_map(Object(PhantomData))
}

/// The author of a post.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostAuthor {
    /// 1-128 bytes without control characters.
    pub name: String,
    /// As shown; at most 32 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// For imports: `bot` keeps what a program once said. Accepted from loopback only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<AuthorKind>,
}

/// Answer to a post: it is durable at this position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Posted {
    /// The message's id.
    pub id: MessageId,
    /// Its room.
    pub room: RoomName,
    /// Its position in the log.
    pub position: Position,
    /// When the log took it, RFC 3339.
    pub at: String,
}

/// Answer `202` to a post while the store is away: safe on this node's disk, not yet in the log, so it has no position.
///
/// It is appended under this id once the store is back, in order, and then comes over the feed like every other message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parked {
    /// The message's id.
    pub id: MessageId,
    /// Its room.
    pub room: RoomName,
    /// When this node took it, RFC 3339; its time in the log will be later.
    pub at: String,
}

/// Whether a node reaches its store, and what that means for its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreState {
    /// All is well.
    #[default]
    Connected,
    /// The store is unavailable: reads are served from memory, posts wait on this node's disk.
    Degraded,
    /// The store is empty though this node knows a history of it: no posts are taken until a person says which is right.
    Refusing,
}

/// The state of a message on the way to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Nobody was asked.
    #[default]
    None,
    /// On a lane, or waiting for a retry.
    Waiting,
    /// A worker has it.
    Claimed,
    /// It has its answer.
    Answered,
    /// Ended with an error that a retry would not mend.
    Failed,
    /// Given up.
    Dead,
    /// Somebody no longer wanted the answer.
    Cancelled,
}

/// The author of a message, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Author {
    /// Name.
    pub name: Arc<str>,
    /// Person or program.
    pub kind: AuthorKind,
    /// Colour as the client gave it.
    pub color: Option<Arc<str>>,
}

/// A message or reply as everybody sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its room.
    pub room: RoomName,
    /// Who wrote it.
    pub author: Author,
    /// The text; empty once redacted.
    pub text: Arc<str>,
    /// When the log took it, RFC 3339.
    pub at: Arc<str>,
    /// When it was said, RFC 3339, where that is another time: it was imported. What to show; order goes by the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said_at: Option<Arc<str>>,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// Its position in the log.
    pub position: Position,
    /// On the way to its answer.
    pub status: Status,
    /// Why it failed or died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Hidden on somebody's wish.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
    /// The bot that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bot: Option<BotName>,
    /// Replies: the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Arc<str>>,
    /// Replies: options sent to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, Value>>,
    /// Replies: SHA-256 of the prompt, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_sha256: Option<Arc<str>>,
    /// Replies: the messages that stood in the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Vec<MessageId>>,
    /// Replies: claim to first delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// Replies: claim to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u64>,
    /// Replies: how many deltas were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deltas: Option<u32>,
    /// Replies: why the model stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Arc<str>>,
    /// Replies: tokens, where the model tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Replies: what people should know beside the words, each as `code: words`; absent if there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<Vec<Arc<str>>>,
}

impl Message {
    /// The time to be shown, RFC 3339: when it was said, as far as anybody knows.
    pub fn shown_at(&self) -> &Arc<str> {
        self.said_at.as_ref().unwrap_or(&self.at)
    }
}

/// Answer to `GET /api/rooms/{room}/messages`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Messages {
    /// Oldest first.
    pub messages: Vec<Arc<Message>>,
    /// How far the view had come.
    pub position: Position,
}

/// Answer to `GET /api/rooms/{room}/messages?at=`: the room as it was. What is hidden now is hidden here, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessagesThen {
    /// Oldest first, each with the status and reason that it had.
    pub messages: Vec<Arc<Message>>,
    /// The position that was looked at.
    pub position: Position,
    /// When the last thing up to there happened in the room, RFC 3339; `null` if nothing had.
    pub at: Option<String>,
    /// When the room's first message was posted, RFC 3339; `null` if there is none to this day.
    pub first_at: Option<String>,
    /// When its last message up to this day was posted, RFC 3339.
    pub last_at: Option<String>,
    /// Those of the messages that a worker held.
    pub in_flight: Vec<InFlight>,
}

/// A message that was being answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InFlight {
    /// The message.
    pub message_id: MessageId,
    /// Who was asked.
    pub bot: BotName,
    /// Who held it.
    pub worker: Arc<str>,
    /// Since when, RFC 3339.
    pub claimed_at: String,
}

/// One room of `GET /api/rooms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// Its name.
    pub room: RoomName,
    /// Messages and replies ever posted.
    pub messages: u64,
    /// When something was last said, RFC 3339.
    pub last_at: String,
    /// The position of that entry in the log.
    pub position: Position,
}

/// Answer to `GET /api/rooms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rooms {
    /// By name.
    pub rooms: Vec<Room>,
    /// Pass as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<RoomName>,
}

/// One bot's queue in `GET /api/queues`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    /// The bot.
    pub bot: BotName,
    /// The model that it asks.
    pub model: Option<String>,
    /// Messages on its lanes.
    pub waiting: u64,
    /// Messages that wait for a retry.
    pub retrying: u64,
    /// Messages that a worker holds.
    pub claimed: u64,
    /// Age of the oldest that waits.
    pub oldest_wait_ms: u64,
    /// The lanes that are not empty, in the order in which they are read.
    pub lanes: Vec<Lane>,
    /// Why the bot takes nothing at the moment, e.g. its model failed too often.
    pub paused: Option<String>,
}

/// One lane of a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lane {
    /// 0-9.
    pub priority: u8,
    /// Read after the first lane of the same priority.
    pub second: bool,
    /// Messages on it.
    pub waiting: u64,
}

/// Answer to `GET /api/queues`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Queues {
    /// By bot.
    pub queues: Vec<Queue>,
    /// How far the view had come.
    pub position: Position,
}

/// One step of a message's life in `GET /api/messages/{id}/timeline`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The event's kind.
    pub event: Arc<str>,
    /// Its position in the log.
    pub position: Position,
    /// When, RFC 3339.
    pub at: String,
    /// Milliseconds since the step before.
    pub ms: u64,
    /// What the event says, as on the event stream.
    pub data: Value,
}

/// Answer to `GET /api/messages/{id}/timeline`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// The message.
    pub id: MessageId,
    /// Oldest first.
    pub steps: Vec<Step>,
    /// From the first step to the last.
    pub total_ms: u64,
}

/// Response to cancel, retry and redact: the message's state now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// The message.
    pub id: MessageId,
    /// Its state now.
    pub status: Status,
    /// How far the log had come.
    pub position: Position,
}

/// Every 4xx and 5xx: RFC 9457 `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Always `about:blank`; `code` tells problems apart.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// A stable kebab code.
    pub code: String,
    /// What happened and what to do next.
    pub detail: String,
    /// `delta-gap`: the index that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
    /// `stale-fence`: who holds the message now; absent if nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<work::Holder>,
    /// `ended`: how the message ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Status>,
}

/// The JSON Schemas of all wire types, by name.
pub fn json_schemas() -> Vec<(&'static str, schemars::Schema)> {
    macro_rules! all {
        ($($name:literal $type:ty)*) => { vec![$(($name, schemars::schema_for!($type))),*] };
    }
    all! {
        "post-message" PostMessage "posted" Posted "parked" Parked "message" Message "messages" Messages "messages-then" MessagesThen "rooms" Rooms "queues" Queues "room-bots" bots::RoomBots
        "timeline" Timeline "changed" Changed "problem" Problem
        "feed.snapshot" feed::Snapshot "feed.message.claimed" feed::Claimed "feed.message.released" feed::Released
        "feed.message.failed" feed::Failed "feed.message.dead" feed::Dead "feed.message.cancelled" feed::About
        "feed.message.redacted" feed::About "feed.message.erased" feed::About "feed.message.completed" feed::Completed "feed.reply.started" feed::Started
        "feed.reply.delta" feed::Delta "feed.reply.reset" feed::Reset "feed.reply.progress" feed::Progress
        "feed.reply.snapshot" feed::ReplySnapshot "feed.heartbeat" feed::Heartbeat "feed.state" feed::State "feed.busy" feed::Busy "feed.reset" feed::Restart "feed.room" feed::OfRoom
        "work.claim" work::ClaimWork "work.work" work::Work "work.bots" work::BotProfiles "work.delta" work::WorkDelta
        "work.delta-taken" work::DeltaTaken "work.heartbeat" work::WorkHeartbeat "work.alive" work::Alive
        "work.complete" work::CompleteWork "work.completed" work::WorkCompleted "work.fail" work::FailWork
        "work.release" work::ReleaseWork "work.events.claims" work::HeldClaims "work.events.ended" work::ClaimEnded
        "create-key" work::CreateKey "created-key" work::CreatedKey "keys" work::WorkerKeys
        "workers" monitor::Workers "monitor.snapshot" monitor::MonitorSnapshot "monitor.update" monitor::MonitorUpdate
        "state.kept" state::StateKept "state.rooms" state::StateRooms "state.room" state::StateRoom "state.index" state::StateIndex
    }
}
