//! Records out of bytes from anywhere: refused, or written as they were read.
//!
//! ```text
//! input:  first byte even: `outbox.parked`, odd: `outbox.settled` │ the record
//! ```

use antiphon_schemas::{
    Entry, Header, RequestId, Seq,
    entry::{SALT_BYTES, VERSION},
    event::{Event, Unknown},
};
use bytes::Bytes;
use uuid::Uuid;

use crate::{
    fuzzer::{Decoder, fuzz, outcome},
    outbox::record::Record,
};

fn entry(kind: &str, data: &[u8]) -> Entry {
    let event = Event::Unknown(Unknown { kind: kind.into(), data: Bytes::copy_from_slice(data), subjects: vec![] });
    let header = Header {
        seq: Seq(1),
        at_ms: 1,
        request: RequestId(Uuid::nil()),
        kind: kind.into(),
        room: None,
        subjects: [].into(),
        version: VERSION,
    };
    Entry::new(header, Entry::body_of(&event, [1; SALT_BYTES]).unwrap()).unwrap()
}

fn look(input: &[u8]) -> u64 {
    let Some((first, data)) = input.split_first() else { return outcome("nothing") };
    let kind = ["outbox.parked", "outbox.settled"][usize::from(first % 2)];
    let record = match Record::of(&entry(kind, data)) {
        Ok(record) => record,
        Err(why) => return outcome((kind, why)),
    };
    // Too long for a log is all that may be wrong with it.
    let Ok(draft) = record.draft() else { return outcome("no draft") };
    let written = draft.body.slice(SALT_BYTES..);
    assert_eq!(Record::of(&entry(kind, &written)), Ok(record), "a record is read as it was written");
    outcome((kind, written.len().ilog2()))
}

#[test]
fn records_from_anywhere_are_refused_or_written_as_they_were_read() {
    let test = "outbox::tests::fuzz::records_from_anywhere_are_refused_or_written_as_they_were_read";
    fuzz(Decoder { corpus: "record", test, look, heal: |_| {} });
}
