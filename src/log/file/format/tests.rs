//! Records and headers: what is written is read, and no damaged byte passes.

use antiphon_schemas::{
    Event, Header, MessageId, RequestId, RoomName,
    entry::{SALT_BYTES, VERSION},
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn header() -> SegmentHeader {
    SegmentHeader { epoch: Epoch(7), first: Seq(41), salt: 99, previous: [3; 32] }
}

fn entries() -> impl Strategy<Value = Entry> {
    let room = proptest::option::of("[a-z]{1,30}");
    let subjects = proptest::collection::vec(any::<u128>(), 0..4);
    let data = proptest::collection::vec(any::<u8>(), 0..600);
    (4..1u64 << 50, any::<u64>(), any::<u128>(), "[a-z.]{1,40}", room, subjects, data).prop_map(
        |(seq, at_ms, request, kind, room, subjects, data)| {
            let subjects: Vec<_> = subjects.into_iter().map(|s| MessageId(Uuid::from_u128(s))).collect();
            let event = Event::unknown(&format!("x.{kind}"), &Bytes::from(data), &subjects);
            Entry {
                header: Header {
                    seq: Seq(seq),
                    at_ms,
                    request: RequestId(Uuid::from_u128(request)),
                    kind: event.kind().into(),
                    room: room.map(|r| RoomName::new(&r).unwrap()),
                    subjects: subjects.into(),
                    version: VERSION,
                },
                body: Entry::body_of(&event, [5; SALT_BYTES]).unwrap(),
                event,
            }
        },
    )
}

fn record(entry: &Entry, index: u32) -> BytesMut {
    let mut out = BytesMut::new();
    let batch_first = Seq(entry.header.seq.0 - u64::from(index));
    put_record(&mut out, header().seed(), entry, Place { batch_first, batch_len: index + 2, index });
    out
}

proptest! {
    #[test]
    fn a_record_is_read_back_and_its_size_bound_holds(entry in entries(), index in 0..3u32, after: Vec<u8>) {
        let mut bytes = record(&entry, index);
        let len = bytes.len();
        bytes.extend_from_slice(&after);
        let found = take_record(&bytes, header().seed()).unwrap();
        prop_assert_eq!((found.len(), found.seq(), found.index), (len as u64, entry.header.seq, index));
        prop_assert_eq!(found.entry(), Ok(entry.clone()));
        let h = &entry.header;
        let room = h.room.as_ref().map_or(0, |r| r.as_str().len());
        prop_assert_eq!(len as u64, record_bytes_max(h.kind.len(), room, h.subjects.len(), entry.body.len()));
    }

    #[test]
    fn a_cut_or_changed_record_is_never_taken(entry in entries(), at: prop::sample::Index, flip in 1..=255u8) {
        let mut bytes = record(&entry, 0);
        let at = at.index(bytes.len());
        prop_assert_eq!(take_record(&bytes[..at], header().seed()), Err(Flaw::Short));
        bytes[at] ^= flip;
        prop_assert!(take_record(&bytes, header().seed()).is_err());
    }

    #[test]
    fn an_erased_record_takes_the_place_of_what_it_was(entry in entries(), index in 0..3u32) {
        let bytes = record(&entry, index);
        let gone = erased_record(&bytes, header().seed());
        if entry.body.len() < antiphon_schemas::entry::ERASED_BYTES_MIN {
            prop_assert_eq!(gone, Err(Flaw::OutOfPlace));
            return Ok(());
        }
        let gone = gone.unwrap().unwrap();
        prop_assert_eq!(gone.len(), bytes.len());
        let found = take_record(&gone, header().seed()).unwrap();
        prop_assert_eq!((found.seq(), found.index), (entry.header.seq, index));
        let found = found.entry().unwrap();
        prop_assert_eq!((found.hash(), &found.header, Some(found.body)), (entry.hash(), &entry.header, erased(&entry.body)));
        prop_assert_eq!(erased_record(&gone, header().seed()), Ok(None), "twice is once");
    }

    #[test]
    fn a_record_of_another_segment_is_never_taken(entry in entries(), salt: u64) {
        prop_assume!(salt != header().salt);
        let other = SegmentHeader { salt, ..header() };
        prop_assert!(take_record(&record(&entry, 0), other.seed()).is_err());
    }

    #[test]
    fn bytes_from_anywhere_never_panic(bytes: Vec<u8>) {
        let _ = take_record(&bytes, Seed(1));
        let _ = SegmentHeader::decode(&bytes);
    }
}

#[test]
fn a_segment_header_is_read_back_and_any_changed_byte_is_refused() {
    let bytes = header().encode();
    assert_eq!(SegmentHeader::decode(&bytes), Ok((header(), header().seed())));
    for at in 0..bytes.len() {
        let mut changed = bytes;
        changed[at] ^= 1;
        assert!(SegmentHeader::decode(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn a_segment_header_has_one_encoding_whatever_its_checksum_says() {
    let bytes = header().encode();
    for at in (12..16).chain(72..HEADER_CRC_AT) {
        let mut changed = bytes;
        changed[at] ^= 1;
        let crc = crc32c::crc32c(&changed[..HEADER_CRC_AT]);
        changed[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&changed), Err(Flaw::Header), "byte {at}");
    }
}

#[test]
fn zeros_are_no_record() {
    assert_eq!(take_record(&[0; 100], Seed(1)), Err(Flaw::NoRecord));
}
