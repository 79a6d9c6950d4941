//! Reading: pages over memory and index alike, rooms, a message's timeline, health and metrics.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::harness::Server;

/// What a page should hold, by the rules of the contract and nothing cleverer.
fn expected<'a>(all: &'a [Value], after: &str, before: &str, limit: usize, kind: &str) -> Vec<&'a Value> {
    let position = |m: &Value| m["position"].as_str().unwrap().to_owned();
    let fits = |m: &&Value| {
        (after.is_empty() || after == "0" || position(m).as_str() > after)
            && (before.is_empty() || (before != "0" && position(m).as_str() < before))
            && (kind.is_empty() || m["author"]["kind"] == kind)
    };
    let mut page: Vec<_> = all.iter().filter(fits).collect();
    if after.is_empty() {
        page.drain(..page.len().saturating_sub(limit));
    }
    page.truncate(limit);
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_the_same_whether_it_comes_from_memory_or_from_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), "recent_messages = 5\nrooms_in_memory = 2\n", &[]);
    let mut all: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    // `silent` drops out of memory, `long` stands on both sides of the border, `short` is in memory whole.
    for (room, count) in [("silent", 12), ("long", 24), ("short", 4)] {
        for n in 0..count {
            let kind = if n % 3 == 1 { "bot" } else { "human" };
            let author = json!({"name": "ann", "kind": kind});
            let posted = server.post(room, &format!("{room} {n}"), json!({"to": [], "author": author})).await;
            let (_, message) = server.get(&format!("/api/messages/{}", posted["id"].as_str().unwrap())).await;
            assert_eq!(message["text"], format!("{room} {n}"));
            all.entry(room).or_default().push(message);
        }
    }
    let last = all["short"].last().unwrap()["position"].as_str().unwrap();
    for (room, all) in &all {
        let own = all.iter().step_by(3).map(|m| m["position"].as_str().unwrap());
        let cursors: Vec<_> = ["", "0", last].into_iter().chain(own).collect();
        for after in &cursors {
            for before in &cursors {
                for (limit, kind) in [(1, ""), (3, "human"), (3, ""), (5, "bot"), (7, ""), (500, "human"), (500, "")] {
                    let mut query = vec![format!("limit={limit}")];
                    for (name, value) in [("after", *after), ("before", *before), ("kind", kind)] {
                        if !value.is_empty() {
                            query.push(format!("{name}={value}"));
                        }
                    }
                    let path = format!("/api/rooms/{room}/messages?{}", query.join("&"));
                    let (status, page) = server.get(&path).await;
                    assert_eq!(status, 200, "{path} {page}");
                    let found: Vec<_> = page["messages"].as_array().unwrap().iter().collect();
                    assert_eq!(found, expected(all, after, before, limit, kind), "{path}");
                    assert_eq!(page["position"], last);
                }
            }
        }
    }
    // Without a limit: the newest fifty.
    for n in 0..60 {
        server.post("short", &format!("more {n}"), json!({"to": []})).await;
    }
    let (_, page) = server.get("/api/rooms/short/messages").await;
    let texts: Vec<_> = page["messages"].as_array().unwrap().iter().map(|m| m["text"].as_str().unwrap()).collect();
    assert_eq!((texts.len(), texts[0], texts[49]), (50, "more 10", "more 59"));
    let (_, page) = server.get("/api/rooms/nobody-was-here/messages").await;
    assert_eq!(page["messages"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_position_reads_its_own_writes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let first = server.post("lobby", "first", json!({"to": []})).await;
    let first = first["position"].as_str().unwrap();
    let second = format!("{}{:016}", &first[..20], first[20..].parse::<u64>().unwrap() + 1);
    let path = format!("/api/rooms/lobby/messages?at_least={second}");
    let (page, posted) = tokio::join!(server.get(&path), async {
        // Whichever comes first, the reader sees it.
        server.post("lobby", "second", json!({"to": []})).await
    });
    assert_eq!(posted["position"], json!(second));
    assert_eq!(page.1["messages"][1]["text"], "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_come_by_name_with_their_numbers_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), "rooms_in_memory = 2\n", &[]);
    let mut last = BTreeMap::new();
    for n in 0..503 {
        // Not in the order of their names.
        let room = format!("room-{:03}", (n * 211) % 503);
        last.insert(room.clone(), (1, server.post(&room, "hello", json!({"to": []})).await));
    }
    last.insert("room-007".into(), (2, server.post("room-007", "again", json!({"to": []})).await));
    let (_, first) = server.get("/api/rooms").await;
    let (_, second) = server.get(&format!("/api/rooms?after={}", first["next"].as_str().unwrap())).await;
    assert_eq!((&first["next"], &second["next"]), (&json!("room-499"), &Value::Null));
    let pages = [&first, &second].map(|page| page["rooms"].as_array().unwrap().clone());
    let expected: Vec<_> = last
        .iter()
        .map(|(room, (count, posted))| {
            json!({"room": room, "messages": count, "last_at": posted["at"], "position": posted["position"]})
        })
        .collect();
    assert_eq!(pages.concat(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_tells_every_event_with_the_time_between() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(&dir.path().join("data"), &["--pace", "5"]);
    let mut events = server.events("lobby").await;
    let posted = server.post("lobby", "Hello, who are you?", json!({})).await;
    let id = posted["id"].as_str().unwrap();
    let mut durable = BTreeMap::new();
    while !durable.contains_key("message.completed") {
        let event = events.next().await;
        let data: Value = serde_json::from_str(&event.data).unwrap();
        if event.id.is_some() && event.name != "snapshot" {
            durable.insert(event.name, data);
        }
    }
    let (_, timeline) = server.get(&format!("/api/messages/{id}/timeline")).await;
    let steps = timeline["steps"].as_array().unwrap();
    let names: Vec<_> = steps.iter().map(|s| s["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["message.posted", "message.claimed", "reply.posted", "message.completed"]);
    assert!(steps.is_sorted_by_key(|s| s["position"].as_str().unwrap().to_owned()));
    assert_eq!((&steps[0]["at"], &steps[0]["ms"]), (&posted["at"], &json!(0)));
    let sum: u64 = steps.iter().map(|s| s["ms"].as_u64().unwrap()).sum();
    assert_eq!(timeline["total_ms"], sum);
    assert!(sum >= 5, "words take time: {sum} ms");
    for step in steps {
        // A message shows its present status, everything else what was said then.
        let mut said = durable[step["event"].as_str().unwrap()].clone();
        let mut now = step["data"].clone();
        for field in ["status", "bot"] {
            said.as_object_mut().unwrap().remove(field);
            now.as_object_mut().unwrap().remove(field);
        }
        assert_eq!(now, said);
    }
    let (_, nobody_asked) = {
        let posted = server.post("lobby", "never mind", json!({"to": []})).await;
        server.get(&format!("/api/messages/{}/timeline", posted["id"].as_str().unwrap())).await
    };
    assert_eq!((nobody_asked["steps"].as_array().unwrap().len(), &nobody_asked["total_ms"]), (1, &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_that_it_lives_and_that_the_log_takes_appends() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let posted = server.post("lobby", "hello", json!({"to": []})).await;
    for (path, status) in [("/health/live", "live"), ("/health/ready", "ready"), ("/health/ready", "ready")] {
        let (code, mut health) = server.get(path).await;
        // Both are read from one clock, one after the other.
        assert!(health["clock_skew_ms"].take().as_i64().unwrap().abs() < 1_000);
        health.as_object_mut().unwrap().remove("clock_skew_ms");
        let mut expected = json!({"status": status, "state": "connected", "parked": 0, "parked_refused": 0});
        expected["position"] = posted["position"].clone();
        assert_eq!((code.as_u16(), health), (200, expected));
    }
    let (_, page) = server.get("/api/rooms/lobby/messages").await;
    assert_eq!(page["position"], posted["position"], "asking leaves nothing in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_openmetrics_and_count_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    for n in 0..3 {
        let posted = server.post("lobby", &format!("Hello {n}"), json!({})).await;
        server.until_status("lobby", posted["id"].as_str().unwrap(), "answered").await;
    }
    let answer = server.ask(server.client().post(server.url("/api/rooms/lobby/messages")).body("x")).await;
    answer.refused("no JSON", 415, "not-json");
    let answer = server.ask(server.client().get(server.url("/metrics"))).await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let samples = parse(answer.body.as_str().unwrap());
    for (sample, value) in [
        (r#"antiphon_log_entries_total{kind="message.posted"}"#, 3.0),
        (r#"antiphon_log_entries_total{kind="reply.posted"}"#, 3.0),
        (r#"antiphon_log_entries_total{kind="message.completed"}"#, 3.0),
        ("antiphon_log_position", 12.0),
        ("antiphon_view_position", 12.0),
        ("antiphon_replies_in_flight", 0.0),
        (r#"antiphon_queue_messages{bot="antiphon",state="waiting"}"#, 0.0),
        (r#"antiphon_reply_seconds_count{bot="antiphon"}"#, 3.0),
        (r#"antiphon_reply_first_token_seconds_count{bot="antiphon"}"#, 3.0),
        ("antiphon_http_post_seconds_count", 4.0),
        (r#"antiphon_http_requests_total{method="POST",route="/api/rooms/{room}/messages",status="201"}"#, 3.0),
        (r#"antiphon_http_requests_total{method="POST",route="/api/rooms/{room}/messages",status="415"}"#, 1.0),
    ] {
        assert_eq!(samples.get(sample), Some(&value), "{sample} in {samples:#?}");
    }
    assert!(!samples.keys().any(|sample| sample.contains("lobby")), "no room names");
}

/// Reads OpenMetrics as strictly as Prometheus does; returns the samples.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::<&str, &str>::new());
    let (mut helped, mut current) = (HashSet::new(), "");
    let text = text.strip_suffix("# EOF\n").expect("it ends with EOF");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(helped.insert(rest.split(' ').next().unwrap()), "twice: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(families.insert(name, kind).is_none(), "twice: {line}");
            current = name;
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let suffix = name.strip_prefix(current).unwrap_or_else(|| panic!("not of {current}: {line}"));
            let fits = match families[current] {
                "counter" => suffix == "_total",
                "gauge" => suffix.is_empty(),
                "histogram" => ["_bucket", "_count", "_sum"].contains(&suffix),
                other => panic!("{other}"),
            };
            assert!(fits, "{line}");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(samples.insert(sample.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    assert!(families.keys().all(|name| helped.contains(name) && name.starts_with("antiphon_")), "{families:?}");
    for (sample, total) in samples.iter().filter(|(sample, _)| sample.contains("_bucket{")) {
        if sample.contains(r#"le="+Inf""#) {
            let count = sample.replace("_bucket{", "_count{").replace(r#"le="+Inf","#, "").replace(r#",le="+Inf""#, "");
            let count = count.replace(r#"{le="+Inf"}"#, "");
            assert_eq!(samples.get(&count), Some(total), "{sample} is {count}");
        }
    }
    samples
}
