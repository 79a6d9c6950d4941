//! Rooms, queues, workers, health, and the stream that shows all of it as it changes.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use antiphon_schemas::{
    BotName, RoomName, time,
    wire::{Position, Queues, Rooms, monitor::Workers},
};
use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, Response, StatusCode},
};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use tracing::warn;

use super::{App, Peer, Permit, Problem, events, guard, input::Params};
use crate::{
    log,
    node::{Error, Surroundings},
    projection::view,
};

/// A probe's answer is good for this long: health checks cost nothing however often they come.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// `GET /api/rooms`
pub(super) async fn rooms(State(app): State<App>, params: Params) -> Result<Json<Rooms>, Problem> {
    params.only(&["after"])?;
    let after = params.text("after").map(RoomName::new).transpose();
    let after = after.map_err(|why| Problem::bad("bad-room", why.to_string()))?;
    Ok(Json(app.node().rooms(after.as_ref()).await?))
}

/// `GET /api/queues`
pub(super) async fn queues(State(app): State<App>) -> Json<Queues> {
    Json(app.node().queues(&app))
}

/// `GET /api/workers`
pub(super) async fn workers(State(app): State<App>) -> Result<Json<Workers>, Problem> {
    Ok(Json(app.node().workers(&app)?))
}

/// `GET /api/monitor/events`: the whole state, then changes. Its events have no ids: a client that reconnects starts over.
pub(super) async fn follow(State(app): State<App>, params: Params) -> Result<Response<Body>, Problem> {
    params.only(&[])?;
    let Some(place) = Permit::acquire(&app.0.subscribers, app.0.limits.subscribers_max) else {
        return Ok(events::busy());
    };
    let (watching, first) = match app.node().watch(Arc::new(app.clone())).await {
        Ok(watching) => watching,
        Err(failure) => {
            warn!(error = %failure, "a monitor is sent away for a while");
            return Ok(events::busy());
        }
    };
    let first = events::join([events::retry(events::RETRY_MS), first]);
    let more = stream::unfold((watching, place), |(mut watching, place)| async move {
        let next = watching.next().await?;
        Some((next, (watching, place)))
    });
    Ok(events::stream(Body::from_stream(stream::iter([first]).chain(more).map(Ok::<Bytes, Infallible>))))
}

impl Surroundings for App {
    fn model(&self, bot: &BotName) -> Option<String> {
        self.bot(bot).map(|bot| bot.model.clone())
    }

    fn paused(&self, bot: &BotName) -> Option<String> {
        self.bot(bot)?.consumer.as_ref()?.paused()
    }

    fn subscribers(&self) -> u64 {
        self.0.subscribers.load(Ordering::Relaxed) as u64
    }
}

/// What the health routes say.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub(super) struct Health {
    /// `live`, `dead`, `ready` or `not-ready`.
    status: &'static str,
    /// `connected`: the log takes appends. `degraded`: the store is away, posts are kept on this node's disk, reading may
    /// be stale. `refusing`: no posts are taken.
    state: &'static str,
    /// Since when it is not connected, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Posts that wait on this node's disk for the store.
    parked: u64,
    /// Posts that the log refused when the store was back; `antiphon doctor` shows them.
    parked_refused: u64,
    /// The last position of what this node shows.
    position: Position,
    /// How far the log's clock is ahead of this machine's, in ms; negative if it is behind.
    clock_skew_ms: i64,
    /// What an operator should mend although the node works, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// The last probe's answer.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Option<String>)>>);

impl Readiness {
    /// Whether it was ready lately. What was not ready is looked at again.
    fn lately(&self) -> bool {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().is_some_and(|(at, reason)| at.elapsed() < PROBE_EVERY && reason.is_none())
    }

    fn set(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), reason));
    }
}

/// `GET /health/live`: the process answers, and nothing that it cannot do without has died.
pub(super) async fn live(State(app): State<App>) -> (StatusCode, Json<Health>) {
    match app.0.tasks.dead() {
        None => (StatusCode::OK, Json(health(&app, "live", None))),
        Some(ended) => (StatusCode::SERVICE_UNAVAILABLE, Json(health(&app, "dead", Some(ended.to_string())))),
    }
}

/// `GET /health/ready`: the log takes appends and live events come back.
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Health>) {
    let trouble = app.node().state().condition.trouble().map(|(_, why)| why.to_string());
    let died = app.0.tasks.dead().map(|ended| ended.to_string());
    let reason = match died.or(trouble) {
        Some(why) => Some(why),
        None if app.0.readiness.lately() => None,
        None => {
            let reason = app.node().probe().await.err().map(|failure| failure.to_string());
            app.0.readiness.set(reason.clone());
            reason
        }
    };
    match reason {
        None => (StatusCode::OK, Json(health(&app, "ready", None))),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, Json(health(&app, "not-ready", Some(reason)))),
    }
}

/// `POST /api/store/accept-empty`: the operator's word that an empty store is right.
pub(super) async fn accept_empty(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<Health>, Problem> {
    if !guard::from_loopback(peer, &headers) {
        let detail = "only the operator may do this; run `antiphon accept-empty-store` on the server's machine";
        return Err(Problem::new(StatusCode::FORBIDDEN, "this-machine-only", detail));
    }
    match app.node().begin_anew().await {
        Ok(()) => Ok(Json(health(&app, "live", None))),
        Err(Error::Log(log::Error::Invalid(why))) => {
            Err(Problem::new(StatusCode::CONFLICT, "store-not-empty", format!("{why}; nothing was done")))
        }
        Err(failure) => Err(failure.into()),
    }
}

fn health(app: &App, status: &'static str, reason: Option<String>) -> Health {
    let skew = app.node().skew();
    let shown = app.node().state();
    let trouble = shown.condition.trouble();
    Health {
        status,
        // A probe may fail while the store seems to be there.
        state: if reason.is_some() && trouble.is_none() { "refusing" } else { shown.condition.as_str() },
        since: trouble.map(|(since_ms, _)| time::rfc3339(since_ms)),
        reason: reason.or_else(|| trouble.map(|(_, why)| why.to_string())),
        parked: shown.parked as u64,
        parked_refused: shown.refused as u64,
        position: view::position(shown.epoch, shown.projections.position),
        clock_skew_ms: skew.wall_ms,
        warning: skew.finding().map(|(says, mend)| format!("{says}; {mend}")),
    }
}
