//! `GET /api/rooms/{room}/events`: a room's feed over SSE; `GET /api/events` (`rooms`): several rooms' in one stream.
//!
//! Promises: works with the browser's own `EventSource`; `Last-Event-ID` takes precedence over `?after=` (a browser reconnects
//! with the old URL); overload is answered with `200`, `retry:` and `busy`, because `EventSource` gives up for good on other
//! statuses; a subscriber holds one chunk at a time: 16 KiB from the ring, 64 KiB plus at most one entry from the log, or its
//! first snapshot, with at most 1 MiB of text.
//! Not here: what is in the feed (`node::follow`).

pub(super) mod rooms;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use antiphon_schemas::{Cursor, RoomName, wire::feed::Busy};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Response, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::Frame;
use tracing::warn;

use super::{
    App, Permit, Problem,
    input::{Params, RoomPath},
    messages::LIMIT_MAX,
};
use crate::{
    fanout::frame,
    node::{Error, Followed, Follower},
};

/// Messages in a first snapshot if nobody says.
const SNAPSHOT_DEFAULT: usize = 100;
/// Browsers come back after this time, and up to as much again, so that they do not all come at once.
pub(super) const RETRY_MS: u64 = 1_000;
/// With too many subscribers they come back later.
const BUSY_RETRY_MS: u64 = 5_000;

pub(super) async fn follow(
    State(app): State<App>,
    RoomPath(room): RoomPath,
    params: Params,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    params.only(&["after", "limit"])?;
    let limit = params.limit(SNAPSHOT_DEFAULT, LIMIT_MAX)?;
    let after = params.cursor("after")?;
    let last_id = headers.get("last-event-id").filter(|id| !id.is_empty()).map(|id| id.to_str().unwrap_or("not ASCII"));
    let Some(place) = Permit::acquire(&app.0.subscribers, app.0.limits.subscribers_max) else { return Ok(busy()) };
    let from = match (last_id.map(str::parse::<Cursor>), after) {
        (Some(Ok(cursor)), _) | (None, Some(Some(cursor))) => From::Cursor(cursor),
        (Some(Err(_)), _) => From::Reset("bad-cursor"),
        (None, Some(None)) => From::Beginning,
        (None, None) => From::Now,
    };
    match Part::open(&app, room, from, limit).await {
        Ok((part, first)) => {
            let first = join([retry(RETRY_MS), first]);
            Ok(stream(Body::new(Feed { first: Some(first), part, _place: place })))
        }
        Err(failure) => {
            warn!(error = %failure, "a subscriber is sent away for a while");
            Ok(busy())
        }
    }
}

/// Where a subscriber starts.
enum From {
    Now,
    Beginning,
    Cursor(Cursor),
    Reset(&'static str),
}

type CatchUp = Pin<Box<dyn Future<Output = (Follower, Result<(Bytes, bool), Error>)> + Send>>;

fn catch_up(mut follower: Follower) -> CatchUp {
    Box::pin(async move {
        let page = follower.catch_up().await;
        (follower, page)
    })
}

enum Step {
    Log(CatchUp),
    Ring(Follower),
    End,
}

/// One room of a stream. It ends with its feed, and when it cannot catch up: the subscriber comes back with its last id.
struct Part {
    step: Step,
}

impl Part {
    /// Begins to follow a room; with the first events, if they are there at once.
    async fn open(app: &App, room: RoomName, from: From, limit: usize) -> Result<(Part, Bytes), Error> {
        let node = app.node().clone();
        let from = match from {
            From::Cursor(cursor) => Follower::obstacle(&node, &cursor).await.map_or(From::Cursor(cursor), From::Reset),
            from => from,
        };
        let resume = |cursor| {
            let follower = Follower::resume(node.clone(), room.clone(), cursor, limit);
            Ok((Part { step: Step::Log(catch_up(follower)) }, Bytes::new()))
        };
        let snapshot = |reason| Follower::snapshot(node.clone(), room.clone(), limit, reason);
        let ring = |(follower, bytes)| (Part { step: Step::Ring(follower) }, bytes);
        match from {
            From::Cursor(cursor) => resume(Some(cursor)),
            From::Beginning => resume(None),
            From::Now => snapshot(None).await.map(ring),
            From::Reset(reason) => snapshot(Some(reason)).await.map(ring),
        }
    }
}

impl Stream for Part {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let bytes = match std::mem::replace(&mut self.step, Step::End) {
                Step::End => return Poll::Ready(None),
                Step::Log(mut page) => match page.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.step = Step::Log(page);
                        return Poll::Pending;
                    }
                    Poll::Ready((follower, Ok((bytes, at_ring)))) => {
                        self.step = if at_ring { Step::Ring(follower) } else { Step::Log(catch_up(follower)) };
                        bytes
                    }
                    Poll::Ready((_, Err(failure))) => {
                        warn!(error = %failure, "a subscriber cannot catch up");
                        return Poll::Ready(None);
                    }
                },
                Step::Ring(mut follower) => match follower.poll_next(cx) {
                    Poll::Pending => {
                        self.step = Step::Ring(follower);
                        return Poll::Pending;
                    }
                    Poll::Ready(Followed::Frames(bytes)) => {
                        self.step = Step::Ring(follower);
                        bytes
                    }
                    Poll::Ready(Followed::Behind) => {
                        self.step = Step::Log(catch_up(follower));
                        Bytes::new()
                    }
                    Poll::Ready(Followed::Closed) => return Poll::Ready(None),
                },
            };
            if !bytes.is_empty() {
                return Poll::Ready(Some(bytes));
            }
        }
    }
}

/// The body of one subscription.
struct Feed {
    first: Option<Bytes>,
    part: Part,
    _place: Permit,
}

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        Pin::new(&mut self.part).poll_next(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A stream that says when to come back, and ends.
pub(super) fn busy() -> Response<Body> {
    let data = Busy { retry_ms: BUSY_RETRY_MS };
    stream(Body::from(join([retry(BUSY_RETRY_MS), frame::live("busy", &data).bytes])))
}

/// `retry:` with jitter; not an event.
pub(super) fn retry(ms: u64) -> Bytes {
    Bytes::from(format!("retry: {}\n\n", ms + rand::random_range(0..=ms)))
}

pub(super) fn join(parts: [Bytes; 2]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(parts[0].len() + parts[1].len());
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.freeze()
}

/// A body of events, with the headers that keep proxies from holding it back.
pub(super) fn stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
