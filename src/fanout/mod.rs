//! Fan-out: each room's feed is a ring of encoded SSE frames; a subscriber is a cursor into it and a waker.
//!
//! Promises: a frame is encoded once and shared; a subscriber has no queue of its own, so one that stops reading
//! costs nothing but its connection; one that falls off the ring is notified and reads the log instead.
//! Not here: the log, catching up, HTTP (`node`, `http`).

pub mod feed;
pub mod frame;

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
};

pub use feed::{Feed, FeedItem};
pub use frame::Frame;

/// The feeds that somebody follows: of rooms by their names, of workers by theirs.
#[derive(Debug)]
pub struct Feeds<K> {
    // A std lock: held for a look-up, never across an await.
    followed: RwLock<Followed<K>>,
}

#[derive(Debug)]
struct Followed<K> {
    feeds: HashMap<K, Arc<Feed>>,
    closed: bool,
}

impl<K> Default for Feeds<K> {
    fn default() -> Feeds<K> {
        Feeds { followed: RwLock::new(Followed { feeds: HashMap::new(), closed: false }) }
    }
}

impl<K: Clone + Eq + Hash> Feeds<K> {
    /// The feed of that name, if somebody follows it.
    pub fn get(&self, name: &K) -> Option<Arc<Feed>> {
        self.followed.read().unwrap_or_else(PoisonError::into_inner).feeds.get(name).cloned()
    }

    /// The feed of that name, made now if nobody followed it before.
    pub fn follow(&self, name: &K) -> Arc<Feed> {
        let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
        let feed = followed.feeds.entry(name.clone()).or_default().clone();
        if followed.closed {
            feed.close();
        }
        feed
    }

    /// Pushes a frame to every feed, and drops the feeds that nobody follows any more.
    pub fn push_to_all(&self, frame: &Frame) {
        let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
        followed.feeds.retain(|_, feed| Arc::strong_count(feed) > 1);
        for feed in followed.feeds.values() {
            feed.push([frame.clone()]).wake();
        }
    }

    /// Sends everybody who follows a feed back to where it began, e.g. the log: what the rings held is of another history.
    pub fn restart(&self) {
        let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
        followed.feeds.drain().for_each(|(_, feed)| feed.outdate());
    }

    /// Ends every feed, also for later subscribers: subscribers read the remaining frames, then their streams end.
    pub fn close(&self) {
        let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
        followed.closed = true;
        followed.feeds.values().for_each(|feed| feed.close());
    }
}
