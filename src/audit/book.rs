//! The notary's book: the tree so far, what was signed of it, and the files of both. Blocking; independent of the server.
//!
//! Promises: the tree never has a leaf that the file `leaves` was not given; nothing is signed that does not extend what
//! was signed before.
//! Not here: when something is signed, and what happens if the log differs from what was signed (`notary`).

use std::{
    io,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use antiphon_schemas::{Entry, Epoch, Stored};
use tracing::warn;

use super::{
    checkpoint::{self, Checkpoint},
    merkle::{CompactRange, Hash},
    note::{self, Signer},
    store::{Leaves, Paths, Rebuilt, Store, read_history, read_latest},
};

/// Leaves between two looks whether to stop: some ten milliseconds.
const LOOK_EVERY: u64 = 65_536;

/// A checkpoint with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: Arc<str>,
    /// When it was signed, in ms since 1970.
    pub at_ms: u64,
}

/// Why the book cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// What is there contradicts itself or the log: only a person can say what is right.
    #[error("{0}")]
    Refused(String),
    /// A file cannot be read or written: the same may do later.
    #[error("{0}")]
    Io(#[from] io::Error),
}

pub(super) struct Book {
    store: Store,
    signer: Signer,
    epoch: Epoch,
    range: CompactRange,
    signed: Option<Signed>,
    /// How many entries the newest note of the history covers.
    kept: u64,
    rebuilt: Option<(Rebuilt, CompactRange)>,
}

impl Book {
    pub(super) fn open(paths: Paths, signer: Signer) -> io::Result<Book> {
        let (store, range) = (Store::open(paths)?, CompactRange::new());
        Ok(Book { store, signer, epoch: Epoch(0), range, signed: None, kept: 0, rebuilt: None })
    }

    /// How many entries the newest note of the history covers.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// The newest checkpoint that this key signed.
    pub(super) fn signed(&self) -> Option<&Signed> {
        self.signed.as_ref()
    }

    /// Reads what was signed last, and begins the tree of this epoch: without leaves, or with [`Book::signed`] to be
    /// grown to by [`Book::regrow`] or from the log. What was signed in another epoch is put away.
    pub(super) fn begin(&mut self, epoch: Epoch) -> Result<(), Error> {
        (self.epoch, self.range, self.signed, self.kept, self.rebuilt) = (epoch, CompactRange::new(), None, 0, None);
        let Some(signed) = self.last_signed()? else {
            return Ok(self.store.cut_leaves(0)?);
        };
        let origin = &signed.checkpoint.origin;
        match signed.checkpoint.epoch() {
            _ if *origin == self.origin(epoch) => {
                let kept = self.last_kept().ok().flatten().filter(|kept| kept.checkpoint.origin == *origin);
                self.kept = kept.map_or(0, |kept| kept.checkpoint.size);
                self.signed = Some(signed);
            }
            Some(ended) if ended != epoch => {
                self.store.set_aside(ended)?;
                let folder = self.store.paths().of_ended(ended).folder;
                warn!(%ended, folder = %folder.display(), "the log has a new epoch: what was signed of the one before is put away");
            }
            _ => return Err(Error::Refused(format!("the checkpoint is of another log, `{origin}`"))),
        }
        Ok(())
    }

    fn origin(&self, epoch: Epoch) -> String {
        format!("{}/{epoch}", self.signer.verifier().name())
    }

    fn last_signed(&self) -> Result<Option<Signed>, Error> {
        let paths = self.store.paths();
        let Some(note) = read_latest(paths)? else { return self.last_kept() };
        match self.opened(&note) {
            Ok(signed) => Ok(Some(signed)),
            // A power cut may leave a file of nothing, or of zeros.
            Err(checkpoint::Error::Note(note::Error::Malformed(why))) => {
                warn!(file = %paths.latest.display(), why, "the newest checkpoint is not whole; continuing from the history");
                self.last_kept()
            }
            Err(why) => {
                Err(Error::Refused(format!("`{}` is not what this notary signed: {why}", paths.latest.display())))
            }
        }
    }

    fn last_kept(&self) -> Result<Option<Signed>, Error> {
        let paths = self.store.paths();
        let Some(note) = read_history(paths)?.pop() else { return Ok(None) };
        let wrong =
            |why| Error::Refused(format!("`{}` is not what this notary signed: {why}", paths.history.display()));
        self.opened(&note).map(Some).map_err(wrong)
    }

    fn opened(&self, note: &str) -> Result<Signed, checkpoint::Error> {
        let checkpoint = Checkpoint::open(note, std::slice::from_ref(self.signer.verifier()))?;
        let written = std::fs::metadata(&self.store.paths().latest).and_then(|meta| meta.modified());
        let since = written.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or(Duration::ZERO);
        Ok(Signed { checkpoint, note: note.into(), at_ms: since.as_millis() as u64 })
    }

    /// Grows the tree to what was signed from the file `leaves`. Returns the last leaf, or `None` if the file is short or
    /// its leaves are not those that were signed: then they are to be made again.
    pub(super) fn regrow(&mut self, is_stopping: impl Fn() -> bool) -> Result<Option<Hash>, Error> {
        let Some(signed) = &self.signed else { return Ok(None) };
        let (size, root) = (signed.checkpoint.size, signed.checkpoint.root);
        let Some(mut leaves) = Leaves::open(self.store.paths())?.filter(|leaves| leaves.len() >= size) else {
            return Ok(None);
        };
        let (mut range, mut last) = (CompactRange::new(), Hash::default());
        for index in 0..size {
            if index % LOOK_EVERY == 0 && is_stopping() {
                return Err(io::Error::from(io::ErrorKind::Interrupted).into());
            }
            last = leaves.get(index)?;
            range.append(last);
        }
        if range.root() != root {
            return Ok(None);
        }
        self.range = range;
        self.store.cut_leaves(size)?;
        Ok(Some(last))
    }

    /// Takes the next entries of the log.
    pub(super) fn take(&mut self, entries: &[Arc<Entry>]) -> Result<(), Error> {
        let leaves = leaves_of(entries);
        self.store.write_leaves(self.range.size(), &leaves)?;
        self.range.extend(leaves);
        Ok(())
    }

    /// Adds the next entries of the log to the leaves being rebuilt; returns how many there are. The existing file is kept
    /// until [`Book::adopt`].
    pub(super) fn take_again(&mut self, entries: &[Arc<Entry>]) -> Result<u64, Error> {
        if self.rebuilt.is_none() {
            self.rebuilt = Some((self.store.rebuild()?, CompactRange::new()));
        }
        let Some((file, range)) = &mut self.rebuilt else { return Ok(0) };
        let leaves = leaves_of(entries);
        file.write_leaves(range.size(), &leaves)?;
        range.extend(leaves);
        Ok(range.size())
    }

    /// Takes the leaves that were made again for the tree, if they are those that were signed.
    pub(super) fn adopt(&mut self) -> Result<(), Error> {
        let Some((file, range)) = self.rebuilt.take() else { return Ok(()) };
        if self.signed.as_ref().is_some_and(|signed| signed.checkpoint.root != range.root()) {
            return Err(Error::Refused("an entry of the log is not the one that was signed".into()));
        }
        self.store.adopt(file)?;
        self.range = range;
        Ok(())
    }

    /// Signs the tree as it is.
    pub(super) fn sign(&mut self, at_ms: u64) -> Result<&Signed, Error> {
        let (size, root) = (self.range.size(), self.range.root());
        let checkpoint = Checkpoint { origin: self.origin(self.epoch), size, root };
        let note = checkpoint.signed(&self.signer).map_err(|why| Error::Refused(why.to_string()))?;
        self.store.write_latest(&note)?;
        Ok(self.signed.insert(Signed { checkpoint, note: note.into(), at_ms }))
    }

    /// Adds what was signed last to the history, once.
    pub(super) fn keep(&mut self) -> Result<(), Error> {
        if let Some(signed) = self.signed.as_ref().filter(|signed| signed.checkpoint.size > self.kept) {
            self.store.add_history(&signed.note)?;
            self.kept = signed.checkpoint.size;
        }
        Ok(())
    }

    /// At a clean stop: everything is on the disk.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        Ok(self.store.sync()?)
    }
}

fn leaves_of(entries: &[Arc<Entry>]) -> Vec<Hash> {
    entries.iter().map(|entry| Stored::from(&**entry).leaf()).collect()
}
