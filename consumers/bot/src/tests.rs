//! Whole deliveries against the fake model server, in both dialects: every way in which an answer ends.
//!
//! Clocks are set to milliseconds where one is meant to run out; elsewhere they are seconds that never pass.

mod away;
mod bounds;
mod loads;
mod reading;
mod shapes;
mod within;

use std::{collections::BTreeMap, future::Future, pin::pin, sync::Arc, time::Duration};

use antiphon_kit::{Delivery, Filters, Outcome, Piece, Profile, Reply, Usage, bench, outbox};
use antiphon_schemas::wire::AuthorKind;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    Bot, Breaker, Circuit, Clocks, Endpoints, FAILURES_MAX, Known, Model, ModelSpec, REPLY_BYTES_MAX, Readiness, codes,
    discover,
    fake::{Fake, Request, Step},
    http_client, probe,
    prompt::tests::{profile, said},
};

/// Far longer than any step of these tests.
const LONG: Duration = Duration::from_secs(20);
/// A clock that is meant to run out.
const SHORT: Duration = Duration::from_millis(60);
/// Both dialects.
const BOTH: [&str; 2] = ["ollama:m", "openai:m"];

fn patient() -> Clocks {
    Clocks { load: LONG, first_token: LONG, gap: LONG, total: LONG }
}

fn model(spec: &str, url: &str) -> Arc<dyn Model> {
    let endpoints = Endpoints::new(Some(url), Some(url), Some("sk-secret")).unwrap();
    spec.parse::<ModelSpec>().unwrap().build(&endpoints, &http_client(), Duration::ZERO, Known::default())
}

fn bot(spec: &str, url: &str, clocks: Clocks) -> Bot {
    Bot::new(model(spec, url), clocks, Breaker::new(1))
}

/// Fails the test instead of hanging it.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(LONG, work).await.expect("it should have happened by now")
}

fn text_of(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| if let Piece::Text(text) = piece { text.as_str() } else { "" }).collect()
}

/// The outcome of "hi" in one dialect, when chats are answered by `steps`; the pieces must make up the reply.
async fn outcome_of(spec: &str, steps: Vec<Step>, clocks: Clocks, filters: Filters) -> Outcome {
    let fake = Fake::answering("m", move |_| steps.clone()).await;
    let (pieces, outcome) =
        soon(bench::deliver(&bot(spec, &fake.url(), clocks), bench::delivery("hi", Profile { filters, ..profile() })))
            .await;
    if let Outcome::Reply(reply) = &outcome {
        assert_eq!(text_of(&pieces), reply.text);
    }
    outcome
}

async fn check_reply(steps: Vec<Step>, filters: Filters, text: &str, finish: &str) {
    for spec in BOTH {
        match outcome_of(spec, steps.clone(), patient(), filters.clone()).await {
            Outcome::Reply(reply) => assert_eq!((reply.text.as_str(), reply.finish.as_str()), (text, finish), "{spec}"),
            failed => panic!("{spec}: {failed:?}"),
        }
    }
}

async fn check_failure(steps: Vec<Step>, clocks: Clocks, code: &str, retryable: bool) {
    for spec in BOTH {
        match outcome_of(spec, steps.clone(), clocks, Filters::default()).await {
            Outcome::Failed { reason, retryable: may } => {
                assert!(reason.starts_with(&format!("{code}: ")) && may == retryable, "{spec}: {reason}, {may}");
                assert!(!reason.contains("secret"), "{reason}");
            }
            reply => panic!("{spec}: {reply:?} for {steps:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_arrives_whole_with_how_it_was_made() {
    for spec in BOTH {
        let fake = Fake::answering("m", |_| Step::answer(&["Hello", " there", ", ☃."])).await;
        let mut delivery = bench::delivery("hi", profile());
        delivery.context = vec![said(9, "anna", AuthorKind::Human, "well?")];
        let options = BTreeMap::from([("temperature".to_owned(), json!(0.5))]);
        Arc::make_mut(&mut delivery.bot).options = options.clone();
        let (pieces, outcome) = soon(bench::deliver(&bot(spec, &fake.url(), patient()), delivery.clone())).await;
        let prompt = crate::Prompt::of(&delivery);
        let expected = Reply {
            text: "Hello there, ☃.".into(),
            model: spec.into(),
            options,
            prompt_sha256: prompt.sha256(),
            context: vec![delivery.context[0].id],
            finish: "stop".into(),
            usage: Some(Usage { prompt_tokens: 11, completion_tokens: 7 }),
            notes: vec![],
        };
        assert_eq!(outcome, Outcome::Reply(expected));
        let stages: Vec<_> = pieces.iter().filter(|piece| matches!(piece, Piece::Stage(_))).collect();
        assert_eq!(stages, [&Piece::Stage("reading-prompt"), &Piece::Stage("writing")]);

        let request = fake.requests().pop().unwrap();
        let sent = serde_json::to_string(&prompt.turns).unwrap();
        assert!(request.body.contains(&sent), "what was hashed is what was sent: {}", request.body);
        match spec {
            "ollama:m" => assert_eq!(request.json["options"], json!({ "temperature": 0.5 })),
            _ => {
                assert_eq!((&request.json["temperature"], &request.json["stream"]), (&json!(0.5), &json!(true)));
                assert!(request.head.contains("Bearer sk-secret"), "{}", request.head);
            }
        }
    }
}

#[tokio::test]
async fn filters_cut_before_anything_leaves() {
    let filters =
        Filters { filter_out: vec!["</s>".into()], trim_after: vec!["\nanna:".into()], trim_whitespace: true };
    let mut steps = Step::answer(&["  Hi", "<", "/s> you.", "\nan", "na: and", " more"]);
    // The model would go on for ever; the reply is complete nevertheless.
    steps.truncate(steps.len() - 1);
    steps.push(Step::Hang);
    check_reply(steps, filters, "Hi you.", "stop").await;
}

#[tokio::test]
async fn thoughts_are_not_shown_and_a_reached_limit_is_told() {
    let steps = vec![Step::Head, Step::Thought("hm".into()), Step::Text("Yes".into()), Step::Finish("length".into())];
    check_reply(steps, Filters::default(), "Yes", "length").await;
}

#[tokio::test]
async fn nul_never_reaches_the_log() {
    check_reply(Step::answer(&["a\0b"]), Filters::default(), "ab", "stop").await;
}

#[tokio::test]
async fn an_answer_without_end_is_cut_at_its_bound() {
    // Words that do not repeat, all of two bytes but the first.
    let letters = |n: u32| char::from_u32(0x100 + (n.wrapping_mul(2_654_435_761) >> 16) % 0x400).unwrap();
    let endless: Vec<char> = (0..200_000).map(letters).collect();
    let mut steps = vec![Step::Head, Step::Text("x".into())];
    steps.extend(endless.chunks(50_000).map(|chars| Step::Text(chars.iter().collect())));
    steps.push(Step::Hang);
    let text = format!("x{}", endless[..(REPLY_BYTES_MAX - 1) / 2].iter().collect::<String>());
    check_reply(steps, Filters::default(), &text, "length").await;
}

#[tokio::test]
async fn an_empty_answer_is_a_failure() {
    check_failure(Step::answer(&[]), patient(), codes::EMPTY, true).await;
    let filters = Filters { trim_whitespace: true, ..Filters::default() };
    for spec in BOTH {
        let outcome = outcome_of(spec, Step::answer(&["  ", "\n"]), patient(), filters.clone()).await;
        assert!(matches!(&outcome, Outcome::Failed { reason, retryable: true } if reason.starts_with(codes::EMPTY)));
    }
}

#[tokio::test]
async fn statuses_say_whether_another_try_may_help() {
    for (status, code, retryable) in [
        (400, codes::REFUSED, false),
        (401, codes::KEY, false),
        (403, codes::KEY, false),
        (404, codes::NOT_FOUND, false),
        (500, codes::ERROR, true),
        (301, codes::PROTOCOL, false),
    ] {
        let words = if code == codes::KEY { "sk-secret is wrong" } else { "no" };
        let body = json!({ "error": { "message": words } });
        check_failure(vec![Step::Status(status, body)], patient(), code, retryable).await;
    }
    let outcome = outcome_of("ollama:m", vec![Step::Status(404, json!({}))], patient(), Filters::default()).await;
    assert!(
        matches!(&outcome, Outcome::Failed { reason, .. } if reason.contains("run `ollama pull m`")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn nobody_at_the_address_is_told_so() {
    let url = Fake::nobody().await;
    for spec in BOTH {
        let (_, outcome) = soon(bench::deliver(&bot(spec, &url, patient()), bench::delivery("hi", profile()))).await;
        let Outcome::Away { reason, .. } = outcome else { panic!("{outcome:?}") };
        assert!(reason.starts_with(codes::UNREACHABLE) && reason.contains(&url), "{reason}");
    }
}

#[tokio::test]
async fn each_clock_runs_out_by_itself() {
    let begun = vec![Step::Head, Step::Text("Hel".into()), Step::Hang];
    check_failure(vec![Step::Hang], Clocks { first_token: SHORT, ..patient() }, codes::TIMEOUT, true).await;
    check_failure(vec![Step::Head, Step::Hang], Clocks { first_token: SHORT, ..patient() }, codes::TIMEOUT, true).await;
    check_failure(begun, Clocks { gap: SHORT, ..patient() }, codes::TIMEOUT, true).await;
    check_failure(vec![Step::Head, Step::Hang], Clocks { total: SHORT, ..patient() }, codes::TIMEOUT, true).await;
    // Steady words keep the gap clock quiet although all of them together take longer.
    let mut steps = vec![Step::Head];
    steps.extend((0..20).flat_map(|_| [Step::Text("a".into()), Step::Wait(Duration::from_millis(20))]));
    steps.push(Step::Finish("stop".into()));
    for spec in BOTH {
        let clocks = Clocks { gap: Duration::from_millis(300), ..patient() };
        assert!(matches!(outcome_of(spec, steps.clone(), clocks, Filters::default()).await, Outcome::Reply(_)));
    }
}

#[tokio::test]
async fn dropping_the_work_closes_the_connection() {
    for spec in BOTH {
        for steps in [vec![Step::Hang], vec![Step::Head, Step::Text("Hel".into()), Step::Hang]] {
            let fake = Fake::answering("m", move |_| steps.clone()).await;
            let bot = bot(spec, &fake.url(), patient());
            let (mut tx, _rx) = outbox();
            let asked = if spec == "ollama:m" { 2 } else { 1 };
            {
                let mut work = pin!(antiphon_kit::Consumer::handle(&bot, bench::delivery("hi", profile()), &mut tx));
                tokio::select! {
                    outcome = &mut work => panic!("{outcome:?}"),
                    () = soon(fake.requested(asked)) => {}
                }
            }
            soon(fake.hung_up(asked - 1)).await;
        }
    }
}

#[tokio::test]
async fn an_outbox_that_nobody_reads_ends_the_work() {
    let fake =
        Fake::answering("m", |_| vec![Step::Head, Step::Text("Hel".into()), Step::Text("lo".into()), Step::Hang]).await;
    let bot = bot("openai:m", &fake.url(), patient());
    let (mut tx, rx) = outbox();
    drop(rx);
    let outcome = soon(antiphon_kit::Consumer::handle(&bot, bench::delivery("hi", profile()), &mut tx)).await;
    assert!(matches!(&outcome, Outcome::Failed { reason, .. } if reason.starts_with(codes::UNWANTED)), "{outcome:?}");
    assert_eq!(bot.breaker().ready(), Readiness::Ready);
}

#[tokio::test]
async fn connections_are_used_again() {
    for spec in BOTH {
        let fake = Fake::answering("m", |_| Step::answer(&["Hi"])).await;
        let bot = bot(spec, &fake.url(), patient());
        for _ in 0..5 {
            let (_, outcome) = soon(bench::deliver(&bot, bench::delivery("hi", profile()))).await;
            assert!(matches!(outcome, Outcome::Reply(_)));
        }
        assert_eq!(fake.connections(), 1, "{spec}");
    }
}

#[tokio::test]
async fn a_model_that_keeps_failing_is_left_alone_and_probed_later() {
    let pause = Duration::from_millis(200);
    let fake = Fake::answering("m", |request| match request.number {
        0..5 => vec![Step::Status(500, json!({ "error": "no" }))],
        _ => Step::answer(&["Hi"]),
    })
    .await;
    let breaker = Breaker::with(Circuit::new(pause, pause), 1);
    let bot = Bot::new(model("openai:m", &fake.url()), patient(), breaker.clone());
    let deliver = || async { soon(bench::deliver(&bot, bench::delivery("hi", profile()))).await.1 };
    for _ in 0..FAILURES_MAX {
        assert!(matches!(deliver().await, Outcome::Failed { .. }));
    }
    assert!(matches!(breaker.ready(), Readiness::Paused(_)) && breaker.paused().unwrap().contains(codes::ERROR));
    assert!(deliver().await == Outcome::NotNow);
    assert_eq!(fake.requests().len(), FAILURES_MAX as usize, "a paused model is not asked");
    soon(breaker.wait_ready()).await;
    assert!(matches!(deliver().await, Outcome::Reply(_)));
    assert_eq!(breaker.ready(), Readiness::Ready);
}

#[tokio::test]
async fn what_is_not_the_models_fault_does_not_pause_it() {
    for steps in [vec![Step::Status(400, json!({ "error": "too long" }))], Step::answer(&[])] {
        let fake = Fake::answering("m", move |_| steps.clone()).await;
        let bot = bot("openai:m", &fake.url(), patient());
        for _ in 0..2 * FAILURES_MAX {
            let (_, outcome) = soon(bench::deliver(&bot, bench::delivery("hi", profile()))).await;
            assert!(matches!(outcome, Outcome::Failed { .. }));
        }
        assert_eq!(bot.breaker().ready(), Readiness::Ready);
    }
}

#[tokio::test]
async fn the_built_in_model_answers_what_was_said() {
    let bot = bot("builtin", "", patient());
    let delivery: Delivery = bench::delivery("What is antiphon?", profile());
    let (pieces, outcome) = soon(bench::deliver(&bot, delivery)).await;
    let Outcome::Reply(reply) = outcome else { panic!("{outcome:?}") };
    assert_eq!(text_of(&pieces), reply.text);
    assert!(reply.text.contains("Antiphon") && reply.model == "builtin" && pieces.len() > 3);
    assert!(pieces.iter().all(|piece| matches!(piece, Piece::Text(_))), "no stages: it is there at once");
}

#[tokio::test]
async fn a_model_server_that_is_there_is_found() {
    let (client, nobody) = (http_client(), Fake::nobody().await);
    let found = async |ollama: &str, openai: Option<&str>| {
        soon(discover(&Endpoints::new(Some(ollama), openai, None).unwrap(), &client)).await.map(|spec| spec.to_string())
    };
    let (one, embeddings) =
        (Fake::answering("m:1b", |_| vec![]).await, Fake::answering("nomic-embed-text", |_| vec![]).await);
    let hangs = Fake::start(|_| vec![Step::Hang]).await;
    assert_eq!(found(&one.url(), None).await.as_deref(), Some("ollama:m:1b"));
    assert_eq!(found(&one.url(), Some(&one.url())).await.as_deref(), Some("ollama:m:1b"));
    assert_eq!(found(&nobody, Some(&one.url())).await.as_deref(), Some("openai:m:1b"));
    assert_eq!(found(&embeddings.url(), None).await, None);
    assert_eq!(found(&nobody, None).await, None);
    assert_eq!(found(&nobody, Some(&nobody)).await, None);
    let start = std::time::Instant::now();
    assert_eq!(found(&hangs.url(), Some(&hangs.url())).await, None);
    assert!(start.elapsed() < Duration::from_secs(3), "a start does not wait for it");
}

#[tokio::test]
async fn a_probe_says_what_is_missing_and_how_to_mend_it() {
    let fake = Fake::answering("m:latest", |_| vec![]).await;
    let nobody = Fake::nobody().await;
    for (spec, url, wanted) in [
        ("ollama:m", fake.url(), Ok("has `m`")),
        ("ollama:other", fake.url(), Err("run `ollama pull other`")),
        ("ollama:m", nobody.clone(), Err("ollama serve")),
        ("openai:m:latest", fake.url(), Ok("has `m:latest`")),
        ("openai:m", fake.url(), Err("it has e.g. m:latest")),
        ("openai:m", nobody, Err("OPENAI_BASE_URL")),
        ("builtin", String::new(), Ok("needs nothing")),
    ] {
        let said = soon(probe(&*model(spec, &url))).await;
        let (Ok(words) | Err(words)) = &said;
        let (Ok(expected) | Err(expected)) = &wanted;
        assert!(said.is_ok() == wanted.is_ok() && words.contains(expected), "{spec}: {said:?}");
    }
}
