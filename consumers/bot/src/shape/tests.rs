//! Prompts in every shape, and what is kept of what was learnt.

use antiphon_kit::bench;
use antiphon_schemas::wire::AuthorKind;
use serde_json::json;

use super::{fit::fit, *};
use crate::prompt::{
    Prompt,
    tests::{profile, said},
};

fn prompt() -> Arc<Prompt> {
    let mut delivery = bench::delivery("and now?", profile());
    delivery.context = vec![
        said(10, "echo", AuthorKind::Bot, "Welcome."),
        said(11, "anna", AuthorKind::Human, "hello"),
        said(12, "bob", AuthorKind::Human, "hi anna"),
        said(13, "echo", AuthorKind::Bot, "Hello both."),
        said(14, "bob", AuthorKind::Human, &"long ".repeat(100)),
    ];
    Arc::new(Prompt::of(&delivery))
}

fn sent(shape: Shape) -> serde_json::Value {
    let turns = fit(&prompt(), shape, 3.0, 0).prompt.turns.clone();
    json!(turns.iter().map(|turn| json!(turn)["content"].clone()).collect::<Vec<_>>())
}

#[test]
fn roles_alternate_and_nobodys_words_get_lost() {
    let merged = fit(&prompt(), Shape { merge_roles: Some(true), ..Shape::default() }, 3.0, 0).prompt.turns.clone();
    let long = "long ".repeat(100);
    assert_eq!(
        json!(merged),
        json!([
            {"role": "system", "content": "You are brief."},
            {"role": "user", "content": "echo: Welcome.\nanna: hello\nbob: hi anna"},
            {"role": "assistant", "content": "Hello both."},
            {"role": "user", "content": format!("bob: {long}\nsomebody: and now?")},
        ])
    );
}

#[test]
fn without_a_system_role_the_persona_begins_the_first_turn() {
    let shape = Shape { system_role: Some(false), ..Shape::default() };
    assert_eq!((&sent(shape)[0], &sent(shape)[1]), (&json!("You are brief."), &json!("Welcome.")));
    let both = Shape { merge_roles: Some(true), ..shape };
    assert_eq!(sent(both)[0], "You are brief.");
    assert_eq!(sent(both)[1], "Welcome.", "the bot's words after a turn of somebody's");
}

#[test]
fn the_oldest_messages_are_left_out_until_the_rest_fits_and_the_question_never() {
    let count = |tokens| {
        let fitted = fit(&prompt(), Shape { context_tokens: Some(tokens), ..Shape::default() }, 3.0, 0);
        let turns = &fitted.prompt.turns;
        assert_eq!((&*turns[0].text, &*turns[turns.len() - 1].text), ("You are brief.", "and now?"));
        assert_eq!(fitted.prompt.context.len() + fitted.left_out, 5);
        fitted.left_out
    };
    assert_eq!([count(100_000), count(330), count(290), count(1)], [0, 1, 3, 5]);
    assert_eq!(fit(&prompt(), Shape::default(), 3.0, 2).left_out, 2);
}

#[test]
fn what_was_learnt_is_kept_and_told_and_settings_stand_over_it() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let given = Shape { merge_roles: Some(true), ..Shape::default() };
    let learnt = Shape { preload: Some(false), merge_roles: Some(false), ..Shape::default() };
    let known = Known::remembering(given, learnt, move |shape| tell.lock().unwrap().push(shape.words()));
    assert_eq!(known.shape().words(), "merge_roles = true, preload = false");
    let next = Shape { context_tokens: Some(4096), ..known.shape() };
    known.learn(next);
    known.learn(next);
    assert_eq!(*told.lock().unwrap(), ["merge_roles = false, preload = false, context_tokens = 4096"]);
    assert_eq!(known.shape().words(), "merge_roles = true, preload = false, context_tokens = 4096");
    let read: Shape = serde_json::from_value(json!({"context_tokens": 4096, "of a later version": 1})).unwrap();
    assert_eq!((read.context_tokens, json!(read)), (Some(4096), json!({"context_tokens": 4096})));
}

#[test]
fn a_servers_own_counts_say_how_much_a_token_holds() {
    let known = Known::default();
    known.count(4_000, 1_000);
    assert_eq!(known.bytes_per_token(), 4.0);
    known.count(4_000, 3);
    assert_eq!(known.bytes_per_token(), 4.0, "only what was new was counted");
}
