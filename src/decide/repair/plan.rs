//! Planning a repair: a pure fold of lost entries into what is to be offered.
//!
//! Promises: the plan depends on the entries alone; no text that these entries say is erased is in it; whatever they say is
//! erased or hidden is also offered by itself, so that it is in the log to be hidden there even if its message is refused.
//! Not here: what becomes of an offer (the parent module).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use antiphon_schemas::{
    Entry, Event, MessageId, RoomName,
    event::{Author, AuthorKind, MessagePosted, ReplyPosted, release},
};

use super::{EARLIER_MAX, NOBODY, Plan, Restore, RestoredEnd, not_repaired};
use crate::decide::{change::Change, key::KeyWish};

/// Why an answer does not come back.
const TOO_MANY: &str = "it was asked again, and only the last few of its answers come back";

/// Folds lost entries, in order, into what is to be offered.
pub fn plan(lost: &[Arc<Entry>]) -> Plan {
    let mut plan = Plan::default();
    let mut fold = Fold::default();
    for entry in lost {
        let kind = entry.event.kind();
        match (&entry.event, &entry.header.room) {
            // What was signed was another history.
            (Event::LogRepaired(_) | Event::LogCheckpoint(_), _) => {}
            (Event::KeyCreated(e), _) => plan.keys.push(KeyWish::Restore(e.clone())),
            (Event::KeyRevoked(e), _) => plan.keys.push(KeyWish::RestoreRevoked(e.key_id.clone())),
            (Event::Unknown(unknown), _) => {
                let id = unknown.subjects.first().copied();
                plan.refused.push(not_repaired(kind, id, "this version does not know what it says"));
            }
            (Event::MessageRedacted(e), _) => fold.redacted.push(e.message_id),
            (Event::MessageErased(e), _) => fold.erased.push(e.message_id),
            (event, None) => {
                plan.refused.push(not_repaired(kind, event.subjects().first().copied(), "it names no room"));
            }
            (event, Some(room)) => fold.apply(event, room),
        }
    }
    let erased: HashSet<MessageId> = fold.erased.iter().copied().collect();
    // To erase is to hide, too.
    let hide = fold.redacted.iter().filter(|id| !erased.contains(id)).map(|id| (*id, Change::Redact));
    plan.changes = hide.chain(fold.erased.iter().map(|id| (*id, Change::Erase))).collect();
    let hidden: HashSet<MessageId> = fold.redacted.iter().chain(&fold.erased).copied().collect();

    let unfinished = fold.replies.into_values().map(|reply| {
        not_repaired("reply.posted", Some(reply.message_id), "it came without the end of its message; it is done anew")
    });
    plan.refused.extend(unfinished);
    let mut alone = Vec::new();
    for Folded { mut restore, beyond } in fold.restores {
        let shown = restore.needs().into_iter();
        restore.hidden = shown.filter(|id| hidden.contains(id)).collect();
        // This node may still have had its text.
        if erased.contains(&restore.id) {
            restore.posted = restore.posted.as_ref().map(|posted| erased_post(posted.id));
        }
        let last = match &mut restore.end {
            RestoredEnd::Answered { reply: Some(reply), .. } => Some(&mut **reply),
            _ => None,
        };
        for reply in restore.earlier.iter_mut().chain(last).filter(|reply| erased.contains(&reply.id)) {
            *reply = erased_reply(reply.id, reply.message_id);
        }
        let left_out = beyond.iter().filter(|reply| !hidden.contains(&reply.id));
        plan.refused.extend(left_out.map(|reply| not_repaired("reply.posted", Some(reply.message_id), TOO_MANY)));
        alone.extend(hidden_alone(&restore, beyond, &hidden, &erased));
        let says_something = restore.posted.is_some() || restore.reopened || restore.end != RestoredEnd::Open;
        plan.restores.extend(says_something.then_some(restore));
    }
    plan.restores.extend(alone);
    plan
}

/// What is hidden of a message, each by itself: the whole may be refused (it came to another end meanwhile), and a node that
/// does not know that a text was erased could bring that text back later.
fn hidden_alone(
    whole: &Restore,
    beyond: Vec<ReplyPosted>,
    hidden: &HashSet<MessageId>,
    erased: &HashSet<MessageId>,
) -> Vec<Restore> {
    let restore = |posted, earlier, id| Restore {
        id: whole.id,
        room: whole.room.clone(),
        posted,
        reopened: false,
        earlier,
        end: RestoredEnd::Open,
        hidden: vec![id],
    };
    let post = whole.posted.clone().filter(|post| hidden.contains(&post.id));
    let post = post.map(|post| restore(Some(post), vec![], whole.id));
    let beyond = beyond.into_iter().map(|reply| match erased.contains(&reply.id) {
        true => erased_reply(reply.id, reply.message_id),
        false => reply,
    });
    let last = match &whole.end {
        RestoredEnd::Answered { reply, .. } => reply.as_deref().cloned(),
        _ => None,
    };
    let replies = beyond.chain(whole.earlier.iter().cloned()).chain(last);
    let replies = replies.filter(|reply| hidden.contains(&reply.id)).map(|reply| {
        let id = reply.id;
        restore(None, vec![reply], id)
    });
    post.into_iter().chain(replies).collect()
}

/// What the lost entries came to so far.
#[derive(Default)]
struct Fold {
    restores: Vec<Folded>,
    places: HashMap<MessageId, usize>,
    /// Replies whose `message.completed` has not come yet, by their ids.
    replies: HashMap<MessageId, ReplyPosted>,
    redacted: Vec<MessageId>,
    erased: Vec<MessageId>,
}

/// What they came to of one message.
struct Folded {
    restore: Restore,
    /// Earlier answers for which there is no room in it.
    beyond: Vec<ReplyPosted>,
}

impl Fold {
    fn apply(&mut self, event: &Event, room: &RoomName) {
        match event {
            Event::MessagePosted(e) => self.message(e.id, room).restore.posted = Some(e.clone()),
            Event::ReplyPosted(e) => drop(self.replies.insert(e.id, e.clone())),
            Event::MessageCompleted(e) => {
                let reply = self.replies.remove(&e.reply_id).map(Box::new);
                let Folded { restore: message, beyond } = self.message(e.message_id, room);
                // Earlier versions could bring the same reply into a log twice.
                message.earlier.retain(|reply| reply.id != e.reply_id);
                beyond.retain(|reply| reply.id != e.reply_id);
                message.end = RestoredEnd::Answered { reply, completed: e.clone() };
            }
            Event::MessageCancelled(e) => self.message(e.message_id, room).restore.end = RestoredEnd::Cancelled,
            Event::MessageDead(e) => self.message(e.message_id, room).restore.end = RestoredEnd::Dead(e.reason.clone()),
            Event::MessageFailed(e) if e.retry_at_ms.is_none() => {
                self.message(e.message_id, room).restore.end = RestoredEnd::Dead(e.reason.clone());
            }
            Event::MessageReleased(e) if matches!(&*e.reason, release::RETRY_ASKED | release::RESTORED) => {
                let Folded { restore: message, beyond } = self.message(e.message_id, room);
                message.reopened = true;
                if let RestoredEnd::Answered { reply: Some(reply), .. } =
                    std::mem::replace(&mut message.end, RestoredEnd::Open)
                {
                    message.earlier.push(*reply);
                    if message.earlier.len() > EARLIER_MAX {
                        beyond.push(message.earlier.remove(0));
                    }
                }
            }
            Event::MessageClaimed(_) | Event::MessageReleased(_) | Event::MessageFailed(_) => {}
            Event::Erased(e) => match (&*e.kind, e.subjects.as_slice()) {
                ("message.posted", [id]) => self.message(*id, room).restore.posted = Some(erased_post(*id)),
                ("reply.posted", [id, message_id]) => drop(self.replies.insert(*id, erased_reply(*id, *message_id))),
                _ => {}
            },
            Event::MessageRedacted(_) | Event::MessageErased(_) | Event::Unknown(_) => {}
            Event::LogRepaired(_) | Event::LogCheckpoint(_) | Event::KeyCreated(_) | Event::KeyRevoked(_) => {}
        }
    }

    fn message(&mut self, id: MessageId, room: &RoomName) -> &mut Folded {
        let place = *self.places.entry(id).or_insert(self.restores.len());
        if place == self.restores.len() {
            let (room, end) = (room.clone(), RestoredEnd::Open);
            let (posted, reopened, earlier, hidden) = (None, false, vec![], vec![]);
            let restore = Restore { id, room, posted, reopened, earlier, end, hidden };
            self.restores.push(Folded { restore, beyond: vec![] });
        }
        &mut self.restores[place]
    }
}

/// What comes back of a message that was erased: nobody says nothing.
fn erased_post(id: MessageId) -> MessagePosted {
    let (author, text) = (nobody(AuthorKind::Human), "".into());
    MessagePosted { id, author, text, to: None, ask: None, reply_to: None, hops: 0, said_at_ms: None }
}

/// The same of a reply.
fn erased_reply(id: MessageId, message_id: MessageId) -> ReplyPosted {
    let (author, text) = (nobody(AuthorKind::Bot), "".into());
    ReplyPosted { id, message_id, author, text, hops: 1, made: Arc::default() }
}

fn nobody(kind: AuthorKind) -> Author {
    Author { name: NOBODY.into(), kind, color: None }
}
