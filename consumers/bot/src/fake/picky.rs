//! Servers that refuse what others take, each in the words in which one was seen to.

use serde_json::{Value, json};

use super::{Request, Step};

/// What a server refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picky {
    /// Roles that do not alternate (templates of Mistral, Gemma and others, behind vLLM: 400).
    Roles,
    /// The same as an error of the template (llama.cpp: 500).
    RolesByTemplate,
    /// The same by a llama.cpp that makes a parser of the template first (2026-10: 400).
    RolesByParser,
    /// `stream_options`, as a field too many (Mistral: 422).
    ExtraField,
    /// `stream_options`, as a parameter that it does not know (Databricks: 400).
    UnknownParameter,
    /// The role `system` (Gemma 2: 400).
    System,
    /// A prompt of more than so many bytes, in tokens of four bytes each (vLLM, OpenAI: 400).
    Long(usize),
    /// The same as llama.cpp says it.
    LongByContextSize(usize),
    /// The same without numbers.
    LongWithoutNumbers(usize),
    /// The same with status 200, as the first event of the stream.
    LongInStream(usize),
    /// The same as an event of the field `error`, with status 200 (llama.cpp until late in 2025).
    LongInErrorField(usize),
    /// The same by the names of llama.cpp's own settings (LM Studio: 400).
    LongByKeep(usize),
    /// The same as what it leaves for an answer (vLLM: 400).
    LongByRest(usize),
    /// The same, unless it may cut the prompt by itself, which it does without a word (Ollama: 400).
    LongUnlessCut(usize),
    /// A request that only loads a model (proxies that speak Ollama's dialect: 400).
    Preload,
}

impl Picky {
    /// Its refusal of a request, if it refuses that.
    pub fn refuses(self, request: &Request) -> Option<Vec<Step>> {
        let messages = request.json["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let roles: Vec<&str> = messages.iter().filter_map(|message| message["role"].as_str()).collect();
        let bytes: usize = messages.iter().filter_map(|message| message["content"].as_str()).map(str::len).sum();
        let has_counts = request.json.get("stream_options").is_some();
        let refused = match self {
            Picky::Roles | Picky::RolesByTemplate | Picky::RolesByParser => !alternate(&roles),
            Picky::ExtraField | Picky::UnknownParameter => has_counts,
            Picky::System => roles.contains(&"system"),
            Picky::Long(max)
            | Picky::LongByContextSize(max)
            | Picky::LongWithoutNumbers(max)
            | Picky::LongInStream(max)
            | Picky::LongInErrorField(max)
            | Picky::LongByKeep(max)
            | Picky::LongByRest(max) => bytes > max,
            Picky::LongUnlessCut(max) => bytes > max && request.json["truncate"] == false,
            Picky::Preload => request.is_load(),
        };
        refused.then(|| self.refusal(bytes / 4))
    }

    fn refusal(self, tokens: usize) -> Vec<Step> {
        let error = |status: u16, words: String| {
            vec![Step::Status(status, json!({ "error": { "message": words, "type": "invalid_request_error" } }))]
        };
        match self {
            Picky::Roles => error(
                400,
                "After the optional system message, conversation roles must alternate user/assistant/user/assistant/...".into(),
            ),
            Picky::RolesByTemplate => error(500, "Jinja Exception: Conversation roles must alternate at row 12".into()),
            Picky::RolesByParser => error(400, concat!(
                "Unable to generate parser for this template. Automatic parser generation failed: \n------------\n",
                "While executing CallExpression at line 6, column 19 in source:\n{{ raise_exception('Conversation roles",
                " must alternate user...\nError: Jinja Exception: Conversation roles must alternate user/assistant/...",
            ).into()),
            Picky::ExtraField => vec![Step::Status(422, extra_field())],
            Picky::UnknownParameter => error(400, "Unknown parameter: 'stream_options'.".into()),
            Picky::System => error(400, "System role not supported".into()),
            Picky::Long(max) => error(400, format!(
                "This model's maximum context length is {} tokens. However, your messages resulted in {tokens} tokens.",
                max / 4
            )),
            Picky::LongByContextSize(max) => error(400, format!(
                "request ({tokens} tokens) exceeds the available context size ({} tokens), try increasing it",
                max / 4
            )),
            Picky::LongWithoutNumbers(_) => error(400, "the prompt exceeds the context window of the model".into()),
            Picky::LongInStream(_) => {
                vec![Step::Head, Step::Error("the request exceeds the available context size".into())]
            }
            Picky::LongInErrorField(_) => {
                let words = json!({ "code": 400, "message": "the request exceeds the available context size" });
                vec![Step::Head, Step::Raw(format!("error: {words}\n\n").into_bytes()), Step::Done]
            }
            Picky::LongByKeep(max) => {
                error(400, format!("Cannot truncate prompt with n_keep ({tokens}) >= n_ctx ({})", max / 4))
            }
            Picky::LongByRest(max) => {
                let rest = i64::try_from(max / 4).unwrap_or(0) - i64::try_from(tokens).unwrap_or(0);
                error(400, format!("max_tokens must be at least 1, got {rest}."))
            }
            Picky::LongUnlessCut(_) => {
                vec![Step::Status(400, json!({ "error": "the input length exceeds the context length" }))]
            }
            Picky::Preload => error(400, "messages: at least one message is required".into()),
        }
    }
}

fn extra_field() -> Value {
    json!({ "object": "error", "type": "invalid_request_error", "message": { "detail": [{ "type": "extra_forbidden",
        "loc": ["body", "stream_options", "include_usage"], "msg": "Extra inputs are not permitted", "input": true }] } })
}

fn alternate(roles: &[&str]) -> bool {
    let roles = roles.strip_prefix(&["system"]).unwrap_or(roles);
    roles.iter().zip(["user", "assistant"].iter().cycle()).all(|(role, wanted)| role == wanted)
}
