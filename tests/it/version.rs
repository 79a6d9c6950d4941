//! What version 0.1.0 left behind opens: every message, status, position and cursor as it was told then, and the keys.
//!
//! `tests/data/version-0.1.0/README.md` says what is in the folders and how they were made. They are kept for ever.

use std::{fs::File, path::Path};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::{
    harness::{Events, Server, antiphon},
    redis::Redis,
};

/// What was left behind, unpacked.
struct Left {
    dir: tempfile::TempDir,
    name: &'static str,
    /// What the server told then.
    told: Value,
}

impl Left {
    fn unpack(name: &'static str) -> Left {
        let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/version-0.1.0/{name}.tgz"));
        let dir = tempfile::tempdir().unwrap();
        tar::Archive::new(GzDecoder::new(File::open(packed).unwrap())).unpack(dir.path()).unwrap();
        let told = std::fs::read_to_string(dir.path().join(name).join("expect.json")).unwrap();
        Left { name, told: serde_json::from_str(&told).unwrap(), dir }
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.dir.path().join(self.name).join(file)
    }

    fn start(&self, arguments: &[&str]) -> Server {
        let config = self.path("antiphon.toml");
        // The longest that may be set: the questions that wait are as old as version 0.1.0.
        let settings = ["--config", config.to_str().unwrap(), "--max-age-s", "31536000"];
        Server::start_with(&self.path("data"), &[&settings, arguments].concat())
    }

    fn key(&self, worker: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{worker}.key"))).unwrap()
    }

    /// The rooms by name, with their messages and events.
    fn rooms(&self) -> impl Iterator<Item = (&str, &Vec<Value>, &Vec<Value>)> {
        let rooms = self.told["rooms"].as_object().unwrap().iter();
        rooms.map(|(room, told)| (&**room, told["messages"].as_array().unwrap(), told["events"].as_array().unwrap()))
    }

    /// Asserts that all of it is as it was told; `replay` finds the log with `log`.
    async fn is_as_it_was(&self, server: &Server, log: &[&str]) {
        for (room, messages, events) in self.rooms() {
            let now = server.all(room).await;
            assert!(now.len() >= messages.len(), "{room}: {} messages of {}", now.len(), messages.len());
            messages.iter().zip(&now).for_each(|(told, now)| message_is_as_told(told, now));
            self.resumes(server, room, events).await;
        }
        let (_, keys) = server.get("/api/keys").await;
        is_as_told(&self.told["keys"], &keys["keys"]);
        let verified = antiphon().args(["replay", "verify", "--json", "--log"]).args(log).output().unwrap();
        let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!((verified.status.code(), &report["findings"], &report["erased"]), (Some(0), &json!([]), &json!(2)));
        assert!(report["signed"].as_u64().unwrap() > 100 && report["checkpoints"].as_u64().unwrap() > 1, "{report}");
    }

    /// Asserts that whoever held a cursor then hears what came after it, and no `reset`.
    async fn resumes(&self, server: &Server, room: &str, events: &[Value]) {
        for from in [0, events.len() / 2, events.len() - 2] {
            let cursor = events[from]["id"].as_str().unwrap();
            let mut stream = Events::open(server, room, Some(cursor)).await;
            for told in &events[from + 1..] {
                let mut now = stream.next().await;
                while now.id.as_deref() == Some(cursor) && now.name != "reset" {
                    // Says where the stream stands, at the cursor that was given.
                    now = stream.next().await;
                }
                assert_eq!(
                    (Some(&*now.name), now.id.as_deref()),
                    (told["event"].as_str(), told["id"].as_str()),
                    "{told}"
                );
                is_as_told(&told["data"], &serde_json::from_str(&now.data).unwrap());
            }
        }
    }

    /// Asserts that the key that was good claims what waits, and ends it, and that the one that was revoked does not.
    async fn keys_are_as_they_were(&self, server: &Server) {
        let call = |key: String, path: String, body: Value| {
            let request = server.client().post(server.url(&format!("/api/work/{path}"))).json(&body);
            server.ask(request.header("authorization", format!("Bearer {key}")))
        };
        let wish = |worker: &str| json!({"worker": worker, "bots": ["far"], "claim_key": "again", "wait_ms": 30_000});
        let refused = call(self.key("old-box"), "claim".into(), wish("old-box")).await;
        assert_eq!(refused.status, 401, "{}", refused.body);
        let asked = server.post("lobby", "Is anybody still there?", json!({"to": ["far"], "priority": 9})).await;
        let claimed = call(self.key("gpu-box"), "claim".into(), wish("gpu-box/3")).await;
        assert_eq!((claimed.status, &claimed.body["message"]["id"]), (200, &asked["id"]), "{}", claimed.body);
        let end = json!({"fence": claimed.body["fence"], "text": "Still here.", "finish": "stop"});
        let id = asked["id"].as_str().unwrap();
        let ended = call(self.key("gpu-box"), format!("{id}/complete"), end).await;
        assert_eq!(ended.status, 200, "{}", ended.body);
        server.until_status("lobby", id, "answered").await;
    }
}

/// Asserts that a message is as it was; what waited then may have gone on.
#[track_caller]
fn message_is_as_told(told: &Value, now: &Value) {
    let open = |status: &str| ["waiting", "claimed"].contains(&status);
    if told["status"].as_str().is_none_or(|status| !open(status)) {
        return is_as_told(told, now);
    }
    let mut as_now = told.clone();
    as_now["status"] = now["status"].clone();
    assert!(["waiting", "claimed", "dead"].contains(&now["status"].as_str().unwrap()), "{told} is {now}");
    is_as_told(&as_now, now);
}

/// Asserts that everything told then is told now; later versions may add fields.
#[track_caller]
fn is_as_told(told: &Value, now: &Value) {
    match (told, now) {
        (Value::Object(fields), Value::Object(_)) => {
            fields.iter().for_each(|(name, told)| is_as_told(told, &now[name]));
        }
        (Value::Array(told), Value::Array(now)) => {
            assert_eq!(told.len(), now.len(), "{told:?} is {now:?}");
            told.iter().zip(now).for_each(|(told, now)| is_as_told(told, now));
        }
        _ => assert_eq!(told, now),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_of_version_0_1_0_opens_with_everything_as_it_was() {
    let left = Left::unpack("file");
    let data = left.path("data");
    let log = [data.to_str().unwrap()];
    let server = left.start(&[]);
    left.is_as_it_was(&server, &log).await;
    left.keys_are_as_they_were(&server).await;
    assert!(server.terminate().success());
    // And again, from what this version has written.
    let server = left.start(&[]);
    left.is_as_it_was(&server, &log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_dump_and_a_nodes_folder_of_version_0_1_0_open_with_everything_as_it_was() {
    let left = Left::unpack("redis");
    let redis = Redis::with(&left.path("redis"), &[]);
    let (url, checkpoints) = (redis.url(), left.path("data/redis/checkpoints"));
    let log = [&url, "--checkpoints", checkpoints.to_str().unwrap()];
    let arguments = ["--log", &url, "--node", "a"];
    let server = left.start(&arguments);
    left.is_as_it_was(&server, &log).await;
    left.keys_are_as_they_were(&server).await;
    assert!(server.terminate().success());
    let server = left.start(&arguments);
    left.is_as_it_was(&server, &log).await;
}
