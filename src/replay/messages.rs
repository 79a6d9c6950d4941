//! The state of a log's messages at the end of a part of it.
//!
//! Memory: some 60 bytes for each message that was asked of a bot.
//! Not here: which texts were taken back (`hidden`), messages as a server shows them (`projection`).

use std::{collections::HashMap, sync::Arc};

use antiphon_schemas::{Entry, Event, MessageId, wire::Status};

use crate::projection::record::Change;

/// The states of messages.
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

    /// A message's state, and the reason.
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
