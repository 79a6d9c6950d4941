//! What a monitor is shown: `GET /api/monitor/events` and `GET /api/workers`.
//!
//! ```text
//! snapshot: everything ─▶ update: what changed since the last one, at most every 250 ms ─▶ update …
//! ```
//!
//! Promises: as the rest of `wire`; a snapshot with every later update laid over it is the next snapshot: items of `queues` are
//! replaced by `bot` (and their minutes by `at`), of `open` and `ended` by `message_id`, of `workers` by `worker`.
//! No ages, but times: a client that shows ages counts from `at`, the server's time.
//! Not here: what it is made of (`projection::monitor`, `node::monitor`).

use super::*;

/// `snapshot` of `GET /api/monitor/events`: everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MonitorSnapshot {
    /// The last entry that is in it.
    pub position: Position,
    /// The server's time when it was made, RFC 3339.
    pub at: String,
    /// The node that tells it.
    pub node: Arc<str>,
    /// The server's version.
    pub version: String,
    /// How the node and its store are.
    pub health: MonitorHealth,
    /// Every bot of this server, in the order of the configuration.
    pub queues: Vec<MonitorQueue>,
    /// Messages that want an answer, the first 500 in this order: those that are held, by fence; those that wait, in the order
    /// in which they will be claimed (priority, `second`, `since`); those that wait for a retry, by `retry_at`.
    pub open: Vec<OpenMessage>,
    /// How many want an answer, those included that are not listed.
    pub open_total: u64,
    /// What ended last, newest last, 200 at most.
    pub ended: Vec<Arc<EndedMessage>>,
    /// How far back `ended` and the minutes of the queues reach, RFC 3339; `null` if the log could not be read yet.
    pub since_at: Option<String>,
    /// By name.
    pub workers: Vec<Worker>,
}

/// `update` of `GET /api/monitor/events`: what changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MonitorUpdate {
    /// The last entry that is in it.
    pub position: Position,
    /// The server's time when it was made, RFC 3339.
    pub at: String,
    /// Absent if it is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<MonitorHealth>,
    /// Those that changed; of their minutes only those that changed.
    pub queues: Vec<MonitorQueue>,
    /// Those that are new or changed, in the order of the list. That another one is ahead no longer is no change.
    pub open: Vec<OpenMessage>,
    /// How many want an answer.
    pub open_total: u64,
    /// Those that are no longer listed.
    pub gone: Vec<MessageId>,
    /// Those that ended since, newest last, and those of which something changed, e.g. that their text is hidden.
    pub ended: Vec<Arc<EndedMessage>>,
    /// How many ended since that are not reported, because more did than are listed.
    pub missed: u64,
    /// Those that came or changed.
    pub workers: Vec<Worker>,
    /// Those that are forgotten.
    pub workers_gone: Vec<Arc<str>>,
}

/// How a node and its store are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MonitorHealth {
    /// Whether the store is reached.
    pub state: StoreState,
    /// Since when it is not, RFC 3339.
    pub since: Option<String>,
    /// Why it is not.
    pub reason: Option<Arc<str>>,
    /// Posts that wait on this node's disk for the store.
    pub parked: u64,
    /// Posts that the log refused when the store was back.
    pub parked_refused: u64,
    /// `file`, `memory` or `redis`.
    pub log: String,
    /// What an acknowledgement is worth.
    pub durability: String,
    /// The last durable position of the log, as far as the node knows.
    pub tail: Position,
    /// The last position that the node's index shows.
    pub indexed: Position,
    /// Open event streams of this node.
    pub subscribers: u64,
}

/// One bot's queue, and how its answers went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MonitorQueue {
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
    /// Since when the oldest that waits is on its lane, RFC 3339.
    pub oldest_at: Option<String>,
    /// The lanes that are not empty, in the order in which they are read.
    pub lanes: Vec<Lane>,
    /// Why the bot takes nothing at the moment.
    pub paused: Option<String>,
    /// The last 60 minutes in which something happened, oldest first. In an `update` only those that changed.
    pub minutes: Vec<Minute>,
    /// Answers asked for within these minutes.
    pub posted: u64,
    /// Answers given.
    pub answered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Of these, those after which it was tried again.
    pub retried: u64,
    /// Claims that ended because nobody was heard of any more.
    pub takeovers: u64,
    /// From the wish to the first claim.
    pub waiting_ms: Option<Spread>,
    /// From the claim to the first words.
    pub first_token_ms: Option<Spread>,
    /// From the wish to the answer.
    pub total_ms: Option<Spread>,
}

/// What happened to one bot's messages within a minute, by the log's time. Of what was asked before the log was read from,
/// nothing is counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Minute {
    /// When it begins, RFC 3339.
    pub at: String,
    /// Answers asked for: by a post, or by a person who wants another try.
    pub posted: u64,
    /// Answers given.
    pub answered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// From the wish to the first claim, of those claimed within it.
    pub waiting_ms: Option<Spread>,
    /// From the claim to the first words, of those answered within it.
    pub first_token_ms: Option<Spread>,
    /// From the wish to the answer, of those answered within it.
    pub total_ms: Option<Spread>,
}

/// Durations in ms, within 1 % of the exact ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// Half of them were at most this.
    pub p50: u64,
    /// 95 %.
    pub p95: u64,
    /// 99 %.
    pub p99: u64,
    /// All.
    pub max: u64,
}

/// A message that wants an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenMessage {
    /// The message.
    pub message_id: MessageId,
    /// Its room.
    pub room: RoomName,
    /// Who asks; empty if that cannot be read at the moment.
    pub author: Arc<str>,
    /// Its first 160 characters; empty if it is hidden.
    pub text: Arc<str>,
    /// Who is asked to answer.
    pub bot: BotName,
    /// 0-9, higher is answered first.
    pub priority: u8,
    /// On the second lane of its priority, which is read after the first.
    pub second: bool,
    /// When the answer was asked for, RFC 3339.
    pub asked_at: String,
    /// Its position in the log; `null` if that cannot be read at the moment.
    pub position: Option<Position>,
    /// `waiting`, `retrying`, `claimed`, or what its worker says it is doing: `loading-model`, `reading-prompt`, `writing`.
    pub state: Arc<str>,
    /// Since when, RFC 3339; of what a worker says, since when this node knows it. `null` if that was before the part of the
    /// log that is read.
    pub since_at: Option<String>,
    /// The entry that made it wait or gave it to its worker: what it is sorted by.
    pub since: Option<Position>,
    /// Waiting: how many were before it when this was sent. Afterwards it is the number of those before it in the list.
    pub ahead: Option<u64>,
    /// Retrying: when it is put on its lane again, RFC 3339.
    pub retry_at: Option<String>,
    /// Why the last attempt failed.
    pub reason: Option<Arc<str>>,
    /// Attempts begun.
    pub attempt: u32,
    /// Who holds it.
    pub worker: Option<Arc<str>>,
    /// The claim.
    pub fence: Option<Position>,
    /// The id that the reply will have.
    pub reply_id: Option<MessageId>,
    /// How much of what the worker is doing is done, from 0 to 1, if it tells.
    pub progress: Option<f32>,
    /// Pieces of the reply so far.
    pub deltas: u32,
    /// From the claim to the first piece, as this node saw it.
    pub first_token_ms: Option<u64>,
}

/// A message whose answer is no longer waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndedMessage {
    /// The message.
    pub message_id: MessageId,
    /// Its room.
    pub room: RoomName,
    /// Who asked; empty if that cannot be read at the moment.
    pub author: Arc<str>,
    /// Its first 160 characters; empty if it is hidden.
    pub text: Arc<str>,
    /// Who was asked.
    pub bot: BotName,
    /// `answered`, `failed`, `dead` or `cancelled`.
    pub status: Status,
    /// Why it failed or died.
    pub reason: Option<Arc<str>>,
    /// When the answer was asked for, RFC 3339; `null` if that cannot be read at the moment.
    pub asked_at: Option<String>,
    /// When it ended, RFC 3339.
    pub ended_at: String,
    /// The entry that ended it.
    pub position: Position,
    /// From the wish to the first claim; `null` if it was never claimed, or before the part of the log that is read.
    pub waited_ms: Option<u64>,
    /// From the last claim to the first words.
    pub first_token_ms: Option<u64>,
    /// From the wish to the end.
    pub total_ms: Option<u64>,
    /// Attempts begun.
    pub attempts: u32,
    /// The last that claimed it.
    pub worker: Option<Arc<str>>,
    /// The model that answered.
    pub model: Option<Arc<str>>,
    /// The answer.
    pub reply_id: Option<MessageId>,
    /// Its first 160 characters; empty if it is hidden.
    pub reply: Option<Arc<str>>,
}

/// Where a worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerKind {
    /// Within a server.
    InProcess,
    /// A program of its own, which speaks HTTP.
    Remote,
}

/// Who answers, as far as this node knows: what it holds is in the log, the rest was seen lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Worker {
    /// Its name, as in `message.claimed`.
    pub worker: Arc<str>,
    /// Where it runs.
    pub kind: WorkerKind,
    /// The bots that it answers for, by name.
    pub bots: Vec<BotName>,
    /// Its models: of a remote worker those that it named when it last asked for work.
    pub models: Vec<String>,
    /// Of its wishes, those that wait for work at this node now.
    pub waiting: u64,
    /// What it holds, by fence.
    pub holds: Vec<Hold>,
    /// When this node last heard of it, RFC 3339: a wish, a word or a heartbeat. `null`: never since it started.
    pub last_seen_at: Option<String>,
}

/// A message that a worker holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// The message.
    pub message_id: MessageId,
    /// Its room.
    pub room: RoomName,
    /// The bot that was asked.
    pub bot: BotName,
    /// The claim.
    pub fence: Position,
    /// 1 for the first try.
    pub attempt: u32,
    /// When it was claimed, RFC 3339.
    pub claimed_at: String,
    /// What the worker says it is doing.
    pub stage: Option<Arc<str>>,
    /// How much of that is done, from 0 to 1, if it tells.
    pub progress: Option<f32>,
    /// Pieces of the reply so far.
    pub deltas: u32,
}

/// Answer to `GET /api/workers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workers {
    /// By name.
    pub workers: Vec<Worker>,
    /// How far the view had come.
    pub position: Position,
}
