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

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_that_it_is_not_for_other_sites() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let get = |path: &str| server.client().get(server.url(path));
    let paths = ["/", "/web/client.js", ROOM, "/api/nothing", "/metrics", "/openapi.json", "/health/live"];
    let mut requests: Vec<_> = paths.iter().map(|path| get(path)).collect();
    requests.push(get("/").header("host", "evil.example"));
    requests.push(server.client().post(server.url(ROOM)).body("not JSON"));
    for (n, request) in requests.into_iter().enumerate() {
        let answer = server.ask(request).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "request {n}: {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_opens_no_stream() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    for path in
        ["/api/rooms/lobby/events", "/api/events?rooms=lobby", "/api/monitor/events", "/api/work/events?worker=w"]
    {
        let get = || server.client().get(server.url(path));
        server.ask(get().header("origin", "https://evil.example")).await.refused(path, 403, "foreign-origin");
        for site in ["cross-site", "same-site"] {
            server.ask(get().header("sec-fetch-site", site)).await.refused(path, 403, "foreign-origin");
        }
    }
    let own = server.client().get(server.url(ROOM)).header("sec-fetch-site", "same-origin");
    assert_eq!(server.ask(own).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_too_large_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let get = |name: &'static str, bytes: usize| server.client().get(server.url(ROOM)).header(name, "x".repeat(bytes));
    assert_eq!(server.ask(get("x-token", 16 << 10)).await.status, 200);
    server.ask(get("x-token", (16 << 10) + 1)).await.refused("a large header", 431, "header-too-large");
    assert_eq!(server.ask(get("cookie", 32 << 10)).await.status, 200);
}
