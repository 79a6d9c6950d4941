//! Sequences the appends of one process: from the last position and the newest entries it gives each append its verdict.
//!
//! Pure. Not here: whether what was judged is durable (the backends).

use std::{collections::VecDeque, sync::Arc};

use antiphon_schemas::{Entry, Header, Seq, entry::VERSION};

use super::{Append, Error, SCAN_MAX, Verdict, check::erase_among};

/// The last position and everything needed to judge an append.
///
/// Keeps the newest [`SCAN_MAX`] entries; pure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sequencer {
    tail: Seq,
    tail_at_ms: u64,
    recent: VecDeque<Arc<Entry>>,
}

impl Sequencer {
    /// A sequencer for a log that ends with `recent` (the newest entries, at least [`SCAN_MAX`] of them or all).
    pub(crate) fn resume(recent: impl IntoIterator<Item = Arc<Entry>>) -> Sequencer {
        let mut sequencer = Sequencer::default();
        for entry in recent {
            sequencer.push(entry);
        }
        sequencer
    }

    /// The last position judged so far.
    pub(crate) fn tail(&self) -> Seq {
        self.tail
    }

    /// The last entry judged so far.
    pub(crate) fn last(&self) -> Option<&Arc<Entry>> {
        self.recent.back()
    }

    /// The time that an entry gets when the clock says `now_ms`: never before the entry before it.
    pub(crate) fn stamp_ms(&self, now_ms: u64) -> u64 {
        now_ms.max(self.tail_at_ms)
    }

    /// Judges an append and, if it may be written, makes its entries and counts them as there for the next one.
    pub(crate) fn admit(&mut self, append: Append, now_ms: u64) -> Verdict {
        let tail = self.tail;
        if tail < append.after {
            return Verdict::Diverged { tail };
        }
        if !append.subjects.is_empty() {
            let newer = tail.0 - append.after.0;
            if newer > SCAN_MAX {
                return Verdict::Behind { tail };
            }
            let missed = self.recent.iter().skip(self.recent.len().saturating_sub(newer as usize));
            let shares = |e: &Arc<Entry>| e.header.subjects.iter().any(|s| append.subjects.contains(s));
            if missed.clone().any(shares) {
                return Verdict::Conflict(missed.cloned().collect());
            }
        }
        let at_ms = self.stamp_ms(now_ms);
        let mut entries = Vec::with_capacity(append.drafts.len());
        for draft in append.drafts {
            let header = Header {
                seq: self.tail.next(),
                at_ms,
                request: append.request,
                kind: draft.event.kind().into(),
                room: draft.room,
                subjects: draft.event.subjects(),
                version: VERSION,
            };
            let entry = Arc::new(Entry { header, body: draft.body, event: draft.event });
            self.push(entry.clone());
            entries.push(entry);
        }
        Verdict::Appended(entries)
    }

    /// Erases what it keeps of these positions, which are in order.
    pub(crate) fn erase(&mut self, positions: &[Seq]) {
        erase_among(&mut self.recent, positions);
    }

    /// Takes over entries that must continue where the log ends.
    pub(crate) fn load(&mut self, entries: &[Arc<Entry>]) -> Result<(), Error> {
        let (mut tail, mut at_ms) = (self.tail, self.tail_at_ms);
        for entry in entries {
            if entry.header.seq != tail.next() {
                return Err(Error::Invalid(format!("entry {} cannot follow entry {tail}", entry.header.seq)));
            }
            if entry.header.at_ms < at_ms {
                return Err(Error::Invalid(format!("entry {} is older than the entry before it", entry.header.seq)));
            }
            (tail, at_ms) = (entry.header.seq, entry.header.at_ms);
        }
        entries.iter().cloned().for_each(|entry| self.push(entry));
        Ok(())
    }

    /// Counts an entry that is known to continue where the log ends.
    pub(crate) fn push(&mut self, entry: Arc<Entry>) {
        self.tail = entry.header.seq;
        self.tail_at_ms = entry.header.at_ms;
        self.recent.push_back(entry);
        if self.recent.len() > SCAN_MAX as usize {
            self.recent.pop_front();
        }
    }
}
