//! What nodes tell each other live: the words of replies under way, in MessagePack.
//!
//! Promises: one message holds about [`BROADCAST_BYTES_MAX`] bytes of text at the most (a whole reply can be longer, up to
//! `REPLY_BYTES_MAX`); words that nodes of version 0.1.0 cannot read are in messages of their own, so that these nodes miss
//! nothing else.

use std::sync::Arc;

use antiphon_schemas::{MessageId, Seq};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes of text gathered into one message: some 100 words a node and turn, and little enough that a slow store is not
/// held up by it.
const BROADCAST_BYTES_MAX: usize = 64 * 1024;

/// A live word of one node to the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) message: MessageId,
    pub(crate) fence: Seq,
    pub(crate) word: SaidWord,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum SaidWord {
    /// Its worker is alive.
    Heartbeat,
    Stage {
        stage: Arc<str>,
        progress: Option<f32>,
    },
    Delta {
        index: u32,
        text: Arc<str>,
    },
    /// The whole text before a piece.
    Whole {
        next_index: u32,
        text: Arc<str>,
    },
    /// How many pieces there are: a node that has fewer asks for the whole. Since 0.2.
    Written {
        next_index: u32,
    },
    /// Somebody lacks pieces: the node that hears the worker says the whole. Since 0.2.
    Ask,
}

impl SaidWord {
    fn bytes(&self) -> usize {
        match self {
            SaidWord::Delta { text, .. } | SaidWord::Whole { text, .. } => text.len(),
            _ => 0,
        }
    }

    fn is_new(&self) -> bool {
        matches!(self, SaidWord::Written { .. } | SaidWord::Ask)
    }
}

/// The messages that say these words, in their order.
pub(super) fn encode(said: Vec<Said>) -> Vec<Bytes> {
    let (new, old): (Vec<_>, Vec<_>) = said.into_iter().partition(|said| said.word.is_new());
    let mut messages = Vec::new();
    for words in [old, new] {
        let (mut from, mut bytes) = (0, 0);
        for (at, said) in words.iter().enumerate() {
            if at > from && bytes + said.word.bytes() > BROADCAST_BYTES_MAX {
                messages.extend(message(&words[from..at]));
                (from, bytes) = (at, 0);
            }
            bytes += said.word.bytes();
        }
        messages.extend(message(&words[from..]));
    }
    messages
}

fn message(words: &[Said]) -> Option<Bytes> {
    (!words.is_empty()).then(|| rmp_serde::to_vec(words).ok().map(Bytes::from))?
}

/// The words of a message.
///
/// # Errors
/// A node of another version: what it says is in the log in the end.
pub(super) fn decode(message: &[u8]) -> Result<Vec<Said>, rmp_serde::decode::Error> {
    antiphon_schemas::pack::from_slice(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(word: SaidWord) -> Said {
        Said { message: crate::log::conformance::id(1), fence: Seq(2), word }
    }

    #[test]
    fn words_come_back_in_order_in_messages_of_bounded_size() {
        let text: Arc<str> = "x".repeat(BROADCAST_BYTES_MAX / 2).into();
        let words: Vec<_> = (0..5).map(|index| said(SaidWord::Delta { index, text: text.clone() })).collect();
        let messages = encode(words.clone());
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| message.len() < BROADCAST_BYTES_MAX + 256));
        let read: Vec<_> = messages.iter().flat_map(|message| decode(message).unwrap()).collect();
        assert_eq!(read, words);
    }

    #[test]
    fn words_that_older_nodes_cannot_read_are_told_apart() {
        let words = [SaidWord::Written { next_index: 3 }, SaidWord::Heartbeat, SaidWord::Ask].map(said);
        let messages: Vec<_> = encode(words.to_vec()).iter().map(|message| decode(message).unwrap()).collect();
        assert_eq!(messages[0], [said(SaidWord::Heartbeat)]);
        assert_eq!(messages.len(), 2);
    }
}
