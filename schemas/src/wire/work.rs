//! What workers speak: programs on other machines that claim messages over HTTP and answer them.
//!
//! ```text
//! claim ─▶ Work {message, fence …} ─▶ deltas, heartbeats ─▶ complete │ fail │ release      all carry the fence
//! ```
//!
//! Promises: as the rest of `wire`. Not here: what a worker may do (`http`), how it does it (`antiphon worker`).

use super::*;

/// Body of `POST /api/work/claim`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimWork {
    /// Who asks: 1-128 of `A-Z a-z 0-9 . _ ~ - /`. Stands in the log with every claim.
    pub worker: String,
    /// Whose messages it answers: 1-64 names of bots.
    pub bots: Vec<String>,
    /// 1-128 printable ASCII characters, fresh for each claim; the same again by the same worker is the same claim.
    pub claim_key: String,
    /// How long to wait for work: 0-30000, which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Its models, and whether they are loaded: of several workers that wait, one without a cold model is preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelState>>,
}

/// A model of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelState {
    /// Its name, e.g. `ollama:llama3.2`.
    pub name: String,
    /// It is loaded and can answer at once.
    pub warm: bool,
}

/// Answer to a claim: a message to be answered, and everything that an answer needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Work {
    /// The message.
    pub message: Arc<Message>,
    /// The id that the reply will have.
    pub reply_id: MessageId,
    /// The claim; goes into everything that is said about it.
    pub fence: Position,
    /// 1 for the first try.
    pub attempt: u32,
    /// How long the claim lives without a heartbeat or a delta; send one in a third of it.
    pub lease_ms: u64,
    /// The room's messages before it, oldest first, without hidden ones; as many as the bot wants to see.
    pub context: Vec<Arc<Message>>,
    /// As whom to answer.
    pub bot: Profile,
}

/// Who a bot is and how it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// Its name, also as shown.
    pub name: BotName,
    /// The system prompt.
    #[serde(default)]
    pub persona: String,
    /// How many messages of the room are included in the prompt.
    #[serde(default = "context_default")]
    pub context_messages: usize,
    /// Options for the model, passed on as they are, e.g. `temperature`.
    #[serde(default)]
    pub options: BTreeMap<String, Value>,
    /// What is cut from the model's words before anybody sees them.
    #[serde(default)]
    pub filters: Filters,
    /// How long an answer may be; what is longer is cut off there, and kept.
    #[serde(default, skip_serializing_if = "Bounds::are_none")]
    pub answer: Bounds,
}

/// How long an answer may be. What is absent is bounded only by what the server and the model's clocks allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Bounds {
    /// In tokens, thoughts included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// In seconds, from the end of the load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// In bytes of its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
}

impl Bounds {
    /// The names of the settings.
    pub const KEYS: [&'static str; 3] = ["tokens", "seconds", "bytes"];

    fn are_none(&self) -> bool {
        *self == Bounds::default()
    }
}

fn context_default() -> usize {
    20
}

/// What is cut from the model's words before a delta leaves, also across the borders of deltas.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Every occurrence of these strings is taken out.
    #[serde(default)]
    pub filter_out: Vec<String>,
    /// The reply ends before the first occurrence of any of these.
    #[serde(default)]
    pub trim_after: Vec<String>,
    /// White space at both ends is taken off.
    #[serde(default)]
    pub trim_whitespace: bool,
}

/// Answer to `GET /api/work/bots`: the bots whose messages the caller may claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BotProfiles {
    /// In the order of the configuration.
    pub bots: Vec<Profile>,
}

/// Body of `POST /api/work/{id}/deltas`: the next piece of the reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkDelta {
    /// The claim.
    pub fence: Position,
    /// 0, 1, 2 …; one that was taken before is ignored.
    pub index: u32,
    /// The next piece of the final text; not empty.
    pub text: String,
    /// All pieces before this one, joined: fills a gap (`delta-gap`) in one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// Answer to a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeltaTaken {
    /// The index that is wanted next.
    pub next_index: u32,
}

/// Body of `POST /api/work/{id}/heartbeat`: the claim lives on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkHeartbeat {
    /// The claim.
    pub fence: Position,
    /// What the worker is doing: 1-32 of `a-z 0-9 -`, e.g. `loading-model`, `reading-prompt`, `writing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// How much of that is done, from 0 to 1; only with `stage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f32>,
}

/// Answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alive {
    /// How long the claim lives from now.
    pub lease_ms: u64,
}

/// Body of `POST /api/work/{id}/complete`: the answer. What is left out is measured by the server, or not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteWork {
    /// The claim.
    pub fence: Position,
    /// The whole answer; begins with what was sent in deltas.
    pub text: String,
    /// Why the model stopped: `stop` or `length`. Anything else is no answer: say `fail`.
    pub finish: String,
    /// Tokens, where the model tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The model, e.g. `ollama:llama3.2`; `remote` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Options as sent to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, Value>>,
    /// SHA-256 of the prompt as sent, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_sha256: Option<String>,
    /// The messages that stood in the prompt, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Vec<MessageId>>,
    /// From the claim to the first words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// From the claim to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u64>,
    /// How many deltas were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deltas: Option<u32>,
    /// What people should know about the answer beside its words, e.g. why it was cut off: at most 8, each 1-500 bytes as
    /// `code: words`, without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<Vec<String>>,
}

/// Answer to a completion, and to the same again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkCompleted {
    /// The message.
    pub id: MessageId,
    /// Its answer.
    pub reply_id: MessageId,
    /// The answer's position in the log.
    pub position: Position,
    /// When the log took it, RFC 3339.
    pub at: String,
}

/// Body of `POST /api/work/{id}/fail`: there is no answer from this try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailWork {
    /// The claim.
    pub fence: Position,
    /// `code: words`, 1-500 bytes; shown in a public room, so no secrets.
    pub reason: String,
    /// Whether another try may help.
    pub retryable: bool,
    /// The model could not have answered (nobody there, too much to do): this try does not count, and the next one makes sense
    /// after so many ms: 0-3600000. Only with `retryable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_ms: Option<u64>,
}

/// Body of `POST /api/work/{id}/release`: the message waits again, and this try does not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseWork {
    /// The claim.
    pub fence: Position,
}

/// A live claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldClaim {
    /// The message.
    pub message_id: MessageId,
    /// The claim.
    pub fence: Position,
}

/// `claims` of `GET /api/work/events`, first on each connection: what the worker holds now. Any other claim is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldClaims {
    /// In no order.
    pub claims: Vec<HeldClaim>,
}

/// `ended` of `GET /api/work/events`: one of the worker's claims is over, however it ended: stop working on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimEnded {
    /// The message.
    pub message_id: MessageId,
    /// The claim.
    pub fence: Position,
    /// The message's state now.
    pub status: Status,
}

/// Who holds a message, in the problem `stale-fence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// The worker.
    pub worker: Arc<str>,
    /// Its claim.
    pub fence: Position,
}

/// Body of `POST /api/keys`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// The worker that it is for: as in a claim, without `/`. It may call itself so, or `worker/anything`.
    pub worker: String,
    /// The bots whose messages it may answer: 1-64 names.
    pub bots: Vec<String>,
}

/// Answer to the making of a key: the only time that the key itself is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedKey {
    /// What it is called in lists, and what revokes it.
    pub id: Arc<str>,
    /// The worker that it is for.
    pub worker: Arc<str>,
    /// The bots whose messages it may answer.
    pub bots: Vec<BotName>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// The secret, for `authorization: Bearer …`.
    pub key: String,
}

/// A key that is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerKey {
    /// What revokes it.
    pub id: Arc<str>,
    /// The worker that it is for.
    pub worker: Arc<str>,
    /// The bots whose messages it may answer.
    pub bots: Vec<BotName>,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

/// Answer to `GET /api/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerKeys {
    /// Oldest first.
    pub keys: Vec<WorkerKey>,
}
