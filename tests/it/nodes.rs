//! Several nodes on one Redis, Redis Cluster or master with Sentinels: the real binary, real servers, real SIGKILL and
//! SIGSTOP.
//!
//! Each test starts its own servers and its own nodes and ends exactly those.

mod answers;
mod away;
pub(crate) mod chaos;
mod cluster;
mod load;
mod names;
mod others;
mod pauses;
mod sentinel;
mod together;

use std::{collections::BTreeMap, path::PathBuf};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::{
    harness::{PATIENCE, Server, body},
    redis::{Cluster, Redis, Reply, Sentinels, free_port},
};

/// The bots of every node.
pub(crate) const BOTS: [&str; 4] = ["ada", "bob", "cyd", "dot"];

/// What a log is in.
pub(crate) trait Store {
    /// Its address for a node.
    fn url(&self) -> String;
    /// The server that has the log's keys now.
    fn holder(&self) -> &Redis;
}

impl Store for Redis {
    fn url(&self) -> String {
        Redis::url(self)
    }

    fn holder(&self) -> &Redis {
        self
    }
}

impl Store for Cluster {
    fn url(&self) -> String {
        Cluster::url(self)
    }

    fn holder(&self) -> &Redis {
        &self.nodes()[self.owner(LOG)]
    }
}

impl Store for Sentinels {
    fn url(&self) -> String {
        Sentinels::url(self)
    }

    fn holder(&self) -> &Redis {
        self.master()
    }
}

/// The key of the log.
const LOG: &str = "{antiphon:0}:log";
/// Settings of a server that has everything on disk before it answers.
const DURABLE: [(&str, &str); 2] = [("appendonly", "yes"), ("appendfsync", "always")];

/// A place for nodes on one store: where they listen and what they keep stays the same over restarts.
pub(crate) struct Place<S: Store = Redis> {
    pub(crate) dir: tempfile::TempDir,
    redis: S,
    /// Where the nodes find the log.
    url: String,
    pub(crate) addresses: Vec<String>,
    arguments: Vec<String>,
}

impl Place {
    /// A durable Redis, and addresses for so many nodes.
    pub(crate) fn new(nodes: usize, arguments: &[&str]) -> Place {
        Place::with(&[], nodes, arguments)
    }

    /// As [`Place::new`], with further settings of `redis.conf`.
    fn with(settings: &[(&str, &str)], nodes: usize, arguments: &[&str]) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("redis-data");
        std::fs::create_dir(&data).unwrap();
        let redis = Redis::with(&data, &[&DURABLE, settings].concat());
        Place::in_dir(dir, redis, nodes, arguments)
    }
}

impl<S: Store> Place<S> {
    /// Addresses for so many nodes on this store.
    fn on(store: S, nodes: usize, arguments: &[&str]) -> Place<S> {
        Place::in_dir(tempfile::tempdir().unwrap(), store, nodes, arguments)
    }

    fn in_dir(dir: tempfile::TempDir, redis: S, nodes: usize, arguments: &[&str]) -> Place<S> {
        let bots =
            BOTS.map(|bot| format!("[[bots]]\nname = \"{bot}\"\nmodel = \"builtin\"\nanswers = \"addressed\"\n"));
        std::fs::write(dir.path().join("antiphon.toml"), bots.concat()).unwrap();
        let addresses = (0..nodes).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        let url = redis.url();
        Place { dir, redis, url, addresses, arguments }
    }

    fn data(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }

    /// Starts a node, again or for the first time.
    pub(crate) fn start(&self, node: usize) -> Server {
        self.start_named(node, &format!("n{node}"))
    }

    /// As [`Place::start`], under this name.
    fn start_named(&self, node: usize, name: &str) -> Server {
        let config = self.dir.path().join("antiphon.toml");
        let address = self.addresses.get(node).map_or("127.0.0.1:0", String::as_str);
        let mut arguments = vec!["--log", &self.url, "--node", name, "--listen", address];
        arguments.extend(["--config", config.to_str().unwrap()]);
        arguments.extend(self.arguments.iter().map(String::as_str));
        Server::start_with(&self.data(node), &arguments)
    }

    /// What stands on the lanes, taken or not, as any Redis tool sees it.
    fn on_lanes(&self) -> BTreeMap<String, (String, String)> {
        let redis = self.redis.holder();
        let Reply::List(lanes) = redis.ask(&["SMEMBERS", "{antiphon:0}:lanes"]) else { panic!("no list of lanes") };
        let lanes = lanes.iter().map(|name| {
            let name = name.to_string();
            let key = if name.starts_with('{') { name.clone() } else { format!("{{antiphon:0}}:work:{name}") };
            let standing = redis.command(&["XLEN", &key]);
            let pending = redis.command(&["XPENDING", &key, "workers"]);
            (name, (standing, pending.lines().next().unwrap_or_default().to_owned()))
        });
        lanes.collect()
    }

    pub(crate) fn lanes_are_empty(&self) {
        let lanes = self.on_lanes();
        assert!(!lanes.is_empty(), "the bots had work");
        for (lane, (standing, pending)) in lanes {
            assert_eq!((standing.as_str(), pending.as_str()), ("0", "0"), "{lane}");
        }
    }
}

/// What became of a post that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acked {
    pub(crate) room: String,
    pub(crate) id: String,
    pub(crate) text: String,
}

/// Sends a post to one of these addresses after the other until it is acknowledged; returns the status.
pub(crate) async fn send_until_acknowledged(
    http: &Client,
    addresses: &[String],
    first: usize,
    acked: &Acked,
    bot: &str,
) -> StatusCode {
    let message = body(&acked.text, json!({"id": acked.id, "to": [bot]}));
    let sending = async {
        for n in first.. {
            let address = &addresses[n % addresses.len()];
            let url = format!("http://{address}/api/rooms/{}/messages", acked.room);
            if let Ok(response) = http.post(url).json(&message).timeout(PATIENCE).send().await {
                let status = response.status();
                let answer = response.text().await.unwrap_or_default();
                match status {
                    StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => return status,
                    StatusCode::SERVICE_UNAVAILABLE => {}
                    _ => panic!("{status} {answer}"),
                }
            }
            // Nobody is there to say when the killed one is back.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        unreachable!("it goes on for ever")
    };
    tokio::time::timeout(PATIENCE, sending).await.expect("somebody takes a post within a minute")
}

/// Waits until every one of these posts has its answer on this node.
pub(crate) async fn until_answered(server: &Server, acked: &[Acked]) {
    let mut rooms: BTreeMap<&str, std::collections::BTreeSet<&str>> = BTreeMap::new();
    for post in acked {
        rooms.entry(&post.room).or_default().insert(&post.id);
    }
    for (room, mut open) in rooms {
        let mut events = crate::harness::Events::open(server, room, Some("0")).await;
        let mut ended = 0;
        while !open.is_empty() {
            let Ok(next) = tokio::time::timeout(PATIENCE / 2, events.try_next()).await else {
                let one = acked.iter().find(|post| open.contains(post.id.as_str())).expect("it is one of them");
                let (_, message) = server.get(&format!("/api/messages/{}", one.id)).await;
                panic!("nothing happens, and {} posts of {room} have no answer, as {one:?}: {message}", open.len())
            };
            let Some(event) = next else {
                // A node that cannot read the log now ends the stream; whoever follows comes back, as a browser does.
                ended += 1;
                assert!(ended < 600, "the stream of {room} ends again and again");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                events = crate::harness::Events::open(server, room, Some("0")).await;
                continue;
            };
            let data: Value = serde_json::from_str(&event.data).unwrap();
            match event.name.as_str() {
                "message.completed" => drop(open.remove(data["message_id"].as_str().unwrap())),
                "message.dead" => panic!("{}", event.data),
                // What came before the end of another epoch.
                "snapshot" => {
                    for message in data["messages"].as_array().unwrap() {
                        if message["status"] == "answered" {
                            open.remove(message["id"].as_str().unwrap());
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// Every acknowledged post is there once, in its words, and has exactly one answer; nothing else is there.
pub(crate) async fn all_there_once_and_answered_once(server: &Server, acked: &[Acked]) {
    let mut expected: BTreeMap<&str, &Acked> = acked.iter().map(|a| (a.id.as_str(), a)).collect();
    let mut unanswered: std::collections::BTreeSet<&str> = expected.keys().copied().collect();
    assert_eq!(expected.len(), acked.len());
    let rooms: std::collections::BTreeSet<_> = acked.iter().map(|a| a.room.as_str()).collect();
    for room in rooms {
        let messages = server.all(room).await;
        assert!(messages.is_sorted_by(|a, b| a["position"].as_str() < b["position"].as_str()));
        for message in &messages {
            let id = message["id"].as_str().unwrap();
            if message["author"]["kind"] == "human" {
                let acked =
                    expected.remove(id).unwrap_or_else(|| panic!("{message} is here twice, or not acknowledged"));
                assert_eq!((&message["room"], &message["text"]), (&json!(acked.room), &json!(acked.text)));
                assert_eq!(message["status"], "answered", "{message}");
            } else {
                let asked = message["reply_to"].as_str().unwrap();
                assert!(unanswered.remove(asked), "{message} is a second answer, or nobody asked");
            }
        }
    }
    assert!(expected.is_empty(), "acknowledged and lost: {expected:#?}");
    assert!(unanswered.is_empty(), "without an answer: {unanswered:#?}");
}
