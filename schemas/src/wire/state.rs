//! What a server has folded from the log, for a client that refolds it and compares: `antiphon replay diff`.
//!
//! Every response names its position. Not here: what people see (the rest of `wire`).

use super::*;

/// Answer to `GET /api/state/kept` and `GET /api/state/snapshot`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateKept {
    /// The last entry that is folded in.
    pub position: Position,
    /// Messages that the server keeps in memory of each room.
    pub recent_messages: usize,
    /// Rooms that it keeps in memory.
    pub rooms: usize,
    /// Open messages, keys and numbers, as this version of the server keeps them.
    pub kept: Value,
}

/// Answer to `GET /api/state/rooms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateRooms {
    /// The rooms in memory, by name.
    pub rooms: Vec<RoomName>,
}

/// Answer to `GET /api/state/rooms/{room}`: the recent view of a room, as it is in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateRoom {
    /// The last entry that is folded in.
    pub position: Position,
    /// Up to and including this position nothing is in memory; absent if the room is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Position>,
    /// Oldest first.
    pub messages: Vec<Arc<Message>>,
}

/// Answer to `GET /api/state/index`: records of the index on disk, by id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateIndex {
    /// The last entry that is folded in.
    pub position: Position,
    /// The records after the id that was asked for.
    pub records: Vec<IndexRecord>,
    /// There are more.
    pub more: bool,
}

/// What the index knows of a message or reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IndexRecord {
    /// The message.
    pub id: MessageId,
    /// The entries that speak of it, oldest first.
    pub positions: Vec<u64>,
    /// Its position.
    pub status: Status,
    /// Why it failed or died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Hidden on somebody's wish.
    #[serde(default)]
    pub redacted: bool,
    /// Erased, or about to be.
    #[serde(default)]
    pub erased: bool,
}
