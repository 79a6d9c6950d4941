//! Errors that come where an answer was to come: in the stream, after status 200, or under a status that does not fit them.

use super::*;

/// The outcome when the answer to "hi" is `steps`, in OpenAI's dialect.
async fn outcome(steps: Vec<Step>) -> Outcome {
    outcome_of("openai:m", steps, patient(), Filters::default()).await
}

fn said(error: serde_json::Value) -> Step {
    Step::Event(json!({ "choices": [], "created": 1_780_390_177_u32, "error": error }))
}

#[tokio::test]
async fn a_model_that_says_in_the_stream_that_it_is_busy_could_not_have_answered() {
    for (error, after) in [
        (json!({ "code": 429, "message": "slow down, try again in 7s" }), Some(7)),
        (json!({ "code": "429", "message": "litellm.RateLimitError: slow down" }), None),
        (json!({ "code": 502, "message": "no", "metadata": { "error_type": "provider_unavailable" } }), None),
        (json!({ "code": 503, "message": "Loading model", "type": "unavailable_error" }), None),
        (json!({ "type": "overloaded_error", "message": "Overloaded" }), None),
    ] {
        let outcome = outcome(vec![Step::Head, said(error.clone()), Step::Done]).await;
        let Outcome::Away { reason, after: waits } = outcome else { panic!("{error}: {outcome:?}") };
        assert!(reason.starts_with(codes::BUSY), "{reason}");
        let most = after.map_or(crate::AWAY_FIRST, Duration::from_secs);
        assert!(
            waits <= most && waits + Duration::from_millis(500) >= after.map_or(Duration::ZERO, |_| most),
            "{waits:?}"
        );
    }
}

#[tokio::test]
async fn what_a_server_refuses_in_the_stream_is_not_asked_again() {
    for (error, code) in [
        (json!({ "code": 400, "message": "temperature must be a number" }), codes::REFUSED),
        (json!({ "code": "422", "message": "temperature must be a number" }), codes::REFUSED),
        (json!({ "code": 401, "message": "the key secret is wrong" }), codes::KEY),
        (json!({ "code": 404, "message": "no such model" }), codes::NOT_FOUND),
    ] {
        let outcome = outcome(vec![Step::Head, said(error.clone())]).await;
        let Outcome::Failed { reason, retryable: false } = outcome else { panic!("{error}: {outcome:?}") };
        assert!(reason.starts_with(code) && !reason.contains("secret"), "{reason}");
    }
}

#[tokio::test]
async fn an_error_after_the_first_words_or_thoughts_uses_up_a_try() {
    let busy = || said(json!({ "code": 429, "message": "slow down" }));
    for begun in [Step::Text("Hel".into()), Step::Thought("hm".into())] {
        let outcome = outcome(vec![Step::Head, begun.clone(), busy()]).await;
        assert!(matches!(outcome, Outcome::Failed { retryable: true, .. }), "{begun:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_model_that_died_is_asked_again_although_its_server_calls_that_a_bad_request() {
    for words in [
        "The model has crashed without additional information. (Exit code: null)",
        "Model is unloaded.",
        "Failed to load model \"acme/one\". Error: Operation canceled.",
    ] {
        for spec in BOTH {
            let steps = vec![Step::Status(400, json!({ "error": words }))];
            let outcome = outcome_of(spec, steps, patient(), Filters::default()).await;
            let Outcome::Failed { reason, retryable: true } = outcome else { panic!("{spec} {words}: {outcome:?}") };
            assert!(reason.starts_with(codes::ERROR) && reason.contains(words), "{reason}");
        }
    }
}
