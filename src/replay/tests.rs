//! Logs for the tests of this folder: random ones, as wishes and their decisions make them, and a source that lists them.

use std::sync::Arc;

use antiphon_schemas::{Entry, Epoch, Seq, Stored, event::KeyRevoked};

use super::source::{Error, Source};
use crate::decide::tests::{EPOCH, Step, history, roomless};

/// The log that these wishes make, as it is stored.
pub(crate) fn log(steps: &[Step]) -> Vec<Stored> {
    history(steps).iter().map(|entry| Stored::from(&**entry)).collect()
}

/// An entry that is about nothing.
pub(crate) fn key_revoked(seq: u64) -> Arc<Entry> {
    roomless(seq, KeyRevoked { key_id: "000000000000".into() }.into())
}

/// Pages of a source of the tests: short, so that their ends lie everywhere.
const PAGE: usize = 7;

/// Entries as a source.
pub(crate) struct Listed {
    entries: Vec<Stored>,
    next: usize,
}

impl Listed {
    pub(crate) fn of(entries: Vec<Stored>) -> Listed {
        Listed { entries, next: 0 }
    }
}

impl Source for Listed {
    fn shown(&self) -> String {
        "a list".into()
    }

    fn epoch(&self) -> Epoch {
        EPOCH
    }

    fn seek(&mut self, after: Seq) -> Result<(), Error> {
        self.next = after.0 as usize;
        Ok(())
    }

    fn read(&mut self) -> Result<Vec<Stored>, Error> {
        let page: Vec<_> = self.entries.iter().skip(self.next).take(PAGE).cloned().collect();
        self.next += page.len();
        Ok(page)
    }

    fn tail(&mut self) -> Result<Seq, Error> {
        Ok(Seq(self.entries.len() as u64))
    }

    fn place(&self, seq: Seq) -> String {
        format!("position {seq}")
    }
}
