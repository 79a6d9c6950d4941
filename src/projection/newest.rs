//! What the newest entries say of each message: covers what the index, which is a little behind, does not have yet.
//!
//! Promise: everything newer than [`Newest::floor`] is here. A record read from the index at a position at or above
//! the floor, with these changes applied, is the record as of now.

use std::{
    collections::{
        VecDeque,
        hash_map::Entry::{Occupied, Vacant},
    },
    iter::successors,
    mem::replace,
    sync::Arc,
};

use antiphon_schemas::{Entry, MessageId, Seq};

use super::{
    keyed::KeyedMap,
    record::{Change, Record},
    view,
};

/// Entries kept even when the index has them: a command's facts, read a moment ago, then rarely need a second look.
const KEEP: usize = 4_096;

/// The projection.
#[derive(Debug, Clone, Default)]
pub struct Newest {
    floor: Seq,
    messages: KeyedMap<MessageId, Message>,
    /// In the order of the log.
    said: VecDeque<Said>,
    /// How many were before the first one in `said`.
    gone: u64,
}

/// What is known of a message that the newest entries speak of.
#[derive(Debug, Clone)]
struct Message {
    posted: Option<Arc<Entry>>,
    /// Sequence number of its latest change, counted since the projection began.
    last: u64,
}

/// One change.
#[derive(Debug, Clone)]
struct Said {
    seq: Seq,
    id: MessageId,
    change: Change,
    /// The change of the same message before it.
    before: Option<u64>,
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
        self.said.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// Folds one entry in.
    pub fn apply(&mut self, entry: &Arc<Entry>) {
        let seq = entry.header.seq;
        let made = view::posted_id(entry);
        for (id, change) in Change::of(entry) {
            let last = self.gone + self.said.len() as u64;
            let (message, before) = match self.messages.entry(id) {
                Occupied(known) => {
                    let message = known.into_mut();
                    let before = replace(&mut message.last, last);
                    (message, Some(before))
                }
                Vacant(new) => (new.insert(Message { posted: None, last }), None),
            };
            if made == Some(id) {
                message.posted = Some(entry.clone());
            }
            if change.erased {
                message.posted = message.posted.take().map(|posted| view::erased(&posted));
            }
            self.said.push_back(Said { seq, id, change, before });
        }
    }

    /// Forgets what the index has, but for the newest few.
    pub fn forget(&mut self, indexed: Seq) {
        while self.said.len() > KEEP && self.said[0].seq <= indexed {
            let Some(oldest) = self.said.pop_front() else { break };
            self.floor = self.floor.max(oldest.seq);
            if let Occupied(message) = self.messages.entry(oldest.id)
                && message.get().last == self.gone
            {
                message.remove();
            }
            self.gone += 1;
        }
    }

    /// The record as of now, from the index's record (read at or above the floor) and what is newer.
    pub fn record(&self, id: &MessageId, indexed: Option<Record>) -> Option<Record> {
        let Some(message) = self.messages.get(id) else { return indexed };
        let said = |number: u64| self.said.get(usize::try_from(number.checked_sub(self.gone)?).ok()?);
        let changes: Vec<_> = successors(said(message.last), |newer| said(newer.before?)).collect();
        let mut record = indexed.unwrap_or_default();
        changes.iter().rev().for_each(|said| record.apply(said.seq, &said.change));
        (!record.positions.is_empty()).then_some(record)
    }

    /// The entry that posted the message, if that is new enough to be here.
    pub fn posted(&self, id: &MessageId) -> Option<&Arc<Entry>> {
        self.messages.get(id)?.posted.as_ref()
    }
}
