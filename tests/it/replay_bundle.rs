//! `replay export`, `load` and `into` from outside: what is taken along is what was there, and comes back as it was.

#![expect(clippy::unwrap_used, reason = "the lints' exception for tests does not reach their helpers")]

mod copies;
mod real;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use antiphon::replay::source::{BundleSource, FolderSource, Source};
use antiphon_schemas::Stored;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{Server, antiphon},
    redis::Redis,
};

/// `antiphon replay …`, in a folder.
fn replay(folder: &Path, arguments: &[&str]) -> Output {
    antiphon().arg("replay").args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

/// Its stdout; it did what it was asked for.
#[track_caller]
fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = replay(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Its stderr; it did not do it, and says so in one line.
#[track_caller]
fn refused(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = replay(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(code), 1), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    said
}

fn entries(source: &mut dyn Source) -> Vec<Stored> {
    let mut all = Vec::new();
    loop {
        let page = source.read().unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// A folder with a server's `data`, in which people talked, bots answered and one text was redacted; the server still runs.
async fn lived_in() -> (TempDir, Server, String) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    for (room, text) in
        [("lobby", "=HYPERLINK(\"x\")"), ("lobby", "one, \"two\"\nthree"), ("help", "my number is 0170")]
    {
        let posted = server.post(room, text, json!({})).await;
        server.until_status(room, posted["id"].as_str().unwrap(), "answered").await;
    }
    let secret = server.post("help", "forget this: 4711", json!({"to": []})).await["id"].as_str().unwrap().to_owned();
    for n in 0..200 {
        server.post("lobby", &format!("message {n}"), json!({"to": []})).await;
    }
    let redacted = server.client().delete(server.url(&format!("/api/messages/{secret}")));
    assert_eq!(server.ask(redacted).await.status, 200);
    (dir, server, secret)
}

#[tokio::test]
async fn a_bundle_makes_the_round_trip_with_the_same_bytes_through_a_folder_and_through_a_redis() {
    let (dir, server, secret) = lived_in().await;
    let here = dir.path();
    let messages = [server.all("lobby").await, server.all("help").await];
    server.terminate();
    let said = done(here, &["export", "--log", "data", "--format", "bundle", "--out", "a.antiphon"]);
    assert!(said.contains("note: it contains 1 text that was redacted;"), "{said}");
    let original = entries(&mut FolderSource::open(&here.join("data")).unwrap());
    assert!(said.contains(&format!("the newest covers the first {} positions", original.len())), "{said}");
    let bundle = fs::read(here.join("a.antiphon")).unwrap();
    assert!(here.join("data/checkpoints/notary.key").exists());
    assert!(!String::from_utf8_lossy(&bundle).contains("PRIVATE+KEY"));
    assert!(entries(&mut BundleSource::open(&here.join("a.antiphon")).unwrap()) == original);

    let said = done(here, &["load", "a.antiphon", "--log", "loaded"]);
    assert!(said.starts_with("loaded ") && said.contains("only one of them may accept posts"), "{said}");
    done(here, &["export", "--log", "loaded", "--format", "bundle", "--out", "b.antiphon"]);
    assert!(fs::read(here.join("b.antiphon")).unwrap() == bundle, "through a folder");

    let redis = Redis::start();
    let url = redis.url();
    done(here, &["load", "a.antiphon", "--log", &url, "--checkpoints", "kept"]);
    let again = ["export", "--log", &url, "--format", "bundle", "--out", "c.antiphon", "--checkpoints", "kept"];
    done(here, &again);
    assert!(fs::read(here.join("c.antiphon")).unwrap() == bundle, "through a Redis");
    done(here, &["export", "--log", "a.antiphon", "--format", "bundle", "--out", "d.antiphon"]);
    assert!(fs::read(here.join("d.antiphon")).unwrap() == bundle, "of a bundle");
    let wrong = ["load", "a.antiphon", "--log", &url, "--checkpoints", "data/checkpoints"];
    assert!(refused(here, &wrong, 2).contains("belongs to a notary"));

    // Servers show the same, under the same positions, and their notaries sign on.
    let servers = [
        ("loaded", Server::start(&here.join("loaded"))),
        ("node/redis", Server::start_with(&here.join("node"), &["--log", &url, "--node", "n1"])),
    ];
    for (data, server) in servers {
        assert!([server.all("lobby").await, server.all("help").await] == messages);
        let (_, message) = server.get(&format!("/api/messages/{secret}")).await;
        assert_eq!((&message["text"], &message["redacted"]), (&json!(""), &json!(true)));
        server.post("lobby", "it goes on", json!({"to": []})).await;
        server.terminate();
        let latest = fs::read_to_string(here.join(data).join("checkpoints/latest")).unwrap();
        let covers: usize = latest.lines().nth(1).unwrap().parse().unwrap();
        assert!(covers > original.len(), "{latest}");
    }
    done(here, &["verify", "--log", "loaded"]);
    // What the first notary signed is still so; whose key that was has to be said.
    let against = ["verify", "--log", "loaded", "--against", "loaded/checkpoints/loaded/latest"];
    let keys = ["--key", "loaded/checkpoints/loaded/notary.pub", "--key", "loaded/checkpoints/notary.pub"];
    done(here, &[&against[..], &keys].concat());
}

#[tokio::test]
async fn an_auditor_checks_a_bundle_with_tar_sha256sum_and_the_program_in_its_readme() {
    let (dir, server, _) = lived_in().await;
    server.terminate();
    done(dir.path(), &["export", "--log", "data", "--format", "bundle", "--out", "whole.antiphon"]);
    let part = ["--room", "help", "--from", "3"];
    let export = ["export", "--log", "data", "--format", "bundle", "--out", "part.antiphon"];
    done(dir.path(), &[&export[..], &part].concat());
    done(dir.path(), &["verify", "--log", "whole.antiphon"]);
    let said = done(dir.path(), &["verify", "--log", "part.antiphon"]);
    assert!(said.starts_with("part.antiphon: sound\n") && said.contains("a part of the log"), "{said}");
    done(dir.path(), &["export", "--log", "part.antiphon", "--format", "bundle", "--out", "again.antiphon"]);
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    assert!(read("part.antiphon") == read("again.antiphon"), "a part of a part that is all of it");
    for name in ["whole", "part"] {
        let file = format!("{name}.antiphon");
        let folder = dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).current_dir(&folder).output().unwrap();
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run("tar", &["xf", &format!("../{file}")]);
        run("sha256sum", &["-c", "SHA256SUMS"]);
        let all = entries(&mut BundleSource::open(&dir.path().join(&file)).unwrap());
        let (code, said) = checked(&folder);
        assert!(code == 0 && said.contains(&format!("\n{} of them are what antiphon/", all.len())), "{said}");
        // One changed byte of an entry that the notary signed over.
        let mut leaves = fs::read(folder.join("checkpoints/leaves")).unwrap();
        let at = all[1].seq().0 as usize;
        leaves[(at - 1) * 32] ^= 1;
        fs::write(folder.join("checkpoints/leaves"), leaves).unwrap();
        let (code, said) = checked(&folder);
        assert!(code == 1 && said.contains("NOT what antiphon/") && said.contains(&format!("[{at}]")), "{said}");
    }
}

/// Runs the program of the README in an unpacked bundle, with the entries as `zstd -dc` gives them.
fn checked(folder: &Path) -> (i32, String) {
    let readme = fs::read_to_string(folder.join("README.txt")).unwrap();
    let (_, program) = readme.split_once("---- check.py\n").unwrap();
    fs::write(folder.join("check.py"), program.split_once("---- end").unwrap().0).unwrap();
    let mut chunks: Vec<PathBuf> = fs::read_dir(folder.join("entries")).unwrap().map(|f| f.unwrap().path()).collect();
    chunks.sort();
    let mut raw = Vec::new();
    for chunk in chunks {
        zstd::stream::copy_decode(fs::File::open(chunk).unwrap(), &mut raw).unwrap();
    }
    let mut python = Command::new("python3");
    python.arg("check.py").current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut python = python.spawn().expect("python3, which ./scripts/test asks for");
    let mut stdin = python.stdin.take().unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(&raw));
    let output = python.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn json_lines_and_tables_leave_out_what_was_redacted_and_are_of_use_in_a_spreadsheet() {
    let (dir, _server, secret) = lived_in().await;
    let here = dir.path();
    let lines = done(here, &["export", "--log", "data"]);
    assert!(lines.contains("my number is 0170") && !lines.contains("forget this"));
    let parsed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed.len(), entries(&mut FolderSource::open(&here.join("data")).unwrap()).len());
    let hidden: Vec<_> = parsed.iter().filter(|entry| entry["redacted"] == true).collect();
    assert_eq!((hidden.len(), &hidden[0]["event"]["id"]), (1, &json!(secret)));
    // But for that it is what `cat` shows.
    let shown = done(here, &["cat", "--log", "data", "--json"]);
    let differing = lines.lines().zip(shown.lines()).filter(|(one, other)| one != other).count();
    assert_eq!((differing, shown.lines().count()), (1, parsed.len()));
    assert!(done(here, &["export", "--log", "data", "--with-redacted"]).contains("forget this: 4711"));

    let csv = done(here, &["export", "--log", "data", "--format", "csv", "--room", "help"]);
    let rows: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!((rows.len(), rows[0].split(',').count(), rows[4]), (5, 17, ""), "{csv}");
    assert!(
        rows[1].contains(",help,message,ann,human,,antiphon,answered,") && rows[1].ends_with(",my number is 0170,"),
        "{csv}"
    );
    assert!(rows[2].contains(",help,reply,antiphon,bot,"), "{csv}");
    assert!(rows[3].contains(&secret) && rows[3].ends_with(",redacted,,"), "{csv}");
    let csv = done(here, &["export", "--log", "data", "--format", "csv", "--to", "7", "--with-redacted"]);
    assert!(
        csv.contains(",\"'=HYPERLINK(\"\"x\"\")\",\r\n") && csv.contains(",\"one, \"\"two\"\"\nthree\",\r\n"),
        "{csv}"
    );
}

#[tokio::test]
async fn an_export_gets_its_name_when_it_is_whole_and_replaces_nothing_unasked() {
    let (dir, server, _) = lived_in().await;
    let here = dir.path();
    let export = ["export", "--log", "data", "--format", "bundle", "--out", "a.antiphon"];
    let said = done(here, &[&export[..], &["--json"]].concat());
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["whole"], &said["redacted_texts"]), (&json!(true), &json!(1)));
    fs::write(here.join("other"), "mine").unwrap();
    let refusal = refused(here, &["export", "--log", "data", "--format", "csv", "--out", "other"], 1);
    assert!(refusal.contains("`other` already exists") && refusal.contains("--force"), "{refusal}");
    assert_eq!(fs::read_to_string(here.join("other")).unwrap(), "mine");
    done(here, &["export", "--log", "data", "--format", "csv", "--out", "other", "--force"]);
    assert!(fs::read_to_string(here.join("other")).unwrap().starts_with("position,at,id,"));
    assert!(refused(here, &["export", "--log", "data", "--format", "bundle"], 2).contains("--out NAME.antiphon"));
    drop(server);

    // A source that is damaged in the middle.
    let mut bytes = fs::read(here.join("a.antiphon")).unwrap();
    let at = bytes.len() - 10_000;
    bytes[at] ^= 1;
    fs::write(here.join("hurt.antiphon"), &bytes).unwrap();
    for format in ["jsonl", "csv", "bundle"] {
        let refusal = refused(here, &["export", "--log", "hurt.antiphon", "--format", format, "--out", "x"], 1);
        assert!(refusal.contains("damaged at position 1: `entries/00000001.zst`"), "{refusal}");
    }
    let refusal = refused(here, &["load", "hurt.antiphon", "--log", "x"], 1);
    assert!(refusal.contains("damaged at position 1: `entries/00000001.zst`"), "{refusal}");
    let left: Vec<_> = fs::read_dir(here).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.contains("unfinished")), "{left:?}");
}

#[tokio::test]
async fn a_bundle_goes_through_a_pipe() {
    let (dir, server, _) = lived_in().await;
    server.terminate();
    let piped = replay(dir.path(), &["export", "--log", "data", "--format", "bundle", "--out", "-"]);
    assert!(String::from_utf8_lossy(&piped.stderr).contains("checkpoints: the newest covers"), "{piped:?}");
    done(dir.path(), &["export", "--log", "data", "--format", "bundle", "--out", "a.antiphon"]);
    let mut file = Vec::new();
    fs::File::open(dir.path().join("a.antiphon")).unwrap().read_to_end(&mut file).unwrap();
    assert!(piped.stdout == file);
}
