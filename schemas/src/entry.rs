//! An event at a position: the header, the salted body, and the bytes of both.
//!
//! ```text
//! header:  version u8 │ seq u64 │ at_ms u64 │ request 16 B │ kind_len u8 │ room_len u8 │ subjects u8 │
//!          kind │ room │ subjects × 16 B                            (integers little-endian)
//! body:    salt 16 B │ MessagePack of the event, by field name
//! ```
//!
//! Promises:
//! - one header has exactly one encoding, so hashes and signatures are taken over stored bytes, never a re-encoding;
//! - the body's bytes are kept beside the decoded event; an unreadable body of a known kind is carried as unknown;
//! - the salt makes the hash of a short text unguessable, so that a body can later be replaced by its hash: erased bodies
//!   keep their length and begin with [`ERASED`], and all hashes stay what they were.
//!
//! Not here: framing and checksums (the log's business), what an event means (`event`).

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    event::{CodecError, Erased, Event},
    id::{MessageId, RequestId, RoomName, Seq},
    kind::Kind,
    quick,
    subjects::Subjects,
    time::LogTime,
};

/// The version of header and body that this code writes.
pub const VERSION: u8 = 1;
/// Random bytes before each body.
pub const SALT_BYTES: usize = 16;
/// Stands where the salt was in a body that was erased; then its SHA-256, then zeros up to its length. No salt is this.
pub const ERASED: &[u8; SALT_BYTES] = b"antiphon: erased";
/// What an erased body needs at least; every body with a message id in it is longer.
pub const ERASED_BYTES_MIN: usize = SALT_BYTES + 32;
/// Header bytes before the kind.
const FIXED_BYTES: usize = 1 + 8 + 8 + 16 + 3;
/// Leaves room for a text of 64 KiB in four-byte characters and its record of how it was made.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// The longest header: fixed part, kind, room and all subjects at their longest.
pub const HEADER_BYTES_MAX: usize = FIXED_BYTES + 255 + 255 + 255 * 16;

/// What is known of an entry without reading its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its position.
    pub seq: Seq,
    /// When the log took it, in ms since 1970; never earlier than the entry before.
    pub at_ms: u64,
    /// The append that wrote it.
    pub request: RequestId,
    /// The event's kind, at most 255 bytes.
    pub kind: Kind,
    /// The room, for events of a room.
    pub room: Option<RoomName>,
    /// All message ids that the event creates or changes, at most 255.
    pub subjects: Subjects,
    /// Version of header and body.
    pub version: u8,
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an entry: {0}")]
pub struct Malformed(pub &'static str);

impl Header {
    /// When the log took it, by the log's clock.
    pub fn logged_at(&self) -> LogTime {
        LogTime::from_log_ms(self.at_ms)
    }

    /// Appends the header's only encoding to `out`.
    ///
    /// # Panics
    /// If kind or subjects exceed 255: a programmer's error, since kinds are ours.
    pub fn encode(&self, out: &mut BytesMut) {
        let room = self.room.as_ref().map_or("", |r| r.as_str());
        let len = |n: usize| u8::try_from(n).expect("kind, room and subjects have at most 255");
        out.reserve(FIXED_BYTES + self.kind.len() + room.len() + 16 * self.subjects.len());
        out.put_u8(self.version);
        out.put_u64_le(self.seq.0);
        out.put_u64_le(self.at_ms);
        out.put_slice(self.request.as_bytes());
        out.put_u8(len(self.kind.len()));
        out.put_u8(len(room.len()));
        out.put_u8(len(self.subjects.len()));
        out.put_slice(self.kind.as_bytes());
        out.put_slice(room.as_bytes());
        for subject in &self.subjects {
            out.put_slice(subject.as_bytes());
        }
    }

    /// The header that `bytes` encode, all of them.
    ///
    /// # Errors
    /// [`Malformed`] for anything that [`Header::encode`] cannot have written.
    pub fn decode(bytes: &[u8]) -> Result<Header, Malformed> {
        if bytes.len() < FIXED_BYTES {
            return Err(Malformed("header too short"));
        }
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let id_at = |at: usize| Uuid::from_bytes(bytes[at..at + 16].try_into().expect("16 bytes"));
        let [kind_len, room_len, subjects] = [33, 34, 35].map(|at| usize::from(bytes[at]));
        let (kind_end, room_end) = (FIXED_BYTES + kind_len, FIXED_BYTES + kind_len + room_len);
        if bytes.len() != room_end + 16 * subjects {
            return Err(Malformed("header length does not fit its parts"));
        }
        let room = &bytes[kind_end..room_end];
        let room = if room.is_empty() { None } else { Some(RoomName::met(room).ok_or(Malformed("room name"))?) };
        Ok(Header {
            version: bytes[0],
            seq: Seq(u64_at(1)),
            at_ms: u64_at(9),
            request: RequestId(id_at(17)),
            kind: Kind::of(&bytes[FIXED_BYTES..kind_end]).ok_or(Malformed("its kind is not UTF-8"))?,
            room,
            subjects: (0..subjects).map(|i| MessageId(id_at(room_end + 16 * i))).collect(),
        })
    }
}

/// The SHA-256 of a body as it was written, also if it was erased since.
pub fn body_hash(body: &[u8]) -> [u8; 32] {
    match body.strip_prefix(ERASED).and_then(|rest| rest.first_chunk()) {
        Some(hash) => *hash,
        None => Sha256::digest(body).into(),
    }
}

/// Whether the body was erased.
pub fn is_erased(body: &[u8]) -> bool {
    body.len() >= ERASED_BYTES_MIN && body.starts_with(ERASED)
}

/// What stands in the place of an erased body: of the same length, with the same [`body_hash`]. `None` if it is too short
/// to hold that.
pub fn erased(body: &[u8]) -> Option<Bytes> {
    if body.len() < ERASED_BYTES_MIN {
        return None;
    }
    let mut out = BytesMut::zeroed(body.len());
    out[..SALT_BYTES].copy_from_slice(ERASED);
    out[SALT_BYTES..ERASED_BYTES_MIN].copy_from_slice(&body_hash(body));
    Some(out.freeze())
}

/// An entry as it is stored: nothing of it is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// [`Header::encode`] of its header.
    pub header: Bytes,
    /// Salt and MessagePack, or what [`erased`] made of them.
    pub body: Bytes,
}

impl Stored {
    /// The entry, decoded.
    ///
    /// # Errors
    /// As [`Entry::decode`].
    pub fn entry(&self) -> Result<Entry, Malformed> {
        Entry::decode(&self.header, self.body.clone())
    }

    /// Its position, as the header says.
    pub fn seq(&self) -> Seq {
        Seq(self.header.get(1..9).map_or(0, |seq| u64::from_le_bytes(seq.try_into().expect("8 bytes"))))
    }

    /// When the log took it, in ms since 1970, as the header says.
    pub fn at_ms(&self) -> u64 {
        self.header.get(9..17).map_or(0, |at_ms| u64::from_le_bytes(at_ms.try_into().expect("8 bytes")))
    }

    /// The append that wrote it, as the header says.
    pub fn request(&self) -> RequestId {
        RequestId(self.header.get(17..33).map_or(Uuid::nil(), |id| Uuid::from_bytes(id.try_into().expect("16 bytes"))))
    }

    /// Its kind, without decoding the header; empty if that is not one.
    pub fn kind(&self) -> &str {
        std::str::from_utf8(self.part(0)).unwrap_or_default()
    }

    /// Its room, without decoding the header; empty if it has none.
    pub fn room(&self) -> &str {
        std::str::from_utf8(self.part(1)).unwrap_or_default()
    }

    /// Its subjects, without decoding the header.
    pub fn subjects(&self) -> impl Iterator<Item = MessageId> + '_ {
        let ids = self.part(2).chunks_exact(16);
        ids.map(|id| MessageId(Uuid::from_bytes(id.try_into().expect("16 bytes"))))
    }

    /// The bytes of kind, room or subjects.
    fn part(&self, n: usize) -> &[u8] {
        let Some(&[kind, room, subjects]) = self.header.get(33..FIXED_BYTES) else { return &[] };
        let (kind_end, room_end) =
            (FIXED_BYTES + usize::from(kind), FIXED_BYTES + usize::from(kind) + usize::from(room));
        let ends = [FIXED_BYTES, kind_end, room_end, room_end + 16 * usize::from(subjects)];
        self.header.get(ends[n]..ends[n + 1]).unwrap_or_default()
    }

    /// The leaf that it is in the Merkle tree of the log: SHA-256(0 ‖ header ‖ [`body_hash`]), as RFC 6962 wants it.
    pub fn leaf(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update([0]);
        hash.update(&self.header);
        hash.update(body_hash(&self.body));
        hash.finalize().into()
    }
}

impl From<&Entry> for Stored {
    fn from(entry: &Entry) -> Stored {
        Stored { header: entry.header_bytes(), body: entry.body.clone() }
    }
}

/// An event at its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Position, time, kind, room, subjects, request.
    pub header: Header,
    /// Salt and MessagePack, as stored.
    pub body: Bytes,
    /// The body, decoded.
    pub event: Event,
}

impl Entry {
    /// Salt and MessagePack of an event: the body as it will be stored.
    ///
    /// # Errors
    /// [`CodecError`] as [`Event::encode`].
    pub fn body_of(event: &Event, salt: [u8; SALT_BYTES]) -> Result<Bytes, CodecError> {
        let data = event.encode()?;
        let mut body = BytesMut::with_capacity(SALT_BYTES + data.len());
        body.put_slice(&salt);
        body.put_slice(&data);
        Ok(body.freeze())
    }

    /// An entry from its stored bytes.
    ///
    /// # Errors
    /// [`Malformed`] if the header or the salt is not there. A body that its kind cannot read becomes [`Event::Unknown`].
    pub fn decode(header: &[u8], body: Bytes) -> Result<Entry, Malformed> {
        Entry::new(Header::decode(header)?, body)
    }

    /// An entry from its header and its stored body.
    ///
    /// # Errors
    /// [`Malformed`] if the salt is not there. A body that its kind cannot read becomes [`Event::Unknown`], one that was
    /// erased [`Event::Erased`].
    pub fn new(header: Header, body: Bytes) -> Result<Entry, Malformed> {
        if body.len() < SALT_BYTES {
            return Err(Malformed("body shorter than its salt"));
        }
        if is_erased(&body) {
            let event = Event::Erased(Erased { kind: (&*header.kind).into(), subjects: header.subjects.to_vec() });
            return Ok(Entry { header, body, event });
        }
        // Straight from the bytes: a slice of `body` would count it once more and once less.
        let event = quick::decode(&header.kind, &body[SALT_BYTES..]).unwrap_or_else(|| {
            let data = body.slice(SALT_BYTES..);
            Event::decode_any(&header.kind, &data, &header.subjects)
                .unwrap_or_else(|_| Event::unknown(&header.kind, &data, &header.subjects))
        });
        Ok(Entry { header, body, event })
    }

    /// The header as stored.
    pub fn header_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.header.encode(&mut out);
        out.freeze()
    }

    /// The entry once its body is erased; itself if that was done before. `None` if its body is too short for that.
    pub fn erased(&self) -> Option<Entry> {
        Entry::new(self.header.clone(), erased(&self.body)?).ok()
    }

    /// SHA-256 of header ‖ SHA-256(body): what snapshots, checkpoints and proofs name an entry by.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.header_bytes());
        hash.update(body_hash(&self.body));
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_is_read_back_and_any_cut_is_refused(
            seq in 0..Seq::MAX.0, at_ms: u64, request: u128, kind in "[a-z.]{1,40}", room in proptest::option::of("[a-z]{1,128}"),
            subjects in proptest::collection::vec(any::<u128>(), 0..5), cut: prop::sample::Index,
        ) {
            let header = Header {
                seq: Seq(seq), at_ms, request: RequestId(Uuid::from_u128(request)), kind: kind.into(),
                room: room.map(|r| RoomName::new(&r).unwrap()),
                subjects: subjects.into_iter().map(|s| MessageId(Uuid::from_u128(s))).collect(), version: VERSION,
            };
            let mut bytes = BytesMut::new();
            header.encode(&mut bytes);
            prop_assert_eq!(Header::decode(&bytes), Ok(header.clone()));
            let stored = Stored { header: bytes.clone().freeze(), body: Bytes::new() };
            prop_assert_eq!((stored.seq(), stored.at_ms(), stored.kind()), (header.seq, header.at_ms, &*header.kind));
            prop_assert_eq!(stored.request(), header.request);
            prop_assert_eq!(stored.room(), header.room.as_ref().map_or("", |room| room.as_str()));
            prop_assert!(stored.subjects().eq(header.subjects.iter().copied()));
            prop_assert!(Header::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn bytes_from_anywhere_never_panic(bytes: Vec<u8>) {
            let _ = Entry::decode(&bytes, Bytes::from(bytes.clone()));
            let stored = Stored { header: bytes.into(), body: Bytes::new() };
            let _ = (stored.seq(), stored.at_ms(), stored.request(), stored.kind(), stored.room(), stored.subjects().count());
        }
    }

    #[test]
    fn an_erased_body_has_the_length_and_the_hash_of_what_it_was() {
        let body = Bytes::from(vec![7; 100]);
        let gone = erased(&body).unwrap();
        assert_eq!((gone.len(), body_hash(&gone)), (100, body_hash(&body)));
        assert!(is_erased(&gone) && !is_erased(&body) && !gone.windows(2).any(|pair| pair == [7, 7]));
        assert_eq!(erased(&gone), Some(gone.clone()), "twice is once");
        let header = Bytes::from_static(b"header");
        let of = |body: &Bytes| Stored { header: header.clone(), body: body.clone() }.leaf();
        assert_eq!(of(&gone), of(&body));
        assert_eq!(erased(&body[..ERASED_BYTES_MIN - 1]), None);
    }

    #[test]
    fn an_unreadable_body_of_a_known_kind_is_carried_through() {
        let header = Header {
            seq: Seq(1),
            at_ms: 0,
            request: RequestId(Uuid::nil()),
            kind: "message.posted".into(),
            room: None,
            subjects: [].into(),
            version: 9,
        };
        let mut bytes = BytesMut::new();
        header.encode(&mut bytes);
        let body = Bytes::from_static(b"0123456789abcdef\xc1not messagepack");
        let entry = Entry::decode(&bytes, body.clone()).unwrap();
        assert!(matches!(&entry.event, Event::Unknown(_)));
        assert_eq!(entry.body, body);
    }
}
