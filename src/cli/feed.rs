//! Follows a room's event stream through every break of the connection.
//!
//! Promises: resumes after the last event seen (`Last-Event-ID`), so nothing durable is missed or seen twice; backs off
//! after each failed attempt, with jitter; gives up only when the server rejects the request itself.
//! Not here: what events mean.

use std::time::Duration;

use antiphon_kit::sse::SseEvent;
use antiphon_schemas::{RoomName, wire::feed};

use super::client::{After, Backoff, Client, Failure};
use crate::client::Stream;

/// First wait after a break.
const WAIT_FIRST: Duration = Duration::from_millis(250);
/// Longest wait, so that a returning server is found soon.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// A connection that lived this long resets the backoff.
const GOOD: Duration = Duration::from_secs(5);

/// What happened.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// A connection is open; its events follow.
    Connected,
    /// An event.
    Event(SseEvent),
    /// The connection broke, for this reason; the next event comes from a new one.
    Broken(String),
}

/// A room's events, one after the other.
#[derive(Debug)]
pub(super) struct Feed {
    client: Client,
    room: RoomName,
    after: After,
    stream: Option<Stream>,
    backoff: Backoff,
    /// Before the next try to connect.
    wait: Option<Duration>,
    /// Whether a failure to connect counts as a break like any other.
    patient: bool,
}

impl Feed {
    /// A feed that fails if the first connection does.
    pub(super) fn new(client: Client, room: RoomName, after: After) -> Feed {
        let backoff = Backoff::new(WAIT_FIRST, WAIT_MAX);
        Feed { client, room, after, stream: None, backoff, wait: None, patient: false }
    }

    /// The same, but the first connection may fail too, because the server was there a moment ago.
    pub(super) fn patient(mut self) -> Feed {
        self.patient = true;
        self
    }

    /// The next event, or a change of the connection.
    ///
    /// # Errors
    /// A [`Failure`] that a retry cannot fix, or that of the very first connection.
    pub(super) async fn next(&mut self) -> Result<News, Failure> {
        let Some(stream) = &mut self.stream else {
            if let Some(wait) = self.wait.take() {
                tokio::time::sleep(wait).await;
            }
            return match self.client.events(&self.room, &self.after).await {
                Ok(stream) => {
                    self.patient = true;
                    self.stream = Some(stream);
                    Ok(News::Connected)
                }
                Err(failure) if self.patient && failure.retryable() => Ok(self.broken(failure.to_string())),
                Err(failure) => Err(failure),
            };
        };
        Ok(match stream.next().await {
            Ok(event) => {
                self.note(&event);
                News::Event(event)
            }
            Err(why) => self.broken(why),
        })
    }

    fn broken(&mut self, why: String) -> News {
        if self.stream.take().is_some_and(|stream| stream.age() >= GOOD) {
            self.backoff.reset();
        }
        let wait = self.backoff.wait();
        self.wait = Some(self.wait.map_or(wait, |asked| asked.max(wait)));
        News::Broken(why)
    }

    /// Remembers what an event says about how to resume.
    fn note(&mut self, event: &SseEvent) {
        if let Some(id) = &event.id {
            self.after = After::Seen(id.clone());
        }
        if let ("busy", Ok(busy)) = (event.name.as_str(), serde_json::from_str::<feed::Busy>(&event.data)) {
            self.wait = Some(Duration::from_millis(busy.retry_ms).min(WAIT_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Answer, Fake};

    #[tokio::test]
    async fn a_cut_stream_is_taken_up_after_the_last_event_seen() {
        let fake = Fake::start(|request, n| match n {
            0 => Answer::stream("id: 7\nevent: a\ndata: 1\n\nevent: live\ndata: 2\n\nid: 8\nevent: cut\nda"),
            1 => Answer::problem(503, "busy"),
            2 => Answer::stream("event: b\ndata: 3\n\n"),
            _ => Answer::problem(if request.path.contains("r1") { 400 } else { 500 }, "bad-room"),
        })
        .await;
        let room = RoomName::new("r1").unwrap();
        let mut feed = Feed::new(fake.client(), room, After::Asked("0".into()));
        feed.backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(2));
        let mut names = Vec::new();
        let failure = loop {
            match feed.next().await {
                Ok(News::Connected) => names.push("connected".into()),
                Ok(News::Event(event)) => names.push(event.name),
                Ok(News::Broken(_)) => names.push("broken".into()),
                Err(failure) => break failure,
            }
        };
        assert_eq!(names, ["connected", "a", "live", "broken", "broken", "connected", "b", "broken"]);
        assert!(matches!(failure, Failure::Refused(p) if p.code == "bad-room"));
        let requests = fake.requests();
        assert_eq!(requests[0].path, "/api/rooms/r1/events?after=0");
        assert_eq!(requests[0].header("last-event-id"), None);
        for request in &requests[1..] {
            assert_eq!((request.path.as_str(), request.header("last-event-id")), ("/api/rooms/r1/events", Some("7")));
        }
    }

    #[tokio::test]
    async fn the_first_connection_must_work_unless_the_server_was_there_a_moment_ago() {
        let fake = Fake::start(|_, _| Answer::problem(503, "busy")).await;
        let feed = || Feed::new(fake.client(), RoomName::new("r").unwrap(), After::Newest);
        assert!(feed().next().await.is_err());
        assert!(matches!(feed().patient().next().await, Ok(News::Broken(_))));
    }
}
