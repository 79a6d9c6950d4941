//! What a refusal teaches: the shape to try next. Pure, on the server's own words.
//!
//! Of vLLM, llama.cpp, Ollama, LM Studio, TGI, Mistral, Databricks, OpenAI, Anthropic and the templates of Mistral, Gemma, Llama.

use super::Shape;
use crate::model::{ModelError, codes};

/// What is tried next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lesson {
    /// This shape.
    Shape(Shape),
    /// It was too long: the tokens that fit and those that were sent, where the server says so.
    TooLong(Option<(u32, u32)>),
}

/// What the failure of a request in `shape` teaches; `given` is not to be changed.
pub(super) fn lesson(error: &ModelError, shape: Shape, given: Shape) -> Option<Lesson> {
    if !matches!(error.code, codes::REFUSED | codes::ERROR) {
        return None;
    }
    let said = error.said.as_deref().unwrap_or(&error.words).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| said.contains(words));
    if is_too_long(&said) {
        return Some(Lesson::TooLong(tokens(&said)));
    }
    let roles =
        says(&["alternat", "conversation roles", "roles must", "consecutive", "same role", "first message must be"]);
    if says(&["stream_options", "include_usage", "stream options"]) && shape.counts() && given.stream_options.is_none()
    {
        return Some(Lesson::Shape(Shape { stream_options: Some(false), ..shape }));
    }
    if says(&["max_completion_tokens"]) && shape.max_completion_tokens.is_none() {
        return Some(Lesson::Shape(Shape { max_completion_tokens: Some(true), ..shape }));
    }
    if roles && !shape.merges() && given.merge_roles.is_none() {
        return Some(Lesson::Shape(Shape { merge_roles: Some(true), ..shape }));
    }
    let system =
        says(&["system role", "role system", "system message", "system prompt", "'system'", "`system`", "\"system\""])
            || says(&["developer instruction", "system instruction", "roles"])
                && says(&["not supported", "only user", "not enabled"]);
    if system && shape.has_system() && given.system_role.is_none() {
        return Some(Lesson::Shape(Shape { system_role: Some(false), ..shape }));
    }
    None
}

fn is_too_long(said: &str) -> bool {
    const SIGNS: [&str; 15] = [
        "context length",
        "context_length",
        "context size",
        "context window",
        "exceed_context",
        "maximum context",
        "max_model_len",
        "prompt is too long",
        "input is too long",
        "too many tokens",
        "input length",
        "exceeds the maximum number of tokens",
        "must be <= ",
        "n_ctx",
        // What is left for an answer is less than nothing.
        "must be at least 1, got -",
    ];
    SIGNS.iter().any(|sign| said.contains(sign))
}

/// The limit and what was sent, out of a sentence: the largest number is what was sent, the next the limit.
fn tokens(said: &str) -> Option<(u32, u32)> {
    /// No context is smaller; smaller numbers are codes and indexes.
    const LEAST: u32 = 128;
    let mut numbers: Vec<u32> = said
        .split(|c: char| !c.is_ascii_digit() && c != ',')
        .filter_map(|digits| digits.replace(',', "").parse().ok())
        .filter(|number| *number >= LEAST && !matches!(number, 400 | 413 | 422 | 500))
        .collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers.dedup();
    match numbers[..] {
        [sent, limit, ..] => Some((limit, sent)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(words: &str) -> Option<Lesson> {
        lesson(&ModelError::refused(words), Shape::default(), Shape::default())
    }

    #[test]
    fn what_servers_say_is_understood() {
        let usual = Shape::default();
        let (merge, counts, system) = (
            Shape { merge_roles: Some(true), ..usual },
            Shape { stream_options: Some(false), ..usual },
            Shape { system_role: Some(false), ..usual },
        );
        for (words, shape) in [
            ("After the optional system message, conversation roles must alternate user/assistant/user/…", merge),
            ("Jinja Exception: Conversation roles must alternate user/assistant", merge),
            ("roles must alternate between \"user\" and \"assistant\"", merge),
            ("Unknown parameter: 'stream_options'.", counts),
            (
                "{\"detail\":[{\"type\":\"extra_forbidden\",\"loc\":[\"body\",\"stream_options\",\"include_usage\"]}]}",
                counts,
            ),
            (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                Shape { max_completion_tokens: Some(true), ..usual },
            ),
            ("System role not supported", system),
            ("Only user, assistant and tool roles are supported, got system role", system),
            ("Developer instruction is not enabled for models/gemma-3-1b-it", system),
            ("messages[0].role: Input should be 'user' or 'assistant', input: 'system'", system),
        ] {
            assert_eq!(learnt(words), Some(Lesson::Shape(shape)), "{words}");
        }
        for words in ["no", "bad temperature", "too long"] {
            assert_eq!(learnt(words), None, "{words}");
        }
        let away = ModelError::retryable(codes::BUSY, "roles must alternate");
        assert_eq!(lesson(&away, usual, usual), None, "a server that is busy teaches nothing");
    }

    #[test]
    fn how_much_fits_is_read_from_the_refusal() {
        for (words, numbers) in [
            (
                "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the \
                 messages, 1000 in the completion).",
                Some((4096, 5000)),
            ),
            (
                "request (5035 tokens) exceeds the available context size (4096 tokens), try increasing it",
                Some((4096, 5035)),
            ),
            ("prompt is too long: 208,310 tokens > 200,000 maximum", Some((200_000, 208_310))),
            ("the request exceeds the available context size", None),
            ("Cannot truncate prompt with n_keep (15028) >= n_ctx (7424)", Some((7424, 15028))),
            (
                "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded with \
                 context length of only 32768 tokens, which is not enough.",
                Some((32768, 111490)),
            ),
            ("max_tokens must be at least 1, got -186.", None),
        ] {
            assert_eq!(learnt(words), Some(Lesson::TooLong(numbers)), "{words}");
        }
    }

    #[test]
    fn what_settings_say_is_not_tried_otherwise() {
        let given =
            Shape { merge_roles: Some(false), system_role: Some(true), stream_options: Some(true), ..Shape::default() };
        for words in ["roles must alternate", "System role not supported", "unknown parameter stream_options"] {
            assert_eq!(lesson(&ModelError::refused(words), given, given), None, "{words}");
        }
    }
}
