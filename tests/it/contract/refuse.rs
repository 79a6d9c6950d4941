//! Every way to be turned down: always a problem with a stable code and a sentence, and nothing is changed.

use serde_json::{Value, json};

use crate::harness::{Server, body, parse};

const ROOM: &str = "/api/rooms/lobby/messages";
const NOBODY: &str = "0195f7a2-6c00-7000-8000-000000000000";

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_makes_no_sense_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let elsewhere = server.post("other", "elsewhere", json!({"to": []})).await;
    let author = |author: Value| json!({"author": author});
    let cases = [
        (json!({"text": null}), "wrong-type"),
        (json!({"text": 7}), "wrong-type"),
        (json!({"author": "ann"}), "wrong-type"),
        (json!({"author": null}), "wrong-type"),
        (json!({"author": ["ann"]}), "wrong-type"),
        (author(json!({})), "wrong-type"),
        (author(json!({"name": null})), "wrong-type"),
        (author(json!({"name": "ann", "kind": "cat"})), "wrong-type"),
        (author(json!({"name": "ann", "colour": "red"})), "wrong-type"),
        (author(json!({"name": "ann", "color": 1})), "wrong-type"),
        (json!({"id": "x"}), "wrong-type"),
        (json!({"id": 7}), "wrong-type"),
        (json!({"to": "antiphon"}), "wrong-type"),
        (json!({"to": [""]}), "unknown-bot"),
        (json!({"to": ["Dr Bot"]}), "unknown-bot"),
        (json!({"to": [7]}), "wrong-type"),
        (json!({"priority": "5"}), "wrong-type"),
        (json!({"priority": -1}), "wrong-type"),
        (json!({"priority": 5.5}), "wrong-type"),
        (json!({"priority": 256}), "wrong-type"),
        (json!({"priority": 10}), "bad-priority"),
        (json!({"said_at": 7}), "wrong-type"),
        (json!({"said_at": "yesterday"}), "bad-said-at"),
        (json!({"said_at": "1969-12-31T23:59:59Z"}), "bad-said-at"),
        (json!({"said_at": "9999-12-31T00:00:00Z"}), "bad-said-at"),
        (json!({"reply_to": "x"}), "wrong-type"),
        (json!({"reply_to": NOBODY}), "reply-to-elsewhere"),
        (json!({"reply_to": elsewhere["id"]}), "reply-to-elsewhere"),
        (json!({"txt": "hello"}), "wrong-type"),
        (json!({"text": ""}), "empty-text"),
        (json!({"text": " \t\r\n\u{3000}"}), "empty-text"),
        (json!({"text": "\u{200b}\u{202e} \u{2800}"}), "empty-text"),
        (json!({"text": "x".repeat(16 * 1024 + 1)}), "text-too-long"),
        (json!({"text": "ä".repeat(8 * 1024) + "x"}), "text-too-long"),
        (json!({"text": "a\u{0}b"}), "bad-text"),
        (author(json!({"name": ""})), "bad-name"),
        (author(json!({"name": "  "})), "bad-name"),
        (author(json!({"name": "\u{2066}\u{3164}\u{2069}"})), "bad-name"),
        (author(json!({"name": "a\nb"})), "bad-name"),
        (author(json!({"name": "a\u{0}"})), "bad-name"),
        (author(json!({"name": "a\u{1b}[2J"})), "bad-name"),
        (author(json!({"name": "a\u{7f}"})), "bad-name"),
        (author(json!({"name": "a\u{85}"})), "bad-name"),
        (author(json!({"name": "x".repeat(129)})), "bad-name"),
        (author(json!({"name": "ann", "color": ""})), "bad-color"),
        (author(json!({"name": "ann", "color": "x".repeat(33)})), "bad-color"),
        (author(json!({"name": "ann", "color": "röt"})), "bad-color"),
        (author(json!({"name": "ann", "color": "a\nb"})), "bad-color"),
    ];
    for (extra, code) in cases {
        let post = body("hello", extra.clone());
        let answer = server.ask(server.client().post(server.url(ROOM)).json(&post)).await;
        answer.refused(&extra.to_string().chars().take(80).collect::<String>(), 400, code);
    }
    let ann = r#""author":{"name":"ann"}"#;
    for (bytes, code) in [
        (String::new(), "bad-json"),
        ("{".into(), "bad-json"),
        ("hello".into(), "bad-json"),
        (format!(r#"{{"text":"a",{ann}}} x"#), "bad-json"),
        (format!(r#"{{"text":"a","to":[],{ann},}}"#), "bad-json"),
        (format!(r#"{{"text":"\ud800",{ann}}}"#), "bad-json"),
        (format!(r#"{{"text":"a{}b",{ann}}}"#, '\u{1}'), "bad-json"),
        (format!(r#"{{"text":"a","text":"b",{ann}}}"#), "wrong-type"),
        ("null".into(), "wrong-type"),
        ("[]".into(), "wrong-type"),
        (r#""hello""#.into(), "wrong-type"),
        (r#"["hello",{"name":"ann"}]"#.into(), "wrong-type"),
        ("[".repeat(20_000), "wrong-type"),
    ] {
        let post = server.client().post(server.url(ROOM)).header("content-type", "application/json");
        server.ask(post.body(bytes.clone())).await.refused(&bytes[..bytes.len().min(80)], 400, code);
    }
    let broken = b"{\"text\":\"a\xff\",\"author\":{\"name\":\"ann\"}}".to_vec();
    let post = server.client().post(server.url(ROOM)).header("content-type", "application/json");
    server.ask(post.body(broken)).await.refused("not UTF-8", 400, "bad-json");
    assert!(server.all("lobby").await.is_empty(), "nothing of it was posted");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_json_is_taken_so_that_forms_of_other_sites_stay_out() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let text = body("hello", json!({"to": []})).to_string();
    for kind in [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/json-seq"),
        Some("text/plain; application/json"),
    ] {
        let mut post = server.client().post(server.url(ROOM)).body(text.clone());
        if let Some(kind) = kind {
            post = post.header("content-type", kind);
        }
        server.ask(post).await.refused(&format!("{kind:?}"), 415, "not-json");
    }
    for kind in ["application/json", "Application/JSON", "application/json; charset=utf-8"] {
        let post = server.client().post(server.url(ROOM)).body(text.clone()).header("content-type", kind);
        assert_eq!(server.ask(post).await.status, 201, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_before_it_has_arrived() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), "text_bytes_max = 100\n", &[]);
    let head = format!("POST {ROOM} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n", server.address);
    // Declared: not a byte of it is sent.
    let declared = format!("{head}content-length: 1073741824\r\n\r\n");
    parse(&server.raw(declared.as_bytes()).await).refused("declared", 413, "body-too-large");
    // In chunks: one byte more than the limit comes, and no end.
    let limit = 100 * 6 + 8 * 1024;
    let chunk = " ".repeat(limit + 1);
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n", chunk.len());
    parse(&server.raw(chunked.as_bytes()).await).refused("chunked", 413, "body-too-large");
    // A text of nothing but escapes fits as long as the text does.
    let escapes = format!(r#"{{"text":"{}","author":{{"name":"ann"}},"to":[]}}"#, "\\u0001".repeat(99) + "\\u0041");
    assert_eq!(server.ask_raw("POST", ROOM, &escapes).await.status, 201);
    let escapes = format!(r#"{{"text":"{}","author":{{"name":"ann"}},"to":[]}}"#, "\\u0001".repeat(100) + "\\u0041");
    server.ask_raw("POST", ROOM, &escapes).await.refused("one escape more", 400, "text-too-long");
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_have_plain_names_however_they_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let longest = "x".repeat(128);
    let post = body("hello", json!({"to": []})).to_string();
    for (written, name) in [
        ("a", "a"),
        ("A-Z.a_z~09", "A-Z.a_z~09"),
        ("...a", "...a"),
        ("-", "-"),
        (longest.as_str(), longest.as_str()),
        ("%6C%6fbby", "lobby"),
        ("%7E", "~"),
    ] {
        let posted = server.ask_raw("POST", &format!("/api/rooms/{written}/messages"), &post).await;
        assert_eq!((posted.status, posted.body["room"].as_str()), (201, Some(name)), "{written}");
        let page = server.ask_raw("GET", &format!("/api/rooms/{written}/messages"), "").await;
        assert_eq!(page.body["messages"][0]["room"], name);
    }
    let too_long = "x".repeat(129);
    for (written, code) in [
        ("", "bad-room"),
        (".", "bad-room"),
        ("..", "bad-room"),
        ("...", "bad-room"),
        ("%2e%2E", "bad-room"),
        ("%20", "bad-room"),
        ("a%20b", "bad-room"),
        ("a+b", "bad-room"),
        ("a%2Fb", "bad-room"),
        ("a%5Cb", "bad-room"),
        ("a%00", "bad-room"),
        ("a%0Ab", "bad-room"),
        ("a:b", "bad-room"),
        ("*", "bad-room"),
        ("%zz", "bad-room"),
        ("%25", "bad-room"),
        ("%C3%A4", "bad-room"),
        (too_long.as_str(), "bad-room"),
        ("%FF", "bad-path"),
    ] {
        for (method, below) in [("POST", "messages"), ("GET", "messages"), ("GET", "events")] {
            let answer = server.ask_raw(method, &format!("/api/rooms/{written}/{below}"), &post).await;
            answer.refused(&format!("{method} {written} {below}"), 400, code);
        }
    }
    let (_, rooms) = server.get("/api/rooms").await;
    assert_eq!(rooms["rooms"].as_array().unwrap().len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_positions_and_parameters_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let posted = server.post("lobby", "hello", json!({"to": []})).await;
    let position = posted["position"].as_str().unwrap();
    let ask = async |method: &str, path: &str| {
        let method = method.parse().unwrap();
        server.ask(server.client().request(method, server.url(path))).await
    };
    let by_id = [("GET", ""), ("DELETE", ""), ("GET", "/timeline"), ("POST", "/cancel"), ("POST", "/retry")];
    for (method, below) in by_id {
        for id in ["x", "0195f7a2", "0195f7a2-6c00-7000-8000-00000000000g", position] {
            ask(method, &format!("/api/messages/{id}{below}")).await.refused(id, 400, "bad-id");
        }
        let answer = ask(method, &format!("/api/messages/{NOBODY}{below}")).await;
        answer.refused(&format!("{method} {below}"), 404, "no-such-message");
    }
    let epoch = if position.starts_with('0') { "1" } else { "0" };
    let other_epoch = format!("{epoch}{}", &position[1..]);
    let other_partition = position.replace("-00-", "-01-");
    for name in ["after", "before", "at_least"] {
        for bad in ["", "1", "-1", "x", "00", "latest", &position[1..], &format!("{position}0")] {
            ask("GET", &format!("{ROOM}?{name}={bad}")).await.refused(&format!("{name}={bad}"), 400, "bad-position");
        }
        for other in [&other_epoch, &other_partition] {
            ask("GET", &format!("{ROOM}?{name}={other}")).await.refused(name, 409, "other-epoch");
        }
    }
    for (query, code) in [
        ("limit=0", "bad-limit"),
        ("limit=501", "bad-limit"),
        ("limit=-1", "bad-limit"),
        ("limit=x", "bad-limit"),
        ("limit=", "bad-limit"),
        ("limit=99999999999999999999", "bad-limit"),
        ("kind=robot", "bad-kind"),
        ("kind=Human", "bad-kind"),
        ("page=2", "unknown-parameter"),
        ("Limit=2", "unknown-parameter"),
    ] {
        ask("GET", &format!("{ROOM}?{query}")).await.refused(query, 400, code);
    }
    for (path, code) in [
        ("/api/rooms/lobby/events?after=x", "bad-position"),
        ("/api/rooms/lobby/events?limit=0", "bad-limit"),
        ("/api/rooms/lobby/events?kind=bot", "unknown-parameter"),
        ("/api/events", "bad-room"),
        ("/api/events?rooms=", "bad-room"),
        ("/api/events?rooms=a,b,a", "bad-rooms"),
        ("/api/events?rooms=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "bad-rooms"),
        ("/api/events?rooms=a%20b", "bad-room"),
        ("/api/events?rooms=a&limit=0", "bad-limit"),
        ("/api/events?rooms=a&after=0", "unknown-parameter"),
        ("/api/rooms?after=%2e%2e", "bad-room"),
        ("/api/rooms?limit=1", "unknown-parameter"),
    ] {
        ask("GET", path).await.refused(path, 400, code);
    }
    // Nobody has come so far: five seconds later that is said.
    let beyond = format!("{}{:016}", &position[..20], 999);
    let started = std::time::Instant::now();
    ask("GET", &format!("{ROOM}?at_least={beyond}")).await.refused("beyond", 503, "behind");
    assert!(started.elapsed() >= std::time::Duration::from_secs(5));
    let page = ask("GET", &format!("{ROOM}?at_least={position}&limit=500")).await;
    assert_eq!((page.status, &page.body["messages"][0]["id"]), (200, &posted["id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_said_with_what_would_do() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    for path in [
        "/nope",
        "/api",
        "/api/",
        "/api/rooms/",
        "/api/rooms/lobby",
        "/api/rooms/lobby/messages/",
        "/api/rooms/lobby/messages/x",
        "/api/messages",
        "/api/messages/x/y",
        "/web/",
        "/web/nope.js",
        "/web/..%2fCargo.toml",
        "/r/",
        "//",
        "/%FF",
    ] {
        server.ask_raw("GET", path, "").await.refused(path, 404, "no-such-path");
    }
    let message = format!("/api/messages/{NOBODY}");
    for (path, methods, allowed) in [
        ("/api/rooms", &["POST", "PUT", "DELETE"][..], "GET,HEAD"),
        (ROOM, &["PUT", "PATCH", "DELETE", "OPTIONS"], "GET,HEAD,POST"),
        ("/api/rooms/lobby/events", &["POST"], "GET,HEAD"),
        ("/api/rooms/lobby/bots", &["POST"], "GET,HEAD"),
        ("/api/events", &["POST"], "GET,HEAD"),
        (&message, &["POST", "PUT", "PATCH"], "GET,HEAD,DELETE"),
        (&format!("{message}/timeline"), &["POST", "DELETE"], "GET,HEAD"),
        (&format!("{message}/cancel"), &["GET", "HEAD", "DELETE"], "POST"),
        (&format!("{message}/retry"), &["GET", "PUT"], "POST"),
        (&format!("{message}/erase"), &["GET", "DELETE"], "POST"),
        ("/api/queues", &["POST"], "GET,HEAD"),
        ("/health/live", &["POST"], "GET,HEAD"),
        ("/health/ready", &["POST"], "GET,HEAD"),
        ("/metrics", &["POST"], "GET,HEAD"),
        ("/openapi.json", &["POST"], "GET,HEAD"),
        ("/", &["POST", "TRACE"], "GET,HEAD"),
    ] {
        for method in methods {
            let answer = server.ask_raw(method, path, "").await;
            let mut allow: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
            let mut expected: Vec<_> = allowed.split(',').collect();
            allow.sort_unstable();
            expected.sort_unstable();
            assert_eq!(allow, expected, "{method} {path}");
            if *method == "HEAD" {
                assert_eq!(answer.status, 405);
            } else {
                answer.refused(&format!("{method} {path}"), 405, "method-not-allowed");
            }
        }
    }
}
