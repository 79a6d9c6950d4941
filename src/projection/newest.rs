//! What the newest entries say of each message: covers what the index, which is a little behind, does not have yet.
//!
//! Promise: everything newer than [`Newest::floor`] is here. A record read from the index at a position at or above
//! the floor, with these changes applied, is the record as of now.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use antiphon_schemas::{Entry, MessageId, Seq};

use super::{
    record::{Change, Record},
    view,
};

/// Entries kept even when the index has them: a command's facts, read a moment ago, then rarely need a second look.
const KEEP: usize = 4_096;

/// The projection.
#[derive(Debug, Clone, Default)]
pub struct Newest {
    floor: Seq,
    messages: HashMap<MessageId, Changes>,
    order: VecDeque<(Seq, MessageId)>,
}

#[derive(Debug, Clone, Default)]
struct Changes {
    posted: Option<Arc<Entry>>,
    changes: Vec<(Seq, Change)>,
}

impl Newest {
    /// Nothing yet; covers what comes after `floor`.
    pub fn after(floor: Seq) -> Newest {
        Newest { floor, ..Newest::default() }
    }

    /// Everything newer than this is here.
    pub fn floor(&self) -> Seq {
        self.floor
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Folds one entry in.
    pub fn apply(&mut self, entry: &Arc<Entry>) {
        let seq = entry.header.seq;
        let made = view::posted_id(entry);
        for (id, change) in Change::of(entry) {
            let message = self.messages.entry(id).or_default();
            if made == Some(id) {
                message.posted = Some(entry.clone());
            }
            if change.erased {
                message.posted = message.posted.take().map(|posted| view::erased(&posted));
            }
            message.changes.push((seq, change));
            self.order.push_back((seq, id));
        }
    }

    /// Forgets what the index has, but for the newest few.
    pub fn forget(&mut self, indexed: Seq) {
        while self.order.len() > KEEP {
            let (seq, id) = self.order[0];
            if seq > indexed {
                break;
            }
            self.order.pop_front();
            self.floor = self.floor.max(seq);
            if let Some(message) = self.messages.get_mut(&id) {
                message.changes.retain(|(at, _)| *at > seq);
                if message.changes.is_empty() {
                    self.messages.remove(&id);
                }
            }
        }
    }

    /// The record as of now, from the index's record (read at or above the floor) and what is newer.
    pub fn record(&self, id: &MessageId, indexed: Option<Record>) -> Option<Record> {
        let Some(message) = self.messages.get(id) else { return indexed };
        let mut record = indexed.unwrap_or_default();
        message.changes.iter().for_each(|(seq, change)| record.apply(*seq, change));
        (!record.positions.is_empty()).then_some(record)
    }

    /// The entry that posted the message, if that is new enough to be here.
    pub fn posted(&self, id: &MessageId) -> Option<&Arc<Entry>> {
        self.messages.get(id)?.posted.as_ref()
    }
}
