//! The keys of workers: which are good, and which are revoked.
//!
//! Promises: a key that was revoked once is never good again, in whatever order its entries come: of a lost tail one node
//! may bring the revocation back before another brings the key. The same entry twice is the same as once.
//! Not here: how many there may be and who may make them (`decide::key`), the keys themselves (nowhere: only their hashes).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use antiphon_schemas::{BotName, Entry, Event, event::KeyCreated};
use serde::{Deserialize, Serialize};

use super::trie::Trie;

/// How many revoked keys are remembered by id, newest first: as many as entries of a lost tail can be restored.
const REVOKED_MAX: usize = 100_000;

/// A key that is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// What revokes it.
    pub id: Arc<str>,
    /// The worker that it is for.
    pub worker: Arc<str>,
    /// The bots whose messages it may answer.
    pub bots: Vec<BotName>,
    /// SHA-256 of the key, in hex.
    pub sha256: Arc<str>,
    /// When the log took it, in ms since 1970.
    pub created_at_ms: u64,
}

/// The projection.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Oldest first; few enough (`decide::key::KEYS_MAX`) to be searched by id.
    live: Vec<Arc<Key>>,
    by_sha256: HashMap<Arc<str>, Arc<Key>>,
    /// With its number: they are numbered in the order in which they were revoked.
    revoked: Trie<Arc<str>, u64>,
    revoked_order: VecDeque<Arc<str>>,
    revoked_count: u64,
}

/// What a snapshot holds of it, not sorted yet.
#[derive(Debug, Clone)]
pub struct FrozenKeys {
    live: Vec<Arc<Key>>,
    revoked: Trie<Arc<str>, u64>,
}

impl FrozenKeys {
    /// In order.
    pub fn into_data(self) -> SnapshotKeys {
        let mut revoked: Vec<_> = self.revoked.iter().collect();
        revoked.sort_unstable_by_key(|(_, number)| **number);
        SnapshotKeys { live: self.live, revoked: revoked.into_iter().map(|(id, _)| id.clone()).collect() }
    }
}

/// What a snapshot holds of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotKeys {
    /// Oldest first.
    pub live: Vec<Arc<Key>>,
    /// The ids of revoked ones, in the order in which they were revoked.
    pub revoked: Vec<Arc<str>>,
}

impl Keys {
    /// As it was kept.
    pub fn with(data: SnapshotKeys) -> Keys {
        let mut keys = Keys::default();
        data.live.into_iter().for_each(|key| keys.add(key));
        data.revoked.into_iter().for_each(|id| keys.revoke(&id));
        keys
    }

    /// Folds one entry in.
    pub fn apply(&mut self, entry: &Entry) {
        match &entry.event {
            Event::KeyCreated(e) => self.created(e, entry.header.at_ms),
            Event::KeyRevoked(e) => self.revoke(&e.key_id),
            _ => {}
        }
    }

    /// Whether an entry says something about keys.
    pub fn are_touched_by(entry: &Entry) -> bool {
        matches!(entry.event, Event::KeyCreated(_) | Event::KeyRevoked(_))
    }

    /// The good key with this hash, in hex.
    pub fn by_sha256(&self, sha256: &str) -> Option<&Arc<Key>> {
        self.by_sha256.get(sha256)
    }

    /// The good key with this id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<Key>> {
        self.live.iter().find(|key| &*key.id == id)
    }

    /// Whether a key with this id was revoked.
    pub fn is_revoked(&self, id: &str) -> bool {
        self.revoked.get(id).is_some()
    }

    /// The good ones, oldest first.
    pub fn live(&self) -> &[Arc<Key>] {
        &self.live
    }

    /// What a snapshot holds. Cost: the good ones.
    pub fn freeze(&self) -> FrozenKeys {
        FrozenKeys { live: self.live.clone(), revoked: self.revoked.clone() }
    }

    fn created(&mut self, e: &KeyCreated, created_at_ms: u64) {
        if self.is_revoked(&e.key_id) || self.by_id(&e.key_id).is_some() || self.by_sha256(&e.key_sha256).is_some() {
            return;
        }
        let (id, worker, bots, sha256) = (e.key_id.clone(), e.worker.clone(), e.bots.clone(), e.key_sha256.clone());
        self.add(Arc::new(Key { id, worker, bots, sha256, created_at_ms }));
    }

    fn add(&mut self, key: Arc<Key>) {
        self.by_sha256.insert(key.sha256.clone(), key.clone());
        self.live.push(key);
    }

    fn revoke(&mut self, id: &Arc<str>) {
        if let Some(at) = self.live.iter().position(|key| key.id == *id) {
            let key = self.live.remove(at);
            self.by_sha256.remove(&key.sha256);
        }
        if !self.is_revoked(id) {
            self.revoked.insert(id.clone(), self.revoked_count);
            self.revoked_order.push_back(id.clone());
            self.revoked_count += 1;
        }
        if self.revoked_order.len() > REVOKED_MAX
            && let Some(oldest) = self.revoked_order.pop_front()
        {
            self.revoked.remove(&oldest);
        }
    }
}
