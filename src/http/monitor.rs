//! Rooms, queues and health.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use antiphon_schemas::{
    RoomName,
    wire::{Position, Queues, Rooms},
};
use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;

use super::{App, Problem, input::Params};
use crate::projection::view;

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
    Json(app.node().queues(|bot| {
        let bot = app.0.bots.iter().find(|b| b.name.as_str() == bot);
        (bot.map(|b| b.model.clone()), bot.and_then(|b| b.consumer.paused()))
    }))
}

/// What the health routes say.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub(super) struct Health {
    /// `live`, `ready` or `not-ready`.
    status: &'static str,
    /// `connected`: the log takes appends; `refusing`: it does not.
    state: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The log's last position.
    position: Position,
}

/// The last probe's answer.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Option<String>)>>);

impl Readiness {
    /// The last answer, if it is good still: `Some(None)` is ready.
    fn fresh(&self) -> Option<Option<String>> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(at, _)| at.elapsed() < PROBE_EVERY).map(|(_, reason)| reason.clone())
    }

    fn set(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), reason));
    }
}

/// `GET /health/live`: the process answers.
pub(super) async fn live(State(app): State<App>) -> Json<Health> {
    Json(health(&app, "live", None))
}

/// `GET /health/ready`: the log takes appends and live events come back.
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Health>) {
    let reason = match app.0.readiness.fresh() {
        Some(reason) => reason,
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

fn health(app: &App, status: &'static str, reason: Option<String>) -> Health {
    let state = if reason.is_some() { "refusing" } else { "connected" };
    let position = view::position(app.node().info().epoch, app.node().position());
    Health { status, state, reason, position }
}
