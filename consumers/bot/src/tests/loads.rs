//! Loading a model: its clock, who shares it, how it fails.

use super::*;

/// Loads hang; chats answer.
fn hanging_loads(request: &Request) -> Vec<Step> {
    if request.is_load() { vec![Step::Hang] } else { Step::answer(&["Hi"]) }
}

#[tokio::test]
async fn a_load_has_a_clock_of_its_own_and_goes_on_without_the_reply() {
    let fake = Fake::start(hanging_loads).await;
    let bot = bot("ollama:m", &fake.url(), Clocks { load: Duration::from_millis(300), ..patient() });
    for _ in 0..2 {
        let (pieces, outcome) = soon(bench::deliver(&bot, bench::delivery("hi", profile()))).await;
        assert_eq!(pieces, [Piece::Stage("loading-model")]);
        assert!(matches!(&outcome, Outcome::Failed { reason, retryable: true } if reason.contains("not loaded")));
    }
    assert_eq!(
        (fake.requests().len(), fake.hang_ups()),
        (1, vec![]),
        "both replies waited for one load, which goes on"
    );
    drop(bot);
    soon(fake.hung_up(0)).await;
}

#[tokio::test]
async fn replies_at_the_same_time_share_one_load_with_the_options_of_the_answer() {
    let fake = Fake::start(|request| match request.is_load() {
        true => vec![Step::Wait(SHORT), Step::Status(200, json!({ "done": true, "done_reason": "load" }))],
        false => Step::answer(&["Hi"]),
    })
    .await;
    let bot = bot("ollama:m", &fake.url(), patient());
    let mut delivery = bench::delivery("hi", profile());
    Arc::make_mut(&mut delivery.bot).options =
        BTreeMap::from([("num_ctx".to_owned(), json!(8192)), ("think".to_owned(), json!(false))]);
    let both = async { tokio::join!(bench::deliver(&bot, delivery.clone()), bench::deliver(&bot, delivery.clone())) };
    let ((_, one), (_, two)) = soon(both).await;
    assert!(matches!((&one, &two), (Outcome::Reply(_), Outcome::Reply(_))), "{one:?} {two:?}");
    let requests = fake.requests();
    assert_eq!(requests.iter().filter(|request| request.is_load()).count(), 1);
    for request in requests {
        assert_eq!(request.json["options"], json!({ "num_ctx": 8192 }));
        assert_eq!((&request.json["think"], &request.json["keep_alive"]), (&json!(false), &json!("30m")));
    }
}

#[tokio::test]
async fn a_model_is_warm_once_it_is_loaded_and_a_preload_outlives_whoever_asked() {
    let (nobody, fake) = (Fake::nobody().await, Fake::answering("m:latest", |_| Step::answer(&["Hi"])).await);
    assert_eq!(soon(model("ollama:m", &nobody).warm()).await, None);
    assert_eq!(soon(model("openai:m", &fake.url()).warm()).await, None);
    assert_eq!(soon(model("builtin", "").warm()).await, Some(true));
    let cold = bot("ollama:m", &fake.url(), patient());
    assert_eq!(soon(cold.warm()).await, Some(false));
    // Only asked for, not waited for.
    drop(cold.preload(&BTreeMap::from([("num_ctx".to_owned(), json!(8192))])));
    soon(fake.requested(2)).await;
    let load = fake.requests().pop().unwrap();
    assert!(load.is_load() && load.json["options"] == json!({ "num_ctx": 8192 }), "{load:?}");
    assert_eq!((soon(cold.warm()).await, fake.hang_ups()), (Some(true), vec![]));
    assert_eq!(soon(bot("ollama:other", &fake.url(), patient()).warm()).await, Some(false));

    let slow = Fake::start(hanging_loads).await;
    let owner = bot("ollama:m", &slow.url(), patient());
    assert!(timeout(SHORT, owner.preload(&BTreeMap::new())).await.is_err(), "it hangs");
    // The next one waits for the same load.
    assert!(timeout(SHORT, owner.preload(&BTreeMap::new())).await.is_err(), "it still hangs");
    assert_eq!((slow.requests().len(), slow.hang_ups()), (1, vec![]));
    drop(owner);
    soon(slow.hung_up(0)).await;
}

#[tokio::test]
async fn two_bots_that_disagree_about_a_runner_option_do_not_have_the_model_loaded_twice() {
    let fake = Fake::answering("m", |_| Step::answer(&["Hi"])).await;
    let shared = model("ollama:m", &fake.url());
    let named = |name: &str, num_ctx: u32| Profile {
        name: antiphon_schemas::BotName::new(name).unwrap(),
        options: BTreeMap::from([("num_ctx".to_owned(), json!(num_ctx)), ("seed".to_owned(), json!(num_ctx))]),
        ..profile()
    };
    let profiles = [named("a", 8192), named("b", 4096)];
    let (pins, overruled) = crate::Pins::of("ollama:m", &BTreeMap::new(), &profiles);
    assert_eq!(overruled.len(), 1, "{overruled:?}");
    for profile in profiles {
        let seed = profile.options["seed"].clone();
        let bot = Bot::new(shared.clone(), patient(), Breaker::new(1)).pinned(pins.clone());
        let (_, outcome) = soon(bench::deliver(&bot, bench::delivery("hi", profile))).await;
        let Outcome::Reply(reply) = outcome else { panic!("{outcome:?}") };
        assert_eq!(json!(reply.options), json!({ "num_ctx": 8192, "seed": seed }), "what is reported is what was sent");
    }
    let runner: Vec<_> = fake.requests().iter().map(|request| request.json["options"]["num_ctx"].clone()).collect();
    assert_eq!(runner, vec![json!(8192); 4], "two loads' and two answers' options are all the same");
}

#[tokio::test]
async fn a_failed_load_is_the_failure_of_the_reply() {
    for (status, body, code, retryable) in [
        (404, json!({ "error": "model 'm' not found" }), codes::NOT_FOUND, false),
        (500, json!({ "error": "out of memory" }), codes::ERROR, true),
        (200, json!({ "error": "out of memory" }), codes::ERROR, true),
    ] {
        let fake = Fake::start(move |_| vec![Step::Status(status, body.clone())]).await;
        let bot = bot("ollama:m", &fake.url(), patient());
        let (_, outcome) = soon(bench::deliver(&bot, bench::delivery("hi", profile()))).await;
        let Outcome::Failed { reason, retryable: may } = outcome else { panic!("{outcome:?}") };
        assert!(reason.starts_with(code) && may == retryable, "{reason}");
    }
}

#[tokio::test]
async fn a_server_that_loads_its_model_is_asked_again() {
    let fake = Fake::answering("m", |request| match request.number {
        0 => vec![Step::Status(503, json!({ "error": { "code": 503, "message": "Loading model" } }))],
        _ => Step::answer(&["Hi"]),
    })
    .await;
    let (pieces, outcome) =
        soon(bench::deliver(&bot("openai:m", &fake.url(), patient()), bench::delivery("hi", profile()))).await;
    assert!(matches!(outcome, Outcome::Reply(_)) && pieces.contains(&Piece::Stage("loading-model")), "{pieces:?}");
}
