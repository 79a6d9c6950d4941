//! The view: what is looked at in one step, and how that and the fold are shown.
//!
//! Promise: everything in it is of one position, except for what is live. Only while the log cannot be read what ended and
//! the minutes lag behind.

use std::{collections::HashMap, sync::OnceLock};

use antiphon_schemas::{
    BotName, Epoch, MessageId, Seq, time,
    wire::{
        Lane, StoreState,
        monitor::{MonitorHealth, MonitorQueue, MonitorSnapshot, OpenMessage},
    },
};
use tracing::debug;

use super::{Fold, MonitorView, Node, Surroundings};
use crate::{
    node::{
        Condition, State,
        workers::{self, Live},
    },
    projection::{
        minutes::{Tally, spread},
        monitor::Asked,
        open_list::{OpenList, Row, open_list},
        queue::{self, All, Depth},
        view,
    },
};

/// Open messages that are listed: more than anybody reads.
const OPEN_MAX: usize = 500;

/// What is looked at while the state is locked.
struct Seen {
    epoch: Epoch,
    position: Seq,
    built: bool,
    condition: Condition,
    parked: u64,
    refused: u64,
    open_list: OpenList,
    live: HashMap<MessageId, Live>,
    held: Vec<workers::Held>,
    /// With the time since which the oldest waits.
    lanes: Vec<(BotName, Depth, Vec<Lane>, Option<u64>)>,
    /// Everything that is open, for a fold that begins.
    all: Option<All>,
}

impl Seen {
    fn of(node: &Node, fold: Option<&Fold>) -> Seen {
        let state = node.state();
        let State { epoch, projections, .. } = &*state;
        let (epoch, position, queue) = (*epoch, projections.position, &projections.queue);
        let open_list = open_list(queue, OPEN_MAX);
        let live = open_list.rows.iter().filter_map(|row| Some((row.id, Live::of(state.writing.get(&row.id)?))));
        let lanes = node.policy().bots.iter().map(|bot| {
            let lanes = queue.lanes(&bot.name);
            let lanes = lanes.map(|(priority, second, n)| Lane { priority, second, waiting: n as u64 }).collect();
            (bot.name.clone(), queue.depth(&bot.name), lanes, queue.oldest_ms(&bot.name))
        });
        let begins = state.built && !fold.is_some_and(|fold| fold.reaches(epoch, position));
        Seen {
            epoch,
            position,
            built: state.built,
            condition: state.condition.clone(),
            parked: state.parked as u64,
            refused: state.refused as u64,
            live: live.collect(),
            open_list,
            held: workers::held(&state),
            lanes: lanes.collect(),
            all: begins.then(|| queue.all()),
        }
    }
}

/// Reads the state and brings the fold there. Returns whether the view does not continue the previous one.
pub(super) async fn look(node: &Node, fold: &mut Option<Fold>, surroundings: &dyn Surroundings) -> (MonitorView, bool) {
    let seen = Seen::of(node, fold.as_ref());
    let mut anew = false;
    match (&seen.all, &mut *fold) {
        (Some(open), before) => {
            let begun = Fold::begin(node, (seen.epoch, seen.position), open).await;
            anew = begun.is_ok() || before.is_some();
            *before = begun.inspect_err(|why| debug!(%why, "nothing can be shown of the log at the moment")).ok();
        }
        (None, Some(fold)) if seen.built => {
            if let Err(why) = fold.advance(node, seen.position).await {
                debug!(%why, "what ended cannot be read at the moment");
            }
        }
        _ => {}
    }
    if let Some(fold) = fold {
        look_up(node, fold, &seen.open_list).await;
    }
    (view(node, seen, fold.as_ref(), surroundings), anew)
}

/// Looks up what messages say that were posted before the fold began.
async fn look_up(node: &Node, fold: &mut Fold, open_list: &OpenList) {
    for id in fold.monitor.lacking(open_list.rows.iter().map(|row| &row.id)) {
        match node.message(id).await {
            Ok(message) => fold.monitor.learn(id, message.as_ref()),
            // The next look tries again.
            Err(why) => return debug!(%why, "what a message says cannot be read at the moment"),
        }
    }
}

fn view(node: &Node, seen: Seen, fold: Option<&Fold>, surroundings: &dyn Surroundings) -> MonitorView {
    let (epoch, monitor) = (seen.epoch, fold.map(|fold| &fold.monitor));
    let health = health(node, &seen, surroundings);
    let queues = seen.lanes.into_iter().map(|(bot, depth, lanes, oldest_ms)| {
        let minutes = monitor.and_then(|monitor| monitor.minutes(&bot));
        let nothing = Tally::default();
        let all = minutes.map_or(&nothing, |minutes| minutes.all());
        MonitorQueue {
            model: surroundings.model(&bot),
            paused: surroundings.paused(&bot),
            waiting: depth.waiting as u64,
            retrying: depth.retrying as u64,
            claimed: depth.claimed as u64,
            oldest_at: oldest_ms.map(time::rfc3339),
            lanes,
            minutes: minutes.map_or_else(Vec::new, |minutes| minutes.shown()),
            posted: all.posted,
            answered: all.answered,
            failed: all.failed,
            retried: all.retried,
            takeovers: all.takeovers,
            waiting_ms: spread(&all.waiting),
            first_token_ms: spread(&all.first_token),
            total_ms: spread(&all.total),
            bot,
        }
    });
    let open = seen.open_list.rows.iter().map(|row| {
        let asked = monitor.and_then(|monitor| monitor.open(&row.id));
        open_message(epoch, row, asked, seen.live.get(&row.id))
    });
    let snapshot = MonitorSnapshot {
        position: view::position(epoch, seen.position),
        at: time::rfc3339(node.clock().now_ms()),
        node: node.name().clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        health,
        queues: queues.collect(),
        open: open.collect(),
        open_total: seen.open_list.total as u64,
        ended: monitor.map_or_else(Vec::new, |monitor| monitor.ended().cloned().collect()),
        since_at: fold.and_then(|fold| fold.since_ms).map(time::rfc3339),
        workers: node.listed(seen.held, epoch, surroundings),
    };
    let [ended_count, hidden_count] = monitor.map_or([0; 2], |monitor| [monitor.ended_count(), monitor.hidden_count()]);
    MonitorView { snapshot, ended_count, hidden_count, encoded: OnceLock::new() }
}

fn health(node: &Node, seen: &Seen, surroundings: &dyn Surroundings) -> MonitorHealth {
    let (info, trouble) = (node.info(), seen.condition.trouble());
    let at = |seq| view::position(seen.epoch, seq);
    MonitorHealth {
        state: match seen.condition {
            Condition::Connected => StoreState::Connected,
            Condition::Degraded { .. } => StoreState::Degraded,
            Condition::Refusing { .. } => StoreState::Refusing,
        },
        since: trouble.map(|(since_ms, _)| time::rfc3339(since_ms)),
        reason: trouble.map(|(_, why)| why.clone()),
        parked: seen.parked,
        parked_refused: seen.refused,
        log: info.backend.to_string(),
        durability: info.durability.to_string(),
        tail: at(node.tail()),
        indexed: at(node.indexed()),
        subscribers: surroundings.subscribers(),
    }
}

fn open_message(epoch: Epoch, row: &Row, asked: Option<&Asked>, live: Option<&Live>) -> OpenMessage {
    let (open, at) = (&row.open, |seq| view::position(epoch, seq));
    let said = asked.and_then(|asked| asked.said.as_ref());
    let stage = live.and_then(|live| live.stage.as_ref());
    let claim = match &open.state {
        queue::State::Claimed(claim) => Some(claim),
        _ => None,
    };
    let (state, since, since_ms) = match &open.state {
        queue::State::Waiting { since, since_ms } => ("waiting".into(), Some(*since), Some(*since_ms)),
        queue::State::Claimed(claim) => {
            let (name, since_ms) =
                stage.map_or_else(|| ("claimed".into(), claim.at_ms), |s| (s.name.clone(), s.since_ms));
            (name, Some(claim.fence), Some(since_ms))
        }
        queue::State::Retrying { .. } => {
            let since = asked.and_then(|asked| asked.since);
            ("retrying".into(), since.map(|(seq, _)| seq), since.map(|(_, ms)| ms))
        }
    };
    OpenMessage {
        message_id: row.id,
        room: open.room.clone(),
        author: said.map_or_else(|| "".into(), |said| said.author.clone()),
        text: said.map_or_else(|| "".into(), |said| said.text.clone()),
        bot: open.ask.bot.clone(),
        priority: open.ask.priority,
        second: open.ask.second,
        asked_at: time::rfc3339(open.asked_at_ms),
        position: said.map(|said| said.position).filter(|seq| *seq > Seq::ZERO).map(at),
        state,
        since_at: since_ms.map(time::rfc3339),
        since: since.map(at),
        ahead: row.ahead,
        retry_at: match open.state {
            queue::State::Retrying { at_ms } => Some(time::rfc3339(at_ms)),
            _ => None,
        },
        reason: asked.and_then(|asked| asked.reason.clone()),
        attempt: open.attempts,
        worker: claim.map(|claim| claim.worker.clone()),
        fence: claim.map(|claim| at(claim.fence)),
        reply_id: claim.map(|claim| claim.reply_id),
        progress: stage.and_then(|stage| stage.progress),
        deltas: live.map_or(0, |live| live.deltas),
        first_token_ms: live.and_then(|live| live.first_ms),
    }
}
