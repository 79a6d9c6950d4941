//! Events of `GET /api/rooms/{room}/events`, by their SSE names; the data of each.

use super::*;

/// `snapshot`: the room at a position; everything after it follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// The newest messages, oldest first.
    pub messages: Vec<Arc<Message>>,
    /// Replies being written.
    pub in_flight: Vec<ReplySnapshot>,
    /// The position of the snapshot; also its `id:`.
    pub position: Position,
}

/// `message.claimed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Claimed {
    /// The message.
    pub message_id: MessageId,
    /// The reply that will come.
    pub reply_id: MessageId,
    /// The bot.
    pub bot: BotName,
    /// Who works on it.
    pub worker: Arc<str>,
    /// The claim.
    pub fence: Position,
    /// When, RFC 3339.
    pub at: String,
}

/// `message.released`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Released {
    /// The message.
    pub message_id: MessageId,
    /// The claim that ended, if one was live.
    pub fence: Option<Position>,
    /// `lease-over`, `retry-due`, `retry-asked`, `restarted`, `goodbye`, `restored`.
    pub reason: Arc<str>,
}

/// `message.failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// The message.
    pub message_id: MessageId,
    /// `code: words`.
    pub reason: Arc<str>,
    /// Which attempt it was.
    pub attempt: u32,
    /// When it will be tried again, RFC 3339; `null` when it will not.
    pub retry_at: Option<String>,
    /// The model could not have answered (nobody there, too much to do): it is waited for, and the attempt does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub away: bool,
}

/// `message.dead`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dead {
    /// The message.
    pub message_id: MessageId,
    /// Why it was given up.
    pub reason: Arc<str>,
}

/// `message.cancelled`, `message.redacted` and `message.erased`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct About {
    /// The message.
    pub message_id: MessageId,
}

/// `message.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Completed {
    /// The message.
    pub message_id: MessageId,
    /// Its answer.
    pub reply_id: MessageId,
    /// From claim to end.
    pub ms: u64,
}

/// `reply.started` (live).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Started {
    /// The message.
    pub message_id: MessageId,
    /// The reply being written.
    pub reply_id: MessageId,
    /// The bot.
    pub bot: BotName,
}

/// `reply.delta` (live).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Delta {
    /// The message.
    pub message_id: MessageId,
    /// The reply being written.
    pub reply_id: MessageId,
    /// 0, 1, 2 …, without gaps within a reply.
    pub index: u32,
    /// The piece.
    pub text: Arc<str>,
}

/// `reply.reset` (live): forget what was written of this reply; another attempt may follow under another id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reset {
    /// The message.
    pub message_id: MessageId,
    /// The reply that will not come.
    pub reply_id: MessageId,
    /// Why.
    pub reason: Arc<str>,
}

/// `reply.progress` (live).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// The message.
    pub message_id: MessageId,
    /// `queued`, `loading-model`, `reading-prompt` or `writing`.
    pub stage: Arc<str>,
    /// How many messages are before it in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u64>,
    /// How much of the stage is done, from 0 to 1, if the worker tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f32>,
}

/// `reply.snapshot` (live): the whole text so far; deltas continue at `next_index`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplySnapshot {
    /// The message.
    pub message_id: MessageId,
    /// The reply being written.
    pub reply_id: MessageId,
    /// The bot.
    pub bot: BotName,
    /// The index of the next delta.
    pub next_index: u32,
    /// The text so far.
    pub text: String,
}

/// `heartbeat` (live), every 15 s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// The server's time, RFC 3339.
    pub at: String,
}

/// `state` (live): whether this node reaches its store; sent on every change, and first to clients that join meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct State {
    /// How it is now.
    pub state: StoreState,
    /// Since when, RFC 3339; `null` while connected.
    pub since: Option<String>,
    /// What is wrong, as a sentence; `null` while connected.
    pub reason: Option<Arc<str>>,
    /// Posts that wait on this node's disk.
    pub parked: u64,
}

/// `busy`: too many subscribers; the stream ends and the browser comes back by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Busy {
    /// Come back after this time.
    pub retry_ms: u64,
}

/// `room`, in a stream of several: what follows is of this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OfRoom {
    /// Its name.
    pub room: RoomName,
}

/// `reset`: the cursor cannot be resumed; a snapshot follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Restart {
    /// `other-epoch`, `beyond-tail` or `bad-cursor`.
    pub reason: String,
}
