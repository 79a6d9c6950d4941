//! A load of posts that want answers, what a node says of its store meanwhile, and what must hold afterwards.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::Value;
use tokio::sync::watch;

use super::{Acked, BOTS, Place, Store, all_there_once_and_answered_once, send_until_acknowledged, until_answered};
use crate::harness::{PATIENCE, Server};

/// Waits until `/health/ready` says this state.
pub(super) async fn until_health(server: &Server, state: &str) -> Value {
    until_says(server, state, |health| health["state"] == state).await
}

/// Waits until a node says that it is degraded for a reason with these words.
pub(super) async fn until_degraded(server: &Server, words: &str) -> Value {
    let says = |health: &Value| {
        health["state"] == "degraded" && health["reason"].as_str().is_some_and(|reason| reason.contains(words))
    };
    until_says(server, words, says).await
}

/// Waits until `/health/ready` is as wanted.
async fn until_says(server: &Server, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let looking = async {
        loop {
            let (status, health) = server.get("/health/ready").await;
            assert_eq!(status == StatusCode::OK, health["status"] == "ready", "{health}");
            if wanted(&health) {
                return health;
            }
            last = health;
            // Asked as a load balancer asks: again and again.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.unwrap_or_else(|_| panic!("never `{what}`: {last}"))
}

/// Clients that post to both nodes, one message after the other, until told to stop.
pub(super) struct Load {
    stop: watch::Sender<bool>,
    clients: tokio::task::JoinSet<()>,
    acked: Arc<Mutex<Vec<Acked>>>,
    /// How many were answered 202.
    parked: Arc<Mutex<u64>>,
}

impl Load {
    pub(super) fn start<S: Store>(place: &Place<S>) -> Load {
        let (stop, acked, parked) =
            (watch::Sender::new(false), Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..4usize {
            let (stop, acked, parked, addresses) =
                (stop.subscribe(), acked.clone(), parked.clone(), place.addresses.clone());
            clients.spawn(async move {
                let http = antiphon_bot::http_client();
                for n in 0.. {
                    if *stop.borrow() {
                        return;
                    }
                    let (id, text) = (uuid::Uuid::new_v4().to_string(), format!("{n:06} of client {client}"));
                    let post = Acked { room: format!("room-{client}"), id, text };
                    // Each client stays with one node: order is per node.
                    let own = &addresses[client % addresses.len()..][..1];
                    let status = send_until_acknowledged(&http, own, 0, &post, BOTS[client]).await;
                    *parked.lock().unwrap() += u64::from(status == StatusCode::ACCEPTED);
                    acked.lock().unwrap().push(post);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
        Load { stop, clients, acked, parked }
    }

    fn acked(&self) -> usize {
        self.acked.lock().unwrap().len()
    }

    /// How many posts were answered 202 so far.
    pub(super) fn parked(&self) -> u64 {
        *self.parked.lock().unwrap()
    }

    /// Waits until so many more posts were acknowledged, however slow the machine is: they have stopped when none is for
    /// [`PATIENCE`].
    pub(super) async fn goes_on(&self, more: usize) {
        let (mut before, mut since) = (self.acked(), Instant::now());
        let until = before + more;
        while before < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let acked = self.acked();
            if acked > before {
                (before, since) = (acked, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "posts go on; {} more were wanted", until - acked);
        }
    }

    /// Ends it, and holds these nodes to the promise: every acknowledged post is there once, in the order in which its
    /// client sent it, and has one answer; nothing is left in an outbox or on a lane.
    pub(super) async fn ends_well<S: Store>(self, place: &Place<S>, nodes: &[Server]) {
        let parked = self.parked();
        let acked = self.end().await;
        println!("{} posts acknowledged, {parked} of them by an outbox", acked.len());
        for node in nodes {
            until_brought(node).await;
            until_answered(node, &acked).await;
            all_there_once_and_answered_once(node, &acked).await;
            in_order(node).await;
        }
        place.lanes_are_empty();
    }

    async fn end(mut self) -> Vec<Acked> {
        self.stop.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let acked = self.acked.lock().unwrap();
        acked.clone()
    }
}

/// Waits until a node is connected and has nothing left in its outbox.
async fn until_brought(server: &Server) {
    until_says(server, "connected, with nothing parked", |health| {
        health["state"] == "connected" && health["parked"] == 0
    })
    .await;
}

/// Each client's posts stand in the order in which it sent them.
async fn in_order(server: &Server) {
    for room in 0..4 {
        let messages = server.all(&format!("room-{room}")).await;
        let texts: Vec<_> =
            messages.iter().filter(|m| m["author"]["kind"] == "human").map(|m| m["text"].as_str().unwrap()).collect();
        assert!(texts.is_sorted(), "{texts:#?}");
    }
}
