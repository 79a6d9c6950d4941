//! The server is killed in mid-reply and comes back at its address; a worker is stopped past its lease and continued.

use std::time::Duration;

use antiphon_bot::fake::{Fake, Step};
use serde_json::{Value, json};

use super::{
    Worker, remote, steps,
    story::{Story, Words, never_two_voices},
};
use crate::harness::{PATIENCE, Server, lasting_address};

/// A model that writes this many words, one every 20 ms.
async fn talks(words: usize) -> Fake {
    Fake::answering("fake", move |_| {
        let mut steps = vec![Step::Head];
        for n in 0..words {
            steps.extend([Step::Text(format!("word-{n} ")), Step::Wait(Duration::from_millis(20))]);
        }
        steps.push(Step::Finish("stop".into()));
        steps
    })
    .await
}

/// What [`talks`] says.
fn talk(words: usize) -> String {
    (0..words).map(|n| format!("word-{n} ")).collect()
}

fn start(dir: &std::path::Path, address: &str, settings: &str) -> Server {
    Server::configured(dir, &remote(&["ada"], settings), &["--listen", address])
}

fn worker(dir: &std::path::Path, name: &str, address: &str, fake: &Fake) -> Worker {
    Worker::start(dir, name, address, &["--bot", "ada=ollama:fake", "--ollama-url", &fake.url()])
}

/// How many questions the model was asked.
fn chats(fake: &Fake) -> usize {
    fake.requests().iter().filter(|request| request.path == "/api/chat" && !request.is_load()).count()
}

/// The answer of a message, once it is there: its only one.
async fn only_answer(server: &Server, id: &str) -> Value {
    server.until_status("lobby", id, "answered").await;
    let all = server.all("lobby").await;
    let answers: Vec<_> = all.iter().filter(|message| message["reply_to"] == id).collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers[0].clone()
}

/// Goal: an outage shorter than the lease costs nothing but time. The server forgets the words that it had, its claims it
/// knows from the log; the worker tells it the words again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_mid_reply_comes_back_to_the_same_reply() {
    const WORDS: usize = 100;
    let fake = talks(WORDS).await;
    let dir = tempfile::tempdir().unwrap();
    let address = lasting_address();
    let mut server = start(dir.path(), &address, "");
    let _worker = worker(dir.path(), "box", &address, &fake);
    let story = Story::follow(&address, "lobby").await;
    let posted = server.post("lobby", "Tell me a story.", json!({})).await;
    let id = posted["id"].as_str().unwrap();
    for _ in 0..2 {
        // Some of the reply has been seen, and most of it is to come.
        let now = story.now();
        story.until(now, "reply.delta", |data| data["message_id"] == id).await;
        server.kill();
        server = start(dir.path(), &address, "");
    }
    let answer = only_answer(&server, id).await;
    assert_eq!(answer["text"], talk(WORDS).as_str());
    story.until(0, "message.completed", |data| data["message_id"] == id).await;
    never_two_voices(&story.all(), Words::Some);
    assert_eq!(steps(&server, id, "message.claimed").await.len(), 1, "the same reply went on");
    assert_eq!(chats(&fake), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_the_lease_costs_another_try_and_never_a_second_answer() {
    const WORDS: usize = 150;
    let fake = talks(WORDS).await;
    let dir = tempfile::tempdir().unwrap();
    let address = lasting_address();
    let server = start(dir.path(), &address, "lease_ms = 300\n");
    let worker = worker(dir.path(), "box", &address, &fake);
    let story = Story::follow(&address, "lobby").await;
    let posted = server.post("lobby", "Tell me a story.", json!({})).await;
    let id = posted["id"].as_str().unwrap();
    story.until(0, "reply.delta", |data| data["message_id"] == id).await;
    server.kill();
    // The server's clock begins anew when it starts, so it is the worker that must be away past the lease.
    worker.signal("STOP");
    let server = start(dir.path(), &address, "lease_ms = 300\n");
    story.until(0, "message.released", |data| data["message_id"] == id).await;
    worker.signal("CONT");
    let answer = only_answer(&server, id).await;
    assert_eq!(answer["text"], talk(WORDS).as_str());
    story.until(0, "message.completed", |data| data["message_id"] == id).await;
    never_two_voices(&story.all(), Words::Some);
    assert_eq!(steps(&server, id, "message.claimed").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_ready_while_the_server_is_away_is_said_when_it_is_back() {
    const WORDS: usize = 20;
    let fake = talks(WORDS).await;
    let dir = tempfile::tempdir().unwrap();
    let address = lasting_address();
    let server = start(dir.path(), &address, "");
    let _worker = worker(dir.path(), "box", &address, &fake);
    let mut events = server.events("lobby").await;
    let posted = server.post("lobby", "Tell me a story.", json!({})).await;
    events.until("reply.delta").await;
    server.kill();
    // The model needs 0.4 s: it is the outage that must last longer.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let server = start(dir.path(), &address, "");
    let id = posted["id"].as_str().unwrap();
    let answer = only_answer(&server, id).await;
    assert_eq!(answer["text"], talk(WORDS).as_str());
    assert_eq!(steps(&server, id, "message.claimed").await.len(), 1, "the finished reply was not lost");
    assert_eq!(chats(&fake), 1);
}

/// Goal: a worker that was stopped in the middle of a sentence wakes up when another one has taken over and is writing;
/// nobody hears the rest of its sentence, and it lets its model go.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_slept_past_its_lease_is_not_heard_any_more() {
    const WORDS: usize = 100;
    let sleeper = Fake::answering("fake", |_| {
        let late = Step::Text("where was I".into());
        vec![Step::Head, Step::Text("As I ".into()), Step::Wait(Duration::from_millis(200)), late, Step::Hang]
    })
    .await;
    let talker = talks(WORDS).await;
    let dir = tempfile::tempdir().unwrap();
    let address = lasting_address();
    let server = start(dir.path(), &address, "lease_ms = 1000\n");
    let first = worker(dir.path(), "sleeper", &address, &sleeper);
    let story = Story::follow(&address, "lobby").await;
    let posted = server.post("lobby", "Go on.", json!({})).await;
    let id = posted["id"].as_str().unwrap();
    story.until(0, "reply.delta", |data| data["message_id"] == id).await;
    first.signal("STOP");
    let _second = worker(dir.path(), "talker", &address, &talker);
    let released = story.until(0, "message.released", |data| data["message_id"] == id).await;
    assert_eq!(released["reason"], "lease-over");
    let now = story.now();
    story.until(now, "reply.delta", |data| data["message_id"] == id).await;
    first.signal("CONT");
    let asked = sleeper.requests().iter().rev().find(|request| request.path == "/api/chat").unwrap().number;
    tokio::time::timeout(PATIENCE, sleeper.hung_up(asked)).await.expect("it lets its model go");
    let answer = only_answer(&server, id).await;
    assert_eq!(answer["text"], talk(WORDS).as_str());
    story.until(0, "message.completed", |data| data["message_id"] == id).await;
    assert_eq!(never_two_voices(&story.all(), Words::All), 1);
}
