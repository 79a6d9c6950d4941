//! A worker against a scripted server: lost answers, ends in every order, stops.

mod server;

use std::{
    collections::VecDeque,
    sync::{Mutex as StdMutex, PoisonError},
};

use antiphon_bot::{
    Circuit, Endpoints, FAILURES_MAX, ModelSpec,
    fake::{Fake as FakeModel, Step},
    http_client,
};
use antiphon_kit::{Filters, Profile, bench};
use antiphon_schemas::{
    Cursor, Epoch, MessageId, Seq,
    wire::{AuthorKind, Message, Position, work::Work},
};
use serde_json::json;
use tokio::{sync::mpsc, time::Instant};

use self::server::{Server, builtin, fence, hanging, model, profiles_of, text, what, work};
use super::*;
use crate::client::fake::{Answer, Fake, PATIENCE, Request};

#[tokio::test]
async fn a_lost_answer_costs_nothing() {
    let server = Server::start(|what, _, n| match (what, n) {
        ("claim", 0) | ("complete", 0) => Some(Answer::Cut),
        ("claim", 1) | ("deltas", 0) | ("complete", 1) => Some(Answer::problem(503, "busy")),
        ("deltas", 1) | ("complete", 2) => Some(Answer::Whole(404, "text/html", "<h1>no such host</h1>".into())),
        _ => None,
    })
    .await;
    let (_shared, pool, _beside) = server.worker(builtin(), 1);
    server.put(work(1));
    let complete = server.asked("complete", 4).await;
    // The claim after this one.
    server.asked("claim", 4).await;
    let requests = server.fake.requests();
    let of = |kind: &'static str| requests.iter().filter(move |r| what(r) == kind);
    let keys: Vec<_> = of("claim").map(|r| r.json()["claim_key"].clone()).collect();
    assert!(keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3], "{keys:?}");
    assert_eq!(of("claim").next().unwrap().json()["worker"], "box");
    let first: Vec<_> = of("deltas").take(3).map(|r| r.body.as_str()).collect();
    assert_eq!(first, [first[0]; 3], "the same delta until it is taken");
    assert!(of("complete").all(|r| r.body == complete.body), "and the same answer");
    let mut said = String::new();
    for (n, delta) in of("deltas").skip(2).enumerate() {
        assert_eq!((&delta.json()["index"], &delta.json()["fence"]), (&json!(n), &json!(fence(1))));
        said += &text(delta);
    }
    assert_eq!(said, text(&complete));
    for (field, value) in [("finish", json!("stop")), ("model", json!("builtin")), ("context", json!([]))] {
        assert_eq!(complete.json()[field], value);
    }
    pool.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_server_that_has_forgotten_the_words_gets_them_all_again() {
    let server = Server::start(|what, request, _| {
        let delta = (what == "deltas").then(|| request.json())?;
        (delta["index"] == 2 && delta["before"].is_null()).then(|| Answer::problem(409, "delta-gap"))
    })
    .await;
    let steps: Vec<_> = ["one ", "two ", "three ", "four"]
        .into_iter()
        .flat_map(|word| [Step::Text(word.into()), Step::Wait(Duration::from_millis(60))])
        .collect();
    let talking = FakeModel::answering("m", move |_| {
        let mut all = vec![Step::Head];
        all.extend(steps.clone());
        all.push(Step::Finish("stop".into()));
        all
    })
    .await;
    let (_shared, pool, _beside) = server.worker(model("openai:m", Some(&talking.url())), 1);
    server.put(work(1));
    assert_eq!(text(&server.asked("complete", 1).await), "one two three four");
    let requests = server.fake.requests();
    let deltas: Vec<_> = requests.iter().filter(|r| what(r) == "deltas").map(Request::json).collect();
    let repeated: Vec<_> = deltas.iter().filter(|delta| delta["index"] == 2).collect();
    assert_eq!(repeated.len(), 2, "{deltas:?}");
    let before: String = deltas.iter().take(2).map(|delta| delta["text"].as_str().unwrap()).collect();
    assert_eq!((&repeated[1]["before"], &repeated[1]["text"]), (&json!(before), &repeated[0]["text"]));
    assert!(deltas.iter().filter(|delta| delta["before"].is_string()).count() == 1, "{deltas:?}");
    pool.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_cancel_closes_the_models_connection_at_once_and_frees_the_slot() {
    let (server, slow) = (Server::start(|_, _, _| None).await, hanging().await);
    let (_shared, pool, _beside) = server.worker(model("openai:m", Some(&slow.url())), 1);
    server.asked("events", 1).await;
    server.put(work(1));
    server.asked("deltas", 1).await;
    let told = Instant::now();
    server.tell("ended", json!({"message_id": work(1).message.id, "fence": fence(1), "status": "cancelled"}));
    timeout(PATIENCE, slow.hung_up(0)).await.unwrap();
    assert!(told.elapsed() < Duration::from_millis(100), "{:?}", told.elapsed());
    server.asked("claim", 2).await;
    assert_eq!((server.count("complete"), server.count("fail"), server.count("release")), (0, 0, 0));
    pool.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_claim_whose_end_came_first_is_not_begun() {
    let (server, slow) = (Server::start(|_, _, _| None).await, hanging().await);
    let (shared, pool, _beside) = server.worker(model("openai:m", Some(&slow.url())), 1);
    server.asked("events", 1).await;
    server.tell("ended", json!({"message_id": work(1).message.id, "fence": fence(1), "status": "cancelled"}));
    // It has been heard once it is remembered.
    let heard = async {
        while !shared.claims.take(work(1).message.id, fence(1)).is_cancelled() {
            shared.claims.leave(fence(1));
            tokio::task::yield_now().await;
        }
        shared.claims.leave(fence(1));
    };
    timeout(PATIENCE, heard).await.unwrap();
    server.put(work(1));
    server.asked("claim", 2).await;
    assert_eq!((slow.requests().len(), server.count("deltas")), (0, 0));
    pool.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_claim_that_is_not_listed_is_asked_about_and_dropped_only_if_it_is_over() {
    for over in [true, false] {
        let server = Server::start(move |what, request, _| {
            let asked = what == "heartbeat" && request.json()["stage"].is_null();
            (asked && over).then(|| Answer::problem(409, "stale-fence"))
        })
        .await;
        let slow = hanging().await;
        let (_shared, pool, _beside) = server.worker(model("openai:m", Some(&slow.url())), 1);
        server.asked("events", 1).await;
        server.put(work(1));
        server.asked("deltas", 1).await;
        // Only what was held before the stream was asked for is judged by its list.
        server.tell("claims", json!({"claims": []}));
        server.state.streams.lock().unwrap().clear();
        server.asked("events", 2).await;
        server.tell("claims", json!({"claims": []}));
        server.fake.asked(|all| all.iter().any(|r| what(r) == "heartbeat" && r.json()["stage"].is_null())).await;
        match over {
            true => timeout(PATIENCE, slow.hung_up(0)).await.unwrap(),
            false => {
                server.tell("claims", json!({"claims": [{"message_id": work(1).message.id, "fence": fence(1)}]}));
                assert_eq!((slow.hang_ups(), server.count("claim")), (vec![], 1));
            }
        }
        drop(pool);
    }
}

#[tokio::test]
async fn whatever_says_that_the_claim_is_over_ends_the_work() {
    for (call, status, code) in
        [("deltas", 409, "stale-fence"), ("heartbeat", 409, "ended"), ("deltas", 404, "no-such-message")]
    {
        let server = Server::start(move |what, _, _| (what == call).then(|| Answer::problem(status, code))).await;
        let slow = hanging().await;
        let (_shared, pool, _beside) = server.worker(model("openai:m", Some(&slow.url())), 1);
        server.put(work(1));
        timeout(PATIENCE, slow.hung_up(0)).await.unwrap();
        server.asked("claim", 2).await;
        assert_eq!(
            (server.count("complete"), server.count("fail"), server.count("release")),
            (0, 0, 0),
            "{call} {code}"
        );
        pool.stop(PATIENCE).await;
    }
}

#[tokio::test]
async fn an_answer_that_will_never_be_taken_is_a_failure_for_good() {
    let server = Server::start(|what, _, _| (what == "complete").then(|| Answer::problem(409, "text-mismatch"))).await;
    let (_shared, pool, _beside) = server.worker(builtin(), 1);
    server.put(work(1));
    let failed = server.asked("fail", 1).await.json();
    assert_eq!(failed["retryable"], false);
    assert!(failed["reason"].as_str().unwrap().starts_with("not-taken: because text-mismatch"), "{failed}");
    pool.stop(PATIENCE).await;
}

#[tokio::test]
async fn heartbeats_go_on_beside_the_words_and_tell_stages_at_once() {
    let server =
        Server::start(|what, _, _| (what == "heartbeat").then(|| Answer::json(200, json!({"lease_ms": 90})))).await;
    let slow = hanging().await;
    let (_shared, pool, _beside) = server.worker(model("openai:m", Some(&slow.url())), 1);
    server.put(work(1));
    server.asked("heartbeat", 5).await;
    let beats: Vec<_> = server.fake.requests().iter().filter(|r| what(r) == "heartbeat").map(Request::json).collect();
    assert_eq!(beats[0]["stage"], "reading-prompt", "{beats:?}");
    assert!(
        beats.iter().any(|beat| beat["stage"] == "writing") && beats.last().unwrap()["stage"].is_null(),
        "{beats:?}"
    );
    drop(pool);
}

#[tokio::test]
async fn a_stop_gives_back_what_an_open_claim_got_and_lets_replies_finish() {
    let server = Server::start(|what, request, _| match what {
        // A claim that nobody can answer any more; its repetition brings what it got.
        "claim" if request.json()["wait_ms"] == 0 => Some(Answer::json(200, json!(work(7)))),
        _ => None,
    })
    .await;
    let slow = FakeModel::answering("m", |_| {
        vec![
            Step::Head,
            Step::Text("Hello".into()),
            Step::Wait(Duration::from_millis(300)),
            Step::Finish("stop".into()),
        ]
    })
    .await;
    let (_shared, pool, _beside) = server.worker(model("openai:m", Some(&slow.url())), 2);
    server.put(work(1));
    server.asked("deltas", 1).await;
    server.asked("claim", 2).await;
    let waiting = server.fake.requests().into_iter().rfind(|r| what(r) == "claim").unwrap().json();
    pool.stop(PATIENCE).await;
    assert_eq!(text(&server.asked("complete", 1).await), "Hello");
    let again = server.asked("claim", 3).await.json();
    assert_eq!((server.count("claim"), &again["claim_key"]), (3, &waiting["claim_key"]));
    let released = server.asked("release", 1).await;
    assert_eq!((released.json()["fence"].clone(), server.count("release")), (json!(fence(7)), 1));
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_given_back() {
    for second_signal in [false, true] {
        let (server, slow) = (Server::start(|_, _, _| None).await, hanging().await);
        let (_shared, pool, _beside) = server.worker(model("openai:m", Some(&slow.url())), 1);
        server.put(work(1));
        server.asked("deltas", 1).await;
        let give_up = pool.give_up();
        match second_signal {
            true => {
                give_up.cancel();
                pool.stop(PATIENCE).await;
            }
            false => pool.stop(Duration::from_millis(20)).await,
        }
        assert_eq!(server.asked("release", 1).await.json()["fence"], json!(fence(1)));
        timeout(PATIENCE, slow.hung_up(0)).await.unwrap();
    }
}

#[tokio::test]
async fn a_revoked_key_ends_the_worker_wherever_it_is_told() {
    for call in ["claim", "deltas", "heartbeat", "complete", "events"] {
        let server = Server::start(move |what, _, _| (what == call).then(|| Answer::problem(401, "bad-key"))).await;
        let slow = hanging().await;
        // The built-in model is done before anything but its words is said.
        let model = if call == "heartbeat" { model("openai:m", Some(&slow.url())) } else { builtin() };
        let (shared, _crew, _beside) = server.worker(model, 1);
        server.put(work(1));
        let why = timeout(PATIENCE, shared.denied()).await.unwrap().to_string();
        assert!(why.contains("does not take this worker: because bad-key") && !why.contains('\n'), "{call}: {why}");
    }
}

#[tokio::test]
async fn the_start_waits_for_the_server_and_ends_with_what_is_wrong() {
    let server = Server::start(|what, _, n| (what == "bots" && n == 0).then(|| Answer::problem(503, "stopping"))).await;
    let soon = || Backoff::new(Duration::from_millis(1), Duration::from_millis(2));
    let found = profiles(&server.fake.client(), soon()).await.unwrap();
    assert_eq!((found, server.count("bots")), (profiles_of(&["helper"]), 2));
    let denies = Server::start(|_, _, _| Some(Answer::problem(401, "no-key"))).await;
    let why = profiles(&denies.fake.client(), soon()).await.unwrap_err().to_string();
    assert!(why.contains("because no-key (401, no-key)"), "{why}");
    let chosen = Chosen { name: BotName::new("poet").unwrap(), model: builtin(), breaker: Breaker::new(1) };
    let why = Shared::new(server.settings(vec![chosen]), profiles_of(&["a", "b"])).err().unwrap().to_string();
    assert!(why.contains("`poet`") && why.contains("it has a, b"), "{why}");
}

#[tokio::test]
async fn a_claim_names_warm_models_and_no_bot_whose_model_is_not_well() {
    let server = Server::start(|_, _, _| None).await;
    let ollama = FakeModel::answering("m", |_| Step::answer(&["Hi"])).await;
    let sick = Breaker::with(Circuit::new(PATIENCE, PATIENCE), 1);
    for _ in 0..FAILURES_MAX {
        sick.enter().await.unwrap().failed("model-error: no");
    }
    let chosen = |name: &str, model: Arc<dyn Model>, breaker: Breaker| Chosen {
        name: BotName::new(name).unwrap(),
        model,
        breaker,
    };
    let bots = vec![
        chosen("a", model("ollama:m", Some(&ollama.url())), Breaker::new(1)),
        chosen("b", model("openai:m", Some(&ollama.url())), sick),
        chosen("c", builtin(), Breaker::new(1)),
    ];
    let shared = Arc::new(Shared::new(server.settings(bots), profiles_of(&["a", "b", "c"])).unwrap());
    assert_eq!(
        json!(shared.warmth().await),
        json!([{"name": "builtin", "warm": true}, {"name": "ollama:m", "warm": false}])
    );
    let mut beside = JoinSet::new();
    shared.preload(&mut beside);
    beside.join_all().await;
    assert!(!shared.warmth().await[1].warm, "known for a while");
    *shared.warmth.lock().await = None;
    let pool = WorkerPool::of([RemoteSource::new(shared.clone())]);
    let wish = server.asked("claim", 1).await.json();
    assert_eq!((&wish["bots"], wish["wait_ms"].as_u64()), (&json!(["a", "c"]), Some(5_000)));
    assert_eq!(wish["models"], json!([{"name": "builtin", "warm": true}, {"name": "ollama:m", "warm": true}]));
    pool.stop(PATIENCE).await;
}

#[tokio::test]
async fn there_are_never_more_claims_than_free_slots() {
    let (server, slow) = (Server::start(|_, _, _| None).await, hanging().await);
    let (_shared, pool, _beside) = server.worker(model("openai:m", Some(&slow.url())), 3);
    server.asked("claim", 3).await;
    server.put(work(1));
    server.put(work(2));
    timeout(PATIENCE, slow.requested(2)).await.unwrap();
    server.asked("deltas", 2).await;
    assert_eq!(server.count("claim"), 3, "two are worked on, one waits");
    drop(pool);
}
