//! What is read of what servers send: oddities, thoughts, ends, and what is no answer at all.

use super::*;
use crate::fake::ODDITIES;

#[tokio::test]
async fn no_oddity_of_a_server_costs_a_word_or_another_question() {
    for odd in ODDITIES {
        for (spec, ollama) in [("ollama:m", true), ("openai:m", false)] {
            let what = format!("{spec}, {}", odd.name);
            let fake = Fake::answering("m", move |_| odd.steps("It is ☃ forty-two.", ollama)).await;
            let delivery = bench::delivery("hi", profile());
            let (pieces, outcome) = soon(bench::deliver(&bot(spec, &fake.url(), patient()), delivery)).await;
            let Outcome::Reply(reply) = outcome else { panic!("{what}: {outcome:?}") };
            assert_eq!(
                (reply.text.as_str(), text_of(&pieces).as_str()),
                ("It is ☃ forty-two.", &*reply.text),
                "{what}"
            );
            assert_eq!(reply.notes.len(), usize::from(odd.noted), "{what}: {:?}", reply.notes);
        }
    }
}

#[tokio::test]
async fn a_model_whose_template_opens_the_thought_is_known_after_one_answer_and_that_try_does_not_count() {
    let fake = Fake::answering("m", |request| match request.number {
        0 | 1 => Step::answer(&["The user is rude.\n", "</think>\n\n", "Hello."]),
        _ => Step::answer(&["Hello", " again."]),
    })
    .await;
    let bot = bot("openai:m", &fake.url(), patient());
    let ask = || async { soon(bench::deliver(&bot, bench::delivery("hi", profile()))).await };
    assert_eq!(ask().await.1, Outcome::NotNow, "what was shown was thought");
    for words in ["Hello.", "Hello again."] {
        let (pieces, outcome) = ask().await;
        let Outcome::Reply(reply) = outcome else { panic!("{outcome:?}") };
        assert_eq!((reply.text.as_str(), text_of(&pieces).as_str()), (words, words));
    }
    let (pieces, _) = ask().await;
    let streamed = pieces.iter().filter(|piece| matches!(piece, Piece::Text(_))).count();
    assert_eq!(streamed, 2, "an answer without a thought is shown word by word again");
}

#[tokio::test]
async fn what_came_instead_of_an_answer_is_told_and_not_asked_for_again() {
    let page = b"<html><head><title>Sign in to Corp</title></head></html>".to_vec();
    let html = vec![("content-type".to_owned(), "text/html".to_owned())];
    let gzip = vec![("content-encoding".to_owned(), "gzip".to_owned())];
    for (steps, words) in [
        (Step::Whole(200, html, page), "`Sign in to Corp`"),
        (Step::Whole(200, gzip, b"\x1f\x8b\x08\x00\x00\x00".to_vec()), "gzip"),
        (Step::Status(200, json!({ "error": "Unexpected endpoint or method." })), "OPENAI_BASE_URL"),
    ] {
        for spec in BOTH {
            let outcome = outcome_of(spec, vec![steps.clone()], patient(), Filters::default()).await;
            let Outcome::Failed { reason, retryable: false } = outcome else { panic!("{spec}: {outcome:?}") };
            assert!(reason.starts_with(codes::PROTOCOL) && reason.contains(words), "{spec}: {reason}");
        }
    }
}

#[tokio::test]
async fn nothing_that_comes_after_the_end_is_waited_for_long() {
    let mut steps = vec![
        Step::Head,
        Step::Text("Hi".into()),
        Step::Event(json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }], "done": false })),
    ];
    steps.extend((0..200).flat_map(|_| [Step::Wait(Duration::from_millis(100)), Step::Raw(b": ping\n\n".into())]));
    let start = std::time::Instant::now();
    assert!(matches!(outcome_of("openai:m", steps, patient(), Filters::default()).await, Outcome::Reply(_)));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn bytes_may_arrive_one_by_one() {
    let mut steps = Step::answer(&["né", "☃𝄞", " end"]);
    steps.insert(1, Step::ByteByByte);
    check_reply(steps, Filters::default(), "né☃𝄞 end", "stop").await;
}

#[tokio::test]
async fn what_ends_without_a_known_reason_is_a_failure() {
    let begun = |rest: Step| vec![Step::Head, Step::Text("Hel".into()), rest];
    check_failure(begun(Step::End), patient(), codes::BROKE_OFF, true).await;
    check_failure(begun(Step::Cut), patient(), codes::BROKE_OFF, true).await;
    check_failure(vec![Step::Cut], patient(), codes::BROKE_OFF, true).await;
    check_failure(begun(Step::Error("out of memory".into())), patient(), codes::ERROR, true).await;
    check_failure(begun(Step::Finish("abort".into())), patient(), codes::FINISH, true).await;
    check_failure(begun(Step::Finish("load".into())), patient(), codes::FINISH, true).await;
    check_failure(begun(Step::Raw(b"data: {\n\nnonsense\n".into())), patient(), codes::BROKE_OFF, true).await;
    check_failure(vec![Step::Head, Step::Raw(b"nonsense\n".into())], patient(), codes::PROTOCOL, true).await;
}

#[tokio::test]
async fn an_endless_line_is_given_up() {
    let mut steps = vec![Step::Head];
    steps.extend((0..6).map(|_| Step::Raw(vec![b'x'; 1 << 20])));
    steps.push(Step::Hang);
    check_failure(steps, patient(), codes::PROTOCOL, true).await;
}
