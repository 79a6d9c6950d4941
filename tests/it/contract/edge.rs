//! The edge of HTTP: clients that close early, send on after a refusal, or put odd bytes into headers.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{PATIENCE, Server, body};

const ROOM: &str = "/api/rooms/lobby/messages";

async fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end within a minute").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn until_subscribers(server: &Server, count: usize) {
    let wanted = format!("antiphon_subscribers {count}\n");
    let seen = async {
        while !server.get("/metrics").await.1.as_str().unwrap().contains(&wanted) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("never `{wanted}`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_side_after_a_post_reads_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    for n in 0..20 {
        let body = body(&format!("message {n}"), json!({"to": []})).to_string();
        let head = format!("POST {ROOM} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n", server.address);
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = answer(stream).await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_closes_its_side_gives_its_place_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    let request = format!("GET /api/rooms/lobby/events HTTP/1.1\r\nhost: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    until_subscribers(&server, 1).await;
    stream.shutdown().await.unwrap();
    until_subscribers(&server, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_read_by_a_client_that_sends_its_whole_body_first() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let large = vec![b'x'; 24 << 20];
    let length = format!("content-length: {}\r\n", large.len());
    let json = "content-type: application/json\r\n";
    for (path, headers, status, code) in [
        (ROOM, format!("{json}{length}"), 413, "body-too-large"),
        (ROOM, length.clone(), 415, "not-json"),
        (ROOM, format!("{json}{length}origin: https://evil.example\r\n"), 403, "foreign-origin"),
        ("/api/nothing", format!("{json}{length}"), 404, "no-such-path"),
    ] {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n", server.address);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&large).await.unwrap_or_else(|error| panic!("{code}: {error}"));
        let answer = answer(stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code), "{code}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_cannot_be_read_is_answered_with_a_reset_whatever_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    for id in [&b"no-position"[..], "f0bc-\u{e9}".as_bytes(), b"\xff\xfe", b"a\tb"] {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        let head = format!("GET /api/rooms/lobby/events HTTP/1.1\r\nhost: {}\r\nlast-event-id: ", server.address);
        stream.write_all(&[head.as_bytes(), id, b"\r\n\r\n"].concat()).await.unwrap();
        let mut seen = Vec::new();
        let snapshot = async {
            while !seen.windows(15).any(|bytes| bytes == b"event: snapshot") {
                assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
            }
        };
        tokio::time::timeout(PATIENCE, snapshot).await.expect("a snapshot");
        assert!(String::from_utf8_lossy(&seen).contains("event: reset"), "{id:?}");
    }
}
