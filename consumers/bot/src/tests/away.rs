//! Models that could not have answered: no try is used up, and they are left alone until they may be back.

use super::*;

async fn outcome(steps: Vec<Step>) -> (Outcome, Bot, Fake) {
    let fake = Fake::answering("m", move |_| steps.clone()).await;
    let bot = bot("openai:m", &fake.url(), patient());
    let (_, outcome) = soon(bench::deliver(&bot, bench::delivery("hi", profile()))).await;
    (outcome, bot, fake)
}

#[tokio::test]
async fn a_server_that_is_busy_is_left_alone_for_as_long_as_it_says() {
    let head = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    for (status, heads, body, s) in [
        (429, head("retry-after", "20"), "{}", 20.0),
        (503, head("retry-after-ms", "2500"), "{}", 2.5),
        (429, vec![], r#"{"error":{"message":"Please try again in 7s."}}"#, 7.0),
        (529, head("retry-after", "Thu, 01 Jan 1970 00:00:09 GMT"), "date", 8.0),
    ] {
        let heads =
            if body == "date" { [heads, head("date", "Thu, 01 Jan 1970 00:00:01 GMT")].concat() } else { heads };
        let (outcome, bot, fake) = outcome(vec![Step::Whole(status, heads, body.into())]).await;
        let Outcome::Away { reason, after } = outcome else { panic!("{status}: {outcome:?}") };
        assert!(reason.starts_with(codes::BUSY) && (s - 0.5..=s).contains(&after.as_secs_f64()), "{reason} {after:?}");
        assert!(matches!(bot.breaker().ready(), Readiness::Paused(_)));
        assert!(bot.breaker().paused().unwrap().contains(&format!("says {status}")), "{:?}", bot.breaker().paused());
        let (_, again) = soon(bench::deliver(&bot, bench::delivery("hi", profile()))).await;
        assert_eq!((again, fake.requests().len()), (Outcome::NotNow, 1), "it is not asked meanwhile");
    }
}

#[tokio::test]
async fn a_server_that_does_not_say_when_is_asked_again_soon() {
    for status in [429, 502, 503, 504, 529] {
        let (outcome, ..) = outcome(vec![Step::Status(status, json!({ "error": "no" }))]).await;
        let Outcome::Away { after, .. } = outcome else { panic!("{status}: {outcome:?}") };
        assert!(after <= crate::AWAY_FIRST, "{status}: {after:?}");
    }
}

#[tokio::test]
async fn a_model_that_is_back_answers_the_same_question() {
    let fake = Fake::answering("m", |request| match request.number {
        0 | 1 => vec![Step::Whole(503, vec![("retry-after-ms".into(), "100".into())], b"{}".to_vec())],
        _ => Step::answer(&["Back."]),
    })
    .await;
    let bot = bot("openai:m", &fake.url(), patient());
    for n in 0..3 {
        soon(bot.breaker().wait_ready()).await;
        let (_, outcome) = soon(bench::deliver(&bot, bench::delivery("hi", profile()))).await;
        assert_eq!(matches!(outcome, Outcome::Reply(_)), n == 2, "{outcome:?}");
    }
    assert_eq!((bot.breaker().ready(), bot.breaker().paused()), (Readiness::Ready, None));
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_not_waited_for() {
    let body = json!({ "error": { "code": "insufficient_quota", "message": "You exceeded your current quota" } });
    let (outcome, ..) = outcome(vec![Step::Status(429, body)]).await;
    assert!(
        matches!(&outcome, Outcome::Failed { reason, retryable: false } if reason.starts_with(codes::KEY)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_load_is_waited_for_whatever_it_is_called_and_the_total_does_not_run_meanwhile() {
    for words in ["Model acme/one is currently loading", "Loading model", "The model is still loading"] {
        let fake = Fake::answering("m", move |request| match request.number {
            0 => vec![Step::Status(503, json!({ "error": words, "estimated_time": 0.5 }))],
            _ => Step::answer(&["Hi"]),
        })
        .await;
        let clocks = Clocks { total: Duration::from_millis(900), ..patient() };
        let (pieces, outcome) =
            soon(bench::deliver(&bot("openai:m", &fake.url(), clocks), bench::delivery("hi", profile()))).await;
        assert!(matches!(outcome, Outcome::Reply(_)), "{words}: {outcome:?}");
        assert!(pieces.contains(&Piece::Stage("loading-model")), "{words}: {pieces:?}");
    }
}
