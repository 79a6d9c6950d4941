//! Two nodes side by side, on a good day.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::Place;
use crate::harness::{assert_same, body, everything_shown, soak};

#[tokio::test(flavor = "multi_thread")]
async fn a_post_on_one_node_is_seen_on_the_other_word_by_word_and_answered_once() {
    let place = Place::new(2, &["--pace", "20"]);
    let (one, two) = (place.start(0), place.start(1));
    let mut there = two.events("lobby").await;
    there.until("snapshot").await;
    let posted = one.post("lobby", "Is anybody on the other side?", json!({"to": ["ada"]})).await;
    let (_, seen) = there.until("message.posted").await;
    assert_eq!(seen["id"], posted["id"]);
    let (_, started) = there.until("reply.started").await;
    let mut text = String::new();
    let reply = loop {
        let event = there.next().await;
        let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        match event.name.as_str() {
            "reply.delta" => text.push_str(data["text"].as_str().unwrap()),
            "reply.snapshot" => text = data["text"].as_str().unwrap().to_owned(),
            "reply.posted" => break data,
            _ => {}
        }
    };
    assert_eq!(reply["id"], started["reply_id"]);
    assert_eq!(reply["text"], text.as_str(), "the words on the other node are the reply's");
    assert!(text.split(' ').count() > 3, "{text}");
    there.until("message.completed").await;
    let position = one.until_status("lobby", posted["id"].as_str().unwrap(), "answered").await["position"].clone();
    // A reader of the one node may go on at the other.
    let (status, _) = two.get(&format!("/api/rooms/lobby/messages?at_least={}", position.as_str().unwrap())).await;
    assert_eq!(status, StatusCode::OK);
    assert_same(&everything_shown(&one).await, &everything_shown(&two).await, "both nodes");
    place.lanes_are_empty();
    assert!(one.terminate().success() && two.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_post_through_two_nodes_at_once_is_one_message_and_another_under_its_id_is_refused() {
    let place = Place::new(2, &["--pace", "0"]);
    let (one, two) = (place.start(0), place.start(1));
    for n in 0..if soak() { 1_000 } else { 50 } {
        let same = body("the same", json!({"id": uuid::Uuid::new_v4(), "to": []}));
        let path = "/api/rooms/lobby/messages";
        let (a, b) = tokio::join!(one.send_json(path, &same), two.send_json(path, &same));
        let mut statuses = [a.0, b.0];
        statuses.sort();
        assert_eq!(statuses, [StatusCode::OK, StatusCode::CREATED], "{n}: {} {}", a.1, b.1);
        assert_eq!(a.1["position"], b.1["position"]);

        let id = uuid::Uuid::new_v4();
        let (mine, theirs) = (body("mine", json!({"id": id, "to": []})), body("theirs", json!({"id": id, "to": []})));
        let (a, b) = tokio::join!(one.send_json(path, &mine), two.send_json(path, &theirs));
        let mut statuses = [a.0, b.0];
        statuses.sort();
        assert_eq!(statuses, [StatusCode::CREATED, StatusCode::CONFLICT], "{n}: {} {}", a.1, b.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_nodes_ask_redis_for_nothing_but_what_wakes_them() {
    let place = Place::new(2, &["--pace", "0"]);
    let (one, two) = (place.start(0), place.start(1));
    let posted = one.post("lobby", "Just once", json!({"to": ["ada"]})).await;
    two.until_status("lobby", posted["id"].as_str().unwrap(), "answered").await;
    let _watching = (one.events("lobby").await, two.events("lobby").await);
    let calls = || -> std::collections::BTreeMap<String, u64> {
        let text = place.redis.command(&["INFO", "commandstats"]);
        let call = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        text.lines().filter_map(call).collect()
    };
    // What is under way ends first; then nothing happens for a while, and that is what is looked at.
    let waking = |calls: &std::collections::BTreeMap<String, u64>| -> u64 {
        calls.iter().filter(|(name, _)| !matches!(name.as_str(), "xread" | "info")).map(|(_, n)| n).sum()
    };
    let (mut before, mut calm) = (calls(), 0);
    while calm < 5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = calls();
        calm = if waking(&now) == waking(&before) { calm + 1 } else { 0 };
        before = now;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let grown: Vec<_> = calls()
        .into_iter()
        .filter_map(|(name, n)| Some((n - before.get(&name).copied().unwrap_or(0), name)).filter(|(n, _)| *n > 0))
        .collect();
    for (n, name) in &grown {
        match name.as_str() {
            // Two readers, each asks again every two seconds.
            "xread" => assert!(*n <= 8, "{grown:?}"),
            "info" => {}
            _ => panic!("an idle node asks: {grown:?}"),
        }
    }
}
