//! What the notary has signed, for those who keep it elsewhere: monitors, witnesses, auditors.
//!
//! Not here: how it is made and what it proves (`audit`).

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::App;

/// `GET /api/checkpoint`: the newest signed note, byte for byte.
pub(super) async fn latest(State(app): State<App>) -> Response {
    let latest = app.0.notary.as_ref().and_then(|notary| notary.shown().borrow().latest.clone());
    text(latest.map(|signed| signed.note.to_string()))
}

/// `GET /api/checkpoint/key`: the key that verifies it.
pub(super) async fn key(State(app): State<App>) -> Response {
    text(app.0.notary.as_ref().map(|notary| format!("{}\n", notary.verifier())))
}

fn text(text: Option<String>) -> Response {
    match text {
        Some(text) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}
