//! `replay verify` and `replay diff` from outside: beside a server that goes on, and on a log that somebody has changed.

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};

use crate::harness::{Server, antiphon};

/// Bytes of a segment's header, of a record's head, and where in it the two checksums stand: `src/log/file/format.rs`.
const SEGMENT_HEADER_BYTES: usize = 512;

const QUICK: &str = "pace_ms = 0\n";

/// The command, and what it says.
fn replay(arguments: &[&str]) -> Output {
    antiphon().arg("replay").args(arguments).output().unwrap()
}

/// The one JSON object that it prints, and its exit code.
fn json_of(output: &Output) -> (Value, i32) {
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code().unwrap())
}

fn verified(log: &str, more: &[&str]) -> (Value, i32) {
    json_of(&replay(&[&["verify", "--json", "--log", log], more].concat()))
}

/// A conversation of so many questions, each answered.
async fn talk(server: &Server, questions: usize) {
    for n in 0..questions {
        let posted = server.post("lobby", &format!("question {n}"), json!({})).await;
        server.until_status("lobby", posted["id"].as_str().unwrap(), "answered").await;
    }
}

fn segment(data: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(data.join("log")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_sound_beside_its_server_and_as_its_notary_has_signed_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), QUICK, &[]);
    let key = server.printed("  notary    ").trim().trim_start_matches("notary").trim().to_owned();
    let data = dir.path().join("data");
    let log = data.to_str().unwrap();
    talk(&server, 5).await;
    let (report, code) = verified(log, &[]);
    assert_eq!((code, &report["findings"], &report["messages"]), (0, &json!([]), &json!(10)), "{report}");
    assert!(server.terminate().success());
    // At a clean stop all of it is signed.
    let (report, code) = verified(log, &["--key", &key]);
    assert_eq!((code, &report["signed"], &report["own_keys"]), (0, &report["entries"], &json!(false)), "{report}");
    let people = replay(&["verify", "--log", log]);
    let said = String::from_utf8(people.stdout).unwrap();
    assert!(said.contains("sound") && said.contains(&key), "{said}");
    // Another key is nobody's.
    let other = "antiphon/other+8d925b19+AfMWwFk2uAJl5YIAdcAbsSOwtULUtrLHnBhYWafvzCOh";
    let refused = replay(&["verify", "--log", log, "--key", other]);
    assert!(matches!(refused.status.code(), Some(1 | 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_a_cut_tail_and_a_folder_that_was_rolled_back_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let log = data.to_str().unwrap().to_owned();
    let server = Server::configured(dir.path(), QUICK, &[]);
    talk(&server, 3).await;
    assert!(server.terminate().success());
    let early = dir.path().join("early");
    copy(&data, &early);
    let server = Server::configured(dir.path(), QUICK, &[]);
    talk(&server, 3).await;
    assert!(server.terminate().success());
    let (report, code) = verified(&log, &[]);
    assert_eq!(code, 0, "{report}");
    let entries = report["entries"].as_u64().unwrap();

    // One byte of a text.
    let file = segment(&data);
    let whole = fs::read(&file).unwrap();
    let at = whole.windows(10).position(|bytes| bytes == b"question 1").unwrap();
    assert!(at > SEGMENT_HEADER_BYTES);
    let mut changed = whole.clone();
    changed[at + 9] = b'7';
    fs::write(&file, &changed).unwrap();
    let (report, code) = verified(&log, &[]);
    let first = &report["findings"][0];
    assert_eq!((code, &first["code"]), (1, &json!("damaged")), "{report}");
    let place = first["position"].as_u64().unwrap();
    // It is the position of the second question.
    fs::write(&file, &whole).unwrap();
    let cat = replay(&["cat", "--json", "--log", &log, "--from", &place.to_string(), "--to", &place.to_string()]);
    assert_eq!(json_of(&cat).0["event"]["text"], "question 1");

    // The tail gone, checksums right: the folder's segment of the earlier time.
    fs::copy(segment(&early), &file).unwrap();
    let (report, code) = verified(&log, &[]);
    let first = &report["findings"][0];
    let kept = report["entries"].as_u64().unwrap();
    assert!(kept < entries);
    assert_eq!((code, &first["code"], &first["position"]), (1, &json!("cut"), &json!(kept + 1)), "{report}");

    // All of it rolled back, its checkpoint, too: only one that was kept elsewhere tells.
    let early = early.to_str().unwrap();
    let (report, code) = verified(early, &[]);
    assert_eq!(code, 0, "{report}");
    let newer = data.join("checkpoints/latest");
    let (report, code) = verified(early, &["--against", newer.to_str().unwrap()]);
    assert_eq!((code, &report["findings"][0]["code"]), (1, &json!("cut")), "{report}");
    assert_eq!(report["findings"][0]["position"], json!(kept + 1));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &target)
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_from_the_log_is_what_a_server_under_load_has_and_another_servers_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), QUICK, &[]);
    let data = dir.path().join("data");
    let address = format!("http://{}", server.address);
    talk(&server, 3).await;
    // People go on while it is compared.
    let (client, url) = (server.client().clone(), server.url("/api/rooms/lobby/messages"));
    let load = tokio::spawn(async move {
        loop {
            let body = json!({"text": "and on", "author": {"name": "ann"}});
            client.post(&url).json(&body).send().await.unwrap();
        }
    });
    let diff = |log: &Path, more: &'static [&'static str]| {
        let log = log.to_str().unwrap().to_owned();
        let address = address.clone();
        let words = move || replay(&[&["diff", "--json", "--log", &log, "--server", &address], more].concat());
        tokio::task::spawn_blocking(words)
    };
    let (report, code) = json_of(&diff(&data, &["--room", "lobby"]).await.unwrap());
    assert_eq!((code, &report["rooms"], &report["records"]), (0, &json!(1), &json!(0)), "{report}");
    assert!(report["difference"].is_null() && report["position"].as_u64().unwrap() > 6, "{report}");
    for _ in 0..3 {
        let (report, code) = json_of(&diff(&data, &[]).await.unwrap());
        assert_eq!((code, &report["difference"], &report["rooms"]), (0, &Value::Null, &json!(1)), "{report}");
        assert!(report["records"].as_u64().unwrap() >= 6);
    }
    load.abort();
    let other = tempfile::tempdir().unwrap();
    assert!(Server::configured(other.path(), QUICK, &[]).terminate().success());
    let other = other.path().join("data");
    for more in [&[][..], &["--room", "lobby"]] {
        let refused = diff(&other, more).await.unwrap();
        let why = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(1) && why.contains("epoch"), "{why}");
    }
}

#[test]
fn a_command_that_takes_a_log_whole_says_why_it_takes_no_part() {
    let id = "0192f0c1-8b7e-7cc3-98a4-3a5e1c0d9f10";
    for (command, words) in [
        (&["why", id, "--room", "lobby"][..], "`why` always reads the whole log"),
        (&["why", id, "--from", "2h"], "`why` always reads the whole log"),
        (&["load", "a.antiphon", "--room", "lobby"], "`load` always loads the whole bundle"),
        (&["load", "a.antiphon", "--to", "7"], "`load` always loads the whole bundle"),
        (&["diff", "--from", "7"], "--room compares one room"),
        (&["show", "lobby", "--to", "7"], "--follow"),
    ] {
        let refused = replay(command);
        let why = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(2) && why.contains(words), "{command:?}: {why}");
    }
}
