//! `/api/work/…`: claims, deltas and outcomes of workers on other machines.
//!
//! Promises: any call may go to any node; every call can be repeated after a lost response (a claim by its key, a delta by
//! its index, an outcome by its fence); a worker whose claim is over learns that, and what happened to the message, from the
//! response to its next call; no caller can read or change anything about bots that its key is not for (`auth`).
//!
//! Not here: the worker's events (`work_events`), what may happen (`decide::work`), who may call (`auth`).

mod check;

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use antiphon_schemas::{
    BotName, Event, MessageId, Seq,
    event::{Author, AuthorKind, Made, release},
    time,
    wire::{
        Changed, Position, Status,
        work::{
            Alive, BotProfiles, ClaimWork, CompleteWork, DeltaTaken, FailWork, Holder, ReleaseWork, Work,
            WorkCompleted, WorkDelta, WorkHeartbeat,
        },
    },
};
use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, Response, StatusCode},
    response::IntoResponse,
};

pub(super) use self::check::worker;
use self::check::{
    MODEL_BYTES_MAX, STAGE_BYTES_MAX, bots, check_characters, check_made, check_piece, check_text, failure, is_model,
    is_stage, unknown_bot,
};
use super::{
    App, Peer, Permit, Problem,
    auth::{self, Caller},
    input::{self, IdPath},
};
use crate::{
    decide::{
        Refusal,
        work::{End, Held, reply_of},
    },
    node::{Asked, Claimed, Ended, Error, LiveUpdate, REPLY_BYTES_MAX},
    projection::{queue::Claim, view},
};

/// The route that waits for work; `listen` drops such a request at once when its client is gone.
pub(super) const CLAIM: &str = "/api/work/claim";
/// Longest wait for work: proxies cut what is silent for longer than a minute or two.
const WAIT_MS_MAX: u64 = 30_000;
/// Claims that wait at once; each holds a connection.
const WAITING_MAX: usize = 4_096;
/// Longest key of a claim: a UUID has 36.
const CLAIM_KEY_BYTES_MAX: usize = 128;
/// Models of one worker.
const MODELS_MAX: usize = 64;
/// A body without texts.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// A text of escapes is six times as long in JSON.
const TEXT_BODY_BYTES_MAX: usize = REPLY_BYTES_MAX * 6 + SMALL_BYTES_MAX;

/// `POST` [`CLAIM`]
pub(super) async fn claim(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let caller = auth::caller(&app, peer, &headers)?;
    let body: ClaimWork = input::json(&headers, body, SMALL_BYTES_MAX).await?;
    let worker = worker(&caller, &body.worker)?;
    let bots = bots(&app, &caller, &body.bots)?;
    if body.claim_key.is_empty()
        || body.claim_key.len() > CLAIM_KEY_BYTES_MAX
        || !body.claim_key.bytes().all(|b| b.is_ascii_graphic())
    {
        let detail = format!(
            "`claim_key` must have 1 to {CLAIM_KEY_BYTES_MAX} printable ASCII characters; create a new UUID for each claim"
        );
        return Err(Problem::bad("bad-claim-key", detail));
    }
    let wait_ms = body.wait_ms.unwrap_or(WAIT_MS_MAX);
    if wait_ms > WAIT_MS_MAX {
        return Err(Problem::bad(
            "bad-wait",
            format!("`wait_ms` must be a number from 0 to {WAIT_MS_MAX}; claim again after it"),
        ));
    }
    let models = body.models.unwrap_or_default();
    if models.len() > MODELS_MAX || models.iter().any(|model| !is_model(&model.name)) {
        let detail = format!(
            "`models` must have at most {MODELS_MAX} entries, each with a `name` of 1 to {MODEL_BYTES_MAX} bytes"
        );
        return Err(Problem::bad("bad-models", detail));
    }
    let Some(_place) = Permit::acquire(&app.0.waiting, WAITING_MAX) else {
        let detail = "too many workers are waiting for work; try again in a moment";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail));
    };
    let reply_id = reply_of(&worker, &body.claim_key);
    let cold = models.iter().any(|model| !model.warm);
    let models = models.into_iter().map(|model| model.name).collect();
    let asked = Asked { bots, worker, reply_id, cold, models, wait: Duration::from_millis(wait_ms) };
    let claimed = tokio::select! {
        biased;
        claimed = app.node().claim_again(asked) => claimed?,
        () = caller.revoked(&app) => return Err(auth::bad_key()),
        () = app.0.stop.cancelled() => return Err(Error::Stopping.into()),
    };
    Ok(match claimed {
        Some(claimed) => Json(work(&app, claimed).await?).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// `GET /api/work/bots`
pub(super) async fn profiles(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<BotProfiles>, Problem> {
    let caller = auth::caller(&app, peer, &headers)?;
    let own = |name: &BotName| caller.bots().is_none_or(|bots| bots.contains(name));
    let profiles = app.0.bots.iter().map(|bot| &bot.profile).filter(|profile| own(&profile.name));
    Ok(Json(BotProfiles { bots: profiles.map(|profile| (**profile).clone()).collect() }))
}

/// `POST /api/work/{id}/deltas`
pub(super) async fn deltas(
    State(app): State<App>,
    IdPath(id): IdPath,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DeltaTaken>, Problem> {
    let caller = auth::caller(&app, peer, &headers)?;
    let body: WorkDelta = input::json(&headers, body, TEXT_BODY_BYTES_MAX * 2).await?;
    check_piece(&body.text)?;
    body.before.as_deref().map_or(Ok(()), check_characters)?;
    let held = held(&app, &caller, id, body.fence).await?.held;
    let word = LiveUpdate::Delta { index: body.index, text: body.text.into(), before: body.before.map(Into::into) };
    match app.node().say(held, word).await {
        Ok(heard) => Ok(Json(DeltaTaken { next_index: heard.next_index })),
        Err(error) => Err(refused(&app, id, error).await),
    }
}

/// `POST /api/work/{id}/heartbeat`
pub(super) async fn heartbeat(
    State(app): State<App>,
    IdPath(id): IdPath,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Alive>, Problem> {
    let caller = auth::caller(&app, peer, &headers)?;
    let body: WorkHeartbeat = input::json(&headers, body, SMALL_BYTES_MAX).await?;
    let word = match (body.stage, body.progress) {
        (None, None) => LiveUpdate::Heartbeat,
        (Some(stage), progress) if is_stage(&stage) && progress.is_none_or(|p| (0.0..=1.0).contains(&p)) => {
            LiveUpdate::Stage { stage: stage.into(), progress }
        }
        _ => {
            let detail = format!(
                "`stage` must have 1 to {STAGE_BYTES_MAX} of a-z 0-9 -, e.g. `loading-model`; `progress` needs a `stage` and goes from 0 to 1"
            );
            return Err(Problem::bad("bad-stage", detail));
        }
    };
    let held = held(&app, &caller, id, body.fence).await?.held;
    match app.node().say(held, word).await {
        Ok(heard) => Ok(Json(Alive { lease_ms: millis(heard.lease) })),
        Err(error) => Err(refused(&app, id, error).await),
    }
}

/// `POST /api/work/{id}/complete`
pub(super) async fn complete(
    State(app): State<App>,
    IdPath(id): IdPath,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<WorkCompleted>, Problem> {
    let caller = auth::caller(&app, peer, &headers)?;
    let body: CompleteWork = input::json(&headers, body, TEXT_BODY_BYTES_MAX).await?;
    check_text(&body.text)?;
    check_made(&body)?;
    let spoken = held(&app, &caller, id, body.fence).await?;
    let ended = match completed(&app, &spoken, body)? {
        Some(end) => app.node().end(spoken.held, end).await.map(drop),
        // Not its claim, or no longer: the node says what is so.
        None => app.node().say(spoken.held, LiveUpdate::Heartbeat).await.map(drop),
    };
    if let Err(error) = ended
        && !matches!(error, Error::Refused(_))
    {
        return Err(error.into());
    }
    match app.node().ended_by_worker(spoken.said).await? {
        Some(Ended { entry, reply: Some(reply), epoch }) if matches!(entry.event, Event::MessageCompleted(_)) => {
            let position = view::position(epoch, reply.header.seq);
            let reply_id = view::posted_id(&reply).unwrap_or(id);
            Ok(Json(WorkCompleted { id, reply_id, position, at: time::rfc3339(reply.header.at_ms) }))
        }
        _ => Err(refused(&app, id, over(&app, spoken.held).await).await),
    }
}

/// `POST /api/work/{id}/fail`
pub(super) async fn fail(
    State(app): State<App>,
    IdPath(id): IdPath,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Changed>, Problem> {
    let caller = auth::caller(&app, peer, &headers)?;
    let body: FailWork = input::json(&headers, body, SMALL_BYTES_MAX).await?;
    let (fence, end) = (body.fence, failure(body)?);
    let spoken = held(&app, &caller, id, fence).await?;
    ended(&app, &spoken, end, |event| matches!(event, Event::MessageFailed(_))).await
}

/// `POST /api/work/{id}/release`
pub(super) async fn release(
    State(app): State<App>,
    IdPath(id): IdPath,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Changed>, Problem> {
    let caller = auth::caller(&app, peer, &headers)?;
    let body: ReleaseWork = input::json(&headers, body, SMALL_BYTES_MAX).await?;
    let spoken = held(&app, &caller, id, body.fence).await?;
    ended(&app, &spoken, End::Released(release::GOODBYE), |event| matches!(event, Event::MessageReleased(_))).await
}

/// Everything that an answer needs.
async fn work(app: &App, claimed: Claimed) -> Result<Work, Problem> {
    let (node, id) = (app.node(), claimed.held.message_id);
    let message = node.message(id).await?.ok_or(Refusal::NoSuchMessage(id))?;
    let bot = app.bot(&claimed.bot).ok_or_else(|| unknown_bot(claimed.bot.as_str()))?.profile.as_ref().clone();
    let context = node.context(&claimed.room, message.position.0.seq, bot.context_messages).await?;
    Ok(Work {
        message: Arc::new(message),
        reply_id: claimed.reply_id,
        fence: view::position(claimed.epoch, claimed.held.fence),
        attempt: claimed.attempt,
        lease_ms: millis(claimed.lease),
        context,
        bot,
    })
}

/// Which claim a call is about.
struct Spoken {
    /// As this node knows it; with a fence that nothing has, if it is one of another history.
    held: Held,
    /// As it was said: an end outlives the history in which it was made.
    said: Held,
}

/// The claim of a call, if it is the caller's business and this node can judge it.
async fn held(app: &App, caller: &Caller, id: MessageId, fence: Position) -> Result<Spoken, Problem> {
    let node = app.node();
    let (epoch, seq) = (fence.0.epoch, fence.0.seq);
    if epoch != node.epoch() {
        // This node may be the one that is behind.
        node.probe().await?;
    }
    let own = epoch == node.epoch() && fence.0.partition == 0;
    if own {
        node.knows(seq).await?;
    }
    let said = Held { message_id: id, fence: seq };
    let held = if own { said } else { Held { message_id: id, fence: Seq::ZERO } };
    if let Caller::Key(_) = caller {
        let bot = node.asked(id).await?.ok_or(Refusal::NoSuchMessage(id))?;
        caller.check_bot(&bot)?;
        if let Some(claim) = live_claim(app, held) {
            caller.check_name(&claim.worker)?;
        }
    }
    Ok(Spoken { held, said })
}

fn live_claim(app: &App, held: Held) -> Option<Claim> {
    let state = app.node().state();
    state.projections.queue.claim(&held.message_id).filter(|claim| claim.fence == held.fence).cloned()
}

/// The end that a completion asks for; `None` if the claim is over.
fn completed(app: &App, spoken: &Spoken, body: CompleteWork) -> Result<Option<End>, Problem> {
    let state = app.node().state();
    let id = &spoken.held.message_id;
    let queue = &state.projections.queue;
    let Some((open, _)) = queue.get(id).zip(queue.claim(id)).filter(|(_, c)| c.fence == spoken.held.fence) else {
        return Ok(None);
    };
    let (shown, first_ms, pieces) =
        state.writing.get(id).map_or(("", None, 0), |w| (w.text.as_str(), w.first_ms, w.next_index));
    if !body.text.starts_with(shown) {
        return Err(Error::TextMismatch.into());
    }
    // What was not sent comes as one more piece.
    let more = u32::from(pieces > 0 && body.text.len() > shown.len());
    let since_ms = app.node().claimed_ms_ago(&state, id);
    let made = Made {
        model: body.model.as_deref().unwrap_or(crate::config::REMOTE).into(),
        options: body.options.unwrap_or_default(),
        prompt_sha256: body.prompt_sha256.unwrap_or_default().into(),
        context: body.context.unwrap_or_default(),
        first_token_ms: body.first_token_ms.or(first_ms),
        total_ms: body.total_ms.unwrap_or(since_ms),
        deltas: body.deltas.unwrap_or(pieces + more),
        finish: body.finish.into(),
        usage: body.usage,
        notes: body.notes.unwrap_or_default().into_iter().map(Into::into).collect(),
    };
    let bot = &open.ask.bot;
    let color = app.bot(bot).and_then(|bot| bot.color.clone());
    let author = Author { name: bot.as_str().into(), kind: AuthorKind::Bot, color };
    Ok(Some(End::Completed { author, text: body.text.into(), made }))
}

/// Ends a claim, or finds that it was ended so before.
async fn ended(app: &App, spoken: &Spoken, end: End, so: fn(&Event) -> bool) -> Result<Json<Changed>, Problem> {
    let (node, id) = (app.node(), spoken.held.message_id);
    let at = match node.end(spoken.held, end).await {
        Ok(at) => at,
        Err(error) => {
            let before = match &error {
                Error::Refused(_) => node.ended_by_worker(spoken.said).await?,
                _ => None,
            };
            let Some(before) = before.filter(|before| so(&before.entry.event)) else {
                return Err(refused(app, id, error).await);
            };
            before.at()
        }
    };
    let status = node.record(id).await?.map_or(Status::None, |record| record.status);
    Ok(Json(Changed { id, status, position: Position(at) }))
}

/// Why a claim is over.
async fn over(app: &App, held: Held) -> Error {
    app.node().say(held, LiveUpdate::Heartbeat).await.err().unwrap_or(Error::Busy)
}

/// A refusal with what a worker needs to know to act on it.
async fn refused(app: &App, id: MessageId, error: Error) -> Problem {
    match error {
        // The live state knows open messages only.
        Error::Refused(refusal @ Refusal::NoSuchMessage(_)) => match app.node().record(id).await {
            Ok(Some(record)) => has_ended(record.status),
            Ok(None) => refusal.into(),
            Err(error) => error.into(),
        },
        Error::Refused(Refusal::AlreadyEnded(status)) => has_ended(status),
        Error::Refused(Refusal::StaleFence { worker, fence }) => {
            let holder = Holder { worker: worker.clone(), fence: view::position(app.node().epoch(), fence) };
            Problem::from(Refusal::StaleFence { worker, fence }).held_by(holder)
        }
        Error::DeltaGap { expected } => Problem::from(error).expecting(expected),
        error => error.into(),
    }
}

fn has_ended(status: Status) -> Problem {
    let detail = "the message has ended and the claim with it; stop working on it";
    Problem::new(StatusCode::CONFLICT, "ended", detail).after_end(status)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Counts of claims that wait; see [`WAITING_MAX`].
pub(super) type Waiting = Arc<AtomicUsize>;
