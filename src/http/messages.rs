//! Posting, reading, cancelling, retrying, hiding and erasing messages.

use antiphon_schemas::{
    BotName,
    event::{Author, AuthorKind},
    time,
    visible::is_visible,
    wire::{Changed, Message, Messages, PostMessage, Timeline},
};
use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, Response, StatusCode},
    response::IntoResponse,
};
use tracing::{Instrument, debug, info, info_span};

use super::{
    App, Peer, Problem, guard,
    input::{self, IdPath, Params, RoomPath},
};
use crate::{
    decide::{
        Refusal,
        change::Change,
        post::{PRIORITY_DEFAULT, Post},
    },
    node::{Placed, Range},
    projection::view,
};

/// Longest author's name, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest colour.
const COLOR_BYTES_MAX: usize = 32;
/// Messages in one answer.
pub(super) const LIMIT_MAX: usize = 500;
/// Messages in one answer if nobody says.
const LIMIT_DEFAULT: usize = 50;

/// `POST /api/rooms/{room}/messages`
pub(super) async fn post(
    State(app): State<App>,
    RoomPath(room): RoomPath,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let text_bytes_max = app.0.limits.text_bytes_max;
    // A text of escapes is six times as long in JSON; the rest of the body is small.
    let body: PostMessage = input::json(&headers, body, text_bytes_max * 6 + 8 * 1024).await?;
    check_text(&body.text, text_bytes_max)?;
    check_name(&body.author.name)?;
    check_color(body.author.color.as_deref())?;
    let kind = body.author.kind.unwrap_or_default();
    if kind == AuthorKind::Bot && !guard::from_loopback(peer, &headers) {
        let detail = "`author.kind` is for imports and is accepted only from this machine; omit it";
        return Err(Problem::new(StatusCode::FORBIDDEN, "import-only", detail));
    }
    let said_at_ms = match body.said_at {
        None => None,
        Some(_) if !guard::from_loopback(peer, &headers) => {
            let detail = "`said_at` is for imports and is accepted only from this machine; omit it";
            return Err(Problem::new(StatusCode::FORBIDDEN, "import-only", detail));
        }
        Some(said_at) => Some(check_said_at(&said_at, app.node().log_now_ms())?),
    };
    let priority = body.priority.unwrap_or(PRIORITY_DEFAULT);
    if priority > 9 {
        return Err(Problem::bad("bad-priority", "`priority` must be a number from 0 to 9; 9 is answered first"));
    }
    let to = body.to.map(bots).transpose()?;
    let author = Author { name: body.author.name.into(), kind, color: body.author.color.map(Into::into) };
    let post = Post {
        room,
        id: body.id.unwrap_or_else(|| app.node().fresh_id()),
        fresh: body.id.is_none(),
        author,
        text: body.text.into(),
        to,
        priority,
        reply_to: body.reply_to,
        said_at_ms,
    };
    // The message's first leg; the bot's runtime opens the same span, by the same id, for the rest.
    let span = info_span!("message", id = %post.id, room = %post.room);
    let placed = app.node().post(post).instrument(span.clone()).await?;
    span.in_scope(|| debug!(?placed, "posted"));
    Ok(match placed {
        Placed::Posted(posted) => (StatusCode::CREATED, Json(posted)).into_response(),
        Placed::Again(posted) => (StatusCode::OK, Json(posted)).into_response(),
        Placed::Parked(parked) => (StatusCode::ACCEPTED, Json(parked)).into_response(),
    })
}

/// `GET /api/rooms/{room}/messages`
pub(super) async fn list(
    State(app): State<App>,
    RoomPath(room): RoomPath,
    params: Params,
) -> Result<Response<Body>, Problem> {
    params.only(&["after", "before", "limit", "at_least", "kind", "at"])?;
    if let Some(at_least) = params.position("at_least", &app)? {
        app.node().reached(at_least).await?;
    }
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    if let Some(moment) = params.moment("at", &app)? {
        if params.text("after").or(params.text("kind")).is_some() {
            let detail = "`at` can be combined only with `before` and `limit`; omit `after` and `kind`";
            return Err(Problem::bad("at-looks-back", detail));
        }
        let before = params.position("before", &app)?;
        return Ok(Json(app.node().messages_then(&room, moment, before, limit).await?).into_response());
    }
    let kind = match params.text("kind") {
        None => None,
        Some("human") => Some(AuthorKind::Human),
        Some("bot") => Some(AuthorKind::Bot),
        Some(_) => return Err(Problem::bad("bad-kind", "`kind` must be `human` or `bot`")),
    };
    let range = Range { after: params.position("after", &app)?, before: params.position("before", &app)?, limit, kind };
    let (messages, at) = app.node().messages(&room, range).await?;
    Ok(Json(Messages { messages, position: view::position(app.node().epoch(), at) }).into_response())
}

/// `GET /api/messages/{id}`
pub(super) async fn one(State(app): State<App>, IdPath(id): IdPath) -> Result<Json<Message>, Problem> {
    Ok(Json(app.node().message(id).await?.ok_or(Refusal::NoSuchMessage(id))?))
}

/// `GET /api/messages/{id}/timeline`
pub(super) async fn timeline(State(app): State<App>, IdPath(id): IdPath) -> Result<Json<Timeline>, Problem> {
    Ok(Json(app.node().timeline(id).await?.ok_or(Refusal::NoSuchMessage(id))?))
}

/// `POST /api/messages/{id}/cancel`
pub(super) async fn cancel(state: State<App>, id: IdPath) -> Result<Json<Changed>, Problem> {
    change(state, id, Change::Cancel).await
}

/// `POST /api/messages/{id}/retry`
pub(super) async fn retry(state: State<App>, id: IdPath) -> Result<Json<Changed>, Problem> {
    change(state, id, Change::Retry).await
}

/// `DELETE /api/messages/{id}`
pub(super) async fn redact(state: State<App>, id: IdPath) -> Result<Json<Changed>, Problem> {
    change(state, id, Change::Redact).await
}

/// `POST /api/messages/{id}/erase`: 202 if it is noted, and the log still has the text.
pub(super) async fn erase(
    State(app): State<App>,
    IdPath(id): IdPath,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Changed>), Problem> {
    if !guard::from_loopback(peer, &headers) {
        let detail = "only the operator may erase; run `antiphon replay erase` on the server's machine";
        return Err(Problem::new(StatusCode::FORBIDDEN, "this-machine-only", detail));
    }
    let (changed, gone) = app.node().erase(id).await?;
    info!(message = %id, gone, "a message was erased");
    Ok((if gone { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(changed)))
}

async fn change(State(app): State<App>, IdPath(id): IdPath, change: Change) -> Result<Json<Changed>, Problem> {
    Ok(Json(app.node().change(id, change).await?))
}

/// The bots of `to`; an invalid name is that of an unknown bot.
fn bots(names: Vec<String>) -> Result<Vec<BotName>, Problem> {
    if names.len() > 1 {
        return Err(Refusal::OneBotOnly.into());
    }
    let unknown = |name: &String, why| Problem::bad("unknown-bot", format!("there is no bot `{name}`: {why}"));
    names.iter().map(|name| BotName::new(name).map_err(|why| unknown(name, why))).collect()
}

fn check_text(text: &str, bytes_max: usize) -> Result<(), Problem> {
    if !is_visible(text) {
        return Err(Problem::bad("empty-text", "`text` must not be empty, nor only of characters that do not show"));
    }
    if text.len() > bytes_max {
        let detail = format!("`text` has {} bytes, but at most {bytes_max} are allowed; post it in parts", text.len());
        return Err(Problem::bad("text-too-long", detail));
    }
    if text.contains('\0') {
        return Err(Problem::bad("bad-text", "`text` must not contain a NUL character"));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Problem> {
    if !is_visible(name) || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let detail = format!(
            "`author.name` must have 1 to {NAME_BYTES_MAX} bytes, some of which show, and no control characters"
        );
        return Err(Problem::bad("bad-name", detail));
    }
    Ok(())
}

/// When something was said, in ms since 1970. Nothing was said later than now, by the log's clock.
fn check_said_at(said_at: &str, now_ms: u64) -> Result<u64, Problem> {
    let at_ms = time::parse_rfc3339(said_at).filter(|at_ms| *at_ms <= now_ms);
    let detail = "`said_at` must be an RFC 3339 time since 1970 that is not in the future, e.g. 2004-12-25T09:15:00Z";
    at_ms.ok_or_else(|| Problem::bad("bad-said-at", detail))
}

fn check_color(color: Option<&str>) -> Result<(), Problem> {
    let fits = |c: &str| (1..=COLOR_BYTES_MAX).contains(&c.len()) && c.bytes().all(|b| (b' '..=b'~').contains(&b));
    if color.is_some_and(|color| !fits(color)) {
        let detail =
            format!("`author.color` must have 1 to {COLOR_BYTES_MAX} printable ASCII characters, e.g. #80c0ff");
        return Err(Problem::bad("bad-color", detail));
    }
    Ok(())
}
