//! One message's life: every entry about it and its answer, what it waited behind, and how long each part took.
//!
//! Two walks: the first finds the entries by their headers' subjects and decodes no others; the second folds the queue, to
//! know what stood before the message each time when it was put on its lane.
//! Not here: how it looks (`cli::replay::why`).

use std::collections::BTreeMap;

use antiphon_schemas::{Entry, Event, MessageId, Seq, Stored, entry::Malformed};

use super::{
    hidden::Hidden,
    lanes::{Behind, Lanes},
    legs::Way,
    newest::own,
};

/// The first walk.
#[derive(Debug)]
pub struct Search {
    question: MessageId,
    ids: Vec<MessageId>,
    found: Vec<Stored>,
    hidden: Hidden,
}

impl Search {
    /// For a message.
    pub fn of(id: MessageId) -> Search {
        Search { question: id, ids: vec![id], found: Vec::new(), hidden: Hidden::default() }
    }

    /// Looks at the next entry. If it says that the id is that of a reply, the question is returned: start over with that,
    /// since the question's own entries came before.
    pub fn take(&mut self, stored: &Stored) -> Option<MessageId> {
        if !stored.subjects().any(|id| self.ids.contains(&id)) {
            return None;
        }
        let subjects: Vec<_> = stored.subjects().collect();
        match (stored.kind(), &subjects[..]) {
            ("message.claimed" | "message.completed", [message, reply]) | ("reply.posted", [reply, message]) => {
                if *reply == self.question {
                    return Some(*message);
                }
                if *message == self.question && !self.ids.contains(reply) {
                    self.ids.push(*reply);
                }
            }
            _ => {}
        }
        self.hidden.apply(stored);
        self.found.push(own(stored));
        None
    }

    /// Where the log speaks of it; `None` if nowhere.
    ///
    /// # Errors
    /// [`Malformed`], as [`Stored::entry`].
    pub fn finish(self) -> Result<Option<Life>, Malformed> {
        if self.found.is_empty() {
            return Ok(None);
        }
        let mut entries = self.found.iter().map(Stored::entry).collect::<Result<Vec<_>, _>>()?;
        let hidden_texts = entries.iter_mut().filter_map(|entry| self.hidden.hide(entry).then_some(entry.header.seq));
        let hidden_texts = hidden_texts.collect();
        let way = Way::of(entries.iter().filter(|entry| entry.header.subjects.contains(&self.question)));
        Ok(Some(Life { message_id: self.question, entries, hidden_texts, way, waits: BTreeMap::new() }))
    }
}

/// What the log tells of a message.
#[derive(Debug)]
pub struct Life {
    /// The question.
    pub message_id: MessageId,
    /// Every entry about it and its replies, oldest first; hidden texts are taken out.
    pub entries: Vec<Entry>,
    /// The entries whose text was taken out.
    pub hidden_texts: Vec<Seq>,
    /// The way in time.
    pub way: Way,
    /// What it waited behind, by the entry that put it on its lane.
    pub waits: BTreeMap<Seq, Behind>,
}

impl Life {
    /// The last entry that put it on a lane: up to there the second walk goes. `None`: there is no need for one.
    pub fn last_wait(&self) -> Option<Seq> {
        let waits = |entry: &&Entry| match &entry.event {
            Event::MessagePosted(e) => e.ask.is_some(),
            Event::MessageReleased(_) => true,
            _ => false,
        };
        self.entries.iter().rfind(waits).map(|entry| entry.header.seq)
    }

    /// The second walk: the next entry of the whole log.
    ///
    /// # Errors
    /// [`Malformed`], as [`Stored::entry`].
    pub fn fold(&mut self, lanes: &mut Lanes, stored: &Stored) -> Result<(), Malformed> {
        lanes.apply(stored)?;
        if matches!(stored.kind(), "message.posted" | "message.released")
            && stored.subjects().any(|id| id == self.message_id)
            && let Some(behind) = lanes.behind(&self.message_id)
        {
            self.waits.insert(stored.seq(), behind);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        decide::tests::{EPOCH, LIMITS, MESSAGES, config, history, id, steps},
        projection::{Projections, SnapshotData},
        replay::tests::log,
    };

    fn life(entries: &[Stored], mut id: MessageId) -> Option<Life> {
        let mut life = 'again: loop {
            let mut search = Search::of(id);
            for stored in entries {
                if let Some(question) = search.take(stored) {
                    id = question;
                    continue 'again;
                }
            }
            break search.finish().unwrap()?;
        };
        let (mut lanes, last) = (Lanes::default(), life.last_wait());
        for stored in entries.iter().take_while(|stored| Some(stored.seq()) <= last) {
            life.fold(&mut lanes, stored).unwrap();
        }
        Some(life)
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn a_life_is_every_entry_about_a_message_and_its_replies_by_whichever_id(steps in steps()) {
            let (entries, stored) = (history(&steps), log(&steps));
            for n in 0..MESSAGES {
                let mut ids = vec![id(n)];
                ids.extend(entries.iter().filter_map(|entry| match &entry.event {
                    Event::MessageClaimed(e) if e.message_id == id(n) => Some(e.reply_id),
                    _ => None,
                }));
                let about = |entry: &&std::sync::Arc<Entry>| entry.header.subjects.iter().any(|id| ids.contains(id));
                let expected: Vec<_> = entries.iter().filter(about).map(|entry| entry.header.seq).collect();
                for id in &ids {
                    let found = life(&stored, *id);
                    prop_assert_eq!(found.is_none(), expected.is_empty());
                    let Some(found) = found else { continue };
                    prop_assert_eq!(found.message_id, ids[0]);
                    prop_assert_eq!(found.entries.iter().map(|e| e.header.seq).collect::<Vec<_>>(), &expected[..]);
                }
            }
        }

        #[test]
        fn what_a_message_waited_behind_is_what_a_node_would_have_claimed_before_it(steps in steps()) {
            let (entries, stored) = (history(&steps), log(&steps));
            let mut live = Projections::resume(EPOCH, LIMITS, SnapshotData::default());
            let mut lives: BTreeMap<_, _> = (0..MESSAGES).filter_map(|n| Some((id(n), life(&stored, id(n))?))).collect();
            for entry in &entries {
                live.apply(entry);
                if !matches!(entry.event, Event::MessagePosted(_) | Event::MessageReleased(_)) {
                    continue;
                }
                let id = entry.header.subjects[0];
                let behind = lives.get_mut(&id).unwrap().waits.remove(&entry.header.seq);
                prop_assert_eq!(behind.as_ref().map(|b| b.ahead), live.queue.ahead(&id));
                let Some(behind) = behind else { continue };
                let bot = &live.queue.get(&id).unwrap().ask.bot;
                let first: Vec<_> = live.queue.waiting(bot).take_while(|other| *other != id).take(10).collect();
                prop_assert_eq!(behind.first.iter().map(|(id, _)| *id).collect::<Vec<_>>(), first);
                prop_assert_eq!(behind.held, live.queue.depth(bot).claimed);
            }
            prop_assert!(lives.values().all(|life| life.waits.is_empty()));
        }
    }
}
