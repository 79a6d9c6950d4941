//! What somebody who wants to speak in a room needs to know: `GET /api/rooms/{room}/bots`.
//!
//! Promises: as the rest of `wire`. Not here: numbers of a queue (`Queues`), who holds what (`monitor`).

use super::*;

/// Answer to `GET /api/rooms/{room}/bots`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoomBots {
    /// The bots that a post in this room may name in `to`, in the order of the configuration.
    pub bots: Vec<RoomBot>,
    /// The one that answers a person's post that names nobody.
    pub default: Option<BotName>,
    /// The longest `text` of a post, in bytes of UTF-8.
    pub text_bytes_max: u64,
}

/// One bot of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoomBot {
    /// Its name.
    pub name: BotName,
    /// Its colour, as configured.
    pub color: Option<Arc<str>>,
    /// The model that it asks; `remote` if only workers answer for it.
    pub model: Option<String>,
    /// Whether it answers at the moment.
    pub state: BotState,
    /// Messages that wait for it, in all rooms.
    pub waiting: u64,
}

/// Whether a bot answers at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BotState {
    /// Somebody answers for it.
    Ready,
    /// Its model failed too often; it takes nothing until that is over, and tries by itself.
    Paused,
    /// Only workers answer for it, and none was heard of lately on the node that was asked.
    NoWorker,
}
