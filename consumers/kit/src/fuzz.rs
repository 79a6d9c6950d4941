//! Event streams out of bytes from anywhere: the same events however the bytes are cut, and events that are written are
//! read back.

#[path = "../../../tests/support/fuzz.rs"]
mod fuzzer;

use fuzzer::{Decoder, fuzz, outcome};

use crate::sse::{EVENT_BYTES_MAX, SseEvent, SseReader};

/// The events of a stream that comes in pieces of this size.
fn read(input: &[u8], size: usize) -> Vec<SseEvent> {
    let (mut reader, mut out) = (SseReader::new(), Vec::new());
    input.chunks(size).for_each(|piece| reader.push(piece, &mut out));
    out
}

/// The stream of these events, as a server writes it.
fn written(events: &[SseEvent]) -> String {
    let mut out = String::new();
    for event in events {
        for (field, value) in [("event", Some(&event.name)), ("id", event.id.as_ref())] {
            value.into_iter().for_each(|value| out += &format!("{field}: {value}\n"));
        }
        event.retry_ms.into_iter().for_each(|retry| out += &format!("retry: {retry}\n"));
        event.data.split('\n').for_each(|line| out += &format!("data: {line}\n"));
        out.push('\n');
    }
    out
}

fn look(input: &[u8]) -> u64 {
    let events = read(input, input.len().max(1));
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(read(input, size), events, "in pieces of {size}");
    }
    for event in &events {
        // What is not UTF-8 becomes a character of three bytes.
        assert!(event.name.len() + event.data.len() <= 3 * EVENT_BYTES_MAX.min(input.len()));
        assert!(!event.data.contains('\r') && !event.name.contains(['\r', '\n']) && !event.name.is_empty());
    }
    assert_eq!(read(written(&events).as_bytes(), 5), events, "written and read again");
    let kinds: Vec<_> =
        events.iter().take(8).map(|e| (&e.name, e.id.is_some(), e.retry_ms.is_some(), e.data.len().min(3))).collect();
    outcome((events.len().min(32), kinds))
}

#[test]
fn streams_from_anywhere_give_the_same_events_however_they_are_cut() {
    let test = "fuzz::streams_from_anywhere_give_the_same_events_however_they_are_cut";
    fuzz(Decoder { corpus: "events", test, look, heal: |_| {} });
}
