//! `POST /api/messages/{id}/erase`: what is gone afterwards, what stays, and who may ask for it.

use std::{fs, path::Path};

use antiphon_bot::fake::{Fake, Step};
use serde_json::{Value, json};

use crate::harness::{Answer, Server, everything_shown, fake_settings};

async fn erase(server: &Server, message: &Value) -> Answer {
    let url = server.url(&format!("/api/messages/{}/erase", message["id"].as_str().unwrap()));
    server.ask(server.client().post(url)).await
}

/// Whether any file of a folder holds these bytes.
fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        fs::read(&path).unwrap().windows(text.len()).any(|bytes| bytes == text.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_text_and_its_authors_name_are_in_no_answer_no_prompt_and_no_file() {
    let fake = Fake::answering("fake", |_| Step::answer(&["I heard: ", "the moon is made of cheese"])).await;
    let (dir, settings) = (tempfile::tempdir().unwrap(), fake_settings(&fake.url(), "recent_messages = 3\n"));
    let server = Server::configured(dir.path(), &settings, &[]);
    let data = dir.path().join("data");
    let mut events = server.events("lobby").await;
    let old = server.post("lobby", "an old one", json!({"author": {"name": "Zenobia"}, "to": []})).await;
    let asked = server.post("lobby", "tell nobody about it", json!({"author": {"name": "Zenobia"}})).await;
    server.until_status("lobby", asked["id"].as_str().unwrap(), "answered").await;
    for n in 0..4 {
        server.post("lobby", &format!("filler {n}"), json!({"to": []})).await;
    }
    let all = server.all("lobby").await;
    let reply = all.iter().find(|m| m["reply_to"] == asked["id"]).unwrap().clone();
    let words = ["an old one", "tell nobody", "made of cheese", "Zenobia"];
    assert!(words.iter().all(|word| holds(&data, word)));

    for (message, status) in [(&old, "none"), (&asked, "answered"), (&reply, "none")] {
        for _ in 0..2 {
            let answer = erase(&server, message).await;
            let Answer { status: code, body, .. } = &answer;
            assert_eq!((*code, &body["id"], &body["status"]), (200, &message["id"], &json!(status)), "{body}");
            assert_eq!(body.as_object().unwrap().len(), 3, "id, status, position");
        }
        let (_, data) = events.until("message.erased").await;
        assert_eq!(data, json!({"message_id": message["id"]}));
        let (_, now) = server.get(&format!("/api/messages/{}", message["id"].as_str().unwrap())).await;
        let kind = if *message == reply { "bot" } else { "human" };
        assert_eq!((&now["text"], &now["redacted"]), (&json!(""), &json!(true)), "{now}");
        assert_eq!(now["author"], json!({"name": "erased", "kind": kind, "color": null}), "{now}");
        assert_eq!((&now["model"], &now["context"], &now["bot"]), (&Value::Null, &Value::Null, &Value::Null));
    }
    assert!(!words.iter().any(|word| holds(&data, word)), "gone when answered");
    let ids = |all: &[Value]| all.iter().map(|m| m["id"].clone()).collect::<Vec<_>>();
    let shown = everything_shown(&server).await;
    assert_eq!(ids(&server.all("lobby").await), ids(&all), "each in its place");
    assert!(!words.iter().any(|word| shown.to_string().contains(word)), "{shown}");
    let repeated = json!({"id": old["id"], "author": {"name": "Zenobia"}, "text": "an old one", "to": []});
    let url = server.url("/api/rooms/lobby/messages");
    server.ask(server.client().post(url).json(&repeated)).await.refused("the same post", 409, "id-taken");
    let last = server.post("lobby", "And now?", json!({})).await;
    server.until_status("lobby", last["id"].as_str().unwrap(), "answered").await;
    let prompt = fake.requests().pop().unwrap().body;
    assert!(!words.iter().any(|word| prompt.contains(word)), "{prompt}");
    let shown = everything_shown(&server).await;

    // The same after a start that folds everything anew, from a log without them.
    assert!(server.terminate().success());
    assert!(!["an old one", "tell nobody", "Zenobia"].iter().any(|word| holds(&data, word)));
    fs::remove_dir_all(data.join("index")).unwrap();
    fs::remove_file(data.join("snapshot")).unwrap();
    let server = Server::configured(dir.path(), &settings, &[]);
    crate::harness::assert_same(&everything_shown(&server).await, &shown, "folded afresh");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_left_in_the_log_is_erased_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let mut posts = Vec::new();
    for n in 0..60 {
        posts.push(server.post("lobby", &format!("whisper {n:03}"), json!({"to": []})).await);
    }
    let asked = posts.iter().map(|post| {
        let url = server.url(&format!("/api/messages/{}/erase", post["id"].as_str().unwrap()));
        tokio::spawn(server.client().post(url).send())
    });
    let asked: Vec<_> = asked.collect();
    tokio::time::timeout(std::time::Duration::from_millis(15), asked.into_iter().next_back().unwrap()).await.ok();
    server.kill();
    let server = Server::start(&data);
    let mut erased = Vec::new();
    for (n, post) in posts.iter().enumerate() {
        let (_, message) = server.get(&format!("/api/messages/{}", post["id"].as_str().unwrap())).await;
        if message["author"]["name"] == "erased" {
            erased.push(n);
            // What is said of it is said at once; the answer comes when it is so.
            assert_eq!(erase(&server, post).await.status, 200);
        }
    }
    for n in 0..60 {
        assert_eq!(holds(&data, &format!("whisper {n:03}")), !erased.contains(&n), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_is_for_the_operator_on_this_machine_alone() {
    let dir = tempfile::tempdir().unwrap();
    let exposed = ["--listen", "0.0.0.0:0", "--expose", "--allow-host", "chat.example"];
    let server = Server::start_with(&dir.path().join("data"), &exposed);
    let posted = server.post("lobby", "stays", json!({"to": []})).await;
    let id = posted["id"].as_str().unwrap();
    let local = format!("http://127.0.0.1:{}", server.address.rsplit_once(':').unwrap().1);
    let url = format!("{local}/api/messages/{id}/erase");
    for (name, value) in [("x-forwarded-for", "127.0.0.1"), ("via", "1.1 proxy"), ("host", "chat.example")] {
        let request = server.client().post(&url).header(name, value);
        server.ask(request).await.refused(name, 403, "this-machine-only");
    }
    let foreign = server.client().post(&url).header("origin", "https://evil.example");
    server.ask(foreign).await.refused("a page of another site", 403, "foreign-origin");
    let nobody = format!("{local}/api/messages/0195f7a2-6c00-7000-8000-000000000000/erase");
    server.ask(server.client().post(nobody)).await.refused("nobody's", 404, "no-such-message");
    server.ask(server.client().post(format!("{local}/api/messages/x/erase"))).await.refused("x", 400, "bad-id");
    assert_eq!(server.get(&format!("/api/messages/{id}")).await.1["text"], "stays");
    assert_eq!(server.ask(server.client().post(&url)).await.status, 200);
}
