//! What `load` and `into` refuse, and how a copy that was stopped goes on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use antiphon::{
    clock::Clock,
    log::{
        Log,
        file::{FileLog, History, Options},
    },
    replay::source::RedisSource,
};
use antiphon_schemas::{
    Entry, Event, Header, MessageId, RequestId, RoomName, Seq,
    event::{Author, AuthorKind, MessagePosted},
};
use uuid::Uuid;

use super::*;
use crate::{
    harness::{ended, signal},
    redis::until,
};

/// A log in a folder whose entries came so many ms apart.
async fn spaced(data: &Path, count: u64, gap_ms: u64) {
    let log = FileLog::open_folder(data, Options::default(), Clock::system()).unwrap();
    let entry = |n: u64| {
        let id = MessageId(Uuid::from_u128(n.into()));
        let event: Event = MessagePosted {
            id,
            author: Author { name: "ann".into(), kind: AuthorKind::Human, color: None },
            text: format!("message {n}").into(),
            to: Some(Vec::new()),
            ask: None,
            reply_to: None,
            hops: 0,
            said_at_ms: None,
        }
        .into();
        let body = Entry::body_of(&event, [n as u8; 16]).unwrap();
        let header = Header {
            seq: Seq(n),
            at_ms: 1_700_000_000_000 + n * gap_ms,
            request: RequestId(Uuid::from_u128(n.into())),
            kind: event.kind().into(),
            room: Some(RoomName::new("lobby").unwrap()),
            subjects: [id].into(),
            version: 1,
        };
        Arc::new(Entry { header, body, event })
    };
    log.load((1..=count).map(entry).collect()).await.unwrap();
    log.close().await.unwrap();
}

fn same_entries(one: &Path, other: &Path) -> bool {
    entries(&mut FolderSource::open(one).unwrap()) == entries(&mut FolderSource::open(other).unwrap())
}

#[tokio::test]
async fn a_bundle_of_the_logs_beginning_becomes_a_log_and_one_of_a_later_part_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    spaced(&here.join("data"), 20, 10).await;
    let export = ["export", "--log", "data", "--format", "bundle", "--out"];
    for (name, part) in [("begin", ["--to", "10"]), ("end", ["--from", "11"]), ("room", ["--room", "lobby"])] {
        done(here, &[&export[..], &[&format!("{name}.antiphon")], &part].concat());
    }
    let said = done(here, &["load", "begin.antiphon", "--log", "x"]);
    assert!(said.starts_with("loaded 10 entries") && said.contains("the part from position 1 to 10;"), "{said}");
    done(here, &["into", "to-ten", "--log", "data", "--to", "10"]);
    assert!(same_entries(&here.join("x"), &here.join("to-ten")));
    let server = Server::start(&here.join("x"));
    server.post("lobby", "it goes on", json!({"to": []})).await;
    for (name, what) in [("end", "the part from position"), ("room", "the part of the room lobby")] {
        let refusal = refused(here, &["load", &format!("{name}.antiphon"), "--log", "y"], 1);
        assert!(refusal.contains(what) && refusal.contains("only a log from its beginning can be loaded"), "{refusal}");
    }
    assert!(!here.join("y").exists());
}

#[tokio::test]
async fn only_an_empty_log_is_loaded_into_and_only_a_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    spaced(&here.join("data"), 20, 10).await;
    let export = ["export", "--log", "data", "--format", "bundle", "--out"];
    done(here, &[&export[..], &["a.antiphon"]].concat());
    let refusal = refused(here, &["load", "a.antiphon", "--log", "data"], 1);
    assert!(refusal.contains("`data` cannot be filled: it already contains a log"), "{refusal}");
    fs::create_dir(here.join("notes")).unwrap();
    fs::write(here.join("notes/todo"), "mine").unwrap();
    let refusal = refused(here, &["load", "a.antiphon", "--log", "notes"], 1);
    assert!(refusal.contains("it holds `todo`"), "{refusal}");
    fs::write(here.join("no.antiphon"), "something else").unwrap();
    assert!(refused(here, &["load", "no.antiphon", "--log", "x"], 1).contains("is not a bundle"));
    assert!(!here.join("x").exists());

    let server = Server::start(&here.join("data"));
    let refusal = refused(here, &["into", "data", "--log", "a.antiphon"], 1);
    assert!(refusal.contains("in use by process"), "{refusal}");
    server.terminate();

    let redis = Redis::start();
    let node = Server::start_with(&here.join("node"), &["--log", &redis.url(), "--node", "n1"]);
    node.post("lobby", "hello", json!({"to": []})).await;
    for command in [["load", "a.antiphon", "--log", &redis.url()], ["into", &redis.url(), "--log", "a.antiphon"]] {
        let refusal = refused(here, &command, 1);
        assert!(refusal.contains("the node `n1` has begun a log there"), "{refusal}");
    }
    node.post("lobby", "it goes on", json!({"to": []})).await;
}

#[tokio::test]
async fn a_copy_goes_on_where_it_ended_and_another_log_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let redis = Redis::start();
    spaced(&here.join("data"), 10_000, 10).await;
    spaced(&here.join("other"), 50, 10).await;
    for target in ["copy", &redis.url()] {
        let said = done(here, &["into", target, "--log", "data", "--to", "6000"]);
        assert!(said.starts_with("copied 6000 entries") && said.contains(", 0 were there already"), "{said}");
        let said = done(here, &["into", target, "--log", "data", "--json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (&said["copied"], &said["there_already"], &said["last"]),
            (&json!(4000), &json!(6000), &json!(10_000))
        );
        let refusal = refused(here, &["into", target, "--log", "data", "--to", "5"], 1);
        assert!(refusal.contains("already has 10000 positions, more than the 5"), "{refusal}");
        let refusal = refused(here, &["into", target, "--log", "other"], 1);
        assert!(refusal.contains("cannot be filled") && refusal.contains("epoch"), "{refusal}");
    }
    assert!(same_entries(&here.join("data"), &here.join("copy")));
    let runtime = tokio::runtime::Handle::current();
    let url = redis.url();
    let of_redis = tokio::task::spawn_blocking(move || {
        let address = antiphon::log::redis::address::Address::parse(&url).unwrap();
        entries(&mut RedisSource::open(&address, runtime).unwrap())
    });
    assert!(of_redis.await.unwrap() == entries(&mut FolderSource::open(&here.join("data")).unwrap()));
    // What was refused is whole as before: servers open it.
    Server::start(&here.join("copy")).terminate();
    let node = Server::start_with(&here.join("node"), &["--log", &redis.url(), "--node", "n1"]);
    until_ready(&node).await;
    assert_eq!(node.all("lobby").await.len(), 10_000);

    // A log of the same epoch that went on in another way.
    done(here, &["into", "fork", "--log", "data", "--to", "100"]);
    let server = Server::start(&here.join("fork"));
    server.post("lobby", "somewhere else", json!({"to": []})).await;
    server.terminate();
    let refusal = refused(here, &["into", "fork", "--log", "data"], 1);
    assert!(refusal.contains("position 101 differs; nothing was written"), "{refusal}");
    Server::start(&here.join("fork")).terminate();
    for part in [&["--room", "lobby"][..], &["--from", "5"]] {
        let refusal = refused(here, &[&["into", "x", "--log", "data"], part].concat(), 1);
        assert!(refusal.contains("only a log from its beginning can be copied"), "{refusal}");
    }
    assert!(refused(here, &["into", "data", "--log", "./data"], 1).contains("into itself"));
}

#[tokio::test]
async fn a_copy_at_its_own_speed_stops_at_ctrl_c_is_opened_by_nobody_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let redis = Redis::start();
    spaced(&here.join("data"), 5, 3_600_000).await;
    let stopped = |target: &str, there: &dyn Fn() -> bool| {
        let mut copy = antiphon();
        copy.args(["replay", "into", target, "--log", "data", "--speed", "1x"]).current_dir(here);
        let mut copy = copy.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        until("the first entry is copied", || there().then_some(()));
        signal(copy.id(), "INT");
        let mut said = String::new();
        copy.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(ended(&mut copy).code(), Some(1), "{said}");
        assert!(said.contains("has 1 of 5 positions") && said.contains("run the same command to resume"), "{said}");
    };
    let copied = here.join("copy");
    stopped("copy", &|| History::open(&copied).is_ok_and(|log| log.tail().is_ok_and(|tail| tail == Seq(1))));
    let mut server = antiphon();
    server.args(["serve", "--data", "copy", "--listen", "127.0.0.1:0", "--model", "builtin"]).current_dir(here);
    let mut server = server.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(!ended(&mut server).success());
    let mut said = String::new();
    server.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("is incomplete"), "{said}");
    done(here, &["into", "copy", "--log", "data", "--speed", "max"]);
    assert!(same_entries(&here.join("data"), &copied));
    Server::start(&copied).terminate();

    let url = redis.url();
    stopped(&url, &|| redis.command(&["XLEN", "{antiphon:0}:log"]) == "1");
    // A node waits meanwhile, and opens by itself.
    let node = Server::start_with(&here.join("node"), &["--log", &url, "--node", "n1"]);
    node.printed("another log is being copied into it");
    done(here, &["into", &url, "--log", "data"]);
    until_ready(&node).await;
    assert_eq!(node.all("lobby").await.len(), 5);
}

async fn until_ready(server: &Server) {
    let begun = Instant::now();
    while server.get("/health/ready").await.0 != 200 {
        assert!(begun.elapsed() < crate::harness::PATIENCE, "it opens by itself");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_gaps_between_entries_are_kept_at_the_speed_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    spaced(&dir.path().join("data"), 4, 20_000).await;
    let begun = Instant::now();
    done(dir.path(), &["into", "copy", "--log", "data", "--speed", "100x"]);
    assert!(begun.elapsed() >= Duration::from_millis(600), "three gaps of 200 ms");
    assert!(same_entries(&dir.path().join("data"), &dir.path().join("copy")), "their times are what they were");
    let wrong = refused(dir.path(), &["into", "x", "--log", "data", "--speed", "fast"], 2);
    assert!(wrong.contains("write max, 1x, 10x or 0.5x"), "{wrong}");
}
