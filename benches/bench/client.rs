//! A load generator's client: HTTP/1.1 by hand, so that it costs little of the two cores that the server needs.

use std::time::Instant;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The bytes of a post; `to` as JSON.
pub(crate) fn post(room: &str, text: &str, to: &str) -> Vec<u8> {
    let body = format!(r#"{{"text":"{text}","author":{{"name":"ann"}},"to":{to}}}"#);
    post_json(&format!("/api/rooms/{room}/messages"), &body)
}

/// The bytes of a POST of this JSON.
pub(crate) fn post_json(path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + body).into_bytes()
}

/// The bytes of a GET.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// A kept-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Connection {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Connection { stream, buffer: Vec::with_capacity(1 << 14) }
    }

    /// Sends a request and reads its answer; returns the status.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> u16 {
        self.exchange(request).await.0
    }

    /// Sends a request and returns the answer's body.
    pub(crate) async fn read(&mut self, request: &[u8]) -> String {
        let (_, head) = self.exchange(request).await;
        String::from_utf8_lossy(&self.buffer[head..]).into_owned()
    }

    async fn exchange(&mut self, request: &[u8]) -> (u16, usize) {
        self.stream.write_all(request).await.expect("a request");
        self.buffer.clear();
        let (mut head, mut length) = (0, 0);
        while head == 0 || self.buffer.len() < head + length {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("an answer");
            assert!(read > 0, "the server ended the connection");
            if head == 0
                && let Some(end) = find(&self.buffer, b"\r\n\r\n")
            {
                head = end + 4;
                let text = String::from_utf8_lossy(&self.buffer[..head]).to_lowercase();
                let field = text.split("content-length: ").nth(1).and_then(|t| t.split("\r\n").next());
                length = field.and_then(|n| n.parse().ok()).unwrap_or(0);
            }
        }
        let status = std::str::from_utf8(&self.buffer[9..12]).ok().and_then(|s| s.parse().ok()).unwrap_or(0);
        (status, head)
    }
}

/// A subscriber that has read its snapshot.
pub(crate) struct Subscriber {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Subscriber {
    pub(crate) async fn open(address: &str, room: &str) -> Subscriber {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(&get(&format!("/api/rooms/{room}/events"))).await.expect("a request");
        let mut subscriber = Subscriber { stream, buffer: Vec::new() };
        subscriber.until("event: snapshot").await;
        subscriber.buffer = Vec::new();
        subscriber
    }

    /// Reads until these bytes have come; forgets everything up to them.
    pub(crate) async fn until(&mut self, needle: &str) {
        loop {
            if let Some(at) = find(&self.buffer, needle.as_bytes()) {
                self.buffer.drain(..at + needle.len());
                return;
            }
            self.fill().await;
        }
    }

    /// Reads `count` posts whose texts begin with the time of their sending; returns how long each took, in ms.
    pub(crate) async fn latencies(&mut self, clock: Instant, count: usize) -> Vec<f64> {
        const MARK: &[u8] = b"\"text\":\"t";
        let mut times = Vec::with_capacity(count);
        while times.len() < count {
            self.fill().await;
            let now = clock.elapsed().as_nanos() as f64;
            let mut done = 0;
            while let Some(at) = find(&self.buffer[done..], MARK) {
                let start = done + at + MARK.len();
                let Some(digits) = self.buffer.get(start..start + 16) else { break };
                let sent: f64 = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()).expect("a time");
                times.push((now - sent) / 1e6);
                done = start + 16;
            }
            // What may be the beginning of the next mark stays.
            let keep = self.buffer.len().saturating_sub(MARK.len() + 16).max(done);
            self.buffer.drain(..keep);
        }
        times
    }

    async fn fill(&mut self) {
        let read = self.stream.read_buf(&mut self.buffer).await.expect("the stream goes on");
        assert!(read > 0, "the server ended the stream");
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|b| *b == needle[0]) {
        at += next;
        if bytes[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}
