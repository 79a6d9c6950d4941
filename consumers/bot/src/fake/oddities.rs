//! What model servers and the proxies before them were seen to do although it is not what their dialect says, and of which
//! none may cost a word of the answer.

use serde_json::{Value, json};

use super::Step;

/// One way of serving a whole answer oddly.
pub struct Oddity {
    /// What it is, and who does it.
    pub name: &'static str,
    /// Something is lost on the way that people must be told of.
    pub noted: bool,
    steps: fn(&str, bool) -> Vec<Step>,
}

impl Oddity {
    /// The answer `text`, served so. `ollama`: in that dialect.
    pub fn steps(&self, text: &str, ollama: bool) -> Vec<Step> {
        (self.steps)(text, ollama)
    }
}

const fn odd(name: &'static str, steps: fn(&str, bool) -> Vec<Step>) -> Oddity {
    Oddity { name, noted: false, steps }
}

const fn noted(name: &'static str, steps: fn(&str, bool) -> Vec<Step>) -> Oddity {
    Oddity { name, noted: true, steps }
}

/// All of them.
pub const ODDITIES: &[Oddity] = &[
    odd("content comes as a list of parts, the thought as one of them (Mistral)", |text, _| {
        let thought = json!({ "type": "thinking", "thinking": [{ "type": "text", "text": "secret" }] });
        let (a, b) = halves(text);
        vec![
            Step::Head,
            Step::Content(json!([thought])),
            Step::Content(json!([{ "type": "text", "text": a }])),
            Step::Text(b.into()),
            finish("stop"),
        ]
    }),
    odd("ends with `eos_token` (TGI)", |text, _| said(text, finish("eos_token"))),
    odd("ends with `end_turn` (gateways to Anthropic)", |text, _| said(text, finish("end_turn"))),
    odd("ends with `STOP` (gateways to Gemini)", |text, _| said(text, finish("STOP"))),
    noted("ends with a word that nobody knows", |text, _| said(text, finish("because"))),
    odd("ends with `[DONE]` and no reason (llama-cpp-python)", |text, _| said(text, Step::Done)),
    odd("answers in one object although a stream was asked for (LM Studio, llama.cpp)", |text, _| {
        vec![Step::OneObject(text.into())]
    }),
    odd("speaks the other dialect", |text, ollama| {
        let end = if ollama { "data: [DONE]\n\n".into() } else { format!("{}\n", json!({ "done": true })) };
        let said = match ollama {
            true => format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] })),
            false => format!("{}\n", json!({ "message": { "content": text } })),
        };
        vec![Step::Head, Step::Raw(said.into_bytes()), Step::Raw(end.into_bytes())]
    }),
    odd("Python's literals and single quotes instead of JSON (servers by hand)", |text, ollama| {
        let end = if ollama { "" } else { "data: " };
        let line = format!("{end}{{'message': {{'content': '{text}'}}, 'logprobs': None, 'p': NaN,}}\n\n");
        vec![Step::Head, Step::Raw(line.into_bytes()), finish("stop")]
    }),
    odd("half a surrogate pair in a field (old tokenizers)", |text, ollama| {
        let line = json!({ "message": { "content": text } }).to_string().replacen('{', "{\"token\":\"\\ud83d\",", 1);
        vec![Step::Head, Step::Raw(event(&line, ollama)), finish("stop")]
    }),
    noted("an event breaks off in its middle (a proxy that drops bytes)", |text, ollama| {
        let (a, b) = halves(text);
        vec![
            Step::Head,
            Step::Text(a.into()),
            Step::Raw(event("{\"choices\": [{\"delta\": {\"cont", ollama)),
            Step::Text(b.into()),
            finish("stop"),
        ]
    }),
    noted("words that are no event stand between the events (a proxy's access log)", |text, _| {
        vec![Step::Head, Step::Text(text.into()), Step::Raw(b"\nupstream: retried\n\n".into()), finish("stop")]
    }),
    odd("comments, a byte order mark and carriage returns (OpenRouter, Windows)", |text, ollama| {
        let mark = if ollama { "\u{feff}" } else { "\u{feff}: OPENROUTER PROCESSING\r\r" };
        let text = event(&json!({ "message": { "content": text } }).to_string(), ollama);
        let text = String::from_utf8_lossy(&text).replace('\n', "\r");
        vec![Step::Head, Step::Raw(mark.into()), Step::Raw(text.into_bytes()), finish("stop")]
    }),
    odd("thinks aloud between tags that are cut into pieces (llama.cpp, vLLM without a parser)", |text, _| {
        let pieces = ["<th", "ink>\nsecret", "\n</", "think>\n\n", text];
        pieces.into_iter().fold(vec![Step::Head], then).into_iter().chain([finish("stop")]).collect()
    }),
    odd("thinks on a channel of its own in the text (gpt-oss without a parser)", |text, _| {
        let pieces =
            ["<|channel|>analysis<|mess", "age|>secret<|end|><|start|>assistant", "<|channel|>final<|message|>", text];
        pieces.into_iter().fold(vec![Step::Head], then).into_iter().chain([finish("stop")]).collect()
    }),
    odd("leaves the marks of its template in the text, and goes on with the next turn", |text, _| {
        let pieces = ["<|im_start|>assistant\n", text, "<|im_e", "nd|>", "<|im_start|>user\nsecret"];
        pieces.into_iter().fold(vec![Step::Head], then).into_iter().chain([Step::Hang]).collect()
    }),
    odd("begins with nothing, counts in every event, and ends in the event of the last words (vLLM)", |text, _| {
        let (a, b) = halves(text);
        let counts = json!({ "prompt_tokens": 11, "completion_tokens": 1 });
        let event = |delta: Value, reason: Option<&str>| {
            Step::Event(json!({ "choices": [{ "delta": delta, "finish_reason": reason }], "usage": counts }))
        };
        let first = event(json!({ "role": "assistant", "content": null, "tool_calls": [] }), None);
        vec![
            Step::Head,
            first,
            event(json!({ "content": a }), None),
            event(json!({ "content": b }), Some("stop")),
            Step::Done,
        ]
    }),
    odd("the last delta is full of nulls, and the reason stays null (LiteLLM, vLLM with tools)", |text, _| {
        let nulls = json!({ "content": null, "role": null, "tool_calls": null, "refusal": null });
        let last = Step::Event(json!({ "choices": [{ "delta": nulls, "finish_reason": null }] }));
        vec![Step::Head, Step::Text(text.into()), last, Step::Done]
    }),
    odd("bare colons while it reads, how far it is, and timings in place of choices (llama.cpp)", |text, ollama| {
        let colons = if ollama { "\n\n" } else { ":\n\n:\n\n" };
        let progress = |processed: u32| {
            let progress = json!({ "total": 237, "cache": 0, "processed": processed, "time_ms": 181 });
            Step::Event(json!({ "choices": [{ "delta": { "content": null } }], "prompt_progress": progress }))
        };
        let timings = Step::Event(json!({ "choices": [], "timings": { "prompt_n": 237, "predicted_n": 7 } }));
        let reading = vec![Step::Head, Step::Raw(colons.into()), progress(128), progress(237)];
        reading.into_iter().chain([Step::Text(text.into()), timings, finish("stop")]).collect()
    }),
    odd(
        "begins with empty content, and ends with counts and timings without choices (llama.cpp, Ollama's `/v1`)",
        |text, ollama| {
            if ollama {
                return said(text, finish("stop"));
            }
            let choice = |delta: Value, reason: Value| {
                Step::Event(json!({
                    "choices": [{ "finish_reason": reason, "index": 0, "delta": delta }], "system_fingerprint": "b0-unknown",
                }))
            };
            let counts = json!({ "choices": [], "usage": { "completion_tokens": 6, "prompt_tokens": 42, "total_tokens": 48 },
            "timings": { "prompt_per_second": 7.4, "predicted_n": 6 } });
            vec![
                Step::Head,
                choice(json!({ "role": "assistant", "content": null }), Value::Null),
                choice(json!({ "content": text }), Value::Null),
                choice(json!({}), json!("stop")),
                Step::Event(counts),
                Step::Done,
            ]
        },
    ),
    odd(
        "goes on with the turn of a role it made up, its marks in pieces (Gemma behind a ChatML template)",
        |text, _| {
            let pieces = [text, "<", "|", "im", "_", "end", "|>", "<", "|", "im", "_", "start", "|>", "admin\nsecret"];
            pieces.into_iter().fold(vec![Step::Head], then).into_iter().chain([finish("length")]).collect()
        },
    ),
    odd("an error after the answer is complete", |text, _| {
        vec![Step::Head, Step::Text(text.into()), finish("stop"), Step::Error("too late".into())]
    }),
];

fn halves(text: &str) -> (&str, &str) {
    text.split_at(text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at))
}

fn then(mut steps: Vec<Step>, text: &str) -> Vec<Step> {
    steps.push(Step::Text(text.into()));
    steps
}

fn said(text: &str, end: Step) -> Vec<Step> {
    vec![Step::Head, Step::Text(text.into()), end]
}

fn finish(reason: &str) -> Step {
    Step::Finish(reason.into())
}

fn event(line: &str, ollama: bool) -> Vec<u8> {
    if ollama { format!("{line}\n") } else { format!("data: {line}\n\n") }.into_bytes()
}
