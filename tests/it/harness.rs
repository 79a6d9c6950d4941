//! Starts the binary, speaks HTTP and SSE to it, kills it.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use antiphon_kit::sse::{SseEvent, SseReader};
use reqwest::{Client, RequestBuilder, Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Nothing that a test waits for takes this long on the slowest machine; a test that waits longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The full counts, for `./scripts/soak`.
pub(crate) fn soak() -> bool {
    std::env::var_os("ANTIPHON_SOAK").is_some()
}

/// A running server; killed with SIGKILL when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    output: Arc<(Mutex<Vec<String>>, Condvar)>,
    client: Client,
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The body as JSON, or as a string if it is none.
    pub(crate) body: Value,
}

impl Answer {
    /// A header; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Holds the answer to the contract of refusals: RFC 9457 with exactly this code, and a sentence.
    #[track_caller]
    pub(crate) fn refused(&self, what: &str, status: u16, code: &str) {
        let body = &self.body;
        assert_eq!((self.status, body["code"].as_str()), (status, Some(code)), "{what}: {body}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{what}");
        assert_eq!((&body["type"], &body["status"]), (&json!("about:blank"), &json!(status)), "{what}");
        assert!(!body["title"].as_str().unwrap().is_empty(), "{what}");
        let detail = body["detail"].as_str().unwrap();
        let sentence = detail.ends_with('.') && detail.split(' ').count() > 3 && !detail.contains('\n');
        assert!(sentence && !detail.starts_with(char::is_lowercase), "{what}: {detail}");
        assert_eq!(self.header("retry-after").is_empty(), status != 503, "{what}");
    }
}

/// The binary with a clean environment: no model of this machine is found by chance.
pub(crate) fn antiphon() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_antiphon"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("ANTIPHON_LOG", "warn");
    command
}

impl Server {
    /// Starts a server on a free port with its data in `data`, answered by the built-in model without pauses.
    pub(crate) fn start(data: &Path) -> Server {
        Server::start_with(data, &[])
    }

    /// The same with further arguments, which stand for those that are chosen else.
    pub(crate) fn start_with(data: &Path, arguments: &[&str]) -> Server {
        let has = |name: &str| arguments.contains(&name);
        let mut command = antiphon();
        command.args(["serve", "--data"]).arg(data);
        if !has("--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !has("--pace") {
            command.args(["--pace", "0"]);
        }
        if !has("--model") && !has("--config") {
            command.args(["--model", "builtin"]);
        }
        command.args(arguments).current_dir(data.parent().unwrap_or(data));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let output = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let address = loop {
            let line = lines.next().expect("the server says where it listens").unwrap();
            output.0.lock().unwrap().push(line.clone());
            if let Some((_, address)) = line.split_once("listens on http://") {
                break address.to_owned();
            }
        };
        let rest = output.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                rest.0.lock().unwrap().push(line);
                rest.1.notify_all();
            }
        });
        Server { child, address, output, client: antiphon_bot::http_client() }
    }

    /// The same with these lines as its configuration file, which lies beside the data folder.
    pub(crate) fn configured(dir: &Path, settings: &str, arguments: &[&str]) -> Server {
        let file = dir.join("antiphon.toml");
        std::fs::write(&file, settings).unwrap();
        let named = ["--config", file.to_str().unwrap()];
        Server::start_with(&dir.join("data"), &[&named, arguments].concat())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until it has printed a line on stdout that holds `words`, and returns the line.
    pub(crate) fn printed(&self, words: &str) -> String {
        let found = |lines: &Vec<String>| lines.iter().find(|line| line.contains(words)).cloned();
        let lines = self.output.0.lock().unwrap();
        let waited = self.output.1.wait_timeout_while(lines, PATIENCE, |lines| found(lines).is_none());
        let (lines, _) = waited.unwrap();
        found(&lines).unwrap_or_else(|| panic!("`{words}` was not printed: {lines:#?}"))
    }

    /// SIGKILL, as the kernel does when memory is short.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its exit status.
    pub(crate) fn terminate(self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        self.ended()
    }

    /// Waits until it ends by itself.
    pub(crate) fn ended(mut self) -> ExitStatus {
        ended(&mut self.child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    pub(crate) async fn send_json(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        read(self.client.post(self.url(path)).json(body).send().await.unwrap()).await
    }

    /// Sends a request made with [`Server::client`].
    pub(crate) async fn ask(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let headers = response.headers().clone();
        let (status, body) = read(response).await;
        Answer { status: status.as_u16(), headers, body }
    }

    /// Sends these bytes and reads until the server ends the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        read.expect("an end within a minute").unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// A request whose path is sent as it stands: other clients tidy up `..` and `%2e`.
    pub(crate) async fn ask_raw(&self, method: &str, path: &str, body: &str) -> Answer {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        let length = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        parse(&self.raw((head + &length + body).as_bytes()).await)
    }

    /// Posts as ann; `extra` is merged over the body.
    pub(crate) async fn post(&self, room: &str, text: &str, extra: Value) -> Value {
        let (status, posted) = self.send_json(&format!("/api/rooms/{room}/messages"), &body(text, extra)).await;
        assert!(status == StatusCode::CREATED || status == StatusCode::OK, "{status} {posted}");
        posted
    }

    /// All messages of a room, page by page.
    pub(crate) async fn all(&self, room: &str) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), "0".to_owned());
        loop {
            let (status, page) = self.get(&format!("/api/rooms/{room}/messages?after={after}&limit=500")).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let messages = page["messages"].as_array().unwrap();
            let Some(last) = messages.last() else { return all };
            after = last["position"].as_str().unwrap().to_owned();
            all.extend(messages.iter().cloned());
        }
    }

    /// Waits until a message has a status, by following its room.
    pub(crate) async fn until_status(&self, room: &str, id: &str, wanted: &str) -> Value {
        let mut events = Events::open(self, room, Some("0")).await;
        loop {
            let (_, message) = self.get(&format!("/api/messages/{id}")).await;
            if message["status"] == wanted {
                return message;
            }
            events.next().await;
        }
    }

    pub(crate) async fn events(&self, room: &str) -> Events {
        Events::open(self, room, None).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a process ends by itself; one that does not is killed and fails the test. The system has no wait for a
/// child with an end, so this looks again and again.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("it did not end within {PATIENCE:?}");
}

pub(crate) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap().success());
}

/// The body of a post by ann, with `extra` merged over it.
pub(crate) fn body(text: &str, extra: Value) -> Value {
    let mut body = json!({"text": text, "author": {"name": "ann"}});
    if let Value::Object(extra) = extra {
        extra.into_iter().for_each(|(key, value)| body[key] = value);
    }
    body
}

async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// One whole response as it came over the wire, without chunks.
pub(crate) fn parse(response: &str) -> Answer {
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {response:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let fields = lines.map(|line| line.split_once(": ").unwrap());
    let headers = fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    Answer { status, headers, body }
}

/// A subscription.
pub(crate) struct Events {
    response: Response,
    reader: SseReader,
    ready: VecDeque<SseEvent>,
}

impl Events {
    /// Opens one; `last_id` as a browser sends it when it comes back, or `0` for everything from the start.
    pub(crate) async fn open(server: &Server, room: &str, last_id: Option<&str>) -> Events {
        let url = server.url(&format!("/api/rooms/{room}/events"));
        Events::try_open(&server.client, &url, last_id).await.expect("the server answers")
    }

    /// The same of any stream, by its address; `None` when nobody is there.
    pub(crate) async fn try_open(client: &Client, url: &str, last_id: Option<&str>) -> Option<Events> {
        let request = match last_id {
            Some("0") => client.get(format!("{url}?after=0")),
            Some(id) => client.get(url).header("last-event-id", id),
            None => client.get(url),
        };
        let response = request.send().await.ok()?;
        assert_eq!(response.status(), StatusCode::OK);
        Some(Events::of(response))
    }

    /// What a response of this kind brings.
    pub(crate) fn of(response: Response) -> Events {
        Events { response, reader: SseReader::new(), ready: VecDeque::new() }
    }

    /// Opens another stream than a room's, e.g. that of a worker.
    pub(crate) async fn at(server: &Server, path: &str) -> Events {
        let response = server.client.get(server.url(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Events { response, reader: SseReader::new(), ready: VecDeque::new() }
    }

    /// The next event but heartbeats; `None` at the end of the stream.
    pub(crate) async fn try_next(&mut self) -> Option<SseEvent> {
        tokio::time::timeout(PATIENCE, self.hear()).await.expect("an event within a minute")
    }

    /// The same, however long it takes.
    pub(crate) async fn hear(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if event.name != "heartbeat" {
                    return Some(event);
                }
                continue;
            }
            let chunk = self.response.chunk().await.ok()??;
            let mut events = Vec::new();
            self.reader.push(&chunk, &mut events);
            self.ready.extend(events);
        }
    }

    pub(crate) async fn next(&mut self) -> SseEvent {
        self.try_next().await.expect("the stream goes on")
    }

    /// Reads up to an event of this name, which it returns with its data.
    pub(crate) async fn until(&mut self, name: &str) -> (SseEvent, Value) {
        loop {
            let event = self.next().await;
            if event.name == name {
                let value = serde_json::from_str(&event.data).unwrap();
                return (event, value);
            }
        }
    }
}

impl Events {
    /// Reads up to a `state` that says this. The one before may come more than once: whoever joins again while the store is
    /// away hears of it again, and so does everybody when the outbox empties.
    pub(crate) async fn until_state(&mut self, wanted: &str) -> Value {
        loop {
            let (_, state) = self.until("state").await;
            if state["state"] == wanted {
                return state;
            }
        }
    }
}

/// Settings of a server whose one bot asks the fake Ollama at `url`, one question at a time; `more` of them at the top.
pub(crate) fn fake_settings(url: &str, more: &str) -> String {
    format!("model = \"ollama:fake\"\nollama_url = \"{url}\"\n{more}")
}

/// An address that a server can be started on again after it was killed: its port is below those that the system gives
/// to others meanwhile.
pub(crate) fn lasting_address() -> String {
    // Tests of one process run at once: each call throws dice of its own, so that no two try the same addresses.
    static CALLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let call = CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut dice = Dice(u64::from(std::process::id()) ^ (call << 32));
    loop {
        let address = format!("127.0.0.1:{}", 12_000 + dice.below(18_000));
        if std::net::TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

impl Server {
    /// As [`Server::start`], on this address.
    pub(crate) fn start_at(address: &str, data: &Path) -> Server {
        Server::start_with(data, &["--listen", address])
    }
}

/// Random numbers that a seed repeats (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number from 0 to `n` - 1.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// A random UUID.
    pub(crate) fn uuid(&mut self) -> uuid::Uuid {
        let (high, low) = (self.below(u64::MAX), self.below(u64::MAX));
        uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).into_uuid()
    }
}

/// The seed of a test: from `ANTIPHON_SEED`, else fresh; printed, so that a failure can be tried again.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("ANTIPHON_SEED").ok().map(|seed| seed.parse().expect("ANTIPHON_SEED is a number"));
    let seed = given.unwrap_or_else(rand::random);
    eprintln!("ANTIPHON_SEED={seed}");
    seed
}

/// What a node shows of its state to everybody: rooms with all their messages, what a new subscriber is given, queues,
/// and the numbers that are folded from the log.
pub(crate) async fn everything_shown(server: &Server) -> Value {
    let (_, rooms) = server.get("/api/rooms").await;
    let (mut messages, mut snapshots) = (json!({}), json!({}));
    for room in rooms["rooms"].as_array().unwrap().iter().map(|room| room["room"].as_str().unwrap()) {
        messages[room] = server.all(room).await.into();
        snapshots[room] = server.events(room).await.until("snapshot").await.1;
    }
    let (_, queues) = server.get("/api/queues").await;
    let (_, metrics) = server.get("/metrics").await;
    const FOLDED: [&str; 5] = ["log_", "queue_messages", "bot_failures", "reply_seconds", "reply_first_token_seconds"];
    let folded = |line: &&str| {
        let name = line.strip_prefix("antiphon_").unwrap_or_default();
        FOLDED.iter().any(|prefix| name.starts_with(prefix))
    };
    let numbers: Vec<_> = metrics.as_str().unwrap().lines().filter(folded).collect();
    assert!(numbers.iter().any(|line| line.contains("message.posted")), "{metrics}");
    json!({"rooms": rooms, "messages": messages, "snapshots": snapshots, "queues": queues, "numbers": numbers})
}

/// Asserts that two states shown are equal, and names the first part that is not.
pub(crate) fn assert_same(one: &Value, other: &Value, what: &str) {
    for part in ["rooms", "queues", "numbers", "snapshots"] {
        assert_eq!(one[part], other[part], "{what}: {part}");
    }
    for (room, messages) in one["messages"].as_object().unwrap() {
        let pairs = messages.as_array().unwrap().iter().zip(other["messages"][room].as_array().unwrap());
        pairs.for_each(|(a, b)| assert_eq!(a, b, "{what}: {room}"));
    }
    assert!(one == other, "{what}");
}
