//! What people do to a message afterwards: cancel it, have it tried again, hide it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use antiphon_bot::fake::{Fake, Step};
use antiphon_kit::sse::SseEvent;
use serde_json::{Value, json};

use crate::harness::{Answer, Server, antiphon, assert_same, everything_shown, fake_settings};

async fn change(server: &Server, posted: &Value, wish: &str) -> Answer {
    let url = server.url(&format!("/api/messages/{}", posted["id"].as_str().unwrap()));
    server
        .ask(match wish {
            "redact" => server.client().delete(url),
            wish => server.client().post(format!("{url}/{wish}")),
        })
        .await
}

#[track_caller]
fn stands(answer: &Answer, posted: &Value, status: &str) {
    let body = &answer.body;
    assert_eq!((answer.status, &body["id"], &body["status"]), (200, &posted["id"], &json!(status)), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 3, "id, status, position");
}

async fn status(server: &Server, posted: &Value) -> Value {
    server.get(&format!("/api/messages/{}", posted["id"].as_str().unwrap())).await.1["status"].clone()
}

fn about(event: &SseEvent, posted: &Value) -> bool {
    serde_json::from_str::<Value>(&event.data).unwrap()["message_id"] == posted["id"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_message_is_never_answered_whether_it_waits_or_is_being_answered() {
    let dir = tempfile::tempdir().unwrap();
    let bot = "[[bots]]\nname = \"antiphon\"\nslots = 1\n";
    let server = Server::configured(dir.path(), bot, &["--model", "builtin", "--pace", "200"]);
    let mut events = server.events("lobby").await;
    let writing = server.post("lobby", "Tell me what Antiphon is, please.", json!({})).await;
    events.until("reply.delta").await;
    let waiting = server.post("lobby", "Are you there?", json!({})).await;
    assert_eq!([status(&server, &writing).await, status(&server, &waiting).await], ["claimed", "waiting"]);
    for posted in [&waiting, &writing] {
        for _ in 0..3 {
            stands(&change(&server, posted, "cancel").await, posted, "cancelled");
        }
        assert_eq!(status(&server, posted).await, "cancelled");
    }
    // The bot is free at once: one that comes now is answered, and nothing of the others is.
    let last = server.post("lobby", "Hello!", json!({})).await;
    server.until_status("lobby", last["id"].as_str().unwrap(), "answered").await;
    let mut cancelled = 0;
    loop {
        let event = events.next().await;
        let ours = about(&event, &writing) || about(&event, &waiting);
        cancelled += usize::from(ours && event.name == "message.cancelled");
        let silent = cancelled < 2 || !event.name.starts_with("reply.");
        assert!(!ours || silent, "{} after the cancel: {}", event.name, event.data);
        if event.name == "message.completed" {
            break;
        }
    }
    assert_eq!(cancelled, 2, "repeats leave no events");
    let all = server.all("lobby").await;
    let replies: Vec<_> = all.iter().filter(|m| m["author"]["kind"] == "bot").map(|m| &m["reply_to"]).collect();
    assert_eq!(replies, [&last["id"]]);

    change(&server, &last, "cancel").await.refused("answered", 409, "already-ended");
    let nobody = server.post("lobby", "never mind", json!({"to": []})).await;
    change(&server, &nobody, "cancel").await.refused("nobody asked", 409, "already-ended");
    let reply = all.iter().find(|m| m["reply_to"] == last["id"]).unwrap();
    change(&server, reply, "cancel").await.refused("a reply", 409, "already-ended");
    for (posted, what) in [(&nobody, "none"), (reply, "a reply")] {
        change(&server, posted, "retry").await.refused(what, 409, "not-failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_or_cancelled_message_is_asked_again_and_keeps_every_answer() {
    let asked = AtomicUsize::new(0);
    let fake = Fake::answering("fake", move |_| match asked.fetch_add(1, SeqCst) {
        // The second asking is cancelled, the fourth hangs.
        1 | 3 => vec![Step::Head, Step::Text("so".into()), Step::Hang],
        n => Step::answer(&["answer ", &n.to_string()]),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), ""), &[]);
    let mut events = server.events("lobby").await;
    let posted = server.post("lobby", "question", json!({})).await;
    let id = posted["id"].as_str().unwrap();
    server.until_status("lobby", id, "answered").await;

    stands(&change(&server, &posted, "retry").await, &posted, "waiting");
    let (_, released) = events.until("message.released").await;
    assert_eq!((&released["reason"], &released["fence"]), (&json!("retry-asked"), &Value::Null));
    events.until("reply.delta").await;
    change(&server, &posted, "retry").await.refused("claimed", 409, "not-failed");
    stands(&change(&server, &posted, "cancel").await, &posted, "cancelled");
    stands(&change(&server, &posted, "retry").await, &posted, "waiting");
    server.until_status("lobby", id, "answered").await;
    let texts = |all: Vec<Value>| all.iter().map(|m| m["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let said = ["question", "answer 0", "answer 2"];
    assert_eq!(texts(server.all("lobby").await), said);
    let replies: Vec<_> = server.all("lobby").await.iter().map(|m| m["reply_to"].clone()).collect();
    assert_eq!(replies, [Value::Null, posted["id"].clone(), posted["id"].clone()]);
    // Its life is one, and the log is right by the rules.
    let (_, timeline) = server.get(&format!("/api/messages/{id}/timeline")).await;
    let steps: Vec<_> = timeline["steps"].as_array().unwrap().iter().map(|s| s["event"].as_str().unwrap()).collect();
    let asking = ["message.claimed", "reply.posted", "message.completed"];
    let cancelled = ["message.released", "message.claimed", "message.cancelled", "message.released"];
    assert_eq!(steps, [&["message.posted"][..], &asking, &cancelled, &asking].concat());
    let log = dir.path().join("data");
    let replay = |arguments: &[&str]| {
        let output = antiphon().arg("replay").args(arguments).arg("--log").arg(&log).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!replay(&["verify"]).is_empty());
    let stats: Value = serde_json::from_str(replay(&["stats", "--json"]).lines().next().unwrap()).unwrap();
    assert_eq!(
        [&stats["asked"], &stats["answered"], &stats["cancelled"]],
        [&json!(3), &json!(2), &json!(1)],
        "{stats}"
    );

    // Whoever starts anew folds it to the same.
    let before = everything_shown(&server).await;
    assert!(server.terminate().success());
    std::fs::remove_dir_all(log.join("index")).unwrap();
    let _gone = std::fs::remove_file(log.join("snapshot"));
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), ""), &[]);
    assert_same(&before, &everything_shown(&server).await, "after a fold of the whole log");

    stands(&change(&server, &posted, "redact").await, &posted, "answered");
    change(&server, &posted, "retry").await.refused("hidden", 409, "redacted");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_and_dead_messages_are_tried_again_when_somebody_asks() {
    // 0: refuses for good, 1: breaks, 2: is well
    let mood = Arc::new(AtomicUsize::new(0));
    let seen = mood.clone();
    let fake = Fake::answering("fake", move |_| match seen.load(SeqCst) {
        0 => vec![Step::Status(400, json!({"error": "no"}))],
        1 => vec![Step::Status(500, json!({"error": "broken"}))],
        _ => Step::answer(&["all ", "is well"]),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let settings = fake_settings(&fake.url(), "attempts_max = 2\nretry_base_ms = 1\nretry_max_ms = 2\n");
    let server = Server::configured(dir.path(), &settings, &[]);
    let mut posts = Vec::new();
    for (n, ended, reason) in [(0, "failed", "model-refused"), (1, "dead", "attempts-used-up: model-error")] {
        mood.store(n, SeqCst);
        let posted = server.post("lobby", &format!("question {n}"), json!({})).await;
        let id = posted["id"].as_str().unwrap();
        let message = server.until_status("lobby", id, ended).await;
        assert!(message["reason"].as_str().unwrap().starts_with(reason), "{message}");
        change(&server, &posted, "cancel").await.refused(ended, 409, "already-ended");
        stands(&change(&server, &posted, "retry").await, &posted, "waiting");
        server.until_status("lobby", id, ended).await;
        posts.push(posted);
    }
    mood.store(2, SeqCst);
    for posted in &posts {
        assert_eq!(change(&server, posted, "retry").await.status, 200);
        let message = server.until_status("lobby", posted["id"].as_str().unwrap(), "answered").await;
        assert_eq!(message["reason"], Value::Null);
    }
    let texts: Vec<_> = server.all("lobby").await.iter().map(|m| m["text"].clone()).collect();
    assert_eq!(texts, ["question 0", "question 1", "all is well", "all is well"]);

    mood.store(0, SeqCst);
    let hidden = server.post("lobby", "question 2", json!({})).await;
    server.until_status("lobby", hidden["id"].as_str().unwrap(), "failed").await;
    stands(&change(&server, &hidden, "redact").await, &hidden, "failed");
    change(&server, &hidden, "retry").await.refused("hidden", 409, "redacted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_message_is_cancelled_and_leaves_prompts_pages_and_memory() {
    let fake = Fake::answering("fake", |request| match request.body.contains("hang") {
        true => vec![Step::Head, Step::Text("so".into()), Step::Hang],
        false => Step::answer(&["well"]),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), "recent_messages = 3\n"), &[]);
    let old = server.post("lobby", "an old secret", json!({"to": []})).await;
    for n in 0..5 {
        server.post("lobby", &format!("filler {n}"), json!({"to": []})).await;
    }
    let mut events = server.events("lobby").await;
    let open = server.post("lobby", "hang on, secret", json!({})).await;
    events.until("reply.delta").await;
    for (posted, before, after) in [(&old, "none", "none"), (&open, "claimed", "cancelled")] {
        assert_eq!(status(&server, posted).await, before);
        for _ in 0..2 {
            stands(&change(&server, posted, "redact").await, posted, after);
        }
        let (_, message) = server.get(&format!("/api/messages/{}", posted["id"].as_str().unwrap())).await;
        assert_eq!((&message["text"], &message["redacted"]), (&json!(""), &json!(true)), "{message}");
    }
    // Its author and place stay.
    let all = server.all("lobby").await;
    assert_eq!(all.len(), 7);
    assert_eq!((&all[0]["id"], &all[0]["author"]["name"]), (&old["id"], &json!("ann")));
    let asked = server.post("lobby", "And now?", json!({})).await;
    server.until_status("lobby", asked["id"].as_str().unwrap(), "answered").await;
    let prompt = fake.requests().pop().unwrap().body;
    assert!(prompt.contains("filler 4") && prompt.contains("And now?") && !prompt.contains("secret"), "{prompt}");
    assert!(!server.all("lobby").await.iter().any(|m| m["text"].as_str().unwrap().contains("secret")));
    // The same after a start that folds everything anew.
    let data = dir.path().join("data");
    assert!(server.terminate().success());
    std::fs::remove_dir_all(data.join("index")).unwrap();
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), "recent_messages = 3\n"), &[]);
    assert!(!json!(server.all("lobby").await).to_string().contains("secret"));
}
