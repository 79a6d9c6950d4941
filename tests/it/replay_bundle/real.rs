//! What people really said, with answers, there and back again.

use std::time::Instant;

use super::*;
use crate::{
    harness::{PATIENCE, soak},
    nodes::chaos::real_messages,
};

/// Every so many messages somebody asks the bot.
const ASKED_EVERY: usize = 4;

#[tokio::test]
async fn a_real_chat_with_answers_makes_the_round_trip_with_the_same_bytes() {
    let messages = real_messages(if soak() { 10_000 } else { 300 });
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let server = Server::start(&here.join("data"));
    let mut asked = Vec::new();
    for (n, (room, text)) in messages.iter().enumerate() {
        let asks = n % ASKED_EVERY == 0;
        let posted = server.post(room, text, if asks { json!({}) } else { json!({"to": []}) }).await;
        asked.extend(asks.then(|| posted["id"].as_str().unwrap().to_owned()));
    }
    let begun = Instant::now();
    for id in &asked {
        while server.get(&format!("/api/messages/{id}")).await.1["status"] != "answered" {
            assert!(begun.elapsed() < PATIENCE * 5, "{id} is not answered");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    assert!(server.terminate().success());
    done(here, &["export", "--log", "data", "--format", "bundle", "--out", "a.antiphon"]);
    let bundle = fs::read(here.join("a.antiphon")).unwrap();
    let report: Value = serde_json::from_str(&done(here, &["verify", "--log", "a.antiphon", "--json"])).unwrap();
    assert_eq!(
        (&report["messages"], &report["open_count"], &report["findings"]),
        (&json!(messages.len() + asked.len()), &json!(0), &json!([]))
    );

    let redis = Redis::start();
    for (to, again) in [("loaded", "b.antiphon"), (&*redis.url(), "c.antiphon")] {
        let kept = [&["--checkpoints", "kept"][..], &[]][usize::from(to == "loaded")];
        done(here, &[&["load", "a.antiphon", "--log", to], kept].concat());
        done(here, &[&["verify", "--log", to], kept].concat());
        done(here, &[&["export", "--log", to, "--format", "bundle", "--out", again], kept].concat());
        assert!(fs::read(here.join(again)).unwrap() == bundle, "through {to}");
        // And it is what they said, in the order in which they said it.
        let said = done(here, &["cat", "--log", to, "--kind", "message.posted", "--json"]);
        let mut expected = messages.iter();
        for line in said.lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            let (room, text) = expected.next().unwrap();
            assert_eq!((&entry["room"], &entry["event"]["text"]), (&json!(room), &json!(text)));
        }
        assert!(expected.next().is_none());
        let stats = done(here, &["stats", "--log", to, "--by", "room", "--json"]);
        let answered = |line: &str| serde_json::from_str::<Value>(line).unwrap()["answered"].as_u64().unwrap() as usize;
        assert_eq!(stats.lines().map(answered).sum::<usize>(), asked.len());
    }
}
