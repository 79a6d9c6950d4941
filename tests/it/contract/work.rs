//! The work API: claims, words and ends of workers on other machines, each said once, twice, too late, and wrongly.
//!
//! Method: the test is the worker. Bots have `model = "remote"`, so nobody else answers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    harness::{Answer, Events, Server, lasting_address},
    openapi::fits,
};

/// Two bots that only workers answer for.
const BOTS: &str = "[[bots]]\nname = \"ada\"\nmodel = \"remote\"\npersona = \"You are ada.\"\ncolor = \"#80c0ff\"\n\
                    options = { temperature = 0.5 }\ntrim_after = [\"END\"]\ncontext_messages = 2\n\
                    [[bots]]\nname = \"bob\"\nmodel = \"remote\"\nanswers = \"addressed\"\n";

fn start(dir: &tempfile::TempDir, more: &str) -> Server {
    Server::configured(dir.path(), &format!("{more}{BOTS}"), &[])
}

async fn call(server: &Server, path: &str, body: &Value) -> Answer {
    server.ask(server.client().post(server.url(&format!("/api/work/{path}"))).json(body)).await
}

fn wish(key: &str, wait_ms: u64) -> Value {
    json!({"worker": "box", "bots": ["ada"], "claim_key": key, "wait_ms": wait_ms})
}

/// Claims what waits for ada.
async fn claim(server: &Server, key: &str) -> Value {
    let answer = call(server, "claim", &wish(key, 10_000)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// Says something about a claim.
async fn say(server: &Server, work: &Value, what: &str, mut body: Value) -> Answer {
    body["fence"] = work["fence"].clone();
    call(server, &format!("{}/{what}", work["message"]["id"].as_str().unwrap()), &body).await
}

fn done(text: &str) -> Value {
    json!({"text": text, "finish": "stop"})
}

#[track_caller]
fn ok(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

#[track_caller]
fn ended(answer: &Answer, how: &str) {
    answer.refused(how, 409, "ended");
    assert_eq!(answer.body["ended"], how);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_claims_a_message_writes_its_answer_and_may_say_everything_twice() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "");
    server.printed("ada on workers");
    let (_, document) = server.get("/openapi.json").await;
    let mut events = server.events("lobby").await;
    for n in 0..3 {
        server.post("lobby", &format!("before {n}"), json!({"to": []})).await;
    }
    let posted = server.post("lobby", "Hello?", json!({})).await;

    let mut asks = wish("k1", 10_000);
    asks["models"] = json!([{"name": "ollama:x", "warm": true}]);
    fits(&document, "ClaimWork", &asks);
    let work = ok(call(&server, "claim", &asks).await);
    fits(&document, "Work", &work);
    assert_eq!(ok(call(&server, "claim", &asks).await), work, "the same key is the same claim");
    assert_eq!((&work["message"]["id"], &work["message"]["text"]), (&posted["id"], &json!("Hello?")));
    assert_eq!((&work["attempt"], &work["lease_ms"]), (&json!(1), &json!(10_000)));
    let context: Vec<_> = work["context"].as_array().unwrap().iter().map(|m| m["text"].clone()).collect();
    assert_eq!(context, ["before 1", "before 2"]);
    let bot = json!({"name": "ada", "persona": "You are ada.", "context_messages": 2, "options": {"temperature": 0.5},
        "filters": {"filter_out": [], "trim_after": ["END"], "trim_whitespace": false}});
    assert_eq!(work["bot"], bot);
    let (_, profiles) = server.get("/api/work/bots").await;
    fits(&document, "BotProfiles", &profiles);
    assert_eq!((&profiles["bots"][0], &profiles["bots"][1]["name"]), (&bot, &json!("bob")));

    let stage = json!({"stage": "loading-model", "progress": 0.5});
    let alive = ok(say(&server, &work, "heartbeat", stage).await);
    fits(&document, "Alive", &alive);
    assert_eq!(alive, json!({"lease_ms": 10_000}));
    let (_, progress) = events.until("reply.progress").await;
    assert_eq!(progress, json!({"message_id": posted["id"], "stage": "loading-model", "progress": 0.5}));
    for (index, text, next) in [(0, "one ", 1), (0, "one ", 1), (1, "two ", 2), (0, "one ", 2)] {
        let taken = ok(say(&server, &work, "deltas", json!({"index": index, "text": text})).await);
        fits(&document, "DeltaTaken", &taken);
        assert_eq!(taken, json!({"next_index": next}));
    }
    let gap = say(&server, &work, "deltas", json!({"index": 4, "text": "five"})).await;
    gap.refused("a gap", 409, "delta-gap");
    assert_eq!(gap.body["expected"], 2);
    fits(&document, "Problem", &gap.body);
    let jump = json!({"index": 4, "text": "five ", "before": "one two three four "});
    assert_eq!(ok(say(&server, &work, "deltas", jump).await), json!({"next_index": 5}));
    let other = json!({"index": 6, "text": "x", "before": "something else"});
    say(&server, &work, "deltas", other).await.refused("another text", 409, "text-mismatch");
    say(&server, &work, "complete", done("another text")).await.refused("another text", 409, "text-mismatch");

    let mut complete = done("one two three four five six");
    complete["usage"] = json!({"prompt_tokens": 11, "completion_tokens": 7});
    complete["notes"] = json!(["cut-off: the time was over"]);
    complete["model"] = json!("ollama:x");
    complete["options"] = json!({"temperature": 0.5});
    complete["context"] = json!([work["context"][0]["id"]]);
    let first = ok(say(&server, &work, "complete", complete.clone()).await);
    fits(&document, "WorkCompleted", &first);
    assert_eq!((&first["id"], &first["reply_id"]), (&posted["id"], &work["reply_id"]));
    for _ in 0..2 {
        assert_eq!(ok(say(&server, &work, "complete", complete.clone()).await), first, "the same again");
    }
    let (_, reply) = server.get(&format!("/api/messages/{}", work["reply_id"].as_str().unwrap())).await;
    assert_eq!((&reply["text"], &reply["position"]), (&complete["text"], &first["position"]));
    assert_eq!(reply["author"], json!({"name": "ada", "kind": "bot", "color": "#80c0ff"}));
    assert_eq!((&reply["model"], &reply["usage"]), (&complete["model"], &complete["usage"]));
    assert_eq!(reply["notes"], complete["notes"]);
    assert_eq!((&reply["context"], &reply["options"]), (&complete["context"], &complete["options"]));
    assert_eq!((&reply["deltas"], reply["first_token_ms"].is_u64()), (&json!(6), true));

    // What viewers saw is the text, once.
    let mut seen = String::new();
    loop {
        let event = events.next().await;
        let data: Value = serde_json::from_str(&event.data).unwrap();
        match event.name.as_str() {
            "reply.delta" => seen.push_str(data["text"].as_str().unwrap()),
            "reply.snapshot" => seen = data["text"].as_str().unwrap().into(),
            "message.completed" => break,
            _ => {}
        }
    }
    assert_eq!(json!(seen), complete["text"]);

    for (what, body) in [
        ("deltas", json!({"index": 9, "text": "late"})),
        ("heartbeat", json!({})),
        ("fail", json!({"reason": "late", "retryable": true})),
        ("release", json!({})),
    ] {
        ended(&say(&server, &work, what, body).await, "answered");
    }
    call(&server, "claim", &asks).await.refused("a key whose reply is posted", 409, "claim-over");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_gets_work_the_moment_it_comes_and_nothing_when_the_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "");
    let begun = Instant::now();
    for wait_ms in [0, 300] {
        let answer = call(&server, "claim", &wish("k0", wait_ms)).await;
        assert_eq!((answer.status, answer.body), (204, json!("")));
        assert!(begun.elapsed() >= Duration::from_millis(wait_ms));
    }
    // Nothing was claimed for those who had gone.
    let posted = server.post("lobby", "one", json!({})).await;
    let work = ok(call(&server, "claim", &wish("k1", 0)).await);
    assert_eq!((&work["message"]["id"], &work["attempt"]), (&posted["id"], &json!(1)));

    // Two wait; the warm one, which came later, comes first.
    let mut cold = wish("k2", 30_000);
    cold["models"] = json!([{"name": "m", "warm": true}, {"name": "n", "warm": false}]);
    let cold = call(&server, "claim", &cold);
    tokio::pin!(cold);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut cold).await.is_err());
    let asks = wish("k3", 30_000);
    let warm = call(&server, "claim", &asks);
    tokio::pin!(warm);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut warm).await.is_err());
    let two = server.post("lobby", "two", json!({})).await;
    assert_eq!(ok(warm.await)["message"]["id"], two["id"]);
    let three = server.post("lobby", "three", json!({})).await;
    assert_eq!(ok(cold.await)["message"]["id"], three["id"]);
    assert!(begun.elapsed() < Duration::from_secs(25), "nobody waited to the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_bots_the_most_urgent_message_comes_first_and_then_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "");
    for (text, bot, priority) in [("c", "ada", 5), ("a", "bob", 9), ("d", "bob", 5), ("b", "ada", 7)] {
        server.post("lobby", text, json!({"to": [bot], "priority": priority})).await;
    }
    let mut got = Vec::new();
    for n in 0..4 {
        let mut wish = wish(&format!("k{n}"), 10_000);
        wish["bots"] = json!(["ada", "bob"]);
        let work = ok(call(&server, "claim", &wish).await);
        got.push((work["message"]["text"].clone(), work["bot"]["name"].clone()));
    }
    let expected = [("a", "bob"), ("b", "ada"), ("c", "ada"), ("d", "bob")];
    assert_eq!(got, expected.map(|(text, bot)| (json!(text), json!(bot))));
    let (_, queues) = server.get("/api/queues").await;
    assert_eq!((&queues["queues"][0]["model"], &queues["queues"][0]["claimed"]), (&json!("remote"), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_worker_is_told_who_holds_the_message_now_or_that_it_waits() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "lease_ms = 300\n");
    let mut events = server.events("lobby").await;
    server.post("lobby", "Hello?", json!({})).await;
    let a = claim(&server, "a").await;
    ok(say(&server, &a, "deltas", json!({"index": 0, "text": "words of a"})).await);
    events.until("message.released").await;
    let late = say(&server, &a, "deltas", json!({"index": 1, "text": "late"})).await;
    late.refused("nobody holds it", 409, "stale-fence");
    assert_eq!(late.body.get("holder"), None);
    let mut asks = wish("b", 10_000);
    asks["worker"] = json!("other/1");
    let b = ok(call(&server, "claim", &asks).await);
    assert_eq!((&b["message"]["id"], &b["attempt"]), (&a["message"]["id"], &json!(2)));
    for (what, body) in [
        ("deltas", json!({"index": 1, "text": "late"})),
        ("heartbeat", json!({})),
        ("complete", done("words of a")),
        ("fail", json!({"reason": "late", "retryable": true})),
        ("release", json!({})),
    ] {
        let late = say(&server, &a, what, body).await;
        late.refused(what, 409, "stale-fence");
        assert_eq!(late.body["holder"], json!({"worker": "other/1", "fence": b["fence"]}), "{what}");
    }
    ok(say(&server, &b, "complete", done("words of b")).await);
    ended(&say(&server, &a, "complete", done("words of a")).await, "answered");
    // A key whose claim ended without a reply is good for another claim.
    server.post("lobby", "Again?", json!({})).await;
    assert_ne!(claim(&server, "a").await["fence"], a["fence"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_the_claim_and_the_workers_stream_says_so_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "");
    let (_, document) = server.get("/openapi.json").await;
    let posted = server.post("lobby", "Hello?", json!({})).await;
    let work = claim(&server, "a").await;
    let mut news = Events::at(&server, "/api/work/events?worker=box").await;
    let (_, claims) = news.until("claims").await;
    fits(&document, "HeldClaims", &claims);
    let held = json!({"message_id": posted["id"], "fence": work["fence"]});
    assert_eq!(claims, json!({"claims": [held]}));
    let mut others = Events::at(&server, "/api/work/events?worker=other").await;
    assert_eq!(others.until("claims").await.1, json!({"claims": []}));

    let begun = Instant::now();
    let path = format!("/api/messages/{}/cancel", posted["id"].as_str().unwrap());
    assert_eq!(server.send_json(&path, &json!({})).await.0, 200);
    let (_, over) = news.until("ended").await;
    println!("from the cancel to the worker's stream: {:?}", begun.elapsed());
    fits(&document, "ClaimEnded", &over);
    assert_eq!(over, json!({"message_id": posted["id"], "fence": work["fence"], "status": "cancelled"}));
    ended(&say(&server, &work, "heartbeat", json!({})).await, "cancelled");
    ended(&say(&server, &work, "complete", done("late")).await, "cancelled");

    // A later claim of the other worker is no news for this one.
    server.post("lobby", "Again?", json!({})).await;
    let mut asks = wish("b", 10_000);
    asks["worker"] = json!("other");
    let second = ok(call(&server, "claim", &asks).await);
    ok(say(&server, &second, "complete", done("well")).await);
    assert_eq!(others.until("ended").await.1["status"], "answered");
    server.post("lobby", "And again?", json!({})).await;
    let third = claim(&server, "c").await;
    ok(say(&server, &third, "release", json!({})).await);
    assert_eq!(news.until("ended").await.1["fence"], third["fence"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_and_releasing_may_be_said_again_and_are_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "retry_base_ms = 1\nretry_max_ms = 2\nattempts_max = 2\n");
    let posted = server.post("lobby", "Hello?", json!({})).await;
    let first = claim(&server, "a").await;
    for _ in 0..2 {
        assert_eq!(ok(say(&server, &first, "release", json!({})).await)["id"], posted["id"]);
    }
    let second = claim(&server, "b").await;
    assert_eq!(second["attempt"], 1, "what was given back does not count");
    let failure = json!({"reason": "model-error: out of memory", "retryable": true});
    for _ in 0..2 {
        ok(say(&server, &second, "fail", failure.clone()).await);
    }
    let third = claim(&server, "c").await;
    assert_eq!(third["attempt"], 2);
    ok(say(&server, &third, "fail", failure.clone()).await);
    let again = ok(say(&server, &third, "fail", failure).await);
    assert_eq!(again["status"], "dead");
    ended(&say(&server, &third, "complete", done("late")).await, "dead");
    let (_, timeline) = server.get(&format!("/api/messages/{}/timeline", posted["id"].as_str().unwrap())).await;
    let steps: Vec<_> = timeline["steps"].as_array().unwrap().iter().map(|s| s["event"].as_str().unwrap()).collect();
    let expected = [
        ["message.posted", "message.claimed", "message.released", "message.claimed", "message.failed"].as_slice(),
        &["message.released", "message.claimed", "message.failed", "message.dead"],
    ];
    assert_eq!(steps, expected.concat());
}

/// A claim lives on the log, not in a process: the server may start anew under it.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_survives_a_restart_and_the_reply_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let address = lasting_address();
    let configured = || Server::configured(dir.path(), BOTS, &["--listen", &address]);
    let server = configured();
    server.post("lobby", "Hello?", json!({})).await;
    let work = claim(&server, "a").await;
    ok(say(&server, &work, "deltas", json!({"index": 0, "text": "one "})).await);
    ok(say(&server, &work, "deltas", json!({"index": 1, "text": "two "})).await);
    server.kill();
    let server = configured();
    let mut events = server.events("lobby").await;
    assert_eq!(claim(&server, "a").await, work, "the same key is the same claim");
    let gap = say(&server, &work, "deltas", json!({"index": 2, "text": "three"})).await;
    gap.refused("words that are gone", 409, "delta-gap");
    assert_eq!(gap.body["expected"], 0);
    let whole = json!({"index": 2, "text": "three", "before": "one two "});
    ok(say(&server, &work, "deltas", whole).await);
    assert_eq!(events.until("reply.snapshot").await.1["text"], "one two ");
    assert_eq!(events.until("reply.delta").await.1["text"], "three");
    let first = ok(say(&server, &work, "complete", done("one two three")).await);
    server.kill();
    let server = configured();
    assert_eq!(ok(say(&server, &work, "complete", done("one two three")).await), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_workers_do_not_hold_up_the_end_of_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "");
    let waiting = server.client().post(server.url("/api/work/claim")).json(&wish("a", 30_000));
    let waiting = tokio::spawn(waiting.send());
    let mut news = Events::at(&server, "/api/work/events?worker=box").await;
    news.until("claims").await;
    // The claim is being waited for when a second one of its key takes its place.
    assert_eq!(call(&server, "claim", &wish("a", 100)).await.status, 204);
    let begun = Instant::now();
    assert!(server.terminate().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(waiting.await.unwrap().is_ok_and(|response| matches!(response.status().as_u16(), 204 | 503)));
    assert!(news.try_next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "");
    let long = "x".repeat(200);
    let many = vec!["ada"; 65];
    let with = |key: &str, value: Value| {
        let mut wish = wish("k", 0);
        wish[key] = value;
        wish
    };
    for (wrong, code) in [
        (with("worker", json!("")), "bad-worker"),
        (with("worker", json!("a b")), "bad-worker"),
        (with("worker", json!(long)), "bad-worker"),
        (with("bots", json!([])), "bad-bots"),
        (with("bots", json!(many)), "bad-bots"),
        (with("bots", json!(["nobody"])), "unknown-bot"),
        (with("bots", json!(["no body"])), "unknown-bot"),
        (with("claim_key", json!("")), "bad-claim-key"),
        (with("claim_key", json!(long)), "bad-claim-key"),
        (with("claim_key", json!("a b")), "bad-claim-key"),
        (with("wait_ms", json!(30_001)), "bad-wait"),
        (with("models", json!([{"name": "", "warm": true}])), "bad-models"),
        (with("models", json!([{"name": "m"}])), "wrong-type"),
        (with("wait", json!(1)), "wrong-type"),
        (json!({"worker": "box", "bots": ["ada"]}), "wrong-type"),
    ] {
        call(&server, "claim", &wrong).await.refused(&wrong.to_string(), 400, code);
    }
    server.post("lobby", "Hello?", json!({})).await;
    let work = claim(&server, "k").await;
    for (what, wrong, status, code) in [
        ("deltas", json!({"index": 0, "text": ""}), 400, "empty-text"),
        ("deltas", json!({"index": 0, "text": "a\0b"}), 400, "bad-text"),
        ("deltas", json!({"index": 1, "text": "b", "before": "\0"}), 400, "bad-text"),
        ("deltas", json!({"index": -1, "text": "a"}), 400, "wrong-type"),
        ("deltas", json!({"index": 0, "text": "x".repeat(512 * 1024 + 1)}), 413, "reply-too-long"),
        ("heartbeat", json!({"stage": "Loading"}), 400, "bad-stage"),
        ("heartbeat", json!({"stage": ""}), 400, "bad-stage"),
        ("heartbeat", json!({"progress": 0.5}), 400, "bad-stage"),
        ("heartbeat", json!({"stage": "writing", "progress": 1.5}), 400, "bad-stage"),
        ("complete", json!({"text": "", "finish": "stop"}), 400, "empty-text"),
        ("complete", json!({"text": "\u{200b}\n", "finish": "stop"}), 400, "empty-text"),
        ("complete", json!({"text": "a\0", "finish": "stop"}), 400, "bad-text"),
        ("complete", json!({"text": "a", "finish": "abort"}), 400, "bad-finish"),
        ("complete", json!({"text": "a"}), 400, "wrong-type"),
        ("complete", json!({"text": "a", "finish": "stop", "prompt_sha256": "x"}), 400, "bad-made"),
        ("complete", json!({"text": "a", "finish": "stop", "model": ""}), 400, "bad-made"),
        ("complete", json!({"text": "a", "finish": "stop", "options": {"o": "x".repeat(20_000)}}), 400, "bad-made"),
        ("complete", json!({"text": "x".repeat(512 * 1024 + 1), "finish": "stop"}), 413, "reply-too-long"),
        ("fail", json!({"reason": "", "retryable": true}), 400, "bad-reason"),
        ("fail", json!({"reason": "a\nb", "retryable": true}), 400, "bad-reason"),
        ("fail", json!({"reason": "x".repeat(501), "retryable": true}), 400, "bad-reason"),
        ("fail", json!({"reason": "x"}), 400, "wrong-type"),
        ("fail", json!({"reason": "x", "retryable": false, "away_ms": 5}), 400, "bad-away"),
        ("fail", json!({"reason": "x", "retryable": true, "away_ms": 3_600_001}), 400, "bad-away"),
        ("complete", json!({"text": "a", "finish": "stop", "notes": ["a\nb"]}), 400, "bad-made"),
        ("complete", json!({"text": "a", "finish": "stop", "notes": vec!["a"; 9]}), 400, "bad-made"),
    ] {
        say(&server, &work, what, wrong).await.refused(&format!("{what} {code}"), status, code);
    }
    let id = work["message"]["id"].as_str().unwrap();
    for (path, fence, status, code) in [
        (format!("{id}/heartbeat"), json!("nonsense"), 400, "wrong-type"),
        (format!("{id}/heartbeat"), json!(7), 400, "wrong-type"),
        ("nonsense/heartbeat".into(), work["fence"].clone(), 400, "bad-id"),
        ("0195f7a2-6c00-7000-8000-00000000000a/heartbeat".into(), work["fence"].clone(), 404, "no-such-message"),
        // Of another history, and one that nothing has.
        (format!("{id}/heartbeat"), json!("0000000000000001-00-0000000000000002"), 409, "stale-fence"),
        (format!("{id}/complete"), json!("0000000000000001-00-0000000000000002"), 409, "stale-fence"),
    ] {
        let mut body = json!({"fence": fence});
        if path.ends_with("complete") {
            body["text"] = json!("a");
            body["finish"] = json!("stop");
        }
        call(&server, &path, &body).await.refused(&format!("{path} {fence}"), status, code);
    }
    let asked = server.post("lobby", "nobody is asked", json!({"to": []})).await;
    let path = format!("{}/heartbeat", asked["id"].as_str().unwrap());
    call(&server, &path, &json!({"fence": work["fence"]})).await.refused("nobody was asked", 409, "ended");
    for query in ["", "?worker=", "?worker=a%20b"] {
        server.ask(server.client().get(server.url(&format!("/api/work/events{query}")))).await.refused(
            query,
            400,
            "bad-worker",
        );
    }
    let with_origin =
        server.client().post(server.url("/api/work/claim")).header("origin", "http://evil.example").json(&wish("k", 0));
    server.ask(with_origin).await.refused("another site", 403, "foreign-origin");
    // After all that the claim is as it was.
    ok(say(&server, &work, "complete", done("well")).await);
}
