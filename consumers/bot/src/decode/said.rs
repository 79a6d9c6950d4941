//! What one JSON value of a model's server says, in whatever dialect: OpenAI's chat and completions, Ollama's, whole
//! answers, errors.
//!
//! Promises: fields may be missing, `null` or more than we know; content may be text or a list of parts; text that cannot be
//! understood comes out as [`Part::Lost`].
//! Not here: where values begin and end (`frames`), what was said before (`mod`).

use antiphon_kit::Usage;
use serde_json::Value;

use crate::client::error_in;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Words of the answer.
    Text(String),
    /// Words of a thought.
    Thought(String),
    /// Something that may have been words.
    Lost(String),
}

/// What one value says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Said {
    /// In their order.
    pub(super) parts: Vec<Part>,
    /// The parts are the whole answer, not its next piece, where another piece has come before.
    pub(super) whole: bool,
    /// An error.
    pub(super) error: Option<Failing>,
    /// Why the answer ended.
    pub(super) finish: Option<String>,
    /// Nothing follows.
    pub(super) done: bool,
    /// Tokens so far.
    pub(super) usage: Option<Usage>,
    /// How many tokens of the prompt it has read.
    pub(super) read: Option<u64>,
}

/// An error that came where an answer was to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    /// Its words.
    pub(super) words: String,
    /// The status that it would have had before the answer began, if it says so.
    pub(super) status: Option<u16>,
    /// All that it says.
    pub(super) all: String,
}

/// Fields in which servers put thoughts.
const THOUGHTS: [&str; 4] = ["reasoning_content", "reasoning", "thinking", "thought"];

/// Reads one value.
pub(super) fn said(value: &Value) -> Said {
    let mut said = Said::default();
    let Some(fields) = value.as_object() else {
        said.parts.push(Part::Lost(value.to_string()));
        return said;
    };
    said.error = error_of(value);
    let choice = choice_of(value);
    for (carrier, whole) in
        [(&choice["delta"], false), (&choice["message"], true), (&value["message"], false), (&value["delta"], false)]
    {
        if carrier.is_object() && said.parts.is_empty() {
            carried(carrier, &mut said.parts);
            said.whole = whole && !said.parts.is_empty();
        }
    }
    if said.parts.is_empty() {
        // Completions, Ollama's `generate`, a bare text.
        let bare = [&choice["text"], &value["response"], &value["content"], &value["text"]];
        bare.into_iter().find(|text| text.is_string()).into_iter().for_each(|text| content(text, &mut said.parts));
    }
    let word = |value: &Value| value.as_str().filter(|word| !word.is_empty()).map(str::to_owned);
    let reasons =
        [&choice["finish_reason"], &choice["finishReason"], &choice["delta"]["finish_reason"], &value["done_reason"]];
    said.finish = reasons.into_iter().find_map(word);
    if value["done"] == true {
        said.done = true;
        // Servers before Ollama 0.1.38 gave no reason.
        said.finish.get_or_insert_with(|| "stop".into());
    }
    said.usage = usage_of(value).or_else(|| usage_of(choice)).or_else(|| usage_of(&value["x_groq"]));
    said.read = value["prompt_progress"]["processed"].as_u64();
    if said == Said::default() && !fields.keys().any(|key| KNOWN.contains(&key.as_str())) {
        said.parts.push(Part::Lost(value.to_string()));
    }
    said
}

/// Fields by which a value is known for what it is although it says nothing.
const KNOWN: [&str; 9] =
    ["choices", "message", "done", "usage", "error", "object", "id", "prompt_filter_results", "type"];

/// The first choice, or nothing.
fn choice_of(value: &Value) -> &Value {
    let choices = value["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
    choices.iter().find(|choice| choice["index"].as_u64().unwrap_or(0) == 0).or(choices.first()).unwrap_or(&Value::Null)
}

/// An error: an `error` that is something, or a body that is nothing else.
fn error_of(value: &Value) -> Option<Failing> {
    let is_something = |error: &Value| !matches!(error, Value::Null | Value::Bool(false)) && error != "";
    let named = value.get("error").is_some_and(is_something) || value["object"] == "error" || value["type"] == "error";
    let alone = value["choices"].is_null()
        && value["done"].is_null()
        && (value["message"].is_string() || !value["detail"].is_null() || !value["errors"].is_null());
    (named || alone).then(|| {
        let error = value.get("error").filter(|error| error.is_object()).unwrap_or(value);
        let words = error_in(value).unwrap_or_else(|| "no words".into());
        Failing { words, status: status_of(error), all: error.to_string() }
    })
}

/// Kinds of errors and the status that each stands for: Anthropic, OpenAI, llama.cpp. `invalid_request_error` is not among
/// them, since gateways put it on whatever they do not know.
const KINDS: [(&str, u16); 5] = [
    ("overloaded_error", 529),
    ("rate_limit_error", 429),
    ("rate_limit_exceeded", 429),
    ("unavailable_error", 503),
    ("authentication_error", 401),
];

/// The status of an error: as a number, as a number in a text, or by its kind.
fn status_of(error: &Value) -> Option<u16> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    let fields = || ["code", "status", "status_code", "type"].into_iter().map(|field| &error[field]);
    let numbers = fields().filter_map(number).filter_map(|status| u16::try_from(status).ok());
    let kinds = fields().filter_map(|kind| KINDS.iter().find(|(name, _)| kind == name).map(|(_, status)| *status));
    numbers.filter(|status| (400..600).contains(status)).chain(kinds).next()
}

fn carried(carrier: &Value, parts: &mut Vec<Part>) {
    for field in THOUGHTS {
        let before = parts.len();
        thought(&carrier[field], parts);
        // Some servers say the same under two names.
        if parts.len() > before {
            break;
        }
    }
    content(&carrier["content"], parts);
    // A refusal is what the model has to say.
    if !parts.iter().any(|part| matches!(part, Part::Text(_))) {
        content(&carrier["refusal"], parts);
    }
}

/// Content as a text, as one part or as a list of parts.
fn content(value: &Value, parts: &mut Vec<Part>) {
    match value {
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => parts.push(Part::Text(text.clone())),
        Value::Number(number) => parts.push(Part::Text(number.to_string())),
        Value::Array(list) => list.iter().for_each(|part| content(part, parts)),
        Value::Object(part) => {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
            let inner = ["text", "value", "content", "refusal"].into_iter().find_map(|field| part.get(field));
            match (kind, inner) {
                ("thinking" | "reasoning" | "thought" | "summary_text", inner) => {
                    let words = THOUGHTS.into_iter().find_map(|field| part.get(field)).or(inner);
                    thought(words.unwrap_or(&Value::Null), parts);
                }
                (_, Some(inner)) => content(inner, parts),
                (kind, None) => parts.push(Part::Lost(format!("content of type `{kind}`"))),
            }
        }
        Value::Bool(_) => parts.push(Part::Lost(value.to_string())),
    }
}

fn thought(value: &Value, parts: &mut Vec<Part>) {
    let mut inner = Vec::new();
    content(value, &mut inner);
    parts.extend(inner.into_iter().map(|part| match part {
        Part::Text(text) => Part::Thought(text),
        // Lost thoughts cost the answer nothing.
        other => Part::Thought(format!("{other:?}")),
    }));
}

fn usage_of(value: &Value) -> Option<Usage> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_f64().map(|number| number.max(0.0) as u64));
    let usage = &value["usage"];
    let first = |of: [&Value; 3]| of.into_iter().find_map(number);
    let completion_tokens = first([&usage["completion_tokens"], &usage["output_tokens"], &value["eval_count"]])?;
    // Ollama leaves it out when the whole prompt was still in the model's cache.
    let prompt_tokens =
        first([&usage["prompt_tokens"], &usage["input_tokens"], &value["prompt_eval_count"]]).unwrap_or(0);
    Some(Usage { prompt_tokens, completion_tokens })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(words: &str) -> Said {
        Said { parts: vec![Part::Text(words.into())], ..Said::default() }
    }

    #[test]
    fn words_are_found_wherever_servers_put_them() {
        let hi = || text("hi");
        for (value, expected) in [
            (json!({"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}), hi()),
            (json!({"choices":[{"delta":{"content":"hi"},"finish_reason":""}],"unknown":[1],"error":null}), hi()),
            (json!({"choices":[{"delta":{"refusal":"hi","content":null}}]}), hi()),
            (json!({"choices":[{"delta":{"content":[{"type":"text","text":"hi"}]}}]}), hi()),
            (json!({"choices":[{"delta":{"content":{"type":"text","text":{"value":"hi"}}}}]}), hi()),
            (json!({"choices":[{"text":"hi","index":0}]}), hi()),
            (json!({"message":{"role":"assistant","content":"hi"},"done":false}), hi()),
            (json!({"response":"hi","done":false}), hi()),
            (json!({"choices":[{"message":{"content":"hi"}}]}), Said { whole: true, ..hi() }),
            (json!({"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"hi"}}]}), hi()),
        ] {
            assert_eq!(said(&value), expected, "{value}");
        }
    }

    #[test]
    fn parts_keep_their_order_and_thoughts_are_told_apart() {
        let value = json!({"choices":[{"delta":{"reasoning_content":"a","reasoning":"a","content":[
            {"type":"thinking","thinking":[{"type":"text","text":"b"}]}, {"type":"text","text":"c"}, "d",
            {"type":"image_url","image_url":{"url":"x"}}]}}]});
        let thought = |words: &str| Part::Thought(words.into());
        let lost = Part::Lost("content of type `image_url`".into());
        let parts = vec![thought("a"), thought("b"), Part::Text("c".into()), Part::Text("d".into()), lost];
        assert_eq!(said(&value), Said { parts, ..Said::default() });
    }

    #[test]
    fn what_says_nothing_is_no_loss_and_what_is_not_known_is() {
        for value in [
            json!({"choices":[{"delta":{"role":"assistant","content":null}}]}),
            json!({"choices":[{"delta":{},"finish_reason":null}]}),
            json!({"choices":null,"usage":null}),
            json!({"choices":[],"prompt_filter_results":[]}),
            json!({"id":"1","object":"chat.completion.chunk"}),
        ] {
            assert_eq!(said(&value), Said::default(), "{value}");
        }
        assert_eq!(said(&json!({"answer":"hi"})).parts, [Part::Lost(r#"{"answer":"hi"}"#.into())]);
        assert_eq!(said(&json!(["hi"])).parts, [Part::Lost(r#"["hi"]"#.into())]);
    }

    #[test]
    fn ends_counts_and_errors_are_read_in_all_dialects() {
        let of = |value: Value| said(&value);
        assert_eq!(of(json!({"choices":[{"delta":{},"finish_reason":"length"}]})).finish.as_deref(), Some("length"));
        let ended = of(json!({"done":true,"message":{"content":""},"prompt_eval_count":3,"eval_count":5}));
        let usage = Some(Usage { prompt_tokens: 3, completion_tokens: 5 });
        assert_eq!((ended.done, ended.finish.as_deref(), ended.usage), (true, Some("stop"), usage));
        assert_eq!(of(json!({"choices":[],"usage":{"input_tokens":3.0,"output_tokens":5}})).usage, usage);
        for value in [
            json!({"error":"died"}),
            json!({"error":{"message":"died"},"choices":[]}),
            json!({"object":"error","message":"died"}),
            json!({"detail":"died"}),
            json!({"errors":[{"message":"died"}]}),
        ] {
            let error = of(value.clone()).error.unwrap();
            assert_eq!((error.words.as_str(), error.status), ("died", None), "{value}");
        }
    }

    #[test]
    fn the_status_of_an_error_is_found_as_a_number_as_a_text_and_by_its_kind() {
        for (error, status) in [
            (json!({"code":429}), Some(429)),
            (json!({"code":"503","type":"x"}), Some(503)),
            (json!({"code":1,"status":500}), Some(500)),
            (json!({"code":null,"type":"overloaded_error"}), Some(529)),
            (json!({"code":"rate_limit_exceeded"}), Some(429)),
            (json!({"code":"request_timeout","type":"invalid_request_error"}), None),
            (json!({"code":200}), None),
            (json!({"message":"429"}), None),
        ] {
            assert_eq!(said(&json!({ "error": error, "choices": [] })).error.unwrap().status, status, "{error}");
        }
        let alone = said(&json!({"code":400,"message":"too long","type":"invalid_request_error"})).error.unwrap();
        assert_eq!((alone.words.as_str(), alone.status), ("too long", Some(400)));
    }
}
