//! The making and revoking of workers' keys; and of keys that a store has lost.
//!
//! Promises: a revoked key is never created again; a request that changes nothing produces no event.
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

/// Valid keys at once: far more than anyone has GPU machines, and few enough for one list.
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

/// The event for a request, or `None` if it changes nothing.
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

/// Which bots there are, as the end of a sentence.
pub(super) fn there_are(bots: &[BotName]) -> String {
    if bots.is_empty() {
        return "none is available".into();
    }
    format!("available: {}", bots.iter().map(|bot| format!("`{bot}`")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{World, bot, roomless};

    fn made(n: usize, bots: Vec<BotName>) -> KeyCreated {
        let key_id = format!("{n:012}").into();
        KeyCreated { key_id, worker: "w".into(), bots, key_sha256: format!("{n:064}").into() }
    }

    #[test]
    fn a_key_is_made_for_bots_that_there_are_and_revoked_once() {
        let (mut keys, policy) = (Keys::default(), World::new().policy);
        let (create, revoke) = (KeyWish::Create(made(0, vec![bot(0), bot(1)])), KeyWish::Revoke("000000000000".into()));
        let why = key(&keys, &policy, &revoke).unwrap_err();
        assert_eq!(why, Refusal::NoSuchKey("000000000000".into()));
        let event = key(&keys, &policy, &create).unwrap().unwrap();
        assert_eq!(event.kind(), "key.created");
        keys.apply(&roomless(1, event));
        let event = key(&keys, &policy, &revoke).unwrap().unwrap();
        assert_eq!(event.kind(), "key.revoked");
        keys.apply(&roomless(2, event));
        assert_eq!(key(&keys, &policy, &revoke), Ok(None), "the same again");

        let unknown = KeyWish::Create(made(1, vec![bot(0), BotName::new("hepler").unwrap()]));
        let why = key(&keys, &policy, &unknown).unwrap_err().to_string();
        assert_eq!(why, "there is no bot `hepler`; available: `ann-bot`, `bob-bot`");
    }

    #[test]
    fn so_many_keys_and_no_more() {
        let (mut keys, policy) = (Keys::default(), World::new().policy);
        for n in 0..KEYS_MAX {
            let event = key(&keys, &policy, &KeyWish::Create(made(n, vec![bot(0)]))).unwrap().unwrap();
            keys.apply(&roomless(n as u64 + 1, event));
        }
        let more = KeyWish::Create(made(KEYS_MAX, vec![bot(0)]));
        assert_eq!(key(&keys, &policy, &more), Err(Refusal::TooManyKeys));
        let event = key(&keys, &policy, &KeyWish::Revoke(format!("{:012}", 5).into())).unwrap().unwrap();
        keys.apply(&roomless(KEYS_MAX as u64 + 1, event));
        assert!(key(&keys, &policy, &more).unwrap().is_some());
    }
}
