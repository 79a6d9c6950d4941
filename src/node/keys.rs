//! Workers' keys: creates, revokes and looks them up.
//!
//! ```text
//! key  ak_ + 64 hex digits (32 random bytes) ─ SHA-256 ─▶ key_sha256 in the log ─ first 12 hex digits ─▶ key_id
//! ```
//!
//! Promises: a key is created or revoked once the entry is durable and applied; the valid keys are a fold of the log, so
//! they are the same on every node; while that fold is incomplete, no key is reported as bad.
//! Not here: who may create keys, what a key permits (`http`).

use std::{
    fmt::Write,
    sync::{Arc, atomic::Ordering},
};

use antiphon_schemas::{BotName, event::KeyCreated};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{Command, Error, Node};
use crate::{
    decide::key::KeyWish,
    log,
    projection::keys::{Key, Keys},
};

/// What every key begins with, so that one that lies around is known for what it is.
const KEY_PREFIX: &str = "ak_";
/// Random bytes of a key.
const KEY_BYTES: usize = 32;
/// Hex digits of a key's id: two of 1,000 keys are the same once in 500 million times, and then none is made.
const ID_DIGITS: usize = 12;

/// The hash of a key under which the log knows it, in hex; `None` if it does not look like a key.
///
/// One round is enough: a key is 256 random bits, not a word that somebody could guess.
pub fn key_sha256(key: &str) -> Option<String> {
    let digits = key.strip_prefix(KEY_PREFIX)?;
    let is_key = digits.len() == 2 * KEY_BYTES && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_key.then(|| hex(&Sha256::digest(key)))
}

impl Node {
    /// Creates a key for a worker. Returns its entry for lists, and the secret, which is stored nowhere.
    ///
    /// Guarantee: good on this node when this returns, and on each other one when that has applied the entry. If the answer
    /// is lost, there may be a key that nobody has: revoke it.
    ///
    /// # Errors
    /// [`Error::Refused`] as `decide::key`; [`Error::Log`], [`Error::Busy`], [`Error::Stopping`]: try again.
    pub async fn create_key(&self, worker: Arc<str>, bots: Vec<BotName>) -> Result<(Arc<Key>, String), Error> {
        let secret = format!("{KEY_PREFIX}{}", hex(&rand::random::<[u8; KEY_BYTES]>()));
        let sha256 = key_sha256(&secret).expect("it was made as one");
        let key = KeyCreated { key_id: sha256[..ID_DIGITS].into(), worker, bots, key_sha256: sha256.as_str().into() };
        self.command(Command::Key(KeyWish::Create(key)), &[]).await?;
        // Revoked already by somebody quick, or its id is another key's: one more try makes another.
        let made = self.state().projections.keys.by_sha256(&sha256).cloned();
        made.map(|key| (key, secret)).ok_or(Error::Busy)
    }

    /// Revokes a key. Twice is fine.
    ///
    /// Guarantee: no longer good on this node when this returns, and on each other one when that has applied the entry.
    ///
    /// # Errors
    /// [`Error::Refused`] if there never was such a key; else as [`Node::create_key`].
    pub async fn revoke_key(&self, id: &str) -> Result<(), Error> {
        self.command(Command::Key(KeyWish::Revoke(id.into())), &[]).await.map(|_| ())
    }

    /// The good key with this hash.
    ///
    /// # Errors
    /// [`Error::Log`] while it is not known which keys are good: try again.
    pub fn key(&self, sha256: &str) -> Result<Option<Arc<Key>>, Error> {
        self.with_keys(|keys| keys.by_sha256(sha256).cloned())
    }

    /// The good keys, oldest first.
    ///
    /// # Errors
    /// As [`Node::key`].
    pub fn keys(&self) -> Result<Vec<Arc<Key>>, Error> {
        self.with_keys(|keys| keys.live().to_vec())
    }

    /// Changes whenever other keys may be good than before.
    pub fn keys_changed(&self) -> watch::Receiver<u64> {
        self.inner.view.keys_changed.subscribe()
    }

    fn with_keys<T>(&self, look: impl FnOnce(&Keys) -> T) -> Result<T, Error> {
        let state = self.state();
        state.check_built()?;
        if self.inner.view.keys_lost.load(Ordering::Acquire) {
            let why = "the store has lost its end, and the keys in it are being brought back";
            return Err(Error::Log(log::Error::Away(why.into())));
        }
        Ok(look(&state.projections.keys))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
