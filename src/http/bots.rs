//! Who can be asked in a room, and whether they answer at the moment.
//!
//! Not here: queues and workers as an operator sees them (`monitor`).

use antiphon_schemas::{
    BotName, time,
    wire::{
        bots::{BotState, RoomBot, RoomBots},
        monitor::Worker,
    },
};
use axum::{Json, extract::State};

use super::{App, Problem, input::RoomPath};

/// A worker that neither holds nor waits for anything is between two calls, or gone. The shortest claims wait for some
/// seconds, so one that was not heard of for so long is gone.
const BETWEEN_CALLS_MS: u64 = 30_000;

/// `GET /api/rooms/{room}/bots`
pub(super) async fn of_room(State(app): State<App>, RoomPath(room): RoomPath) -> Result<Json<RoomBots>, Problem> {
    let workers = app.node().workers(&app)?.workers;
    let policy = app.node().policy();
    let queues = app.node().queues(&app).queues;
    let here = queues.into_iter().filter(|queue| policy.can_ask(&queue.bot, &room));
    let now_ms = app.node().clock().now_ms();
    let bots = here.map(|queue| RoomBot {
        color: app.bot(&queue.bot).and_then(|bot| bot.color.clone()),
        state: state(&app, &queue.bot, queue.paused.is_some(), &workers, now_ms),
        model: queue.model,
        waiting: queue.waiting,
        name: queue.bot,
    });
    Ok(Json(RoomBots {
        bots: bots.collect(),
        default: policy.default_bot(&room).cloned(),
        text_bytes_max: app.0.limits.text_bytes_max as u64,
    }))
}

fn state(app: &App, bot: &BotName, paused: bool, workers: &[Worker], now_ms: u64) -> BotState {
    if paused {
        return BotState::Paused;
    }
    let in_process = app.bot(bot).is_some_and(|bot| bot.consumer.is_some());
    let mut workers = workers.iter().filter(|worker| worker.bots.contains(bot));
    if in_process || workers.any(|worker| answers(worker, now_ms)) { BotState::Ready } else { BotState::NoWorker }
}

fn answers(worker: &Worker, now_ms: u64) -> bool {
    let heard_ms = worker.last_seen_at.as_deref().and_then(time::parse_rfc3339);
    let lately = heard_ms.is_some_and(|heard_ms| now_ms.saturating_sub(heard_ms) < BETWEEN_CALLS_MS);
    worker.waiting > 0 || !worker.holds.is_empty() || lately
}
