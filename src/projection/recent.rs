//! The newest messages of the rooms that were last spoken in, as everybody sees them.
//!
//! Promises: for a room that is here, all its messages newer than its floor are here, in order, with their present
//! status; at most `messages_max` a room and `rooms_max` rooms, the room longest silent going first.
//! Kept is what a message shows, not its entry, and no bytes of the log; a message as people see it is made when somebody
//! looks, so that folding stays cheap.
//! Not here: older messages (index and log).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use antiphon_schemas::{
    Entry, Epoch, MessageId, RoomName, Seq,
    wire::{Message, Status},
};

use super::{keyed::KeyedMap, looks::look, record::Change, view::Posted};

/// The projection.
#[derive(Debug, Clone)]
pub struct Recent {
    epoch: Epoch,
    messages_max: usize,
    rooms_max: usize,
    rooms: KeyedMap<RoomName, Room>,
    /// By their last positions; kept from when there are as many as may be, because only then one must go.
    by_last: Option<BTreeMap<Seq, RoomName>>,
}

#[derive(Debug, Clone)]
struct Room {
    floor: Seq,
    last: Seq,
    messages: VecDeque<Shown>,
    /// Theirs, in the same order. What is said of a message is nearly always said soon after it was posted: searching
    /// these backwards costs less than a map that takes every message in and out.
    ids: VecDeque<MessageId>,
}

impl Room {
    /// One of which this entry is the first that is here.
    fn before(seq: Seq) -> Room {
        Room { floor: Seq(seq.0 - 1), last: Seq::ZERO, messages: VecDeque::new(), ids: VecDeque::new() }
    }

    fn push(&mut self, posted: Posted, messages_max: usize) {
        self.last = posted.seq;
        if self.messages.len() == messages_max
            && let Some(oldest) = self.messages.pop_front()
        {
            self.ids.pop_front();
            self.floor = oldest.posted.seq;
        }
        self.ids.push_back(posted.id);
        self.messages.push_back(Shown { posted, status: Status::None, reason: None, redacted: false });
    }

    /// A message. Cost: how many came after it, all of them for one that is not here.
    fn find(&self, id: &MessageId) -> Option<usize> {
        self.ids.iter().rposition(|other| other == id)
    }
}

/// A message, and where it stands.
#[derive(Debug, Clone)]
struct Shown {
    posted: Posted,
    status: Status,
    reason: Option<Arc<str>>,
    redacted: bool,
}

impl Shown {
    fn message(&self, room: &RoomName, epoch: Epoch) -> Arc<Message> {
        Arc::new(self.posted.message(room, epoch, self.status, self.reason.clone(), self.redacted))
    }
}

/// Part of what is in memory of a room, as it is now: nothing is made of it yet, texts are shared.
#[derive(Debug, Clone)]
pub struct Part {
    epoch: Epoch,
    room: RoomName,
    shown: Vec<Shown>,
    floor: Option<Seq>,
}

impl Part {
    /// As people see it.
    pub fn window(self) -> Window {
        let messages = self.shown.iter().map(|shown| shown.message(&self.room, self.epoch));
        Window { messages: messages.collect(), floor: self.floor }
    }
}

/// What is in memory of a room.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Oldest first.
    pub messages: Vec<Arc<Message>>,
    /// Older messages, up to and including this position, are in the index only. `None`: the room is not in memory.
    pub floor: Option<Seq>,
}

impl Recent {
    /// Nothing yet.
    pub fn new(epoch: Epoch, messages_max: usize, rooms_max: usize) -> Recent {
        Recent {
            epoch,
            messages_max: messages_max.max(1),
            rooms_max: rooms_max.max(1),
            rooms: KeyedMap::default(),
            by_last: None,
        }
    }

    /// Folds one entry in.
    pub fn apply(&mut self, entry: &Entry) {
        let Some(name) = &entry.header.room else { return };
        let posted = Posted::of(entry);
        let room = match self.rooms.get_mut(name) {
            Some(room) => room,
            None if posted.is_none() => return,
            None => self.rooms.entry(name.clone()).or_insert(Room::before(entry.header.seq)),
        };
        if let Some(posted) = posted {
            if let Some(by_last) = &mut self.by_last {
                by_last.remove(&room.last);
                by_last.insert(posted.seq, name.clone());
            }
            room.push(posted, self.messages_max);
        }
        for (id, change) in Change::of(entry).filter(|(_, change)| *change != Change::default()) {
            let Some(shown) = room.find(&id).and_then(|at| room.messages.get_mut(at)) else { continue };
            if let Some(status) = change.status {
                (shown.status, shown.reason) = (status, change.reason);
            }
            shown.redacted |= change.redacted;
            if change.erased {
                shown.posted.erase();
            }
        }
        if self.rooms.len() > self.rooms_max {
            self.drop_most_silent();
        }
    }

    /// The newest messages of a room after a position, at most `limit` (the newest of them), oldest first. Cost: a copy of what
    /// is known of each, which is made while the core waits; they are made into messages afterwards.
    pub fn part(&self, name: &RoomName, after: Seq, limit: usize) -> Part {
        let (mut shown, mut floor) = (Vec::new(), None);
        if let Some(room) = self.rooms.get(name) {
            let start = room.messages.partition_point(|m| m.posted.seq <= after);
            let start = start.max(room.messages.len().saturating_sub(limit));
            shown.extend(room.messages.range(start..).cloned());
            floor = Some(room.floor);
        }
        look(shown.len());
        Part { epoch: self.epoch, room: name.clone(), shown, floor }
    }

    /// [`Recent::part`] as people see it.
    pub fn window(&self, name: &RoomName, after: Seq, limit: usize) -> Window {
        self.part(name, after, limit).window()
    }

    /// The rooms in memory.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        self.rooms.keys()
    }

    /// A message, if it is in memory.
    pub fn message(&self, name: &RoomName, id: &MessageId) -> Option<Arc<Message>> {
        let room = self.rooms.get(name)?;
        Some(room.messages.get(room.find(id)?)?.message(name, self.epoch))
    }

    fn drop_most_silent(&mut self) {
        let by_last = self
            .by_last
            .get_or_insert_with(|| self.rooms.iter().map(|(name, room)| (room.last, name.clone())).collect());
        if let Some((_, silent)) = by_last.pop_first() {
            self.rooms.remove(&silent);
        }
    }
}
