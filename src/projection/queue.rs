//! The queue: every message that still wants an answer, and the lanes on which they wait.
//!
//! Promise: reading a part of it (a lane, a room, the claims) costs that part; a copy of all of it ([`Queue::all`]) costs one `Arc`.
//!
//! Lanes of a bot are read in this order: priority 9 first lane, 9 second, 8 first … 0 second; within a lane the
//! oldest first. On the memory and file backends this projection *is* the lanes.
//! A post that was erased does not say whom it asked; if it was claimed, its claims do (`claimed_unseen`), and it ended.
//! Not here: who may claim, when a lease is over (`decide`, `node`), the order of messages (`places`, `lane`).

mod places;
#[cfg(test)]
mod tests;

use std::{mem::replace, sync::Arc};

use antiphon_schemas::{
    BotName, Entry, Event, MessageId, RoomName, Seq,
    event::{Ask, MessageClaimed, release},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::places::Places;
use super::{lane::Lane, trie::Trie};

/// The priority of a message whose post was erased; nobody waits for it any more.
const PRIORITY_UNKNOWN: u8 = 5;

/// A message that wants an answer and has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Its room.
    pub room: RoomName,
    /// Who is asked, and how urgently.
    pub ask: Ask,
    /// When the answer was asked for: by the post, or by a person's retry. Its age counts from here.
    pub asked_at_ms: u64,
    /// Attempts begun since then; those that a restart or a goodbye cut short, or whose model was away, do not count.
    pub attempts: u32,
    /// Waiting, waiting for a retry, or claimed.
    pub state: State,
}

/// Where an open message stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// On its lane since this entry.
    Waiting {
        /// The entry that put it there: its place in the lane.
        since: Seq,
        /// That entry's time.
        since_ms: u64,
    },
    /// Not on a lane until then.
    Retrying {
        /// When it goes back to its lane.
        at_ms: u64,
    },
    /// A worker holds it.
    Claimed(Claim),
}

/// A worker's hold on a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The position of its `message.claimed`.
    pub fence: Seq,
    /// The entry that had put the message on its lane: its place there until the claim ends.
    #[serde(default)]
    pub since: Seq,
    /// The id of the reply that this attempt would make.
    pub reply_id: MessageId,
    /// Who.
    pub worker: Arc<str>,
    /// The process, for claims made in process.
    pub incarnation: Option<Uuid>,
    /// 1 for the first try.
    pub attempt: u32,
    /// How long it lives without a heartbeat.
    pub lease_ms: u64,
    /// When it was made.
    pub at_ms: u64,
}

/// Numbers of one bot's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// On a lane.
    pub waiting: usize,
    /// Waiting for a retry.
    pub retrying: usize,
    /// Held by a worker.
    pub claimed: usize,
}

/// The projection.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    open: Trie<MessageId, Open>,
    places: Places,
}

/// Every open message as of one position: later changes of the queue do not reach it.
#[derive(Debug, Clone)]
pub struct All(Trie<MessageId, Open>);

impl All {
    /// The messages, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&MessageId, &Open)> {
        self.0.iter()
    }
}

/// What is known of a message whose post was erased when it is claimed: enough until it ends, as it did before somebody
/// could erase it.
fn claimed_unseen(e: &MessageClaimed, room: RoomName, asked_at_ms: u64, state: State) -> Open {
    let ask = Ask { bot: e.bot.clone(), priority: PRIORITY_UNKNOWN, second: false };
    Open { room, ask, asked_at_ms, attempts: e.attempt, state }
}

impl PartialEq for Queue {
    /// Equal when the same messages are open in the same state; the rest follows from that.
    fn eq(&self, other: &Queue) -> bool {
        self.open == other.open
    }
}

impl Queue {
    /// The queue with these open messages, e.g. from a snapshot.
    pub fn with(open: impl IntoIterator<Item = (MessageId, Open)>) -> Queue {
        let mut queue = Queue::default();
        open.into_iter().for_each(|(id, open)| queue.put(id, open));
        queue
    }

    /// Folds one entry in.
    pub fn apply(&mut self, entry: &Entry) {
        let (seq, at_ms) = (entry.header.seq, entry.header.at_ms);
        let waiting = State::Waiting { since: seq, since_ms: at_ms };
        match (&entry.event, &entry.header.room) {
            (Event::MessagePosted(e), Some(room)) => {
                if let Some(ask) = e.ask.clone() {
                    self.put(e.id, Open { room: room.clone(), ask, asked_at_ms: at_ms, attempts: 0, state: waiting });
                }
            }
            (Event::MessageClaimed(e), room) => {
                let claim = |since| {
                    State::Claimed(Claim {
                        fence: seq,
                        since,
                        reply_id: e.reply_id,
                        worker: e.worker.clone(),
                        incarnation: e.incarnation,
                        attempt: e.attempt,
                        lease_ms: e.lease_ms,
                        at_ms,
                    })
                };
                match (self.open.get_mut(&e.message_id), room) {
                    (Some(open), _) => {
                        let since = if let State::Waiting { since, .. } = open.state { since } else { seq };
                        open.attempts = e.attempt;
                        let before = replace(&mut open.state, claim(since));
                        self.places.moved(e.message_id, open, Some(&before), Some(&open.state));
                    }
                    (None, Some(room)) => {
                        self.put(e.message_id, claimed_unseen(e, room.clone(), at_ms, claim(seq)));
                    }
                    (None, None) => {}
                }
            }
            (Event::MessageReleased(e), Some(room)) => {
                let before = self.take(&e.message_id);
                let uncounted = matches!(&*e.reason, release::RESTARTED | release::GOODBYE);
                let (asked_at_ms, attempts) = match before {
                    Some(open) if &*e.reason != release::RETRY_ASKED => {
                        (open.asked_at_ms, open.attempts.saturating_sub(u32::from(uncounted)))
                    }
                    _ => (at_ms, 0),
                };
                let ask = e.ask.clone();
                self.put(e.message_id, Open { room: room.clone(), ask, asked_at_ms, attempts, state: waiting });
            }
            (Event::MessageFailed(e), _) => {
                if let (Some(open), Some(at_ms)) = (self.take(&e.message_id), e.retry_at_ms) {
                    let attempts = open.attempts.saturating_sub(u32::from(e.away));
                    self.put(e.message_id, Open { state: State::Retrying { at_ms }, attempts, ..open });
                }
            }
            (Event::MessageDead(e), _) => drop(self.take(&e.message_id)),
            (Event::MessageCancelled(e), _) => drop(self.take(&e.message_id)),
            (Event::MessageCompleted(e), _) => drop(self.take(&e.message_id)),
            _ => {}
        }
    }

    /// An open message.
    pub fn get(&self, id: &MessageId) -> Option<&Open> {
        self.open.get(id)
    }

    /// The live claim on a message.
    pub fn claim(&self, id: &MessageId) -> Option<&Claim> {
        match &self.open.get(id)?.state {
            State::Claimed(claim) => Some(claim),
            _ => None,
        }
    }

    /// Whether a live claim has promised this id to its reply.
    pub fn is_promised(&self, id: &MessageId) -> bool {
        self.promised(id).is_some()
    }

    /// The message whose live claim has promised this id to its reply.
    pub fn promised(&self, reply_id: &MessageId) -> Option<MessageId> {
        self.places.promised(reply_id)
    }

    /// How many messages are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All open messages, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&MessageId, &Open)> {
        self.open.iter()
    }

    /// All open messages as they stand now. Cost: one `Arc`; while it lives, each change of the queue copies what it touches.
    pub fn all(&self) -> All {
        All(self.open.clone())
    }

    /// The messages that wait for `bot`, in the order in which they will be claimed.
    pub fn waiting<'a>(&'a self, bot: &BotName) -> impl Iterator<Item = MessageId> + use<'a> {
        self.places.lanes(bot).flat_map(|(.., lane)| lane.iter().map(|(_, id)| id))
    }

    /// The messages that wait for any bot: lane by lane, on a lane the oldest first. Cost: a look at each lane, and those taken.
    pub fn waiting_for_all(&self) -> impl Iterator<Item = MessageId> + use<'_> {
        self.places.waiting()
    }

    /// The messages that wait in `room` for any bot, the longest waiting first.
    pub fn waiting_in<'a>(&'a self, room: &RoomName) -> impl Iterator<Item = MessageId> + use<'a> {
        self.places.waiting_in(room)
    }

    /// The messages that workers hold, in no order: as many as workers answer at once.
    pub fn claimed(&self) -> impl Iterator<Item = MessageId> + use<'_> {
        self.places.claimed()
    }

    /// The messages of `room` that workers hold, in the order of their claims.
    pub fn claimed_in<'a>(&'a self, room: &RoomName) -> impl Iterator<Item = MessageId> + use<'a> {
        self.places.claimed_in(room)
    }

    /// The messages that wait for a retry, in the order in which they will be back on their lanes.
    pub fn retrying(&self) -> impl Iterator<Item = MessageId> + use<'_> {
        self.places.retrying()
    }

    /// The lanes of `bot` that are not empty, in reading order: priority, second, how many wait.
    pub fn lanes<'a>(&'a self, bot: &BotName) -> impl Iterator<Item = (u8, bool, usize)> + use<'a> {
        self.places.lanes(bot).map(|(priority, second, lane)| (priority, second, lane.len()))
    }

    /// Since when the oldest message that waits for `bot` is on its lane, in ms since 1970. The log's time never runs
    /// backwards, so it is the first of one of the lanes.
    pub fn oldest_ms(&self, bot: &BotName) -> Option<u64> {
        let firsts = self.places.lanes(bot).filter_map(|(.., lane): (_, _, &Lane)| self.open.get(&lane.first()?));
        firsts
            .filter_map(|open| if let State::Waiting { since_ms, .. } = open.state { Some(since_ms) } else { None })
            .min()
    }

    /// How many messages of a bot wait, wait for a retry, and are held.
    pub fn depth(&self, bot: &BotName) -> Depth {
        self.places.depth(bot)
    }

    /// How many messages of `room` wait at this priority for any bot.
    pub fn waiting_in_room(&self, room: &RoomName, priority: u8) -> u32 {
        self.places.waiting_in_room(room, priority)
    }

    /// How many waiting messages would be claimed before this one; `None` if it is not on a lane.
    ///
    /// Cost: its bot's lanes, and on its own lane one look at each 512 messages before it.
    pub fn ahead(&self, id: &MessageId) -> Option<usize> {
        let open = self.open.get(id)?;
        let State::Waiting { since, .. } = open.state else { return None };
        Some(self.places.ahead(&open.ask, since))
    }

    /// [`Queue::ahead`] of a message that was just put on its lane: it is the last there. Cost: its bot's lanes.
    pub fn ahead_of_new(&self, ask: &Ask) -> usize {
        self.places.ahead_of_last(ask)
    }

    fn put(&mut self, id: MessageId, open: Open) {
        self.places.moved(id, &open, None, Some(&open.state));
        self.open.insert(id, open);
    }

    fn take(&mut self, id: &MessageId) -> Option<Open> {
        let open = self.open.remove(id)?;
        self.places.moved(*id, &open, Some(&open.state), None);
        Some(open)
    }
}
