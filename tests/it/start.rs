//! What a newcomer meets: what a start says, how it goes wrong, how it ends, and that the next one goes on.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::Stdio,
};

use antiphon_bot::fake::{Fake, Step};
use serde_json::{Value, json};

use crate::harness::{Server, antiphon, ended, fake_settings, signal};

/// Runs a command to its end: exit code, stdout, stderr.
fn run(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let out = antiphon().args(arguments).envs(variables.iter().copied()).current_dir(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// A command that must end with this code and one line on stderr that holds all these words.
#[track_caller]
fn fails(dir: &Path, arguments: &[&str], variables: &[(&str, &str)], code: i32, words: &[&str]) {
    let (found, out, err) = run(dir, arguments, variables);
    assert_eq!((found, out.as_str()), (code, ""), "{arguments:?}: {err}");
    assert_eq!((err.lines().count(), err.starts_with("antiphon: ")), (1, true), "{arguments:?}: {err}");
    for word in words {
        assert!(err.contains(word), "{arguments:?}: `{word}` is not in: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_where_it_is_what_it_has_and_what_an_acknowledgement_is_worth() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let bots = "[[bots]]\nname = \"one\"\n[[bots]]\nname = \"two\"\nmodel = \"ollama:tiny\"\n";
    let server = Server::configured(dir.path(), bots, &["--model", "builtin"]);
    assert_eq!(server.printed("bots "), "  bots      one on builtin, two on ollama:tiny");
    assert_eq!(server.printed("data "), format!("  data      {}", data.display()));
    assert!(server.printed("ack ").contains("on this machine's disk"));
    let posted = server.post("lobby", "hello", json!({"to": []})).await;
    let epoch = &posted["position"].as_str().unwrap()[..16];
    assert_eq!(server.printed("log "), format!("  log       file, epoch {epoch}, position 0"));
    assert!(server.printed("listens on").starts_with(concat!("antiphon ", env!("CARGO_PKG_VERSION"), " listens on")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_memory_says_so_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for _ in 0..2 {
        let server = Server::start_with(&data, &["--log", "memory"]);
        assert!(server.printed("log ").starts_with("  log       memory, epoch "));
        assert!(server.printed("ack ").contains("none"));
        assert_eq!(server.get("/api/rooms").await.1["rooms"], json!([]));
        let posted = server.post("lobby", "Hello", json!({})).await;
        server.until_status("lobby", posted["id"].as_str().unwrap(), "answered").await;
        assert!(server.terminate().success());
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no data folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_says_in_one_line_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let serve = |more: &[&'static str]| [&["serve", "--listen", "127.0.0.1:0", "--model", "builtin"], more].concat();
    let plain: &[(&str, &str)] = &[];

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();
    let arguments = ["--listen", &address, "--model", "builtin", "--data", "a"];
    fails(dir, &arguments, plain, 1, &[&port, "already in use", "--listen"]);
    assert!(!dir.join("a").exists(), "nothing was made");

    let server = Server::start(&dir.join("used"));
    let pid = server.pid().to_string();
    fails(dir, &serve(&["--data", "used"]), plain, 1, &["in use by process", &pid, "--data"]);
    server.post("lobby", "the first goes on", json!({"to": []})).await;

    std::fs::write(dir.join("file"), "").unwrap();
    fails(dir, &serve(&["--data", "file"]), plain, 1, &["`file`", "--data"]);
    fails(dir, &serve(&["--data", "file/below"]), plain, 1, &["`file/below`", "--data"]);

    fails(dir, &serve(&["--lisen", "x"]), plain, 2, &["--lisen", "--listen"]);
    fails(dir, &["sevre"], plain, 2, &["sevre", "serve"]);
    fails(dir, &serve(&["--log", "redis"]), plain, 2, &["redis", "memory"]);
    fails(dir, &serve(&["--pace", "slow"]), plain, 2, &["slow", "--pace"]);
    fails(dir, &serve(&["--lease-ms", "1"]), plain, 2, &["lease_ms", "100"]);
    fails(dir, &["--model", "gpt"], plain, 2, &["gpt", "ollama:NAME"]);
    fails(dir, &serve(&[]), &[("ANTIPHON_LEASE_MS", "long")], 2, &["ANTIPHON_LEASE_MS", "long"]);
    fails(dir, &serve(&[]), &[("ANTIPHON_LOG", "a=b=c")], 2, &["ANTIPHON_LOG", "a=b=c"]);
    fails(dir, &["--listen", "somewhere"], plain, 2, &["somewhere", "127.0.0.1:8080"]);
    fails(dir, &["--port", "8081"], plain, 2, &["--listen 127.0.0.1:8081"]);
    for foreign in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        fails(dir, &["--listen", foreign], plain, 2, &["--expose", "127.0.0.1"]);
    }
    fails(dir, &["--expose", "--listen", "192.0.2.1:8080"], plain, 1, &["192.0.2.1:8080", "--listen"]);

    fails(dir, &serve(&["--config", "none.toml"]), plain, 2, &["none.toml"]);
    std::fs::write(dir.join("antiphon.toml"), "data = \"a\"\nlease_msec = 5000\n").unwrap();
    fails(dir, &serve(&[]), plain, 2, &["antiphon.toml line 2", "lease_msec", "lease_ms`"]);
    std::fs::write(dir.join("antiphon.toml"), "[[bots]]\nname = \"a\"\npersna = \"x\"\n").unwrap();
    fails(dir, &serve(&[]), plain, 2, &["antiphon.toml line 3", "persna", "persona`"]);
    std::fs::write(dir.join("antiphon.toml"), "lease_ms = \n").unwrap();
    fails(dir, &serve(&[]), plain, 2, &["antiphon.toml line 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_for_everybody_is_started_only_if_that_is_meant_and_warns() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(&dir.path().join("data"), &["--listen", "0.0.0.0:0", "--expose"]);
    assert!(server.printed("warning ").contains("no access tokens"));
    let local = format!("http://127.0.0.1:{}/health/live", server.address.rsplit_once(':').unwrap().1);
    assert_eq!(server.ask(server.client().get(local).header("host", "192.0.2.7:80")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_lets_the_reply_in_flight_finish_and_ends_streams_and_process() {
    for name in ["TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(&dir.path().join("data"), &["--pace", "40"]);
        let (mut events, mut idle) = (server.events("lobby").await, server.events("idle").await);
        let posted = server.post("lobby", "Tell me what Antiphon is, please.", json!({})).await;
        events.until("reply.delta").await;
        signal(server.pid(), name);
        server.printed("stopping");
        let (_, reply) = events.until("reply.posted").await;
        let (_, completed) = events.until("message.completed").await;
        assert_eq!((&completed["message_id"], &completed["reply_id"]), (&posted["id"], &reply["id"]));
        assert!(events.try_next().await.is_none(), "the stream ends");
        while idle.try_next().await.is_some() {}
        server.printed("stopped; nothing acknowledged is lost");
        assert_eq!(server.ended().code(), Some(0), "SIG{name}");
        let again = Server::start(&dir.path().join("data"));
        assert_eq!(again.all("lobby").await[1], reply);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_does_not_finish_in_time_is_given_back_and_answered_after_the_next_start() {
    let fake = Fake::answering("fake", |request| match request.body.contains("hang") {
        true => vec![Step::Head, Step::Text("so far".into()), Step::Hang],
        false => Step::answer(&["well"]),
    })
    .await;
    let well = Fake::answering("fake", |_| Step::answer(&["well"])).await;
    // Once with a second signal, which ends at once; once after the ten seconds of the drain.
    for (signals, reason) in [(2, "restarted"), (1, "goodbye")] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::configured(dir.path(), &fake_settings(&fake.url(), ""), &[]);
        let mut events = server.events("lobby").await;
        let posted = server.post("lobby", "hang", json!({})).await;
        events.until("reply.delta").await;
        for _ in 0..signals {
            signal(server.pid(), "TERM");
            server.printed("stopping");
        }
        assert_eq!(server.ended().code(), Some(0));
        let server = Server::configured(dir.path(), &fake_settings(&well.url(), ""), &[]);
        let id = posted["id"].as_str().unwrap();
        server.until_status("lobby", id, "answered").await;
        let (_, timeline) = server.get(&format!("/api/messages/{id}/timeline")).await;
        let steps = timeline["steps"].as_array().unwrap();
        let names: Vec<_> = steps.iter().map(|s| s["event"].as_str().unwrap()).collect();
        let claimed = "message.claimed";
        let expected = ["message.posted", claimed, "message.released", claimed, "reply.posted", "message.completed"];
        assert_eq!((names, &steps[2]["data"]["reason"]), (expected.to_vec(), &json!(reason)));
    }
}

/// Everything that readers can ask for, of all rooms.
async fn everything(server: &Server) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let (_, rooms) = server.get("/api/rooms").await;
    for room in rooms["rooms"].as_array().unwrap() {
        let room = room["room"].as_str().unwrap();
        let messages = server.all(room).await;
        for message in &messages {
            let timeline = format!("/api/messages/{}/timeline", message["id"].as_str().unwrap());
            let answer = server.get(&timeline).await.1;
            all.insert(timeline, answer);
        }
        let newest = format!("/api/rooms/{room}/messages?limit=7");
        let answer = server.get(&newest).await.1;
        all.extend([(format!("all of {room}"), json!(messages)), (newest, answer)]);
    }
    all.insert("rooms".into(), rooms);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_start_goes_on_where_the_last_one_ended_however_that_was() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let settings = "recent_messages = 5\nrooms_in_memory = 2\n";
    let start = || Server::configured(dir.path(), settings, &["--model", "builtin"]);
    let mut server = start();
    let (mut before, mut position) = (BTreeMap::new(), String::new());
    let lives: [(&str, &[&str]); 8] = [
        ("stop", &[]),
        ("kill", &[]),
        ("stop", &["index"]),
        ("kill", &["index"]),
        ("stop", &["snapshot"]),
        ("stop", &["index", "snapshot"]),
        ("kill", &["index", "snapshot"]),
        ("stop", &[]),
    ];
    for (n, (end, lost)) in lives.iter().enumerate() {
        if n > 0 {
            let now = everything(&server).await;
            assert_eq!(now.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "life {n}");
            for (what, answer) in &now {
                assert_eq!(answer, &before[what], "{what} in life {n}");
            }
            assert!(server.printed("log ").ends_with(&format!(
                "epoch {}, position {}",
                &position[..16],
                position[20..].trim_start_matches('0')
            )));
        }
        for room in ["one", "two", "three", &format!("only-{n}")] {
            for m in 0..4 {
                let posted = server.post(room, &format!("Hello {n} {m}"), json!({})).await;
                let id = posted["id"].as_str().unwrap();
                server.until_status(room, id, "answered").await;
                assert!(position.as_str() < posted["position"].as_str().unwrap(), "positions go on");
                if m == 0 {
                    let url = server.url(&format!("/api/messages/{id}"));
                    assert_eq!(server.client().delete(url).send().await.unwrap().status(), 200);
                }
            }
        }
        position = server.get("/api/queues").await.1["position"].as_str().unwrap().to_owned();
        before = everything(&server).await;
        match *end {
            "kill" => server.kill(),
            _ => assert!(server.terminate().success()),
        }
        for lost in *lost {
            let path = data.join(lost);
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            assert!(removed.is_ok() || *lost == "snapshot", "{}", path.display());
        }
        server = start();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_do_their_work_against_a_running_server() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (code, out, err) = run(dir, &["doctor", "--listen", "127.0.0.1:0", "--model", "builtin"], &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.lines().all(|line| line.starts_with("ok") || line.starts_with(' ')), "{out}");
    assert!(!dir.join("antiphon-data").exists(), "doctor changes nothing");

    let server = Server::start_with(&dir.join("data"), &["--pace", "2"]);
    let here = ["--server", server.address.as_str()];
    let with = |arguments: &[&'static str]| -> Vec<String> {
        arguments.iter().chain(&here).map(|s| (*s).to_owned()).collect()
    };
    let run = |arguments: &[&'static str]| {
        let arguments = with(arguments);
        run(dir, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[])
    };
    let (code, out, _) =
        self::run(dir, &["doctor", "--listen", &server.address, "--data", "data", "--model", "builtin"], &[]);
    assert!(code == 0 && out.contains("an Antiphon server is running") && out.contains("in use by process"), "{out}");

    // tail, from before the first word
    let mut tail = antiphon();
    tail.args(with(&["tail", "lobby", "--after", "0"])).current_dir(dir).stdout(Stdio::piped());
    let mut tail = tail.stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines().map(Result::unwrap);

    let (code, answer, err) = run(&["post", "lobby", "Hello, who are you?", "--name", "ann", "--wait"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let all = server.all("lobby").await;
    assert_eq!(answer.trim_end_matches('\n'), all[1]["text"].as_str().unwrap());
    let (code, id, _) = run(&["post", "lobby", "Bye", "--priority", "9"]);
    assert_eq!(code, 0);
    let (_, message) = server.get(&format!("/api/messages/{}", id.trim())).await;
    assert_eq!(message["text"], "Bye");

    let first = lines.find(|line| line.contains("who are you")).unwrap();
    assert!(first.contains("ann"), "{first}");
    let reply = all[1]["text"].as_str().unwrap().lines().next().unwrap();
    assert!(lines.any(|line| line.contains(reply)), "the answer is seen");
    assert!(lines.any(|line| line.contains("Bye")));
    signal(tail.id(), "INT");
    assert_eq!(ended(&mut tail).code(), Some(0), "Ctrl-C is how it ends");

    // What cannot be done is one line.
    fails(dir, &["post", "lobby", "x", "--server", "127.0.0.1:1"], &[], 1, &["127.0.0.1:1", "--server"]);
    let refused = with(&["post", "lobby", "x", "--to", "nobody"]);
    fails(
        dir,
        &refused.iter().map(String::as_str).collect::<Vec<_>>(),
        &[],
        1,
        &["unknown-bot", "nobody", "`antiphon`"],
    );
    let (code, id, _) = run(&["post", "lobby", "To people only", "--no-answer"]);
    let (_, message) = server.get(&format!("/api/messages/{}", id.trim())).await;
    assert_eq!((code, &message["status"]), (0, &json!("none")));
    fails(dir, &["post", "a b", "x"], &[], 2, &["a b"]);
    fails(dir, &["post", "lobby", "x", "--priority", "10"], &[], 2, &["10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_say_is_readable_only_by_the_user_that_runs_the_server() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    server.post("lobby", "private", serde_json::json!({"to": []})).await;
    let mut found = vec![data.clone()];
    let mut at = 0;
    while at < found.len() {
        if found[at].is_dir() {
            found.extend(std::fs::read_dir(&found[at]).unwrap().map(|entry| entry.unwrap().path()));
        }
        at += 1;
    }
    assert!(found.len() > 5);
    for path in found {
        // A file of the moment may be gone again.
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        assert_eq!(meta.permissions().mode() & 0o077, 0, "{}", path.display());
    }
}
