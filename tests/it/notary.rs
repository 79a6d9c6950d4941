//! The notary from outside: what a server signs is verified with the key that it prints, over crashes; a log that was altered
//! behind its back is signed no more.

#![expect(clippy::unwrap_used, reason = "the lints' exception for tests does not reach their helpers")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use antiphon::audit::{
    checkpoint::Checkpoint,
    merkle::{consistency_proof, inclusion_proof, verify_consistency, verify_inclusion},
    note::Verifier,
    store::{Leaves, Paths, paths, read_history, read_latest},
};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    harness::{PATIENCE, Server, antiphon},
    nodes::Place,
};

/// Bytes of a segment's header and the fixed part of a record, as `src/log/file/format.rs` draws them.
const SEGMENT_HEADER_BYTES: usize = 512;
const RECORD_HEAD_BYTES: usize = 32;

/// The key that a server has printed.
fn printed_key(server: &Server) -> Verifier {
    server.printed("  notary    ").trim().strip_prefix("notary    ").unwrap().parse().unwrap()
}

async fn text(server: &Server, path: &str) -> String {
    let (status, Value::String(text)) = server.get(path).await else { panic!("{path} is JSON") };
    assert!(status == StatusCode::OK || status == StatusCode::NO_CONTENT, "{status} {text}");
    text
}

/// Waits until the server shows a checkpoint of so many entries; opened with the key that it printed.
async fn checkpoint(server: &Server, size: u64) -> Checkpoint {
    let (key, began) = (printed_key(server), Instant::now());
    loop {
        let note = text(server, "/api/checkpoint").await;
        if !note.is_empty() {
            let checkpoint = Checkpoint::open(&note, std::slice::from_ref(&key)).unwrap();
            if checkpoint.size >= size {
                return checkpoint;
            }
        }
        assert!(began.elapsed() < PATIENCE, "no checkpoint of {size} entries");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Posts what nobody answers, one entry each; the position of the last.
async fn post(server: &Server, count: usize) -> u64 {
    let mut position = 0;
    for n in 0..count {
        let posted = server.post("lobby", &format!("text {n}"), json!({"to": []})).await;
        position = posted["position"].as_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
    }
    position
}

async fn metric(server: &Server, name: &str) -> Option<u64> {
    let metrics = text(server, "/metrics").await;
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn leaves(paths: &Paths) -> Leaves {
    Leaves::open(paths).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_in_a_checkpoint_about_a_second_later_and_over_a_crash_the_tree_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let paths = paths(&data);
    let mut server = Server::start(&data);
    assert_eq!(text(&server, "/api/checkpoint").await, "", "nothing is signed yet");
    let key = printed_key(&server);
    assert_eq!(text(&server, "/api/checkpoint/key").await, format!("{key}\n"));
    assert_eq!(fs::read_to_string(&paths.public).unwrap(), format!("{key}\n"));

    let mut before: Option<Checkpoint> = None;
    for life in 0..4 {
        let posted = Instant::now();
        let size = post(&server, 1 + life * 20).await;
        let now = checkpoint(&server, size).await;
        // A second between two checkpoints, and a slow machine.
        assert!(posted.elapsed() < Duration::from_secs(5), "it took {:?}", posted.elapsed());
        assert_eq!(read_latest(&paths).unwrap().as_deref(), Some(&*text(&server, "/api/checkpoint").await));
        assert_eq!((now.size, printed_key(&server)), (size, key.clone()));
        assert_eq!(metric(&server, "antiphon_checkpoint_size").await, Some(size));
        assert!(metric(&server, "antiphon_checkpoint_age_seconds").await.is_some_and(|age| age < 60));

        let mut leaves = leaves(&paths);
        let proof = inclusion_proof(size - 1, size, |at| leaves.get(at)).unwrap();
        assert!(verify_inclusion(&leaves.get(size - 1).unwrap(), size - 1, size, &proof, &now.root));
        if let Some(old) = before.replace(now.clone()) {
            let proof = consistency_proof(old.size, size, |at| leaves.get(at)).unwrap();
            assert!(verify_consistency(old.size, &old.root, size, &now.root, &proof), "after life {life}");
        }
        server.kill();
        if life == 1 {
            // A crash may leave less of them than was signed.
            let file = fs::OpenOptions::new().write(true).open(&paths.leaves).unwrap();
            file.set_len(size * 32 - 40).unwrap();
        }
        server = Server::start(&data);
    }
    assert!(read_history(&paths).unwrap().is_empty(), "a clean stop writes it, or five minutes");
    assert!(server.terminate().success());
    assert_eq!(read_history(&paths).unwrap(), [read_latest(&paths).unwrap().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let size = post(&server, 3).await;
    checkpoint(&server, size).await;
    let written = || {
        let paths = paths(&data);
        [paths.latest, paths.leaves, paths.folder].map(|path| fs::metadata(path).unwrap().modified().unwrap())
    };
    let before = written();
    // The only way to see that something does not happen; two seconds are two checkpoints.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(written(), before);
    assert_eq!(metric(&server, "antiphon_log_position").await, Some(size), "five minutes are not over");
    assert!(server.terminate().success());
    // Nor do starts and stops with nothing new.
    let (latest, history) = (read_latest(&paths(&data)).unwrap(), read_history(&paths(&data)).unwrap());
    let server = Server::start(&data);
    checkpoint(&server, size).await;
    assert_eq!(metric(&server, "antiphon_log_position").await, Some(size));
    assert!(server.terminate().success());
    assert_eq!((read_latest(&paths(&data)).unwrap(), read_history(&paths(&data)).unwrap()), (latest, history));
}

/// Changes one byte of the last record's body and makes its checksums right again, as somebody would who knows the format.
fn alter_last_entry(data: &Path) {
    let file = data.join("log/0000000000000001.seg");
    let mut bytes = fs::read(&file).unwrap();
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let seed = u32_at(&bytes, SEGMENT_HEADER_BYTES - 4);
    let len = |bytes: &[u8], at: usize| {
        let [header, body] = [8, 12].map(|field| u32_at(bytes, at + field) as usize);
        (RECORD_HEAD_BYTES + header, body)
    };
    let (mut at, mut last) = (SEGMENT_HEADER_BYTES, 0);
    while u32_at(&bytes, at + 8) != 0 {
        let (head, body) = len(&bytes, at);
        (last, at) = (at, at + head + body);
    }
    let (head, body) = len(&bytes, last);
    bytes[last + head + body - 1] ^= 1;
    let body_crc = crc32c::crc32c_append(seed, &bytes[last + head..last + head + body]);
    bytes[last + 4..last + 8].copy_from_slice(&body_crc.to_le_bytes());
    let head_crc = crc32c::crc32c_append(seed, &bytes[last + 4..last + head]);
    bytes[last..last + 4].copy_from_slice(&head_crc.to_le_bytes());
    fs::write(&file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_altered_with_its_checksums_is_served_but_signed_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let size = post(&server, 5).await;
    let honest = checkpoint(&server, size).await;
    assert!(server.terminate().success());
    let files = || {
        let paths = paths(&data);
        [paths.latest, paths.history, paths.leaves, paths.key].map(|path| fs::read(path).unwrap())
    };
    let before = files();
    alter_last_entry(&data);

    // It says so, and what to do.
    let mut command = antiphon();
    command.args(["serve", "--listen", "127.0.0.1:0", "--model", "builtin", "--data"]).arg(&data);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = lines.map_while(Result::ok).find(|line| line.contains("the log is not what the notary signed"));
    child.kill().unwrap();
    child.wait().unwrap();
    let said = said.expect("it says so");
    for word in ["ERROR", "stay as they are; run `antiphon replay verify`", &honest.origin, &format!("entry {size}")] {
        assert!(said.contains(word), "{word}: {said}");
    }

    let server = Server::start(&data);
    let began = Instant::now();
    while metric(&server, "antiphon_notary_refuses").await != Some(1) {
        assert!(began.elapsed() < PATIENCE, "it does not refuse");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(post(&server, 3).await, size + 3, "people can go on");
    assert_eq!(checkpoint(&server, 0).await, honest, "what it signed it still shows");
    assert!(server.terminate().success());
    assert_eq!(files(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_read_stops_the_start_and_a_log_in_memory_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert!(Server::start(&data).terminate().success());
    let key = paths(&data).key;
    let secret = fs::read_to_string(&key).unwrap();
    fs::write(&key, &secret[..40]).unwrap();
    let mut command = antiphon();
    command.args(["serve", "--listen", "127.0.0.1:0", "--model", "builtin", "--data"]).arg(&data);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("notary.key` is not the notary's key"), "{said}");
    assert!(said.contains("restore it from a backup") && !said.contains("PRIVATE"), "{said}");

    let server = Server::start_with(&dir.path().join("none"), &["--log", "memory"]);
    post(&server, 1).await;
    for path in ["/api/checkpoint", "/api/checkpoint/key"] {
        let answer = server.ask(server.client().get(server.url(path))).await;
        assert_eq!((answer.status, &answer.body), (204, &json!("")), "{path}");
    }
    assert_eq!(metric(&server, "antiphon_notary_refuses").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_on_one_redis_sign_the_same_tree_each_under_its_own_key() {
    let place = Place::new(2, &["--pace", "0"]);
    let (one, two) = (place.start(0), place.start(1));
    let size = post(&one, 20).await;
    let (here, there) = (checkpoint(&one, size).await, checkpoint(&two, size).await);
    assert_eq!((here.size, here.root), (there.size, there.root));
    let (key, other) = (printed_key(&one), printed_key(&two));
    assert_ne!(key, other);
    for (checkpoint, key) in [(here, key), (there, other)] {
        let epoch = checkpoint.epoch().unwrap();
        assert_eq!(checkpoint.origin, format!("{}/{epoch}", key.name()));
    }
    assert!(one.terminate().success() && two.terminate().success());
}
