//! What became of the messages of a part of a log: where they stand at its end, and which texts were hidden.
//!
//! Memory: some 60 bytes for each message that was asked of a bot, and for each that was redacted.
//! Not here: messages as a server shows them (`projection`).

use std::{collections::HashMap, sync::Arc};

use antiphon_schemas::{Entry, Event, Header, MessageId, Seq, Stored, entry::Malformed, wire::Status};

use crate::projection::record::Change;

/// The texts of a log that somebody hid, and since when.
#[derive(Debug, Clone, Default)]
pub struct Hidden(HashMap<MessageId, Seq>);

impl Hidden {
    /// Takes the next entry in; most are passed over after a look at their header.
    ///
    /// # Errors
    /// [`Malformed`] if there is no header.
    pub fn apply(&mut self, stored: &Stored) -> Result<(), Malformed> {
        let header = Header::decode(&stored.header)?;
        if matches!(&*header.kind, "message.redacted" | "message.erased") {
            for subject in header.subjects {
                self.0.entry(subject).or_insert(header.seq);
            }
        }
        Ok(())
    }

    /// The position at which a message was hidden, if it was.
    pub fn since(&self, id: MessageId) -> Option<Seq> {
        self.0.get(&id).copied()
    }

    /// As [`Hidden::since`], for the text that an entry holds, if it holds one.
    pub fn text_of(&self, stored: &Stored) -> Option<Seq> {
        if self.0.is_empty() || antiphon_schemas::entry::is_erased(&stored.body) {
            return None;
        }
        let header = Header::decode(&stored.header).ok()?;
        let holds_text = matches!(&*header.kind, "message.posted" | "reply.posted");
        // The first subject is the message that the entry makes.
        holds_text.then(|| header.subjects.first().and_then(|id| self.since(*id))).flatten()
    }
}

/// Where messages stand.
#[derive(Debug, Clone, Default)]
pub struct Standing(HashMap<MessageId, (Status, Option<Arc<str>>)>);

impl Standing {
    /// Takes the next entry in.
    pub fn apply(&mut self, entry: &Entry) {
        for (id, change) in Change::of(entry) {
            let Some(status) = change.status else { continue };
            if status == Status::None {
                continue;
            }
            self.0.insert(id, (status, change.reason));
        }
    }

    /// Where a message stands, and why.
    pub fn of(&self, id: MessageId) -> (Status, Option<Arc<str>>) {
        self.0.get(&id).cloned().unwrap_or_default()
    }
}

/// Whether an entry makes a message or reply.
pub fn makes_message(entry: &Entry) -> bool {
    match &entry.event {
        Event::MessagePosted(_) | Event::ReplyPosted(_) => true,
        Event::Erased(erased) => matches!(&*erased.kind, "message.posted" | "reply.posted"),
        _ => false,
    }
}
