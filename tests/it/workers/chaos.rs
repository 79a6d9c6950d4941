//! Three worker processes that are killed with `kill -9`, stopped past their lease and continued, each behind proxies
//! that cut its connections in the middle of requests and answers and go dark: every message has one answer, none is
//! lost, and no room ever shows two voices.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    Worker, all_bots, remote,
    story::{Story, Words, never_two_voices},
};
use crate::{
    harness::{Dice, Server, assert_same, everything_shown, seed, soak},
    nodes::{
        Acked, BOTS, Place, all_there_once_and_answered_once, chaos::real_messages, send_until_acknowledged,
        until_answered,
    },
    proxy::{Cut, Proxy},
};

/// Workers do not give a message up because others of their kind were killed over it.
const SETTINGS: &str = "attempts_max = 100\nlease_ms = 1000\n";
/// Long enough that a stopped worker has lost what it held, and the next has begun.
const PAST_THE_LEASE: Duration = Duration::from_millis(1_500);

/// Three workers, each behind a proxy of its own for each server.
struct Fleet {
    dir: PathBuf,
    workers: Vec<Option<Worker>>,
    proxies: Vec<Vec<Proxy>>,
}

impl Fleet {
    async fn start(dir: PathBuf, servers: &[String], seed: u64) -> Fleet {
        let mut fleet = Fleet { dir, workers: Vec::new(), proxies: Vec::new() };
        for n in 0..3u64 {
            let mut proxies = Vec::new();
            for server in servers {
                let proxy = Proxy::to(server).await;
                let mut dice = Dice(seed ^ (100 * (n + 1)) ^ proxies.len() as u64);
                proxy.rough(move || match dice.below(4) {
                    0 => Cut { up: Some(dice.below(8_000)), down: None },
                    1 => Cut { up: None, down: Some(dice.below(8_000)) },
                    _ => Cut::default(),
                });
                proxies.push(proxy);
            }
            fleet.proxies.push(proxies);
            fleet.workers.push(None);
            fleet.begin(n as usize);
        }
        fleet
    }

    fn begin(&mut self, n: usize) {
        let servers: Vec<_> = self.proxies[n].iter().map(Proxy::address).collect();
        let bots = all_bots();
        let mut arguments = vec!["--slots", "4", "--pace", "2"];
        arguments.extend(bots.iter().map(String::as_str));
        self.workers[n] = Some(Worker::start(&self.dir, &format!("w{n}"), &servers.join(","), &arguments));
    }

    /// One of the things that happen to workers.
    async fn mishap(&mut self, dice: &mut Dice) -> &'static str {
        let n = dice.below(3) as usize;
        match dice.below(3) {
            0 => {
                self.workers[n] = None;
                tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
                self.begin(n);
                "kill -9"
            }
            1 => {
                let worker = self.workers[n].as_ref().unwrap();
                worker.signal("STOP");
                tokio::time::sleep(PAST_THE_LEASE).await;
                worker.signal("CONT");
                "SIGSTOP"
            }
            _ => {
                self.proxies[n].iter().for_each(|proxy| proxy.dark(true));
                // Some of these outlast a lease.
                tokio::time::sleep(Duration::from_millis(dice.below(2_000))).await;
                self.proxies[n].iter().for_each(|proxy| proxy.dark(false));
                "dark"
            }
        }
    }

    /// Nothing goes wrong any more.
    fn calm(&self) {
        self.proxies.iter().flatten().for_each(Proxy::calm);
    }

    fn cuts(&self) -> u64 {
        self.proxies.iter().flatten().map(Proxy::cuts).sum()
    }
}

/// People who post real messages to these servers until they are told that the last mishap was, and all is posted.
struct Crowd {
    clients: JoinSet<()>,
    acked: Arc<Mutex<Vec<Acked>>>,
    pace: tokio::sync::watch::Sender<Duration>,
}

impl Crowd {
    fn start(messages: Vec<(String, String)>, addresses: Vec<String>, pace: Duration, seed: u64) -> Crowd {
        let (messages, addresses) = (Arc::new(messages), Arc::new(addresses));
        let (next, acked) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let pace = tokio::sync::watch::Sender::new(pace);
        let mut clients = JoinSet::new();
        for client in 0..4u64 {
            let (messages, addresses) = (messages.clone(), addresses.clone());
            let (next, acked, pace) = (next.clone(), acked.clone(), pace.subscribe());
            clients.spawn(async move {
                let http = antiphon_bot::http_client();
                let mut dice = Dice(seed ^ (client + 1));
                while let Some((room, text)) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let post = Acked { room: room.clone(), id: dice.uuid().to_string(), text: text.clone() };
                    let (first, bot) = (dice.below(2) as usize, BOTS[dice.below(4) as usize]);
                    send_until_acknowledged(&http, &addresses, first, &post, bot).await;
                    acked.lock().unwrap().push(post);
                    let pace = *pace.borrow();
                    tokio::time::sleep(pace).await;
                }
            });
        }
        Crowd { clients, acked, pace }
    }

    /// Posts the rest at once; returns what was acknowledged.
    async fn end(mut self) -> Vec<Acked> {
        self.pace.send_replace(Duration::ZERO);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let acked = self.acked.lock().unwrap();
        acked.clone()
    }
}

/// How many calls of workers were refused because of what had become of their claims.
async fn refused(server: &Server) -> u64 {
    let (_, metrics) = server.get("/metrics").await;
    let lines = metrics.as_str().unwrap().lines();
    let refused = lines.filter(|line| {
        line.starts_with("antiphon_http_requests")
            && line.contains("/api/work/{id}/")
            && line.contains("status=\"409\"")
    });
    refused.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// The story of each room, by its name.
async fn stories(address: &str, messages: &[(String, String)]) -> BTreeMap<String, Story> {
    let rooms: BTreeSet<_> = messages.iter().map(|(room, _)| room.clone()).collect();
    let mut stories = BTreeMap::new();
    for room in rooms {
        let story = Story::follow(address, &room).await;
        stories.insert(room, story);
    }
    stories
}

/// Waits until the stories tell of every answer, and holds them to their promise.
async fn told_to_the_end(stories: &BTreeMap<String, Story>, acked: &[Acked], words: Words) {
    for post in acked {
        stories[&post.room].until(0, "message.completed", |data| data["message_id"] == post.id).await;
    }
    let answers: usize = stories.values().map(|story| never_two_voices(&story.all(), words)).sum();
    assert_eq!(answers, acked.len());
}

/// Messages, mishaps, and the pause of each of four clients between two posts, so that posts last as long as mishaps.
fn counts() -> (usize, usize, Duration) {
    if soak() { (2_000, 40, Duration::from_millis(100)) } else { (200, 8, Duration::from_millis(150)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_die_stall_and_are_cut_off_and_every_message_has_one_answer() {
    let (posts, mishaps, pace) = counts();
    let seed = seed();
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &remote(&BOTS, SETTINGS), &[]);
    let messages = real_messages(posts);
    let stories = stories(&server.address, &messages).await;
    let servers = [server.address.clone()];
    let mut fleet = Fleet::start(dir.path().to_owned(), &servers, seed).await;
    let crowd = Crowd::start(messages, servers.to_vec(), pace, seed);

    let mut happened = Vec::new();
    for _ in 0..mishaps {
        tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
        happened.push(fleet.mishap(&mut dice).await);
    }
    let acked = crowd.end().await;
    assert_eq!(acked.len(), posts);
    fleet.calm();
    until_answered(&server, &acked).await;
    all_there_once_and_answered_once(&server, &acked).await;
    told_to_the_end(&stories, &acked, Words::All).await;
    let (refused, cuts) = (refused(&server).await, fleet.cuts());
    println!("{posts} answered once; {happened:?}, {cuts} connections cut, {refused} calls refused");
    assert!(cuts > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_two_nodes_go_on_with_the_one_that_is_left() {
    let (posts, mishaps, pace) = counts();
    let seed = seed();
    let mut dice = Dice(seed);
    let place = Arc::new(Place::new(2, &[]));
    std::fs::write(place.dir.path().join("antiphon.toml"), remote(&BOTS, SETTINGS)).unwrap();
    let mut nodes = [Some(place.start(0)), Some(place.start(1))];
    let messages = real_messages(posts);
    let stories = stories(&place.addresses[0], &messages).await;
    let mut fleet = Fleet::start(place.dir.path().to_owned(), &place.addresses, seed).await;
    let crowd = Crowd::start(messages, place.addresses.clone(), pace, seed);

    let mut happened = Vec::new();
    for n in 0..mishaps {
        tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
        if n % 2 == 0 {
            happened.push(fleet.mishap(&mut dice).await);
            continue;
        }
        let who = dice.below(2) as usize;
        nodes[who] = None;
        tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
        let place = place.clone();
        nodes[who] = Some(tokio::task::spawn_blocking(move || place.start(who)).await.unwrap());
        happened.push("node");
    }
    let acked = crowd.end().await;
    assert_eq!(acked.len(), posts);
    fleet.calm();
    let [one, two] = nodes.map(Option::unwrap);
    for node in [&one, &two] {
        until_answered(node, &acked).await;
        all_there_once_and_answered_once(node, &acked).await;
    }
    place.lanes_are_empty();
    assert_same(&everything_shown(&one).await, &everything_shown(&two).await, "both nodes");
    told_to_the_end(&stories, &acked, Words::Some).await;
    println!("{posts} answered once; {happened:?}, {} connections cut", fleet.cuts());
}
