//! A server or its Redis does not run for three leases, as under a closed lid or on a stalled machine: bots that
//! are answering keep their claims, and their first attempt is their last.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::{BOTS, Place};
use crate::harness::{Server, signal};

const LEASE_MS: u64 = 1_000;
const THREE_LEASES: Duration = Duration::from_millis(3 * LEASE_MS);
/// Between two words of the built-in model: an answer takes longer than the pause.
const PACE: [&str; 2] = ["--pace", "300"];

fn settings() -> String {
    let bots = BOTS.map(|bot| format!("[[bots]]\nname = \"{bot}\"\nmodel = \"builtin\"\nanswers = \"addressed\"\n"));
    format!("lease_ms = {LEASE_MS}\n{}", bots.concat())
}

/// Asks every bot; once each has said its first word, `pause` happens, which lasts three leases. Then the answers come, each
/// of the first attempt.
async fn keep_their_claims(server: &Server, pause: impl AsyncFnOnce()) {
    let mut asked = Vec::new();
    for bot in BOTS {
        let mut events = server.events(bot).await;
        let posted = server.post(bot, "Tell me something long", json!({"to": [bot]})).await;
        asked.push((bot, posted["id"].as_str().unwrap().to_owned()));
        events.until("reply.delta").await;
    }
    pause().await;
    for (room, id) in asked {
        server.until_status(room, &id, "answered").await;
        let (status, timeline) = server.get(&format!("/api/messages/{id}/timeline")).await;
        assert_eq!(status, StatusCode::OK, "{timeline}");
        let steps = timeline["steps"].as_array().unwrap();
        let count = |event: &str| steps.iter().filter(|step| step["event"] == event).count();
        assert_eq!((count("message.claimed"), count("message.released")), (1, 0), "{timeline}");
    }
}

async fn stop_for_three_leases(server: &Server) {
    signal(server.pid(), "STOP");
    // Leases of a real process run in real time.
    tokio::time::sleep(THREE_LEASES).await;
    signal(server.pid(), "CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_stopped_for_three_leases_finishes_the_answers_that_it_had_begun() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &settings(), &PACE);
    keep_their_claims(&server, async || stop_for_three_leases(&server).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_redis_that_was_stopped_for_three_leases_finishes_the_answers_that_it_had_begun() {
    let place = Place::new(1, &PACE);
    std::fs::write(place.dir.path().join("antiphon.toml"), settings()).unwrap();
    let server = place.start(0);
    keep_their_claims(&server, async || stop_for_three_leases(&server).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_stopped_for_three_leases_costs_no_answer_its_claim() {
    let place = Place::new(1, &PACE);
    std::fs::write(place.dir.path().join("antiphon.toml"), settings()).unwrap();
    let server = place.start(0);
    keep_their_claims(&server, async || {
        place.redis.stop();
        tokio::time::sleep(THREE_LEASES).await;
        place.redis.go_on();
    })
    .await;
}
