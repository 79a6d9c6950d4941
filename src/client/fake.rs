//! A scripted server for tests that remembers what it was asked.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};

use reqwest::Url;

use super::Client;

/// Far longer than any step of a test takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// With the query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What to answer.
pub(crate) enum Answer {
    /// This, and keep the connection.
    Whole(u16, &'static str, String),
    /// This as an event stream, then close.
    Stream(String),
    /// An event stream of these pieces, as they come; closed when nobody can send more.
    Open(mpsc::UnboundedReceiver<String>),
    /// Nothing: close the connection.
    Cut,
}

impl Answer {
    pub(crate) fn json(status: u16, body: serde_json::Value) -> Answer {
        Answer::Whole(status, "application/json", body.to_string())
    }

    pub(crate) fn problem(status: u16, code: &str) -> Answer {
        let body = serde_json::json!({"type": "about:blank", "title": "t", "status": status, "code": code, "detail": format!("because {code}")});
        Answer::Whole(status, "application/problem+json", body.to_string())
    }

    pub(crate) fn stream(text: &str) -> Answer {
        Answer::Stream(text.into())
    }
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Handler = dyn Fn(Request, usize) -> Answering + Send + Sync;

/// The server; gone when the test's runtime is.
pub(crate) struct Fake {
    pub(crate) url: Url,
    requests: watch::Sender<Vec<Request>>,
}

impl Fake {
    /// Answers the n-th request (from 0) as `answer` says.
    pub(crate) async fn start(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Fake {
        Fake::start_async(move |request, n| {
            let answer = answer(&request, n);
            Box::pin(async { answer })
        })
        .await
    }

    /// The same, with answers that take their time.
    pub(crate) async fn start_async(answer: impl Fn(Request, usize) -> Answering + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let requests = watch::Sender::new(Vec::new());
        let (seen, answer): (_, Arc<Handler>) = (requests.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, seen.clone(), answer.clone()));
            }
        });
        Fake { url, requests }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.url.clone()).unwrap()
    }

    /// All requests so far, in the order in which they came.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.borrow().clone()
    }

    /// Waits until what was asked so far is as wanted; returns it.
    pub(crate) async fn asked(&self, wanted: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let mut seen = self.requests.subscribe();
        let enough = seen.wait_for(|requests| wanted(requests));
        match timeout(PATIENCE, enough).await {
            Ok(requests) => requests.unwrap().clone(),
            Err(_) => panic!("not asked as wanted: {:#?}", self.requests()),
        }
    }
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap()).parse().unwrap()
}

async fn connection(stream: TcpStream, seen: watch::Sender<Vec<Request>>, answer: Arc<Handler>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let mut n = 0;
        seen.send_modify(|seen| {
            n = seen.len();
            seen.push(request.clone());
        });
        let (head, body) = match answer(request, n).await {
            Answer::Whole(status, kind, body) => {
                (format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len()), body)
            }
            Answer::Stream(body) => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let _gone = stream.write_all(format!("{head}{body}").as_bytes()).await;
                return;
            }
            Answer::Open(mut pieces) => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let _gone = stream.write_all(head.as_bytes()).await;
                while let Some(piece) = pieces.recv().await {
                    if stream.write_all(piece.as_bytes()).await.is_err() {
                        break;
                    }
                }
                return;
            }
            Answer::Cut => return,
        };
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let path = words.nth(1)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut request = Request { path, headers, body: String::new() };
    let mut body = vec![0; request.header("content-length").map_or(0, |n| n.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}
