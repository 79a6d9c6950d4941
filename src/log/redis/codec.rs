//! An entry as fields of a Redis stream, readable in `redis-cli`; and the parts of Redis' answers.
//!
//! ```text
//! id <seq>-0   k kind │ s subjects, hyphenated, joined by spaces │ r room, or nothing │ t at_ms │ v version │
//!              q request id │ d body (salt and MessagePack)
//! ```
//!
//! Promises: an entry is read back as it was written; fields of another name are passed over, so that later versions can
//! add some; everything that cannot have been written is refused by name.

use std::fmt::Write;

use ::redis::Value;
use antiphon_schemas::{Entry, Header, MessageId, RequestId, RoomName, Seq, Stored, entry::SALT_BYTES};
use bytes::{Bytes, BytesMut};

use super::resp::{self, Token};
use crate::log::Error;

/// Most headers are shorter.
const HEADER_BYTES: usize = 128;
/// The shortest entry of a page: an id of three bytes, seven fields, a request id, a salt. What is shorter is none.
const ENTRY_BYTES_MIN: usize = 160;

/// Message ids as one field.
pub(super) fn subjects_text(subjects: &[MessageId]) -> String {
    let mut text = String::with_capacity(subjects.len() * 37);
    for (n, subject) in subjects.iter().enumerate() {
        let gap = if n == 0 { "" } else { " " };
        write!(text, "{gap}{subject}").expect("a string takes everything");
    }
    text
}

/// A room as a field: no room is named by nothing.
pub(super) fn room_text(room: Option<&RoomName>) -> &str {
    room.map_or("", |room| room.as_str())
}

/// The id of the entry at a position.
pub(super) fn id_of(seq: Seq) -> String {
    format!("{seq}-0")
}

/// The position of an id.
pub(super) fn seq_of(id: &[u8]) -> Option<Seq> {
    let digits = std::str::from_utf8(id).ok()?.strip_suffix("-0")?;
    digits.parse().ok().map(Seq).filter(|seq| *seq <= Seq::MAX)
}

/// The values of an array.
pub(super) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) | Value::Set(values) => Some(values),
        Value::Map(pairs) => Some(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect()),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

/// The bytes of a string.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

/// A string.
pub(super) fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

/// A number that is not negative, also as a string.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// The value of a name in a flat list of names and values, which is taken out of it.
pub(super) fn take(pairs: &mut [Value], name: &str) -> Option<Value> {
    let at = pairs.iter().step_by(2).position(|key| matches!(key, Value::BulkString(key) if key == name.as_bytes()))?;
    pairs.get_mut(2 * at + 1).map(std::mem::take)
}

/// Id and fields of one entry of any stream.
pub(super) fn parts(value: Value) -> Option<(Vec<u8>, Vec<Value>)> {
    let [id, fields] = <[Value; 2]>::try_from(array(value)?).ok()?;
    Some((bytes(id)?, array(fields)?))
}

/// The entry of the log `key` that Redis answered.
///
/// # Errors
/// [`Error::Damaged`] for anything that this program cannot have written.
pub(super) fn entry(key: &str, value: Value) -> Result<Entry, Error> {
    let (id, fields) = parts(value).ok_or_else(|| damaged(key, b"?", "not an entry of a stream"))?;
    entry_of(key, &id, fields)
}

/// As [`entry`], from its parts.
pub(super) fn entry_of(key: &str, id: &[u8], values: Vec<Value>) -> Result<Entry, Error> {
    let mut fields = Fields::default();
    for pair in values.chunks_exact(2) {
        if let [Value::BulkString(name), Value::BulkString(value)] = pair {
            fields.take(name, value);
        }
    }
    let entry = fields
        .read(id)
        .and_then(|(header, body)| Entry::new(header, Bytes::copy_from_slice(body)).map_err(|malformed| malformed.0));
    entry.map_err(|why| damaged(key, id, why))
}

/// The entries of a page of the log `key`, a whole answer to `XRANGE` as `resp` knows them: nothing of them is decoded and no body
/// copied. And what is wrong with the one after them, if something is: [`Error::Damaged`].
pub(super) fn page(key: &str, answer: &Bytes) -> (Vec<Stored>, Option<Error>) {
    let mut tokens = Tokens { bytes: answer, at: 0 };
    let count = tokens.array().unwrap_or(0);
    let room = count.min(answer.len() / ENTRY_BYTES_MIN);
    let (mut entries, mut headers) = (Vec::with_capacity(room), BytesMut::with_capacity(room * HEADER_BYTES));
    for _ in 0..count {
        let Some((id, fields)) = tokens.entry() else {
            return (entries, Some(damaged(key, b"?", "not an entry of a stream")));
        };
        match fields.read(id) {
            Ok((header, body)) => {
                header.encode(&mut headers);
                entries.push(Stored { header: headers.split().freeze(), body: answer.slice_ref(body) });
            }
            Err(why) => return (entries, Some(damaged(key, id, why))),
        }
    }
    (entries, None)
}

/// A whole reply, value by value.
struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<Token> {
        let (token, next) = resp::token(self.bytes, self.at).ok()??;
        self.at = next;
        Some(token)
    }

    fn array(&mut self) -> Option<usize> {
        if let Token::Array(count) = self.next()? { Some(count) } else { None }
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        if let Token::String(range) = self.next()? { Some(&self.bytes[range]) } else { None }
    }

    fn entry(&mut self) -> Option<(&'a [u8], Fields<'a>)> {
        if self.array()? != 2 {
            return None;
        }
        let (id, values, mut fields) = (self.string()?, self.array()?, Fields::default());
        for _ in 0..values / 2 {
            let (name, value) = (self.string()?, self.string()?);
            fields.take(name, value);
        }
        (values % 2 == 0).then_some((id, fields))
    }
}

/// The fields of an entry.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a [u8]>,
    subjects: Option<&'a [u8]>,
    room: Option<&'a [u8]>,
    at_ms: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    request: Option<&'a [u8]>,
    body: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// Takes a field: the first of its name counts.
    fn take(&mut self, name: &[u8], value: &'a [u8]) {
        let field = match name {
            b"k" => &mut self.kind,
            b"s" => &mut self.subjects,
            b"r" => &mut self.room,
            b"t" => &mut self.at_ms,
            b"v" => &mut self.version,
            b"q" => &mut self.request,
            b"d" => &mut self.body,
            _ => return,
        };
        field.get_or_insert(value);
    }

    fn read(&self, id: &[u8]) -> Result<(Header, &'a [u8]), &'static str> {
        let seq = seq_of(id).ok_or("its id is not a position")?;
        let utf8 = |bytes, why| std::str::from_utf8(bytes).map_err(|_| why);
        let kind = utf8(self.kind.ok_or("it has no kind (k)")?, "its kind (k) is not UTF-8")?;
        let subjects = utf8(self.subjects.ok_or("it has no subjects (s)")?, "its subjects (s) are not UTF-8")?;
        let room = utf8(self.room.ok_or("it has no room (r)")?, "its room (r) is not UTF-8")?;
        let at_ms = utf8(self.at_ms.ok_or("it has no time (t)")?, "its time (t) is not UTF-8")?;
        let version = utf8(self.version.ok_or("it has no version (v)")?, "its version (v) is not UTF-8")?;
        let request = utf8(self.request.ok_or("it has no request id (q)")?, "its request id (q) is not UTF-8")?;
        let body = self.body.ok_or("it has no body (d)")?;
        let subjects: Result<Vec<MessageId>, _> = subjects.split_ascii_whitespace().map(str::parse).collect();
        let header = Header {
            seq,
            at_ms: at_ms.parse().map_err(|_| "its time (t) is not a number")?,
            request: request.parse::<RequestId>().map_err(|_| "its request id (q) is not a UUID")?,
            room: match room {
                "" => None,
                room => Some(RoomName::new(room).map_err(|_| "its room (r) is not a room's name")?),
            },
            subjects: subjects.map_err(|_| "its subjects (s) are not UUIDs")?.into(),
            version: version.parse().map_err(|_| "its version (v) is not a number")?,
            kind: kind.into(),
        };
        // One header has exactly one encoding, which counts both in one byte.
        if header.kind.len() > 255 || header.subjects.len() > 255 {
            return Err("its kind or its subjects are too long");
        }
        if body.len() < SALT_BYTES {
            return Err("body shorter than its salt");
        }
        Ok((header, body))
    }
}

/// What is said of an entry that cannot have been written.
pub(super) fn damaged(key: &str, id: &[u8], why: impl Into<String>) -> Error {
    Error::Damaged { place: format!("`{key}` {}", String::from_utf8_lossy(id)), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::conformance::room;
    use antiphon_schemas::{Event, event::Unknown};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn bulk(bytes: impl Into<Vec<u8>>) -> Value {
        Value::BulkString(bytes.into())
    }

    fn stored(entry: &Entry) -> Vec<Value> {
        let header = &entry.header;
        let fields = [
            ("k", header.kind.as_bytes().to_vec()),
            ("s", subjects_text(&header.subjects).into_bytes()),
            ("r", room_text(header.room.as_ref()).into()),
            ("t", header.at_ms.to_string().into_bytes()),
            ("v", header.version.to_string().into_bytes()),
            ("q", header.request.to_string().into_bytes()),
            ("d", entry.body.to_vec()),
        ];
        fields.into_iter().flat_map(|(name, value)| [bulk(name), bulk(value)]).collect()
    }

    fn example() -> Entry {
        let event =
            Event::Unknown(Unknown { kind: "weather".into(), data: Bytes::from_static(b"x"), subjects: vec![] });
        let header = Header {
            seq: Seq(7),
            at_ms: 1,
            request: RequestId(Uuid::nil()),
            kind: "weather".into(),
            room: Some(room("a")),
            subjects: [].into(),
            version: 1,
        };
        Entry { header, body: Entry::body_of(&event, [1; 16]).unwrap(), event }
    }

    proptest! {
        #[test]
        fn an_entry_is_read_back_as_it_was_written(
            seq in 1..=Seq::MAX.0, at_ms: u64, request: u128, kind in "[a-z.]{1,40}", room in proptest::option::of("[a-z]{1,128}"),
            subjects in proptest::collection::vec(any::<u128>(), 0..5), data: Vec<u8>, salt: [u8; 16], version: u8,
        ) {
            let subjects: Vec<_> = subjects.into_iter().map(|s| MessageId(Uuid::from_u128(s))).collect();
            let event = Event::unknown(&kind, &data.into(), &subjects);
            let body = Entry::body_of(&event, salt).unwrap();
            let room = room.map(|r| RoomName::new(&r).unwrap());
            let request = RequestId(Uuid::from_u128(request));
            let header = Header { seq: Seq(seq), at_ms, request, kind: kind.into(), room, subjects: subjects.into(), version };
            let written = Entry::new(header, body).unwrap();
            let read = entry_of("log", id_of(Seq(seq)).as_bytes(), stored(&written)).unwrap();
            prop_assert_eq!(read.hash(), written.hash());
            prop_assert_eq!(read, written);
        }
    }

    #[test]
    fn a_page_of_what_is_no_entry_takes_no_room_for_entries() {
        let answer = Bytes::from(format!("*100000\r\n{}", ":1\r\n".repeat(100_000)));
        let (entries, damage) = page("log", &answer);
        assert!(damage.is_some() && entries.is_empty());
        assert!(entries.capacity() * size_of::<Stored>() <= answer.len(), "room for {}", entries.capacity());
    }

    #[test]
    fn what_cannot_have_been_written_is_refused_by_name() {
        let good = example();
        assert_eq!(entry_of("log", b"7-0", stored(&good)).unwrap(), good);
        let mut later = stored(&good);
        later.extend([bulk("new"), bulk("field")]);
        assert_eq!(entry_of("log", b"7-0", later).unwrap(), good, "a later version's field is passed over");
        for id in [&b"7-1"[..], b"7", b"x-0", b"9007199254740992-0", b"\xff-0"] {
            assert!(entry_of("log", id, stored(&good)).is_err(), "{id:?}");
        }
        for (at, name) in ["k", "s", "r", "t", "v", "q", "d"].into_iter().enumerate() {
            let mut missing = stored(&good);
            missing.drain(2 * at..2 * at + 2);
            let mut wrong = stored(&good);
            wrong[2 * at + 1] = bulk(b"\xff".to_vec());
            for fields in [missing, wrong] {
                let why = entry_of("log", b"7-0", fields).unwrap_err().to_string();
                assert!(why.starts_with("the log is damaged at `log` 7-0"), "{why}");
                assert!(why.contains(&format!("({name})")) || name == "d", "{name}: {why}");
            }
        }
        assert!(entry("log", Value::Nil).is_err() && entry("log", Value::Array(vec![bulk("7-0")])).is_err());
    }
}
