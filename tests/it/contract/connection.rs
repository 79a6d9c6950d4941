//! Below the messages: foreign pages, the page itself, slow, pipelined and header-only requests.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{PATIENCE, Server, body};

const ROOM: &str = "/api/rooms/lobby/messages";

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_gives_its_name_our_address_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let port = server.address.rsplit_once(':').unwrap().1;
    let get = |path: &str, host: &str| server.client().get(server.url(path)).header("host", host);
    for host in ["evil.example", &format!("evil.example:{port}"), "localhost.evil.example", "10.0.0.1", "0.0.0.0"] {
        for path in ["/", ROOM, "/metrics", "/nope", "/api/rooms/lobby/events"] {
            server.ask(get(path, host)).await.refused(&format!("{host} {path}"), 403, "foreign-host");
        }
    }
    for host in [&format!("localhost:{port}"), "LOCALHOST", "127.0.0.1", &format!("[::1]:{port}"), "a.localhost:80"] {
        assert_eq!(server.ask(get("/", host)).await.status, 200, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exposed_server_answers_to_addresses_and_to_names_that_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let exposed = ["--expose", "--allow-host", "chat.example", "--allow-host", "nas"];
    let server = Server::start_with(&dir.path().join("data"), &exposed);
    let port = server.address.rsplit_once(':').unwrap().1;
    let get = |host: &str| server.client().get(server.url(ROOM)).header("host", host);
    for own in ["chat.example", "CHAT.EXAMPLE:80", &format!("nas:{port}"), "192.0.2.7", "[2001:db8::1]:80", "localhost"]
    {
        assert_eq!(server.ask(get(own)).await.status, 200, "{own}");
    }
    for foreign in ["evil.example".to_owned(), format!("evil.example:{port}"), "chat.example.evil.example".into()] {
        let refused = server.ask(get(&foreign)).await;
        refused.refused(&foreign, 403, "host-not-allowed");
        let name = foreign.split(':').next().unwrap();
        assert!(refused.body["detail"].as_str().unwrap().contains(&format!("--allow-host {name}")), "{}", refused.body);
        // As a page of that site would post: its origin is its host.
        let post = server.client().post(server.url(ROOM)).json(&body("by another site", json!({"to": []})));
        let post = post.header("host", &foreign).header("origin", format!("http://{foreign}"));
        server.ask(post).await.refused(&foreign, 403, "host-not-allowed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookies_of_other_apps_on_localhost_are_taken_up_to_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let cookies =
        |bytes: usize| (0..bytes / 1_024).map(|n| format!("app{n:04}={}", "x".repeat(1_014))).collect::<Vec<_>>();
    let get = |bytes: usize| server.client().get(server.url(ROOM)).header("cookie", cookies(bytes).join("; "));
    for bytes in [9 << 10, 16 << 10, 60 << 10] {
        assert_eq!(server.ask(get(bytes)).await.status, 200, "{bytes}");
    }
    // Above the bound and the largest read that can go beyond it.
    assert_eq!(server.ask(get(200 << 10)).await.status, 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_can_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let posted = server.post("lobby", "hello", json!({"to": []})).await;
    let message = format!("/api/messages/{}", posted["id"].as_str().unwrap());
    let own = format!("http://{}", server.address);
    for origin in ["http://evil.example", "null", "", "http://127.0.0.1:1", &format!("{own}.evil.example")] {
        let post = server.client().post(server.url(ROOM)).json(&body("x", json!({"to": []})));
        server.ask(post.header("origin", origin)).await.refused(origin, 403, "foreign-origin");
        for request in [
            server.client().delete(server.url(&message)),
            server.client().post(server.url(&format!("{message}/cancel"))),
            server.client().post(server.url(&format!("{message}/retry"))),
        ] {
            server.ask(request.header("origin", origin)).await.refused(origin, 403, "foreign-origin");
        }
        // Its browser would not show it the answer, and a stream would hold a place.
        let read = server.ask(server.client().get(server.url(ROOM)).header("origin", origin)).await;
        read.refused(origin, 403, "foreign-origin");
        assert_eq!(read.header("access-control-allow-origin"), "");
    }
    let post = server.client().post(server.url(ROOM)).json(&body("own page", json!({"to": []})));
    assert_eq!(server.ask(post.header("origin", &own)).await.status, 201);
    let preflight = server.client().request("OPTIONS".parse().unwrap(), server.url(ROOM));
    let answer = server.ask(preflight.header("origin", "http://evil.example")).await;
    assert!(answer.status >= 400 && answer.header("access-control-allow-origin").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served_whole_once_and_under_a_strict_policy() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/r/lobby", "text/html; charset=utf-8"),
        ("/web/room/main.js", "text/javascript; charset=utf-8"),
        ("/web/style/room.css", "text/css; charset=utf-8"),
        ("/favicon.ico", "image/svg+xml"),
    ] {
        let get = || server.client().get(server.url(path));
        let first = server.ask(get()).await;
        assert_eq!((first.status, first.header("content-type")), (200, kind));
        let policy = first.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("connect-src 'self'"), "{policy}");
        assert_eq!(first.header("x-content-type-options"), "nosniff");
        let text = first.body.as_str().unwrap();
        assert!(!text.is_empty() && !text.contains("onclick=") && !text.contains("style=\""), "nothing inline");
        let tag = first.header("etag");
        for known in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}")] {
            let again = server.ask(get().header("if-none-match", known)).await;
            assert_eq!((again.status, again.header("etag"), again.body.as_str()), (304, tag, Some("")));
        }
        assert_eq!(server.ask(get().header("if-none-match", "\"other\"")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_shown_a_page_where_there_is_none_and_a_slash_too_many_leads_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let browse = async |path: &str| {
        let get = server.client().get(server.url(path)).header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        server.ask(get).await
    };
    for path in ["/nope", "/r/two/three", "/api/nope", "/r//evil.example/"] {
        let answer = browse(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, "text/html; charset=utf-8"), "{path}");
        assert!(answer.body.as_str().unwrap().contains("There is no page at this address"), "{path}");
        server.ask_raw("GET", path, "").await.refused(path, 404, "no-such-path");
    }
    for (path, page) in [
        ("/r/two/", "/r/two"),
        ("/r/two/?at=now", "/r/two?at=now"),
        ("/monitor/", "/monitor"),
        ("/r/", "/"),
        ("/r", "/"),
    ] {
        let answer = browse(path).await;
        assert_eq!((answer.status, answer.header("location")), (308, page), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_says_what_get_would_without_the_body() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    server.post("lobby", "hello", json!({"to": []})).await;
    for path in ["/", ROOM, "/api/rooms", "/api/queues", "/health/live", "/metrics", "/openapi.json"] {
        let head = server.ask(server.client().head(server.url(path))).await;
        let get = server.ask(server.client().get(server.url(path))).await;
        assert_eq!((head.status, head.body.as_str()), (200, Some("")), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
    // A stream's head comes, and no subscriber is left behind.
    let head = server.ask(server.client().head(server.url("/api/rooms/lobby/events"))).await;
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("antiphon_subscribers 0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_at_once_are_answered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut bytes = String::new();
    for n in 0..100 {
        let body = body(&format!("message {n}"), json!({"to": []})).to_string();
        let kind = "content-type: application/json";
        let length = body.len();
        bytes += &format!(
            "POST {ROOM} HTTP/1.1\r\nhost: {}\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}",
            server.address
        );
    }
    bytes += &format!("GET {ROOM}?limit=500 HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", server.address);
    let answers = server.raw(bytes.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 201 Created\r\n").count(), 100);
    let last = answers.rsplit_once("\r\n\r\n").unwrap().1;
    let page: serde_json::Value = serde_json::from_str(last).unwrap();
    let texts: Vec<_> = page["messages"].as_array().unwrap().iter().map(|m| m["text"].clone()).collect();
    assert_eq!(texts, (0..100).map(|n| json!(format!("message {n}"))).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_finish_their_requests_hold_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut slow = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        let begun = format!("POST {ROOM} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n", server.address);
        let begun = match n % 3 {
            0 => String::new(),
            1 => begun,
            _ => format!("{begun}content-length: 100\r\n\r\n{{\"text\":"),
        };
        stream.write_all(begun.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let others = async {
        let mut events = server.events("lobby").await;
        for n in 0..50 {
            server.post("lobby", &format!("message {n}"), json!({"to": []})).await;
            events.until("message.posted").await;
        }
    };
    // Far below the time after which slow clients are given up.
    tokio::time::timeout(std::time::Duration::from_secs(20), others).await.expect("others go on");
    // One that takes up again is answered.
    let mut begun = slow.swap_remove(1);
    begun.write_all(b"connection: close\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, begun.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}
