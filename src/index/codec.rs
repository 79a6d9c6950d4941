//! The bytes of keys and values; drawn in the module header.
//!
//! Not here: redb. Decoding is total: any bytes give a value or `None`, never a panic.

use antiphon_schemas::{Entry, Event, Seq, event::AuthorKind, wire::Status};

use crate::projection::record::Record;

/// What an entry is in its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Class {
    /// Not said by anybody: claims, completions …
    Other = 0,
    /// A message of a person.
    Human = 1,
    /// A message or reply of a program.
    Bot = 2,
}

impl Class {
    pub(super) const ALL: &[Class] = &[Class::Other, Class::Human, Class::Bot];
    pub(super) const SAID: &[Class] = &[Class::Human, Class::Bot];

    pub(super) fn of(entry: &Entry) -> Class {
        match &entry.event {
            Event::MessagePosted(posted) => match posted.author.kind {
                AuthorKind::Human => Class::Human,
                AuthorKind::Bot => Class::Bot,
            },
            Event::ReplyPosted(_) => Class::Bot,
            // Who had posted it is gone with the body.
            Event::Erased(e) => match &*e.kind {
                "message.posted" => Class::Human,
                "reply.posted" => Class::Bot,
                _ => Class::Other,
            },
            _ => Class::Other,
        }
    }

    pub(super) fn said_by(kind: Option<AuthorKind>) -> &'static [Class] {
        match kind {
            None => Class::SAID,
            Some(AuthorKind::Human) => &[Class::Human],
            Some(AuthorKind::Bot) => &[Class::Bot],
        }
    }
}

/// Writes the key of a run's element over `key`. A room's name contains no NUL, so the keys of different rooms never interleave.
pub(super) fn run_key(key: &mut Vec<u8>, room: &str, class: Class, seq: Seq) {
    key.clear();
    key.extend_from_slice(room.as_bytes());
    key.extend_from_slice(&[0, class as u8]);
    key.extend_from_slice(&seq.0.to_be_bytes());
}

/// The position in the key of a run's element.
pub(super) fn run_seq(key: &[u8]) -> Option<Seq> {
    key.last_chunk::<8>().map(|seq| Seq(u64::from_be_bytes(*seq)))
}

const STATUS: u8 = 0x0f;
const REDACTED: u8 = 0x10;
const REASON: u8 = 0x20;
const ERASED: u8 = 0x40;

/// Writes a record's bytes over `out`: flags, number of positions, the first, the distances of the rest, the reason.
pub(super) fn encode(out: &mut Vec<u8>, record: &Record) {
    out.clear();
    let redacted = if record.redacted { REDACTED } else { 0 };
    let reason = if record.reason.is_some() { REASON } else { 0 };
    let erased = if record.erased { ERASED } else { 0 };
    out.push(status_code(record.status) | redacted | reason | erased);
    put_varint(out, record.positions.len() as u64);
    let mut last = 0;
    for position in &record.positions {
        put_varint(out, position.0 - last);
        last = position.0;
    }
    out.extend_from_slice(record.reason.as_deref().unwrap_or_default().as_bytes());
}

/// The record of these bytes.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Record> {
    let flags = *bytes.split_off_first()?;
    if flags & !(STATUS | REDACTED | REASON | ERASED) != 0 {
        return None;
    }
    let count = varint(&mut bytes)?;
    // Each position takes at least a byte: a damaged count must not reserve more than is there.
    if count > bytes.len() as u64 {
        return None;
    }
    let mut positions = Vec::with_capacity(count as usize);
    let mut last = 0_u64;
    for _ in 0..count {
        last = last.checked_add(varint(&mut bytes)?)?;
        positions.push(Seq(last));
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let reason = match flags & REASON {
        0 if text.is_empty() => None,
        0 => return None,
        _ => Some(text.into()),
    };
    let (status, redacted, erased) = (status_of(flags & STATUS)?, flags & REDACTED != 0, flags & ERASED != 0);
    Some(Record { positions, status, reason, redacted, erased })
}

/// The bytes of positions.
pub(super) fn positions_bytes(positions: &[Seq]) -> Vec<u8> {
    positions.iter().flat_map(|seq| seq.0.to_le_bytes()).collect()
}

/// The positions of these bytes.
pub(super) fn positions_of(bytes: &[u8]) -> Option<Vec<Seq>> {
    let (all, []) = bytes.as_chunks::<8>() else { return None };
    Some(all.iter().map(|seq| Seq(u64::from_le_bytes(*seq))).collect())
}

fn status_code(status: Status) -> u8 {
    match status {
        Status::None => 0,
        Status::Waiting => 1,
        Status::Claimed => 2,
        Status::Answered => 3,
        Status::Failed => 4,
        Status::Dead => 5,
        Status::Cancelled => 6,
    }
}

fn status_of(code: u8) -> Option<Status> {
    Some(match code {
        0 => Status::None,
        1 => Status::Waiting,
        2 => Status::Claimed,
        3 => Status::Answered,
        4 => Status::Failed,
        5 => Status::Dead,
        6 => Status::Cancelled,
        _ => return None,
    })
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_is_read_back(
            mut positions in proptest::collection::vec(0..=Seq::MAX.0, 0..9), status in 0..7_u8,
            reason: Option<String>, redacted: bool, erased: bool,
        ) {
            positions.sort_unstable();
            let record = Record {
                positions: positions.into_iter().map(Seq).collect(),
                status: status_of(status).unwrap(),
                reason: reason.map(Into::into),
                redacted,
                erased,
            };
            let mut bytes = Vec::new();
            encode(&mut bytes, &record);
            prop_assert_eq!(positions_of(&positions_bytes(&record.positions)), Some(record.positions.clone()));
            prop_assert_eq!(decode(&bytes), Some(record));
        }

        #[test]
        fn bytes_from_anywhere_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let _ = run_seq(&bytes);
        }

        #[test]
        fn keys_sort_by_room_then_class_then_position(
            a in ("[a-z.~-]{1,3}", 0..3_usize, 0..=Seq::MAX.0), b in ("[a-z.~-]{1,3}", 0..3_usize, 0..=Seq::MAX.0),
        ) {
            let key = |(room, class, seq): &(String, usize, u64)| {
                let mut key = Vec::new();
                run_key(&mut key, room, Class::ALL[*class], Seq(*seq));
                key
            };
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        }
    }
}
