//! The bundle: a log, or a part of it, in one file that anybody can open, check and read without this program.
//!
//! ```text
//! NAME.antiphon is a tar, nothing in it compressed but the entries:
//!   manifest.json          what was exported; name, length and SHA-256 of each member but the last
//!   README.txt             how to read and check it
//!   schemas/KIND.json      what the events look like
//!   checkpoints/…          latest, history, leaves, notary.pub: as they lie in the data folder, if the log had them
//!   entries/00000001.zst … zstd of  header_len u32 │ body_len u32 │ header │ body   (little-endian), again and again
//!   SHA256SUMS             of all members before it, for `sha256sum -c`
//! ```
//!
//! Promises:
//! - the same entries and checkpoints give the same bytes: nothing is in it of the time, the machine or the place;
//! - every byte of the file is covered: a changed one is refused with the member's name, one of an entry with its position;
//! - memory: one chunk, and about a hundred bytes for each.
//!
//! Not here: which entries (`cli::replay::export`), whether they are what a notary signed (`verify`).
//! Start with [`Manifest`], then [`Writer`] and [`Bundle`]; `archive` is the tar.

mod archive;
mod chunk;
#[cfg(test)]
mod fuzz;
mod read;
#[cfg(test)]
mod tests;
mod write;

use antiphon_schemas::{Epoch, RoomName, Seq};
use serde::{Deserialize, Serialize};

pub use self::{
    read::Bundle,
    write::{About, Writer},
};

/// What a bundle's file is called at its end.
pub const ENDING: &str = "antiphon";
/// The version of the format that this code writes and reads.
pub const VERSION: u32 = 1;
/// What is taken along from the folder `checkpoints`; never the notary's key.
pub const CHECKPOINTS: &[&str] = &["latest", "history", "leaves", "notary.pub"];

/// Where `replay load` puts a bundle's checkpoints, beside those that the new server's notary signs with a key of its own.
pub const LOADED: &str = "loaded";

const FORMAT: &str = "antiphon bundle";
const MANIFEST: &str = "manifest.json";
const README: &str = "README.txt";
const README_TEXT: &str = include_str!("README.txt");
const SUMS: &str = "SHA256SUMS";
const FOLDER: &str = "checkpoints";
/// Bytes of a leaf in `checkpoints/leaves`.
const LEAF_BYTES: u64 = 32;

/// What is in a bundle: the member `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    format: String,
    /// [`VERSION`].
    version: u32,
    /// The program that made it, with its version.
    pub program: String,
    /// The epoch of the positions, 16 hex digits.
    epoch: String,
    /// Whether it is the whole log, as long as it was then.
    pub whole: bool,
    /// Which part, if it is not the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Portion>,
    /// The first position in it; absent when it has none.
    pub first: Option<Seq>,
    /// The last one.
    pub last: Option<Seq>,
    /// How many entries.
    pub count: u64,
    /// Texts among them that were redacted, also among them: hidden from readers of the server, but not from those of this file.
    pub redacted_texts: u64,
    /// Entries among them whose body was erased.
    pub erased: u64,
    /// How many leaf hashes are in `checkpoints/leaves`, from position 1 on; absent when the log had no checkpoints.
    pub leaves: Option<u64>,
    /// All members but this one and [`SUMS`], as they follow each other.
    members: Vec<Member>,
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portion {
    /// It begins after this position.
    pub after: Seq,
    /// It ends with this one.
    pub until: Seq,
    /// Only entries of this room; the positions have holes then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
}

/// A file in the tar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    name: String,
    bytes: u64,
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entries: Option<Chunk>,
}

/// What a member of `entries/` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Chunk {
    first: Seq,
    last: Seq,
    count: u64,
    /// Decompressed.
    raw_bytes: u64,
}

impl Portion {
    /// Whether it is how the log begins, with nothing left out up to its end.
    pub fn is_beginning(&self) -> bool {
        self.after == Seq::ZERO && self.room.is_none()
    }
}

impl Manifest {
    /// The epoch of the positions.
    pub fn epoch(&self) -> Epoch {
        self.epoch.parse().unwrap_or(Epoch(0))
    }

    /// What was exported, in words.
    pub fn what(&self) -> String {
        match &self.part {
            None => "the whole log".into(),
            Some(part) => {
                let room = part.room.as_ref().map_or(String::new(), |room| format!(" of the room {room}"));
                format!("the part{room} from position {} to {}", part.after.next(), part.until)
            }
        }
    }

    /// The text of the member. Its last line holds the SHA-256 of all before that line.
    fn text(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.truncate(text.trim_end_matches("\n}").len());
        text.push_str(",\n");
        let check = hex(&sha256(text.as_bytes()));
        text.push_str(&format!("{CHECK}{check}\"\n}}\n"));
        Ok(text)
    }

    /// The text of [`SUMS`] beside a manifest with this text, as `sha256sum` writes it.
    fn sums(&self, text: &str) -> String {
        let own = hex(&sha256(text.as_bytes()));
        let members = self.members.iter().map(|member| (&*member.name, &*member.sha256));
        [(MANIFEST, &*own)].into_iter().chain(members).map(|(name, sha256)| format!("{sha256}  {name}\n")).collect()
    }

    /// The manifest that a text is, if it is as it was written.
    fn parse(text: &str) -> Result<Manifest, String> {
        const DAMAGED: &str = "it is not what was written";
        let (before, check) = text.rsplit_once(CHECK).ok_or(DAMAGED)?;
        if check != format!("{}\"\n}}\n", hex(&sha256(before.as_bytes()))) {
            return Err(DAMAGED.into());
        }
        /// What every version has.
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let head: Head = serde_json::from_str(text).map_err(|_| DAMAGED)?;
        if head.format != FORMAT || head.version != VERSION {
            let Head { format, version } = head;
            return Err(format!(
                "it is `{format}` version {version}, this program knows `{FORMAT}` version {VERSION}; use the version of antiphon that made it"
            ));
        }
        let manifest: Manifest = serde_json::from_str(text).map_err(|error| format!("{DAMAGED}: {error}"))?;
        manifest.sound().map(|()| manifest).map_err(Into::into)
    }

    /// Whether its parts fit together; a bundle may come from anybody.
    fn sound(&self) -> Result<(), &'static str> {
        if self.epoch.parse::<Epoch>().is_err() {
            return Err("it has no epoch");
        }
        let (mut last, mut count) = (Seq::ZERO, 0u64);
        for member in &self.members {
            let Some(chunk) = &member.entries else {
                if count > 0 {
                    return Err("its entries do not stand last");
                }
                continue;
            };
            let room = chunk.last.0.checked_sub(chunk.first.0).and_then(|more| more.checked_add(1));
            let fits = chunk.first > last && chunk.last <= Seq::MAX && chunk.count > 0;
            if !fits || room.is_none_or(|room| chunk.count > room) || chunk.raw_bytes > chunk::RAW_BYTES_MAX as u64 {
                return Err("its members do not follow each other");
            }
            (last, count) = (chunk.last, count + chunk.count);
        }
        let first = self.members.iter().find_map(|member| member.entries).map(|chunk| chunk.first);
        if (self.first, self.last, self.count) != (first, first.map(|_| last), count) {
            return Err("its count is not that of its members");
        }
        if self.whole && (self.part.is_some() || count != last.0) {
            return Err("it calls whole what has holes");
        }
        if !self.whole && self.part.is_none() {
            return Err("it does not say which part it is");
        }
        Ok(())
    }
}

/// Begins the last line of a manifest.
const CHECK: &str = "  \"check\": \"";

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

impl Member {
    fn of(name: String, content: &[u8], entries: Option<Chunk>) -> Member {
        Member { name, bytes: content.len() as u64, sha256: hex(&sha256(content)), entries }
    }
}
