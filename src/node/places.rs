//! What a room is told about its messages that nobody writes for yet: their places in the queue, and what a worker does that
//! has not begun to write.
//!
//! Promises: whoever joins a room is told both after the snapshot, of its first [`JOINED_MAX`] waiting messages; when a queue
//! moves, the rooms of its first [`PLACES_MAX`] messages are told their new places, at most every [`TELL_EVERY`]. Those further
//! back keep the place that they were told last, which is never too small.
//! Live words only: nothing of it is in the log.

use std::{sync::Arc, time::Duration};

use antiphon_schemas::{Entry, Event, MessageId, RoomName, wire::feed::Progress};
use tokio::time::Instant;

use super::{Stage, State, conductor::Conductor};
use crate::{
    decide::Policy,
    fanout::{Frame, feed::Wake, frame},
};

/// Messages of one bot's queue whose places are told: a crowded room's subscribers all get as many frames each time.
const PLACES_MAX: usize = 50;
/// Messages of a room whose places a joiner is told: more than a person waits for. They are looked up while the conductor waits.
const JOINED_MAX: usize = 200;
/// Nobody reads faster.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Whether a queue has moved since its places were told.
#[derive(Default)]
pub(super) struct Places {
    moved: bool,
    told: Option<Instant>,
}

impl Places {
    /// Takes note of an entry that was applied.
    pub(super) fn note(&mut self, entry: &Entry) {
        self.moved |= matches!(
            entry.event,
            Event::MessageClaimed(_) | Event::MessageReleased(_) | Event::MessageDead(_) | Event::MessageCancelled(_)
        );
    }

    /// When they are to be told.
    pub(super) fn due(&self) -> Option<Instant> {
        self.moved.then(|| self.told.map_or_else(Instant::now, |told| told + TELL_EVERY))
    }
}

impl Conductor {
    /// Tells the rooms that somebody follows the places of their messages.
    pub(super) fn tell_places(&mut self) {
        self.places = Places { moved: false, told: Some(Instant::now()) };
        let inner = self.inner.clone();
        let state = self.read();
        let mut wakes = Vec::new();
        for (id, room, ahead) in places(&state, &inner.policy, PLACES_MAX) {
            wakes.extend(inner.feeds.get(room).map(|feed| feed.push([queued(id, ahead)])));
        }
        drop(state);
        wakes.into_iter().for_each(Wake::wake);
    }
}

/// What whoever joins a room is told of the messages that wait or are claimed.
#[derive(Debug)]
pub(super) struct Standing {
    /// How many stand before each.
    waiting: Vec<(MessageId, usize)>,
    stages: Vec<(MessageId, Stage)>,
}

/// What stands in a room. Cost: its own messages, at most [`JOINED_MAX`] that wait.
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
    /// As it is told.
    pub(super) fn frames(self) -> impl Iterator<Item = Frame> {
        let waiting = self.waiting.into_iter().map(|(id, ahead)| queued(id, ahead));
        let stages = self.stages.into_iter().map(|(message_id, Stage { name, progress, .. })| {
            frame::live("reply.progress", &Progress { message_id, stage: name, ahead: None, progress })
        });
        waiting.chain(stages)
    }
}

/// The first `max` waiting messages of each bot: which, where, and how many stand before them.
fn places<'a>(
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
