//! What a room hears of its messages that nobody writes for yet: their positions in the queue, and what a worker does that
//! has not begun to write.
//!
//! Promise: one who joins a room hears both after the snapshot. Live words only: nothing of it is in the log.
//! Not here: when a queue that moves is told (`core::positions`).

use std::sync::Arc;

use antiphon_schemas::{MessageId, RoomName, wire::feed::Progress};

use super::State;
use crate::{
    decide::Policy,
    fanout::{Frame, frame},
};

/// Messages of one bot's queue among which one who joins finds those of the room: a look at each.
const LOOKED_AT_MAX: usize = 1_000;

/// What one who joins a room hears of the messages that wait or are claimed.
pub(super) fn standing(state: &State, policy: &Policy, room: &RoomName) -> Vec<Frame> {
    let waiting = places(state, policy, LOOKED_AT_MAX).filter(|(_, of, _)| *of == room);
    let waiting = waiting.map(|(id, _, ahead)| queued(id, ahead));
    let claimed = state.writing.iter().filter(|(_, writing)| writing.room == *room);
    let stages = claimed.filter_map(|(id, writing)| {
        let stage = writing.stage.as_ref()?;
        let progress = Progress { message_id: *id, stage: stage.name.clone(), ahead: None, progress: stage.progress };
        Some(frame::live("reply.progress", &progress))
    });
    waiting.chain(stages).collect()
}

/// The first `max` waiting messages of each bot: which, where, and how many stand before them.
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
