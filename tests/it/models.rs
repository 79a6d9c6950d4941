//! The server with models that answer, break, hang, refuse and load for ever, in both dialects over real sockets.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use antiphon_bot::fake::{Fake, ODDITIES, Picky, Request, Step};
use serde_json::{Value, json};

use crate::harness::{Events, PATIENCE, Server, fake_settings};

/// Retries come at once, so that tests do not wait.
const SOON: &str = "retry_base_ms = 1\nretry_max_ms = 2\n";
const KEY: &str = "sk-very-secret";

/// Settings for the fake at `url` in one of the dialects.
fn settings(dialect: &str, url: &str, more: &str) -> String {
    match dialect {
        "ollama" => fake_settings(url, more),
        _ => format!("model = \"openai:fake\"\nopenai_base_url = \"{url}/v1\"\nopenai_api_key = \"{KEY}\"\n{more}"),
    }
}

/// A model that answers its first question by `first`, and later ones well.
async fn at_first(first: Vec<Step>) -> Fake {
    let asked = AtomicUsize::new(0);
    Fake::answering("fake", move |_| match asked.fetch_add(1, SeqCst) {
        0 => first.clone(),
        _ => Step::answer(&["all is ", "well"]),
    })
    .await
}

fn chats(fake: &Fake) -> Vec<Request> {
    fake.requests().into_iter().filter(|r| r.path.ends_with("/chat") && !r.is_load() || r.path.ends_with("s")).collect()
}

/// Every event about one message up to `end`, with its name; `queued` and other stages left out.
async fn story(events: &mut Events, end: &str) -> Vec<(String, Value)> {
    let mut story: Vec<(String, Value)> = Vec::new();
    while story.last().is_none_or(|(name, _)| name != end) {
        let event = events.next().await;
        if event.name != "reply.progress" && event.name != "snapshot" {
            story.push((event.name, serde_json::from_str(&event.data).unwrap()));
        }
    }
    story
}

fn names(story: &[(String, Value)]) -> Vec<&str> {
    let mut names: Vec<_> = story.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_asked_and_its_words_are_the_answer() {
    for (dialect, path) in [("ollama", "/api/chat"), ("openai", "/v1/chat/completions")] {
        let fake = Fake::answering("fake", |_| {
            let mut steps = vec![Step::ByteByByte];
            steps.extend(Step::answer(&["Höre, ", "\u{1f980} und ", "Ende."]));
            steps
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let server = Server::configured(dir.path(), &settings(dialect, &fake.url(), ""), &[]);
        server.printed(&format!("antiphon on {dialect}:fake"));
        let mut events = server.events("lobby").await;
        server.post("lobby", "Hello?", json!({"to": []})).await;
        server.post("lobby", "Is anybody there?", json!({})).await;
        let story = story(&mut events, "message.completed").await;
        let deltas: String =
            story.iter().filter(|(n, _)| n == "reply.delta").map(|(_, d)| d["text"].as_str().unwrap()).collect();
        let (_, reply) = story.iter().find(|(name, _)| name == "reply.posted").unwrap();
        assert_eq!((deltas.as_str(), &reply["text"]), ("Höre, \u{1f980} und Ende.", &json!(deltas)));
        assert_eq!((&reply["model"], &reply["finish"]), (&json!(format!("{dialect}:fake")), &json!("stop")));
        assert_eq!(reply["context"].as_array().unwrap().len(), 1);
        assert_eq!(reply["usage"], json!({"prompt_tokens": 11, "completion_tokens": 7}));
        let asked = chats(&fake).pop().unwrap();
        assert_eq!((asked.path.as_str(), &asked.json["model"]), (path, &json!("fake")));
        let turns: Vec<_> = asked.json["messages"].as_array().unwrap().iter().map(|t| t["content"].clone()).collect();
        assert_eq!(turns[1..], ["ann: Hello?", "ann: Is anybody there?"]);
        assert_eq!(asked.head.contains(KEY), dialect == "openai", "only OpenAI gets the key");
        let (_, timeline) = server.get(&format!("/api/messages/{}", reply["id"].as_str().unwrap())).await;
        assert!(!timeline.to_string().contains(KEY));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_on_the_way_is_told_beside_the_answer() {
    let odd = ODDITIES.iter().find(|odd| odd.noted && odd.name.contains("breaks off")).unwrap();
    let fake = Fake::answering("fake", |_| odd.steps("all is well", false)).await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &settings("openai", &fake.url(), SOON), &[]);
    let posted = server.post("lobby", "Hello?", json!({})).await;
    server.until_status("lobby", posted["id"].as_str().unwrap(), "answered").await;
    let reply = server.all("lobby").await.pop().unwrap();
    assert_eq!((&reply["text"], chats(&fake).len()), (&json!("all is well"), 1));
    assert!(reply["notes"][0].as_str().unwrap().starts_with("unreadable: "), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_refuses_is_learnt_kept_over_a_restart_and_shown_by_the_doctor() {
    let fake =
        Fake::answering("fake", |request| Picky::Roles.refuses(request).unwrap_or_else(|| Step::answer(&["well"])))
            .await;
    let dir = tempfile::tempdir().unwrap();
    let settings = settings("openai", &fake.url(), SOON);
    for round in 0..2 {
        let server = Server::configured(dir.path(), &settings, &[]);
        for name in ["ann", "bob"] {
            server.post("lobby", "Hello!", json!({"to": [], "author": {"name": name}})).await;
        }
        let before = chats(&fake).len();
        let posted = server.post("lobby", "Who is here?", json!({})).await;
        server.until_status("lobby", posted["id"].as_str().unwrap(), "answered").await;
        assert_eq!(chats(&fake).len() - before, if round == 0 { 2 } else { 1 }, "round {round}");
    }
    let learnt = std::fs::read_to_string(dir.path().join("data/models.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&learnt).unwrap(), json!({"openai:fake": {"merge_roles": true}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_end_is_kept_as_far_as_it_came_and_not_asked_for_again() {
    let mut endless = vec![Step::Head];
    endless.extend((0..1_000).flat_map(|n| [Step::Text(format!("{n} ")), Step::Wait(Duration::from_millis(10))]));
    for dialect in ["ollama", "openai"] {
        let steps = endless.clone();
        let fake = Fake::answering("fake", move |_| steps.clone()).await;
        let dir = tempfile::tempdir().unwrap();
        let bot = "[[bots]]\nname = \"helper\"\nanswer = { seconds = 1 }\n";
        let server = Server::configured(dir.path(), &settings(dialect, &fake.url(), &format!("{SOON}{bot}")), &[]);
        let posted = server.post("lobby", "Count!", json!({})).await;
        server.until_status("lobby", posted["id"].as_str().unwrap(), "answered").await;
        let reply = server.all("lobby").await.pop().unwrap();
        assert!(reply["text"].as_str().unwrap().starts_with("0 1 2 "), "{reply}");
        assert_eq!(reply["notes"], json!(["cut-off: the time for an answer was over"]));
        assert_eq!((&reply["finish"], chats(&fake).len()), (&json!("length"), 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_breaks_is_asked_again_and_viewers_see_one_answer() {
    let said = |step| vec![Step::Head, Step::Text("half an ".into()), Step::Text("answer".into()), step];
    let cases = [
        (said(Step::Error("out of memory".into())), "model-error", true),
        (said(Step::End), "model-broke-off", true),
        (said(Step::Cut), "model-broke-off", true),
        (said(Step::Hang), "model-timeout", true),
        (vec![Step::Head, Step::Hang], "model-timeout", false),
        (vec![Step::Hang], "model-timeout", false),
        (vec![Step::Cut], "model-", false),
        (vec![Step::Head, Step::Finish("stop".into())], "empty-answer", false),
        (vec![Step::Status(500, json!({"error": "broken"}))], "model-error", false),
    ];
    let clocks = format!("{SOON}load_s = 1\nfirst_token_s = 1\ngap_s = 1\n");
    for dialect in ["ollama", "openai"] {
        // Side by side: most of the time they wait for a clock.
        let all = cases.iter().map(|(first, code, partial)| {
            let clocks = &clocks;
            async move {
                let what = format!("{dialect} {first:?}");
                let fake = at_first(first.clone()).await;
                let dir = tempfile::tempdir().unwrap();
                let server = Server::configured(dir.path(), &settings(dialect, &fake.url(), clocks), &[]);
                let mut events = server.events("lobby").await;
                let posted = server.post("lobby", "Hello?", json!({})).await;
                let story = story(&mut events, "message.completed").await;
                let mut expected = vec!["message.posted", "message.claimed", "reply.started"];
                if *partial {
                    expected.extend(["reply.delta", "message.failed", "reply.reset"]);
                } else {
                    expected.push("message.failed");
                }
                expected.extend(["message.released", "message.claimed", "reply.started", "reply.delta"]);
                expected.extend(["reply.posted", "message.completed"]);
                assert_eq!(names(&story), expected, "{what}");
                let data = |wanted: &str| story.iter().filter(|(n, _)| n == wanted).map(|(_, d)| d).collect::<Vec<_>>();
                let failed = data("message.failed")[0];
                assert!(failed["reason"].as_str().unwrap().starts_with(code), "{what}: {failed}");
                assert!(failed["attempt"] == 1 && failed["retry_at"].is_string(), "{what}: {failed}");
                let replies: Vec<_> = data("reply.started").iter().map(|d| d["reply_id"].clone()).collect();
                assert!(data("reply.reset").iter().all(|d| d["reply_id"] == replies[0]), "{what}");
                assert_eq!(data("message.released")[0]["reason"], "retry-due");
                let mut text = String::new();
                for delta in data("reply.delta").iter().filter(|d| d["reply_id"] == replies[1]) {
                    text += delta["text"].as_str().unwrap();
                }
                let posted_reply = data("reply.posted")[0];
                assert_eq!((&posted_reply["id"], &posted_reply["text"]), (&replies[1], &json!(text)), "{what}");
                assert_eq!(text, "all is well");
                let all = server.all("lobby").await;
                assert_eq!(all.len(), 2, "{what}: one answer");
                assert_eq!((&all[0]["id"], &all[0]["status"]), (&posted["id"], &json!("answered")));
            }
        });
        futures_util::future::join_all(all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_try_would_not_mend_has_failed_at_once() {
    for dialect in ["ollama", "openai"] {
        for (first, code) in [
            (vec![Step::Status(404, json!({"error": "model 'fake' not found"}))], "model-not-found"),
            (vec![Step::Status(401, json!({"error": "who are you?"}))], "model-key"),
            (vec![Step::Status(403, json!({"error": "not you"}))], "model-key"),
            (vec![Step::Status(400, json!({"error": "too long"}))], "model-refused"),
        ] {
            let fake = at_first(first).await;
            let dir = tempfile::tempdir().unwrap();
            let server = Server::configured(dir.path(), &settings(dialect, &fake.url(), SOON), &[]);
            let mut events = server.events("lobby").await;
            let posted = server.post("lobby", "Hello?", json!({})).await;
            let (_, failed) = events.until("message.failed").await;
            assert!(failed["reason"].as_str().unwrap().starts_with(code), "{dialect}: {failed}");
            assert_eq!((&failed["attempt"], &failed["retry_at"]), (&json!(1), &Value::Null));
            assert!(!failed.to_string().contains(KEY));
            let (_, message) = server.get(&format!("/api/messages/{}", posted["id"].as_str().unwrap())).await;
            assert_eq!((&message["status"], &message["reason"]), (&json!("failed"), &failed["reason"]));
            // The next question is a new one.
            let next = server.post("lobby", "And now?", json!({})).await;
            server.until_status("lobby", next["id"].as_str().unwrap(), "answered").await;
            assert_eq!(chats(&fake).len(), 2, "{dialect} {code}: asked once, and once more");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_away_is_waited_for_however_often_and_costs_no_try() {
    for (status, code) in [(None, "model-unreachable"), (Some(429), "model-busy"), (Some(502), "model-busy")] {
        let busy = AtomicUsize::new(0);
        let fake = Fake::answering("fake", move |_| match (status, busy.fetch_add(1, SeqCst)) {
            (Some(status), 0..4) => {
                let heads = vec![("retry-after-ms".to_owned(), "20".to_owned())];
                vec![Step::Whole(status, heads, b"{}".to_vec())]
            }
            _ => Step::answer(&["all is well"]),
        })
        .await;
        let url = if status.is_none() { Fake::nobody().await } else { fake.url() };
        let dir = tempfile::tempdir().unwrap();
        let server =
            Server::configured(dir.path(), &settings("openai", &url, &format!("{SOON}attempts_max = 1\n")), &[]);
        let mut events = server.events("lobby").await;
        let posted = server.post("lobby", "Hello?", json!({})).await;
        for _ in 0..if status.is_none() { 2 } else { 4 } {
            let (_, failed) = events.until("message.failed").await;
            assert!(failed["reason"].as_str().unwrap().starts_with(code), "{failed}");
            assert_eq!((&failed["away"], &failed["attempt"]), (&json!(true), &json!(1)));
            assert!(failed["retry_at"].is_string(), "until when: {failed}");
        }
        if status.is_some() {
            server.until_status("lobby", posted["id"].as_str().unwrap(), "answered").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_kept_for_a_model_that_is_away_until_it_is_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings("openai", &Fake::nobody().await, &format!("{SOON}max_age_s = 2\n"));
    let server = Server::configured(dir.path(), &settings, &[]);
    let posted = server.post("lobby", "Hello?", json!({})).await;
    let message = server.until_status("lobby", posted["id"].as_str().unwrap(), "dead").await;
    assert_eq!(message["reason"], "too-old");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_always_hangs_is_given_up_after_so_many_tries() {
    let hangs = Fake::answering("fake", |_| vec![Step::Head, Step::Hang]).await;
    {
        let (url, code) = (hangs.url(), "model-timeout");
        let dir = tempfile::tempdir().unwrap();
        let settings = settings("ollama", &url, &format!("{SOON}attempts_max = 2\nfirst_token_s = 1\n"));
        let server = Server::configured(dir.path(), &settings, &[]);
        let mut events = server.events("lobby").await;
        let posted = server.post("lobby", "Hello?", json!({})).await;
        let story = story(&mut events, "message.dead").await;
        let failed: Vec<_> = story.iter().filter(|(name, _)| name == "message.failed").map(|(_, d)| d).collect();
        assert_eq!(failed.iter().map(|f| &f["attempt"]).collect::<Vec<_>>(), [1, 2]);
        assert!(failed[0]["retry_at"].is_string() && failed[1]["retry_at"].is_null());
        let reason = story.last().unwrap().1["reason"].as_str().unwrap();
        assert!(reason.starts_with(&format!("attempts-used-up: {code}")), "{reason}");
        let (_, message) = server.get(&format!("/api/messages/{}", posted["id"].as_str().unwrap())).await;
        assert_eq!((&message["status"], &message["reason"]), (&json!("dead"), &json!(reason)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_keep_the_claim_while_the_model_loads_and_while_it_is_silent() {
    const LONG: Duration = Duration::from_millis(1_500);
    let fake = Fake::start(|request| match request.is_load() {
        true => vec![Step::Wait(LONG), Step::Status(200, json!({"done": true, "done_reason": "load"}))],
        false => {
            let (first, second) = (Step::Text("at ".into()), Step::Text("last".into()));
            vec![Step::Head, first, Step::Wait(LONG), second, Step::Finish("stop".into())]
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), ""), &["--lease-ms", "300"]);
    let mut events = server.events("lobby").await;
    let posted = server.post("lobby", "Hello?", json!({})).await;
    let (_, progress) = events.until("reply.progress").await;
    assert_eq!((&progress["message_id"], &progress["stage"]), (&posted["id"], &json!("loading-model")));
    let story = story(&mut events, "message.completed").await;
    assert_eq!(names(&story), ["reply.delta", "reply.posted", "message.completed"], "not taken over");
    assert!(story.last().unwrap().1["ms"].as_u64().unwrap() >= 2 * LONG.as_millis() as u64);
    assert_eq!(server.all("lobby").await[1]["text"], "at last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_hangs_up_on_the_model() {
    for dialect in ["ollama", "openai"] {
        let fake = Fake::answering("fake", |_| vec![Step::Head, Step::Text("so ".into()), Step::Hang]).await;
        let dir = tempfile::tempdir().unwrap();
        let server = Server::configured(dir.path(), &settings(dialect, &fake.url(), ""), &[]);
        let mut events = server.events("lobby").await;
        let posted = server.post("lobby", "Hello?", json!({})).await;
        events.until("reply.delta").await;
        let asked = chats(&fake).pop().unwrap().number;
        assert!(fake.hang_ups().is_empty());
        let cancelled = Instant::now();
        let path = format!("/api/messages/{}/cancel", posted["id"].as_str().unwrap());
        assert_eq!(server.send_json(&path, &json!({})).await.0, 200);
        tokio::time::timeout(PATIENCE, fake.hung_up(asked)).await.expect("the model is left alone");
        // No clock and no lease is as short as this.
        assert!(cancelled.elapsed() < Duration::from_secs(3), "{:?}", cancelled.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_keeps_failing_is_left_alone_and_the_monitor_says_so() {
    let fake = Fake::answering("fake", |_| vec![Step::Status(500, json!({"error": "broken"}))]).await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), "attempts_max = 1\n"), &[]);
    let queue = async || server.get("/api/queues").await.1["queues"][0].clone();
    for n in 0..5 {
        assert_eq!(queue().await["paused"], Value::Null, "after {n} failures");
        let posted = server.post("lobby", &format!("question {n}"), json!({})).await;
        let message = server.until_status("lobby", posted["id"].as_str().unwrap(), "dead").await;
        assert!(message["reason"].as_str().unwrap().contains("model-error"), "{message}");
    }
    let posted = server.post("lobby", "question 5", json!({})).await;
    let queue = queue().await;
    let paused = queue["paused"].as_str().unwrap();
    assert!(paused.contains("failed 5 times in a row") && paused.contains("model-error"), "{paused}");
    assert_eq!((&queue["waiting"], &queue["claimed"]), (&json!(1), &json!(0)));
    let (_, message) = server.get(&format!("/api/messages/{}", posted["id"].as_str().unwrap())).await;
    assert_eq!(message["status"], "waiting", "it is not burnt on a model that is known to be broken");
    assert_eq!(chats(&fake).len(), 5);
}
