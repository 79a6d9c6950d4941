//! A part of a log: it can still be compared with what was signed, because the leaves of the positions that it lacks are there.
//!
//! Promise: an entry of a part that is not what was signed is found and named; what the part lacks is taken as the leaves have
//! it, which the signed root proves. Not here: the rules of a log, which only all of its entries show.

use std::io::Read;

use antiphon_schemas::Seq;

use super::{Finding, tree::Tree};
use crate::{
    audit::merkle::Hash,
    replay::source::{Error, Source},
};

/// The leaves around the entries of a part.
pub(super) struct Around {
    leaves: Box<dyn Read + Send>,
    next: u64,
    /// How many there are.
    pub(super) count: u64,
}

impl Around {
    /// Those of a source; without any nothing can be told.
    ///
    /// # Errors
    /// [`Error::Io`]: they cannot be read.
    pub(super) fn of(source: &mut dyn Source) -> Result<Around, Error> {
        let mut open = || -> Result<Box<dyn Read + Send>, Error> {
            let leaves = source.checkpoint_file("leaves")?;
            Ok(leaves
                .map_or_else(|| Box::new(std::io::empty()) as _, |file| Box::new(std::io::BufReader::new(file)) as _))
        };
        let mut around = Around { leaves: open()?, next: 1, count: u64::MAX };
        while around.take().is_some() {}
        Ok(Around { leaves: open()?, next: 1, count: around.next - 1 })
    }

    /// The next entry of the part, behind the leaves of those that it lacks.
    pub(super) fn push(&mut self, seq: Seq, leaf: Hash, tree: &mut Tree, findings: &mut Vec<Finding>) {
        self.fill(seq, tree, findings);
        if self.next == seq.0 && self.take().is_some() {
            tree.push(leaf, findings);
        }
    }

    /// What comes behind the part's last entry.
    pub(super) fn end(&mut self, tree: &mut Tree, findings: &mut Vec<Finding>) {
        self.fill(Seq(u64::MAX), tree, findings);
    }

    fn fill(&mut self, before: Seq, tree: &mut Tree, findings: &mut Vec<Finding>) {
        while self.next < before.0 {
            let Some(leaf) = self.take() else { return };
            tree.push(leaf, findings);
        }
    }

    fn take(&mut self) -> Option<Hash> {
        let mut leaf = Hash::default();
        if self.next > self.count || self.leaves.read_exact(&mut leaf).is_err() {
            return None;
        }
        self.next += 1;
        Some(leaf)
    }
}
