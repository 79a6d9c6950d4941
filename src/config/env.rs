//! The layer of settings from the environment.
//!
//! Promises: a variable is read exactly like the flag of the same setting; an empty one counts as absent; an unknown
//! `ANTIPHON_*` variable is only a warning, because Kubernetes and Compose generate such names.
//! Not here: reading the process's environment (`cli` passes it in).

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, FromArgMatches};

use super::{Error, Layer, Secret, nearest};
use crate::log::redis::address::Address;

/// The environment of the process.
pub type Env = BTreeMap<String, String>;

/// Filters the traces; not a setting of this module, but a variable of ours.
pub const TRACE_FILTER: &str = "ANTIPHON_LOG";
/// Names the server to `post`, `tail`, `import` and `worker`; no setting of the server itself.
pub const SERVER: &str = "ANTIPHON_SERVER";
/// The key of `worker`; not a server setting and not a flag, because everyone on the machine can read a process's arguments.
pub const WORKER_KEY: &str = "ANTIPHON_WORKER_KEY";
/// Names the configuration file, below `--config`.
pub const CONFIG_FILE: &str = "ANTIPHON_CONFIG";
const PREFIX: &str = "ANTIPHON_";

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct FromEnv {
    /// The settings.
    pub(super) layer: Layer,
    /// Which variable set which setting.
    pub(super) names: BTreeMap<&'static str, String>,
    /// Unknown variables that look like ours.
    pub(super) warnings: Vec<String>,
}

/// The variable of a setting: `ANTIPHON_` and its name in capitals. `ANTIPHON_LOG` already filters the traces, so
/// the setting `log` has `ANTIPHON_LOG_BACKEND`.
pub fn variable(key: &str) -> String {
    match key {
        "log" => "ANTIPHON_LOG_BACKEND".into(),
        _ => format!("{PREFIX}{}", key.to_ascii_uppercase()),
    }
}

/// Names that other programs use for the same setting; ours take precedence.
fn customary(key: &str) -> Option<&'static str> {
    match key {
        "ollama_url" => Some("OLLAMA_HOST"),
        "openai_base_url" => Some("OPENAI_BASE_URL"),
        "openai_api_key" => Some("OPENAI_API_KEY"),
        "openai_api_key_file" => Some("OPENAI_API_KEY_FILE"),
        _ => None,
    }
}

/// Reads the layer.
///
/// # Errors
/// [`Error::Invalid`] naming the variable with an invalid value.
pub(super) fn read(env: &Env) -> Result<FromEnv, Error> {
    let mut found = FromEnv::default();
    let is_a_log = |text: &&String| matches!(text.as_str(), "file" | "memory") || text.contains("://");
    if let Some(text) = env.get(TRACE_FILTER).filter(is_a_log) {
        let shown = Address::shown(text);
        let why = format!("filters the traces (e.g. `info`); to choose the log set ANTIPHON_LOG_BACKEND={shown}");
        return Err(Error::Invalid { key: TRACE_FILTER.into(), why });
    }
    let present = |name: &str| env.get(name).filter(|value| !value.trim().is_empty());
    for key in Layer::KEYS {
        let names = [Some(variable(key)), customary(key).map(str::to_owned)];
        let Some((name, value)) = names.into_iter().flatten().find_map(|n| present(&n).map(|v| (n, v))) else {
            continue;
        };
        found.layer = one(key, &name, value)?.or(found.layer);
        found.names.insert(key, name);
    }
    // Only one key counts: our names before the customary ones, then the key before its file.
    if let (Some(key), Some(file)) = (found.names.get("openai_api_key"), found.names.get("openai_api_key_file")) {
        if !key.starts_with(PREFIX) && file.starts_with(PREFIX) {
            found.layer.openai_api_key = None;
            found.names.remove("openai_api_key");
        } else {
            found.layer.openai_api_key_file = None;
            found.names.remove("openai_api_key_file");
        }
    }
    let known: Vec<String> = Layer::KEYS.iter().map(|k| variable(k)).collect();
    let known = || known.iter().map(String::as_str);
    for name in env.keys().filter(|n| n.starts_with(PREFIX)) {
        if known().chain([TRACE_FILTER, CONFIG_FILE, SERVER, WORKER_KEY]).all(|k| k != name) {
            let hint = nearest(name, known()).map(|k| format!("; did you mean {k}?")).unwrap_or_default();
            found.warnings.push(format!("unknown variable {name} is ignored{hint}"));
        }
    }
    Ok(found)
}

/// The layer of one variable, parsed as its flag would be.
fn one(key: &str, name: &str, value: &str) -> Result<Layer, Error> {
    match key {
        "openai_api_key" => return Ok(Layer { openai_api_key: Some(Secret::new(value.trim())), ..Layer::default() }),
        "openai_api_key_file" => {
            return Ok(Layer { openai_api_key_file: Some(PathBuf::from(value)), ..Layer::default() });
        }
        _ => {}
    }
    let command = Layer::augment_args(clap::Command::new("env").no_binary_name(true));
    let flag = command.get_arguments().find(|a| a.get_id() == key).and_then(|a| a.get_long()).map(str::to_owned);
    let flag = flag.expect("every setting but the key has a long flag: `Layer` says so, and a test");
    let value = if key == "expose" { boolean(value) } else { value };
    let invalid = |why: &str| Error::Invalid { key: name.into(), why: why.into() };
    let matches = command.try_get_matches_from([format!("--{flag}={value}")]).map_err(|e| {
        // clap: "error: invalid value 'x' for '--flag <F>': why", or the possible values on the next line.
        let text = e.to_string();
        let mut lines = text.lines().map(str::trim);
        let why = lines.next().and_then(|line| line.split_once(">': ")).map(|(_, why)| why);
        let why = why.or_else(|| lines.find(|line| line.starts_with("[possible"))).unwrap_or("not a valid value");
        invalid(&format!("`{value}`: {why}"))
    })?;
    Layer::from_arg_matches(&matches).map_err(|e| invalid(&e.to_string()))
}

fn boolean(value: &str) -> &str {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "yes" | "on" | "true" => "true",
        "0" | "no" | "off" | "false" => "false",
        _ => value,
    }
}
