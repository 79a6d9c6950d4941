//! What Redis may answer instead of doing it. Posts go on as 202 and come in by themselves once it does it again: none
//! is lost, none is there twice, each has one answer.

use std::{
    fs,
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{
    Place,
    load::{Load, until_degraded, until_health},
};
use crate::{
    harness::{Dice, Server, body, seed, soak},
    redis::{Redis, Reply, free_port, until},
};

/// What an operator reads; the user of the log in it is the one of these tests.
const DOCS: &str = include_str!("../../../docs/redis.md");

/// Two nodes under load on one Redis.
struct Scene {
    place: Arc<Place>,
    nodes: [Server; 2],
    load: Load,
    posts: usize,
}

impl Scene {
    async fn new(place: Place) -> Scene {
        let nodes = [place.start(0), place.start(1)];
        let load = Load::start(&place);
        let posts = if soak() { 500 } else { 15 };
        load.goes_on(posts).await;
        Scene { place: Arc::new(place), nodes, load, posts }
    }

    /// From `no` on Redis refuses, and both nodes say why with `words`; from `yes` on it does not.
    async fn refused(&self, words: &str, no: impl FnOnce(&Redis), yes: impl FnOnce(&Redis)) {
        let parked = self.load.parked();
        no(&self.place.redis);
        for node in &self.nodes {
            until_degraded(node, words).await;
        }
        self.load.goes_on(self.posts).await;
        assert!(self.load.parked() > parked, "{words}: posts go to the outbox");
        yes(&self.place.redis);
        self.well().await;
    }

    async fn well(&self) {
        for node in &self.nodes {
            until_health(node, "connected").await;
        }
        self.load.goes_on(self.posts).await;
    }

    async fn ends_well(self) {
        self.load.ends_well(&self.place, &self.nodes).await;
    }
}

fn ok(redis: &Redis, command: &str) {
    let words: Vec<_> = command.split(' ').collect();
    assert_eq!(redis.command(&words), "OK", "{command}");
}

fn config(redis: &Redis, key: &str, value: &str) {
    assert_eq!(redis.command(&["CONFIG", "SET", key, value]), "OK", "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_memory() {
    let scene = Scene::new(Place::new(2, &["--pace", "0"])).await;
    let (full, room) =
        (|redis: &Redis| config(redis, "maxmemory", "1"), |redis: &Redis| config(redis, "maxmemory", "0"));
    scene.refused("its memory is full", full, room).await;
    scene.ends_well().await;
}

/// Of a master that is not there, so that it keeps its data: what a failover leaves of an old master for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_made_a_replica_and_a_master_again() {
    let scene = Scene::new(Place::new(2, &["--pace", "0"])).await;
    let nobody = format!("REPLICAOF 127.0.0.1 {}", free_port());
    scene.refused("is a replica", |redis| ok(redis, &nobody), |redis| ok(redis, "REPLICAOF NO ONE")).await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_replicas() {
    let scene = Scene::new(Place::new(2, &["--pace", "0"])).await;
    let few = |redis: &Redis| config(redis, "min-replicas-to-write", "1");
    scene.refused("has fewer replicas", few, |redis| config(redis, "min-replicas-to-write", "0")).await;
    scene.ends_well().await;
}

/// Goal: it answers LOADING for seconds. Method: many keys, and a delay for each that is loaded.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_loading_its_data() {
    // It looks for questions only now and then while it loads, unless told otherwise.
    let slow = [("key-load-delay", "4000"), ("loading-process-events-interval-bytes", "1024")];
    let scene = Scene::new(Place::with(&slow, 2, &["--pace", "0"])).await;
    let redis = &scene.place.redis;
    let ballast = "x".repeat(2_000);
    let mut client = redis.client();
    for n in 0..500 {
        assert_eq!(client.ask(&["SET", &format!("ballast:{n}"), &ballast]).unwrap(), Reply::Text("OK".into()));
    }
    // What was written since is loaded command by command; in one file it is quicker.
    redis.ask(&["BGREWRITEAOF"]);
    until("the file is rewritten", || {
        (redis.info("aof_rewrite_in_progress")? == "0" && redis.info("aof_rewrite_scheduled")? == "0").then_some(())
    });
    let (place, restarting) = (scene.place.clone(), OnceLock::new());
    let restart = |_: &Redis| restarting.set(spawn_blocking(move || place.redis.restart())).unwrap();
    scene.refused("is still loading its data", restart, |_| {}).await;
    restarting.into_inner().unwrap().await.unwrap();
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_a_script_that_does_not_end() {
    let scene = Scene::new(Place::new(2, &["--pace", "0"])).await;
    config(&scene.place.redis, "busy-reply-threshold", "50");
    let (place, running) = (scene.place.clone(), OnceLock::new());
    let run = |_: &Redis| {
        let script = move || place.redis.command(&["EVAL", "while true do end", "0"]);
        running.set(spawn_blocking(script)).unwrap();
    };
    scene.refused("is running a script that does not end", run, |redis| ok(redis, "SCRIPT KILL")).await;
    let ended = running.into_inner().unwrap().await.unwrap();
    assert!(ended.contains("killed by user"), "{ended}");
    scene.ends_well().await;
}

/// A folder under the name of its file lets a save fail, for root too.
#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_save_to_its_disk() {
    let scene = Scene::new(Place::new(2, &["--pace", "0"])).await;
    let file = scene.place.redis.dir().join("dump.rdb");
    let save = |redis: &Redis, wanted: &str| {
        redis.ask(&["BGSAVE"]);
        until("the save ends", || (redis.info("rdb_bgsave_in_progress")? == "0").then_some(()));
        assert_eq!(redis.info("rdb_last_bgsave_status").as_deref(), Some(wanted));
    };
    let broken = |redis: &Redis| {
        fs::create_dir(&file).unwrap();
        fs::write(file.join("in the way"), "").unwrap();
        config(redis, "save", "3600 1");
        save(redis, "err");
    };
    let mended = |redis: &Redis| {
        fs::remove_dir_all(&file).unwrap();
        save(redis, "ok");
    };
    scene.refused("cannot write to its disk", broken, mended).await;
    scene.ends_well().await;
}

/// A user of the log as the documentation has it.
fn user(redis: &Redis, password: &str) {
    let (_, rights) = DOCS.split_once("ACL SETUSER antiphon on >PASSWORD ").expect("the docs name them");
    let rights = rights.lines().next().unwrap();
    ok(redis, &format!("ACL SETUSER antiphon on >{password} {rights}"));
}

fn place_of_a_user() -> Place {
    let mut place = Place::new(2, &["--pace", "0"]);
    user(&place.redis, "secret");
    place.url = place.url.replace("redis://", "redis://antiphon:secret@");
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn its_user_loses_a_right_and_gets_it_back() {
    let scene = Scene::new(place_of_a_user()).await;
    // The whole script, its first write, the reader, all keys; and what is done to lanes in the middle of a script.
    for (lost, back) in [
        ("-evalsha", "+evalsha"),
        ("-xadd", "+xadd"),
        ("-xread", "+xread"),
        ("resetkeys", "~{antiphon:0}:*"),
        ("-xreadgroup", "+xreadgroup"),
    ] {
        println!("{lost}");
        let set = |rule: &str| format!("ACL SETUSER antiphon {rule}");
        let forbids = "its ACL forbids what the log needs";
        scene.refused(forbids, |redis| ok(redis, &set(lost)), |redis| ok(redis, &set(back))).await;
    }
    scene.ends_well().await;
}

/// The append is written, and the lane does not follow: it is built anew.
#[tokio::test(flavor = "multi_thread")]
async fn its_user_may_not_end_a_claim_on_a_lane_for_a_while() {
    let scene = Scene::new(place_of_a_user()).await;
    for right in ["xack", "xdel", "sadd", "xgroup"] {
        ok(&scene.place.redis, &format!("ACL SETUSER antiphon -{right}"));
        scene.load.goes_on(scene.posts).await;
        ok(&scene.place.redis, &format!("ACL SETUSER antiphon +{right}"));
        scene.well().await;
    }
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_password_is_changed_and_changed_back() {
    let scene = Scene::new(place_of_a_user()).await;
    let other = |redis: &Redis| {
        ok(redis, "ACL SETUSER antiphon resetpass >other");
        redis.ask(&["CLIENT", "KILL", "USER", "antiphon"]);
    };
    scene.refused("wants another password", other, |redis| user(redis, "secret")).await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_with_a_wrong_password_takes_posts_and_brings_them_in_with_the_right_one() {
    let mut place = place_of_a_user();
    let right = std::mem::replace(&mut place.url, place.redis.url().replace("redis://", "redis://antiphon:wrong@"));
    let node = place.start(0);
    until_degraded(&node, "wants another password").await;
    let message = body("Let me in", json!({"id": uuid::Uuid::new_v4(), "to": ["ada"]}));
    let (status, parked) = node.send_json("/api/rooms/lobby/messages", &message).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{parked}");
    assert!(node.terminate().success());
    place.url = right;
    let node = place.start(0);
    let found = node.until_status("lobby", parked["id"].as_str().unwrap(), "answered").await;
    assert_eq!(found["text"], message["text"]);
    let (_, messages) = node.get("/api/rooms/lobby/messages").await;
    assert_eq!(messages["messages"].as_array().unwrap().len(), 2, "{messages}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_forgets_the_scripts_and_nobody_notices() {
    let scene = Scene::new(Place::new(2, &["--pace", "0"])).await;
    let mut watching = [scene.nodes[0].events("room-0").await, scene.nodes[1].events("room-1").await];
    for _ in 0..if soak() { 200 } else { 10 } {
        ok(&scene.place.redis, "SCRIPT FLUSH");
        // Both nodes have sent them again by then.
        scene.load.goes_on(20).await;
    }
    assert_eq!(scene.load.parked(), 0);
    for (n, events) in watching.iter_mut().enumerate() {
        let posted = scene.nodes[n].post(&format!("room-{n}"), "the last", json!({"to": []})).await;
        loop {
            let event = events.next().await;
            assert_ne!(event.name, "state", "{}", event.data);
            if event.name == "message.posted" && event.data.contains(posted["id"].as_str().unwrap()) {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_are_killed_again_and_again() {
    let mut dice = Dice(seed());
    let scene = Scene::new(Place::new(2, &["--pace", "0"])).await;
    for _ in 0..if soak() { 100 } else { 10 } {
        scene.place.redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        // In whatever step of beginning again they are.
        tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
        scene.load.goes_on(2).await;
    }
    scene.well().await;
    scene.ends_well().await;
}
