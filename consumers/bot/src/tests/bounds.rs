//! Answers that have no end of their own: what was said is kept, and a note says why it ends.

use antiphon_kit::Bounds;

use super::*;

/// The reply of "hi" in one dialect, with these bounds.
async fn reply(spec: &str, steps: Vec<Step>, clocks: Clocks, answer: Bounds) -> (Reply, Fake) {
    let fake = Fake::answering("m", move |_| steps.clone()).await;
    let bot = bot(spec, &fake.url(), clocks);
    let (pieces, outcome) = soon(bench::deliver(&bot, bench::delivery("hi", Profile { answer, ..profile() }))).await;
    let Outcome::Reply(reply) = outcome else { panic!("{spec}: {outcome:?}") };
    assert_eq!((text_of(&pieces), reply.finish.as_str()), (reply.text.clone(), "length"), "{spec}");
    assert_eq!((bot.breaker().ready(), reply.notes.len()), (Readiness::Ready, 1), "{:?}", reply.notes);
    (reply, fake)
}

/// A stream of pieces of which none follows from the one before.
fn endless(pieces: usize) -> Vec<Step> {
    let words = (0..pieces).flat_map(|n| [Step::Text(format!("{n} ")), Step::Wait(Duration::from_millis(2))]);
    std::iter::once(Step::Head).chain(words).chain([Step::Hang]).collect()
}

#[tokio::test]
async fn what_was_said_when_the_time_is_over_is_the_answer_and_the_model_is_left_alone() {
    for spec in BOTH {
        let clocks = Clocks { total: Duration::from_millis(150), ..patient() };
        let (reply, fake) = reply(spec, endless(10_000), clocks, Bounds::default()).await;
        assert!(
            reply.text.starts_with("0 1 2 ") && reply.notes[0].starts_with("cut-off: the time"),
            "{:?}",
            reply.notes
        );
        soon(fake.hung_up(fake.requests().len() - 1)).await;
    }
    let seconds = Bounds { seconds: Some(1), ..Bounds::default() };
    let start = std::time::Instant::now();
    reply("openai:m", endless(10_000), patient(), seconds).await;
    assert!(start.elapsed() < LONG / 2);
}

#[tokio::test]
async fn a_bound_in_tokens_is_told_to_the_model_in_its_own_words_and_enforced() {
    for (spec, name) in [("ollama:m", "num_predict"), ("openai:m", "max_tokens")] {
        let tokens = Bounds { tokens: Some(5), ..Bounds::default() };
        let (reply, fake) = reply(spec, endless(100), patient(), tokens).await;
        assert_eq!(reply.text, "0 1 2 3 4 5 ", "{spec}");
        assert!(reply.notes[0].contains("5 tokens at most"), "{:?}", reply.notes);
        let sent = fake.requests().pop().unwrap().json;
        assert_eq!(if spec == "ollama:m" { &sent["options"][name] } else { &sent[name] }, &json!(5), "{sent}");
        assert_eq!(reply.options[name], json!(5));
    }
}

#[tokio::test]
async fn a_bound_in_bytes_and_the_models_own_limit_are_told() {
    let bytes = Bounds { bytes: Some(10), ..Bounds::default() };
    for spec in BOTH {
        let (cut, _) = reply(spec, endless(100), patient(), bytes).await;
        assert_eq!(cut.text, "0 1 2 3 4 ", "{spec}");
        let steps = vec![Step::Head, Step::Text("Half".into()), Step::Finish("length".into())];
        let (cut, _) = reply(spec, steps, patient(), Bounds::default()).await;
        assert_eq!(cut.notes, ["cut-off: the model reached its limit of tokens"]);
    }
}

#[tokio::test]
async fn a_text_that_repeats_itself_ends_early() {
    const PASSAGE: &str = "It is made up of a series of lines, each of which represents a dot in the series of lines. ";
    let mut steps = vec![Step::Head, Step::Text("The answer begins. ".into())];
    steps.extend((0..200).flat_map(|_| PASSAGE.split_inclusive(' ').map(|word| Step::Text(word.into()))));
    steps.push(Step::Hang);
    for spec in BOTH {
        let (cut, _) = reply(spec, steps.clone(), patient(), Bounds::default()).await;
        assert!(
            cut.text.starts_with("The answer begins. It is") && cut.text.len() < 8 * PASSAGE.len(),
            "{}",
            cut.text.len()
        );
        assert_eq!(cut.notes, ["cut-off: it only repeated itself"]);
    }
}

#[tokio::test]
async fn thoughts_that_go_round_in_a_circle_are_no_answer() {
    let mut steps = vec![Step::Head];
    steps.extend(
        (0..200).map(|_| Step::Thought("But wait, what if the user means the other of these two things? ".into())),
    );
    steps.push(Step::Hang);
    for spec in BOTH {
        let outcome = outcome_of(spec, steps.clone(), patient(), Filters::default()).await;
        let Outcome::Failed { reason, .. } = outcome else { panic!("{spec}: {outcome:?}") };
        assert!(reason.starts_with(codes::EMPTY) && reason.contains("circle"), "{reason}");
    }
}

#[tokio::test]
async fn a_limit_that_is_reached_in_thought_would_be_reached_again() {
    let thought = |finish: &str| vec![Step::Head, Step::Thought("hm".into()), Step::Finish(finish.into())];
    check_failure(thought("length"), patient(), codes::EMPTY, false).await;
    check_failure(thought("stop"), patient(), codes::EMPTY, true).await;
}
