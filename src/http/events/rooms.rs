//! `GET /api/events?rooms=lobby,dev@CURSOR`: several rooms' feeds in one stream, since browsers allow six connections a host.
//!
//! Promises: `event: room` precedes events of another room than the last one's; what is in between is exactly the room's
//! own feed; a room with a cursor resumes there, one without begins with a snapshot; a quiet room costs a busy one nothing.
//! `Last-Event-ID` says nothing here, because the ids are of several rooms: a client that reconnects puts its positions into the URL.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use antiphon_schemas::{Cursor, RoomName, wire::feed};
use axum::{body::Body, extract::State, http::Response};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream::SelectAll};
use http_body::Frame;
use tracing::warn;

use super::{App, From, LIMIT_MAX, Part, Permit, Problem, RETRY_MS, SNAPSHOT_DEFAULT, busy, join, retry, stream};
use crate::{fanout::frame, http::input::Params};

/// Rooms of one stream: each may hold a snapshot of 1 MiB while it opens.
const ROOMS_MAX: usize = 16;

pub(in crate::http) async fn follow(State(app): State<App>, params: Params) -> Result<Response<Body>, Problem> {
    params.only(&["rooms", "limit"])?;
    let limit = params.limit(SNAPSHOT_DEFAULT, LIMIT_MAX)?;
    let wanted = rooms(params.text("rooms").unwrap_or(""))?;
    let Some(place) = Permit::acquire(&app.0.subscribers, app.0.limits.subscribers_max) else { return Ok(busy()) };
    let mut feeds = SelectAll::new();
    let mut first = BytesMut::from(&*retry(RETRY_MS));
    for (room, from) in wanted {
        match Part::open(&app, room.clone(), from, limit).await {
            Ok((part, bytes)) => {
                if !bytes.is_empty() {
                    first.extend_from_slice(&join([marker(&room), bytes]));
                }
                feeds.push(Named { room, part, ended: false });
            }
            Err(failure) => {
                warn!(error = %failure, "a subscriber is sent away for a while");
                return Ok(busy());
            }
        }
    }
    Ok(stream(Body::new(Feeds { first: Some(first.freeze()), feeds, said: None, _place: place })))
}

/// The rooms of `lobby,dev@CURSOR`, each once.
fn rooms(text: &str) -> Result<Vec<(RoomName, From)>, Problem> {
    let bad = |why: String| Problem::bad("bad-rooms", why);
    let mut found: Vec<(RoomName, From)> = Vec::new();
    for part in text.split(',') {
        let (name, cursor) = part.split_once('@').map_or((part, None), |(name, cursor)| (name, Some(cursor)));
        let room = RoomName::new(name).map_err(|why| Problem::bad("bad-room", why.to_string()))?;
        if found.iter().any(|(other, _)| *other == room) {
            return Err(bad(format!("`rooms` names `{room}` twice; name each room only once")));
        }
        let from = match cursor.map(str::parse::<Cursor>) {
            None => From::Now,
            Some(Ok(cursor)) => From::Cursor(cursor),
            Some(Err(_)) => From::Reset("bad-cursor"),
        };
        found.push((room, from));
    }
    if found.len() > ROOMS_MAX {
        return Err(bad(format!(
            "`rooms` names {} rooms, but a stream carries at most {ROOMS_MAX}; open another stream",
            found.len()
        )));
    }
    Ok(found)
}

/// What says whose events follow.
fn marker(room: &RoomName) -> Bytes {
    frame::live("room", &feed::OfRoom { room: room.clone() }).bytes
}

/// A room's part, with its name; its end is said once.
struct Named {
    room: RoomName,
    part: Part,
    ended: bool,
}

impl Stream for Named {
    type Item = (RoomName, Option<Bytes>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let bytes = ready!(self.part.poll_next_unpin(cx));
        self.ended = bytes.is_none();
        Poll::Ready(Some((self.room.clone(), bytes)))
    }
}

/// The body of one subscription.
struct Feeds {
    first: Option<Bytes>,
    feeds: SelectAll<Named>,
    /// The room whose events went out last.
    said: Option<RoomName>,
    _place: Permit,
}

impl http_body::Body for Feeds {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        // One that has ended ends all: the subscriber comes back for them together.
        let Some((room, Some(bytes))) = ready!(self.feeds.poll_next_unpin(cx)) else { return Poll::Ready(None) };
        if self.said.as_ref() == Some(&room) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let both = join([marker(&room), bytes]);
        self.said = Some(room);
        Poll::Ready(Some(Ok(Frame::data(both))))
    }
}
