//! What the outbox holds, as a fold of its file log: pending posts in order, refused ones, and how much is neither.
//!
//! Promises: no clock, no I/O; the same entries give the same pending set, whether read at open or applied as they come.

use std::collections::{BTreeMap, HashMap};

use antiphon_schemas::{Entry, MessageId, Seq};

use super::{Counts, Parked, Refused, Settled, record::Record};

/// Bytes of an entry on the disk besides its body: the frame, the header with its kind, its room and one subject.
const RECORD_BYTES: u64 = 150;

/// See the module header.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PendingSet {
    /// By the position of the entry that parked them.
    pending: BTreeMap<Seq, (Parked, u64)>,
    ids: HashMap<MessageId, Seq>,
    /// By the position of the entry that parked them; with that of the entry that refused them.
    refused: BTreeMap<Seq, (Refused, Seq, u64)>,
    live_bytes: u64,
    dead_bytes: u64,
    tail: Seq,
}

impl PendingSet {
    /// Folds the next entry in.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        let (seq, at_ms) = (entry.header.seq, entry.header.at_ms);
        let bytes = bytes_of(entry.body.len());
        match Record::of(entry)? {
            Record::Parked(post) if !self.ids.contains_key(&post.id) => {
                self.live_bytes += bytes;
                self.ids.insert(post.id, seq);
                self.pending.insert(seq, (Parked { post, at_ms }, bytes));
            }
            // Nobody writes these: the one before it counts, as it did when this was answered.
            Record::Parked(_) => self.dead_bytes += bytes,
            Record::Settled(id, how) => {
                let parked = self.ids.remove(&id).and_then(|at| Some((at, self.pending.remove(&at)?)));
                match (parked, how) {
                    (None, _) => self.dead_bytes += bytes,
                    (Some((_, (_, parked_bytes))), Settled::Appended) => {
                        self.live_bytes -= parked_bytes;
                        self.dead_bytes += parked_bytes + bytes;
                    }
                    (Some((at, (Parked { post, at_ms }, parked_bytes))), Settled::Refused(reason)) => {
                        self.live_bytes += bytes;
                        self.refused.insert(at, (Refused { post, reason, at_ms }, seq, parked_bytes + bytes));
                    }
                }
            }
        }
        self.tail = seq;
        Ok(())
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn get(&self, id: &MessageId) -> Option<&Parked> {
        self.pending.get(self.ids.get(id)?).map(|(parked, _)| parked)
    }

    pub(super) fn first(&self, n: usize) -> impl Iterator<Item = &Parked> {
        self.pending.values().map(|(parked, _)| parked).take(n)
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = &Refused> {
        self.refused.values().map(|(refused, ..)| refused)
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            pending: self.pending.len(),
            refused: self.refused.len(),
            bytes: self.live_bytes,
            oldest_at_ms: self.pending.values().next().map(|(parked, _)| parked.at_ms),
        }
    }

    /// Bytes of entries that say nothing any more.
    pub(super) fn dead_bytes(&self) -> u64 {
        self.dead_bytes
    }

    /// The last position folded in.
    pub(super) fn tail(&self) -> Seq {
        self.tail
    }

    /// Positions of the entries that still count, in order: what a compacted log must hold to give the same pending set.
    pub(super) fn live(&self) -> Vec<Seq> {
        let refused = self.refused.iter().flat_map(|(at, (_, settled, _))| [*at, *settled]);
        let mut live: Vec<Seq> = self.pending.keys().copied().chain(refused).collect();
        live.sort_unstable();
        live
    }
}

/// About how much an entry takes on the disk.
pub(super) fn bytes_of(body_bytes: usize) -> u64 {
    body_bytes as u64 + RECORD_BYTES
}
