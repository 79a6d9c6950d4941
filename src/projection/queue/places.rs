//! The secondary indexes of the queue: open messages by lane, room, claim and retry time.
//!
//! Promise (checked): they follow from the open messages alone, in whatever order these were inserted.
//! Cost: paid by every entry of the log, so empty lanes and bots are kept for the next message; only empty rooms are dropped.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    hash::Hash,
};

use antiphon_schemas::{BotName, MessageId, RoomName, Seq, event::Ask};

use super::{Depth, Open, State};
use crate::projection::{keyed::KeyedMap, lane::Lane, looks::look};

/// A lane of a bot: sorts in the order in which lanes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey {
    rank: u8,
    second: bool,
}

impl LaneKey {
    fn of(ask: &Ask) -> LaneKey {
        LaneKey { rank: rank(ask.priority), second: ask.second }
    }
}

/// Where a priority stands in reading order; and the other way round.
fn rank(priority: u8) -> u8 {
    9 - priority.min(9)
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    bots: KeyedMap<BotName, Lanes>,
    rooms: KeyedMap<RoomName, Room>,
    /// The messages whose live claims have promised these ids to their replies.
    promised: KeyedMap<MessageId, MessageId>,
    /// By when they go back to their lanes.
    retrying: BTreeSet<(u64, MessageId)>,
}

/// One bot's.
#[derive(Debug, Clone, Default)]
struct Lanes {
    depth: Depth,
    lanes: BTreeMap<LaneKey, Lane>,
}

/// Those of one room that wait or are held.
#[derive(Debug, Clone, Default)]
struct Room {
    /// How many wait, by rank.
    ranks: [u32; 10],
    waiting: Lane,
    /// By their fences.
    held: Lane,
}

impl Places {
    /// Takes note of an open message that stands elsewhere now; `None`: it was not open before, or is not any more.
    pub(super) fn moved(&mut self, id: MessageId, open: &Open, before: Option<&State>, now: Option<&State>) {
        with(&mut self.bots, &open.ask.bot, |bot| {
            before.into_iter().for_each(|state| bot.leave(&open.ask, state));
            now.into_iter().for_each(|state| bot.enter(id, &open.ask, state));
        });
        let is_empty = with(&mut self.rooms, &open.room, |room| {
            now.into_iter().for_each(|state| room.enter(id, &open.ask, state));
            before.into_iter().for_each(|state| room.leave(&open.ask, state));
            room.waiting.is_empty() && room.held.is_empty()
        });
        if is_empty {
            self.rooms.remove(&open.room);
        }
        match before {
            Some(State::Claimed(claim)) => drop(self.promised.remove(&claim.reply_id)),
            Some(State::Retrying { at_ms }) => drop(self.retrying.remove(&(*at_ms, id))),
            Some(State::Waiting { .. }) | None => {}
        }
        match now {
            Some(State::Claimed(claim)) => drop(self.promised.insert(claim.reply_id, id)),
            Some(State::Retrying { at_ms }) => drop(self.retrying.insert((*at_ms, id))),
            Some(State::Waiting { .. }) | None => {}
        }
    }

    pub(super) fn promised(&self, reply_id: &MessageId) -> Option<MessageId> {
        self.promised.get(reply_id).copied()
    }

    pub(super) fn depth(&self, bot: &BotName) -> Depth {
        self.bots.get(bot).map(|lanes| lanes.depth).unwrap_or_default()
    }

    pub(super) fn waiting_in_room(&self, room: &RoomName, priority: u8) -> u32 {
        self.rooms.get(room).map_or(0, |room| room.ranks[usize::from(rank(priority))])
    }

    /// Priority, second or not, and who is on it, in reading order.
    pub(super) fn lanes<'a>(&'a self, bot: &BotName) -> impl Iterator<Item = (u8, bool, &'a Lane)> + use<'a> {
        let lanes = self.bots.get(bot).into_iter().flat_map(|lanes| &lanes.lanes);
        let taken = lanes.filter(|(_, lane)| !lane.is_empty());
        taken.inspect(|_| look(1)).map(|(key, lane)| (rank(key.rank), key.second, lane))
    }

    /// How many stand before a place on the lane that is asked for.
    pub(super) fn ahead(&self, ask: &Ask, since: Seq) -> usize {
        let Some(Lanes { lanes, .. }) = self.bots.get(&ask.bot) else { return 0 };
        let own = LaneKey::of(ask);
        let before: usize = lanes.range(..own).inspect(|_| look(1)).map(|(_, lane)| lane.len()).sum();
        before + lanes.get(&own).map_or(0, |lane| lane.rank(since))
    }

    /// How many stand before the last on the lane that is asked for.
    pub(super) fn ahead_of_last(&self, ask: &Ask) -> usize {
        let Some(Lanes { lanes, .. }) = self.bots.get(&ask.bot) else { return 0 };
        let upto: usize = lanes.range(..=LaneKey::of(ask)).inspect(|_| look(1)).map(|(_, lane)| lane.len()).sum();
        upto.saturating_sub(1)
    }

    /// Everybody on a lane: by lane, then by place.
    pub(super) fn waiting(&self) -> impl Iterator<Item = MessageId> + use<'_> {
        let lanes = self.bots.values().flat_map(|bot| &bot.lanes);
        let mut lanes: Vec<_> = lanes.map(|(key, lane)| (*key, lane.iter())).collect();
        let next = |lanes: &mut Vec<(LaneKey, _)>, at: usize| {
            let (key, lane): &mut (LaneKey, _) = &mut lanes[at];
            let (since, id) = Iterator::next(lane)?;
            Some(Reverse((*key, since, id, at)))
        };
        let mut heads: BinaryHeap<_> = (0..lanes.len()).filter_map(|at| next(&mut lanes, at)).collect();
        std::iter::from_fn(move || {
            let Reverse((_, _, id, at)) = heads.pop()?;
            heads.extend(next(&mut lanes, at));
            Some(id)
        })
    }

    pub(super) fn waiting_in<'a>(&'a self, room: &RoomName) -> impl Iterator<Item = MessageId> + use<'a> {
        self.rooms.get(room).into_iter().flat_map(|room| room.waiting.iter()).map(|(_, id)| id)
    }

    pub(super) fn claimed(&self) -> impl Iterator<Item = MessageId> + use<'_> {
        self.promised.values().inspect(|_| look(1)).copied()
    }

    pub(super) fn claimed_in<'a>(&'a self, room: &RoomName) -> impl Iterator<Item = MessageId> + use<'a> {
        self.rooms.get(room).into_iter().flat_map(|room| room.held.iter()).map(|(_, id)| id)
    }

    pub(super) fn retrying(&self) -> impl Iterator<Item = MessageId> + use<'_> {
        self.retrying.iter().inspect(|_| look(1)).map(|(_, id)| *id)
    }
}

impl Lanes {
    fn enter(&mut self, id: MessageId, ask: &Ask, state: &State) {
        match state {
            State::Waiting { since, .. } => {
                self.depth.waiting += 1;
                self.lanes.entry(LaneKey::of(ask)).or_default().insert(*since, id);
            }
            State::Retrying { .. } => self.depth.retrying += 1,
            State::Claimed(_) => self.depth.claimed += 1,
        }
    }

    fn leave(&mut self, ask: &Ask, state: &State) {
        match state {
            State::Waiting { since, .. } => {
                self.depth.waiting -= 1;
                self.lanes.entry(LaneKey::of(ask)).or_default().remove(*since);
            }
            State::Retrying { .. } => self.depth.retrying -= 1,
            State::Claimed(_) => self.depth.claimed -= 1,
        }
    }
}

impl Room {
    fn enter(&mut self, id: MessageId, ask: &Ask, state: &State) {
        match state {
            State::Waiting { since, .. } => {
                self.ranks[usize::from(rank(ask.priority))] += 1;
                self.waiting.insert(*since, id);
            }
            State::Claimed(claim) => self.held.insert(claim.fence, id),
            State::Retrying { .. } => {}
        }
    }

    fn leave(&mut self, ask: &Ask, state: &State) {
        match state {
            State::Waiting { since, .. } => {
                self.ranks[usize::from(rank(ask.priority))] -= 1;
                self.waiting.remove(*since);
            }
            State::Claimed(claim) => self.held.remove(claim.fence),
            State::Retrying { .. } => {}
        }
    }
}

/// Does something with the value of a name, made if need be; the name is cloned only then.
fn with<K: Clone + Eq + Hash, V: Default, T>(map: &mut KeyedMap<K, V>, name: &K, act: impl FnOnce(&mut V) -> T) -> T {
    if let Some(value) = map.get_mut(name) {
        return act(value);
    }
    act(map.entry(name.clone()).or_default())
}
