//! Entries out of bytes from anywhere: a header has one encoding, an event is written as it was read, and the quick reader
//! agrees with serde.
//!
//! ```text
//! input:  header length u32 LE │ header │ body                    (as the goldens)
//! ```

#[path = "../../tests/support/fuzz.rs"]
mod fuzzer;

use bytes::{Bytes, BytesMut};
use fuzzer::{Decoder, fuzz, outcome};

use crate::{
    Entry, Event, Header, Stored,
    entry::{SALT_BYTES, erased, is_erased},
    quick,
};

/// Bytes of a header before the kind, in which the lengths of its parts are the last three.
const FIXED_BYTES: usize = 36;

fn split(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((len, rest)) = input.split_first_chunk() else { return (input, &[]) };
    rest.split_at((u32::from_le_bytes(*len) as usize).min(rest.len()))
}

/// Makes the header as long as its parts say.
fn heal(input: &mut [u8]) {
    let Some(&[kind, room, subjects]) = input.get(4 + FIXED_BYTES - 3..4 + FIXED_BYTES) else { return };
    let len = FIXED_BYTES + usize::from(kind) + usize::from(room) + 16 * usize::from(subjects);
    input[..4].copy_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
}

fn look(input: &[u8]) -> u64 {
    let (header, body) = split(input);
    let stored = Stored { header: Bytes::copy_from_slice(header), body: Bytes::copy_from_slice(body) };
    let shown = (stored.seq(), stored.at_ms(), stored.request(), stored.kind().to_owned(), stored.room().to_owned());
    let subjects: Vec<_> = stored.subjects().collect();
    let decoded = match Header::decode(header) {
        Ok(decoded) => decoded,
        Err(malformed) => return outcome(malformed.0),
    };
    let mut again = BytesMut::new();
    decoded.encode(&mut again);
    assert_eq!(again, header, "a header has one encoding");
    let room = decoded.room.as_ref().map_or(String::new(), |room| room.as_str().to_owned());
    assert_eq!(shown, (decoded.seq, decoded.at_ms, decoded.request, decoded.kind.to_string(), room));
    assert!(decoded.subjects.iter().eq(&subjects));
    let entry = match stored.entry() {
        Ok(entry) => entry,
        Err(malformed) => return outcome(malformed.0),
    };
    assert_eq!(Stored::from(&entry), stored, "what is stored is what was read");
    gone(&stored);
    outcome((&*entry.header.kind, event(&entry), subjects.len().min(3)))
}

/// Erasing changes neither length nor hash nor leaf.
fn gone(stored: &Stored) {
    let Some(body) = erased(&stored.body) else { return };
    assert!(is_erased(&body) && body.len() == stored.body.len());
    let gone = Stored { body, ..stored.clone() };
    assert_eq!(gone.leaf(), stored.leaf());
    assert!(matches!(gone.entry().unwrap().event, Event::Erased(_)));
}

/// What becomes of the body, in a word or two.
fn event(entry: &Entry) -> String {
    let (kind, data) = (&*entry.header.kind, entry.body.slice(SALT_BYTES..));
    let by_serde = Event::decode_any(kind, &data, &entry.header.subjects);
    let quick = quick::decode(kind, &data);
    if let Some(quick) = &quick {
        assert_eq!(Some(quick), by_serde.as_ref().ok(), "the quick reader agrees with serde");
    }
    let how = if quick.is_some() { "quick" } else { "serde" };
    match &entry.event {
        Event::Erased(_) => "erased".into(),
        Event::Unknown(_) => by_serde.err().map_or("unknown".into(), |error| error.to_string()),
        event => {
            let written = event.encode().unwrap();
            let read = Event::decode(kind, &written, &entry.header.subjects).unwrap();
            assert_eq!(&read, event, "an event is read as it was written");
            format!("{how} {}", data.len().ilog2())
        }
    }
}

#[test]
fn entries_from_anywhere_are_refused_or_read_in_one_way() {
    fuzz(Decoder {
        corpus: "entry",
        test: "fuzz::entries_from_anywhere_are_refused_or_read_in_one_way",
        look,
        heal: |input| heal(input),
    });
}
