//! The newest messages of the rooms that were last spoken in, as everybody sees them.
//!
//! Promises: for a room that is here, all its messages newer than its floor are here, in order, with their present
//! status; at most `messages_max` a room and `rooms_max` rooms, the room longest silent going first.
//! Kept are the entries themselves, which others hold too; a message as people see it is made when somebody looks, so
//! that folding stays cheap.
//! Not here: older messages (index and log).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use antiphon_schemas::{
    Entry, Epoch, MessageId, RoomName, Seq,
    wire::{Message, Status},
};

use super::{record::Change, view};

/// The projection.
#[derive(Debug, Clone)]
pub struct Recent {
    epoch: Epoch,
    messages_max: usize,
    rooms_max: usize,
    rooms: HashMap<RoomName, Room>,
    /// By their last positions; kept from when there are as many as may be, because only then one must go.
    by_last: Option<BTreeMap<Seq, RoomName>>,
}

#[derive(Debug, Clone)]
struct Room {
    floor: Seq,
    last: Seq,
    messages: VecDeque<Shown>,
    /// How many messages were before the first one here.
    gone: u64,
    /// The how-manieth message each is, counted from the first that was ever here.
    places: HashMap<MessageId, u64>,
}

impl Room {
    /// Where a message is in `messages`.
    fn place(&self, id: &MessageId) -> Option<usize> {
        usize::try_from(self.places.get(id)? - self.gone).ok()
    }
}

/// A message, and where it stands.
#[derive(Debug, Clone)]
struct Shown {
    posted: Arc<Entry>,
    id: MessageId,
    status: Status,
    reason: Option<Arc<str>>,
    redacted: bool,
}

impl Shown {
    fn seq(&self) -> Seq {
        self.posted.header.seq
    }

    fn message(&self, epoch: Epoch) -> Option<Arc<Message>> {
        view::message_as(&self.posted, epoch, self.status, self.reason.clone(), self.redacted).map(Arc::new)
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
            rooms: HashMap::new(),
            by_last: None,
        }
    }

    /// Folds one entry in.
    pub fn apply(&mut self, entry: &Arc<Entry>) {
        let Some(room_name) = &entry.header.room else { return };
        if let Some(id) = view::posted_id(entry) {
            self.push(room_name, id, entry);
        }
        let Some(room) = self.rooms.get_mut(room_name) else { return };
        for (id, change) in Change::of(entry) {
            let Some(shown) = room.place(&id).and_then(|at| room.messages.get_mut(at)) else { continue };
            if let Some(status) = change.status {
                (shown.status, shown.reason) = (status, change.reason);
            }
            shown.redacted |= change.redacted;
            if change.erased {
                shown.posted = view::erased(&shown.posted);
            }
        }
    }

    /// The newest messages of a room after a position, at most `limit` (the newest of them), oldest first.
    pub fn window(&self, room: &RoomName, after: Seq, limit: usize) -> Window {
        let Some(room) = self.rooms.get(room) else { return Window::default() };
        let start = room.messages.partition_point(|m| m.seq() <= after);
        let start = start.max(room.messages.len().saturating_sub(limit));
        let messages = room.messages.range(start..).filter_map(|shown| shown.message(self.epoch));
        Window { messages: messages.collect(), floor: Some(room.floor) }
    }

    /// The rooms in memory.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        self.rooms.keys()
    }

    /// A message, if it is in memory.
    pub fn message(&self, room: &RoomName, id: &MessageId) -> Option<Arc<Message>> {
        let room = self.rooms.get(room)?;
        room.messages.get(room.place(id)?)?.message(self.epoch)
    }

    fn push(&mut self, name: &RoomName, id: MessageId, posted: &Arc<Entry>) {
        let seq = posted.header.seq;
        let room = self.rooms.entry(name.clone()).or_insert_with(|| Room {
            floor: Seq(seq.0 - 1),
            last: Seq::ZERO,
            messages: VecDeque::new(),
            gone: 0,
            places: HashMap::new(),
        });
        if let Some(by_last) = &mut self.by_last {
            by_last.remove(&room.last);
            by_last.insert(seq, name.clone());
        }
        room.last = seq;
        room.places.insert(id, room.gone + room.messages.len() as u64);
        let posted = posted.clone();
        room.messages.push_back(Shown { posted, id, status: Status::None, reason: None, redacted: false });
        if room.messages.len() > self.messages_max
            && let Some(oldest) = room.messages.pop_front()
        {
            room.gone += 1;
            room.places.remove(&oldest.id);
            room.floor = oldest.seq();
        }
        if self.rooms.len() > self.rooms_max {
            let by_last = self
                .by_last
                .get_or_insert_with(|| self.rooms.iter().map(|(name, room)| (room.last, name.clone())).collect());
            if let Some((_, silent)) = by_last.pop_first() {
                self.rooms.remove(&silent);
            }
        }
    }
}
