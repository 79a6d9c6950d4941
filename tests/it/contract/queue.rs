//! Who is answered when: a full queue, priorities, floods, and wishes that grew too old.
//!
//! Method: the model hangs at the first question, so that the queue stands still while it fills; a cancel lets it go.

use antiphon_bot::fake::{Fake, Request, Step};
use serde_json::{Value, json};

use crate::harness::{Server, body, fake_settings};

/// A model that hangs at questions with `hang` in them.
async fn fake() -> Fake {
    Fake::answering("fake", |request| match question(request).contains("hang") {
        true => vec![Step::Hang],
        false => Step::answer(&["well"]),
    })
    .await
}

/// The message that a request asks about.
fn question(request: &Request) -> &str {
    let last = request.json["messages"].as_array().and_then(|turns| turns.last());
    last.and_then(|turn| turn["content"].as_str()).unwrap_or("").trim_start_matches("ann: ")
}

/// The questions in the order in which they reached the model.
fn asked(fake: &Fake) -> Vec<String> {
    let requests = fake.requests();
    let chats = requests.iter().filter(|r| r.path == "/api/chat" && !r.is_load());
    chats.map(|r| question(r).to_owned()).collect()
}

/// Posts a question at which the model hangs, and waits until it has it.
async fn block(server: &Server) -> Value {
    let mut events = server.events("block").await;
    let posted = server.post("block", "hang", json!({})).await;
    events.until("message.claimed").await;
    posted
}

async fn cancel(server: &Server, posted: &Value) {
    let (status, answer) =
        server.send_json(&format!("/api/messages/{}/cancel", posted["id"].as_str().unwrap()), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_so_and_takes_the_same_post_later() {
    let fake = fake().await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), "queue_max = 2\n"), &[]);
    let mut events = server.events("lobby").await;
    let blocking = block(&server).await;
    let mut waiting = Vec::new();
    for n in 0..2 {
        waiting.push(server.post("lobby", &format!("question {n}"), json!({"priority": 5 - n})).await);
        if n == 1 {
            let queued = json!({"message_id": waiting[n]["id"], "stage": "queued", "ahead": 1});
            // The first one may have heard its own place before.
            while events.until("reply.progress").await.1 != queued {}
        }
    }
    let id = "0195f7a2-6c00-7000-8000-00000000000a";
    let late = body("question 2", json!({"id": id}));
    let post = async || server.ask(server.client().post(server.url("/api/rooms/lobby/messages")).json(&late)).await;
    for _ in 0..2 {
        post().await.refused("full", 503, "queue-full");
    }
    server.post("lobby", "nobody is asked", json!({"to": []})).await;
    let (_, queues) = server.get("/api/queues").await;
    let queue = &queues["queues"][0];
    assert_eq!((&queue["bot"], &queue["model"]), (&json!("antiphon"), &json!("ollama:fake")));
    assert_eq!([&queue["waiting"], &queue["claimed"], &queue["retrying"]], [&json!(2), &json!(1), &json!(0)]);
    let lane = |priority: u8| json!({"priority": priority, "second": false, "waiting": 1});
    assert_eq!((&queue["lanes"], &queue["paused"]), (&json!([lane(5), lane(4)]), &Value::Null));
    let (_, metrics) = server.get("/metrics").await;
    let line = "antiphon_queue_messages{bot=\"antiphon\",state=\"waiting\"} 2\n";
    assert!(metrics.as_str().unwrap().contains(line), "{metrics}");

    cancel(&server, &waiting[0]).await;
    for expected in [201, 200] {
        let posted = post().await;
        assert_eq!(posted.status, expected, "{}", posted.body);
    }
    cancel(&server, &blocking).await;
    server.until_status("lobby", id, "answered").await;
    server.until_status("lobby", waiting[1]["id"].as_str().unwrap(), "answered").await;
    let (_, queues) = server.get("/api/queues").await;
    assert_eq!(queues["queues"][0]["waiting"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_in_one_room_does_not_hold_up_another() {
    let fake = fake().await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), ""), &[]);
    let blocking = block(&server).await;
    let mut flood = Vec::new();
    for n in 0..50 {
        flood.push(server.post("flood", &format!("flood {n}"), json!({})).await);
    }
    let quiet = server.post("quiet", "quiet", json!({})).await;
    let (_, queues) = server.get("/api/queues").await;
    let lanes = json!([{"priority": 5, "second": false, "waiting": 5}, {"priority": 5, "second": true, "waiting": 46}]);
    assert_eq!(queues["queues"][0]["lanes"], lanes);
    cancel(&server, &blocking).await;
    server.until_status("quiet", quiet["id"].as_str().unwrap(), "answered").await;
    server.until_status("flood", flood[49]["id"].as_str().unwrap(), "answered").await;
    let asked = asked(&fake);
    let place = asked.iter().position(|q| q == "quiet").unwrap();
    assert_eq!(place, 5, "after the one that hung and four of the flood: {asked:?}");
    // The flood itself keeps its order.
    let rest: Vec<_> = asked.iter().filter(|q| q.starts_with("flood")).cloned().collect();
    assert_eq!(rest, (0..50).map(|n| format!("flood {n}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn higher_priorities_are_answered_first_and_equals_in_order() {
    let fake = fake().await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), ""), &[]);
    let blocking = block(&server).await;
    let mut last = Value::Null;
    for round in 0..2 {
        for n in 0..10 {
            let priority = (n * 7 + 3) % 10;
            // Rooms of their own: no room has a flood.
            let posted =
                server.post(&format!("room-{n}"), &format!("{priority} {round}"), json!({"priority": priority})).await;
            if priority == 0 {
                last = posted;
            }
        }
        server.post("lobby", &format!("5 default {round}"), json!({})).await;
    }
    cancel(&server, &blocking).await;
    server.until_status("room-1", last["id"].as_str().unwrap(), "answered").await;
    let mut expected = vec!["hang".to_owned()];
    for priority in (0..10).rev() {
        for round in 0..2 {
            expected.push(format!("{priority} {round}"));
            if priority == 5 {
                expected.push(format!("5 default {round}"));
            }
        }
    }
    assert_eq!(asked(&fake), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_grew_too_old_is_given_up_until_somebody_wants_it_again() {
    let fake = fake().await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), ""), &["--max-age-s", "1"]);
    let mut events = server.events("lobby").await;
    let blocking = block(&server).await;
    let posted = server.post("lobby", "question", json!({})).await;
    let (_, dead) = events.until("message.dead").await;
    assert_eq!(dead, json!({"message_id": posted["id"], "reason": "too-old"}));
    let (_, message) = server.get(&format!("/api/messages/{}", posted["id"].as_str().unwrap())).await;
    assert_eq!((&message["status"], &message["reason"]), (&json!("dead"), &json!("too-old")));
    // Whoever is being answered is not given up.
    let (_, message) = server.get(&format!("/api/messages/{}", blocking["id"].as_str().unwrap())).await;
    assert_eq!(message["status"], "claimed");
    cancel(&server, &blocking).await;
    let retry = format!("/api/messages/{}/retry", posted["id"].as_str().unwrap());
    assert_eq!(server.send_json(&retry, &json!({})).await.0, 200);
    server.until_status("lobby", posted["id"].as_str().unwrap(), "answered").await;
    assert_eq!(asked(&fake), ["hang", "question"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_lists_the_bots_that_it_takes_and_whether_they_answer() {
    let dir = tempfile::tempdir().unwrap();
    let settings = r##"
        [[bots]]
        name = "poet"
        model = "builtin"
        color = "#336699"
        rooms = ["poems*"]
        [[bots]]
        name = "ghost"
        model = "remote"
        answers = "addressed"
    "##;
    let server = Server::configured(dir.path(), settings, &["--text-bytes-max", "1000"]);
    let (_, lobby) = server.get("/api/rooms/lobby/bots").await;
    let ghost = |state: &str, waiting: u64| json!({"name": "ghost", "color": null, "model": "remote", "state": state, "waiting": waiting});
    assert_eq!(lobby, json!({"bots": [ghost("no-worker", 0)], "default": null, "text_bytes_max": 1000}));
    let (_, poems) = server.get("/api/rooms/poems-2/bots").await;
    let poet = json!({"name": "poet", "color": "#336699", "model": "builtin", "state": "ready", "waiting": 0});
    assert_eq!((&poems["bots"], &poems["default"]), (&json!([poet, ghost("no-worker", 0)]), &json!("poet")));
    server.post("lobby", "Are you there?", json!({"to": ["ghost"]})).await;
    let (_, lobby) = server.get("/api/rooms/lobby/bots").await;
    assert_eq!(lobby["bots"], json!([ghost("no-worker", 1)]));
}
