//! Speaks to a server's HTTP API: one request, one answer, and errors that say what to do.
//!
//! Promise: a post carries its id, so that one whose answer was lost can be sent again without harm.
//! Not here: event streams (`feed`).

use std::{fmt, time::Duration};

use antiphon_schemas::{
    MessageId, RoomName,
    wire::{Message, Parked, PostMessage, Posted, Problem},
};
use reqwest::{Response, StatusCode, Url, header::CONTENT_TYPE};

use crate::config::SERVER;

/// Long enough for a busy machine; a server that is there accepts at once.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A post is answered when it is durable: milliseconds, or seconds behind a slow disk.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Characters of an answer that is not ours which are shown.
const FOREIGN_CHARS_MAX: usize = 200;

/// Which server.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Server {
    /// The server's address
    #[arg(long, value_name = "URL", env = SERVER, default_value = "http://127.0.0.1:8080", value_parser = base)]
    pub(super) server: Url,
}

/// A URL that paths can be put behind; `http://` may be left out.
fn base(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match Url::parse(&whole) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("not a server's address such as http://127.0.0.1:8080".into()),
    }
}

/// Why a request did not do what it should.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody listens there.
    Unreachable {
        /// The server.
        server: String,
        /// What the system says.
        why: String,
    },
    /// The connection broke before the answer was there: done or not, nobody knows.
    Lost(String),
    /// The server said no.
    Refused(Problem),
    /// The server keeps it on its disk until its store is back: done, but not to be seen yet.
    Parked(Parked),
}

impl Failure {
    /// Whether the same again may help.
    pub(super) fn retryable(&self) -> bool {
        match self {
            Failure::Unreachable { .. } | Failure::Lost(_) | Failure::Parked(_) => true,
            Failure::Refused(problem) => problem.status >= 500 || matches!(problem.status, 408 | 429),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable { server, why } => write!(
                f,
                "nobody answers at {server} ({why}); start the server with `antiphon serve`, or name it with --server"
            ),
            Failure::Lost(why) => write!(f, "the connection to the server broke ({why})"),
            Failure::Refused(problem) => write!(f, "{} ({}, {})", problem.detail, problem.status, problem.code),
            Failure::Parked(parked) => {
                write!(
                    f,
                    "the server's store is away; message {} waits on the server's disk and is not lost",
                    parked.id
                )
            }
        }
    }
}

impl std::error::Error for Failure {}

/// A server, and connections to it that are used again. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    server: Url,
}

impl Client {
    /// For the server at this address; connects when first used.
    pub(super) fn new(server: &Server) -> anyhow::Result<Client> {
        // Whoever was first has installed the same; that is no error.
        let _first = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .user_agent(concat!("antiphon/", env!("CARGO_PKG_VERSION")));
        // A proxy for the wide world (HTTP_PROXY) knows nothing of this machine's own servers.
        let http = if is_this_machine(&server.server) { http.no_proxy() } else { http };
        Ok(Client { http: http.build()?, server: server.server.clone() })
    }

    /// Posts; returns whether the message is new. The same again tells whether one that was parked is in the log by now.
    pub(super) async fn post(&self, room: &RoomName, message: &PostMessage) -> Result<(Posted, bool), Failure> {
        let request = self.http.post(self.url(&["api", "rooms", room.as_str(), "messages"])).json(message);
        let response = self.send(request.timeout(ANSWER_MAX)).await?;
        match response.status() {
            StatusCode::ACCEPTED => Err(Failure::Parked(self.json(response).await?)),
            status => Ok((self.json(response).await?, status == StatusCode::CREATED)),
        }
    }

    /// One message as it stands now.
    pub(super) async fn message(&self, id: MessageId) -> Result<Message, Failure> {
        let request = self.http.get(self.url(&["api", "messages", &id.to_string()]));
        let response = self.send(request.timeout(ANSWER_MAX)).await?;
        self.json(response).await
    }

    /// Says that the server's empty store is the right one.
    pub(super) async fn accept_empty_store(&self) -> Result<(), Failure> {
        let request = self.http.post(self.url(&["api", "store", "accept-empty"]));
        self.send(request.timeout(ANSWER_MAX)).await.map(drop)
    }

    /// Whether somebody who speaks our HTTP is there.
    pub(super) async fn live(&self) -> Result<(), Failure> {
        self.send(self.http.get(self.url(&["health", "live"])).timeout(CONNECT_MAX)).await.map(drop)
    }

    /// The room's event stream from a cursor; only connecting and the head of the answer are bounded in time.
    pub(super) async fn events(&self, room: &RoomName, after: &After) -> Result<Response, Failure> {
        let mut request = self.http.get(self.url(&["api", "rooms", room.as_str(), "events"]));
        request = match after {
            After::Newest => request,
            After::Asked(position) => {
                let mut url = self.url(&["api", "rooms", room.as_str(), "events"]);
                url.query_pairs_mut().append_pair("after", position);
                self.http.get(url)
            }
            After::Seen(id) => request.header("Last-Event-ID", id),
        };
        let request = request.header("Accept", "text/event-stream");
        tokio::time::timeout(ANSWER_MAX, self.send(request))
            .await
            .unwrap_or_else(|_| Err(Failure::Lost("no answer in time".into())))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.server.clone();
        url.path_segments_mut().expect("`base` takes only URLs that have a path").pop_if_empty().extend(path);
        url
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|e| self.failure(&e))?;
        if response.status().is_success() { Ok(response) } else { Err(Failure::Refused(problem(response).await)) }
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let bytes = response.bytes().await.map_err(|e| self.failure(&e))?;
        serde_json::from_slice(&bytes).map_err(|e| Failure::Lost(format!("its answer is not ours: {e}")))
    }

    fn failure(&self, error: &reqwest::Error) -> Failure {
        let why = innermost(error);
        if error.is_connect() {
            return Failure::Unreachable { server: self.server.as_str().trim_end_matches('/').into(), why };
        }
        Failure::Lost(if error.is_timeout() { "no answer in time".into() } else { why })
    }
}

/// From where an event stream is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    /// The snapshot of now.
    Newest,
    /// After a position that somebody gave.
    Asked(String),
    /// After the last event that was seen.
    Seen(String),
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What the system said, without the sentences wrapped around it.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The problem in an answer; made up of its status and beginning if it is not one of ours.
async fn problem(response: Response) -> Problem {
    let status = response.status();
    let foreign =
        !response.headers().get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/problem+json"));
    let bytes = response.bytes().await.unwrap_or_default();
    match serde_json::from_slice(&bytes) {
        Ok(problem) if !foreign => problem,
        _ => {
            let text: String = String::from_utf8_lossy(&bytes).chars().take(FOREIGN_CHARS_MAX).collect();
            Problem {
                kind: "about:blank".into(),
                title: status.canonical_reason().unwrap_or_default().into(),
                status: status.as_u16(),
                code: "not-antiphon".into(),
                detail: format!("the answer is not one of antiphon's: `{}`; is --server right?", text.trim()),
                expected: None,
                holder: None,
                ended: None,
            }
        }
    }
}

/// Waits between tries: doubled each time, half of it up to chance so that many do not come back at once.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// From `first` to `max`.
    pub(super) fn new(first: Duration, max: Duration) -> Backoff {
        Backoff { first, max, next: first }
    }

    /// The next wait.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// All is well again: the next wait is the first.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_address_may_lack_the_scheme() {
        assert_eq!(base("127.0.0.1:80").unwrap().as_str(), "http://127.0.0.1/");
        assert_eq!(base("https://h/under/").unwrap().as_str(), "https://h/under/");
        assert!(base("ftp://h").is_err() && base("").is_err());
        let client = Client::new(&Server { server: base("https://h/under").unwrap() }).unwrap();
        assert_eq!(client.url(&["api", "a b"]).as_str(), "https://h/under/api/a%20b");
    }

    #[test]
    fn waits_double_up_to_their_bound_and_start_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(300));
        for (low, high) in [(50, 100), (100, 200), (150, 300), (150, 300)] {
            let wait = backoff.wait();
            assert!(ms(low) <= wait && wait <= ms(high), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= ms(100));
    }
}
