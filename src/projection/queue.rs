//! The queue: every message that still wants an answer, and the lanes on which they wait.
//!
//! Lanes of a bot are read in this order: priority 9 first lane, 9 second, 8 first … 0 second; within a lane the
//! oldest first. On the memory and file backends this projection *is* the lanes.
//! A post that was erased does not say whom it asked; if it was claimed, its claims do (`claimed_unseen`), and it ended.
//! Not here: who may claim, when a lease is over (`decide`, `node`).

use std::{collections::BTreeMap, hash::Hash, sync::Arc};

use antiphon_schemas::{
    BotName, Entry, Event, MessageId, RoomName, Seq,
    event::{Ask, MessageClaimed, release},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keyed::KeyedMap;

/// The priority of a message whose post was erased; nobody waits for it any more.
const PRIORITY_UNKNOWN: u8 = 5;

/// A message that wants an answer and has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Its room.
    pub room: RoomName,
    /// Who shall answer, and how urgently.
    pub ask: Ask,
    /// When the answer was asked for: by the post, or by a person's retry. Its age counts from here.
    pub asked_at_ms: u64,
    /// Attempts begun since then; those that a restart or a goodbye cut short do not count.
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

/// A lane of a bot: sorts in the order in which lanes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    /// 9 - priority.
    rank: u8,
    second: bool,
}

impl LaneKey {
    fn of(ask: &Ask) -> LaneKey {
        LaneKey { rank: rank(ask.priority), second: ask.second }
    }
}

/// Where a priority stands in reading order.
fn rank(priority: u8) -> u8 {
    9 - priority.min(9)
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
    open: KeyedMap<MessageId, Open>,
    places: Places,
}

/// What follows from the open messages, kept for who looks for them otherwise than by id.
#[derive(Debug, Clone, Default)]
struct Places {
    bots: KeyedMap<BotName, Lanes>,
    /// How many wait, by rank.
    in_room: KeyedMap<RoomName, [u32; 10]>,
    /// The messages whose live claims have promised these ids to their replies.
    promised: KeyedMap<MessageId, MessageId>,
}

/// One bot's.
#[derive(Debug, Clone, Default)]
struct Lanes {
    depth: Depth,
    lanes: BTreeMap<LaneKey, BTreeMap<Seq, MessageId>>,
}

/// What is known of a message whose post was erased when it is claimed: enough until it ends, as it did before somebody
/// could erase it.
fn claimed_unseen(e: &MessageClaimed, room: RoomName, at_ms: u64, seq: Seq) -> Open {
    let ask = Ask { bot: e.bot.clone(), priority: PRIORITY_UNKNOWN, second: false };
    Open { room, ask, asked_at_ms: at_ms, attempts: 0, state: State::Waiting { since: seq, since_ms: at_ms } }
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
                let open = match (self.open.get_mut(&e.message_id), room) {
                    (Some(open), _) => {
                        self.places.remove(open);
                        open
                    }
                    (None, Some(room)) => {
                        let unseen = claimed_unseen(e, room.clone(), at_ms, seq);
                        self.open.entry(e.message_id).or_insert(unseen)
                    }
                    (None, None) => return,
                };
                let since = match &open.state {
                    State::Waiting { since, .. } => *since,
                    _ => seq,
                };
                open.attempts = e.attempt;
                open.state = State::Claimed(Claim {
                    fence: seq,
                    since,
                    reply_id: e.reply_id,
                    worker: e.worker.clone(),
                    incarnation: e.incarnation,
                    attempt: e.attempt,
                    lease_ms: e.lease_ms,
                    at_ms,
                });
                self.places.add(e.message_id, open);
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
                    self.put(e.message_id, Open { state: State::Retrying { at_ms }, ..open });
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
        self.places.promised.contains_key(id)
    }

    /// The message whose live claim has promised this id to its reply.
    pub fn promised(&self, reply_id: &MessageId) -> Option<MessageId> {
        self.places.promised.get(reply_id).copied()
    }

    /// All open messages, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&MessageId, &Open)> {
        self.open.iter()
    }

    /// The messages that wait for `bot`, in the order in which they will be claimed.
    pub fn waiting<'a>(&'a self, bot: &BotName) -> impl Iterator<Item = MessageId> + use<'a> {
        self.lanes_of(bot).flat_map(|(_, lane)| lane.values().copied())
    }

    /// The lanes of `bot` that are not empty, in reading order: priority, second, how many wait.
    pub fn lanes<'a>(&'a self, bot: &BotName) -> impl Iterator<Item = (u8, bool, usize)> + use<'a> {
        self.lanes_of(bot).map(|(key, lane)| (9 - key.rank, key.second, lane.len()))
    }

    /// How many messages of a bot wait, wait for a retry, and are held.
    pub fn depth(&self, bot: &BotName) -> Depth {
        self.places.bots.get(bot).map(|lanes| lanes.depth).unwrap_or_default()
    }

    /// How many messages of `room` wait at this priority, whoever shall answer.
    pub fn waiting_in_room(&self, room: &RoomName, priority: u8) -> u32 {
        self.places.in_room.get(room).map_or(0, |waiting| waiting[usize::from(rank(priority))])
    }

    /// How many waiting messages would be claimed before this one; `None` if it is not on a lane.
    ///
    /// Cost: the length of its own lane.
    pub fn ahead(&self, id: &MessageId) -> Option<usize> {
        let open = self.open.get(id)?;
        let State::Waiting { since, .. } = open.state else { return None };
        let lanes = &self.places.bots.get(&open.ask.bot)?.lanes;
        let own = LaneKey::of(&open.ask);
        let before: usize = lanes.range(..own).map(|(_, lane)| lane.len()).sum();
        Some(before + lanes.get(&own).map_or(0, |lane| lane.range(..since).count()))
    }

    fn lanes_of<'a>(
        &'a self,
        bot: &BotName,
    ) -> impl Iterator<Item = (&'a LaneKey, &'a BTreeMap<Seq, MessageId>)> + use<'a> {
        self.places.bots.get(bot).into_iter().flat_map(|lanes| &lanes.lanes)
    }

    fn put(&mut self, id: MessageId, open: Open) {
        self.places.add(id, &open);
        self.open.insert(id, open);
    }

    fn take(&mut self, id: &MessageId) -> Option<Open> {
        let open = self.open.remove(id)?;
        self.places.remove(&open);
        Some(open)
    }
}

impl Places {
    fn add(&mut self, id: MessageId, open: &Open) {
        let bot = met(&mut self.bots, &open.ask.bot);
        match &open.state {
            State::Waiting { since, .. } => {
                bot.depth.waiting += 1;
                bot.lanes.entry(LaneKey::of(&open.ask)).or_default().insert(*since, id);
                met(&mut self.in_room, &open.room)[usize::from(rank(open.ask.priority))] += 1;
            }
            State::Retrying { .. } => bot.depth.retrying += 1,
            State::Claimed(claim) => {
                bot.depth.claimed += 1;
                self.promised.insert(claim.reply_id, id);
            }
        }
    }

    fn remove(&mut self, open: &Open) {
        let bot = met(&mut self.bots, &open.ask.bot);
        match &open.state {
            State::Waiting { since, .. } => {
                bot.depth.waiting -= 1;
                let key = LaneKey::of(&open.ask);
                if let Some(lane) = bot.lanes.get_mut(&key) {
                    lane.remove(since);
                    if lane.is_empty() {
                        bot.lanes.remove(&key);
                    }
                }
                let waiting = met(&mut self.in_room, &open.room);
                waiting[usize::from(rank(open.ask.priority))] -= 1;
                if *waiting == [0; 10] {
                    self.in_room.remove(&open.room);
                }
            }
            State::Retrying { .. } => bot.depth.retrying -= 1,
            State::Claimed(claim) => {
                bot.depth.claimed -= 1;
                self.promised.remove(&claim.reply_id);
            }
        }
        if bot.depth == Depth::default() {
            self.bots.remove(&open.ask.bot);
        }
    }
}

/// The value of a name, made if need be; the name is cloned only then.
fn met<'a, K: Clone + Eq + Hash, V: Default>(map: &'a mut KeyedMap<K, V>, name: &K) -> &'a mut V {
    if !map.contains_key(name) {
        map.insert(name.clone(), V::default());
    }
    map.get_mut(name).expect("it was just there")
}
