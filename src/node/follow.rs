//! Following a room: first connection, resume, and falling off the ring are one path.
//!
//! ```text
//! join: (slot in the ring, position p, texts in flight), in one step under the state's lock
//!   no cursor        → snapshot at p              ─┐
//!   cursor below p   → the log's entries up to p  ─┴▶ one reply.snapshot per text in flight ▶ the ring from slot
//! ```
//!
//! Promises: every durable event of the room after the cursor, once, in order; if it cannot resume, it sends `reset` before a
//! new snapshot; at most a page of entries is held at a time; while the state is locked, only the room's own data is read,
//! and nothing is encoded.
//! Not here: HTTP, heartbeats (a frame of the ring like others).

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use antiphon_schemas::{
    BotName, Cursor, Epoch, MessageId, RoomName, Seq,
    wire::{
        Message,
        feed::{ReplySnapshot, Restart, Snapshot},
    },
};
use bytes::{Bytes, BytesMut};

use super::{
    Error, Node, State, Text,
    queue_position::{Standing, standing},
};
use crate::{
    fanout::{Feed, FeedItem, Frame, frame},
    index::Page,
    projection::view,
};

/// Encoded bytes of one page of the log: what a subscriber that has stopped reading holds at most.
const PAGE_BYTES_MAX: usize = 64 * 1024;
/// Texts of one snapshot; of longer ones the oldest are left out, and can be read as history.
const SNAPSHOT_BYTES_MAX: usize = 1 << 20;

/// How far a node may lag behind another one on the same log and still catch up within [`AHEAD_WAIT`]: more than it reads from a
/// Redis in that time.
const AHEAD_MAX: u64 = 50_000;
/// How long a subscriber waits for a node that lags: a healthy one is milliseconds behind.
const AHEAD_WAIT: Duration = Duration::from_secs(1);

/// A subscriber's place in a room.
pub struct Follower {
    node: Node,
    room: RoomName,
    /// How many messages a fresh snapshot has.
    limit: usize,
    /// The epoch of what it was given.
    epoch: Epoch,
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
    epoch: Epoch,
    /// How the store is, if it is worth saying.
    trouble: Option<Frame>,
    position: Seq,
    in_flight: Vec<InFlight>,
}

/// A reply that is being written.
struct InFlight {
    message_id: MessageId,
    reply_id: MessageId,
    bot: BotName,
    next_index: u32,
    text: Text,
}

impl InFlight {
    fn snapshot(self) -> ReplySnapshot {
        let InFlight { message_id, reply_id, bot, next_index, text } = self;
        ReplySnapshot { message_id, reply_id, bot, next_index, text: text.as_str().into() }
    }
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
        let (joined, standing, recent) = {
            let state = node.state();
            state.check_built()?;
            let recent = state.projections.recent.part(&room, Seq::ZERO, limit);
            (node.join(&state, &room), standing(&state, node.policy(), &room), recent)
        };
        let window = recent.window();
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
        let epoch = joined.epoch;
        let cursor = Cursor::new(epoch, joined.position);
        let mut bytes = BytesMut::new();
        if let Some(reason) = reason {
            bytes.extend_from_slice(&frame::at(cursor, "reset", &Restart { reason: reason.into() }).bytes);
        }
        let position = view::position(epoch, joined.position);
        let in_flight = joined.in_flight.into_iter().map(InFlight::snapshot).collect();
        let snapshot = Snapshot { messages, in_flight, position };
        bytes.extend_from_slice(&frame::at(cursor, "snapshot", &snapshot).bytes);
        standing.frames().chain(joined.trouble).for_each(|frame| bytes.extend_from_slice(&frame.bytes));
        let place = Some((joined.feed, joined.slot));
        Ok((Follower { node, room, limit, epoch, seen: joined.position, place }, bytes.freeze()))
    }

    /// Starts to follow a room after a cursor, `None` for the beginning; begins with [`Follower::catch_up`]. `limit`
    /// limits the snapshot that it gets if it has to start over.
    pub fn resume(node: Node, room: RoomName, after: Option<Cursor>, limit: usize) -> Follower {
        let (epoch, seen) = after.map_or_else(|| (node.epoch(), Seq::ZERO), |cursor| (cursor.epoch, cursor.seq));
        Follower { node, room, limit, epoch, seen, place: None }
    }

    /// Why a cursor cannot be resumed, if it cannot. A cursor from another node may be a little ahead of
    /// this one: it is waited for, at most `AHEAD_WAIT`. One that is more than `AHEAD_MAX` ahead is refused at once, so
    /// that an invented cursor costs nothing.
    pub async fn obstacle(node: &Node, cursor: &Cursor) -> Option<&'static str> {
        let other = |node: &Node| cursor.epoch != node.epoch() || cursor.partition != 0;
        if other(node) {
            return Some("other-epoch");
        }
        let position = node.position();
        if cursor.seq <= position {
            return None;
        }
        // A log of one process cannot be ahead of it.
        let plausible = node.inner.log.shared().is_some() && cursor.seq.0 - position.0 <= AHEAD_MAX;
        let reached = async { tokio::time::timeout(AHEAD_WAIT, node.reached(cursor.seq)).await };
        let came = plausible && matches!(reached.await, Ok(Ok(())));
        match came {
            true if other(node) => Some("other-epoch"),
            true => None,
            false => Some("beyond-tail"),
        }
    }

    /// Reads the next page of the log; `true` once the ring continues from here. Sends a reset and a new snapshot if
    /// what was there before is now another history.
    ///
    /// # Errors
    /// [`Error::Log`], [`Error::Index`].
    pub async fn catch_up(&mut self) -> Result<(Bytes, bool), Error> {
        loop {
            let (joined, standing) = {
                let state = self.node.state();
                state.check_built()?;
                let joined = self.node.join(&state, &self.room);
                let at_ring = joined.position <= self.seen;
                (joined, at_ring.then(|| standing(&state, self.node.policy(), &self.room)))
            };
            let epoch = joined.epoch;
            if epoch != self.epoch {
                let (node, room) = (self.node.clone(), self.room.clone());
                let (fresh, bytes) = Follower::snapshot(node, room, self.limit, Some("other-epoch")).await?;
                *self = fresh;
                return Ok((bytes, true));
            }
            let mut bytes = BytesMut::new();
            if joined.position <= self.seen {
                for reply in joined.in_flight {
                    bytes.extend_from_slice(&frame::live("reply.snapshot", &reply.snapshot()).bytes);
                }
                let standing = standing.into_iter().flat_map(Standing::frames);
                standing.chain(joined.trouble).for_each(|frame| bytes.extend_from_slice(&frame.bytes));
                self.place = Some((joined.feed, joined.slot));
                return Ok((bytes.freeze(), true));
            }
            let (entries, mut end) = self.node.room_entries(&self.room, self.seen, joined.position).await?;
            let reader = self.node.inner.index().index.reader();
            for entry in entries {
                let (entry, hidden) = self.node.shown(&reader, entry)?;
                if let Some(frame) = frame::of_entry(&entry, epoch, hidden) {
                    bytes.extend_from_slice(&frame.bytes);
                }
                if bytes.len() >= PAGE_BYTES_MAX {
                    end = entry.header.seq;
                    break;
                }
            }
            if !self.node.covers(&reader) {
                // The index is behind what memory has let go of; it is caught up in a moment.
                self.node.index_reached(joined.position).await?;
                tokio::task::yield_now().await;
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
            FeedItem::Frames(bytes, seq) => {
                self.seen = seq.map_or(self.seen, |seq| seq.max(self.seen));
                Poll::Ready(Followed::Frames(bytes))
            }
            FeedItem::Lagged => {
                self.place = None;
                Poll::Ready(Followed::Behind)
            }
            FeedItem::Closed => Poll::Ready(Followed::Closed),
        }
    }
}

impl Node {
    /// A place in the room's ring, and what is in flight there, at the position of `state`.
    fn join(&self, state: &State, room: &RoomName) -> Joined {
        let feed = self.inner.view.feeds.follow(room);
        let slot = feed.end();
        let in_flight = state.projections.queue.claimed_in(room).filter_map(|message_id| {
            let writing = state.writing.get(&message_id)?;
            let (reply_id, bot, next_index) = (writing.reply_id, writing.bot.clone(), writing.next_index);
            Some(InFlight { message_id, reply_id, bot, next_index, text: writing.text.clone() })
        });
        let trouble = state.condition.trouble().map(|_| state.frame());
        let (epoch, position) = (state.epoch, state.projections.position);
        Joined { slot, feed, epoch, trouble, position, in_flight: in_flight.collect() }
    }
}
