//! A checkpoint: what a log was at one size, in three lines, to be signed as a note.
//!
//! ```text
//! antiphon/node-1/9f3c1a2b4d5e6f70          origin: the notary's name and the log's epoch
//! 20852163                                  size: how many entries, from position 1
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=      root of the Merkle tree over their leaves
//! ```
//!
//! Promises: what is written is read back; further lines are passed over (they are signed, but mean nothing here).
//! Not here: the tree (`merkle`), the signature (`note`).
//!
//! Source: <https://c2sp.org/tlog-checkpoint>.

use antiphon_schemas::Epoch;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    merkle::Hash,
    note::{self, Signer, Verifier},
};

/// What a log was at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log, by whom: `antiphon/<node>/<epoch>`.
    pub origin: String,
    /// How many entries it had.
    pub size: u64,
    /// The root of the Merkle tree over their leaves.
    pub root: Hash,
}

/// Why a note is not a checkpoint that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The note is not signed by a key that was asked for, or is none.
    #[error(transparent)]
    Note(#[from] note::Error),
    /// What it says is not a checkpoint.
    #[error("not a checkpoint: {0}")]
    Malformed(&'static str),
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// The checkpoint that a text says.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn parse(text: &str) -> Result<Checkpoint, Error> {
        let wrong = |why| Err(Error::Malformed(why));
        let Some(lines) = text.strip_suffix('\n') else { return wrong("it does not end in a newline") };
        let lines: Vec<_> = lines.split('\n').collect();
        let [origin, size, root, ..] = lines[..] else { return wrong("it has fewer than three lines") };
        if lines.iter().any(|line| line.is_empty()) {
            return wrong("it has an empty line");
        }
        // One way only to write a number.
        let size = match size.parse::<u64>() {
            Ok(number) if number.to_string() == size => number,
            _ => return wrong("its second line is not a size"),
        };
        match STANDARD.decode(root).map(Hash::try_from) {
            Ok(Ok(root)) => Ok(Checkpoint { origin: origin.into(), size, root }),
            _ => wrong("its third line is not a root"),
        }
    }

    /// As a note, signed.
    ///
    /// # Errors
    /// [`note::Error::Text`] if the origin cannot be part of one.
    pub fn signed(&self, key: &Signer) -> Result<String, note::Error> {
        key.sign(&self.text())
    }

    /// The checkpoint in a note that one of these keys has signed.
    ///
    /// # Errors
    /// [`Error`]: do not trust it.
    pub fn open(note: &str, verifiers: &[Verifier]) -> Result<Checkpoint, Error> {
        Checkpoint::parse(note::open(note, verifiers)?)
    }

    /// The epoch of the log, if the origin is one of ours.
    pub fn epoch(&self) -> Option<Epoch> {
        let (_, epoch) = self.origin.rsplit_once('/')?;
        let number = u64::from_str_radix(epoch, 16).ok().map(Epoch)?;
        (number.to_string() == epoch).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "antiphon/node-1/00000000000000ff".into(), size: 20_852_163, root: [7; 32] }
    }

    #[test]
    fn it_is_read_back_from_a_note_that_its_key_signed() {
        let (key, other) = (Signer::generate("antiphon/node-1").unwrap(), Signer::generate("antiphon/node-2").unwrap());
        let note = checkpoint().signed(&key).unwrap();
        assert_eq!(Checkpoint::open(&note, &[key.verifier().clone()]), Ok(checkpoint()));
        assert_eq!(checkpoint().epoch(), Some(Epoch(255)));
        assert!(matches!(Checkpoint::open(&note, &[other.verifier().clone()]), Err(Error::Note(_))));
        let note = key.sign("not a checkpoint\n").unwrap();
        assert!(matches!(Checkpoint::open(&note, &[key.verifier().clone()]), Err(Error::Malformed(_))));
    }

    #[test]
    fn further_lines_are_passed_over_and_nothing_else_is() {
        let text = checkpoint().text();
        assert_eq!(Checkpoint::parse(&format!("{text}and more\n")), Ok(checkpoint()));
        let root = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        assert!(text.contains(root), "{text}");
        for wrong in [
            text.trim_end(),
            &format!("{text}\n"),
            &format!("\n{text}"),
            &text.replace("20", "020"),
            &text.replace("20", "+20"),
            &text.replace("20852163", "18446744073709551616"),
            &text.replace(root, &root[4..]),
            &text.replace(root, "root"),
            &text.replace("wc=", "wd="),
            "a\n1\n",
        ] {
            assert!(Checkpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
