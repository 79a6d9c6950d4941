//! Where the texts of a message or of an author are in a log, and which replies may repeat them.
//!
//! Promises: every entry that holds such a text or its author's name is found, and named by its position; a reply that had
//! one in its prompt, or that answers one, is found too, since it may quote it. Memory: what is found, and the ids of it.
//! Not here: copies outside of the log, asking the server, how it looks (`cli::replay`).

use std::collections::{HashMap, HashSet};

use antiphon_schemas::{Entry, Event, Header, MessageId, RoomName, Seq, Stored};

/// Whose texts are looked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// What was said under this name.
    pub author: Option<String>,
    /// These messages or replies.
    pub messages: HashSet<MessageId>,
    /// In this room only.
    pub room: Option<RoomName>,
    /// Up to this position only.
    pub until: Option<Seq>,
    /// The answers to all of these, too.
    pub with_replies: bool,
}

/// An entry that holds a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    /// The message or reply.
    pub id: MessageId,
    /// The message that it answers and because of which it is here; `None` if it was named itself.
    pub answers: Option<MessageId>,
    /// The entry's position, kind, room, time and length.
    pub header: Header,
    /// Bytes of its body.
    pub bytes: usize,
    /// What it is in the log's Merkle tree, before and after.
    pub leaf: [u8; 32],
    /// Its body is gone already.
    pub gone: bool,
    /// The position of the last `message.erased` about it, if any.
    pub noted: Option<Seq>,
}

/// A reply that may repeat a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Mention {
    /// The reply.
    pub reply: MessageId,
    /// Its entry.
    pub header: Header,
    /// The messages that it had in its prompt, or the one that it answers.
    pub of: Vec<MessageId>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The entries that hold a text.
    pub texts: Vec<Text>,
    /// Replies that had one of them in their prompts, and are not among the texts themselves.
    pub prompts: Vec<Mention>,
    /// Replies to one of them that are not among the texts.
    pub answers: Vec<Mention>,
    /// The last position looked at.
    pub tail: Seq,
    at: HashMap<MessageId, usize>,
}

impl Places {
    /// Looks at the next entry; they come in the order of the log.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn look(&mut self, wanted: &Wanted, stored: &Stored) -> Result<(), antiphon_schemas::entry::Malformed> {
        let header = Header::decode(&stored.header)?;
        self.tail = header.seq;
        match &*header.kind {
            "message.posted" | "reply.posted" => {}
            "message.erased" => {
                if let Some(at) = header.subjects.first().and_then(|id| self.at.get(id)) {
                    self.texts[*at].noted = Some(header.seq);
                }
                return Ok(());
            }
            _ => return Ok(()),
        }
        let entry = stored.entry()?;
        let Some(id) = header.subjects.first().copied() else { return Ok(()) };
        let within = wanted.room.as_ref().is_none_or(|room| header.room.as_ref() == Some(room))
            && wanted.until.is_none_or(|until| header.seq <= until);
        let named =
            within && (wanted.messages.contains(&id) || wanted.author.as_deref().is_some_and(|a| said_by(&entry, a)));
        let question = header.subjects.get(1).filter(|question| self.at.contains_key(question)).copied();
        if named || (wanted.with_replies && question.is_some()) {
            let answers = question.filter(|_| !named);
            self.at.insert(id, self.texts.len());
            let (bytes, gone) = (stored.body.len(), antiphon_schemas::entry::is_erased(&stored.body));
            self.texts.push(Text { id, answers, header, bytes, leaf: stored.leaf(), gone, noted: None });
            return Ok(());
        }
        if let Some(question) = question {
            self.answers.push(Mention { reply: id, header: header.clone(), of: vec![question] });
        }
        if let Event::ReplyPosted(e) = &entry.event {
            let of: Vec<_> = e.made.context.iter().filter(|id| self.at.contains_key(id)).copied().collect();
            if !of.is_empty() {
                self.prompts.push(Mention { reply: id, header, of });
            }
        }
        Ok(())
    }

    /// Compares an entry with what was found at its position: whether its text is gone, and nothing else has changed.
    /// `None` where nothing was found.
    pub fn is_gone(&self, stored: &Stored) -> Option<bool> {
        let at = self.texts.binary_search_by_key(&stored.seq(), |text| text.header.seq).ok()?;
        Some(antiphon_schemas::entry::is_erased(&stored.body) && stored.leaf() == self.texts[at].leaf)
    }
}

fn said_by(entry: &Entry, author: &str) -> bool {
    match &entry.event {
        Event::MessagePosted(e) => &*e.author.name == author,
        Event::ReplyPosted(e) => &*e.author.name == author,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use antiphon_schemas::event::{Author, AuthorKind, Made, MessageErased, MessagePosted, ReplyPosted};

    use super::*;
    use crate::decide::tests::{id, room, stored};

    fn post(n: usize, name: &str) -> Event {
        let author = Author { name: name.into(), kind: AuthorKind::Human, color: None };
        MessagePosted {
            id: id(n),
            author,
            text: "words".into(),
            to: None,
            ask: None,
            reply_to: None,
            hops: 0,
            said_at_ms: None,
        }
        .into()
    }

    fn reply(n: usize, to: usize, context: &[usize]) -> Event {
        let author = Author { name: "bot".into(), kind: AuthorKind::Bot, color: None };
        let made = Arc::new(Made { context: context.iter().map(|n| id(*n)).collect(), ..Made::default() });
        ReplyPosted { id: id(n), message_id: id(to), author, text: "words".into(), hops: 1, made }.into()
    }

    /// Positions of the texts, of the replies that had one in their prompts, of the answers.
    fn found(wanted: &Wanted) -> [Vec<u64>; 3] {
        let erased = MessageErased { message_id: id(3), positions: vec![Seq(3)], reply: None };
        let events = [
            post(1, "zoe"),
            reply(2, 1, &[]),
            post(3, "zoe"),
            post(4, "ann"),
            reply(5, 4, &[1, 9]),
            post(6, "zoe"),
            erased.into(),
        ];
        let log: Vec<_> =
            (1..).zip(events).map(|(seq, event)| stored(seq, &room(usize::from(seq == 6)), &event)).collect();
        let mut places = Places::default();
        log.iter().for_each(|stored| places.look(wanted, stored).unwrap());
        assert_eq!(places.tail, Seq(7));
        assert!(places.texts.iter().all(|text| text.noted == (text.id == id(3)).then_some(Seq(7))));
        for (n, stored) in log.iter().enumerate() {
            let gone = Stored { body: antiphon_schemas::entry::erased(&stored.body).unwrap(), ..stored.clone() };
            let is_one = places.texts.iter().any(|text| text.header.seq.0 == n as u64 + 1);
            assert_eq!(
                [places.is_gone(stored), places.is_gone(&gone)],
                [is_one.then_some(false), is_one.then_some(true)]
            );
        }
        let of = |mentions: &[Mention]| mentions.iter().map(|m| m.header.seq.0).collect();
        [places.texts.iter().map(|t| t.header.seq.0).collect(), of(&places.prompts), of(&places.answers)]
    }

    #[test]
    fn texts_are_found_by_author_or_id_and_so_is_what_may_repeat_them() {
        let zoe = Wanted { author: Some("zoe".into()), ..Wanted::default() };
        assert_eq!(found(&zoe), [vec![1, 3, 6], vec![5], vec![2]]);
        assert_eq!(found(&Wanted { room: Some(room(0)), ..zoe.clone() }), [vec![1, 3], vec![5], vec![2]]);
        assert_eq!(found(&Wanted { until: Some(Seq(2)), ..zoe.clone() }), [vec![1], vec![5], vec![2]]);
        assert_eq!(found(&Wanted { with_replies: true, ..zoe }), [vec![1, 2, 3, 6], vec![5], vec![]]);
        let message = |n| Wanted { messages: [id(n)].into(), ..Wanted::default() };
        assert_eq!(found(&message(4)), [vec![4], vec![], vec![5]]);
        assert_eq!(found(&message(5)), [vec![5], vec![], vec![]], "a reply");
        let nothing: [Vec<u64>; 3] = Default::default();
        assert_eq!(found(&message(19)), nothing);
        assert_eq!(found(&Wanted { author: Some("nobody".into()), ..Wanted::default() }), nothing);
    }
}
