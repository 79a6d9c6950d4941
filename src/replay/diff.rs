//! Folds a log afresh and compares with what a server has folded: its live state, its snapshot, its recent views, its index.
//!
//! Promises: the first difference is named, by what it is about and both sides of it; a server that keeps running meanwhile makes
//! no differences: the fold follows it to each position that it answers for.
//! Memory: a record for each message of the log, as in the index.
//! Not here: asking the server (`client`), how it looks (`cli::replay`).

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use antiphon_schemas::{
    Event, MessageId, RoomName, Seq,
    wire::{
        Position,
        state::{IndexRecord, StateIndex, StateKept, StateRoom},
    },
};
use serde_json::Value;

use super::source::{Error, Source};
use crate::projection::{
    Limits, Projections, SnapshotData,
    record::{Change, Record},
};

/// Something that the server has in another way than the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// What of the server: `state`, `snapshot`, `view`, `index`.
    pub of: &'static str,
    /// What it is about: a message, a room, a number.
    pub about: String,
    /// What the log says.
    pub log: Value,
    /// What the server says.
    pub server: Value,
    /// The position at which they were compared.
    pub at: Seq,
}

/// The log folded afresh, up to a position that only grows.
pub struct Fresh<'a> {
    source: &'a mut dyn Source,
    projections: Projections,
    records: BTreeMap<MessageId, Record>,
    /// What was read and not folded yet, the next one last.
    ahead: Vec<antiphon_schemas::Stored>,
    /// The `message.erased` so far, and the first position that each names.
    erasures: Vec<(Seq, Seq)>,
}

impl<'a> Fresh<'a> {
    /// At the beginning; `limits` are the server's.
    ///
    /// # Errors
    /// [`Error`] of the source.
    pub fn new(source: &'a mut dyn Source, limits: Limits) -> Result<Fresh<'a>, Error> {
        source.seek(Seq::ZERO)?;
        let projections = Projections::resume(source.epoch(), limits, SnapshotData::default());
        Ok(Fresh { source, projections, records: BTreeMap::new(), ahead: Vec::new(), erasures: Vec::new() })
    }

    /// The last entry that is folded in.
    pub fn position(&self) -> Seq {
        self.projections.position
    }

    /// Folds on, up to a position. `progress` gets the number of entries since its last call.
    ///
    /// # Errors
    /// [`Error`] of the source, also when it ends before the position: then the server knows more than this log.
    pub fn to(&mut self, position: Seq, mut progress: impl FnMut(usize)) -> Result<(), Error> {
        while self.position() < position {
            if self.ahead.is_empty() {
                self.ahead = self.source.read()?;
                self.ahead.reverse();
                progress(self.ahead.len());
            }
            let Some(stored) = self.ahead.pop() else {
                let why = format!(
                    "the log ends at position {}, but the server has folded {position}: does the server use this log?",
                    self.position()
                );
                return Err(Error::Io(why));
            };
            let at = stored.seq();
            let entry = stored.entry().map_err(|why| self.damaged(at, why.to_string()))?;
            if at != self.position().next() {
                return Err(self.damaged(at, format!("it comes after position {}", self.position())));
            }
            let entry = Arc::new(entry);
            if let Event::MessageErased(e) = &entry.event {
                self.erasures.extend(e.positions.iter().min().map(|first| (at, *first)));
            }
            self.projections.apply(&entry);
            // What the index has is in the records; two are too many.
            self.projections.newest.forget(at);
            for (id, change) in Change::of(&entry) {
                self.records.entry(id).or_default().apply(at, &change);
            }
        }
        Ok(())
    }

    /// Whether something that was there at this position was erased later, as far as this fold has come. Then nobody can
    /// fold the log to what it was at that position; from the `message.erased` on all folds are the same again.
    pub fn erased_after(&self, at: Seq) -> bool {
        self.erasures.iter().any(|(erased, first)| *erased > at && *first <= at)
    }

    fn damaged(&self, at: Seq, why: String) -> Error {
        Error::Damaged { at, place: self.source.place(at), why }
    }

    /// Compares open messages, keys and counts; the fold must be at the server's position.
    pub fn kept(&self, of: &'static str, server: &StateKept) -> Option<Difference> {
        let ours = serde_json::to_value(self.projections.snapshot()).unwrap_or(Value::Null);
        let (about, log, server) = first_difference(String::new(), &ours, &server.kept)?;
        Some(Difference { of, about, log, server, at: self.position() })
    }

    /// Compares the recent view of a room, as far back as both have it; the fold must be at the server's position.
    pub fn room(&self, room: &RoomName, server: &StateRoom) -> Option<Difference> {
        let floor = server.floor.map_or(Seq::MAX, |floor| floor.0.seq);
        let window = self.projections.recent.window(room, Seq::ZERO, usize::MAX);
        let floor = floor.max(window.floor.unwrap_or(Seq::MAX));
        let json = |messages: &[Arc<antiphon_schemas::wire::Message>]| {
            let newer = messages.iter().filter(|message| message.position.0.seq > floor);
            let by_id =
                newer.map(|message| (message.id.to_string(), serde_json::to_value(message).unwrap_or_default()));
            Value::Object(by_id.collect())
        };
        let (about, log, server) = first_difference(String::new(), &json(&window.messages), &json(&server.messages))?;
        Some(Difference { of: "view", about: format!("{room}{about}"), log, server, at: self.position() })
    }

    /// Compares a page of the index that was asked for after `after`. The fold must have reached the page's position; what
    /// changed after it is not compared.
    pub fn index(&self, after: Option<MessageId>, page: &StateIndex) -> Option<Difference> {
        let at = page.position.0.seq;
        let end = page.records.last().filter(|_| page.more).map_or(Unbounded, |last| Included(last.id));
        let theirs: HashMap<MessageId, &IndexRecord> = page.records.iter().map(|record| (record.id, record)).collect();
        let difference = |id: &MessageId, log: Value, server: Value| {
            Some(Difference { of: "index", about: id.to_string(), log, server, at })
        };
        for (id, ours) in self.records.range((after.map_or(Unbounded, Excluded), end)) {
            let known: Vec<u64> = ours.positions.iter().map(|seq| seq.0).filter(|seq| *seq <= at.0).collect();
            let Some(theirs) = theirs.get(id) else {
                if known.is_empty() {
                    continue;
                }
                return difference(id, shown(*id, ours), Value::Null);
            };
            let same = if known.len() == ours.positions.len() {
                **theirs == record(*id, ours)
            } else {
                theirs.positions == known
            };
            if !same {
                return difference(id, shown(*id, ours), serde_json::to_value(theirs).unwrap_or_default());
            }
        }
        let more = page.records.iter().find(|record| !self.records.contains_key(&record.id))?;
        difference(&more.id, Value::Null, serde_json::to_value(more).unwrap_or_default())
    }

    /// Messages and replies so far.
    pub fn messages(&self) -> usize {
        self.records.len()
    }
}

fn record(id: MessageId, record: &Record) -> IndexRecord {
    IndexRecord {
        id,
        positions: record.positions.iter().map(|seq| seq.0).collect(),
        status: record.status,
        reason: record.reason.clone(),
        redacted: record.redacted,
        erased: record.erased,
    }
}

fn shown(id: MessageId, ours: &Record) -> Value {
    serde_json::to_value(record(id, ours)).unwrap_or_default()
}

/// The first place at which two documents differ: its path, and what each has there.
fn first_difference(path: String, one: &Value, other: &Value) -> Option<(String, Value, Value)> {
    if one == other {
        return None;
    }
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => a.keys().chain(b.keys()).find_map(|key| {
            let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
            first_difference(format!("{path}/{key}"), a, b)
        }),
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len())).find_map(|n| {
            let (a, b) = (a.get(n).unwrap_or(&Value::Null), b.get(n).unwrap_or(&Value::Null));
            first_difference(format!("{path}/{n}"), a, b)
        }),
        _ => Some((path, one.clone(), other.clone())),
    }
}

/// The position of a response, if it is of this log.
///
/// # Errors
/// [`Error::Io`]: it is of another one.
pub fn of_epoch(source: &dyn Source, position: Position) -> Result<Seq, Error> {
    if position.0.epoch == source.epoch() {
        return Ok(position.0.seq);
    }
    let (server, log) = (position.0.epoch, source.epoch());
    Err(Error::Io(format!("the server's log has epoch {server}, this one {log}: name the server's log with --log")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        decide::tests::{LIMITS, World, config, steps},
        replay::verify::tests::Listed,
    };

    /// What a server that has folded these entries says.
    fn server(world: &World) -> (StateKept, StateRoom, StateIndex) {
        let position = crate::projection::view::position(crate::decide::tests::EPOCH, world.projections.position);
        let kept = serde_json::to_value(world.projections.snapshot()).unwrap();
        let kept = StateKept { position, recent_messages: LIMITS.recent_messages, rooms: LIMITS.rooms, kept };
        let window = world.projections.recent.window(&crate::decide::tests::room(0), Seq::ZERO, usize::MAX);
        let floor = window.floor.map(|seq| crate::projection::view::position(crate::decide::tests::EPOCH, seq));
        let view = StateRoom { position, floor, messages: window.messages };
        let mut records: BTreeMap<MessageId, Record> = BTreeMap::new();
        for entry in &world.entries {
            for (id, change) in Change::of(entry) {
                records.entry(id).or_default().apply(entry.header.seq, &change);
            }
        }
        let records = records.iter().map(|(id, ours)| record(*id, ours)).collect();
        (kept, view, StateIndex { position, records, more: false })
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn a_server_that_folded_the_same_log_does_not_differ_and_one_that_did_not_is_told_where(
            steps in steps(), which in 0..4u8, at: prop::sample::Index,
        ) {
            let mut world = World::new();
            steps.iter().for_each(|step| drop(world.act(step)));
            let (mut kept, view, mut index) = server(&world);
            let mut source = Listed::of(&world.entries);
            let mut fresh = Fresh::new(&mut source, LIMITS).unwrap();
            fresh.to(world.projections.position, |_| {}).unwrap();
            let room = crate::decide::tests::room(0);
            prop_assert_eq!(fresh.kept("state", &kept), None);
            prop_assert_eq!(fresh.room(&room, &view), None);
            prop_assert_eq!(fresh.index(None, &index), None);
            let beyond = matches!(fresh.to(world.projections.position.next(), |_| {}), Err(Error::Io(_)));
            prop_assert!(beyond, "the server knows more than this log");

            prop_assume!(!index.records.is_empty());
            let n = at.index(index.records.len());
            let id = index.records[n].id;
            match which {
                0 => drop(index.records.remove(n)),
                1 => index.records[n].redacted ^= true,
                2 => index.records[n].positions.push(1_000_000),
                _ => {
                    kept.kept["open"] = json!("something else");
                    let difference = fresh.kept("state", &kept).unwrap();
                    prop_assert_eq!(difference.about, "/open");
                    return Ok(());
                }
            }
            let difference = fresh.index(None, &index).unwrap();
            prop_assert_eq!((difference.of, difference.about), ("index", id.to_string()));
        }
    }
}
