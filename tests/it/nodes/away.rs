//! Redis is down at the start, dies, hangs, comes back shorter or empty, under load.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{
    Acked, Place,
    load::{Load, until_health},
    until_answered,
};
use crate::harness::{Events, PATIENCE, Server, body, soak};

/// The promise: so long after the store is back the first words come.
const FIRST_DELIVERY: Duration = Duration::from_secs(5);

/// Redis is away for a while under load, by `leave` and back by `back`.
async fn away_under_load(leave: fn(&Place), back: fn(&Place)) {
    let away = Duration::from_secs(if soak() { 30 } else { 5 });
    let place = Arc::new(Place::new(2, &["--pace", "0"]));
    let nodes = [place.start(0), place.start(1)];
    let load = Load::start(&place);
    load.goes_on(20).await;
    let mut watching = [nodes[0].events("room-0").await, nodes[1].events("room-0").await];
    assert_eq!(until_health(&nodes[0], "connected").await["status"], "ready");

    leave(&place);
    let began = Instant::now();
    for (node, events) in nodes.iter().zip(&mut watching) {
        events.until_state("degraded").await;
        let health = until_health(node, "degraded").await;
        assert!(health["reason"].as_str().is_some_and(|why| !why.is_empty()), "{health}");
        // Reading goes on from memory.
        let (status, page) = node.get("/api/rooms/room-0/messages?limit=5").await;
        assert_eq!(status, StatusCode::OK, "{page}");
    }
    load.goes_on(40).await;
    assert!(load.parked() > 0, "posts went to the outbox");
    tokio::time::sleep(away.saturating_sub(began.elapsed())).await;
    assert_eq!(until_health(&nodes[1], "degraded").await["status"], "not-ready");

    back(&place);
    let returned = Instant::now();
    for (node, events) in nodes.iter().zip(&mut watching) {
        events.until_state("connected").await;
        events.until("message.posted").await;
        assert!(returned.elapsed() < FIRST_DELIVERY, "the first delivery came after {:?}", returned.elapsed());
        assert_eq!(until_health(node, "connected").await["status"], "ready");
    }
    println!("the first delivery on both nodes after {:?}", returned.elapsed());
    load.goes_on(20).await;
    load.ends_well(&place, &nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_dead_posts_go_on_and_arrive_in_order_once_when_it_is_back() {
    away_under_load(|place| place.redis.kill(), |place| place.redis.restart()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_hangs_posts_go_on_and_arrive_in_order_once_when_it_goes_on() {
    away_under_load(|place| place.redis.stop(), |place| place.redis.go_on()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_without_redis_takes_posts_and_brings_them_in_when_it_comes() {
    let place = Place::new(1, &["--pace", "0"]);
    place.redis.kill();
    let node = place.start(0);
    let message = body("Is the store up yet?", json!({"id": uuid::Uuid::new_v4(), "to": ["ada"]}));
    let (status, parked) = node.send_json("/api/rooms/lobby/messages", &message).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{parked}");
    assert_eq!(until_health(&node, "degraded").await["parked"], 1);
    let (status, problem) = node.get("/api/rooms/lobby/messages").await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("log-away")));
    // It is safe on the disk, too.
    node.kill();
    let node = place.start(0);
    assert_eq!(until_health(&node, "degraded").await["parked"], 1);
    place.redis.restart();
    until_health(&node, "connected").await;
    let id = parked["id"].as_str().unwrap();
    let found = node.until_status("lobby", id, "answered").await;
    assert_eq!(found["text"], message["text"]);
    let (status, _) = node.send_json("/api/rooms/lobby/messages", &message).await;
    assert_eq!(status, StatusCode::OK, "the same again is found");
}

/// Copies a folder of plain files and folders.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy(&path, &target) } else { assert!(std::fs::copy(path, target).is_ok()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_its_tail_gets_it_back_from_the_nodes_under_a_new_epoch() {
    let place = Place::new(2, &["--pace", "0"]);
    let nodes = [place.start(0), place.start(1)];
    let (mut acked, mut before) = (Vec::new(), String::new());
    let mut say = async |from: u64, to: u64| {
        for n in from..to {
            let (id, text) = (uuid::Uuid::new_v4().to_string(), format!("message {n}"));
            let post = Acked { room: "lobby".into(), id, text };
            let message = body(&post.text, json!({"id": post.id, "to": ["ada"]}));
            let (status, posted) = nodes[n as usize % 2].send_json("/api/rooms/lobby/messages", &message).await;
            assert_eq!(status, StatusCode::CREATED);
            before = posted["position"].as_str().unwrap().to_owned();
            acked.push(post);
        }
        until_answered(&nodes[0], &acked).await;
        until_answered(&nodes[1], &acked).await;
        (acked.clone(), before.clone())
    };
    say(0, 20).await;
    // An older copy of its data: what a backup or a lagging replica has.
    place.redis.kill();
    let older = place.dir.path().join("older");
    copy(place.redis.dir(), &older);
    place.redis.restart();
    for node in &nodes {
        until_health(node, "connected").await;
    }
    let (acked, last) = say(20, 50).await;
    let mut resuming = Events::open(&nodes[1], "lobby", Some(&last)).await;
    let redacted = &acked[45];
    assert_eq!(
        nodes[0].ask(nodes[0].client().delete(nodes[0].url(&format!("/api/messages/{}", redacted.id)))).await.status,
        200
    );
    resuming.until("message.redacted").await;

    place.redis.kill();
    let data = place.redis.dir().to_owned();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&older, &data);
    place.redis.restart();

    let (_, reset) = resuming.until("reset").await;
    assert_eq!(reset["reason"], "other-epoch");
    resuming.until("snapshot").await;
    for node in &nodes {
        until_health(node, "connected").await;
        until_answered(node, &acked[..45]).await;
    }
    // Those who come back with an old position are told, too.
    let mut late = Events::open(&nodes[0], "lobby", Some(&last)).await;
    assert_eq!(late.until("reset").await.1["reason"], "other-epoch");
    until_repaired(&nodes[0]).await;
    for node in &nodes {
        let messages = node.all("lobby").await;
        for post in &acked {
            let of = |m: &&Value| m["id"] == post.id.as_str();
            let found: Vec<_> = messages.iter().filter(of).collect();
            assert_eq!(found.len(), 1, "{post:?}: {found:#?}");
            let hidden = post.id == redacted.id;
            assert_eq!(found[0]["redacted"].as_bool().unwrap_or(false), hidden, "{}", found[0]);
            assert_eq!(found[0]["text"], if hidden { "" } else { &post.text });
            let answers = messages.iter().filter(|m| m["reply_to"] == post.id.as_str()).count();
            assert_eq!(answers, 1, "{post:?} has one answer");
        }
    }
    place.lanes_are_empty();
    // Life goes on.
    let posted = nodes[1].post("lobby", "And now?", json!({"to": ["bob"]})).await;
    nodes[0].until_status("lobby", posted["id"].as_str().unwrap(), "answered").await;
}

/// Waits until the node counts a `log.repaired` in the log.
async fn until_repaired(server: &Server) {
    let looking = async {
        loop {
            let (_, metrics) = server.get("/metrics").await;
            if metrics.as_str().unwrap().contains("log.repaired") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it says what it repaired");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_redis_under_nodes_with_a_history_takes_nothing_until_a_person_says_so() {
    let place = Place::new(1, &["--pace", "0"]);
    let node = place.start(0);
    let posted = node.post("lobby", "Remember me", json!({"to": ["ada"]})).await;
    let id = posted["id"].as_str().unwrap();
    node.until_status("lobby", id, "answered").await;
    place.redis.kill();
    std::fs::remove_dir_all(place.redis.dir()).unwrap();
    std::fs::create_dir(place.redis.dir()).unwrap();
    place.redis.restart();
    let health = until_health(&node, "refusing").await;
    assert!(health["reason"].as_str().unwrap().contains("accept-empty-store"), "{health}");
    let (status, problem) = node.send_json("/api/rooms/lobby/messages", &body("no", json!({}))).await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("log-away")));
    // Reading goes on, from memory.
    assert_eq!(node.get("/api/rooms/lobby/messages").await.0, StatusCode::OK);

    let accept = crate::harness::antiphon().args(["accept-empty-store", "--server", &node.url("")]).output().unwrap();
    assert!(accept.status.success(), "{accept:?}");
    until_health(&node, "connected").await;
    node.until_status("lobby", id, "answered").await;
    let again = crate::harness::antiphon().args(["accept-empty-store", "--server", &node.url("")]).output().unwrap();
    assert!(!again.status.success(), "there is nothing to accept: {again:?}");
}
