//! `antiphon replay erase`: what it lists, what it asks, what it takes out of the log, and that every proof stays valid.

use std::{
    path::Path,
    process::{Command, Output},
};

use antiphon_bot::fake::{Fake, Step};
use serde_json::{Value, json};

use crate::harness::{Server, antiphon, fake_settings};

fn replay(server: &Server, data: &Path, arguments: &[&str]) -> Output {
    let mut command: Command = antiphon();
    command.arg("replay").args(arguments).arg("--log").arg(data).env("ANTIPHON_SERVER", server.url(""));
    command.output().unwrap()
}

fn erase(server: &Server, data: &Path, arguments: &[&str]) -> (i32, String, String) {
    let out = replay(server, data, &[&["erase"], arguments].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

fn positions(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|found| found["position"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_lists_every_place_and_then_it_is_erased_and_certified_and_every_proof_is_valid() {
    let fake = Fake::answering("fake", |_| Step::answer(&["so you ", "like cheese"])).await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), ""), &[]);
    let data = dir.path().join("data");
    let zoe = json!({"author": {"name": "Zoë"}});
    let first = server.post("lobby", "I like cheese", zoe.clone()).await;
    server.until_status("lobby", first["id"].as_str().unwrap(), "answered").await;
    let quiet = json!({"author": {"name": "Zoë"}, "to": []});
    server.post("attic", "and mice", quiet).await;
    let other = server.post("lobby", "what does she like?", json!({})).await;
    server.until_status("lobby", other["id"].as_str().unwrap(), "answered").await;
    let before = replay(&server, &data, &["cat", "--json"]);
    let before = String::from_utf8(before.stdout).unwrap();
    assert!(before.contains("cheese") && before.contains("Zoë"));

    // The first post, its claim, its answer, its end; the second post; the other's four.
    let (code, out, _) = erase(&server, &data, &["--author", "Zoë", "--dry-run", "--json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, positions(&found["texts"])), (0, vec![1, 5]), "{found}");
    assert_eq!((positions(&found["prompts"]), positions(&found["answers"])), (vec![8], vec![3]), "{found}");
    let place = found["texts"][0]["place"].as_str().unwrap();
    assert!(place.contains("0000000000000001.seg` at byte 512"), "{place}");
    let (code, out, _) = erase(&server, &data, &["--author", "Zoë", "--dry-run", "--with-replies"]);
    for words in ["3 entries hold", "reply.posted", "in the prompt of", "backups", "in its recent views now: 3"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert_eq!((code, out.contains("answered by")), (0, false), "the answer is among the texts: {out}");
    let (code, _, why) = erase(&server, &data, &["--author", "Zoë"]);
    assert_eq!((code, why.contains("--yes")), (2, true), "nobody is there to ask: {why}");
    assert_eq!(
        String::from_utf8(replay(&server, &data, &["cat", "--json"]).stdout).unwrap(),
        before,
        "nothing has changed"
    );

    let (code, out, why) = erase(&server, &data, &["--author", "Zoë", "--with-replies", "--yes"]);
    assert_eq!(code, 0, "{out}{why}");
    assert!(
        out.contains("Erased from") && out.matches("as before").count() == 3 && out.contains(", by entry "),
        "{out}"
    );
    let after = String::from_utf8(replay(&server, &data, &["cat", "--json"]).stdout).unwrap();
    assert!(!after.contains("I like cheese") && !after.contains("Zoë") && !after.contains("mice"), "{after}");
    for command in ["verify", "diff"] {
        let out = replay(&server, &data, &[command]);
        assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stdout));
    }

    // The same again has nothing to do; by its name an author whose texts are gone is not found any more.
    let id = first["id"].as_str().unwrap();
    let (code, out, _) = erase(&server, &data, &["--message", id, "--yes"]);
    assert!(code == 0 && out.contains("erased already"), "{out}");
    assert_eq!(erase(&server, &data, &["--author", "Zoë", "--yes"]).0, 1);
    let nobody = "0195f7a2-6c00-7000-8000-000000000000";
    assert_eq!(erase(&server, &data, &["--message", nobody, "--dry-run"]).0, 1);
    assert_eq!(erase(&server, &data, &["--dry-run"]).0, 2);
    assert_eq!(erase(&server, &data, &["--author", "a", "--message", id]).0, 2);

    // And after a restart the notary goes on from what it has signed.
    assert!(server.terminate().success());
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), ""), &[]);
    assert!(replay(&server, &data, &["verify"]).status.success());
    assert!(replay(&server, &data, &["diff"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_another_log_is_not_asked_to_erase_anything() {
    let dir = tempfile::tempdir().unwrap();
    let [ours, other] = ["ours", "other"].map(|name| Server::start(&dir.path().join(name)));
    let id = uuid::Uuid::new_v4();
    for server in [&ours, &other] {
        server.post("lobby", "stays", json!({"id": id, "to": []})).await;
    }
    let (code, _, why) = erase(&other, &dir.path().join("ours"), &["--message", &id.to_string(), "--yes"]);
    assert_eq!((code, why.contains("has a different log")), (1, true), "{why}");
    for server in [&ours, &other] {
        assert_eq!(server.get(&format!("/api/messages/{id}")).await.1["text"], "stays");
    }
}
