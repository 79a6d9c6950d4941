//! What an append moves on the lanes, and the picture of all lanes: both pure functions of the queue projection.

use antiphon_schemas::{Event, MessageId, Seq, event::Ask};

use crate::{
    log::{Lane, Move},
    projection::queue::{Queue, State},
};

/// The moves of an append with these events, decided against this queue.
pub(super) fn moves(queue: &Queue, events: &[Event]) -> Vec<Move> {
    let mut moves = Vec::new();
    // Only the first event about a message finds it where the queue has it.
    let mut left: Option<MessageId> = None;
    let mut leave = |moves: &mut Vec<Move>, message_id: MessageId| {
        if left.replace(message_id) != Some(message_id)
            && let Some((lane, since)) = place(queue, message_id)
        {
            moves.push(Move::Drop { lane, since });
        }
    };
    for (draft, event) in events.iter().enumerate() {
        match event {
            Event::MessagePosted(e) => {
                // A post whose answer comes in the same append never waits.
                if let Some(lane) = e.ask.clone().filter(|_| events.len() == 1) {
                    moves.push(Move::Put { lane, draft, message_id: e.id });
                }
            }
            Event::MessageClaimed(e) => {
                if let Some((lane, since)) = place(queue, e.message_id) {
                    moves.push(Move::Take { lane, since, worker: e.worker.clone() });
                }
            }
            Event::MessageReleased(e) => {
                leave(&mut moves, e.message_id);
                moves.push(Move::Put { lane: e.ask.clone(), draft, message_id: e.message_id });
            }
            Event::MessageFailed(e) => leave(&mut moves, e.message_id),
            Event::MessageDead(e) => leave(&mut moves, e.message_id),
            Event::MessageCancelled(e) => leave(&mut moves, e.message_id),
            Event::MessageCompleted(e) => leave(&mut moves, e.message_id),
            _ => {}
        }
    }
    moves
}

/// Where a message is: on which lane, and since which entry. One that waits for a retry is on none.
fn place(queue: &Queue, id: MessageId) -> Option<(Ask, Seq)> {
    let open = queue.get(&id)?;
    let since = match &open.state {
        State::Waiting { since, .. } => *since,
        State::Claimed(claim) => claim.since,
        State::Retrying { .. } => return None,
    };
    Some((open.ask.clone(), since))
}

/// All lanes that are not empty, according to the queue.
pub(super) fn picture(queue: &Queue) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    let mut standing: Vec<_> = queue.iter().filter_map(|(id, open)| Some((place(queue, *id)?, *id, open))).collect();
    standing.sort_by(|((a, since_a), ..), ((b, since_b), ..)| {
        let key = |ask: &Ask| (ask.bot.clone(), ask.priority, ask.second);
        key(a).cmp(&key(b)).then(since_a.cmp(since_b))
    });
    for ((ask, since), id, open) in standing {
        if lanes.last().is_none_or(|lane| lane.ask != ask) {
            lanes.push(Lane { ask, taken: Vec::new(), waiting: Vec::new() });
        }
        let lane = lanes.last_mut().expect("one was pushed");
        match &open.state {
            State::Claimed(claim) => lane.taken.push((since, id, claim.worker.clone())),
            _ => lane.waiting.push((since, id)),
        }
    }
    lanes
}
