//! `antiphon import` on real conversations: everything arrives once and in order, whatever is killed on the way.

#![expect(clippy::unwrap_used, reason = "the lints' exception for tests does not reach their helpers")]

use std::{
    collections::{BTreeSet, HashMap},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{Events, Server, antiphon, lasting_address};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ubuntu-irc-excerpt.jsonl.gz")
}

fn corpus_text() -> String {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(corpus()).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// The first rows of the corpus, as their rooms have them.
fn rows(limit: usize) -> HashMap<String, Vec<Value>> {
    let mut rooms: HashMap<String, Vec<Value>> = HashMap::new();
    for line in corpus_text().lines().take(limit) {
        let row: Value = serde_json::from_str(line).unwrap();
        rooms.entry(row["room"].as_str().unwrap().to_owned()).or_default().push(row);
    }
    rooms
}

/// Starts an import; what it says is captured.
fn begin(file: &Path, server: &str, arguments: &[&str]) -> Child {
    let mut command = antiphon();
    command.arg("import").arg(file).args(["--server", server]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn output(child: Child) -> Output {
    tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap()
}

/// How an import ended: `posted`, `already there`, `refused`, and its exit code.
#[derive(Debug, PartialEq)]
struct Ended(usize, usize, usize, i32);

async fn ended(child: Child) -> Ended {
    let output = output(child).await;
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let count = |name: &str| {
        let after = text.split(name).nth(1).unwrap_or_else(|| panic!("`{name}` in {output:?}"));
        after.trim_start().split([',', ' ', '\n']).next().unwrap().parse().unwrap()
    };
    Ended(count("posted"), count("already there"), count("refused"), output.status.code().unwrap())
}

/// Compares a room with its rows: all there, in order, each once, and as they were written.
fn check(messages: &[Value], rows: &[Value]) {
    let ids: HashMap<u64, &Value> =
        rows.iter().zip(messages).map(|(r, m)| (r["seq"].as_u64().unwrap(), &m["id"])).collect();
    for (row, message) in rows.iter().zip(messages) {
        let reply_to = row["reply_to"].as_u64().map_or(&Value::Null, |seq| ids[&seq]);
        assert_eq!(
            (&message["author"]["name"], &message["author"]["kind"], &message["text"], &message["reply_to"]),
            (&row["author"], &row["kind"], &row["text"], reply_to),
            "{row}"
        );
        assert_eq!((&message["room"], &message["status"]), (&row["room"], &json!("none")));
        let at = row["at"].as_str().unwrap().trim_end_matches('Z');
        assert!(message["said_at"].as_str().unwrap().starts_with(at), "{message} {row}");
    }
    assert_eq!(messages.len(), rows.len());
    assert_eq!(ids.values().map(|id| id.as_str().unwrap()).collect::<BTreeSet<_>>().len(), rows.len());
}

async fn check_all(server: &Server, rows: &HashMap<String, Vec<Value>>) {
    for (room, rows) in rows {
        check(&server.all(room).await, rows);
    }
    let (_, rooms) = server.get("/api/rooms").await;
    assert_eq!(rooms["rooms"].as_array().unwrap().len(), rows.len());
}

async fn position(server: &Server) -> Value {
    server.get("/api/queues").await.1["position"].clone()
}

/// Reads `n` posts of a room, and hands back the stream for what comes after.
fn watch(mut events: Events, n: usize) -> JoinHandle<(Vec<Value>, Events)> {
    tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < n {
            seen.push(events.until("message.posted").await.1);
        }
        (seen, events)
    })
}

/// The room in which the corpus begins.
const FIRST_ROOM: &str = "2004-12-25.train-c";

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_real_messages_arrive_once_each_in_order_and_are_seen_once() {
    let rows = rows(usize::MAX);
    assert_eq!(rows.values().map(Vec::len).sum::<usize>(), 10_000);
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut watching = Vec::new();
    for (room, rows) in &rows {
        let mut events = server.events(room).await;
        events.until("snapshot").await;
        watching.push((room, watch(events, rows.len())));
    }
    let import = || begin(&corpus(), &server.url(""), &[]);
    assert_eq!(ended(import()).await, Ended(10_000, 0, 0, 0));
    check_all(&server, &rows).await;
    let mut streams = Vec::new();
    for (room, watching) in watching {
        let (seen, events) = watching.await.unwrap();
        assert!(seen == server.all(room).await, "{room}: what was seen live is what is read back");
        streams.push((room, events));
    }

    let before = position(&server).await;
    assert_eq!(ended(import()).await, Ended(0, 10_000, 0, 0));
    assert_eq!(position(&server).await, before, "a second import adds nothing");
    for (room, mut events) in streams {
        server.post(room, "the next", json!({"to": []})).await;
        assert_eq!(events.until("message.posted").await.1["text"], "the next", "nothing came in between");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_goes_on_when_it_is_run_again() {
    const ROWS: usize = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut events = server.events(FIRST_ROOM).await;
    let limit = ROWS.to_string();
    let import = || begin(&corpus(), &server.url(""), &["--limit", &limit]);
    let mut first = import();
    for _ in 0..200 {
        events.until("message.posted").await;
    }
    first.kill().unwrap();
    assert!(!output(first).await.status.success());
    let Ended(posted, already_there, refused, code) = ended(import()).await;
    assert_eq!((posted + already_there, refused, code), (ROWS, 0, 0));
    assert!(posted > 0 && already_there >= 200, "posted {posted}, already there {already_there}");
    check_all(&server, &rows(ROWS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_by_itself_when_the_server_is_killed_and_comes_back() {
    const ROWS: usize = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let address = lasting_address();
    let start = || Server::start_at(&address, &data);
    let mut server = start();
    let import = begin(&corpus(), &server.url(""), &["--limit", &ROWS.to_string()]);
    for _ in 0..2 {
        let mut events = server.events(FIRST_ROOM).await;
        for _ in 0..100 {
            events.until("message.posted").await;
        }
        server.kill();
        server = start();
    }
    let Ended(posted, already_there, refused, code) = ended(import).await;
    // What was posted but not acknowledged before a kill is found to be there.
    assert_eq!((posted + already_there, refused, code), (ROWS, 0, 0));
    check_all(&server, &rows(ROWS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_from_stdin_too_and_those_refused_are_counted_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let import = |text: String| {
        let mut child = begin(Path::new("-"), &server.url(""), &[]);
        let mut stdin = child.stdin.take().unwrap();
        std::thread::spawn(move || stdin.write_all(text.as_bytes()).unwrap());
        child
    };
    let text = corpus_text();
    let good: Vec<_> = text.lines().take(500).collect();
    assert_eq!(ended(import(good.join("\n"))).await, Ended(500, 0, 0, 0));
    check_all(&server, &rows(500)).await;

    let row = |seq: u64, text: &str, reply_to: Value| {
        json!({"room": "odd", "seq": seq, "at": "2005-01-01T00:00:00Z", "author": "ann", "kind": "human",
            "text": text, "reply_to": reply_to})
        .to_string()
    };
    let lines = [
        row(1, "fine", Value::Null),
        "{\"room\": \"odd\"".into(),
        row(3, "an answer to nothing", json!(2)),
        row(4, &"long ".repeat(16 << 10), Value::Null),
        row(5, "", Value::Null),
        row(6, "an answer to the first", json!(1)),
    ];
    let output = output(import(lines.join("\n"))).await;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with("posted 3, already there 0, refused 3, without link 1,"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    for line in 2..=5 {
        assert!(complained.contains(&format!("line {line}: ")), "{line} in {complained}");
    }
    let messages = server.all("odd").await;
    assert_eq!(
        messages.iter().map(|m| &m["text"]).collect::<Vec<_>>(),
        ["fine", "an answer to nothing", "an answer to the first"]
    );
    assert_eq!((&messages[1]["reply_to"], &messages[2]["reply_to"]), (&Value::Null, &messages[0]["id"]));
}

/// A thread as real exports have it: its root is fine, empty, too long, or not there; the file came from another system.
fn thread() -> String {
    let row = |seq: u64, text: &str, reply_to: Value| {
        json!({"room": "old", "seq": seq, "at": "2021-03-04T05:06:07Z", "author": "ann", "text": text, "reply_to": reply_to}).to_string()
    };
    let rows = [
        row(1, "hello", Value::Null),
        row(2, "\u{200b}", Value::Null),
        row(3, "nice picture!", json!(2)),
        row(4, &"x".repeat(20_000), Value::Null),
        row(5, "tl;dr?", json!(4)),
        row(6, "as I said", json!(99)),
        row(7, "bye", json!(1)),
    ];
    format!("\u{feff}{}\r\n", rows.join("\r\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_come_in_whatever_became_of_their_roots_and_a_second_import_finds_them() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let file = dir.path().join("old.jsonl");
    std::fs::write(&file, thread()).unwrap();
    let first = output(begin(&file, &server.url(""), &[])).await;
    let (said, complained) = (String::from_utf8_lossy(&first.stdout), String::from_utf8_lossy(&first.stderr));
    assert!(said.starts_with("posted 5, already there 0, refused 2, without link 3,"), "{said}{complained}");
    for (line, seq) in [(3, 2), (5, 4), (6, 99)] {
        let told = format!("line {line}: room old: imported without its link, because row {seq}");
        assert!(complained.contains(&told), "{told} in {complained}");
    }
    let messages = server.all("old").await;
    assert_eq!(messages.len(), 5);
    assert_eq!(messages[4]["reply_to"], messages[0]["id"]);
    assert_eq!(ended(begin(&file, &server.url(""), &[])).await, Ended(0, 5, 2, 1));
    assert_eq!(server.all("old").await, messages);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_whose_root_was_erased_is_imported_with_its_link() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let file = dir.path().join("old.jsonl");
    std::fs::write(&file, thread()).unwrap();
    assert_eq!(ended(begin(&file, &server.url(""), &["--limit", "1"])).await, Ended(1, 0, 0, 0));
    let root = server.all("old").await[0]["id"].as_str().unwrap().to_owned();
    let (status, _) = server.send_json(&format!("/api/messages/{root}/erase"), &json!({})).await;
    assert!(status.is_success(), "{status}");
    // The erased row is not brought back.
    assert_eq!(ended(begin(&file, &server.url(""), &[])).await, Ended(4, 0, 3, 1));
    let messages = server.all("old").await;
    let bye = messages.iter().find(|message| message["text"] == "bye").unwrap();
    assert_eq!(bye["reply_to"], root.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_questions_are_answered_when_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut events = server.events(FIRST_ROOM).await;
    assert_eq!(ended(begin(&corpus(), &server.url(""), &["--answer", "--limit", "20"])).await, Ended(20, 0, 0, 0));
    let rows = rows(20).remove(FIRST_ROOM).unwrap();
    let asked = rows.iter().filter(|row| row["kind"] == "human").count();
    for _ in 0..asked {
        events.until("message.completed").await;
    }
    let messages = server.all(FIRST_ROOM).await;
    let (replies, posts): (Vec<_>, Vec<_>) = messages.iter().partition(|m| !m["model"].is_null());
    let questions: BTreeSet<_> = replies.iter().map(|reply| reply["reply_to"].as_str().unwrap()).collect();
    assert_eq!((posts.len(), replies.len(), questions.len()), (20, asked, asked));
    for post in posts {
        assert_eq!(questions.contains(post["id"].as_str().unwrap()), post["author"]["kind"] == "human", "{post}");
        assert_eq!(post["status"], if post["author"]["kind"] == "human" { "answered" } else { "none" });
    }
}
