//! The simulated store: one log with a clock of its own that several nodes share; it goes away, comes back, loses its end.

use std::sync::Arc;

use antiphon_schemas::{Entry, Epoch, Seq};

use crate::log::{Append, BATCH_MAX, Error, Sequencer, Verdict, erased_entry};

/// See the module header.
pub(super) struct Store {
    pub(super) epoch: Epoch,
    pub(super) entries: Vec<Arc<Entry>>,
    /// Since which true time each entry is there, in ms: what no clock can change.
    pub(super) true_ms: Vec<u64>,
    sequencer: Sequencer,
    pub(super) up: bool,
    /// Its clock minus the true time, in ms.
    pub(super) clock_ms: i64,
    /// Nothing more fits for now.
    pub(super) full: bool,
}

/// What true time 0 is called by a right clock.
pub(super) const BEGIN_MS: u64 = 1_700_000_000_000;

impl Store {
    pub(super) fn new() -> Store {
        Store {
            epoch: Epoch(1),
            entries: Vec::new(),
            true_ms: Vec::new(),
            sequencer: Sequencer::default(),
            up: true,
            clock_ms: 0,
            full: false,
        }
    }

    pub(super) fn tail(&self) -> Seq {
        Seq(self.entries.len() as u64)
    }

    /// What it stamps an entry with.
    pub(super) fn now_ms(&self, true_ms: u64) -> u64 {
        let last = self.entries.last().map_or(0, |entry| entry.header.at_ms);
        (BEGIN_MS + true_ms).saturating_add_signed(self.clock_ms).max(last)
    }

    pub(super) fn append(&mut self, batch: Vec<Append>, true_ms: u64) -> Result<Vec<Verdict>, Error> {
        if !self.up {
            return Err(away());
        }
        if self.full && !batch.is_empty() {
            return Err(Error::Full("the simulated disk is full".into()));
        }
        let now_ms = self.now_ms(true_ms);
        let mut verdicts = Vec::new();
        for append in batch {
            let verdict = self.sequencer.admit(append, now_ms);
            if let Verdict::Appended(entries) = &verdict {
                self.entries.extend(entries.iter().cloned());
                self.true_ms.resize(self.entries.len(), true_ms);
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    pub(super) fn read(&self, after: Seq) -> Result<Vec<Arc<Entry>>, Error> {
        if !self.up {
            return Err(away());
        }
        let from = (after.0 as usize).min(self.entries.len());
        Ok(self.entries[from..].iter().take(BATCH_MAX).cloned().collect())
    }

    /// Takes the bodies at these positions out.
    pub(super) fn erase(&mut self, positions: &[Seq]) -> Result<(), Error> {
        if !self.up {
            return Err(away());
        }
        for seq in positions {
            let at = seq.0 as usize - 1;
            if let Some(gone) = erased_entry(&self.entries[at])? {
                self.entries[at] = gone;
            }
        }
        self.sequencer.erase(positions);
        Ok(())
    }

    /// Another master takes over, without the newest entries; an erasure of the old one may not have reached it, either.
    pub(super) fn fail_over(&mut self, keep: usize, bodies: &[Arc<Entry>]) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.entries.truncate(keep);
        self.true_ms.truncate(keep);
        for (entry, before) in self.entries.iter_mut().zip(bodies) {
            *entry = before.clone();
        }
        self.sequencer = Sequencer::resume(self.entries.iter().cloned());
    }
}

pub(super) fn away() -> Error {
    Error::Away("the simulated store is away".into())
}
