//! The configuration: flags over the environment over `antiphon.toml` over defaults, checked before anything starts.
//!
//! Promises:
//! - an unknown key in the file is an error that names it, its line and the nearest known key;
//! - an invalid value or combination is rejected with a sentence that says what to do;
//! - the key for a model server ([`Secret`]) and the password in the log's [`Address`] are never printed;
//! - every setting is in docs/configuration.md and antiphon.example.toml with its default (checked by a test).
//!
//! Not here: reading the process's arguments and environment (`cli`), asking a model server whether it is there.
//! Start with [`Config`]; [`Layer`] is what one source says, `check` holds defaults and bounds.

mod check;
mod env;
mod file;
mod layer;
mod secret;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use antiphon_bot::Shape;
use antiphon_kit::{Bounds, Filters};
use antiphon_schemas::{BotName, RoomName};
use serde::Deserialize;
use serde_json::Value;

use crate::log::redis::address::Address;

pub use env::{CONFIG_FILE, Env, SERVER, TRACE_FILTER, WORKER_KEY, variable};
pub use file::BOT_KEYS;
use file::FromFile;
pub use layer::{Flags, Layer, LogText};
pub use secret::Secret;

/// The file that is read if it exists and none is named.
pub const FILE: &str = "antiphon.toml";

/// The settings that determine which model answers, where it is and how long it may take.
const MODEL_KEYS: [&str; 10] = [
    "model",
    "pace_ms",
    "load_s",
    "first_token_s",
    "gap_s",
    "total_s",
    "ollama_url",
    "openai_base_url",
    "openai_api_key",
    "openai_api_key_file",
];

/// All settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Address of the HTTP server; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Other machines may reach [`listen`](Config::listen). Always true if it is not a loopback address.
    pub expose: bool,
    /// Host names by which others reach it, besides loopback names and, if exposed, IP addresses: lower case, without ports.
    pub allow_host: Vec<String>,
    /// Folder of the log, the index and the snapshots; need not exist.
    pub data: PathBuf,
    /// Where the log lives.
    pub log: LogKind,
    /// This node's name among several, if given: 1-40 of `a-z 0-9 -`.
    pub node: Option<String>,
    /// Open a corrupt log and continue.
    pub salvage: bool,
    /// Size of a log segment: 1 MiB to 1 GiB.
    pub segment_bytes: u64,
    /// How long a claim stays valid without a heartbeat: 100 ms to 10 min.
    pub lease: Duration,
    /// How often a claim is renewed: a third of the lease, at most 3 s.
    pub heartbeat: Duration,
    /// A message older than this is no longer answered.
    pub max_age: Duration,
    /// Attempts before a message is given up, at least 1.
    pub attempts_max: u32,
    /// Delay before the second attempt.
    pub retry_base: Duration,
    /// Longest delay between two attempts; never below [`retry_base`](Config::retry_base).
    pub retry_max: Duration,
    /// Messages that may wait for one bot.
    pub queue_max: usize,
    /// Longest text, in bytes: at most 64 KiB.
    pub text_bytes_max: usize,
    /// Messages of each room kept in memory.
    pub recent_messages: usize,
    /// Rooms kept in memory.
    pub rooms_in_memory: usize,
    /// Open event streams.
    pub subscribers_max: usize,
    /// Pause between the words of the built-in model; zero for none.
    pub pace: Duration,
    /// How long a model may take.
    pub clocks: Clocks,
    /// Where Ollama listens, with scheme and port, without a slash at the end.
    pub ollama_url: String,
    /// Where an OpenAI-compatible server listens, if set; else [`OPENAI_BASE_URL`].
    pub openai_base_url: Option<String>,
    /// Its key, if any.
    pub openai_api_key: Option<Secret>,
    /// `builtin`, `ollama:NAME`, `openai:NAME` or [`REMOTE`] for bots that name none; absent: what is found at startup.
    pub model: Option<String>,
    /// How models want to be asked, by their names, where the file says so; else it is learnt.
    pub models: BTreeMap<String, Shape>,
    /// The bots in the order of the file; names are unique. Empty only if the file says `bots = []`.
    pub bots: Vec<Bot>,
    /// Where the settings come from.
    pub sources: Sources,
}

/// The model of a bot that only workers answer for; they choose their own models.
pub const REMOTE: &str = "remote";

/// Where OpenAI itself listens: used if there is a key and no other address.
pub const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

/// Where the log lives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum LogKind {
    /// Segments in the data folder; an acknowledged post survives a power failure.
    #[default]
    File,
    /// In memory; lost when the process ends. For experiments and tests.
    Memory,
    /// In Redis, which several nodes can share; the data folder holds what can be rebuilt, and the outbox.
    Redis(Address),
}

/// How long a model may take before the attempt fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Without progress while the model loads.
    pub load: Duration,
    /// From the loaded model to its first word.
    pub first_token: Duration,
    /// Between two words.
    pub gap: Duration,
    /// The whole answer, not counting loading.
    pub total: Duration,
}

/// One bot.
#[derive(Debug, Clone, PartialEq)]
pub struct Bot {
    /// Its name, also as shown.
    pub name: BotName,
    /// Its colour, `#rgb` or `#rrggbb`.
    pub color: Option<String>,
    /// The system prompt.
    pub persona: String,
    /// Its own model, else that of [`Config::model`], else what is found at startup.
    pub model: Option<String>,
    /// Passed to the model unchanged.
    pub options: BTreeMap<String, Value>,
    /// What is removed from the model's output.
    pub filters: Filters,
    /// Where it answers.
    pub rooms: Vec<RoomPattern>,
    /// Which posts it answers.
    pub answers: Answers,
    /// Replies generated in parallel, if the file says; else [`slots_default`] of its model.
    pub slots: Option<usize>,
    /// Messages of the room in the prompt.
    pub context_messages: usize,
    /// How long an answer may be.
    pub answer: Bounds,
}

/// Which posts a bot answers if they name no bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answers {
    #[default]
    /// All, if it is the first such bot in the file for the room.
    All,
    /// Only those that name it.
    Addressed,
}

/// A room, or all rooms with a common prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomPattern {
    /// This room.
    Exact(RoomName),
    /// Rooms with this prefix; empty for all.
    Prefix(String),
}

impl RoomPattern {
    /// Whether the room is one of these.
    pub fn matches(&self, room: &RoomName) -> bool {
        match self {
            RoomPattern::Exact(name) => name == room,
            RoomPattern::Prefix(prefix) => room.as_str().starts_with(prefix.as_str()),
        }
    }
}

impl Bot {
    /// Whether it may answer in the room.
    pub fn may_answer_in(&self, room: &RoomName) -> bool {
        self.rooms.iter().any(|pattern| pattern.matches(room))
    }
}

/// How many replies a bot generates in parallel by default: a local Ollama answers one at a time unless configured otherwise.
pub fn slots_default(model: &str) -> usize {
    if model.starts_with("ollama:") { 1 } else { 4 }
}

/// Where the settings come from: for `doctor` and the startup messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sources {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The settings that were set, by name; `bots` and `models` are among them.
    pub set: BTreeMap<&'static str, Setting>,
    /// What was ignored, in sentences.
    pub warnings: Vec<String>,
}

/// One setting that was set.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// As written; a secret as `***`, the bots by their names.
    pub value: Value,
    /// `flag`, the variable, or `file`.
    pub from: String,
    /// Whether it differs from the default.
    pub differs: bool,
}

/// Why the configuration is invalid; each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that was named cannot be read.
    #[error("cannot read {what} {}: {source}; check the path", path.display())]
    Unreadable {
        /// What it should have been.
        what: &'static str,
        /// The path as given.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file contains something invalid.
    #[error("{} line {line}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A setting has an invalid value.
    #[error("{key}: {why}")]
    Invalid {
        /// The setting, or the variable.
        key: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

impl Config {
    /// Reads all sources and checks the result. `dir` is where [`FILE`] is looked for.
    ///
    /// Guarantee: looks at nothing but its arguments, the configuration file and the key file.
    ///
    /// # Errors
    /// [`Error`], one line that says what to do.
    pub fn load(flags: &Flags, env: &Env, dir: &Path) -> Result<Config, Error> {
        let from_env = env::read(env)?;
        let named = flags.config.clone().or_else(|| env.get(CONFIG_FILE).filter(|v| !v.is_empty()).map(PathBuf::from));
        let (file, text) = match named {
            Some(path) => {
                let text = read("the configuration file", &path)?;
                (Some(path), text)
            }
            None => {
                let path = dir.join(FILE);
                match fs::read_to_string(&path) {
                    Ok(text) => (Some(path), text),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => (None, String::new()),
                    Err(source) => return Err(Error::Unreadable { what: "the configuration file", path, source }),
                }
            }
        };
        let mut from_file = file::parse(&text, file.as_deref().unwrap_or(Path::new(FILE)))?;
        let mut flag_layer = flags.layer.clone();
        let mut env_layer = from_env.layer;

        let mut set = BTreeMap::new();
        if let Some(bots) = &from_file.bots {
            let value = bots.iter().map(|bot| bot.name.as_str()).collect();
            set.insert("bots", Setting { value, from: "file".into(), differs: true });
        }
        if !from_file.models.is_empty() {
            let value = from_file.models.keys().map(String::as_str).collect();
            set.insert("models", Setting { value, from: "file".into(), differs: true });
        }
        note(&mut set, &from_file.layer, |_| "file".into());
        note(&mut set, &env_layer, |key| from_env.names[key].clone());
        note(&mut set, &flag_layer, |_| "flag".into());
        let sources = Sources { file, set, warnings: from_env.warnings };

        for layer in [&mut flag_layer, &mut env_layer, &mut from_file.layer] {
            read_key(layer)?;
        }
        check::merge(flag_layer, env_layer, from_file, flags.salvage, sources)
    }

    /// The settings of models alone, for a program that is no server: `flags` over the environment, and no file. The rest of
    /// the result has its defaults.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn of_models(mut flags: Layer, env: &Env) -> Result<Config, Error> {
        let from_env = env::read(env)?;
        let of_models = |layer, key: &&str| from_env.layer.only(key).or(layer);
        let mut env_layer = MODEL_KEYS.iter().fold(Layer::default(), of_models);
        read_key(&mut flags)?;
        read_key(&mut env_layer)?;
        let sources = Sources { warnings: from_env.warnings, ..Sources::default() };
        check::check(flags.or(env_layer), None, false, sources)
    }

    /// The bot that answers a post in `room` that names none: the first in the file that may, and that answers all.
    pub fn default_bot(&self, room: &RoomName) -> Option<&Bot> {
        self.bots.iter().find(|bot| bot.answers == Answers::All && bot.may_answer_in(room))
    }
}

/// Reads the key of a layer that names a key file. The file counts as that layer's key, so a lower layer's key cannot override it.
fn read_key(layer: &mut Layer) -> Result<(), Error> {
    if let (None, Some(path)) = (&layer.openai_api_key, &layer.openai_api_key_file) {
        layer.openai_api_key = Some(Secret::new(read("the key file", path)?));
    }
    Ok(())
}

/// Records what a layer sets, overriding lower ones.
fn note(set: &mut BTreeMap<&'static str, Setting>, layer: &Layer, from: impl Fn(&str) -> String) {
    let alone = |layer| check::check(layer, None, false, Sources::default()).ok();
    let default = alone(Layer::default());
    let values = serde_json::to_value(layer).expect("a layer holds texts and numbers");
    for key in layer.set_keys() {
        // A setting that is invalid on its own is certainly not the default.
        let differs = alone(layer.only(key)).is_none_or(|config| Some(config) != default);
        // The key file is not read here, so the setting itself counts as a difference.
        let differs = differs || key == "openai_api_key_file";
        set.insert(key, Setting { value: values[key].clone(), from: from(key), differs });
    }
}

fn read(what: &'static str, path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Unreadable { what, path: path.into(), source })
}

/// The known name that `word` most likely stands for.
fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // A third of the letters may differ; beyond that it is another word.
    let far = (word.len() / 3).max(1);
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    known.map(|k| (distance(&word, &plain(k)), k)).filter(|(d, _)| *d <= far).min_by_key(|(d, _)| *d).map(|(_, k)| k)
}

/// Letters to insert, remove or change to turn `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
