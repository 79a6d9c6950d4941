//! A room as it was at a moment: its newest messages as people saw them, and what was being answered.
//!
//! Promise (checked): at every position it is what a node's projections were there. Memory: the messages that are shown,
//! and the messages that were open then.
//! Not here: what was hidden later (`hidden`), how it is played (`pace`).

use std::sync::Arc;

use antiphon_schemas::{BotName, Entry, Epoch, MessageId, RoomName, Seq, Stored, entry::Malformed, wire::Message};
use serde::Serialize;

use super::{hidden::Hidden, lanes::Lanes, newest::own};
use crate::projection::{
    queue::{Open, State},
    recent::Recent,
    view,
};

/// The fold.
#[derive(Debug, Clone)]
pub struct RoomThen {
    room: RoomName,
    messages_max: usize,
    recent: Recent,
    lanes: Lanes,
    position: Seq,
    at_ms: u64,
    said: u64,
}

/// A message that had no answer yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// Which.
    pub message_id: MessageId,
    /// Who is asked.
    pub bot: BotName,
    /// 0-9, higher first.
    pub priority: u8,
    /// When the answer was asked for.
    pub asked_at_ms: u64,
    /// Attempts begun so far.
    pub attempts: u32,
    /// Its state.
    #[serde(flatten)]
    pub stands: Stands,
}

/// The state of an unanswered message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Stands {
    /// A worker holds it.
    Claimed {
        /// Who.
        worker: Arc<str>,
        /// Since when.
        since_ms: u64,
        /// Under which claim.
        fence: Seq,
        /// 1 for the first try.
        attempt: u32,
        /// The reply that will be.
        reply_id: MessageId,
    },
    /// On its lane.
    Waiting {
        /// 1 for the one that is claimed next.
        number: usize,
        /// Since when.
        since_ms: u64,
    },
    /// Until its next try.
    Retrying {
        /// When that is due.
        due_at_ms: u64,
    },
}

impl RoomThen {
    /// Before the first entry of a log.
    pub fn new(epoch: Epoch, room: RoomName, messages_max: usize) -> RoomThen {
        // Nothing but this room is put into it.
        let recent = Recent::new(epoch, messages_max, 1);
        RoomThen { room, messages_max, recent, lanes: Lanes::default(), position: Seq::ZERO, at_ms: 0, said: 0 }
    }

    /// Folds the next entry in; returns it if it is of this room.
    ///
    /// # Errors
    /// [`Malformed`], as [`Stored::entry`].
    pub fn apply(&mut self, stored: &Stored) -> Result<Option<Arc<Entry>>, Malformed> {
        (self.position, self.at_ms) = (stored.seq(), stored.at_ms());
        if stored.room() != self.room.as_str() {
            self.lanes.apply(stored)?;
            return Ok(None);
        }
        let entry = Arc::new(own(stored).entry()?);
        self.lanes.apply_entry(&entry);
        self.recent.apply(&entry);
        self.said += u64::from(view::posted_id(&entry).is_some());
        Ok(Some(entry))
    }

    /// The last entry folded in, and its time.
    pub fn at(&self) -> (Seq, u64) {
        (self.position, self.at_ms)
    }

    /// The newest messages, oldest first; what is hidden by now has no text.
    pub fn messages(&self, hidden: &Hidden) -> Vec<Message> {
        let window = self.recent.window(&self.room, Seq::ZERO, self.messages_max);
        let shown = window.messages.iter().map(|message| {
            let mut message = Message::clone(message);
            if hidden.holds(&message.id) {
                view::redact(&mut message);
            }
            message
        });
        shown.collect()
    }

    /// How many messages had been said in the room.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// What was unanswered: first what workers hold, then what waits in order, then what is tried again later.
    pub fn unanswered(&self) -> Vec<Unanswered> {
        let mut open: Vec<_> = self.lanes.queue.iter().filter(|(_, open)| open.room == self.room).collect();
        let order = |open: &Open| match &open.state {
            State::Claimed(claim) => (0, claim.fence.0),
            State::Waiting { since, .. } => (1, since.0),
            State::Retrying { at_ms } => (2, *at_ms),
        };
        open.sort_by_key(|(id, open)| (order(open), **id));
        open.into_iter().map(|(id, open)| self.one(*id, open)).collect()
    }

    fn one(&self, message_id: MessageId, open: &Open) -> Unanswered {
        let stands = match &open.state {
            State::Claimed(claim) => Stands::Claimed {
                worker: claim.worker.clone(),
                since_ms: claim.at_ms,
                fence: claim.fence,
                attempt: claim.attempt,
                reply_id: claim.reply_id,
            },
            State::Waiting { since_ms, .. } => Stands::Waiting {
                number: self.lanes.queue.ahead(&message_id).map_or(0, |ahead| ahead + 1),
                since_ms: *since_ms,
            },
            State::Retrying { at_ms } => Stands::Retrying { due_at_ms: *at_ms },
        };
        let (bot, priority) = (open.ask.bot.clone(), open.ask.priority);
        Unanswered { message_id, bot, priority, asked_at_ms: open.asked_at_ms, attempts: open.attempts, stands }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        decide::tests::{EPOCH, config, history, room, steps},
        projection::{Limits, Projections, SnapshotData},
        replay::tests::log,
    };

    const MESSAGES_MAX: usize = 5;

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn at_every_position_the_room_is_what_a_node_showed_then(steps in steps()) {
            let limits = Limits { recent_messages: MESSAGES_MAX, rooms: 10 };
            let mut live = Projections::resume(EPOCH, limits, SnapshotData::default());
            let mut then = [0, 1].map(|n| RoomThen::new(EPOCH, room(n), MESSAGES_MAX));
            for (entry, stored) in history(&steps).iter().zip(log(&steps)) {
                live.apply(entry);
                for (n, then) in then.iter_mut().enumerate() {
                    let ours = then.apply(&stored).unwrap();
                    prop_assert_eq!(ours.as_ref(), (entry.header.room == Some(room(n))).then_some(entry));
                    prop_assert_eq!(then.at(), (entry.header.seq, entry.header.at_ms));
                    let window = live.recent.window(&room(n), Seq::ZERO, MESSAGES_MAX);
                    let messages: Vec<_> = window.messages.iter().map(|m| Message::clone(m)).collect();
                    prop_assert_eq!(then.messages(&Hidden::default()), messages);
                    let open: BTreeMap<_, _> = live.queue.iter().filter(|(_, open)| open.room == room(n)).collect();
                    let unanswered = then.unanswered();
                    prop_assert_eq!(unanswered.len(), open.len());
                    for one in unanswered {
                        let open = open[&one.message_id];
                        match (one.stands, &open.state) {
                            (Stands::Claimed { fence, .. }, State::Claimed(claim)) => prop_assert_eq!(fence, claim.fence),
                            (Stands::Waiting { number, .. }, State::Waiting { .. }) => {
                                prop_assert_eq!(live.queue.waiting(&open.ask.bot).nth(number - 1), Some(one.message_id));
                            }
                            (Stands::Retrying { due_at_ms }, State::Retrying { at_ms }) => prop_assert_eq!(due_at_ms, *at_ms),
                            other => prop_assert!(false, "{:?}", other),
                        }
                    }
                }
            }
        }

        #[test]
        fn what_is_hidden_now_is_hidden_in_every_look_back(steps in steps(), cut: prop::sample::Index) {
            let entries = log(&steps);
            let mut hidden = Hidden::default();
            entries.iter().for_each(|stored| hidden.apply(stored));
            let mut then = RoomThen::new(EPOCH, room(0), MESSAGES_MAX);
            for stored in &entries[..cut.index(entries.len() + 1)] {
                then.apply(stored).unwrap();
            }
            for (as_then, now) in then.messages(&Hidden::default()).into_iter().zip(then.messages(&hidden)) {
                let gone = hidden.holds(&now.id);
                prop_assert_eq!((now.redacted, now.text.is_empty()), (gone, gone));
                prop_assert_eq!(as_then.redacted || gone, gone, "what was hidden then is hidden now");
                prop_assert_eq!(Message { text: as_then.text.clone(), redacted: as_then.redacted, ..now }, as_then);
            }
        }
    }
}
