//! The newest messages of the rooms that were last spoken in, as everybody sees them.
//!
//! Promises: for a room that is here, all its messages newer than its floor are here, in order, with their present
//! status; at most `messages_max` a room and `rooms_max` rooms, the room longest silent going first.
//! Not here: older messages (index and log).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use antiphon_schemas::{Entry, Epoch, MessageId, RoomName, Seq, wire::Message};

use super::{record::Change, view};

/// The projection.
#[derive(Debug, Clone)]
pub struct Recent {
    epoch: Epoch,
    messages_max: usize,
    rooms_max: usize,
    rooms: HashMap<RoomName, Room>,
    by_last: BTreeMap<Seq, RoomName>,
}

#[derive(Debug, Clone)]
struct Room {
    floor: Seq,
    last: Seq,
    messages: VecDeque<Arc<Message>>,
    places: HashMap<MessageId, Seq>,
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
            by_last: BTreeMap::new(),
        }
    }

    /// Folds one entry in.
    pub fn apply(&mut self, entry: &Entry) {
        let Some(room_name) = &entry.header.room else { return };
        if let Some(message) = view::message(entry, self.epoch) {
            self.push(room_name, entry.header.seq, message);
        }
        let Some(room) = self.rooms.get_mut(room_name) else { return };
        for (id, change) in Change::of(entry) {
            let Some(seq) = room.places.get(&id) else { continue };
            let place = room.messages.binary_search_by_key(seq, |m| m.position.0.seq);
            let Some(message) = place.ok().and_then(|i| room.messages.get_mut(i)) else { continue };
            if let Some(changed) = view::changed(message, &change) {
                *message = Arc::new(changed);
            }
        }
    }

    /// The newest messages of a room after a position, at most `limit` (the newest of them), oldest first.
    pub fn window(&self, room: &RoomName, after: Seq, limit: usize) -> Window {
        let Some(room) = self.rooms.get(room) else { return Window::default() };
        let start = room.messages.partition_point(|m| m.position.0.seq <= after);
        let start = start.max(room.messages.len().saturating_sub(limit));
        Window { messages: room.messages.range(start..).cloned().collect(), floor: Some(room.floor) }
    }

    /// A message, if it is in memory.
    pub fn message(&self, room: &RoomName, id: &MessageId) -> Option<&Arc<Message>> {
        let room = self.rooms.get(room)?;
        let seq = room.places.get(id)?;
        room.messages.get(room.messages.binary_search_by_key(seq, |m| m.position.0.seq).ok()?)
    }

    fn push(&mut self, name: &RoomName, seq: Seq, message: Message) {
        let room = self.rooms.entry(name.clone()).or_insert_with(|| Room {
            floor: Seq(seq.0 - 1),
            last: Seq::ZERO,
            messages: VecDeque::new(),
            places: HashMap::new(),
        });
        self.by_last.remove(&room.last);
        self.by_last.insert(seq, name.clone());
        room.last = seq;
        room.places.insert(message.id, seq);
        room.messages.push_back(Arc::new(message));
        if room.messages.len() > self.messages_max
            && let Some(oldest) = room.messages.pop_front()
        {
            room.places.remove(&oldest.id);
            room.floor = oldest.position.0.seq;
        }
        if self.rooms.len() > self.rooms_max
            && let Some((_, silent)) = self.by_last.pop_first()
        {
            self.rooms.remove(&silent);
        }
    }
}
