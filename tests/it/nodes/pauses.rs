//! A server or its Redis does not run for three leases, as under a closed lid or on a stalled machine: a bot that is
//! answering keeps its claim, and its first attempt is its last.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::Place;
use crate::harness::{Server, signal};

const LEASE_MS: u64 = 1_000;
const THREE_LEASES: Duration = Duration::from_millis(3 * LEASE_MS);
/// Between two words of the built-in model: an answer takes longer than the pause.
const PACE: [&str; 2] = ["--pace", "300"];

fn settings() -> String {
    format!("lease_ms = {LEASE_MS}\n[[bots]]\nname = \"ada\"\nmodel = \"builtin\"\nanswers = \"addressed\"\n")
}

/// Asks ada; once her first word is there, `pause` happens, which lasts three leases. Then the answer comes, of the first
/// attempt.
async fn keeps_its_claim(server: &Server, pause: impl AsyncFnOnce()) {
    let mut events = server.events("lobby").await;
    let id = server.post("lobby", "Tell me something long", json!({"to": ["ada"]})).await["id"].clone();
    events.until("reply.delta").await;
    pause().await;
    server.until_status("lobby", id.as_str().unwrap(), "answered").await;
    let (status, timeline) = server.get(&format!("/api/messages/{}/timeline", id.as_str().unwrap())).await;
    assert_eq!(status, StatusCode::OK, "{timeline}");
    let steps = timeline["steps"].as_array().unwrap();
    let of = |event: &str| steps.iter().filter(|step| step["event"] == event).collect::<Vec<_>>();
    assert!(of("message.released").is_empty() && of("message.claimed").len() == 1, "{timeline}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_stopped_for_three_leases_finishes_the_answer_that_it_had_begun() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &settings(), &PACE);
    keeps_its_claim(&server, async || {
        signal(server.pid(), "STOP");
        tokio::time::sleep(THREE_LEASES).await;
        signal(server.pid(), "CONT");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_redis_that_was_stopped_for_three_leases_finishes_the_answer_that_it_had_begun() {
    let place = Place::new(1, &PACE);
    std::fs::write(place.dir.path().join("antiphon.toml"), settings()).unwrap();
    let server = place.start(0);
    keeps_its_claim(&server, async || {
        signal(server.pid(), "STOP");
        tokio::time::sleep(THREE_LEASES).await;
        signal(server.pid(), "CONT");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_stopped_for_three_leases_costs_no_answer_its_claim() {
    let place = Place::new(1, &PACE);
    std::fs::write(place.dir.path().join("antiphon.toml"), settings()).unwrap();
    let server = place.start(0);
    keeps_its_claim(&server, async || {
        place.redis.stop();
        tokio::time::sleep(THREE_LEASES).await;
        place.redis.go_on();
    })
    .await;
}
