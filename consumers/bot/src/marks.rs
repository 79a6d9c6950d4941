//! The marks by which templates of models tell thoughts, turns and channels apart, and how one is found.
//!
//! Of: DeepSeek, Qwen, gpt-oss (Harmony), Gemma, Llama, Mistral, Cohere, Kimi, Seed, ChatML.
//! Not here: what a mark means where it stands (`thoughts`).

use crate::thoughts::{Look, Mark};

/// How a thought begins, and how it ends.
pub(crate) const PAIRS: [(&str, &[&str]); 11] = [
    ("<think>", &["</think>"]),
    ("<thinking>", &["</thinking>"]),
    ("<thought>", &["</thought>"]),
    ("<reasoning>", &["</reasoning>"]),
    ("<seed:think>", &["</seed:think>"]),
    ("[think]", &["[/think]"]),
    ("◁think▷", &["◁/think▷"]),
    ("<|begin_of_thought|>", &["<|end_of_thought|>"]),
    ("<|start_thinking|>", &["<|end_thinking|>"]),
    ("<|channel>thought", &["<channel|>"]),
    ("<|think|>", &["<|/think|>"]),
];
/// Ends of thoughts whose beginning a template may have put into the prompt.
pub(crate) const CLOSES_LATE: [&str; 4] = ["</think>", "</thinking>", "[/think]", "◁/think▷"];
/// What comes before a channel's name.
pub(crate) const HEADERS: &[&str] = &["<|channel|>", "<|start|>"];
/// What ends it.
pub(crate) const HEADER_END: &[&str] = &["<|message|>"];
/// Somebody else's turn begins.
pub(crate) const NEXT_TURNS: &[&str] = &[
    "<|im_start|>user",
    "<|im_start|>system",
    "<start_of_turn>user",
    "<|start_header_id|>user",
    "<|start_header_id|>system",
    "<|start|>user",
    "<|start|>system",
    "<｜user｜>",
];
/// What begins a turn, and the word after it if the turn is the model's own. Any other word is somebody else's role.
pub(crate) const OWN_TURNS: [(&str, &str); 3] =
    [("<|im_start|>", "assistant"), ("<start_of_turn>", "model"), ("<|start_header_id|>", "assistant")];
/// Marks that say nothing to people.
pub(crate) const MARKS: &[&str] = &[
    "<|im_start|>assistant\n",
    "<|im_start|>assistant",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|start_header_id|>assistant<|end_header_id|>",
    "<|end_of_turn|>",
    "<start_of_turn>model\n",
    "<start_of_turn>model",
    "<end_of_turn>",
    "<|return|>",
    "<|end|>",
    "<|message|>",
    "<|begin_of_solution|>",
    "<|end_of_solution|>",
    "<|start_response|>",
    "<|end_response|>",
    "<|end_of_turn_token|>",
    "<｜assistant｜>",
    "<｜end▁of▁sentence｜>",
    "<｜begin▁of▁sentence｜>",
];
/// Marks that are also HTML or lists, so that only the last words of an answer can be one.
pub(crate) const END_ONLY: [&str; 3] = ["</s>", "[/INST]", "<eos>"];

/// A mark that was found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    /// This one, of that many bytes of the text.
    Mark(usize, &'static str),
    /// What follows decides.
    Wait,
}

impl Found {
    pub(crate) fn look(self, mark: impl Fn(&'static str) -> Mark) -> Look {
        match self {
            Found::Mark(len, found) => Look::Mark(len, mark(found)),
            Found::Wait => Look::Wait,
        }
    }
}

/// The longest of `marks` with which `text` begins; capitals make no difference. `last`: nothing follows the text.
pub(crate) fn longest(text: &str, marks: &[&'static str], last: bool) -> Option<Found> {
    if !last
        && marks.iter().any(|mark| mark.len() > text.len() && is_same(&mark.as_bytes()[..text.len()], text.as_bytes()))
    {
        return Some(Found::Wait);
    }
    let begins =
        |mark: &&&'static str| text.len() >= mark.len() && is_same(&text.as_bytes()[..mark.len()], mark.as_bytes());
    marks.iter().filter(begins).max_by_key(|mark| mark.len()).map(|mark| Found::Mark(mark.len(), mark))
}

fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}
