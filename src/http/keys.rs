//! Making, listing and revoking workers' keys: for the operator, from this machine itself only.
//!
//! Not here: what a key opens (`auth`), the rules (`decide::key`).

use std::sync::Arc;

use antiphon_schemas::{
    BotName, time,
    wire::work::{CreateKey, CreatedKey, WorkerKey, WorkerKeys},
};
use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use tracing::info;

use super::{
    App, Peer, Problem, guard,
    input::{self, KeyPath},
};
use crate::projection::keys::Key;

/// Longest name of a worker: with what it puts behind a `/`, a claim's `worker` must still hold it.
const WORKER_BYTES_MAX: usize = 64;
/// Bots of one key.
const BOTS_MAX: usize = 64;
/// As many names as that, and what surrounds them.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// `POST /api/keys`
pub(super) async fn create(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<CreatedKey>), Problem> {
    check_operator(peer, &headers)?;
    let body: CreateKey = input::json(&headers, body, BODY_BYTES_MAX).await?;
    let worker = checked_worker(&body.worker)?;
    let bots = checked_bots(&body.bots)?;
    let (key, secret) = app.node().create_key(worker, bots).await?;
    info!(key = %key.id, worker = %key.worker, "a worker's key was made");
    let WorkerKey { id, worker, bots, created_at } = shown(&key);
    Ok((StatusCode::CREATED, Json(CreatedKey { id, worker, bots, created_at, key: secret })))
}

/// `GET /api/keys`
pub(super) async fn list(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<WorkerKeys>, Problem> {
    check_operator(peer, &headers)?;
    Ok(Json(WorkerKeys { keys: app.node().keys()?.iter().map(|key| shown(key)).collect() }))
}

/// `DELETE /api/keys/{id}`
pub(super) async fn revoke(
    State(app): State<App>,
    KeyPath(id): KeyPath,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    check_operator(peer, &headers)?;
    app.node().revoke_key(&id).await?;
    info!(key = %id, "a worker's key was revoked");
    Ok(StatusCode::NO_CONTENT)
}

fn check_operator(peer: Peer, headers: &HeaderMap) -> Result<(), Problem> {
    if guard::from_loopback(peer, headers) {
        return Ok(());
    }
    let detail = "only the operator may manage keys; run `antiphon key` on the server's machine";
    Err(Problem::new(StatusCode::FORBIDDEN, "this-machine-only", detail))
}

fn checked_worker(worker: &str) -> Result<Arc<str>, Problem> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    if worker.is_empty() || worker.len() > WORKER_BYTES_MAX || !worker.bytes().all(fits) {
        let detail =
            format!("`worker` must have 1 to {WORKER_BYTES_MAX} letters, digits, dots, dashes, underscores and tildes");
        return Err(Problem::bad("bad-worker", detail));
    }
    Ok(worker.into())
}

/// The bots, each once.
fn checked_bots(names: &[String]) -> Result<Vec<BotName>, Problem> {
    if names.is_empty() || names.len() > BOTS_MAX {
        let detail = format!("`bots` names 1 to {BOTS_MAX} bots");
        return Err(Problem::bad("bad-bots", detail));
    }
    let mut bots = Vec::with_capacity(names.len());
    for name in names {
        let bot = BotName::new(name).map_err(|why| Problem::bad("bad-bots", format!("`bots`: {why}")))?;
        if !bots.contains(&bot) {
            bots.push(bot);
        }
    }
    Ok(bots)
}

fn shown(key: &Key) -> WorkerKey {
    let created_at = time::rfc3339(key.created_at_ms);
    WorkerKey { id: key.id.clone(), worker: key.worker.clone(), bots: key.bots.clone(), created_at }
}
