//! The two workers of `docs/workers.md`, taken from the page and run as they stand there: so the page cannot rot.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;

use super::{
    remote, steps,
    story::{Story, Words, never_two_voices},
};
use crate::harness::{Server, lasting_address};

/// A program of the page, running; killed when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The page's only block of code in this language.
fn block(language: &str) -> String {
    let page = std::fs::read_to_string("docs/workers.md").unwrap();
    let fence = format!("```{language}\n");
    let blocks: Vec<_> = page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 1, "one worker in {language}");
    let lines = blocks[0].lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 40, "short enough to be read at once: {lines} lines");
    blocks[0].to_owned()
}

/// Starts the page's program in `language` with the interpreter that `scripts/test` installs.
fn start(dir: &Path, language: &str, address: &str) -> Program {
    let (interpreter, file) = if language == "python" { ("python3", "worker.py") } else { ("node", "worker.mjs") };
    std::fs::write(dir.join(file), block(language)).unwrap();
    let mut command = Command::new(interpreter);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir(dir);
    let variables = [("SERVER", format!("http://{address}")), ("BOT", "ada".into()), ("WORKER", "page".into())];
    command.envs(variables.map(|(name, value)| (format!("ANTIPHON_{name}"), value)));
    // What it says of outages is for people.
    command.arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn();
    Program(child.unwrap_or_else(|e| panic!("cannot run `{interpreter}`: {e}; ./scripts/test installs it")))
}

/// Answers, lives through a restart while it waits and one in mid-reply, stops at a cancel, and answers again.
async fn is_a_good_worker(language: &str) {
    let dir = tempfile::tempdir().unwrap();
    let address = lasting_address();
    let serve = || Server::configured(dir.path(), &remote(&["ada"], ""), &["--listen", &address]);
    let mut server = serve();
    let story = Story::follow(&address, "lobby").await;
    let _program = start(dir.path(), language, &address);
    let completed = async |id: &str| story.until(0, "message.completed", |data| data["message_id"] == id).await;

    let posted = server.post("lobby", "Hello, who is there?", json!({})).await;
    completed(posted["id"].as_str().unwrap()).await;
    let answer = server.all("lobby").await.pop().unwrap();
    assert_eq!((&answer["text"], &answer["author"]["name"]), (&json!("You said: Hello, who is there?"), &json!("ada")));
    assert_eq!(never_two_voices(&story.all(), Words::All), 1);

    // It waits for work now.
    server.kill();
    server = serve();
    let words = "And so it goes on and on. ".repeat(10);
    let posted = server.post("lobby", words.trim(), json!({})).await;
    let id = posted["id"].as_str().unwrap();
    story.until(0, "reply.delta", |data| data["message_id"] == id && data["index"] == 5).await;
    server.kill();
    server = serve();
    completed(id).await;
    let answer = server.all("lobby").await.pop().unwrap();
    assert_eq!(answer["text"], format!("You said: {}", words.trim()));
    assert_eq!(steps(&server, id, "message.claimed").await.len(), 1, "the same reply went on");

    // It would write on this for longer than a test may wait.
    let posted = server.post("lobby", "on and ".repeat(2_300).trim(), json!({})).await;
    let id = posted["id"].as_str().unwrap();
    story.until(0, "reply.delta", |data| data["message_id"] == id).await;
    assert_eq!(server.send_json(&format!("/api/messages/{id}/cancel"), &json!({})).await.0, 200);
    let posted = server.post("lobby", "Are you with us again?", json!({})).await;
    completed(posted["id"].as_str().unwrap()).await;
    never_two_voices(&story.all(), Words::Some);
    let (_, cancelled) = server.get(&format!("/api/messages/{id}")).await;
    assert_eq!(cancelled["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_worker_in_python_answers_outlives_the_server_and_stops_at_a_cancel() {
    is_a_good_worker("python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_worker_in_javascript_answers_outlives_the_server_and_stops_at_a_cancel() {
    is_a_good_worker("js").await;
}
