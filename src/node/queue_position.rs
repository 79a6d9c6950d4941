//! What a room hears of its messages that nobody writes for yet: their positions in the queue, and what a worker does that
//! has not begun to write.
//!
//! Promise: one who joins a room hears both after the snapshot, of its first [`JOINED_MAX`] waiting messages. Live words only:
//! nothing of it is in the log.
//! Not here: when rooms hear that a queue has moved (`core::positions`).

use std::sync::Arc;

use antiphon_schemas::{MessageId, RoomName, wire::feed::Progress};

use super::{Stage, State};
use crate::{
    decide::Policy,
    fanout::{Frame, frame},
};

/// How many waiting messages of a room a joiner hears the positions of: more than one person has. The core waits meanwhile.
const JOINED_MAX: usize = 200;

/// What a new subscriber of a room learns about waiting and claimed messages.
#[derive(Debug)]
pub(super) struct Standing {
    /// How many are before each.
    waiting: Vec<(MessageId, usize)>,
    stages: Vec<(MessageId, Stage)>,
}

/// The open messages of a room. Cost: its own messages, at most [`JOINED_MAX`] waiting ones.
pub(super) fn standing(state: &State, policy: &Policy, room: &RoomName) -> Standing {
    let queue = &state.projections.queue;
    let waiting = queue.waiting_in(room).take(JOINED_MAX).filter_map(|id| {
        let bot = &queue.get(&id)?.ask.bot;
        policy.bots.iter().any(|rule| rule.name == *bot).then_some(())?;
        Some((id, queue.ahead(&id)?))
    });
    let stages = queue.claimed_in(room).filter_map(|id| Some((id, state.writing.get(&id)?.stage.clone()?)));
    Standing { waiting: waiting.collect(), stages: stages.collect() }
}

impl Standing {
    /// The frames that a joiner gets.
    pub(super) fn frames(self) -> impl Iterator<Item = Frame> {
        let waiting = self.waiting.into_iter().map(|(id, ahead)| queued(id, ahead));
        let stages = self.stages.into_iter().map(|(message_id, Stage { name, progress, .. })| {
            frame::live("reply.progress", &Progress { message_id, stage: name, ahead: None, progress })
        });
        waiting.chain(stages)
    }
}

/// The first `max` waiting messages of each bot: which, where, and how many are before them.
pub(super) fn places<'a>(
    state: &'a State,
    policy: &'a Policy,
    max: usize,
) -> impl Iterator<Item = (MessageId, &'a RoomName, usize)> {
    let queue = &state.projections.queue;
    policy.bots.iter().flat_map(move |bot| {
        let ids = queue.waiting(&bot.name).take(max).enumerate();
        ids.filter_map(|(ahead, id)| Some((id, &queue.get(&id)?.room, ahead)))
    })
}

pub(super) fn queued(message_id: MessageId, ahead: usize) -> Frame {
    let stage: Arc<str> = "queued".into();
    frame::live("reply.progress", &Progress { message_id, stage, ahead: Some(ahead as u64), progress: None })
}
