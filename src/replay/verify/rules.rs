//! The invariants of a log, one entry after the other: what each may say, given those before it.
//!
//! Promises:
//! - it knows nothing of how a node decides (`decide`) or folds (`projection`): two views of the same rules;
//! - memory is one word a message (`table`), some more for each that is open, and bounded lists;
//! - after a finding it continues as if the entry were right, so that one fault is not reported a hundred times.
//!
//! Not here: bytes and hashes (`tree`), reading (`source`).

mod answers;

use std::collections::{BTreeMap, HashMap};

use antiphon_schemas::{
    Entry, Epoch, Event, MessageId, RoomName, Seq,
    event::{MessageClaimed, MessagePosted, MessageReleased, release},
};

use super::{
    Finding,
    table::{Stands, Table, Word},
};

/// Ends without a claim that a later `log.repaired` may explain; further ones are reported at once.
const UNEXPLAINED_MAX: usize = 100_000;
/// Bodies that were found erased, until the event comes that says so.
const ERASED_MAX: usize = 1_000_000;
/// Open messages that are listed at the end.
pub const OPEN_LISTED_MAX: usize = 1_000;

/// An open message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Open {
    /// Since that position.
    Waiting,
    /// A worker has it.
    Claimed {
        /// The claim.
        fence: Seq,
        /// The id that its reply must have.
        reply_id: MessageId,
        /// Where the reply came, if it did.
        replied: Option<Seq>,
    },
    /// A try failed; it waits for the next.
    Retrying,
}

/// What was read so far.
#[derive(Debug, Default)]
pub struct Rules {
    last: Option<(Seq, u64)>,
    table: Table,
    open: HashMap<MessageId, Open>,
    rooms: HashMap<RoomName, u32>,
    /// Where epochs began that no `log.repaired` explains yet, and which they ended.
    begun: Vec<(Seq, Epoch)>,
    /// Ends without a claim, and what is wrong with them.
    unexplained: BTreeMap<Seq, Finding>,
    /// Erased bodies that no event has named yet.
    erased: BTreeMap<Seq, Option<MessageId>>,
    /// The message that failed for good with the last entry: it may be given up by the next.
    failed: Option<(MessageId, Seq)>,
    /// Entries of kinds that this version does not know.
    pub unknown: u64,
    /// Entries whose bodies were erased.
    pub erased_bodies: u64,
}

impl Rules {
    /// For a log whose epochs began at these positions, oldest first.
    pub fn of(epochs: &[(Seq, Epoch)]) -> Rules {
        let begun = epochs.windows(2).map(|pair| (pair[1].0, pair[0].1)).collect();
        Rules { begun, ..Rules::default() }
    }

    /// The messages and replies so far.
    pub fn messages(&self) -> usize {
        self.table.len()
    }

    /// Bytes that are kept for them.
    pub fn table_bytes(&self) -> usize {
        self.table.bytes()
    }

    /// The next entry.
    pub fn check(&mut self, entry: &Entry, findings: &mut Vec<Finding>) {
        let header = &entry.header;
        let seq = header.seq;
        let mut find = |code, why: String| findings.push(Finding { at: seq, code, why });
        if let Some((last, at_ms)) = self.last {
            match seq {
                _ if seq == last.next() => {}
                _ if seq <= last => find("out-of-order", format!("it comes after position {last}")),
                _ if seq.0 == last.0 + 2 => find("gap", format!("position {} is missing", last.next())),
                _ => find("gap", format!("positions {} to {} are missing", last.next(), Seq(seq.0 - 1))),
            }
            if header.at_ms < at_ms {
                find("time-backwards", format!("it is {} ms older than the entry before it", at_ms - header.at_ms));
            }
        } else if seq != Seq(1) {
            find("gap", format!("the log begins with position {seq}"));
        }
        self.last = Some((seq, header.at_ms));
        if entry.event.kind() != &*header.kind || entry.event.subjects() != header.subjects {
            find("header", "header and body do not say the same messages".into());
        }
        self.event(entry, &mut find);
        if self.failed.is_some_and(|(_, at)| at != seq) {
            self.failed = None;
        }
    }

    fn event(&mut self, entry: &Entry, find: &mut impl FnMut(&'static str, String)) {
        let (seq, room) = (entry.header.seq, entry.header.room.as_ref());
        match &entry.event {
            Event::MessagePosted(e) => self.posted(e, room, find),
            Event::MessageClaimed(e) => self.claimed(e, seq, find),
            Event::MessageReleased(e) => self.released(e, find),
            Event::MessageFailed(e) => {
                self.ends_claim(&e.message_id, e.fence, find);
                if e.retry_at_ms.is_some() {
                    self.open.insert(e.message_id, Open::Retrying);
                } else {
                    self.close(&e.message_id, Stands::Failed);
                    self.failed = Some((e.message_id, seq));
                }
            }
            Event::MessageDead(e) => {
                let with_failure = self.failed.is_some_and(|(id, at)| id == e.message_id && at.next() == seq);
                if !with_failure {
                    self.must_be_open(&e.message_id, find);
                }
                self.close(&e.message_id, Stands::Dead);
            }
            Event::MessageCancelled(e) => {
                self.must_be_open(&e.message_id, find);
                self.close(&e.message_id, Stands::Cancelled);
            }
            Event::MessageRedacted(e) => match self.table.get_mut(&e.message_id) {
                Some(word) => word.redact(),
                None => find("nowhere", format!("it redacts {}, which was never posted", e.message_id)),
            },
            Event::MessageErased(e) => {
                match self.table.get_mut(&e.message_id) {
                    Some(word) if word.is_redacted() => word.erase(),
                    Some(word) => {
                        word.erase();
                        find("not-redacted", format!("it erases {}, which everybody still sees", e.message_id));
                    }
                    None => find("nowhere", format!("it erases {}, which was never posted", e.message_id)),
                }
                for position in &e.positions {
                    self.erased.remove(position);
                }
            }
            Event::ReplyPosted(e) => self.replied(e, seq, room, find),
            Event::MessageCompleted(e) => self.completed(e, seq, find),
            Event::LogRepaired(e) => {
                self.begun.retain(|(at, before)| *before != e.before || *at > seq);
                // Restored entries are between those that the store had kept and this one.
                self.unexplained.retain(|at, _| *at <= e.after);
            }
            Event::LogCheckpoint(e) => {
                if e.size >= seq.0 {
                    find("checkpoint", format!("it covers {} entries, more than there were", e.size));
                }
            }
            Event::KeyCreated(_) | Event::KeyRevoked(_) => {}
            Event::Erased(e) => self.erased_body(e.kind.as_ref(), &e.subjects, seq, room, find),
            Event::Unknown(unknown) if Event::KINDS.contains(&&*unknown.kind) => {
                find("unreadable", format!("its body is not a `{}`", unknown.kind));
            }
            Event::Unknown(_) => self.unknown += 1,
        }
    }

    fn room(&mut self, room: Option<&RoomName>) -> u32 {
        let Some(room) = room else { return 0 };
        if let Some(number) = self.rooms.get(room) {
            return *number;
        }
        let number = u32::try_from(self.rooms.len() + 1).unwrap_or(u32::MAX);
        self.rooms.insert(room.clone(), number);
        number
    }

    fn posted(&mut self, e: &MessagePosted, room: Option<&RoomName>, find: &mut impl FnMut(&'static str, String)) {
        let room = self.room(room);
        if room == 0 {
            find("no-room", "a message must be in a room".into());
        }
        if let Some(to) = &e.reply_to {
            match self.table.get(to) {
                None => find("reply-to", format!("it replies to {to}, which is not before it")),
                Some(word) if word.room() != room => {
                    find("reply-to", format!("it replies to {to}, which is in another room"))
                }
                Some(_) => {}
            }
        }
        let stands = if e.ask.is_some() { Stands::Open } else { Stands::None };
        if !self.table.put(&e.id, Word::new(stands, room)) {
            find("twice", format!("there is a message {} already", e.id));
        } else if stands == Stands::Open {
            self.open.insert(e.id, Open::Waiting);
        }
    }

    fn claimed(&mut self, e: &MessageClaimed, seq: Seq, find: &mut impl FnMut(&'static str, String)) {
        match self.open.get(&e.message_id) {
            Some(Open::Waiting) => {}
            Some(Open::Claimed { fence, .. }) => {
                find("two-claims", format!("{} is claimed, but claim {fence} still holds it", e.message_id));
            }
            Some(Open::Retrying) => find("too-early", format!("{} is claimed before its retry is due", e.message_id)),
            None => self.after_end(&e.message_id, "claimed", find),
        }
        if self.table.get(&e.reply_id).is_some() {
            find("twice", format!("the reply is promised the id {}, which a message has already", e.reply_id));
        }
        let claimed = Open::Claimed { fence: seq, reply_id: e.reply_id, replied: None };
        self.reopen(&e.message_id, claimed);
    }

    fn released(&mut self, e: &MessageReleased, find: &mut impl FnMut(&'static str, String)) {
        let id = &e.message_id;
        match (e.fence, self.open.get(id)) {
            (Some(fence), _) => self.ends_claim(id, fence, find),
            (None, Some(Open::Claimed { fence, .. })) if &*e.reason != release::RESTORED => {
                find("two-claims", format!("{id} waits again, but claim {fence} still holds it"));
            }
            (None, Some(_)) => {}
            (None, None) => {
                let stands = self.table.get(id).map(Word::stands);
                let again =
                    matches!(stands, Some(Stands::Failed | Stands::Dead | Stands::Answered | Stands::Cancelled))
                        && matches!(&*e.reason, release::RETRY_ASKED | release::RESTORED);
                if !again {
                    self.after_end(id, "released", find);
                }
            }
        }
        self.reopen(id, Open::Waiting);
    }

    /// The claim that an event ends must be the live one.
    fn ends_claim(&mut self, id: &MessageId, fence: Seq, find: &mut impl FnMut(&'static str, String)) {
        match self.open.get(id) {
            Some(Open::Claimed { fence: live, .. }) if *live == fence => {}
            Some(Open::Claimed { fence: live, .. }) => {
                find("fence", format!("it speaks for claim {fence} of {id}, but {live} is the live one"));
            }
            Some(_) => find("fence", format!("it speaks for claim {fence} of {id}, which nobody holds")),
            None => self.after_end(id, "spoken of by a worker", find),
        }
    }

    fn must_be_open(&self, id: &MessageId, find: &mut impl FnMut(&'static str, String)) {
        if !self.open.contains_key(id) {
            self.after_end(id, "ended", find);
        }
    }

    /// Something happens to a message that is not open.
    fn after_end(&self, id: &MessageId, what: &str, find: &mut impl FnMut(&'static str, String)) {
        match self.table.get(id).map(Word::stands) {
            None => find("nowhere", format!("{id} is {what}, but was never posted")),
            Some(Stands::None) => find("not-asked", format!("{id} is {what}, but it asks nobody")),
            Some(stands) => {
                find(
                    "after-end",
                    format!("{id} is {what}, but it had ended: {}", format!("{stands:?}").to_lowercase()),
                );
            }
        }
    }

    fn unexplained(&mut self, seq: Seq, code: &'static str, why: String, find: &mut impl FnMut(&'static str, String)) {
        if self.unexplained.len() < UNEXPLAINED_MAX {
            self.unexplained.insert(seq, Finding { at: seq, code, why });
        } else {
            find(code, why);
        }
    }

    fn close(&mut self, id: &MessageId, stands: Stands) {
        self.open.remove(id);
        if let Some(word) = self.table.get_mut(id) {
            word.stand(stands);
        }
    }

    fn reopen(&mut self, id: &MessageId, open: Open) {
        if let Some(word) = self.table.get_mut(id) {
            word.stand(Stands::Open);
            self.open.insert(*id, open);
        }
    }

    /// The end of the log: what nothing has explained.
    pub fn end(&mut self, findings: &mut Vec<Finding>) {
        findings.extend(std::mem::take(&mut self.unexplained).into_values());
        findings.extend(std::mem::take(&mut self.begun).into_iter().map(|(at, before)| {
            let why = format!(
                "a new epoch begins here, and no `log.repaired` says what became of {before}: was it salvaged?"
            );
            Finding { at, code: "epoch", why }
        }));
        let erased = std::mem::take(&mut self.erased);
        findings.extend(erased.into_iter().map(|(at, id)| {
            let of = id.map_or(String::new(), |id| format!(" of {id}"));
            Finding { at, code: "erased", why: format!("the body{of} is gone, and no `message.erased` says why") }
        }));
    }

    /// The messages that are open, in no order, at most [`OPEN_LISTED_MAX`], and how many there are.
    pub fn open(&self) -> (Vec<MessageId>, usize) {
        // An erased post that asked nobody looks open; it is not.
        let open = self.open.iter().filter(|(id, _)| self.table.get(id).is_some_and(|word| !word.is_erased()));
        let count = open.clone().count();
        (open.map(|(id, _)| *id).take(OPEN_LISTED_MAX).collect(), count)
    }
}
