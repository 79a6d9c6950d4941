//! What a subscriber sees: everything durable, once, in order, however often it is cut, however slowly it reads.

use std::collections::BTreeMap;

use antiphon_kit::sse::SseEvent;
use serde_json::{Value, json};

use crate::harness::{Events, Server, soak};

fn data(event: &SseEvent) -> Value {
    serde_json::from_str(&event.data).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_claimed_answered_word_by_word_and_seen() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(&dir.path().join("data"), &["--pace", "2"]);
    let mut events = server.events("lobby").await;
    let (_, snapshot) = events.until("snapshot").await;
    assert_eq!((&snapshot["messages"], &snapshot["in_flight"]), (&json!([]), &json!([])));

    let posted = server.post("lobby", "Hello, who are you?", json!({})).await;
    let mut names = Vec::new();
    let (mut text, mut reply) = (String::new(), Value::Null);
    while names.last().map(String::as_str) != Some("message.completed") {
        let event = events.next().await;
        let value = data(&event);
        match event.name.as_str() {
            "message.posted" => {
                assert_eq!((&value["id"], &value["text"]), (&posted["id"], &json!("Hello, who are you?")))
            }
            "reply.delta" => text.push_str(value["text"].as_str().unwrap()),
            "reply.posted" => reply = value,
            "message.completed" => assert_eq!(value["reply_id"], reply["id"]),
            _ => {}
        }
        if names.last() != Some(&event.name) {
            names.push(event.name);
        }
    }
    names.retain(|name| name != "reply.progress");
    names.dedup();
    let expected =
        ["message.posted", "message.claimed", "reply.started", "reply.delta", "reply.posted", "message.completed"];
    assert_eq!(names, expected);
    assert_eq!(reply["text"], json!(text), "the deltas are the answer");
    assert_eq!((&reply["reply_to"], &reply["author"]["kind"]), (&posted["id"], &json!("bot")));
    for field in ["model", "options", "prompt_sha256", "context", "first_token_ms", "total_ms", "deltas", "finish"] {
        assert!(!reply[field].is_null(), "{field} in {reply}");
    }
    assert_eq!(server.get(&format!("/api/messages/{}", posted["id"].as_str().unwrap())).await.1["status"], "answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn someone_who_joins_in_mid_reply_sees_text_so_far_and_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(&dir.path().join("data"), &["--pace", "40"]);
    let mut first = server.events("lobby").await;
    server.post("lobby", "Tell me what Antiphon is, please.", json!({})).await;
    for _ in 0..3 {
        first.until("reply.delta").await;
    }
    for resume in [false, true] {
        let mut late = match resume {
            false => server.events("lobby").await,
            true => Events::open(&server, "lobby", Some("0")).await,
        };
        let (mut text, mut next) = match resume {
            false => {
                let (_, snapshot) = late.until("snapshot").await;
                let so_far = &snapshot["in_flight"][0];
                (so_far["text"].as_str().unwrap().to_owned(), so_far["next_index"].as_u64().unwrap())
            }
            true => {
                let (_, so_far) = late.until("reply.snapshot").await;
                (so_far["text"].as_str().unwrap().to_owned(), so_far["next_index"].as_u64().unwrap())
            }
        };
        assert!(next >= 3 && !text.is_empty(), "joined in mid-reply");
        if !resume {
            // The second joins while the first still has words to come.
            let (_, delta) = late.until("reply.delta").await;
            assert_eq!(delta["index"], next);
            text.push_str(delta["text"].as_str().unwrap());
            next += 1;
        }
        if resume {
            loop {
                let event = late.next().await;
                let value = data(&event);
                match event.name.as_str() {
                    "reply.delta" => {
                        assert_eq!(value["index"], next);
                        text.push_str(value["text"].as_str().unwrap());
                        next += 1;
                    }
                    "reply.posted" => {
                        assert_eq!(value["text"], json!(text));
                        break;
                    }
                    _ => {}
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_cut_at_random_misses_nothing_durable_and_sees_nothing_twice() {
    let (posts, cuts) = if soak() { (4_000, 200) } else { (800, 40) };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut events = server.events("busy").await;
    let (snapshot, _) = events.until("snapshot").await;
    let mut last_id = snapshot.id;
    let mut seen: Vec<(String, String)> = Vec::new();
    let poster = async {
        for n in 0..posts {
            let to = if n % 4 == 0 { json!(["antiphon"]) } else { json!([]) };
            server.post("busy", &format!("message {n}"), json!({"to": to})).await;
        }
        server.post("busy", "the end", json!({"to": []})).await
    };
    let reader = async {
        let (mut since_cut, mut cut, mut ended) = (0u64, 0u64, false);
        let mut open = posts / 4;
        while !ended || open > 0 {
            let event = match events.try_next().await {
                Some(event) => event,
                None => break,
            };
            if let Some(id) = &event.id
                && Some(id) != last_id.as_ref()
            {
                assert_ne!(event.name, "reset", "{}", event.data);
                ended |= event.data.contains("\"the end\"");
                open -= u64::from(event.name == "message.completed");
                last_id = Some(id.clone());
                seen.push((id.clone(), event.name));
            }
            since_cut += 1;
            // A little generator: cuts fall anywhere between and within bursts.
            if cut < cuts && since_cut > (cut * 7919) % 23 {
                (since_cut, cut) = (0, cut + 1);
                events = Events::open(&server, "busy", last_id.as_deref()).await;
            }
        }
        cut
    };
    let (_, cut) = tokio::join!(poster, reader);
    assert_eq!(cut, cuts);
    let ids: Vec<_> = seen.iter().map(|(id, _)| id.as_str()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "in order, none twice");
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    seen.iter().for_each(|(_, name)| *counts.entry(name).or_default() += 1);
    let answered = posts / 4;
    let expected = BTreeMap::from([
        ("message.posted", posts + 1),
        ("message.claimed", answered),
        ("reply.posted", answered),
        ("message.completed", answered),
    ]);
    assert_eq!(counts, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_delays_nobody_costs_little_and_gets_everything_later() {
    let posts = if soak() { 20_000 } else { 3_000 };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let text = "x".repeat(2_000);
    let mut stopped = server.events("busy").await;
    stopped.until("snapshot").await;
    let before = memory_kib(server.pid());
    let mut reading = server.events("busy").await;
    let poster = async {
        for n in 0..posts {
            server.post("busy", &format!("{n} {text}"), json!({"to": []})).await;
        }
    };
    let reader = async {
        for _ in 0..posts {
            reading.until("message.posted").await;
        }
    };
    tokio::join!(poster, reader);
    let grown = memory_kib(server.pid()).saturating_sub(before);
    // 6 MB and more were posted. The ring holds 1 MiB, the log's newest 4 MiB, the recent view 500 messages; the rest
    // is room for the allocator.
    assert!(grown < 64 * 1024, "grown by {grown} KiB");
    let mut numbers = Vec::new();
    for _ in 0..posts {
        let (_, message) = stopped.until("message.posted").await;
        numbers.push(message["text"].as_str().unwrap().split(' ').next().unwrap().parse::<u64>().unwrap());
    }
    assert!(numbers.into_iter().eq(0..posts), "each once, in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_resumed_is_said_and_a_snapshot_follows() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let posted = server.post("lobby", "hello", json!({"to": []})).await;
    let position = posted["position"].as_str().unwrap();
    let other = format!("{}{}", if position.starts_with('0') { "1" } else { "0" }, &position[1..]);
    let beyond = format!("{}-00-{:016}", &position[..16], 999);
    for (id, reason) in [(other.as_str(), "other-epoch"), (&beyond, "beyond-tail"), ("nonsense", "bad-cursor")] {
        let mut events = Events::open(&server, "lobby", Some(id)).await;
        let reset = events.next().await;
        assert_eq!(
            (reset.name.as_str(), &data(&reset)["reason"], reset.id.as_deref()),
            ("reset", &json!(reason), Some(position))
        );
        let snapshot = events.next().await;
        assert_eq!((snapshot.name.as_str(), snapshot.id.as_deref()), ("snapshot", Some(position)));
        assert_eq!(data(&snapshot)["messages"][0]["text"], "hello");
    }
    // The header beats the address: a browser comes back with the old one.
    let url = server.url(&format!("/api/rooms/lobby/events?after={other}"));
    let mut response = server.client().get(url).header("last-event-id", position).send().await.unwrap();
    let chunk = response.chunk().await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&chunk).contains("reset"));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_subscribers_are_told_when_to_come_back_and_get_status_200() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("antiphon.toml");
    std::fs::write(&config, "subscribers_max = 2\n").unwrap();
    let server = Server::start_with(&dir.path().join("data"), &["--config", config.to_str().unwrap()]);
    let mut first = server.events("lobby").await;
    let _second = server.events("lobby").await;
    first.until("snapshot").await;
    let mut third = server.events("lobby").await;
    let (_, busy) = third.until("busy").await;
    assert!(busy["retry_ms"].as_u64().unwrap() > 0);
    assert!(third.try_next().await.is_none(), "the stream ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_text_is_never_given_to_anybody_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut before = server.events("lobby").await;
    let (snapshot, _) = before.until("snapshot").await;
    let posted = server.post("lobby", "my secret", json!({"to": []})).await;
    server.post("lobby", "harmless", json!({"to": []})).await;
    let id = posted["id"].as_str().unwrap();
    let url = server.url(&format!("/api/messages/{id}"));
    assert_eq!(server.client().delete(&url).send().await.unwrap().status(), 200);
    assert_eq!(server.client().delete(&url).send().await.unwrap().status(), 200, "twice is fine");
    before.until("message.redacted").await;
    let mut seen = String::new();
    for path in
        [format!("/api/messages/{id}"), format!("/api/messages/{id}/timeline"), "/api/rooms/lobby/messages".into()]
    {
        seen += &server.get(&path).await.1.to_string();
    }
    for last_id in [None, snapshot.id.as_deref(), Some("0")] {
        let mut events = Events::open(&server, "lobby", last_id).await;
        let end = if last_id.is_none() { "snapshot" } else { "message.redacted" };
        loop {
            let event = events.next().await;
            seen += &event.data;
            if event.name == end {
                break;
            }
        }
    }
    assert!(seen.contains("harmless") && !seen.contains("secret"), "{seen}");
}

fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Reads a stream of several rooms until each has `wanted` messages; their texts by room, and each room's last id.
async fn by_room(
    events: &mut Events,
    wanted: &[(&str, usize)],
) -> (BTreeMap<String, Vec<String>>, BTreeMap<String, String>) {
    let (mut texts, mut ids): (BTreeMap<_, Vec<_>>, _) = (BTreeMap::new(), BTreeMap::new());
    let mut room = None;
    while wanted.iter().any(|(room, n)| texts.get(*room).map_or(0, Vec::len) < *n) {
        let event = events.next().await;
        let value = data(&event);
        if event.name == "room" {
            room = Some(value["room"].as_str().unwrap().to_owned());
            continue;
        }
        let room = room.clone().expect("whose it is stands before it");
        if let Some(id) = &event.id {
            ids.insert(room.clone(), id.clone());
        }
        let mut said = |message: &Value| {
            assert_eq!(message["room"], json!(room), "it stands under its own room");
            texts.entry(room.clone()).or_default().push(message["text"].as_str().unwrap().to_owned());
        };
        match event.name.as_str() {
            "snapshot" => value["messages"].as_array().unwrap().iter().for_each(&mut said),
            "message.posted" => said(&value),
            _ => {}
        }
    }
    (texts, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_rooms_come_in_one_stream_and_each_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let nobody = || json!({ "to": [] });
    server.post("a", "a1", nobody()).await;
    server.post("elsewhere", "not for them", nobody()).await;
    let mut events = Events::at(&server, "/api/events?rooms=a,b,quiet").await;
    for n in 1..=20 {
        server.post("b", &format!("b{n}"), nobody()).await;
        if n % 5 == 0 {
            server.post("a", &format!("a{}", n / 5 + 1), nobody()).await;
        }
    }
    let (texts, ids) = by_room(&mut events, &[("a", 5), ("b", 20)]).await;
    let expected = |room: &str, range: std::ops::RangeInclusive<usize>| -> Vec<String> {
        range.map(|n| format!("{room}{n}")).collect()
    };
    assert_eq!((&texts["a"], &texts["b"]), (&expected("a", 1..=5), &expected("b", 1..=20)));
    drop(events);

    server.post("a", "a6", nobody()).await;
    server.post("quiet", "quiet1", nobody()).await;
    server.post("b", "b21", nobody()).await;
    let rooms = ["a", "b", "quiet"].map(|room| format!("{room}@{}", ids[room])).join(",");
    let mut again = Events::at(&server, &format!("/api/events?rooms={rooms},new")).await;
    server.post("new", "new1", nobody()).await;
    let (texts, _) = by_room(&mut again, &[("a", 1), ("b", 1), ("quiet", 1), ("new", 1)]).await;
    let found: Vec<_> = texts.values().flatten().map(String::as_str).collect();
    assert_eq!(found, ["a6", "b21", "new1", "quiet1"], "what was missed, once, and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_history_starts_its_own_room_anew_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    server.post("a", "a1", json!({ "to": [] })).await;
    let good = server.post("b", "b1", json!({ "to": [] })).await["position"].as_str().unwrap().to_owned();
    server.post("b", "b2", json!({ "to": [] })).await;
    let other = format!("{:016x}-00-0000000000000001", 1);
    let mut events = Events::at(&server, &format!("/api/events?rooms=a@{other},b@{good}")).await;
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let event = events.next().await;
        seen.push(if event.name == "room" { data(&event)["room"].as_str().unwrap().to_owned() } else { event.name });
    }
    seen.retain(|name| name != "heartbeat");
    assert_eq!(seen, ["a", "reset", "snapshot", "b", "message.posted"]);
}

/// The next place in the queue that a stream tells, of the `of`th message.
async fn place(events: &mut Events, ids: &[String]) -> (usize, u64) {
    let (_, progress) = events.until("reply.progress").await;
    assert_eq!(progress["stage"], "queued");
    let of = ids.iter().position(|id| progress["message_id"] == json!(id)).unwrap();
    (of, progress["ahead"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_is_told_its_place_and_again_when_the_queue_moves() {
    let dir = tempfile::tempdir().unwrap();
    // Only workers answer, and there is none.
    let server = Server::start_with(&dir.path().join("data"), &["--model", "remote"]);
    let mut first = server.events("lobby").await;
    first.until("snapshot").await;
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        ids.push(server.post("lobby", text, json!({})).await["id"].as_str().unwrap().to_owned());
    }
    assert_eq!([place(&mut first, &ids).await, place(&mut first, &ids).await], [(1, 1), (2, 2)]);
    let mut late = server.events("lobby").await;
    late.until("snapshot").await;
    for n in 0..3 {
        assert_eq!(place(&mut late, &ids).await, (n, n as u64), "told to one who comes later");
    }
    let cancelled = server.client().post(server.url(&format!("/api/messages/{}/cancel", ids[0])));
    assert_eq!(server.ask(cancelled).await.status, 200);
    for events in [&mut first, &mut late] {
        assert_eq!([place(events, &ids).await, place(events, &ids).await], [(1, 0), (2, 1)], "they moved up");
    }
}
