//! Servers that refuse what others take: the question is answered nevertheless, and what was learnt is kept.

use super::*;
use crate::{Shape, fake::Picky};

/// A room in which two people spoke before the question, the bot first of all.
fn conversation(messages: usize) -> Delivery {
    let mut delivery = bench::delivery("and now?", profile());
    delivery.context = (0..messages)
        .map(|n| match n % 3 {
            0 => said(n as u8 + 10, "echo", AuthorKind::Bot, &format!("{n}: I said so.")),
            1 => said(n as u8 + 10, "anna", AuthorKind::Human, &format!("{n}: hello")),
            _ => said(n as u8 + 10, "bob", AuthorKind::Human, &format!("{n}: hi anna")),
        })
        .collect();
    delivery
}

async fn picky(pickies: &'static [Picky]) -> Fake {
    Fake::start(move |request| {
        let refusal = pickies.iter().find_map(|picky| picky.refuses(request));
        let load =
            || request.is_load().then(|| vec![Step::Status(200, json!({ "done": true, "done_reason": "load" }))]);
        refusal.or_else(load).unwrap_or_else(|| Step::answer(&["Of course."]))
    })
    .await
}

fn of(spec: &str, url: &str, known: &Known) -> Bot {
    let endpoints = Endpoints::new(Some(url), Some(url), None).unwrap();
    let model = spec.parse::<ModelSpec>().unwrap().build(&endpoints, &http_client(), Duration::ZERO, known.clone());
    Bot::new(model, patient(), Breaker::new(1))
}

/// The reply, and how many requests it took.
async fn ask(bot: &Bot, fake: &Fake, messages: usize) -> (Reply, usize) {
    let before = fake.requests().len();
    let (_, outcome) = soon(bench::deliver(bot, conversation(messages))).await;
    let Outcome::Reply(reply) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reply.text, "Of course.");
    (reply, fake.requests()[before..].iter().filter(|request| !request.is_load()).count())
}

#[tokio::test]
async fn what_a_server_refuses_is_tried_in_the_other_shape_once_and_for_all() {
    let cases: [(&'static [Picky], &[&str], &str, usize); 8] = [
        (&[Picky::Roles], &BOTH, "merge_roles = true", 2),
        (&[Picky::RolesByTemplate], &BOTH, "merge_roles = true", 2),
        (&[Picky::RolesByParser], &["openai:m"], "merge_roles = true", 2),
        (&[Picky::ExtraField], &["openai:m"], "stream_options = false", 2),
        (&[Picky::UnknownParameter], &["openai:m"], "stream_options = false", 2),
        (&[Picky::System], &BOTH, "system_role = false", 2),
        (&[Picky::Preload], &["ollama:m"], "preload = false", 1),
        (
            &[Picky::System, Picky::Roles, Picky::ExtraField],
            &["openai:m"],
            "merge_roles = true, stream_options = false, system_role = false",
            4,
        ),
    ];
    for (pickies, specs, learnt, requests) in cases {
        for spec in specs {
            let (fake, known) = (picky(pickies).await, Known::default());
            let bot = of(spec, &fake.url(), &known);
            let (reply, first) = ask(&bot, &fake, 6).await;
            assert_eq!((first, known.shape().words().as_str()), (requests, learnt), "{spec} {pickies:?}");
            assert_eq!(ask(&bot, &fake, 6).await.1, 1, "{spec} {pickies:?}: known by now");
            let sent = fake.requests().pop().unwrap();
            for n in 0..6 {
                assert!(sent.body.contains(&format!("{n}: ")), "message {n} is missing: {}", sent.body);
            }
            assert!(sent.body.contains("You are brief.") && reply.notes.is_empty(), "{}", sent.body);
            // Hashed as it was sent.
            let turns = &sent.body[sent.body.find("[{\"role\"").unwrap()..];
            let turns = &turns[..turns.find("}]").unwrap() + 2];
            use sha2::{Digest, Sha256};
            let hash: String = Sha256::digest(turns).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(reply.prompt_sha256, hash, "{spec} {pickies:?}");
        }
    }
}

#[tokio::test]
async fn a_history_that_is_too_long_is_cut_to_what_fits_and_the_answer_says_so() {
    let all: [&'static [Picky]; 8] = [
        &[Picky::Long(800)],
        &[Picky::LongByContextSize(800)],
        &[Picky::LongWithoutNumbers(800)],
        &[Picky::LongInStream(800)],
        &[Picky::LongInErrorField(800)],
        &[Picky::LongByKeep(800)],
        &[Picky::LongByRest(800)],
        &[Picky::LongUnlessCut(800)],
    ];
    for pickies in all {
        let only_ollama = matches!(pickies, [Picky::LongUnlessCut(_)]);
        for spec in if only_ollama { &BOTH[..1] } else { &BOTH[..] } {
            let (fake, known) = (picky(pickies).await, Known::default());
            let bot = of(spec, &fake.url(), &known);
            assert!(ask(&bot, &fake, 3).await.0.notes.is_empty(), "{pickies:?}: a short one fits");
            let mut delivery = conversation(60);
            Arc::make_mut(&mut delivery.bot).context_messages = 60;
            for round in 0..2 {
                let before = fake.requests().len();
                let (_, outcome) = soon(bench::deliver(&bot, delivery.clone())).await;
                let Outcome::Reply(reply) = outcome else { panic!("{spec} {pickies:?}: {outcome:?}") };
                let asked = fake.requests()[before..].iter().filter(|request| !request.is_load()).count();
                assert!(
                    asked <= if round == 0 { 6 } else { 1 },
                    "{spec} {pickies:?}: {asked} requests in round {round}"
                );
                let sent = fake.requests().pop().unwrap();
                assert!(sent.body.contains("and now?") && sent.body.contains("You are brief."), "{}", sent.body);
                assert!(!sent.body.contains("\"0: ") && reply.context.len() < 60, "the oldest goes first");
                assert_eq!(reply.context.last(), Some(&delivery.context[59].id), "the newest stays");
                assert!(
                    reply.notes[0].starts_with("history-cut: ") && reply.notes[0].contains("of 60"),
                    "{:?}",
                    reply.notes
                );
            }
        }
    }
}

#[tokio::test]
async fn a_question_that_does_not_fit_by_itself_is_refused_in_the_servers_words() {
    let fake = picky(&[Picky::Long(40)]).await;
    let bot = of("openai:m", &fake.url(), &Known::default());
    let (_, outcome) = soon(bench::deliver(&bot, bench::delivery(&"x".repeat(500), profile()))).await;
    let Outcome::Failed { reason, retryable: false } = outcome else { panic!("{outcome:?}") };
    assert!(reason.starts_with(codes::REFUSED) && reason.contains("maximum context length"), "{reason}");
    assert_eq!((fake.requests().len(), bot.breaker().ready()), (1, Readiness::Ready));
}

#[tokio::test]
async fn what_settings_say_is_asked_at_once_and_never_otherwise() {
    let fake = picky(&[Picky::Roles]).await;
    let given = Known::given(Shape { merge_roles: Some(true), context_tokens: Some(300), ..Shape::default() });
    let (reply, requests) = ask(&of("openai:m", &fake.url(), &given), &fake, 6).await;
    assert_eq!((requests, reply.notes), (1, vec![]));
    let given = Known::given(Shape { merge_roles: Some(false), ..Shape::default() });
    let (_, outcome) = soon(bench::deliver(&of("openai:m", &fake.url(), &given), conversation(6))).await;
    assert!(matches!(&outcome, Outcome::Failed { reason, .. } if reason.contains("must alternate")), "{outcome:?}");
}
