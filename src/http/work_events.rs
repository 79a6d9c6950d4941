//! `GET /api/work/events?worker=`: a worker's news over SSE, above all that one of its claims is over.
//!
//! Promises: each connection begins with the claims that the worker holds now (`claims`), so a worker that was away
//! learns what it missed; after it every end of one of them (`ended`), as soon as this node knows of it; overload is
//! said in band, as for rooms; the stream of a key that is revoked ends.
//!
//! Not here: what is in the feed (`node::work`), the streams of rooms (`events`).

use std::convert::Infallible;

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, Response},
};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::{App, Peer, Permit, Problem, auth, events, input::Params, work};

/// `GET /api/work/events`
pub(super) async fn follow(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let caller = auth::caller(&app, peer, &headers)?;
    params.only(&["worker"])?;
    let worker = work::worker(&caller, params.text("worker").unwrap_or_default())?;
    let Some(place) = Permit::acquire(&app.0.subscribers, app.0.limits.subscribers_max) else {
        return Ok(events::busy());
    };
    let (following, first) = app.node().follow_worker(&worker)?;
    let first = events::join([events::retry(events::RETRY_MS), first]);
    let news = stream::unfold((following, caller, app, place), |(mut following, caller, app, place)| async move {
        let next = tokio::select! {
            biased;
            () = caller.revoked(&app) => None,
            next = following.next() => next,
        };
        Some((next?, (following, caller, app, place)))
    });
    let news = stream::iter([first]).chain(news).map(Ok::<Bytes, Infallible>);
    Ok(events::stream(Body::from_stream(news)))
}
