//! Reads a bundle, and believes nothing of it that was not checked.
//!
//! Opening checks the manifest, the order and lengths of all members, and the small ones; entries and leaves, which may be
//! large, are checked when they are read.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use antiphon_schemas::{Seq, Stored};
use sha2::{Digest, Sha256};

use super::{Chunk, FOLDER, MANIFEST, Manifest, Member, SUMS, archive, chunk, hex, sha256};
use crate::replay::source::Error;

/// A manifest of a log of a billion entries has some ten of these.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// What is read at once.
const PIECE_BYTES: usize = 256 << 10;

/// A bundle that is open for reading.
#[derive(Debug, Clone)]
pub struct Bundle {
    path: PathBuf,
    file: Arc<fs::File>,
    manifest: Arc<Manifest>,
    /// Where the block before each member is.
    places: Arc<Vec<u64>>,
}

impl Bundle {
    /// Opens a bundle, and checks all of it but entries and leaves.
    ///
    /// # Errors
    /// [`Error::Io`] names the member that is not what was written.
    pub fn open(path: &Path) -> Result<Bundle, Error> {
        let io = |error: io::Error| Error::Io(format!("`{}`: {error}", path.display()));
        let file = fs::File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let wrong = |member: &str, why: &str| damaged(path, member, why);
        let no_bundle =
            || Error::Io(format!("`{}` is not a bundle: it does not begin with `{MANIFEST}`", path.display()));
        let mut block = [0; archive::BLOCK as usize];
        file.read_exact_at(&mut block, 0).map_err(|_| no_bundle())?;
        let (name, bytes) = archive::parse(&block).ok_or_else(no_bundle)?;
        if name != MANIFEST {
            return Err(no_bundle());
        }
        if archive::head(MANIFEST, bytes).map_err(io)? != block || bytes > MANIFEST_BYTES_MAX.min(len) {
            return Err(wrong(MANIFEST, "the block before it is not what was written"));
        }
        let mut text = vec![0; usize::try_from(bytes).map_err(|_| wrong(MANIFEST, "it is too large"))?];
        file.read_exact_at(&mut text, archive::BLOCK).map_err(|_| wrong(MANIFEST, "it is cut"))?;
        let text = String::from_utf8(text).map_err(|_| wrong(MANIFEST, "it is not what was written"))?;
        let manifest = Manifest::parse(&text).map_err(|why| wrong(MANIFEST, &why))?;
        let sums = manifest.sums(&text);
        let mut at = archive::extent(bytes);
        let mut places = Vec::with_capacity(manifest.members.len());
        for member in &manifest.members {
            let begin = at.ok_or_else(|| wrong(MANIFEST, "its members are too long"))?;
            places.push(begin);
            at = archive::extent(member.bytes).and_then(|bytes| begin.checked_add(bytes));
        }
        let end = at.ok_or_else(|| wrong(MANIFEST, "its members are too long"))?;
        let bundle =
            Bundle { path: path.into(), file: Arc::new(file), manifest: Arc::new(manifest), places: Arc::new(places) };
        bundle.check_padding(MANIFEST, archive::BLOCK + bytes, archive::padding(bytes))?;
        for (index, member) in bundle.manifest.members.iter().enumerate() {
            if member.entries.is_none() && !is_leaves(member) {
                bundle.check_member(index)?;
            }
        }
        bundle.check_end(end, &sums, len)?;
        Ok(bundle)
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The entries of the chunk that has the first position after `after`, and those of it only; `None` beyond the end.
    ///
    /// # Errors
    /// [`Error::Damaged`] at the first position of a chunk that is not what was written.
    pub fn entries_after(&self, after: Seq) -> Result<Option<Vec<Stored>>, Error> {
        let Some((index, member, entries)) = self.chunk_with(after.next()) else { return Ok(None) };
        let read = || {
            if member.bytes > zstd::zstd_safe::compress_bound(chunk::RAW_BYTES_MAX) as u64 {
                return Err("it is larger than a chunk can be".into());
            }
            let mut bytes = vec![0; usize::try_from(member.bytes).map_err(|_| "it is too large")?];
            self.check_head(index)?;
            let at = self.places[index] + archive::BLOCK;
            self.file.read_exact_at(&mut bytes, at).map_err(|error| error.to_string())?;
            if hex(&sha256(&bytes)) != member.sha256 {
                return Err("its SHA-256 is not that of the manifest".into());
            }
            self.check_zeros(at + member.bytes, archive::padding(member.bytes))?;
            chunk::decode(&bytes, &entries)
        };
        let mut found: Vec<Stored> = read().map_err(|why: String| Error::Damaged {
            at: entries.first.max(after.next()),
            place: self.place(after.next()),
            why,
        })?;
        let skip = found.partition_point(|stored| stored.seq() <= after);
        found.drain(..skip);
        Ok(Some(found))
    }

    /// Which member has a position, for people.
    pub fn place(&self, seq: Seq) -> String {
        let path = self.path.display();
        match self.chunk_with(seq) {
            Some((_, member, Chunk { first, last, .. })) => {
                format!("`{}` (positions {first}-{last}) in `{path}`", member.name)
            }
            None => format!("`{path}`"),
        }
    }

    /// A file of the folder `checkpoints`, checked.
    ///
    /// # Errors
    /// [`Error::Io`] if it is not what was written.
    pub fn checkpoint(&self, name: &str) -> Result<Option<Box<dyn Read + Send>>, Error> {
        let is_it = |member: &Member| member.name.strip_prefix(FOLDER).and_then(|n| n.strip_prefix('/')) == Some(name);
        let Some(index) = self.manifest.members.iter().position(is_it) else { return Ok(None) };
        self.check_member(index)?;
        let at = self.places[index] + archive::BLOCK;
        let window = Window { file: self.file.clone(), at, end: at + self.manifest.members[index].bytes };
        Ok(Some(Box::new(io::BufReader::with_capacity(PIECE_BYTES, window))))
    }

    /// The first chunk that ends at a position or later.
    fn chunk_with(&self, seq: Seq) -> Option<(usize, &Member, Chunk)> {
        let members = &self.manifest.members;
        // Chunks come last, in order of position.
        let index = members.partition_point(|member| member.entries.is_none_or(|chunk| chunk.last < seq));
        let member = members.get(index)?;
        Some((index, member, member.entries?))
    }

    fn check_member(&self, index: usize) -> Result<(), Error> {
        let member = &self.manifest.members[index];
        let check = || {
            self.check_head(index)?;
            let at = self.places[index] + archive::BLOCK;
            let mut window = Window { file: self.file.clone(), at, end: at + member.bytes };
            let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
            loop {
                match window.read(&mut piece).map_err(|error| error.to_string())? {
                    0 => break,
                    read => hash.update(&piece[..read]),
                }
            }
            if hex(&hash.finalize()) != member.sha256 {
                return Err("its SHA-256 is not that of the manifest".into());
            }
            self.check_zeros(at + member.bytes, archive::padding(member.bytes))
        };
        check().map_err(|why: String| damaged(&self.path, &member.name, &why))
    }

    fn check_head(&self, index: usize) -> Result<(), String> {
        let member = &self.manifest.members[index];
        let mut block = [0; archive::BLOCK as usize];
        self.file.read_exact_at(&mut block, self.places[index]).map_err(|error| error.to_string())?;
        match archive::head(&member.name, member.bytes) {
            Ok(head) if head == block => Ok(()),
            _ => Err("the block before it is not what was written".into()),
        }
    }

    fn check_zeros(&self, at: u64, bytes: usize) -> Result<(), String> {
        let mut padding = [1; archive::BLOCK as usize];
        let padding = &mut padding[..bytes];
        self.file.read_exact_at(padding, at).map_err(|error| error.to_string())?;
        if padding.iter().any(|byte| *byte != 0) { Err("what follows it is not empty".into()) } else { Ok(()) }
    }

    fn check_padding(&self, name: &str, at: u64, bytes: usize) -> Result<(), Error> {
        self.check_zeros(at, bytes).map_err(|why| damaged(&self.path, name, &why))
    }

    /// The last member, and that nothing but the end of the tar follows.
    fn check_end(&self, at: u64, sums: &str, len: u64) -> Result<(), Error> {
        let wrong = |why: &str| damaged(&self.path, SUMS, why);
        let bytes = sums.len() as u64;
        let mut expected = archive::head(SUMS, bytes).map_err(|error| wrong(&error.to_string()))?.to_vec();
        expected.extend_from_slice(sums.as_bytes());
        expected.extend_from_slice(&archive::END[..archive::padding(bytes)]);
        expected.extend_from_slice(&archive::END);
        let end = at.saturating_add(expected.len() as u64);
        if len < end {
            return Err(Error::Io(format!("`{}` is cut: it has {len} bytes of {end}", self.path.display())));
        }
        if len > end {
            return Err(Error::Io(format!("`{}` continues after its end at byte {end}", self.path.display())));
        }
        let mut found = vec![0; expected.len()];
        self.file.read_exact_at(&mut found, at).map_err(|error| wrong(&error.to_string()))?;
        if found == expected { Ok(()) } else { Err(wrong("it is not what was written")) }
    }
}

fn damaged(path: &Path, member: &str, why: &str) -> Error {
    Error::Io(format!("the bundle `{}` is damaged: `{member}`: {why}", path.display()))
}

fn is_leaves(member: &Member) -> bool {
    member.name.strip_prefix(FOLDER) == Some("/leaves")
}

/// A part of a file as something to read.
struct Window {
    file: Arc<fs::File>,
    at: u64,
    end: u64,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.end - self.at).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        if len == 0 {
            return Ok(0);
        }
        match self.file.read_at(&mut buffer[..len], self.at)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.at += read as u64;
                Ok(read)
            }
        }
    }
}
