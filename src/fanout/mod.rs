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
    rooms: RwLock<Rooms>,
}

#[derive(Debug, Default)]
struct Rooms {
    feeds: HashMap<RoomName, Arc<Feed>>,
    closed: bool,
}

impl Feeds {
    /// The room's feed, if somebody follows it.
    pub fn get(&self, room: &RoomName) -> Option<Arc<Feed>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).feeds.get(room).cloned()
    }

    /// The room's feed, made now if nobody followed it before.
    pub fn follow(&self, room: &RoomName) -> Arc<Feed> {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let feed = rooms.feeds.entry(room.clone()).or_default().clone();
        if rooms.closed {
            feed.close();
        }
        feed
    }

    /// Pushes a frame to every feed, and drops the feeds that nobody follows any more.
    pub fn push_to_all(&self, frame: &Frame) {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        rooms.feeds.retain(|_, feed| Arc::strong_count(feed) > 1);
        for feed in rooms.feeds.values() {
            feed.push([frame.clone()]).wake();
        }
    }

    /// Sends everybody who follows a room back to reading the log: what the rings held is of another history.
    pub fn restart(&self) {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        rooms.feeds.drain().for_each(|(_, feed)| feed.outdate());
    }

    /// Ends every feed, also those of whoever comes later: subscribers read what is there, then their streams end.
    pub fn close(&self) {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        rooms.closed = true;
        rooms.feeds.values().for_each(|feed| feed.close());
    }
}
