//! A request, tried in another shape when the server refuses it, until it is answered or there is nothing left to try.

use std::{future::Future, sync::Arc};

use super::{
    Known, Shape,
    fit::{Fitted, fit},
    lesson::{Lesson, lesson},
};
use crate::{
    model::{Event, Events, ModelError},
    prompt::Prompt,
};

/// Requests for one answer: each lesson once, and some for a history that is halved each time.
const REQUESTS_MAX: usize = 10;

/// Asks for an answer to `prompt`. `ask` sends one request in a shape, and hands on words as they come; once it has, a
/// failure is one. `context_tokens`: what fits, where nothing better is known.
///
/// # Errors
/// The last request's.
pub(crate) async fn trial<'a, F>(
    known: &Known,
    prompt: &Arc<Prompt>,
    context_tokens: Option<u32>,
    events: &Events,
    ask: impl Fn(Fitted, Shape) -> F,
) -> Result<Event, ModelError>
where
    F: Future<Output = Result<Event, ModelError>> + Send + 'a,
{
    let usual = Shape { context_tokens, ..Shape::default() };
    let (mut shape, mut bytes_per_token) = (known.shape().or(usual), known.bytes_per_token());
    let (given, mut left_out) = (known.0.given, 0);
    for _ in 1..REQUESTS_MAX {
        let fitted = fit(prompt, shape, bytes_per_token, left_out);
        let (before, learnt) =
            (told(shape, prompt, &fitted), learnt(shape, usual, &fitted, left_out > 0, bytes_per_token));
        let keeper = known.clone();
        events.set_preface(before, move || keeper.learn(learnt));
        let error = match ask(fitted.clone(), shape).await {
            Ok(end) => {
                events.begin().await;
                if let Event::Done { usage: Some(usage), .. } = &end {
                    known.count(fitted.bytes, usage.prompt_tokens);
                }
                return Ok(end);
            }
            Err(error) => error,
        };
        if events.begun() {
            return Err(error);
        }
        match lesson(&error, shape, given) {
            None => return Err(error),
            Some(Lesson::Shape(next)) => shape = next,
            Some(Lesson::TooLong(_)) if fitted.left_out == prompt.context.len() => return Err(error),
            Some(Lesson::TooLong(tokens)) => {
                if let Some((limit, sent)) = tokens {
                    bytes_per_token = (fitted.bytes as f64 / f64::from(sent)).max(0.5);
                    shape.context_tokens = given.context_tokens.or(Some(limit));
                }
                // Counts are estimates: at any rate less than what was refused.
                let rest = prompt.context.len() - fitted.left_out;
                left_out = fitted.left_out + if tokens.is_some() { 1 } else { rest.div_ceil(2) };
            }
        }
    }
    let fitted = fit(prompt, shape, bytes_per_token, left_out);
    ask(fitted, shape).await
}

/// What an answer in this shape shows.
fn learnt(shape: Shape, usual: Shape, fitted: &Fitted, cut: bool, bytes_per_token: f64) -> Shape {
    let told = shape.context_tokens.filter(|_| shape.context_tokens != usual.context_tokens);
    // A server that only says that it was too much leaves the limit to be guessed.
    let guessed = (cut && told.is_none()).then(|| fitted.tokens(bytes_per_token));
    Shape { context_tokens: guessed.or(told), ..shape }
}

/// How the prompt was sent, if not as it was asked for.
fn told(shape: Shape, prompt: &Arc<Prompt>, fitted: &Fitted) -> Vec<Event> {
    let mut told = Vec::new();
    if fitted.prompt != *prompt {
        told.push(Event::Sent(fitted.prompt.clone()));
    }
    if fitted.left_out > 0 {
        let (left_out, all) = (fitted.left_out, prompt.context.len());
        let holds = shape.context_tokens.map_or(String::new(), |tokens| format!(", which holds {tokens} tokens"));
        let words = format!("{left_out} of {all} earlier messages did not fit into the model's context{holds}");
        told.push(Event::Note(format!("history-cut: {words}")));
    }
    told
}
