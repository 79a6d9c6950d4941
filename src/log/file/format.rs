//! The bytes of a segment: its header, its records, and how each is checked.
//!
//! ```text
//! segment:  header │ record* │ zeros                      (integers little-endian; written ahead with zeros)
//! header:   magic 8 B │ version u32 │ partition u32 │ epoch u64 │ first seq u64 │ salt u64 │ hash 32 B │
//!           zeros to 508 │ crc u32                        (512 B; hash = `Entry::hash` of the entry before)
//! record:   head_crc u32 │ body_crc u32 │ header_len u32 │ body_len u32 │
//!           batch_first u64 │ batch_len u32 │ index u32 │ entry header │ entry body
//! batch:    the records of one write: same batch_first and batch_len, index 0, 1 … batch_len - 1;
//!           a record's seq is batch_first + index
//! ```
//!
//! Checksums are CRC-32C. `head_crc` covers everything of the record from `body_crc` to the end of the entry header,
//! `body_crc` the body alone. A body that is erased is replaced in place by one of the same length: both checksums are
//! rewritten, and nothing moves (`erasing`). Both start from
//! the segment header's own crc: a record is valid in its segment only. The header holds a random salt that is given to
//! nobody, so no text that somebody posts can look like a record.
//!
//! Not here: what a valid or invalid record means for the log (`recovery`), files (`segment`).

use antiphon_schemas::{
    Entry, Epoch, Seq,
    entry::{BODY_BYTES_MAX, HEADER_BYTES_MAX, SALT_BYTES, erased, is_erased},
};
use bytes::{BufMut, Bytes, BytesMut};

/// The version of segment header and record that this code writes and reads.
pub(super) const VERSION: u32 = 1;
/// Bytes before the first record: one sector, so that no record shares it.
pub(super) const HEADER_BYTES: u64 = 512;
/// Bytes of a record before its entry header.
pub(super) const HEAD_BYTES: usize = 32;
/// The shortest entry header (`entry`: its fixed part).
const ENTRY_HEADER_BYTES_MIN: usize = 36;
const MAGIC: &[u8; 8] = b"antiphon";
const HEADER_CRC_AT: usize = HEADER_BYTES as usize - 4;

/// The header at the start of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The epoch in which it was made.
    pub(super) epoch: Epoch,
    /// The position of its first record.
    pub(super) first: Seq,
    /// Random; see the module header.
    pub(super) salt: u64,
    /// The hash of the entry before `first`; zeros before the first entry of all.
    pub(super) previous: [u8; 32],
}

/// Where the checksums of a segment's records start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seed(u32);

impl Seed {
    /// For looking at bytes only; no record has it.
    pub(super) const NONE: Seed = Seed(0);

    /// As stored at the end of the segment's header.
    pub(super) fn crc(self) -> u32 {
        self.0
    }

    /// The seed of the segment whose header ends with this.
    pub(super) fn of_crc(crc: u32) -> Seed {
        Seed(crc)
    }
}

/// Why bytes are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Zeros, or lengths that no record has.
    NoRecord,
    /// The record extends beyond the end of the file.
    Short,
    /// The checksum over head and entry header is wrong.
    Head,
    /// The body's checksum is wrong.
    Body,
    /// A sound record, but not the one that belongs here.
    OutOfPlace,
    /// The segment header is not one.
    Header,
    /// A sound segment, but not the one that belongs here.
    OtherSegment,
    /// A segment header of another version.
    Version(u32),
}

impl Flaw {
    /// What is wrong, as the end of a sentence.
    pub(super) fn why(self) -> String {
        match self {
            Flaw::NoRecord => "there is no record where one must be".into(),
            Flaw::Short => "the file ends within a record".into(),
            Flaw::Head => "the checksum of a record's header is wrong".into(),
            Flaw::Body => "the checksum of a record's body is wrong".into(),
            Flaw::OutOfPlace => "the record here belongs somewhere else".into(),
            Flaw::Header => "the segment's header is not sound".into(),
            Flaw::OtherSegment => "the segment does not continue the one before it".into(),
            Flaw::Version(found) => format!("format version {found} instead of {VERSION}"),
        }
    }
}

impl SegmentHeader {
    /// The header's bytes.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut out = [0; HEADER_BYTES as usize];
        let mut at = &mut out[..];
        at.put_slice(MAGIC);
        at.put_u32_le(VERSION);
        at.put_u32_le(0);
        at.put_u64_le(self.epoch.0);
        at.put_u64_le(self.first.0);
        at.put_u64_le(self.salt);
        at.put_slice(&self.previous);
        let crc = crc32c::crc32c(&out[..HEADER_CRC_AT]);
        out[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header and the seed of its records.
    pub(super) fn decode(bytes: &[u8]) -> Result<(SegmentHeader, Seed), Flaw> {
        if bytes.len() < HEADER_BYTES as usize || &bytes[..8] != MAGIC {
            return Err(Flaw::Header);
        }
        let crc = u32_at(bytes, HEADER_CRC_AT);
        if crc32c::crc32c(&bytes[..HEADER_CRC_AT]) != crc {
            return Err(Flaw::Header);
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(Flaw::Version(version));
        }
        let previous = bytes[40..72].try_into().expect("32 bytes");
        let header = SegmentHeader {
            epoch: Epoch(u64_at(bytes, 16)),
            first: Seq(u64_at(bytes, 24)),
            salt: u64_at(bytes, 32),
            previous,
        };
        // Opening writes it again: other bytes between its parts would become zeros, and with them the records' seed.
        if header.encode() != bytes[..HEADER_BYTES as usize] {
            return Err(Flaw::Header);
        }
        Ok((header, Seed(crc)))
    }

    /// The seed of the records that will follow this header.
    pub(super) fn seed(&self) -> Seed {
        Seed(u32_at(&self.encode(), HEADER_CRC_AT))
    }
}

/// A sound record; the bytes are those that were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// The position of the first record of its batch.
    pub(super) batch_first: Seq,
    /// How many records its batch has.
    pub(super) batch_len: u32,
    /// Which of them it is, from 0.
    pub(super) index: u32,
    /// The entry's header.
    pub(super) header: &'a [u8],
    /// The entry's body.
    pub(super) body: &'a [u8],
}

impl Record<'_> {
    /// The entry's position.
    pub(super) fn seq(&self) -> Seq {
        Seq(self.batch_first.0 + u64::from(self.index))
    }

    /// Bytes of the whole record.
    pub(super) fn len(&self) -> u64 {
        (HEAD_BYTES + self.header.len() + self.body.len()) as u64
    }

    /// Whether its batch ends with it.
    pub(super) fn ends_batch(&self) -> bool {
        self.index + 1 == self.batch_len
    }

    /// The entry, owning its bytes.
    pub(super) fn entry(&self) -> Result<Entry, Flaw> {
        let entry = Entry::decode(self.header, Bytes::copy_from_slice(self.body)).map_err(|_| Flaw::OutOfPlace)?;
        if entry.header.seq == self.seq() { Ok(entry) } else { Err(Flaw::OutOfPlace) }
    }
}

/// The most bytes that a record with a body of this length can have, given its kind, room and subjects.
pub(super) fn record_bytes_max(kind: usize, room: usize, subjects: usize, body: usize) -> u64 {
    (HEAD_BYTES + ENTRY_HEADER_BYTES_MIN + kind + room + 16 * subjects + body) as u64
}

/// Which batch a record belongs to, and its place there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The position of the batch's first record.
    pub(super) batch_first: Seq,
    /// How many records the batch has.
    pub(super) batch_len: u32,
    /// Which of them this is, from 0.
    pub(super) index: u32,
}

/// Appends the record of an entry to `out`.
pub(super) fn put_record(out: &mut BytesMut, seed: Seed, entry: &Entry, place: Place) {
    let start = out.len();
    out.reserve(HEAD_BYTES + ENTRY_HEADER_BYTES_MIN + entry.body.len());
    out.put_bytes(0, HEAD_BYTES);
    entry.header.encode(out);
    let header_len = out.len() - start - HEAD_BYTES;
    let len = |n: usize| u32::try_from(n).expect("header and body are bounded far below 4 GiB");
    let mut head = &mut out[start + 4..start + HEAD_BYTES];
    head.put_u32_le(crc32c::crc32c_append(seed.0, &entry.body));
    head.put_u32_le(len(header_len));
    head.put_u32_le(len(entry.body.len()));
    head.put_u64_le(place.batch_first.0);
    head.put_u32_le(place.batch_len);
    head.put_u32_le(place.index);
    let head_crc = crc32c::crc32c_append(seed.0, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&head_crc.to_le_bytes());
    out.put_slice(&entry.body);
}

/// The record at the start of `bytes` with its body erased; `None` if it is erased already.
pub(super) fn erased_record(bytes: &[u8], seed: Seed) -> Result<Option<Vec<u8>>, Flaw> {
    let record = take_record(bytes, seed)?;
    if is_erased(record.body) {
        return Ok(None);
    }
    // Too short to hold a hash: nobody may ask for that.
    let body = erased(record.body).ok_or(Flaw::OutOfPlace)?;
    let header_end = HEAD_BYTES + record.header.len();
    let mut out = bytes[..header_end].to_vec();
    out[4..8].copy_from_slice(&crc32c::crc32c_append(seed.0, &body).to_le_bytes());
    let head_crc = crc32c::crc32c_append(seed.0, &out[4..]);
    out[..4].copy_from_slice(&head_crc.to_le_bytes());
    out.extend_from_slice(&body);
    Ok(Some(out))
}

/// How many bytes the record at the start of `bytes` has, going by lengths that are not checked yet.
pub(super) fn record_len(bytes: &[u8]) -> Result<usize, Flaw> {
    if bytes.len() < HEAD_BYTES {
        return Err(Flaw::Short);
    }
    let (header_len, body_len) = (u32_at(bytes, 8) as usize, u32_at(bytes, 12) as usize);
    let (batch_first, batch_len, index) = (u64_at(bytes, 16), u32_at(bytes, 24), u32_at(bytes, 28));
    let possible = (ENTRY_HEADER_BYTES_MIN..=HEADER_BYTES_MAX).contains(&header_len)
        && (SALT_BYTES..=BODY_BYTES_MAX).contains(&body_len)
        && (1..=Seq::MAX.0).contains(&batch_first)
        && index < batch_len;
    if possible { Ok(HEAD_BYTES + header_len + body_len) } else { Err(Flaw::NoRecord) }
}

/// The record at the start of `bytes`; more may follow it.
pub(super) fn take_record(bytes: &[u8], seed: Seed) -> Result<Record<'_>, Flaw> {
    let end = record_len(bytes)?;
    let header_end = HEAD_BYTES + u32_at(bytes, 8) as usize;
    if bytes.len() < header_end {
        return Err(Flaw::Short);
    }
    if crc32c::crc32c_append(seed.0, &bytes[4..header_end]) != u32_at(bytes, 0) {
        return Err(Flaw::Head);
    }
    if bytes.len() < end {
        return Err(Flaw::Short);
    }
    let (header, body) = (&bytes[HEAD_BYTES..header_end], &bytes[header_end..end]);
    if crc32c::crc32c_append(seed.0, body) != u32_at(bytes, 4) {
        return Err(Flaw::Body);
    }
    let batch_first = Seq(u64_at(bytes, 16));
    Ok(Record { batch_first, batch_len: u32_at(bytes, 24), index: u32_at(bytes, 28), header, body })
}

/// Whether a record of a batch after `batch_first` might begin at the start of `bytes`: fast enough to check every offset.
pub(super) fn may_be_later(bytes: &[u8], batch_first: Seq) -> bool {
    bytes.len() >= HEAD_BYTES && (batch_first.0 + 1..=Seq::MAX.0).contains(&u64_at(bytes, 16))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests;
