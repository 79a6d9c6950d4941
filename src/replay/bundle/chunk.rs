//! Some MiB of entries: framed one after the other, then compressed.

use std::io;

use antiphon_schemas::{
    Stored,
    entry::{BODY_BYTES_MAX, HEADER_BYTES_MAX},
};
use bytes::{Buf, BufMut, Bytes};

use super::Chunk;

/// A chunk is closed once it has so much: to read one entry is to decompress one chunk, which takes some milliseconds.
pub(super) const CHUNK_BYTES: usize = 4 << 20;
/// So much it has at most: one more entry fits in before it is closed.
pub(super) const RAW_BYTES_MAX: usize = CHUNK_BYTES + FRAME_BYTES + HEADER_BYTES_MAX + BODY_BYTES_MAX;
/// Salts and ids, which are half of a short entry, do not get smaller on any level; higher ones save little on the rest.
const LEVEL: i32 = 3;
/// Lengths of header and body.
const FRAME_BYTES: usize = 8;

/// Adds an entry's frame.
pub(super) fn frame(out: &mut Vec<u8>, stored: &Stored) {
    let len = |bytes: &Bytes| u32::try_from(bytes.len()).expect("header and body are bounded");
    out.put_u32_le(len(&stored.header));
    out.put_u32_le(len(&stored.body));
    out.put_slice(&stored.header);
    out.put_slice(&stored.body);
}

/// Compresses frames.
pub(super) fn compress(raw: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(raw, LEVEL)
}

/// The entries of a compressed chunk.
///
/// # Errors
/// Why it is not what the manifest says.
pub(super) fn decode(bytes: &[u8], chunk: &Chunk) -> Result<Vec<Stored>, String> {
    let raw_bytes = usize::try_from(chunk.raw_bytes).map_err(|_| "it is too large")?;
    let raw =
        zstd::bulk::decompress(bytes, raw_bytes).map_err(|error| format!("it cannot be decompressed: {error}"))?;
    if raw.len() != raw_bytes {
        return Err(format!("it has {} bytes, the manifest says {raw_bytes}", raw.len()));
    }
    let (mut rest, mut entries) = (Bytes::from(raw), Vec::new());
    while !rest.is_empty() {
        if rest.len() < FRAME_BYTES {
            return Err("its last frame is cut".into());
        }
        let (header, body) = (rest.get_u32_le() as usize, rest.get_u32_le() as usize);
        if header > rest.len() || body > rest.len() - header {
            return Err("its last frame is cut".into());
        }
        let (header, body) = (rest.split_to(header), rest.split_to(body));
        let stored = Stored { header, body };
        if entries.last().is_some_and(|last: &Stored| last.seq() >= stored.seq()) {
            return Err(format!("position {} stands behind a later one", stored.seq()));
        }
        entries.push(stored);
    }
    let ends = (entries.first().map(Stored::seq), entries.last().map(Stored::seq), entries.len() as u64);
    if ends != (Some(chunk.first), Some(chunk.last), chunk.count) {
        return Err("it has other positions than the manifest says".into());
    }
    Ok(entries)
}
