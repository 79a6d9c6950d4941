//! Workers' keys through the real binary: made, listed, revoked; over restarts, and on two nodes at once.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    harness::{PATIENCE, Server, antiphon},
    redis::{Redis, free_port},
};

const BOTS: &str = "[[bots]]\nname = \"helper\"\nmodel = \"builtin\"\n[[bots]]\nname = \"echo\"\nmodel = \"builtin\"\n";

/// Runs `antiphon key` against a server: exit code, stdout, stderr.
fn key(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let out = antiphon().arg("key").args(arguments).args(["--server", &server.url("")]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// Makes a key; returns its id and the secret.
fn create(server: &Server, worker: &str, bots: &str) -> (String, String) {
    let (code, out, err) = key(server, &["create", "--worker", worker, "--bots", bots]);
    assert_eq!(code, 0, "{err}");
    let secret = out.strip_suffix('\n').unwrap();
    assert!(secret.len() == 67 && secret.starts_with("ak_") && !secret.contains('\n'), "{out}");
    assert!(!err.contains(secret) && err.contains("antiphon key revoke") && err.contains(worker), "{err}");
    let id = listed(server).pop().unwrap()["id"].as_str().unwrap().to_owned();
    assert!(err.contains(&id), "{err}");
    (id, secret.to_owned())
}

fn listed(server: &Server) -> Vec<Value> {
    let (code, out, err) = key(server, &["list", "--json"]);
    assert_eq!((code, out.lines().count()), (0, 1), "{err}");
    serde_json::from_str::<Value>(&out).unwrap()["keys"].as_array().unwrap().clone()
}

fn ids(server: &Server) -> Vec<String> {
    listed(server).iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

fn revoke(server: &Server, id: &str) {
    let (code, out, err) = key(server, &["revoke", id]);
    assert_eq!((code, out, err), (0, format!("revoked key {id}\n"), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_lists_and_revokes_keys() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), BOTS, &[]);
    let (code, out, err) = key(&server, &["list"]);
    assert!(
        (code, out.as_str()) == (0, "") && err.contains("no keys") && err.contains("antiphon key create"),
        "{out}{err}"
    );
    let (gpu, secret) = create(&server, "gpu-box", "helper,echo");
    let (laptop, other) = create(&server, "laptop", "echo");
    assert_ne!(secret, other);

    let (_, table, _) = key(&server, &["list"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "WORKER", "BOTS", "CREATED"]);
    assert_eq!((rows[1][..3].to_vec(), rows[1].len()), (vec![gpu.as_str(), "gpu-box", "helper,echo"], 4));
    assert_eq!((rows[2][..3].to_vec(), rows.len()), (vec![laptop.as_str(), "laptop", "echo"], 3));

    revoke(&server, &gpu);
    assert_eq!(ids(&server), [laptop]);
    // The same again is no mistake; a key that never was is one.
    revoke(&server, &gpu);
    let fails = |arguments: &[&str], words: &[&str]| {
        let (code, out, err) = key(&server, arguments);
        assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{arguments:?}: {err}");
        assert!(words.iter().all(|word| err.contains(word)), "{arguments:?}: {err}");
    };
    fails(&["revoke", "0123456789ab"], &["no-such-key", "0123456789ab"]);
    fails(&["create", "--worker", "w", "--bots", "echo,hepler"], &["unknown-bot", "`hepler`", "`helper`, `echo`"]);
    fails(&["create", "--worker", "a/b", "--bots", "echo"], &["bad-worker"]);
    let (code, _, err) = key(&server, &["create", "--worker", "w"]);
    assert!(code == 2 && err.contains("--bots"), "{err}");
}

/// What stands in the folder, in all files.
fn holds(folder: &Path, words: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, words);
        }
        std::fs::read(&path).unwrap().windows(words.len()).any(|window| window == words.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_revocations_survive_a_kill_and_the_disk_never_has_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), BOTS, &[]);
    let (gpu, secret) = create(&server, "gpu-box", "helper,echo");
    let (laptop, _) = create(&server, "laptop", "echo");
    let before = listed(&server);
    server.kill();

    // Once from the log alone, once with the snapshot of a clean end.
    let server = Server::configured(dir.path(), BOTS, &[]);
    assert_eq!(listed(&server), before);
    revoke(&server, &gpu);
    assert!(server.terminate().success());
    let server = Server::configured(dir.path(), BOTS, &[]);
    assert_eq!(ids(&server), std::slice::from_ref(&laptop));
    revoke(&server, &laptop);
    server.kill();
    let server = Server::configured(dir.path(), BOTS, &[]);
    assert_eq!(ids(&server), Vec::<String>::new());
    let (_, metrics) = server.get("/metrics").await;
    let counted = |kind: &str| metrics.as_str().unwrap().lines().find(|line| line.contains(kind)).map(str::to_owned);
    assert!(counted("key.created").is_some_and(|line| line.ends_with(" 2")), "{metrics}");
    assert!(counted("key.revoked").is_some_and(|line| line.ends_with(" 2")), "{metrics}");
    assert!(server.terminate().success());

    let data = dir.path().join("data");
    assert!(holds(&data, &gpu) && holds(&data, "gpu-box"), "an auditor finds it in the log");
    assert!(!holds(&data, &secret) && !holds(&data, &secret[3..]), "and not the key itself");
}

/// Asks a node for the keys until it shows these.
async fn until_ids(server: &Server, wanted: &[&str]) {
    let shown = async {
        while server.get("/api/keys").await.1["keys"]
            .as_array()
            .is_none_or(|keys| keys.iter().map(|key| key["id"].as_str().unwrap()).ne(wanted.iter().copied()))
        {
            // Nobody is there to say when another node's entry has come.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.expect("the keys within a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_on_one_node_is_good_on_the_other_and_revoked_there_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("redis");
    std::fs::create_dir(&data).unwrap();
    let redis = Redis::with(&data, &[("appendonly", "yes"), ("appendfsync", "always")]);
    let config = dir.path().join("antiphon.toml");
    std::fs::write(&config, BOTS).unwrap();
    let url = redis.url();
    let start = |name: &str, listen: &str| {
        let arguments = ["--log", &url, "--node", name, "--listen", listen, "--config", config.to_str().unwrap()];
        Server::start_with(&dir.path().join(name), &arguments)
    };
    let address = format!("127.0.0.1:{}", free_port());
    let (one, two) = (start("one", &address), start("two", "127.0.0.1:0"));
    let (gpu, _) = create(&one, "gpu-box", "helper,echo");
    until_ids(&two, &[&gpu]).await;
    assert_eq!(listed(&one), listed(&two));
    revoke(&two, &gpu);
    until_ids(&one, &[]).await;
    let (laptop, _) = create(&two, "laptop", "echo");
    until_ids(&one, &[&laptop]).await;

    // A node that comes back without the store does not know which keys are good, and says so.
    one.kill();
    redis.kill();
    let one = start("one", &address);
    let answer = one.ask(one.client().get(one.url("/api/keys"))).await;
    answer.refused("without the store", 503, "log-away");
    let body = json!({"worker": "gpu-box", "bots": ["echo"]});
    one.ask(one.client().post(one.url("/api/keys")).json(&body)).await.refused("without the store", 503, "log-away");
    redis.restart();
    until_ids(&one, &[&laptop]).await;
    until_ids(&two, &[&laptop]).await;
}
