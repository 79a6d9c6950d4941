//! `kill -9` of the server at random moments while people post and bots answer: nothing acknowledged is lost, nothing
//! is doubled, everybody gets one answer, and the log alone is enough to build everything again.

#![expect(clippy::unwrap_used, reason = "the lints' exception for tests does not reach their helpers")]

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::harness::{Dice, Events, PATIENCE, Server, assert_same, body, everything_shown, seed, soak};

const ROOMS: [&str; 3] = ["one", "two", "three"];
/// Short enough that a claim which nobody gives back is taken over within the test.
const ARGUMENTS: [&str; 4] = ["--lease-ms", "300", "--pace", "1"];

/// A post that was acknowledged.
#[derive(Debug, Clone)]
struct Acked {
    room: &'static str,
    id: String,
    text: String,
    position: String,
    asks: bool,
}

/// What clients, watchers and the one who kills share.
#[derive(Clone)]
struct Shared {
    /// Where the server of the moment listens; empty: stop.
    address: watch::Sender<String>,
    /// How much has happened that somebody outside could see: acknowledgements and events.
    activity: watch::Sender<u64>,
    acked: Arc<Mutex<Vec<Acked>>>,
    /// Posts that were found to be there when they were tried again: only their acknowledgement was lost.
    found: Arc<Mutex<u64>>,
}

impl Shared {
    fn happened(&self) {
        self.activity.send_modify(|n| *n += 1);
    }

    /// Posts one message after the other until told to stop; each is sent until it is acknowledged.
    async fn post_on(self, client: usize, mut dice: Dice) {
        let http = antiphon_bot::http_client();
        let mut address = self.address.subscribe();
        for n in 0.. {
            let asks = n % 2 == 0;
            let (room, id) = (ROOMS[(client + n) % ROOMS.len()], dice.uuid().to_string());
            let text = format!("message {n} of client {client}");
            let to = if asks { json!(["antiphon"]) } else { json!([]) };
            let message = body(&text, json!({"id": id, "to": to}));
            let mut tries = 0;
            let position = loop {
                let at = address.borrow_and_update().clone();
                if at.is_empty() {
                    assert_eq!(tries, 0, "the last server lives on: nothing is lost with it");
                    return;
                }
                match send(&http, &at, room, &message).await {
                    Some((status, posted)) => {
                        *self.found.lock().unwrap() += u64::from(status == StatusCode::OK);
                        assert!(status == StatusCode::CREATED || tries > 0, "{status} {posted}");
                        break posted["position"].as_str().unwrap().to_owned();
                    }
                    None => tokio::time::timeout(PATIENCE, address.changed()).await.expect("a new server").unwrap(),
                }
                tries += 1;
            };
            self.acked.lock().unwrap().push(Acked { room, id, text, position, asks });
            self.happened();
        }
    }
}

/// One try; `None` when it was not acknowledged and nobody knows whether it happened.
async fn send(http: &Client, address: &str, room: &str, message: &Value) -> Option<(StatusCode, Value)> {
    let url = format!("http://{address}/api/rooms/{room}/messages");
    let response = http.post(url).json(message).timeout(PATIENCE).send().await.ok()?;
    let status = response.status();
    let answer: Value = response.json().await.ok()?;
    match status {
        StatusCode::CREATED | StatusCode::OK => Some((status, answer)),
        StatusCode::SERVICE_UNAVAILABLE => None,
        _ => panic!("{status} {answer}"),
    }
}

/// Goal: crashes fall into every part of a message's life. The server is killed after a random number of things that
/// can be seen from outside (acknowledgements, events of a room); half of these numbers are small, so that it is also
/// killed while it recovers from the last kill. Every fourth life ends in order, so that a snapshot is written and the
/// next lives start from it.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_nothing_doubles_nothing_and_answers_everything_once() {
    let kills = if soak() { 50 } else { 10 };
    // Three of four lives end with SIGKILL.
    let lives = kills + (kills - 1) / 3;
    let seed = seed();
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start_with(&data, &ARGUMENTS);
    let shared = Shared {
        address: watch::Sender::new(server.address.clone()),
        activity: watch::Sender::new(0),
        acked: Arc::default(),
        found: Arc::default(),
    };
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..6 {
        clients.spawn(shared.clone().post_on(client, Dice(seed ^ (client as u64 + 1))));
    }
    let mut killed = 0;
    for life in 0..lives {
        let mut events = server.events(ROOMS[life % ROOMS.len()]).await;
        let watcher = shared.clone();
        let watching = tokio::spawn(async move {
            while events.try_next().await.is_some() {
                watcher.happened();
            }
        });
        let size = dice.below(10);
        let until = *shared.activity.borrow() + 1 + dice.below(1 << size);
        let mut activity = shared.activity.subscribe();
        tokio::time::timeout(PATIENCE, activity.wait_for(|n| *n >= until)).await.expect("something happens").unwrap();
        if life % 4 == 3 {
            // The clients post on while it stops.
            let status = tokio::task::spawn_blocking(|| server.terminate()).await.unwrap();
            assert!(status.success(), "{status}");
        } else {
            server.kill();
            killed += 1;
        }
        watching.await.unwrap();
        server = Server::start_with(&data, &ARGUMENTS);
        shared.address.send_replace(server.address.clone());
    }
    // Something happens in the last life, too.
    let until = *shared.activity.borrow() + 20;
    shared.activity.subscribe().wait_for(|n| *n >= until).await.unwrap();
    shared.address.send_replace(String::new());
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let acked = shared.acked.lock().unwrap().clone();
    let found = *shared.found.lock().unwrap();
    assert_eq!(killed, kills);
    println!(
        "{lives} lives, {kills} kills, {} posts acknowledged, {found} acknowledgements lost and found again",
        acked.len()
    );

    until_all_are_answered(&server, &acked).await;
    nothing_is_lost_or_doubled(&server, &acked).await;
    a_repeated_post_finds_the_first(&server, &acked).await;
    every_position_belongs_to_a_message(&server, &acked).await;
    the_log_is_enough(server, &data).await;
}

/// Follows each room from its beginning until every question in it is answered.
async fn until_all_are_answered(server: &Server, acked: &[Acked]) {
    for room in ROOMS {
        let asked = acked.iter().filter(|a| a.room == room && a.asks);
        let mut open: BTreeSet<_> = asked.map(|a| a.id.clone()).collect();
        let mut events = Events::open(server, room, Some("0")).await;
        let mut last = String::new();
        while !open.is_empty() {
            let event = events.next().await;
            // Live events carry the id of the durable one before them.
            let id = event.id.unwrap_or_default();
            assert!(id >= last, "in order: {id} after {last}");
            let durable = event.name.starts_with("message.") || event.name == "reply.posted";
            assert_eq!(durable, id > last, "none twice: {id} {}", event.name);
            last = id;
            let data: Value = serde_json::from_str(&event.data).unwrap();
            match event.name.as_str() {
                "message.completed" => {
                    let id = data["message_id"].as_str().unwrap();
                    assert!(open.remove(id), "{id} was answered twice, or did not ask");
                }
                "message.dead" | "message.failed" => panic!("{}", event.data),
                _ => {}
            }
        }
    }
    let (_, queues) = server.get("/api/queues").await;
    for queue in queues["queues"].as_array().unwrap() {
        for state in ["waiting", "retrying", "claimed"] {
            assert_eq!(queue[state], 0, "{queue}");
        }
    }
}

async fn nothing_is_lost_or_doubled(server: &Server, acked: &[Acked]) {
    let mut by_id: HashMap<_, _> = acked.iter().map(|a| (a.id.as_str(), a)).collect();
    let mut unanswered: BTreeSet<_> = acked.iter().filter(|a| a.asks).map(|a| a.id.as_str()).collect();
    assert_eq!(by_id.len(), acked.len());
    for room in ROOMS {
        let messages = server.all(room).await;
        assert!(messages.is_sorted_by(|a, b| a["position"].as_str() < b["position"].as_str()));
        for message in &messages {
            let id = message["id"].as_str().unwrap();
            match message["author"]["kind"].as_str().unwrap() {
                "human" => {
                    // Every client has its last acknowledgement, so nothing is here that was not acknowledged.
                    let acked = by_id.remove(id).unwrap_or_else(|| panic!("{message} is here twice"));
                    let status = if acked.asks { "answered" } else { "none" };
                    assert_eq!(
                        (&message["room"], &message["text"], &message["position"], &message["status"]),
                        (&json!(acked.room), &json!(acked.text), &json!(acked.position), &json!(status))
                    );
                }
                _ => {
                    let asked = message["reply_to"].as_str().unwrap();
                    assert!(unanswered.remove(asked), "{message} is a second answer, or nobody asked");
                }
            }
        }
    }
    assert!(by_id.is_empty(), "acknowledged and lost: {by_id:#?}");
    assert!(unanswered.is_empty(), "without an answer: {unanswered:#?}");
}

async fn a_repeated_post_finds_the_first(server: &Server, acked: &[Acked]) {
    for acked in acked.iter().step_by(7) {
        let to = if acked.asks { json!(["antiphon"]) } else { json!([]) };
        let message = body(&acked.text, json!({"id": acked.id, "to": to}));
        let (status, again) = server.send_json(&format!("/api/rooms/{}/messages", acked.room), &message).await;
        assert_eq!((status, again["position"].as_str()), (StatusCode::OK, Some(acked.position.as_str())));
    }
}

/// Each entry of the log speaks of a message, so the messages' timelines together are the log: 1, 2, 3 … to its end. Only the
/// notary's checkpoints, one in five minutes at most, are about none.
async fn every_position_belongs_to_a_message(server: &Server, acked: &[Acked]) {
    let (mut positions, mut cut_short) = (BTreeSet::new(), 0);
    for acked in acked {
        let (status, timeline) = server.get(&format!("/api/messages/{}/timeline", acked.id)).await;
        assert_eq!(status, StatusCode::OK, "{timeline}");
        let steps = timeline["steps"].as_array().unwrap();
        let events: Vec<_> = steps.iter().map(|step| step["event"].as_str().unwrap()).collect();
        assert_eq!(events[0], "message.posted", "{events:?}");
        let expected: &[_] = if acked.asks { &["reply.posted", "message.completed"] } else { &["message.posted"] };
        assert!(events.ends_with(expected), "{events:?}");
        let claims = events.iter().filter(|event| **event == "message.claimed").count();
        let releases = events.iter().filter(|event| **event == "message.released").count();
        assert_eq!(claims, releases + usize::from(acked.asks), "each claim ended once: {events:?}");
        cut_short += releases;
        let seqs: Vec<_> = steps.iter().map(|step| seq(step["position"].as_str().unwrap())).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
        seqs.into_iter().for_each(|seq| assert!(positions.insert(seq), "entry {seq} belongs to two messages"));
    }
    println!("{cut_short} attempts cut short by a crash");
    assert!(cut_short > 0 || !soak(), "no crash fell into an answer");
    let (_, queues) = server.get("/api/queues").await;
    let end = seq(queues["position"].as_str().unwrap());
    let (_, metrics) = server.get("/metrics").await;
    let checkpoints = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix(CHECKPOINTS)?.parse().ok());
    assert_eq!(end - positions.len() as u64, checkpoints.unwrap_or(0), "a gap in the positions");
    assert!(positions.last().is_some_and(|last| *last <= end), "beyond the end");
}

const CHECKPOINTS: &str = "antiphon_log_entries_total{kind=\"log.checkpoint\"} ";

fn seq(position: &str) -> u64 {
    position.rsplit('-').next().unwrap().parse().unwrap()
}

/// Stops the server, throws away what is folded, starts it again and compares everything it shows; and once more with
/// the snapshot and index that the last stop left.
async fn the_log_is_enough(server: Server, data: &Path) {
    let live = everything_shown(&server).await;
    assert!(server.terminate().success());
    std::fs::remove_dir_all(data.join("index")).unwrap();
    std::fs::remove_file(data.join("snapshot")).unwrap();
    let server = Server::start_with(data, &ARGUMENTS);
    assert_same(&live, &everything_shown(&server).await, "built from the log");
    assert!(server.terminate().success());
    assert!(data.join("snapshot").exists() || data.join("index").exists());
    let server = Server::start_with(data, &ARGUMENTS);
    assert_same(&live, &everything_shown(&server).await, "after a stop in order");
}

/// The lease's way out: a claim made by a process that is gone is given back when the next one starts, not later, and
/// does not count as an attempt.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_short_by_a_crash_is_given_by_the_next_process_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start_with(&data, &["--pace", "200"]);
    let mut events = server.events("lobby").await;
    let posted = server.post("lobby", "Will you get to the end of this?", json!({})).await;
    let id = posted["id"].as_str().unwrap();
    let (_, first) = events.until("reply.delta").await;
    server.kill();

    let server = Server::start(&data);
    let message = tokio::time::timeout(Duration::from_secs(5), server.until_status("lobby", id, "answered"));
    message.await.expect("the lease of 10 s is not waited for");
    let (_, timeline) = server.get(&format!("/api/messages/{id}/timeline")).await;
    let steps = timeline["steps"].as_array().unwrap();
    let of = |name: &str| steps.iter().filter(|s| s["event"] == name).map(|s| &s["data"]).collect::<Vec<_>>();
    assert_eq!(of("message.released").iter().map(|r| &r["reason"]).collect::<Vec<_>>(), ["restarted"]);
    let (claims, replies) = (of("message.claimed"), of("reply.posted"));
    assert_eq!((claims.len(), replies.len()), (2, 1));
    assert_eq!(claims[0]["reply_id"], first["reply_id"]);
    assert_eq!(replies[0]["id"], claims[1]["reply_id"], "the second attempt's, not the first one's");
    assert_ne!(claims[0]["reply_id"], claims[1]["reply_id"]);
}
