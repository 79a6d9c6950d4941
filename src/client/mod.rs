//! The HTTP client: one request, one response, and errors that say what to do.
//!
//! Promises:
//! - every post carries its id, key or fence, so a request whose response was lost can be repeated without harm;
//! - of several servers, one is used as long as it responds; the client moves to the next one when it cannot connect, on a
//!   503, and, for the following call, when a response was lost;
//! - the key is sent only to these servers and never printed.
//!
//! Not here: how long to retry (the caller), rooms' feeds (`cli`), what a worker does with a response (`worker`).
//! Start with [`Client`]; `work` has the calls of workers, `stream` reads events.

mod backoff;
mod failure;
#[cfg(test)]
pub(crate) mod fake;
mod keys;
mod state;
mod stream;
mod work;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use antiphon_kit::body::Body;
use antiphon_schemas::{
    MessageId, RoomName,
    wire::{Changed, Message, PostMessage, Posted},
};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use self::failure::{innermost, problem};
pub(crate) use self::{backoff::Backoff, failure::Failure, stream::Stream};
use crate::config::Secret;

/// Long enough for a busy machine; a running server accepts at once.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A post is answered when it is durable: milliseconds, or seconds on a slow disk.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The largest response: twice 500 messages of 64 KiB, the largest page and the largest context of a claim.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Addresses of equivalent servers; at least one.
#[derive(Debug, Clone)]
pub(crate) struct Servers(Vec<Url>);

impl From<Url> for Servers {
    fn from(server: Url) -> Servers {
        Servers(vec![server])
    }
}

impl Servers {
    /// These, or `None` if there are none.
    pub(crate) fn new(servers: Vec<Url>) -> Option<Servers> {
        Some(Servers(servers)).filter(|servers| !servers.0.is_empty())
    }

    /// The addresses, the preferred one first.
    pub(crate) fn urls(&self) -> &[Url] {
        &self.0
    }
}

/// Servers and reusable connections to them. Cheap to clone; clones share the choice of server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    servers: Arc<[(Url, reqwest::Client)]>,
    at: Arc<AtomicUsize>,
    key: Option<Secret>,
}

impl Client {
    /// For the servers at these addresses; connects when first used.
    pub(crate) fn new(servers: impl Into<Servers>) -> anyhow::Result<Client> {
        // An earlier call has installed the same one; that is no error.
        let _first = rustls::crypto::ring::default_provider().install_default();
        let connection = |server: Url| {
            let http = reqwest::Client::builder()
                .connect_timeout(CONNECT_MAX)
                .tcp_nodelay(true)
                .user_agent(concat!("antiphon/", env!("CARGO_PKG_VERSION")));
            // An HTTP_PROXY cannot reach this machine's own servers.
            let http = if is_this_machine(&server) { http.no_proxy() } else { http };
            Ok((server, http.build()?))
        };
        let servers = servers.into().0.into_iter().map(connection).collect::<anyhow::Result<_>>()?;
        Ok(Client { servers, at: Arc::default(), key: None })
    }

    /// The same, with a key sent with every request.
    pub(crate) fn with_key(self, key: Option<Secret>) -> Client {
        Client { key, ..self }
    }

    /// Posts; returns whether the message is new. Repeating a parked post tells whether it is in the log by now.
    pub(crate) async fn post(&self, room: &RoomName, message: &PostMessage) -> Result<(Posted, bool), Failure> {
        let path = ["api", "rooms", room.as_str(), "messages"];
        let response = self.send(&path, |http, url| http.post(url).json(message).timeout(ANSWER_MAX)).await?;
        match response.status() {
            StatusCode::ACCEPTED => Err(Failure::Parked(self.json(response).await?)),
            status => Ok((self.json(response).await?, status == StatusCode::CREATED)),
        }
    }

    /// One message as it is now.
    pub(crate) async fn message(&self, id: MessageId) -> Result<Message, Failure> {
        let path = ["api", "messages", &id.to_string()];
        let response = self.send(&path, |http, url| http.get(url).timeout(ANSWER_MAX)).await?;
        self.json(response).await
    }

    /// Has a message's text and its author's name removed from the log; `false`: it is recorded, and takes longer.
    pub(crate) async fn erase(&self, id: MessageId) -> Result<(Changed, bool), Failure> {
        let path = ["api", "messages", &id.to_string(), "erase"];
        let response = self.send(&path, |http, url| http.post(url).timeout(ANSWER_MAX)).await?;
        let gone = response.status() == StatusCode::OK;
        Ok((self.json(response).await?, gone))
    }

    /// Confirms that the server's empty store is the right one.
    pub(crate) async fn accept_empty_store(&self) -> Result<(), Failure> {
        let path = ["api", "store", "accept-empty"];
        self.send(&path, |http, url| http.post(url).timeout(ANSWER_MAX)).await.map(drop)
    }

    /// Whether an Antiphon server responds.
    pub(crate) async fn live(&self) -> Result<(), Failure> {
        self.send(&["health", "live"], |http, url| http.get(url).timeout(CONNECT_MAX)).await.map(drop)
    }

    /// The room's event stream from a cursor; only connecting and the response's head have a time limit.
    pub(crate) async fn events(&self, room: &RoomName, after: &After) -> Result<Stream, Failure> {
        self.stream(&["api", "rooms", room.as_str(), "events"], |http, mut url| match after {
            After::Newest => http.get(url),
            After::Asked(position) => {
                url.query_pairs_mut().append_pair("after", position);
                http.get(url)
            }
            After::Seen(id) => http.get(url).header("Last-Event-ID", id),
        })
        .await
    }

    async fn stream(
        &self,
        path: &[&str],
        request: impl Fn(&reqwest::Client, Url) -> RequestBuilder,
    ) -> Result<Stream, Failure> {
        let response = self.send(path, |http, url| request(http, url).header("Accept", "text/event-stream"));
        let response = tokio::time::timeout(ANSWER_MAX, response).await;
        response.unwrap_or_else(|_| Err(Failure::Lost("no answer in time".into()))).map(Stream::new)
    }

    /// Sends what `request` builds from a connection and an address, to each server in turn until one accepts it.
    async fn send(
        &self,
        path: &[&str],
        request: impl Fn(&reqwest::Client, Url) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let mut tried = 0;
        loop {
            let at = self.at.load(Relaxed);
            let (server, http) = &self.servers[at];
            let mut request = request(http, below(server, path));
            if let Some(key) = &self.key {
                request = request.bearer_auth(key.expose());
            }
            let failure = match request.send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => Failure::Refused(Box::new(problem(response).await)),
                Err(error) => failure(server, &error),
            };
            tried += 1;
            if failure.elsewhere() {
                // Of several calls that fail together, only one moves on to the next server.
                let _other = self.at.compare_exchange(at, (at + 1) % self.servers.len(), Relaxed, Relaxed);
            }
            if tried == self.servers.len() || !failure.untaken() {
                return Err(failure);
            }
        }
    }

    async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        self.json_within(response, ANSWER_BYTES_MAX).await
    }

    async fn json_within<T: DeserializeOwned>(&self, mut response: Response, max: usize) -> Result<T, Failure> {
        let mut body = Body::at_most(max);
        while let Some(chunk) = response.chunk().await.map_err(|e| Failure::Lost(innermost(&e)))? {
            body.push(&chunk).map_err(|_| Failure::Lost(format!("its answer is longer than {max} bytes")))?;
        }
        let bytes = body.into_bytes();
        serde_json::from_slice(&bytes).map_err(|e| Failure::Lost(format!("its answer is not ours: {e}")))
    }
}

/// Where an event stream starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum After {
    /// The snapshot of now.
    Newest,
    /// After a given position.
    Asked(String),
    /// After the last event that was seen.
    Seen(String),
}

/// A server's address for people: without user and password.
pub(crate) fn shown(server: &Url) -> String {
    let mut server = server.clone();
    // Addresses that cannot have these have none to hide.
    let _ = server.set_username("");
    let _ = server.set_password(None);
    server.as_str().trim_end_matches('/').into()
}

/// Whether the address is one of this machine, as far as it says so itself.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn below(server: &Url, path: &[&str]) -> Url {
    let mut url = server.clone();
    url.path_segments_mut().expect("only addresses that have a path are taken as servers").pop_if_empty().extend(path);
    url
}

fn failure(server: &Url, error: &reqwest::Error) -> Failure {
    let mut why = innermost(error);
    if error.is_connect() {
        // What rustls says of a first answer that is no TLS record.
        if server.scheme() == "https" && why.contains("InvalidContentType") {
            why = "this port speaks http, not https".into();
        }
        return Failure::Unreachable { server: shown(server), why };
    }
    Failure::Lost(if error.is_timeout() { "no answer in time".into() } else { why })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::{
        fake::{Answer, Fake},
        *,
    };

    #[test]
    fn a_path_is_put_below_whatever_the_server_has() {
        for (server, expected) in
            [("https://h/under", "https://h/under/api/a%20b"), ("http://h/", "http://h/api/a%20b")]
        {
            assert_eq!(below(&server.parse().unwrap(), &["api", "a b"]).as_str(), expected);
        }
    }

    #[tokio::test]
    async fn https_to_a_port_that_speaks_http_says_so() {
        let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let https: Url = format!("https://{}", plain.local_addr().unwrap()).parse().unwrap();
        let answering = tokio::spawn(async move {
            let (mut peer, _) = plain.accept().await.unwrap();
            peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            peer
        });
        let why = Client::new(https).unwrap().live().await.unwrap_err().to_string();
        answering.await.unwrap();
        assert!(why.contains("this port speaks http, not https"), "{why}");
    }

    #[tokio::test]
    async fn the_next_servers_turn_comes_when_one_is_away_or_says_so() {
        let away = fake::nobody().await;
        let busy = Fake::start(|_, _| Answer::problem(503, "stopping")).await;
        let good = Fake::start(|_, n| match n {
            1 => Answer::problem(400, "no"),
            3 => Answer::Cut,
            _ => Answer::json(200, serde_json::json!({})),
        })
        .await;
        let servers = Servers::new(vec![away, busy.url.clone(), good.url.clone()]).unwrap();
        let client = Client::new(servers).unwrap().with_key(Some(Secret::new("sk-secret")));
        assert!(!format!("{client:?}").contains("secret"));
        client.live().await.unwrap();
        assert!(matches!(client.live().await, Err(Failure::Refused(p)) if p.code == "no"));
        client.live().await.unwrap();
        assert_eq!((busy.requests().len(), good.requests().len()), (1, 3), "one that answers is stayed with");
        assert!(matches!(client.live().await, Err(Failure::Lost(_))), "what may have been done is not done again");
        client.live().await.unwrap();
        assert_eq!((busy.requests().len(), good.requests().len()), (2, 5), "but the next call goes elsewhere first");
        assert!(good.requests().iter().all(|r| r.header("authorization") == Some("Bearer sk-secret")));
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_its_bound() {
        let long = serde_json::json!("x".repeat(98));
        let server = Fake::start(move |_, _| Answer::json(200, long.clone())).await;
        let client = Client::new(server.url.clone()).unwrap();
        for (max, fits) in [(100, true), (99, false)] {
            let response = client.send(&["long"], |http, url| http.get(url)).await.unwrap();
            let read = client.json_within::<String>(response, max).await;
            match fits {
                true => assert_eq!(read.unwrap().len(), 98),
                false => assert!(read.unwrap_err().to_string().contains("longer than 99 bytes")),
            }
        }
    }

    #[tokio::test]
    async fn each_server_is_tried_once() {
        let busy = Fake::start(|_, _| Answer::problem(503, "busy")).await;
        let client = Client::new(Servers::new(vec![busy.url.clone(), fake::nobody().await]).unwrap()).unwrap();
        assert!(matches!(client.live().await, Err(Failure::Unreachable { .. })));
        assert!(matches!(client.live().await, Err(Failure::Unreachable { .. })));
        assert_eq!(busy.requests().len(), 2);
    }
}
