//! Workers that dial out, over loopback: how long it takes until work is in hand, and a whole answer.
//!
//! A real server process on the file log with fsync; the worker is this process, by hand-written HTTP. Each figure stands
//! beside the raw fdatasync of the same run: a claim needs one, an answer one, and the post before them one.
//! `cargo bench --bench bench -- work [waits|woken|answer]`

use std::{path::Path, time::Instant};

use serde_json::{Value, json};

use crate::{
    client::{self, Connection, Subscriber},
    measure::{block, fdatasync_ms, folder, median, p50_p95_p99},
    process::Server,
};

/// Runs of each figure; the median is quoted.
const RUNS: usize = 3;
/// Messages in a run.
const MESSAGES: usize = 400;

pub(crate) fn run(part: Option<&str>) {
    let parts: [(&str, fn()); 3] =
        [("waits", || block(waits())), ("woken", || block(woken())), ("answer", || block(answer()))];
    parts.iter().filter(|(name, _)| part.is_none_or(|part| part == *name)).for_each(|(_, run)| run());
}

/// A server whose one bot is answered by workers alone.
fn server(dir: &Path) -> Server {
    let config = dir.join("antiphon.toml");
    std::fs::write(&config, "[[bots]]\nname = \"ada\"\nmodel = \"remote\"\n").expect("a file");
    Server::start_with(&dir.join("data"), &["--config", config.to_str().expect("UTF-8")])
}

/// A call of the work API; the answer, null if it has none.
async fn call(connection: &mut Connection, path: &str, body: &Value) -> Value {
    let answer = connection.read(&client::post_json(&format!("/api/work/{path}"), &body.to_string())).await;
    serde_json::from_str(&answer).unwrap_or(Value::Null)
}

async fn claim(connection: &mut Connection, n: usize) -> Value {
    let wish = json!({"worker": "bench", "bots": ["ada"], "claim_key": format!("key-{n}")});
    let work = call(connection, "claim", &wish).await;
    assert!(work["fence"].is_string(), "{work}");
    work
}

/// Ends a claim with an answer.
async fn complete(connection: &mut Connection, work: &Value, text: &str) {
    let body = json!({"fence": work["fence"], "text": text, "finish": "stop"});
    let done = call(connection, &format!("{}/complete", id(work)), &body).await;
    assert!(done["position"].is_string(), "{done}");
}

fn id(work: &Value) -> &str {
    work["message"]["id"].as_str().expect("an id")
}

fn line(what: &str, runs: Vec<Vec<f64>>, raw: Vec<f64>, needed: &str) {
    let (p50, p95, p99) = p50_p95_p99(runs);
    let raw = median(raw);
    println!(
        "{what:<37} p50 {p50:.2} ms   p95 {p95:.2} ms   p99 {p99:.2} ms   (raw fdatasync {raw:.3} ms, {needed} needed)"
    );
}

/// From the sending of a claim to the work in hand, when a message waits already.
async fn waits() {
    let (mut runs, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let dir = folder();
        raw.push(fdatasync_ms(dir.path()));
        let server = server(dir.path());
        let (mut people, mut worker) =
            (Connection::open(&server.address).await, Connection::open(&server.address).await);
        let mut times = Vec::with_capacity(MESSAGES);
        for n in 0..MESSAGES {
            assert_eq!(people.ask(&client::post("lobby", &format!("hello {n}"), "[\"ada\"]")).await, 201);
            let at = Instant::now();
            let work = claim(&mut worker, n).await;
            times.push(at.elapsed().as_secs_f64() * 1e3);
            complete(&mut worker, &work, "hello").await;
        }
        runs.push(times);
    }
    line("claim → work in hand, work waits", runs, raw, "1");
}

/// From the sending of a post to the work in the hand of a worker that waits for it.
async fn woken() {
    let (mut runs, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let dir = folder();
        raw.push(fdatasync_ms(dir.path()));
        let server = server(dir.path());
        let (mut people, mut worker) =
            (Connection::open(&server.address).await, Connection::open(&server.address).await);
        let mut times = Vec::with_capacity(MESSAGES);
        for n in 0..MESSAGES {
            let waiting = async {
                let work = claim(&mut worker, n).await;
                (work, Instant::now())
            };
            let posting = async {
                // So that the claim is there and waits: nothing says when it does.
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
                let at = Instant::now();
                assert_eq!(people.ask(&client::post("lobby", &format!("hello {n}"), "[\"ada\"]")).await, 201);
                at
            };
            let ((work, got), at) = tokio::join!(waiting, posting);
            times.push((got - at).as_secs_f64() * 1e3);
            complete(&mut worker, &work, "hello").await;
        }
        runs.push(times);
    }
    line("post → waiting worker has it", runs, raw, "2");
}

/// The echo of a worker: post → claim → first word → completed, seen by a subscriber.
async fn answer() {
    let (mut runs, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let dir = folder();
        raw.push(fdatasync_ms(dir.path()));
        let server = server(dir.path());
        let address = server.address.clone();
        let worker = tokio::spawn(async move {
            let mut connection = Connection::open(&address).await;
            for n in 0.. {
                let work = claim(&mut connection, n).await;
                let delta = json!({"fence": work["fence"], "index": 0, "text": "You said: "});
                let taken = call(&mut connection, &format!("{}/deltas", id(&work)), &delta).await;
                assert_eq!(taken["next_index"], 1);
                let text = format!("You said: {}", work["message"]["text"].as_str().expect("a text"));
                complete(&mut connection, &work, &text).await;
            }
        });
        let mut people = Connection::open(&server.address).await;
        let mut subscriber = Subscriber::open(&server.address, "lobby").await;
        let mut times = Vec::with_capacity(MESSAGES);
        for n in 0..MESSAGES {
            let at = Instant::now();
            assert_eq!(people.ask(&client::post("lobby", &format!("hello {n}"), "[\"ada\"]")).await, 201);
            subscriber.until("event: reply.delta").await;
            subscriber.until("event: message.completed").await;
            times.push(at.elapsed().as_secs_f64() * 1e3);
        }
        worker.abort();
        runs.push(times);
    }
    line("remote echo: post → words → completed", runs, raw, "3");
}
