//! Fan-out: each room's feed is a ring of encoded SSE frames; a subscriber is a cursor into it and a waker.
//!
//! Promises: a frame is encoded once and shared; a subscriber has no queue of its own, so one that stops reading
//! costs nothing but its connection; one that falls off the ring is told so and reads the log instead.
//! Not here: the log, catching up, HTTP (`node`, `http`).

pub mod feed;
pub mod frame;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use antiphon_schemas::RoomName;

pub use feed::{Feed, Taken};
pub use frame::Frame;

/// The feeds of the rooms that somebody follows.
#[derive(Debug, Default)]
pub struct Feeds {
    // A std lock: held for a look-up, never across an await.
    rooms: RwLock<HashMap<RoomName, Arc<Feed>>>,
}

impl Feeds {
    /// The room's feed, if somebody follows it.
    pub fn get(&self, room: &RoomName) -> Option<Arc<Feed>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    /// The room's feed, made now if nobody followed it before.
    pub fn follow(&self, room: &RoomName) -> Arc<Feed> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner).entry(room.clone()).or_default().clone()
    }

    /// Pushes a frame to every feed, and drops the feeds that nobody follows any more.
    pub fn push_to_all(&self, frame: &Frame) {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        rooms.retain(|_, feed| Arc::strong_count(feed) > 1);
        for feed in rooms.values() {
            feed.push([frame.clone()]).wake();
        }
    }

    /// Ends every feed: subscribers read what is there, then their streams end.
    pub fn close(&self) {
        for feed in self.rooms.write().unwrap_or_else(PoisonError::into_inner).drain() {
            feed.1.close();
        }
    }
}
