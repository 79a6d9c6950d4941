//! The making and revoking of workers' keys; and of keys that a store has lost.
//!
//! Promises: what was revoked is never made again; what stands as wished gives no event.
//! Two nodes that decide at once may go beyond [`KEYS_MAX`] by as many keys, or write a revocation twice; neither is any
//! harm, so key events need no condition in the log.
//! Not here: the secret and its hash (`node`), what a key opens (`http`).

use std::sync::Arc;

use antiphon_schemas::{
    BotName, Event,
    event::{KeyCreated, KeyRevoked},
};

use super::{Policy, Refusal};
use crate::projection::keys::Keys;

/// Good keys at once: far more than anybody has machines with a GPU, and few enough to stand in one list.
pub const KEYS_MAX: usize = 1_000;

/// What is to become of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyWish {
    /// Make it.
    Create(KeyCreated),
    /// Revoke the one with this id.
    Revoke(Arc<str>),
    /// It was lost: it comes back, unless it was revoked.
    Restore(KeyCreated),
    /// Its revocation was lost: it comes back, even if nobody here knows the key; another node may still bring that.
    RestoreRevoked(Arc<str>),
}

impl KeyWish {
    /// The kind of the event that it comes to.
    pub fn kind(&self) -> &'static str {
        match self {
            KeyWish::Create(_) | KeyWish::Restore(_) => "key.created",
            KeyWish::Revoke(_) | KeyWish::RestoreRevoked(_) => "key.revoked",
        }
    }
}

/// The event for a wish, or `None` if it stands as wished.
///
/// # Errors
/// [`Refusal::NoSuchBot`], [`Refusal::TooManyKeys`], [`Refusal::NoSuchKey`]; never for what was lost.
pub fn key(state: &Keys, policy: &Policy, wish: &KeyWish) -> Result<Option<Event>, Refusal> {
    match wish {
        KeyWish::Create(key) => {
            let known = || policy.bots.iter().map(|rule| &rule.name);
            if let Some(bot) = key.bots.iter().find(|bot| known().all(|name| name != *bot)) {
                return Err(Refusal::NoSuchBot { bot: bot.clone(), known: known().cloned().collect() });
            }
            if state.live().len() >= KEYS_MAX {
                return Err(Refusal::TooManyKeys);
            }
            Ok(Some(key.clone().into()))
        }
        KeyWish::Revoke(id) if state.is_revoked(id) => Ok(None),
        KeyWish::Revoke(id) if state.by_id(id).is_none() => Err(Refusal::NoSuchKey(id.clone())),
        KeyWish::Restore(key) if state.is_revoked(&key.key_id) || state.by_id(&key.key_id).is_some() => Ok(None),
        KeyWish::Restore(key) => Ok(Some(key.clone().into())),
        KeyWish::RestoreRevoked(id) if state.is_revoked(id) => Ok(None),
        KeyWish::Revoke(id) | KeyWish::RestoreRevoked(id) => Ok(Some(KeyRevoked { key_id: id.clone() }.into())),
    }
}

/// Names as a sentence lists them.
pub(super) fn listed(bots: &[BotName]) -> String {
    bots.iter().map(|bot| format!("`{bot}`")).collect::<Vec<_>>().join(", ")
}
