//! Which texts were taken back: looking back must not bring to light what has been hidden since.
//!
//! Promise: found by headers alone, in one walk from the first entry that is shown to the log's end.
//! Not here: erased texts, which are no longer in the log at all.

use std::collections::HashMap;

use antiphon_schemas::{Entry, Event, MessageId, Seq, Stored, entry::is_erased};

use super::source::{Error, Source};

/// The messages whose texts are hidden, and since when. Memory: some 50 B for each that was taken back.
#[derive(Debug, Clone, Default)]
pub struct Hidden(HashMap<MessageId, Seq>);

impl Hidden {
    /// What is hidden now of the messages after a position: a text is always taken back later than it was posted. The
    /// source is at its end then. `each` gets the number of entries read.
    ///
    /// # Errors
    /// [`Error`] of the source.
    pub fn now(source: &mut dyn Source, after: Seq, mut each: impl FnMut(usize)) -> Result<Hidden, Error> {
        let mut hidden = Hidden::default();
        source.seek(after)?;
        loop {
            let page = source.read()?;
            if page.is_empty() {
                return Ok(hidden);
            }
            page.iter().for_each(|stored| hidden.apply(stored));
            each(page.len());
        }
    }

    /// Takes note of the next entry.
    pub fn apply(&mut self, stored: &Stored) {
        if matches!(stored.kind(), "message.redacted" | "message.erased") {
            for id in stored.subjects() {
                self.0.entry(id).or_insert(stored.seq());
            }
        }
    }

    /// Whether the text of this message is hidden.
    pub fn holds(&self, id: &MessageId) -> bool {
        self.0.contains_key(id)
    }

    /// The position at which a message was hidden, if it was.
    pub fn since(&self, id: MessageId) -> Option<Seq> {
        self.0.get(&id).copied()
    }

    /// As [`Hidden::since`], for the text that an entry holds, if it holds one.
    pub fn text_of(&self, stored: &Stored) -> Option<Seq> {
        let holds_text = matches!(stored.kind(), "message.posted" | "reply.posted") && !is_erased(&stored.body);
        // The first subject is the message that the entry makes.
        (holds_text && !self.0.is_empty()).then(|| stored.subjects().next().and_then(|id| self.since(id))).flatten()
    }

    /// Takes the text out of an entry that posts a hidden one; whether it was one.
    pub fn hide(&self, entry: &mut Entry) -> bool {
        let (id, text) = match &mut entry.event {
            Event::MessagePosted(e) => (&e.id, &mut e.text),
            Event::ReplyPosted(e) => (&e.id, &mut e.text),
            _ => return false,
        };
        let hidden = self.0.contains_key(id);
        if hidden {
            *text = "".into();
        }
        hidden
    }
}
