//! What comes in: bodies, names, ids, positions and query parameters, each checked, each refused with a sentence.

use std::{collections::HashMap, time::Duration};

use antiphon_schemas::{Cursor, MessageId, RoomName, Seq, time, wire};
use axum::{
    body::Body,
    extract::{FromRequestParts, Path, Query},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::{App, Problem};
use crate::node::Moment;

/// A body that takes longer than this to arrive is given up.
const BODY_MAX: Duration = Duration::from_secs(30);

/// A JSON body of at most `bytes_max`.
pub(super) async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<T, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let detail = "send the body as JSON, with the header `content-type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", detail));
    }
    let bytes = collect(headers, body, bytes_max).await?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let read = wire::object(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|e| match e.classify() {
        serde_json::error::Category::Data => {
            Problem::bad("wrong-type", format!("the body does not match the schema: {e}; see /openapi.json"))
        }
        _ => Problem::bad("bad-json", format!("the body is not JSON: {e}")),
    })
}

async fn collect(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is larger than the limit of {bytes_max} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    };
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if declared.is_some_and(|len| len > bytes_max as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_MAX, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Ok(Err(e)) => Err(Problem::bad("bad-body", format!("the body did not arrive completely: {e}"))),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", "the body took too long to arrive")),
    }
}

/// The `{room}` of a path.
pub(super) struct RoomPath(pub(super) RoomName);

impl FromRequestParts<App> for RoomPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let text = segment(parts, app).await?;
        RoomName::new(&text).map(RoomPath).map_err(|why| Problem::bad("bad-room", why.to_string()))
    }
}

/// The `{id}` of a path.
pub(super) struct IdPath(pub(super) MessageId);

impl FromRequestParts<App> for IdPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let text = segment(parts, app).await?;
        text.parse().map(IdPath).map_err(|_| {
            Problem::bad("bad-id", "a message id must be a UUID, e.g. 0195f7a2-6c00-7000-8000-000000000000")
        })
    }
}

/// The `{id}` of a key in a path, unchecked: an invalid id is that of an unknown key.
pub(super) struct KeyPath(pub(super) String);

impl FromRequestParts<App> for KeyPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        segment(parts, app).await.map(KeyPath)
    }
}

async fn segment(parts: &mut Parts, app: &App) -> Result<String, Problem> {
    let path = Path::<String>::from_request_parts(parts, app).await;
    path.map(|Path(text)| text).map_err(|_| Problem::bad("bad-path", "the path is not valid UTF-8"))
}

/// The query's parameters; unknown ones are refused by [`Params::only`].
pub(super) struct Params(HashMap<String, String>);

impl FromRequestParts<App> for Params {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, app).await;
        query.map(|Query(map)| Params(map)).map_err(|e| Problem::bad("bad-query", e.to_string()))
    }
}

impl Params {
    /// Refuses parameters that are not among `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Problem::bad(
                "unknown-parameter",
                format!("unknown parameter `{key}`; this path takes: {}", known.join(", ")),
            )),
            None => Ok(()),
        }
    }

    /// The text of a parameter.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number of 1 to `max`.
    pub(super) fn limit(&self, default: usize, max: usize) -> Result<usize, Problem> {
        let Some(text) = self.text("limit") else { return Ok(default) };
        let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
        limit.ok_or_else(|| Problem::bad("bad-limit", format!("`limit` must be a number from 1 to {max}")))
    }

    /// A position as given out, or `0` for the beginning, of this log's epoch.
    pub(super) fn position(&self, name: &str, app: &App) -> Result<Option<Seq>, Problem> {
        let Some(cursor) = self.cursor(name)? else { return Ok(None) };
        let Some(cursor) = cursor else { return Ok(Some(Seq::ZERO)) };
        let epoch = app.node().epoch();
        if (cursor.epoch, cursor.partition) != (epoch, 0) {
            let detail = format!(
                "`{name}` is a position in another log (the epoch of this one is {epoch}); start again from the newest"
            );
            return Err(Problem::new(StatusCode::CONFLICT, "other-epoch", detail));
        }
        Ok(Some(cursor.seq))
    }

    /// A moment: RFC 3339, ms since 1970, or a position as given out.
    pub(super) fn moment(&self, name: &str, app: &App) -> Result<Option<Moment>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // A `+` of an offset comes as a blank if it is not escaped.
        let time = || time::parse_rfc3339(text).or_else(|| time::parse_rfc3339(&text.replace(' ', "+")));
        if let Some(at_ms) = text.parse().ok().or_else(time) {
            return Ok(Some(Moment::Time(at_ms)));
        }
        if text.parse::<Cursor>().is_err() {
            let detail = format!(
                "`{name}` must be a time (2026-11-25T10:00:00Z, or ms since 1970) or a position returned by the server"
            );
            return Err(Problem::bad("bad-moment", detail));
        }
        Ok(self.position(name, app)?.map(Moment::Position))
    }

    /// A position as given out, of whatever epoch; `Some(None)` for `0`.
    pub(super) fn cursor(&self, name: &str) -> Result<Option<Option<Cursor>>, Problem> {
        match self.text(name) {
            None => Ok(None),
            Some("0") => Ok(Some(None)),
            Some(text) => {
                let bad = |_| {
                    Problem::bad(
                        "bad-position",
                        format!("`{name}` must be a position returned by the server, or 0 for the beginning"),
                    )
                };
                text.parse().map(|cursor| Some(Some(cursor))).map_err(bad)
            }
        }
    }
}
