//! One row of the file: how it is parsed, and which id its message gets.
//!
//! Pure. Promise: the same row always gives the same id, on every machine, so a second import adds nothing.
//!
//! ```text
//! id: UUID version 7 │ 48 bits: `at` in ms since 1970 │ 74 bits: SHA-256(room ‖ 0 ‖ seq in decimal), from its start,
//!     where version and variant leave room
//! ```

use std::collections::HashMap;

use antiphon_schemas::{MessageId, RoomName, time::parse_rfc3339, wire::AuthorKind};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Builder;

/// Milliseconds that fit into a UUID version 7: until the year 10889.
const AT_MS_MAX: u64 = (1 << 48) - 1;

/// What somebody said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) room: RoomName,
    /// Its number within the room.
    pub(super) seq: u64,
    pub(super) at_ms: u64,
    pub(super) author: String,
    pub(super) kind: AuthorKind,
    pub(super) text: String,
    /// The `seq` of the message that it answers.
    pub(super) reply_to: Option<u64>,
}

/// As written. Other fields are ignored: the file may hold more than a post needs.
#[derive(Deserialize)]
#[serde(expecting = "a JSON object")]
struct Written {
    room: RoomName,
    seq: u64,
    at: String,
    author: String,
    #[serde(default)]
    kind: AuthorKind,
    text: String,
    #[serde(default)]
    reply_to: Option<u64>,
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn parse(line: &[u8]) -> Result<Row, String> {
    let row: Written = serde_json::from_slice(line).map_err(|error| wrong(&error))?;
    let at_ms = parse_rfc3339(&row.at).filter(|at| *at <= AT_MS_MAX);
    let at_ms = at_ms.ok_or_else(|| format!("`at` is not an RFC 3339 time since 1970: `{}`", row.at))?;
    let Written { room, seq, author, kind, text, reply_to, .. } = row;
    Ok(Row { room, seq, at_ms, author, kind, text, reply_to })
}

/// Why a line is no row: not JSON, or not the fields that a row needs. The line's number is known to the caller.
fn wrong(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let why = said.split(" at line ").next().unwrap_or(&said);
    if error.is_data() {
        return format!("not a row: {why}");
    }
    format!("not a JSON object ({why} at column {})", error.column())
}

/// The id of the message with this number in this room, said at this time.
pub(super) fn message_id(room: &RoomName, seq: u64, at_ms: u64) -> MessageId {
    let hash = Sha256::new().chain_update(room.as_str()).chain_update([0]).chain_update(seq.to_string()).finalize();
    let random = hash[..10].try_into().expect("a SHA-256 has 32 bytes");
    MessageId(Builder::from_unix_timestamp_millis(at_ms, &random).into_uuid())
}

/// When each row was said: what it takes to name the message that a later row answers. 16 bytes a row.
#[derive(Debug, Default)]
pub(super) struct Times(HashMap<RoomName, Vec<(u64, u64)>>);

impl Times {
    /// Remembers a row. Cheap while numbers rise, as they should.
    pub(super) fn note(&mut self, room: &RoomName, seq: u64, at_ms: u64) {
        let times = match self.0.get_mut(room) {
            Some(times) => times,
            None => self.0.entry(room.clone()).or_default(),
        };
        if let Err(place) = times.binary_search_by_key(&seq, |(seq, _)| *seq) {
            times.insert(place, (seq, at_ms));
        }
    }

    /// The id of an earlier row's message.
    pub(super) fn id(&self, room: &RoomName, seq: u64) -> Option<MessageId> {
        let times = self.0.get(room)?;
        let place = times.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        Some(message_id(room, seq, times[place].1))
    }
}

#[cfg(test)]
mod tests {
    use uuid::{Uuid, Variant, Version};

    use super::*;

    const LINE: &str = r#"{"room": "2004-12-25.train-c", "seq": 3, "at": "2004-12-25T09:15:00Z", "author": "will",
        "kind": "bot", "text": "hi ☃", "reply_to": 1, "more": []}"#;

    #[test]
    fn a_row_is_read_with_all_its_fields() {
        let room = RoomName::new("2004-12-25.train-c").unwrap();
        let (author, text) = ("will".into(), "hi ☃".into());
        let row =
            Row { room, seq: 3, at_ms: 1_103_966_100_000, author, kind: AuthorKind::Bot, text, reply_to: Some(1) };
        assert_eq!(parse(LINE.as_bytes()), Ok(row));
        let human = parse(LINE.replace("bot", "human").replace(": 1,", ": null,").as_bytes()).unwrap();
        assert_eq!((human.kind, human.reply_to), (AuthorKind::Human, None));
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said() {
        for (from, to, word) in [
            ("2004-12-25.train-c", "a b", "room name"),
            ("2004-12-25T09:15:00Z", "1969-01-01T00:00:00Z", "`at`"),
            ("2004-12-25T09:15:00Z", "yesterday", "yesterday"),
            ("\"bot\"", "\"dog\"", "dog"),
            ("\"seq\": 3", "\"seq\": -3", "-3"),
            ("\"author\"", "\"writer\"", "author"),
            ("{", "", "not a row: invalid type: string \"room\", expected a JSON object"),
            ("}", "", "not a JSON object (EOF while parsing an object at column"),
            (LINE, "Hello there", "not a JSON object (expected value at column 1)"),
        ] {
            let why = parse(LINE.replace(from, to).as_bytes()).expect_err(to);
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn the_id_is_a_version_7_uuid_of_time_room_and_number_and_never_changes() {
        let room = RoomName::new("2004-12-25.train-c").unwrap();
        let id = message_id(&room, 3, 1_103_966_100_000);
        // Frozen: other bytes here would make every old import double.
        assert_eq!(id.to_string(), "01010981-da20-7d63-9b56-efae783d9be7");
        assert_eq!((id.0.get_version(), id.0.get_variant()), (Some(Version::SortRand), Variant::RFC4122));
        assert_eq!(id.0.get_timestamp().map(|t| t.to_unix()), Some((1_103_966_100, 0)));
        let hash = Sha256::digest(b"2004-12-25.train-c\x003");
        assert_eq!(id.0.as_bytes()[6] & 0x0f, hash[0] & 0x0f);
        assert_eq!(id.0.as_bytes()[9..], hash[3..10]);
        let others =
            [message_id(&room, 4, 1_103_966_100_000), message_id(&RoomName::new("r").unwrap(), 3, 1_103_966_100_000)];
        assert!(others.iter().all(|other| *other != id) && id.0 != Uuid::nil());
    }

    #[test]
    fn a_number_finds_its_message_within_the_room_only() {
        let (a, b) = (RoomName::new("a").unwrap(), RoomName::new("b").unwrap());
        let mut times = Times::default();
        [(7, 70), (9, 90), (8, 80), (9, 99)].iter().for_each(|(seq, at)| times.note(&a, *seq, *at));
        for (seq, at) in [(7, 70), (8, 80), (9, 90)] {
            assert_eq!(times.id(&a, seq), Some(message_id(&a, seq, at)));
        }
        assert_eq!((times.id(&a, 6), times.id(&b, 7)), (None, None));
    }
}
