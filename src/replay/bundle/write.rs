//! Makes a bundle.
//!
//! The manifest comes first and names what follows, so everything large goes into a temporary file first (compressed, so
//! at most as much again as the bundle has), and is copied from there once all lengths and hashes are known.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
};

use antiphon_schemas::{Epoch, Event, Stored, entry};
use sha2::{Digest, Sha256};

use super::{
    CHECKPOINTS, Chunk, FOLDER, FORMAT, LEAF_BYTES, MANIFEST, Manifest, Member, Portion, README, README_TEXT, SUMS,
    VERSION, archive, chunk, hex,
};

/// What is copied at once.
const PIECE_BYTES: usize = 256 << 10;

/// A bundle that is being made.
pub struct Writer {
    /// Where large members wait, one after the other.
    aside: fs::File,
    aside_bytes: u64,
    checkpoints: Vec<Placed>,
    leaves: Option<u64>,
    chunks: Vec<Placed>,
    /// The chunk that is being filled, if it has an entry.
    open: Option<Chunk>,
    raw: Vec<u8>,
    erased: u64,
}

/// A member, and where it waits.
struct Placed {
    member: Member,
    at: u64,
}

/// What is known of the entries only where they were chosen.
#[derive(Debug, Clone)]
pub struct About {
    /// The epoch of their positions.
    pub epoch: Epoch,
    /// Which part of the log they are; `None`: all of it.
    pub part: Option<Portion>,
    /// See [`Manifest::redacted_texts`].
    pub redacted_texts: u64,
}

impl Writer {
    /// Begins one. `aside` is an empty file that is the caller's to remove.
    pub fn new(aside: fs::File) -> Writer {
        let (checkpoints, chunks, raw) = (Vec::new(), Vec::new(), Vec::with_capacity(chunk::CHUNK_BYTES));
        Writer { aside, aside_bytes: 0, checkpoints, leaves: None, chunks, open: None, raw, erased: 0 }
    }

    /// Adds the next entry; positions rise.
    ///
    /// # Errors
    /// As the disk says.
    pub fn push(&mut self, stored: &Stored) -> io::Result<()> {
        chunk::frame(&mut self.raw, stored);
        let seq = stored.seq();
        let open = self.open.get_or_insert(Chunk { first: seq, last: seq, count: 0, raw_bytes: 0 });
        *open = Chunk { last: seq, count: open.count + 1, raw_bytes: self.raw.len() as u64, ..*open };
        self.erased += u64::from(entry::is_erased(&stored.body));
        if self.raw.len() >= chunk::CHUNK_BYTES { self.close_chunk() } else { Ok(()) }
    }

    /// Adds a file of the folder `checkpoints`, one of [`CHECKPOINTS`]; of the leaves at most `leaves_max`.
    ///
    /// # Errors
    /// As the disk says, or a name that is none of them.
    pub fn checkpoint(&mut self, name: &str, content: &mut dyn Read, leaves_max: u64) -> io::Result<()> {
        if !CHECKPOINTS.contains(&name) {
            return Err(io::Error::other(format!("`{name}` does not belong into a bundle")));
        }
        let is_leaves = name == "leaves";
        let bytes_max = if is_leaves { leaves_max.saturating_mul(LEAF_BYTES) } else { u64::MAX };
        let (at, mut hash, mut content) = (self.aside_bytes, Sha256::new(), content.take(bytes_max));
        let mut piece = vec![0; PIECE_BYTES];
        let mut bytes = 0;
        loop {
            let read = content.read(&mut piece)?;
            if read == 0 {
                break;
            }
            self.aside.write_all_at(&piece[..read], at + bytes)?;
            hash.update(&piece[..read]);
            bytes += read as u64;
        }
        if is_leaves {
            // A leaf that was being written is not there yet.
            let whole = bytes - bytes % LEAF_BYTES;
            if whole < bytes {
                hash = Sha256::new();
                each_piece(&self.aside, at, whole, |piece| {
                    hash.update(piece);
                    Ok(())
                })?;
            }
            (bytes, self.leaves) = (whole, Some(whole / LEAF_BYTES));
        }
        self.aside_bytes = at + bytes;
        let member = Member { name: format!("{FOLDER}/{name}"), bytes, sha256: hex(&hash.finalize()), entries: None };
        self.checkpoints.push(Placed { member, at });
        Ok(())
    }

    /// Writes the whole bundle; what it says of itself.
    ///
    /// # Errors
    /// As the disk or `out` says.
    pub fn finish(mut self, about: About, out: &mut dyn Write) -> io::Result<Manifest> {
        self.close_chunk()?;
        let small: Vec<_> = small_members().collect();
        let order = |placed: &Placed| CHECKPOINTS.iter().position(|name| placed.member.name.ends_with(name));
        self.checkpoints.sort_by_key(order);
        let large: Vec<&Placed> = self.checkpoints.iter().chain(&self.chunks).collect();
        let chunks = || self.chunks.iter().filter_map(|chunk| chunk.member.entries);
        let members = small.iter().map(|(member, _)| member).chain(large.iter().map(|placed| &placed.member));
        let manifest = Manifest {
            format: FORMAT.into(),
            version: VERSION,
            program: concat!("antiphon ", env!("CARGO_PKG_VERSION")).into(),
            epoch: about.epoch.to_string(),
            whole: about.part.is_none(),
            part: about.part,
            first: chunks().next().map(|chunk| chunk.first),
            last: chunks().next_back().map(|chunk| chunk.last),
            count: chunks().map(|chunk| chunk.count).sum(),
            redacted_texts: about.redacted_texts,
            erased: self.erased,
            leaves: self.leaves.or((!self.checkpoints.is_empty()).then_some(0)),
            members: members.cloned().collect(),
        };
        let text = manifest.text()?;
        put(out, MANIFEST, text.as_bytes())?;
        for (member, content) in &small {
            put(out, &member.name, content.as_bytes())?;
        }
        for Placed { member, at } in large {
            out.write_all(&archive::head(&member.name, member.bytes)?)?;
            each_piece(&self.aside, *at, member.bytes, |piece| out.write_all(piece))?;
            pad(out, member.bytes)?;
        }
        put(out, SUMS, manifest.sums(&text).as_bytes())?;
        out.write_all(&archive::END)?;
        out.flush()?;
        Ok(manifest)
    }

    fn close_chunk(&mut self) -> io::Result<()> {
        let Some(entries) = self.open.take() else { return Ok(()) };
        let bytes = chunk::compress(&self.raw)?;
        self.raw.clear();
        self.aside.write_all_at(&bytes, self.aside_bytes)?;
        let name = format!("entries/{:08}.zst", self.chunks.len() + 1);
        let member = Member::of(name, &bytes, Some(entries));
        self.chunks.push(Placed { member, at: self.aside_bytes });
        self.aside_bytes += bytes.len() as u64;
        Ok(())
    }
}

/// What is the same in every bundle of this version of the program.
fn small_members() -> impl Iterator<Item = (Member, String)> {
    let schemas = schemas().into_iter().map(|(kind, text)| (format!("schemas/{kind}.json"), text));
    let all = [(README.to_owned(), README_TEXT.to_owned())].into_iter().chain(schemas);
    all.map(|(name, text)| (Member::of(name, text.as_bytes(), None), text))
}

/// The JSON Schemas of all kinds, as the files in `schemas/json/events` have them.
fn schemas() -> BTreeMap<&'static str, String> {
    let text = |schema| serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
    Event::json_schemas().into_iter().map(|(kind, schema)| (kind, text(schema))).collect()
}

fn put(out: &mut dyn Write, name: &str, content: &[u8]) -> io::Result<()> {
    let bytes = content.len() as u64;
    out.write_all(&archive::head(name, bytes)?)?;
    out.write_all(content)?;
    pad(out, bytes)
}

fn pad(out: &mut dyn Write, bytes: u64) -> io::Result<()> {
    out.write_all(&archive::END[..archive::padding(bytes)])
}

/// Calls `each` with the contents from `at` on, piece by piece.
fn each_piece(file: &fs::File, at: u64, bytes: u64, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut done = 0;
    while done < bytes {
        let len = PIECE_BYTES.min(usize::try_from(bytes - done).unwrap_or(PIECE_BYTES));
        file.read_exact_at(&mut piece[..len], at + done)?;
        each(&piece[..len])?;
        done += len as u64;
    }
    Ok(())
}
