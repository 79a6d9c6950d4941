//! Following a room: first connection, resume, and falling off the ring are one path.
//!
//! ```text
//! join: (slot in the ring, position p, texts in flight), in one step under the state's lock
//!   no cursor        → snapshot at p              ─┐
//!   cursor below p   → the log's entries up to p  ─┴▶ one reply.snapshot per text in flight ▶ the ring from slot
//! ```
//!
//! Promises: every durable event of the room after the cursor, once, in order; what cannot be resumed is said
//! (`reset`) before a fresh snapshot; at most a page of entries is held at a time.
//! Not here: HTTP, heartbeats (a frame of the ring like others).

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use antiphon_schemas::{
    Cursor, RoomName, Seq,
    wire::{
        Message,
        feed::{ReplySnapshot, Restart, Snapshot},
    },
};
use bytes::{Bytes, BytesMut};

use super::{Error, Node};
use crate::{
    fanout::{Feed, Taken, frame},
    index::Page,
    projection::view,
};

/// Encoded bytes of one page of the log: what a subscriber that has stopped reading holds at most.
const PAGE_BYTES_MAX: usize = 64 * 1024;
/// Texts of one snapshot; of longer ones the oldest are left out, and can be read as history.
const SNAPSHOT_BYTES_MAX: usize = 1 << 20;

/// A subscriber's place in a room.
pub struct Follower {
    node: Node,
    room: RoomName,
    /// The last durable position that it was given.
    seen: Seq,
    /// Its place in the ring; `None` while it reads the log.
    place: Option<(Arc<Feed>, u64)>,
}

/// What the ring has for a follower.
#[derive(Debug)]
pub enum Followed {
    /// Encoded events.
    Frames(Bytes),
    /// It is too far behind the ring: call [`Follower::catch_up`].
    Behind,
    /// The feed has ended.
    Closed,
}

struct Joined {
    feed: Arc<Feed>,
    slot: u64,
    position: Seq,
    in_flight: Vec<ReplySnapshot>,
}

impl Follower {
    /// Starts to follow a room with a snapshot of its newest messages, after a `reset` if `reason` is given.
    ///
    /// # Errors
    /// As [`Node::messages`].
    pub async fn snapshot(
        node: Node,
        room: RoomName,
        limit: usize,
        reason: Option<&str>,
    ) -> Result<(Follower, Bytes), Error> {
        let (joined, window) = {
            let state = node.state();
            (node.join(&state, &room), state.projections.recent.window(&room, Seq::ZERO, limit))
        };
        let floor = window.floor.unwrap_or(joined.position);
        let mut messages: Vec<Arc<Message>> = window.messages;
        if messages.len() < limit && floor > Seq::ZERO {
            let page = Page {
                after: None,
                before: Some(floor.next()),
                limit: limit - messages.len(),
                newest: true,
                kind: None,
            };
            let mut older = node.indexed_messages(&room, page, floor).await?;
            older.append(&mut messages);
            messages = older;
        }
        let mut bytes = 0;
        let fits = messages.iter().rev().take_while(|m| {
            bytes += m.text.len();
            bytes <= SNAPSHOT_BYTES_MAX
        });
        let fits = fits.count();
        messages.drain(..messages.len() - fits);
        let cursor = node.info().cursor(joined.position);
        let mut bytes = BytesMut::new();
        if let Some(reason) = reason {
            bytes.extend_from_slice(&frame::at(cursor, "reset", &Restart { reason: reason.into() }).bytes);
        }
        let position = view::position(node.info().epoch, joined.position);
        let snapshot = Snapshot { messages, in_flight: joined.in_flight, position };
        bytes.extend_from_slice(&frame::at(cursor, "snapshot", &snapshot).bytes);
        let place = Some((joined.feed, joined.slot));
        Ok((Follower { node, room, seen: joined.position, place }, bytes.freeze()))
    }

    /// Starts to follow a room after a position of this epoch; begins with [`Follower::catch_up`].
    pub fn resume(node: Node, room: RoomName, after: Seq) -> Follower {
        Follower { node, room, seen: after, place: None }
    }

    /// Why a cursor cannot be resumed, if it cannot.
    pub fn obstacle(node: &Node, cursor: &Cursor) -> Option<&'static str> {
        if cursor.epoch != node.info().epoch || cursor.partition != node.info().partition {
            Some("other-epoch")
        } else if cursor.seq > node.state().projections.position {
            Some("beyond-tail")
        } else {
            None
        }
    }

    /// Reads the next page of the log; `true` once the ring goes on from here.
    ///
    /// # Errors
    /// [`Error::Log`], [`Error::Index`].
    pub async fn catch_up(&mut self) -> Result<(Bytes, bool), Error> {
        let epoch = self.node.info().epoch;
        loop {
            let joined = {
                let state = self.node.state();
                self.node.join(&state, &self.room)
            };
            let mut bytes = BytesMut::new();
            if joined.position <= self.seen {
                for reply in &joined.in_flight {
                    bytes.extend_from_slice(&frame::live("reply.snapshot", reply).bytes);
                }
                self.place = Some((joined.feed, joined.slot));
                return Ok((bytes.freeze(), true));
            }
            let (entries, mut end) = self.node.room_entries(&self.room, self.seen, joined.position).await?;
            let reader = self.node.inner.index.reader();
            for entry in entries {
                let hidden = self.node.is_hidden(&reader, &entry)?;
                if let Some(frame) = frame::of_entry(&entry, epoch, hidden) {
                    bytes.extend_from_slice(&frame.bytes);
                }
                if bytes.len() >= PAGE_BYTES_MAX {
                    end = entry.header.seq;
                    break;
                }
            }
            if !self.node.covers(&reader) {
                continue;
            }
            self.seen = end;
            if !bytes.is_empty() {
                return Ok((bytes.freeze(), false));
            }
        }
    }

    /// Takes what the ring has, or registers to be woken.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Followed> {
        let Some((feed, slot)) = &mut self.place else { return Poll::Ready(Followed::Behind) };
        match ready!(feed.poll_take(slot, cx)) {
            Taken::Frames(bytes, seq) => {
                self.seen = seq.map_or(self.seen, |seq| seq.max(self.seen));
                Poll::Ready(Followed::Frames(bytes))
            }
            Taken::Lagged => {
                self.place = None;
                Poll::Ready(Followed::Behind)
            }
            Taken::Closed => Poll::Ready(Followed::Closed),
        }
    }
}

impl Node {
    /// A place in the room's ring, and what is in flight there, at the position of `state`.
    fn join(&self, state: &super::State, room: &RoomName) -> Joined {
        let feed = self.inner.feeds.follow(room);
        let slot = feed.end();
        let in_flight = state.writing.iter().filter(|(_, w)| w.room == *room);
        let in_flight = in_flight.map(|(message_id, w)| ReplySnapshot {
            message_id: *message_id,
            reply_id: w.reply_id,
            bot: w.bot.clone(),
            next_index: w.next_index,
            text: w.text.clone(),
        });
        Joined { slot, feed, position: state.projections.position, in_flight: in_flight.collect() }
    }
}
