//! What `replay` tells of a conversation: `cat`, `tail`, `show`, `why` and `stats` of a log that a server is writing.
//!
//! Method: one conversation with everything in it (an answer after a failure, a lost worker, a cancel, texts taken back),
//! on the file log and on a Redis; the commands must tell it, and agree with what the server shows.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
};

use antiphon_bot::fake::{Fake, Step};
use serde_json::{Value, json};

use crate::{
    harness::{PATIENCE, Server, antiphon, ended, fake_settings, signal},
    redis::Redis,
};

/// Long enough for two posts while a lost worker holds its claim.
const LEASE_MS: u64 = 3_000;
const BOTS: &str =
    "[[bots]]\nname = \"helper\"\n[[bots]]\nname = \"ada\"\nmodel = \"remote\"\nanswers = \"addressed\"\n";
/// Nobody may see these once they are taken back.
const SECRETS: [&str; 2] = ["my password is 1234", "it is 5678 now"];

/// A server that has a log, and what was said there.
struct Story {
    server: Server,
    /// What `--log` says.
    log: String,
    /// Ids, by what they are.
    ids: BTreeMap<&'static str, String>,
    _fake: Fake,
    dir: tempfile::TempDir,
}

impl Story {
    /// The whole conversation. `log` is an address of a Redis; without one it is the file log.
    async fn tell(log: Option<String>) -> Story {
        let asked = AtomicUsize::new(0);
        let fake = Fake::answering("fake", move |_| match asked.fetch_add(1, SeqCst) {
            0 => vec![Step::Status(500, json!({"error": "out of\nmemory \u{1b}[31m"}))],
            _ => Step::answer(&["all ", "is ", "well"]),
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let place = log.as_ref().map_or(String::new(), |log| format!("log = \"{log}\"\n"));
        let more = format!("{place}retry_base_ms = 1\nretry_max_ms = 2\nlease_ms = {LEASE_MS}\n{BOTS}");
        let server = Server::configured(dir.path(), &fake_settings(&fake.url(), &more), &[]);
        let log = log.unwrap_or_else(|| dir.path().join("data").display().to_string());
        let mut story = Story { server, log, ids: BTreeMap::new(), _fake: fake, dir };
        story.speak().await;
        story
    }

    async fn speak(&mut self) {
        let mut events = self.server.events("lobby").await;
        self.post("secret", SECRETS[0], json!({"to": []})).await;
        self.post("greeting", "Good\nevening", json!({"to": ["helper"]})).await;
        self.server.until_status("lobby", &self.ids["greeting"], "answered").await;

        self.post("question", "Ada?", json!({"to": ["ada"]})).await;
        let lost = self.claim("lost").await;
        self.post("wrong", "Are you there?", json!({"to": ["ada"]})).await;
        self.post("second secret", SECRETS[1], json!({"to": ["ada"]})).await;
        // Nothing is heard of the worker any more.
        while events.until("message.released").await.1["reason"] != "lease-over" {}
        let wrong = format!("/api/messages/{}/cancel", self.ids["wrong"]);
        assert_eq!(self.server.send_json(&wrong, &json!({})).await.0, 200);
        for secret in ["second secret", "secret"] {
            let url = self.server.url(&format!("/api/messages/{}", self.ids[secret]));
            assert_eq!(self.server.ask(self.server.client().delete(url)).await.status, 200);
        }
        let work = self.claim("found").await;
        assert_ne!(work["fence"], lost["fence"]);
        let said = json!({"fence": work["fence"], "text": "Here I am.", "finish": "stop", "model": "by hand"});
        let done = self.server.send_json(&format!("/api/work/{}/complete", self.ids["question"]), &said).await;
        assert_eq!(done.0, 200, "{}", done.1);
        self.ids.insert("answer", work["reply_id"].as_str().unwrap().to_owned());
        self.ids.insert("given up", lost["reply_id"].as_str().unwrap().to_owned());
    }

    async fn post(&mut self, name: &'static str, text: &str, extra: Value) {
        let posted = self.server.post("lobby", text, extra).await;
        self.ids.insert(name, posted["id"].as_str().unwrap().to_owned());
    }

    async fn claim(&self, worker: &str) -> Value {
        let wish = json!({"worker": worker, "bots": ["ada"], "claim_key": worker, "wait_ms": 10_000});
        let (status, work) = self.server.send_json("/api/work/claim", &wish).await;
        assert_eq!(status, 200, "{work}");
        assert_eq!(work["message"]["id"], self.ids["question"]);
        work
    }

    fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = antiphon();
        command.arg("replay").args(arguments).args(["--log", &self.log]).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What a command prints.
    #[track_caller]
    fn replay(&self, arguments: &[&str]) -> String {
        let output = self.begin(arguments).wait_with_output().unwrap();
        let (out, why) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success() && why.is_empty(), "{arguments:?}: {why}");
        assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{out:?}");
        out
    }

    /// What it prints with `--json`.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let out = self.replay(&[arguments, &["--json"]].concat());
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// `why` of one message, for programs and for people.
    #[track_caller]
    fn why(&self, name: &str) -> (Value, String) {
        let id = self.ids[name].as_str();
        (self.json(&["why", id]).remove(0), self.replay(&["why", id]))
    }

    /// The position of the post of a message.
    fn position(&self, name: &str) -> String {
        self.json(&["cat", "--kind", "message.posted", "--message", &self.ids[name]])[0]["position"].to_string()
    }
}

fn list<'a>(values: &'a Value, field: &str) -> Vec<&'a str> {
    values.as_array().unwrap().iter().map(|value| value[field].as_str().unwrap()).collect()
}

fn why(story: &Story) {
    let (greeting, words) = story.why("greeting");
    assert_eq!(
        list(&greeting["steps"], "kind"),
        [
            "message.posted",
            "message.claimed",
            "message.failed",
            "message.released",
            "message.claimed",
            "reply.posted",
            "message.completed"
        ]
    );
    assert_eq!(list(&greeting["legs"], "leg"), ["queue", "lost-try", "retry-wait", "queue", "first-token", "writing"]);
    let legs = greeting["legs"].as_array().unwrap();
    let sum: u64 = legs.iter().map(|leg| leg["ms"].as_u64().unwrap()).sum();
    assert_eq!(json!(sum), greeting["total_ms"]);
    assert_eq!(greeting["steps"][0]["waits_behind"], json!({"ahead": 0, "first": [], "held": 0}));
    let made = &greeting["steps"][5]["event"]["made"];
    assert_eq!(made["model"], "ollama:fake");
    let hash = made["prompt_sha256"].as_str().unwrap();
    for part in [
        "in lobby: answered",
        "posted by ann, asks helper (priority 5): Good evening",
        "waits as the next one",
        "try 1 failed: ",
        ", tried again in ",
        "waits again: the next try is due",
        ", try 2, fence ",
        "reply by helper: all is well",
        " ended by stop, 11 tokens read and 7 written",
        "model ollama:fake, options ",
        hash,
        "\n[human → AI reply: ",
    ] {
        assert!(words.contains(part), "`{part}` in {words}");
    }
    assert!(words.lines().rev().nth(1).unwrap().starts_with("queue "), "{words}");

    let (question, words) = story.why("question");
    for name in ["answer", "given up"] {
        assert_eq!(story.why(name), (question.clone(), words.clone()), "by the id of its reply, too");
    }
    let ids = |names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| json!({"message_id": story.ids[*name], "room": "lobby"})).collect()
    };
    let waits: Vec<_> = question["steps"].as_array().unwrap().iter().map(|step| &step["waits_behind"]).collect();
    assert_eq!(waits[2], &json!({"ahead": 2, "first": ids(&["wrong", "second secret"]), "held": 0}));
    assert_eq!(
        list(&question["legs"], "leg")[..3],
        ["queue", "lost-try", "queue"],
        "what a lost worker did is one leg, and what came then another"
    );
    assert!(question["legs"][1]["ms"].as_u64().unwrap() >= LEASE_MS);
    assert!(words.contains("taken from a worker whose lease expired (lease-over)"), "{words}");
    assert!(words.contains("waits behind 2: ") && words.contains("claimed by lost for ada"), "{words}");

    let (wrong, words) = story.why("wrong");
    assert_eq!((&wrong["outcome"], list(&wrong["legs"], "leg")), (&json!("cancelled"), vec!["queue"]));
    assert_eq!(wrong["steps"][0]["waits_behind"], json!({"ahead": 0, "first": [], "held": 1}));
    assert!(words.contains("waits as the next one, while 1 is being answered"), "{words}");
    assert!(words.contains("[human → no AI reply: cancelled, after "), "{words}");

    let (secret, words) = story.why("secret");
    assert_eq!((&secret["outcome"], &secret["legs"]), (&json!("not-asked"), &json!([])));
    assert!(words.contains("posted by ann: (taken back)") && words.ends_with("[human: nobody was asked]\n"), "{words}");

    let nobody = story.begin(&["why", "00000000-0000-0000-0000-000000000001"]).wait_with_output().unwrap();
    assert_eq!((nobody.status.code(), nobody.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8(nobody.stderr).unwrap().contains("no message"));
}

async fn show(story: &Story) {
    let now = story.json(&["show", "lobby"]).remove(0);
    assert_eq!(now["messages"].as_array().unwrap(), &story.server.all("lobby").await, "as the server shows it");
    assert_eq!((&now["unanswered"], &now["said"]), (&json!([]), &json!(7)));

    let at = story.position("second secret");
    let then = story.json(&["show", "lobby", "--at", &at]).remove(0);
    let open = &then["unanswered"];
    assert_eq!(list(open, "state"), ["claimed", "waiting", "waiting"]);
    assert_eq!((&open[0]["worker"], &open[1]["number"], &open[2]["number"]), (&json!("lost"), &json!(1), &json!(2)));
    assert_eq!(open[2]["message_id"], story.ids["second secret"]);
    assert_eq!(list(&then["messages"], "text"), ["", "Good\nevening", "all is well", "Ada?", "Are you there?", ""]);
    let as_then = story.json(&["show", "lobby", "--at", &at, "--with-redacted"]).remove(0);
    let texts = list(&as_then["messages"], "text");
    assert_eq!([texts[0], texts[5]], SECRETS);
    let before = story.json(&["show", "lobby", "--at", "1", "-n", "1", "--with-redacted"]).remove(0);
    assert_eq!(list(&before["messages"], "status"), ["none"]);

    let answered = story.json(&["cat", "--kind", "reply.posted", "--message", &story.ids["answer"]]).remove(0);
    let position = answered["position"].as_u64().unwrap();
    let whole = story.json(&["show", "lobby", "--at", &position.to_string()]).remove(0);
    assert_eq!(
        (&whole["position"], &whole["unanswered"]),
        (&json!(position + 1), &json!([])),
        "an append is one moment"
    );

    let words = story.replay(&["show", "lobby", "--at", &at, "-n", "2"]);
    let lines: Vec<_> = words.lines().collect();
    assert!(lines[0].ends_with(&format!("position {at}: the last 2 of 6 messages")), "{words}");
    assert!(
        lines[1].ends_with("ann → ada: Are you there?") && lines[2].ends_with("ann → ada: (taken back)"),
        "{words}"
    );
    assert_eq!(lines[3], "not answered yet:");
    assert!(lines[4].contains(" → ada: claimed by lost for ") && lines[6].ends_with(" as number 2"), "{words}");

    // From the post on: the same entries as `cat` has, and the words of people.
    let played = story.replay(&["show", "lobby", "--at", &at, "--follow", "--speed", "max"]);
    assert!(played.contains("ada: Here I am.") && played.contains("[message.released: "), "{played}");
    let played = story.json(&["show", "lobby", "--at", &at, "--follow", "--speed", "max"]);
    let after = (at.parse::<u64>().unwrap() + 1).to_string();
    assert_eq!(played[1..], story.json(&["cat", "--from", &after]));
    let some = ["--from", &at, "--to", &after, "--follow", "--speed", "max"];
    assert_eq!(story.json(&[&["show", "--room", "lobby"], &some[..]].concat()), played[..2], "up to a position");
    let paced = story.replay(&["show", "lobby", "--at", &at, "--follow", "--speed", "1000"]);
    let lines = paced.lines().skip_while(|line| !line.ends_with(" as number 2")).skip(1);
    assert_eq!(lines.count(), played.len() - 2, "all but the state and the completion: {paced}");
}

fn stats(story: &Story) {
    let by_bot = story.json(&["stats"]);
    assert_eq!(by_bot.iter().map(|s| s["key"].as_str().unwrap()).collect::<Vec<_>>(), ["ada", "helper"]);
    let numbers = |series: &Value| {
        ["asked", "answered", "failed", "retries", "takeovers", "dead", "cancelled", "open"]
            .map(|name| series[name].as_u64().unwrap())
    };
    assert_eq!(numbers(&by_bot[0]), [3, 1, 0, 0, 1, 0, 2, 0]);
    assert_eq!(numbers(&by_bot[1]), [1, 1, 1, 1, 0, 0, 0, 0]);
    assert_eq!(by_bot[1]["failures"].as_object().unwrap().len(), 1);
    assert!(by_bot[0]["total"]["p50_ms"].as_u64().unwrap() >= LEASE_MS);
    let (greeting, _) = story.why("greeting");
    assert_eq!(by_bot[1]["total"]["max_ms"], greeting["total_ms"]);
    assert_eq!(by_bot[1]["waiting"]["max_ms"], greeting["legs"][0]["ms"]);
    let keys = |by: &str| story.json(&["stats", "--by", by]).iter().map(|s| s["key"].clone()).collect::<Vec<_>>();
    assert_eq!(keys("model"), [json!("-"), json!("by hand"), json!("ollama:fake")]);
    assert_eq!(keys("room"), [json!("lobby")]);
    assert!(keys("worker").contains(&json!("lost")));
    assert!(keys("hour")[0].as_str().unwrap().ends_with(":00Z"));
    assert!(story.json(&["stats", "--room", "elsewhere"]).is_empty());
    let words = story.replay(&["stats"]);
    assert!(
        words.starts_with("bot     asked  answered  failed tries  retries  takeovers  dead  cancelled  open\n"),
        "{words}"
    );
}

fn cat(story: &Story) {
    let all = story.json(&["cat"]);
    assert!((1..).zip(&all).all(|(n, entry)| entry["position"] == json!(n)));
    let whole = story.replay(&["cat"]);
    assert_eq!(whole.lines().count(), all.len());
    for output in [&whole, &story.replay(&["cat", "--json"]), &story.replay(&["tail", "-n", "1000"])] {
        assert!(SECRETS.iter().all(|secret| !output.contains(secret)), "{output}");
    }
    let shown = story.replay(&["cat", "--with-redacted", "--author", "ann"]);
    assert!(SECRETS.iter().all(|secret| shown.contains(secret)) && shown.lines().count() == 5, "{shown}");
    let some = story.json(&["cat", "--kind", "message.cancelled,message.red", "--kind", "message.failed"]);
    assert_eq!(some.len(), 3, "a cancel, a cancel by taking back, a failure; no kind is called `message.red`");
    assert_eq!(story.json(&["tail", "-n", "4"]), all[all.len() - 4..]);
    assert_eq!(story.json(&["tail", "-n", "2", "--to", "5"]), all[3..5]);
    let posts: Vec<_> = all.iter().filter(|entry| entry["kind"] == "message.posted").cloned().collect();
    assert_eq!(story.json(&["tail", "-n", "2", "--kind", "message.posted"]), posts[posts.len() - 2..]);
}

/// Whoever has read enough closes the pipe, and no command complains of that. More is written than is gathered at once.
async fn closed(story: &mut Story) {
    for _ in 0..40 {
        story.post("long", &"words ".repeat(400), json!({"to": []})).await;
    }
    for command in [&["cat", "--json"][..], &["tail", "-f"]] {
        let mut child = story.begin(command);
        drop(child.stdout.take());
        let why = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!((ended(&mut child).code(), why.as_str()), (Some(0), ""), "{command:?}");
    }
}

/// `tail --follow` tells what comes, and ends well at Ctrl-C.
async fn tail(story: &mut Story) {
    let mut child = story.begin(&["tail", "-f", "-n", "1", "--kind", "message.posted", "--json"]);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let next = || serde_json::from_str::<Value>(&told.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert_eq!(next()["subjects"], json!([story.ids["second secret"]]));
    for n in 0..20 {
        let text = format!("and {n}");
        story.post("more", &text, json!({"to": []})).await;
        assert_eq!(next()["event"]["text"], json!(text));
    }
    signal(child.id(), "INT");
    assert_eq!(ended(&mut child).code(), Some(0));
    assert!(told.recv_timeout(PATIENCE).is_err(), "nothing else was said");
}

async fn check(mut story: Story) {
    why(&story);
    show(&story).await;
    stats(&story);
    cat(&story);
    tail(&mut story).await;
    closed(&mut story).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_told_from_the_folder_of_a_server_that_writes_it() {
    check(Story::tell(None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_told_from_a_redis_beside_its_node() {
    let redis = Redis::start();
    check(Story::tell(Some(redis.url())).await).await;
}
