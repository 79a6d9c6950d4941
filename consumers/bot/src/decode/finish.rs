//! The words with which servers say why an answer ended, and what each means.
//!
//! Promise: a word that is not known is no reason to throw away an answer that is there: it is kept, and the word told.

use crate::model::{Finish, ModelError, codes};

/// The model had said what it wanted to say. OpenAI and Ollama, TGI, Anthropic, Gemini, Cohere, old servers.
const STOP: [&str; 13] = [
    "stop",
    "eos",
    "eos_token",
    "end_turn",
    "end_of_turn",
    "stop_sequence",
    "stop_token",
    "complete",
    "completed",
    "end",
    "finished",
    "done",
    "normal",
];
/// It reached a limit. OpenAI and Ollama, Anthropic and Gemini, Mistral, TGI.
const LENGTH: [&str; 8] = [
    "length",
    "max_tokens",
    "model_length",
    "max_length",
    "max_output_tokens",
    "max_new_tokens",
    "token_limit",
    "context_length",
];
/// The server broke off, or answered something else: another try may help.
const BROKEN: [&str; 13] = [
    "abort",
    "aborted",
    "error",
    "cancelled",
    "canceled",
    "timeout",
    "network_error",
    "insufficient_system_resource",
    "load",
    "unload",
    "tool_calls",
    "function_call",
    "tool_use",
];
/// Somebody does not want this answer said; another try would end the same way.
const HELD_BACK: [&str; 7] =
    ["content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii", "sensitive"];

/// What a server's word at the end means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// An answer.
    Well(Finish),
    /// No answer, for this reason.
    Badly(ModelError),
    /// A word that is not known.
    Unknown(String),
}

/// The meaning of `word`; capitals, and dashes or blanks instead of underscores, make no difference.
pub(super) fn ended(word: &str) -> Ended {
    let plain = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
    let is_one_of = |words: &[&str]| words.contains(&plain.as_str());
    let told = || format!("the model's server ended the answer with `{word}`");
    if is_one_of(&STOP) {
        Ended::Well(Finish::Stop)
    } else if is_one_of(&LENGTH) {
        Ended::Well(Finish::Length)
    } else if is_one_of(&BROKEN) {
        Ended::Badly(ModelError::retryable(codes::FINISH, told()))
    } else if is_one_of(&HELD_BACK) {
        Ended::Badly(ModelError { fault: false, ..ModelError::permanent(codes::FINISH, told()) })
    } else {
        Ended::Unknown(word.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_way_of_saying_it_is_understood() {
        for word in ["stop", "eos_token", "eos", "end_turn", "stop_sequence", "STOP", "End Turn", "COMPLETE"] {
            assert_eq!(ended(word), Ended::Well(Finish::Stop), "{word}");
        }
        for word in ["length", "MAX_TOKENS", "model_length", "max-tokens"] {
            assert_eq!(ended(word), Ended::Well(Finish::Length), "{word}");
        }
        for (word, again) in [("abort", true), ("tool_calls", true), ("load", true), ("SAFETY", false)] {
            let Ended::Badly(error) = ended(word) else { panic!("{word}") };
            assert!(error.code == codes::FINISH && error.retryable == again && error.words.contains(word), "{error}");
        }
        assert_eq!(ended("because"), Ended::Unknown("because".into()));
    }
}
