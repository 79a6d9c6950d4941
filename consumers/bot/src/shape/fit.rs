//! A prompt in the shape that a server takes: roles, and as much of the history as fits.
//!
//! Promises: persona and question are never left out; of the history the oldest goes first; nobody's words get lost by
//! merging. Pure.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::Shape;
use crate::prompt::{Prompt, Role, Turn};

/// Tokens around each turn: its role and its marks.
const TURN_TOKENS: f64 = 8.0;
/// Options that say how long an answer may be.
pub(crate) const ANSWER_OPTIONS: [&str; 3] = ["max_completion_tokens", "max_tokens", "num_predict"];
/// Room for an answer if no option says how long it may be.
const ANSWER_TOKENS_MAX: u32 = 1_024;

/// A prompt as it is sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fitted {
    /// The prompt.
    pub(crate) prompt: Arc<Prompt>,
    /// How many messages of the history do not stand in it.
    pub(crate) left_out: usize,
    /// Its size.
    pub(super) bytes: usize,
}

impl Fitted {
    /// As many tokens as a context must hold for it and an answer.
    pub(super) fn tokens(&self, bytes_per_token: f64) -> u32 {
        let turns = self.bytes as f64 / bytes_per_token + TURN_TOKENS * self.prompt.turns.len() as f64;
        // What `prompt_tokens` takes off again.
        (turns as u32).saturating_add(answer_tokens(&self.prompt.options).min(turns as u32 / 3 + 1))
    }
}

/// `prompt` in this shape, at least `left_out` messages of its history left out.
pub(super) fn fit(prompt: &Arc<Prompt>, shape: Shape, bytes_per_token: f64, left_out: usize) -> Fitted {
    let history = prompt.context.len();
    let mut left_out = left_out.min(history);
    if let Some(room) = shape.context_tokens.map(|tokens| prompt_tokens(tokens, &prompt.options)) {
        let cost = |turn: &Turn| bytes_of(turn) as f64 / bytes_per_token + TURN_TOKENS;
        let before = prompt.turns.len() - history - 1;
        let fixed: f64 = prompt.turns[..before].iter().chain(prompt.turns.last()).map(cost).sum();
        let costs: Vec<f64> = prompt.turns[before..before + history].iter().map(cost).collect();
        while left_out < history && fixed + costs[left_out..].iter().sum::<f64>() > room {
            left_out += 1;
        }
    }
    let mut fitted = Prompt::clone(prompt);
    let before = fitted.turns.len() - history - 1;
    fitted.turns.drain(before..before + left_out);
    fitted.context.drain(..left_out);
    if !shape.has_system() {
        without_system(&mut fitted.turns);
    }
    if shape.merges() {
        merge(&mut fitted.turns, fitted.bot.as_str());
    }
    let bytes = fitted.turns.iter().map(bytes_of).sum();
    let prompt = if fitted == **prompt { prompt.clone() } else { Arc::new(fitted) };
    Fitted { prompt, left_out, bytes }
}

/// Tokens that the prompt may have, of as many for prompt and answer together.
fn prompt_tokens(context_tokens: u32, options: &BTreeMap<String, Value>) -> f64 {
    f64::from(context_tokens - answer_tokens(options).min(context_tokens / 4))
}

fn answer_tokens(options: &BTreeMap<String, Value>) -> u32 {
    let said = ANSWER_OPTIONS.iter().find_map(|name| options.get(*name)?.as_u64()).filter(|tokens| *tokens > 0);
    said.and_then(|tokens| u32::try_from(tokens).ok()).unwrap_or(ANSWER_TOKENS_MAX)
}

fn bytes_of(turn: &Turn) -> usize {
    turn.text.len() + turn.name.as_ref().map_or(0, |name| name.len() + 2)
}

/// The persona at the beginning of the first turn that is not the bot's.
fn without_system(turns: &mut Vec<Turn>) {
    if turns.first().is_none_or(|turn| turn.role != Role::System) {
        return;
    }
    let persona = turns.remove(0).text;
    match turns.first_mut().filter(|turn| turn.role == Role::User) {
        Some(turn) => *turn = user(format!("{persona}\n\n{}", content(turn))),
        None => turns.insert(0, user(persona.to_string())),
    }
}

/// User and assistant in turn, beginning with a user: neighbours of one role become one turn.
fn merge(turns: &mut Vec<Turn>, bot: &str) {
    let system = turns.first().is_some_and(|turn| turn.role == Role::System);
    let mut merged: Vec<Turn> = Vec::new();
    for turn in turns.drain(usize::from(system)..) {
        match merged.last_mut() {
            // Words of the bot that no question precedes: told as anybody's.
            None if turn.role == Role::Assistant => merged.push(user(format!("{bot}: {}", turn.text))),
            Some(last) if last.role == turn.role => {
                let text = format!("{}\n{}", content(last), content(&turn));
                *last = Turn { role: turn.role, name: None, text: text.into() };
            }
            _ => merged.push(turn),
        }
    }
    turns.append(&mut merged);
}

fn user(text: String) -> Turn {
    Turn { role: Role::User, name: None, text: text.into() }
}

fn content(turn: &Turn) -> String {
    match &turn.name {
        Some(name) => format!("{name}: {}", turn.text),
        None => turn.text.to_string(),
    }
}
