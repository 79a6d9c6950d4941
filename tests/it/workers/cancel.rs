//! How a worker stops: at a cancel it hangs up on its model; at SIGTERM it finishes what it has, or gives it back.

use std::time::{Duration, Instant};

use antiphon_bot::fake::{Fake, Request, Step};
use serde_json::json;

use super::{Worker, remote, steps, story::Story};
use crate::harness::{PATIENCE, Server};

/// A worker for `ada` whose model is the fake.
fn worker(dir: &std::path::Path, name: &str, server: &Server, fake: &Fake, more: &[&str]) -> Worker {
    let url = fake.url();
    let arguments = ["--bot", "ada=ollama:fake", "--ollama-url", &url];
    Worker::start(dir, name, &server.address, &[&arguments, more].concat())
}

/// A model that says these words and then nothing more.
async fn hangs(words: &'static str) -> Fake {
    Fake::answering("fake", move |_| vec![Step::Head, Step::Text(words.into()), Step::Hang]).await
}

/// The number of the last question that the model was asked.
fn last_chat(fake: &Fake) -> usize {
    let chat = |request: &&Request| request.path == "/api/chat" && !request.is_load();
    fake.requests().iter().rev().find(chat).expect("it was asked").number
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_closes_the_connection_to_a_workers_model_within_100_ms() {
    const TIMES: usize = 9;
    let fake = hangs("so ").await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &remote(&["ada"], ""), &[]);
    let _worker = worker(dir.path(), "box", &server, &fake, &[]);
    let story = Story::follow(&server.address, "lobby").await;
    let mut took = Vec::new();
    for _ in 0..TIMES {
        let now = story.now();
        let posted = server.post("lobby", "Tell me everything.", json!({})).await;
        story.until(now, "reply.delta", |data| data["message_id"] == posted["id"]).await;
        let asked = last_chat(&fake);
        let path = format!("/api/messages/{}/cancel", posted["id"].as_str().unwrap());
        assert_eq!(server.send_json(&path, &json!({})).await.0, 200);
        let cancelled = Instant::now();
        tokio::time::timeout(PATIENCE, fake.hung_up(asked)).await.expect("the model is left alone");
        took.push(cancelled.elapsed());
    }
    took.sort();
    println!("from the answer of a cancel to the end of the model's connection: {took:?}");
    assert!(took[TIMES / 2] < Duration::from_millis(100), "{took:?}");
    // No heartbeat and no lease is as short as this: each was told, none found out.
    assert!(took[TIMES - 1] < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_worker_finish_the_reply_under_way_and_take_no_other() {
    let fake = Fake::answering("fake", |_| {
        let (first, last) = (Step::Text("at ".into()), Step::Text("last".into()));
        vec![Step::Head, first, Step::Wait(Duration::from_secs(1)), last, Step::Finish("stop".into())]
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &remote(&["ada"], ""), &[]);
    let worker = worker(dir.path(), "box", &server, &fake, &["--slots", "1"]);
    let story = Story::follow(&server.address, "lobby").await;
    let first = server.post("lobby", "first", json!({})).await;
    let second = server.post("lobby", "second", json!({})).await;
    story.until(0, "reply.delta", |data| data["message_id"] == first["id"]).await;
    let status = tokio::task::spawn_blocking(|| worker.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    let id = |posted: &serde_json::Value| posted["id"].as_str().unwrap().to_owned();
    let (_, first) = server.get(&format!("/api/messages/{}", id(&first))).await;
    assert_eq!(first["status"], "answered", "{first}");
    assert_eq!(server.all("lobby").await[2]["text"], "at last");
    let (_, second) = server.get(&format!("/api/messages/{}", id(&second))).await;
    assert_eq!(second["status"], "waiting", "{second}");
    assert!(steps(&server, &id(&second), "message.claimed").await.is_empty(), "not even claimed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_grace_the_reply_is_given_back_and_another_worker_answers_at_once() {
    let (slow, quick) = (hangs("er, ").await, Fake::answering("fake", |_| Step::answer(&["all is ", "well"])).await);
    let dir = tempfile::tempdir().unwrap();
    // Nothing but a goodbye can give it to another one in time.
    let server = Server::configured(dir.path(), &remote(&["ada"], "lease_ms = 600000\n"), &[]);
    let first = worker(dir.path(), "slow", &server, &slow, &["--grace-s", "0"]);
    let story = Story::follow(&server.address, "lobby").await;
    let posted = server.post("lobby", "How is it going?", json!({})).await;
    story.until(0, "reply.delta", |data| data["message_id"] == posted["id"]).await;
    let _second = worker(dir.path(), "quick", &server, &quick, &[]);
    let status = tokio::task::spawn_blocking(|| first.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    story.until(0, "message.completed", |data| data["message_id"] == posted["id"]).await;
    let id = posted["id"].as_str().unwrap();
    let released = steps(&server, id, "message.released").await;
    assert_eq!(released.iter().map(|r| &r["reason"]).collect::<Vec<_>>(), ["goodbye"]);
    assert_eq!(server.all("lobby").await[1]["text"], "all is well");
}

/// Goal: a message is never given to somebody who has left. A worker that waits with all its slots is ended, and only
/// then something is asked; whoever comes after must be given it, long before a lease could be over.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_claim_goes_with_its_worker() {
    let fake = Fake::answering("fake", |_| Step::answer(&["here"])).await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &remote(&["ada"], "lease_ms = 600000\n"), &[]);
    let story = Story::follow(&server.address, "lobby").await;
    let mut waiting = worker(dir.path(), "w-0", &server, &fake, &["--slots", "4"]);
    for n in 1..=5 {
        // It has answered, so it is connected and waits again.
        let posted = server.post("lobby", "Are you there?", json!({})).await;
        story.until(0, "message.completed", |data| data["message_id"] == posted["id"]).await;
        // Half of them say goodbye, half just go.
        if n % 2 == 0 {
            drop(waiting);
        } else {
            let status = tokio::task::spawn_blocking(|| waiting.terminate()).await.unwrap();
            assert_eq!(status.code(), Some(0));
        }
        let posted = server.post("lobby", "Is anybody there?", json!({})).await;
        waiting = worker(dir.path(), &format!("w-{n}"), &server, &fake, &["--slots", "4"]);
        story.until(0, "message.completed", |data| data["message_id"] == posted["id"]).await;
        let claims = steps(&server, posted["id"].as_str().unwrap(), "message.claimed").await;
        assert_eq!(claims.len(), 1, "{claims:?}");
        assert!(claims[0]["worker"].as_str().unwrap().starts_with(&format!("w-{n}")), "{claims:?}");
    }
}
