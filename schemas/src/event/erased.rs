//! What is left of a text that was erased.

use super::*;

/// `message.erased`: the bodies of the entries at these positions are replaced by their hashes, in every copy of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageErased {
    /// The message, or a reply; redacted before or in the same append.
    pub message_id: MessageId,
    /// The entries that held its text, all before this one.
    pub positions: Vec<Seq>,
    /// Of a reply: what of its entry is no text, so that later counts come to the same numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ErasedReply>,
}

/// What is left of a reply that was erased.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErasedReply {
    /// Who gave it. Absent if its author's name was not a bot's, or was not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bot: Option<BotName>,
    /// As in its [`Made`].
    pub total_ms: u64,
    /// As in its [`Made`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
}

/// A fact whose body was erased: only the header is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// The kind as stored.
    pub kind: Arc<str>,
    /// The subjects as stored.
    pub subjects: Vec<MessageId>,
}
