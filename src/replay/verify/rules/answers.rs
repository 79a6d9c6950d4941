//! Answers: a reply under its live claim, the end that names it, and bodies that were erased.

use antiphon_schemas::{
    MessageId, RoomName, Seq,
    event::{MessageCompleted, ReplyPosted},
};

use super::{ERASED_MAX, Open, Rules};
use crate::replay::verify::table::{Stands, Word};

impl Rules {
    pub(super) fn replied(
        &mut self,
        e: &ReplyPosted,
        seq: Seq,
        room: Option<&RoomName>,
        find: &mut impl FnMut(&'static str, String),
    ) {
        let room = self.room(room);
        match self.table.get(&e.message_id) {
            None => find("reply-to", format!("it answers {}, which is not before it", e.message_id)),
            Some(word) if word.room() != room => {
                find("reply-to", format!("it answers {}, which is in another room", e.message_id));
            }
            Some(_) => {}
        }
        match self.open.get_mut(&e.message_id) {
            Some(Open::Claimed { reply_id, replied, .. }) if *reply_id == e.id => *replied = Some(seq),
            Some(Open::Claimed { reply_id, .. }) => {
                find("no-claim", format!("the claim on {} promised the reply {reply_id}", e.message_id));
            }
            // Without a claim: only what was brought back after a loss comes so.
            _ => self.unexplained(seq, "no-claim", format!("it answers {} without a live claim", e.message_id), find),
        }
        if !self.table.put(&e.id, Word::new(Stands::None, room)) {
            find("twice", format!("there is a message {} already", e.id));
        }
    }

    pub(super) fn completed(&mut self, e: &MessageCompleted, seq: Seq, find: &mut impl FnMut(&'static str, String)) {
        match self.open.get(&e.message_id) {
            Some(Open::Claimed { fence, reply_id, replied }) => {
                if *fence != e.fence {
                    find("fence", format!("it speaks for claim {}, but {fence} is the live one", e.fence));
                }
                if *reply_id != e.reply_id || replied.is_none_or(|at| at.next() != seq) {
                    find("no-reply", format!("the reply {} does not stand before it", e.reply_id));
                }
            }
            Some(_) => {
                let why = format!("{} is answered without a live claim", e.message_id);
                self.unexplained(seq, "no-claim", why, find);
                if self.table.get(&e.reply_id).is_none() {
                    find("no-reply", format!("there is no reply {}", e.reply_id));
                }
            }
            None => self.after_end(&e.message_id, "answered", find),
        }
        self.close(&e.message_id, Stands::Answered);
    }

    /// Which message it was is left in the header: its subjects and its kind.
    pub(super) fn erased_body(
        &mut self,
        kind: &str,
        subjects: &[MessageId],
        seq: Seq,
        room: Option<&RoomName>,
        find: &mut impl FnMut(&'static str, String),
    ) {
        self.erased_bodies += 1;
        if self.erased.len() < ERASED_MAX {
            self.erased.insert(seq, subjects.first().copied());
        }
        let number = self.room(room);
        match (kind, subjects) {
            ("message.posted", [id]) => {
                if !self.table.put(id, Word::new(Stands::Open, number)) {
                    find("twice", format!("there is a message {id} already"));
                }
                // Whether it asked somebody is gone; what comes later says so.
                self.open.insert(*id, Open::Waiting);
            }
            ("reply.posted", [id, message_id]) => {
                match self.open.get_mut(message_id) {
                    Some(Open::Claimed { reply_id, replied, .. }) if reply_id == id => *replied = Some(seq),
                    _ => {
                        let why = format!("it answers {message_id} without a live claim");
                        self.unexplained(seq, "no-claim", why, find);
                    }
                }
                if !self.table.put(id, Word::new(Stands::None, number)) {
                    find("twice", format!("there is a message {id} already"));
                }
            }
            _ => find("erased", format!("a `{kind}` holds no text that anybody may have erased")),
        }
    }
}
