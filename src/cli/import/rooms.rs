//! Chooses the row to post next: one at a time per room, several rooms in parallel.
//!
//! Pure. Promises: the rows of a room come out in the order in which they went in, each only after the previous one is
//! done; at most `side_by_side` are out at once; waiting rows are counted in bytes, so that the reader can be paused.

use std::collections::{HashMap, VecDeque};

use antiphon_schemas::{RoomName, wire::PostMessage};

use crate::client::Failure;

/// Bytes that a waiting row costs besides its text.
const ROW_BYTES: usize = 256;

/// A message on its way.
#[derive(Debug)]
pub(super) struct Item {
    /// The line of the file.
    pub(super) line: u64,
    pub(super) room: RoomName,
    /// The row that it answers, whether or not the message says so.
    pub(super) reply_to: Option<u64>,
    pub(super) message: PostMessage,
}

impl Item {
    /// Whether the server may take it without the time at which it was said.
    pub(super) fn undatable(&self, failure: &Failure) -> bool {
        let code = failure.code();
        let future = code == Some("bad-said-at");
        self.message.said_at.is_some() && (future || code == Some("import-only") && self.message.author.kind.is_none())
    }

    fn bytes(&self) -> usize {
        ROW_BYTES + self.message.text.len()
    }
}

/// Rows that were read but not yet posted.
#[derive(Debug)]
pub(super) struct Rooms {
    side_by_side: usize,
    /// The rooms that have rows, or one out.
    rooms: HashMap<RoomName, VecDeque<Item>>,
    /// Rooms with rows and none out, in the order in which they came.
    ready: VecDeque<RoomName>,
    out: usize,
    bytes: usize,
}

impl Rooms {
    pub(super) fn new(side_by_side: usize) -> Rooms {
        Rooms { side_by_side, rooms: HashMap::new(), ready: VecDeque::new(), out: 0, bytes: 0 }
    }

    /// Takes a row in.
    pub(super) fn put(&mut self, item: Item) {
        self.bytes += item.bytes();
        match self.rooms.get_mut(&item.room) {
            Some(waiting) => waiting.push_back(item),
            None => {
                self.ready.push_back(item.room.clone());
                self.rooms.insert(item.room.clone(), [item].into());
            }
        }
    }

    /// A row to be posted now, if there is one.
    pub(super) fn take(&mut self) -> Option<Item> {
        if self.out >= self.side_by_side {
            return None;
        }
        let room = self.ready.pop_front()?;
        let item = self.rooms.get_mut(&room)?.pop_front()?;
        self.out += 1;
        self.bytes -= item.bytes();
        Some(item)
    }

    /// The room's current row is done.
    pub(super) fn done(&mut self, room: &RoomName) {
        self.out -= 1;
        match self.rooms.get(room).map(VecDeque::is_empty) {
            // In front, so that started rooms are finished first and their connections stay warm.
            Some(false) => self.ready.push_front(room.clone()),
            _ => drop(self.rooms.remove(room)),
        }
    }

    /// Bytes of the rows held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing held and nothing out.
    pub(super) fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use antiphon_schemas::wire::PostAuthor;

    use super::*;

    fn item(room: &str, line: u64) -> Item {
        let author = PostAuthor { name: "n".into(), color: None, kind: None };
        let message = PostMessage {
            text: "text".into(),
            author,
            id: None,
            to: None,
            priority: None,
            reply_to: None,
            said_at: None,
        };
        Item { line, room: RoomName::new(room).unwrap(), reply_to: None, message }
    }

    fn taken(rooms: &mut Rooms) -> Vec<u64> {
        std::iter::from_fn(|| rooms.take().map(|i| i.line)).collect()
    }

    #[test]
    fn a_room_has_one_row_out_and_no_more_rooms_than_allowed_are_begun() {
        let mut rooms = Rooms::new(2);
        for (room, line) in [("a", 1), ("a", 2), ("b", 3), ("c", 4), ("a", 5)] {
            rooms.put(item(room, line));
        }
        assert_eq!(rooms.bytes(), 5 * (ROW_BYTES + 4));
        let name = |room: &str| RoomName::new(room).unwrap();
        assert_eq!(taken(&mut rooms), [1, 3]);
        rooms.done(&name("a"));
        assert_eq!(taken(&mut rooms), [2], "a room that is begun goes on before another begins");
        rooms.done(&name("b"));
        assert_eq!(taken(&mut rooms), [4]);
        rooms.put(item("b", 6));
        rooms.done(&name("a"));
        assert_eq!(taken(&mut rooms), [5]);
        rooms.done(&name("a"));
        rooms.done(&name("c"));
        assert_eq!(taken(&mut rooms), [6]);
        assert!(!rooms.is_empty());
        rooms.done(&name("b"));
        assert!(rooms.is_empty() && rooms.bytes() == 0);
    }
}
