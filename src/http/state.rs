//! What this server has folded from the log, for `antiphon replay diff`: from this machine itself only.
//!
//! Promise: every answer is as of one position, which it names. Not here: what people see (`query`).

use antiphon_schemas::{
    MessageId, RoomName,
    wire::state::{IndexRecord, StateIndex, StateKept, StateRoom, StateRooms},
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use super::{
    App, Peer, Problem, guard,
    input::{Params, RoomPath},
};
use crate::projection::{SnapshotData, view};

/// Records of one answer.
const RECORDS_MAX: usize = 1_000;

/// `GET /api/state/kept`
pub(super) async fn kept(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<StateKept>, Problem> {
    check(peer, &headers)?;
    let kept = app.node().kept()?;
    Ok(Json(shown(&app, &kept)?))
}

/// `GET /api/state/snapshot`
pub(super) async fn snapshot(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check(peer, &headers)?;
    Ok(match app.node().snapshot().await {
        Some(kept) => Json(shown(&app, &kept)?).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// `GET /api/state/rooms`
pub(super) async fn rooms(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<StateRooms>, Problem> {
    check(peer, &headers)?;
    let mut rooms: Vec<RoomName> = app.node().state().projections.recent.rooms().cloned().collect();
    rooms.sort();
    Ok(Json(StateRooms { rooms }))
}

/// `GET /api/state/rooms/{room}`
pub(super) async fn room(
    State(app): State<App>,
    RoomPath(room): RoomPath,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<StateRoom>, Problem> {
    check(peer, &headers)?;
    let (epoch, position, recent) = {
        let state = app.node().state();
        let recent = state.projections.recent.part(&room, antiphon_schemas::Seq::ZERO, usize::MAX);
        (state.epoch, state.projections.position, recent)
    };
    let (window, at) = (recent.window(), |seq| view::position(epoch, seq));
    Ok(Json(StateRoom { position: at(position), floor: window.floor.map(at), messages: window.messages }))
}

/// `GET /api/state/index?after=`
pub(super) async fn index(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    params: Params,
    headers: HeaderMap,
) -> Result<Json<StateIndex>, Problem> {
    check(peer, &headers)?;
    params.only(&["after"])?;
    let after = params.text("after").map(str::parse::<MessageId>).transpose();
    let after = after.map_err(|_| Problem::bad("bad-id", "`after` must be the id of a message"))?;
    let (position, records) = app.node().index_records(after, RECORDS_MAX)?;
    let more = records.len() == RECORDS_MAX;
    let records = records.into_iter().map(|(id, record)| IndexRecord {
        id,
        positions: record.positions.iter().map(|seq| seq.0).collect(),
        status: record.status,
        reason: record.reason,
        redacted: record.redacted,
        erased: record.erased,
    });
    let position = view::position(app.node().epoch(), position);
    Ok(Json(StateIndex { position, records: records.collect(), more }))
}

fn shown(app: &App, kept: &SnapshotData) -> Result<StateKept, Problem> {
    let limits = app.node().limits();
    let odd = |e: serde_json::Error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "not-json", e.to_string());
    Ok(StateKept {
        position: view::position(app.node().epoch(), kept.position),
        recent_messages: limits.recent_messages,
        rooms: limits.rooms,
        kept: serde_json::to_value(kept).map_err(odd)?,
    })
}

fn check(peer: Peer, headers: &HeaderMap) -> Result<(), Problem> {
    if guard::from_loopback(peer, headers) {
        return Ok(());
    }
    let detail = "only the operator may read the server's state; run `antiphon replay diff` on the server's machine";
    Err(Problem::new(StatusCode::FORBIDDEN, "this-machine-only", detail))
}
