//! Reads `antiphon.toml`: the settings by their names, the bots, and how models want to be asked.
//!
//! Promises: an unknown key is an error that names the key, its line and the most similar known key; nothing in the
//! file is ignored.
//! Not here: bounds and combinations (`check`).

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use antiphon_bot::Shape;
use antiphon_kit::Bounds;

use super::{Answers, Error, Layer, nearest};

/// The keys of one `[[bots]]`.
pub const BOT_KEYS: &[&str] = &[
    "name",
    "color",
    "persona",
    "model",
    "options",
    "filter_out",
    "trim_after",
    "trim_whitespace",
    "rooms",
    "answers",
    "slots",
    "context_messages",
    "answer",
];

/// One `[[bots]]` as written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BotEntry {
    pub(super) name: String,
    pub(super) color: Option<String>,
    pub(super) persona: Option<String>,
    pub(super) model: Option<String>,
    pub(super) options: BTreeMap<String, Value>,
    pub(super) filter_out: Vec<String>,
    pub(super) trim_after: Vec<String>,
    pub(super) trim_whitespace: bool,
    pub(super) rooms: Option<Vec<String>>,
    pub(super) answers: Answers,
    pub(super) slots: Option<u64>,
    pub(super) context_messages: Option<u64>,
    pub(super) answer: Bounds,
}

/// What the file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FromFile {
    pub(super) layer: Layer,
    /// Absent when the file has no `[[bots]]`; empty when it says `bots = []`.
    pub(super) bots: Option<Vec<BotEntry>>,
    /// What `[models.NAME]` say.
    pub(super) models: BTreeMap<String, Shape>,
}

#[derive(Deserialize)]
struct Tables {
    bots: Option<Vec<BotEntry>>,
    #[serde(default)]
    models: BTreeMap<String, Shape>,
}

/// Reads the text of the file at `path` (for messages only).
///
/// # Errors
/// [`Error::File`] with the line: not TOML, an unknown key, a value of the wrong type.
pub(super) fn parse(text: &str, path: &Path) -> Result<FromFile, Error> {
    let at = |offset: usize, why: String| {
        let line = 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count();
        Error::File { path: path.into(), line, why }
    };
    let wrong = |e: toml::de::Error| {
        let why = e.message().trim().replace('\n', "; ");
        at(e.span().map_or(0, |span| span.start), why)
    };
    let table = DeTable::parse(text).map_err(wrong)?;
    let unknown = |(key, why)| at(Spanned::span(key).start, why);
    let top = Layer::KEYS.iter().copied().chain(["bots", "models"]);
    check_keys(table.get_ref(), top, "the file").map_err(unknown)?;
    if let Some(DeValue::Array(bots)) = table.get_ref().get("bots").map(Spanned::get_ref) {
        for bot in bots.iter() {
            if let DeValue::Table(bot) = bot.get_ref() {
                check_keys(bot, BOT_KEYS.iter().copied(), "[[bots]]").map_err(unknown)?;
                if let Some(DeValue::Table(answer)) = bot.get("answer").map(Spanned::get_ref) {
                    check_keys(answer, Bounds::KEYS.into_iter(), "answer").map_err(unknown)?;
                }
            }
        }
    }
    if let Some(DeValue::Table(models)) = table.get_ref().get("models").map(Spanned::get_ref) {
        for model in models.values() {
            if let DeValue::Table(model) = model.get_ref() {
                check_keys(model, Shape::KEYS.into_iter(), "[models.NAME]").map_err(unknown)?;
            }
        }
    }
    let Tables { bots, models } = toml::from_str(text).map_err(wrong)?;
    let mut settings = table.into_inner();
    settings.remove("bots");
    settings.remove("models");
    let layer =
        Layer::deserialize(toml::de::Deserializer::from(Spanned::new(0..text.len(), settings))).map_err(wrong)?;
    Ok(FromFile { layer, bots, models })
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;

fn check_keys<'t, 'i>(
    table: &'t DeTable<'i>,
    known: impl Iterator<Item = &'static str> + Clone,
    place: &str,
) -> Result<(), (&'t Key<'i>, String)> {
    match table.keys().find(|key| known.clone().all(|k| k != key.get_ref().as_ref())) {
        None => Ok(()),
        Some(key) => {
            let hint = match nearest(key.get_ref(), known) {
                Some(near) => format!("did you mean `{near}`?"),
                None if BOT_KEYS.contains(&key.get_ref().as_ref()) => "it belongs under [[bots]]".into(),
                None if Shape::KEYS.contains(&key.get_ref().as_ref()) => {
                    "it belongs under [models.NAME], e.g. [models.\"openai:gpt-x\"]".into()
                }
                None if Layer::KEYS.contains(&key.get_ref().as_ref()) => {
                    "it belongs at the top of the file, before [[bots]]".into()
                }
                None => "docs/configuration.md lists all keys".into(),
            };
            Err((key, format!("unknown key `{}` in {place}; {hint}", key.get_ref())))
        }
    }
}
