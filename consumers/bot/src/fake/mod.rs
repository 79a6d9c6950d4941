//! A model server for tests: speaks Ollama's and OpenAI's dialect over a real socket, by script.
//!
//! A script is a function from a request to steps; [`Fake::requests`] tells what was asked, [`Fake::hang_ups`] which
//! clients went away before their response was complete. The same steps do for both dialects: the path of the request
//! decides how they are written. Lists of models (`/api/tags`, `/api/ps`, `/v1/models`) and Ollama's loads are answered
//! by [`Fake::answering`] as a healthy server would: what was loaded or asked is loaded from then on.
//!
//! [`oddities`] holds what servers were seen to do: each stays for ever, and each test of an answer can be run with it.
//!
//! Not here: anything that a server outside of tests should do.

mod oddities;
mod picky;
mod step;
mod writer;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use self::writer::Writer;
pub use self::{
    oddities::{ODDITIES, Oddity},
    picky::Picky,
    step::Step,
};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its path.
    pub path: String,
    /// Its header lines, as they came.
    pub head: String,
    /// Its body as it came.
    pub body: String,
    /// Its body as JSON; null if it is none.
    pub json: Value,
    /// How many came before it.
    pub number: usize,
    /// Which connection brought it, counted from 0.
    pub connection: usize,
}

impl Request {
    /// Whether it only loads an Ollama model.
    pub fn is_load(&self) -> bool {
        self.path == "/api/chat" && self.json["messages"].as_array().is_some_and(Vec::is_empty)
    }

    /// Whether it is written in Ollama's dialect.
    fn is_ollama(&self) -> bool {
        self.path.starts_with("/api/")
    }
}

type Script = dyn Fn(&Request) -> Vec<Step> + Send + Sync;

#[derive(Debug, Clone, Default)]
struct Seen {
    requests: Vec<Request>,
    /// Numbers of requests whose client went away.
    hang_ups: Vec<usize>,
    connections: usize,
}

/// A running server; dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// A server on a port of its own that answers every request by `script`.
    pub async fn start(script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (tx, seen) = watch::channel(Seen::default());
        let task = tokio::spawn(serve(listener, Arc::new(script), Arc::new(tx)));
        Fake { address, seen, task }
    }

    /// A healthy server with one model, whose answers to chats are made by `script`. `keep_alive: 0` unloads the model.
    pub async fn answering(model: &str, script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Fake {
        let model = model.to_owned();
        let loaded = Mutex::new(BTreeSet::new());
        Fake::start(move |request| match request.path.as_str() {
            "/api/ps" => {
                let loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                let models: Vec<_> = loaded.iter().map(|name| json!({ "name": name, "model": name })).collect();
                vec![Step::Status(200, json!({ "models": models }))]
            }
            "/api/chat" if note(&mut loaded.lock().unwrap_or_else(PoisonError::into_inner), &request.json) => {
                let reason = if request.json["keep_alive"] == 0 { "unload" } else { "load" };
                vec![Step::Status(200, json!({ "done": true, "done_reason": reason }))]
            }
            "/api/tags" => vec![Step::Status(200, json!({ "models": [{ "name": model }] }))],
            "/v1/models" => vec![Step::Status(200, json!({ "object": "list", "data": [{ "id": model }] }))],
            _ => script(request),
        })
        .await
    }

    /// An address where nobody listens.
    pub async fn nobody() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        format!("http://{}", listener.local_addr().expect("a bound socket has an address"))
    }

    /// Its address, e.g. `http://127.0.0.1:40000`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.borrow().requests.clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.seen.borrow().connections
    }

    /// Numbers of the requests whose client went away before the response was complete.
    pub fn hang_ups(&self) -> Vec<usize> {
        self.seen.borrow().hang_ups.clone()
    }

    /// Waits until `count` requests have come.
    pub async fn requested(&self, count: usize) {
        let mut seen = self.seen.clone();
        let _ = seen.wait_for(|seen| seen.requests.len() >= count).await;
    }

    /// Waits until the client of request `number` has gone away.
    pub async fn hung_up(&self, number: usize) {
        let mut seen = self.seen.clone();
        let _ = seen.wait_for(|seen| seen.hang_ups.contains(&number)).await;
    }
}

/// Keeps which models are loaded; whether the request only loads or unloads one.
fn note(loaded: &mut BTreeSet<String>, chat: &Value) -> bool {
    let name = chat["model"].as_str().unwrap_or_default();
    let name = if name.contains(':') { name.to_owned() } else { format!("{name}:latest") };
    let only = chat["messages"].as_array().is_none_or(Vec::is_empty);
    match only && chat["keep_alive"] == 0 {
        true => loaded.remove(&name),
        false => loaded.insert(name),
    };
    only
}

async fn serve(listener: TcpListener, script: Arc<Script>, seen: Arc<watch::Sender<Seen>>) {
    // Dropped with this task, which ends its connections, too.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let mut number = 0;
        seen.send_modify(|seen| {
            number = seen.connections;
            seen.connections += 1;
        });
        connections.spawn(connection(socket, number, script.clone(), seen.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(mut socket: TcpStream, connection: usize, script: Arc<Script>, seen: Arc<watch::Sender<Seen>>) {
    let _ = socket.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(mut request) = read_request(&mut socket, &mut buffer).await {
        request.connection = connection;
        seen.send_modify(|seen| {
            request.number = seen.requests.len();
            seen.requests.push(request.clone());
        });
        let steps = script(&request);
        let (mut from_client, to_client) = socket.split();
        let mut writer = Writer::new(to_client, request.is_ollama());
        let mut early = [0; 1];
        let alive = tokio::select! {
            alive = writer.run(steps) => alive,
            // A client sends nothing while it waits; reading ends when it goes away.
            _ = from_client.read(&mut early) => {
                seen.send_modify(|seen| seen.hang_ups.push(request.number));
                false
            }
        };
        if !alive {
            return;
        }
    }
}

async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        more(socket, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let end = head_end + length.unwrap_or(0);
    while buffer.len() < end {
        more(socket, buffer).await?;
    }
    let body = String::from_utf8_lossy(&buffer[head_end..end]).into_owned();
    buffer.drain(..end);
    Some(Request {
        path: head.split_whitespace().nth(1).unwrap_or_default().into(),
        json: serde_json::from_str(&body).unwrap_or_default(),
        head,
        body,
        number: 0,
        connection: 0,
    })
}

async fn more(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    match socket.read_buf(buffer).await {
        Ok(n) if n > 0 => Some(()),
        _ => None,
    }
}
