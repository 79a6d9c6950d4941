//! Events about the log itself and about worker keys: no message, no room.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{BotName, Epoch, MessageId, Seq, epoch_text};

/// `log.repaired`: the store had lost its end; what this node knew of it was offered again. No subjects, no room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogRepaired {
    /// The node that offered what it knew; each node that had seen the lost end writes an entry of its own.
    pub node: Arc<str>,
    /// The epoch that ended.
    #[serde(with = "epoch_text")]
    #[schemars(schema_with = "epoch_text::json_schema")]
    pub before: Epoch,
    /// The last position that the store and the node had in common.
    pub after: Seq,
    /// How much it offered: a message with its end counts one, a redaction one.
    pub offered: u32,
    /// Of these, what is in the log again: appended by this node, or already there from another.
    pub again: u32,
    /// What was not brought back, and why; at most [`REFUSED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<NotRepaired>,
    /// Further ones, which the list has no room for.
    #[serde(default)]
    pub refused_more: u32,
}

/// The longest list of a [`LogRepaired`]: with reasons of [`REFUSED_REASON_BYTES_MAX`] half of what a body may hold.
pub const REFUSED_MAX: usize = 1_000;
/// The longest reason in that list: room for a sentence with a name in it.
pub const REFUSED_REASON_BYTES_MAX: usize = 256;

/// A lost entry that was not brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotRepaired {
    /// Its kind.
    pub kind: Arc<str>,
    /// The message that it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// Why, as a sentence fragment.
    pub reason: Arc<str>,
}

/// `key.created`: from here on the holder of the key may answer these bots' messages. No subjects, no room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyCreated {
    /// What it is called in lists, and what revokes it: the first 12 hex digits of `key_sha256`.
    pub key_id: Arc<str>,
    /// The worker that it is for.
    pub worker: Arc<str>,
    /// The bots whose messages it may answer.
    pub bots: Vec<BotName>,
    /// SHA-256 of the key, in hex; the key itself is nowhere.
    pub key_sha256: Arc<str>,
}

/// `key.revoked`: from here on the key opens nothing, and a `key.created` that comes later makes no difference. No
/// subjects, no room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRevoked {
    /// The key.
    pub key_id: Arc<str>,
}

/// `log.checkpoint`: a notary has signed what the log was before this entry. No subjects, no room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogCheckpoint {
    /// How many entries it covers: positions 1 to this.
    pub size: u64,
    /// The C2SP signed note: origin, size and root of the Merkle tree, and the signature.
    pub note: Arc<str>,
}
