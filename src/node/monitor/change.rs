//! What changed from one view to the next: a pure function, whose result laid over the first gives the second.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use antiphon_schemas::{
    MessageId,
    wire::monitor::{EndedMessage, MonitorQueue, MonitorUpdate, OpenMessage, Worker},
};

use super::MonitorView;

/// The update between two views; `None` if nothing but the time changed.
pub(super) fn between(before: &MonitorView, now: &MonitorView) -> Option<MonitorUpdate> {
    let (b, n) = (&before.snapshot, &now.snapshot);
    let queues = n.queues.iter().filter_map(|queue| {
        let known = b.queues.iter().find(|known| known.bot == queue.bot);
        (known != Some(queue)).then(|| of_queue(known, queue))
    });
    let known: HashMap<MessageId, &OpenMessage> = b.open.iter().map(|open| (open.message_id, open)).collect();
    let open = n.open.iter().filter(|open| !known.get(&open.message_id).is_some_and(|known| is_same(known, open)));
    let listed: HashSet<MessageId> = n.open.iter().map(|open| open.message_id).collect();
    let gone = b.open.iter().map(|open| open.message_id).filter(|id| !listed.contains(id));
    let known: HashMap<MessageId, &Arc<EndedMessage>> = b.ended.iter().map(|e| (e.message_id, e)).collect();
    let is_known =
        |e: &&Arc<EndedMessage>| known.get(&e.message_id).is_some_and(|known| Arc::ptr_eq(known, e) || *known == *e);
    let new = n.ended.iter().filter(|e| e.position.0.seq > b.position.0.seq && known.get(&e.message_id) != Some(e));
    let missed = (now.ended_count - before.ended_count).saturating_sub(new.count() as u64);
    let workers: HashMap<&Arc<str>, &Worker> = b.workers.iter().map(|worker| (&worker.worker, worker)).collect();
    let here: HashSet<&Arc<str>> = n.workers.iter().map(|worker| &worker.worker).collect();
    let changed = n.workers.iter().filter(|worker| workers.get(&worker.worker) != Some(worker));
    let left = b.workers.iter().map(|worker| &worker.worker).filter(|name| !here.contains(name));
    let update = MonitorUpdate {
        position: n.position,
        at: n.at.clone(),
        health: (b.health != n.health).then(|| n.health.clone()),
        queues: queues.collect(),
        open: open.cloned().collect(),
        open_total: n.open_total,
        gone: gone.collect(),
        ended: n.ended.iter().filter(|e| !is_known(e)).cloned().collect(),
        missed,
        workers: changed.cloned().collect(),
        workers_gone: left.cloned().collect(),
    };
    let nothing = update.health.is_none()
        && update.queues.is_empty()
        && update.open.is_empty()
        && update.gone.is_empty()
        && update.ended.is_empty()
        && update.workers.is_empty()
        && update.workers_gone.is_empty()
        && (update.missed, update.open_total, update.position) == (0, b.open_total, b.position);
    (!nothing).then_some(update)
}

/// A queue with those of its minutes that are not known.
fn of_queue(known: Option<&MonitorQueue>, queue: &MonitorQueue) -> MonitorQueue {
    let known = known.map_or(&[][..], |known| &known.minutes);
    let minutes = queue.minutes.iter().filter(|minute| !known.contains(minute)).cloned().collect();
    MonitorQueue { minutes, ..queue.clone() }
}

/// Whether nothing else changed than how many are before it, which the list itself says.
fn is_same(known: &OpenMessage, open: &OpenMessage) -> bool {
    known == open || OpenMessage { ahead: open.ahead, ..known.clone() } == *open
}
