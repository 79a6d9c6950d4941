//! `antiphon doctor`: checks everything that the server needs and says how to fix what is wrong.
//!
//! Promises: changes nothing (it creates a file in the data folder to test write access, and removes it again);
//! every warning and failure says what to do; exit code 1 if the server could not start or could not answer.
//! Start with [`Doctor::run`]; `descriptors`, `folder`, `store`, `outbox`, `models` and `port` are the checks.

mod descriptors;
mod folder;
mod models;
mod outbox;
mod port;
mod store;

use std::path::Path;

pub(super) use self::outbox::copied;
use super::{DONE, FAILED, foreign, tail::print};
use crate::config::{Config, Env, Flags};

const EXAMPLES: &str = "\
Takes the same flags as `serve`, and reads the same variables and file. Examples:
  antiphon doctor
  antiphon doctor --config /etc/antiphon.toml --model ollama:llama3.2";

/// Check configuration, data folder, port and models, and say how to fix what is wrong
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Doctor {
    #[command(flatten)]
    flags: Flags,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Ok,
    Warn,
    Fail,
}

/// One finding.
#[derive(Debug, PartialEq)]
struct Check {
    state: State,
    what: &'static str,
    /// The finding; further lines are details.
    says: String,
    /// What to do; empty if nothing is wrong.
    mend: String,
}

impl Check {
    fn ok(what: &'static str, says: impl Into<String>) -> Check {
        Check { state: State::Ok, what, says: says.into(), mend: String::new() }
    }

    fn warn(what: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Check {
        Check { state: State::Warn, what, says: says.into(), mend: mend.into() }
    }

    fn fail(what: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Check {
        Check { state: State::Fail, what, says: says.into(), mend: mend.into() }
    }

    fn text(&self) -> String {
        let state = match self.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        let says = foreign::piece(&self.says).replace('\n', "\n                      ");
        let mend = if self.mend.is_empty() {
            String::new()
        } else {
            format!("                      -> {}\n", foreign::piece(&self.mend))
        };
        format!("{state:<6}{:<16}{says}\n{mend}", self.what)
    }
}

impl Doctor {
    pub(super) async fn run(self, env: &Env) -> anyhow::Result<u8> {
        let mut checks = Vec::new();
        match Config::load(&self.flags, env, Path::new(".")) {
            Err(error) => {
                checks.push(Check::fail("configuration", error.to_string(), "fix it first; the other checks need it"));
            }
            Ok(config) => {
                checks.extend(configuration(&config));
                checks.push(descriptors::check(&config));
                checks.extend(folder::check(&config));
                checks.extend(store::check(&config).await);
                checks.extend(outbox::check(&config).await);
                checks.push(port::check(&config).await);
                checks.extend(models::check(&config).await);
            }
        }
        print(&checks.iter().map(Check::text).collect::<String>())?;
        let worst = checks.iter().map(|check| check.state).max();
        Ok(if worst == Some(State::Fail) { FAILED } else { DONE })
    }
}

/// Which file, and which settings differ from their defaults.
fn configuration(config: &Config) -> Vec<Check> {
    let sources = &config.sources;
    let mut says = match &sources.file {
        Some(file) => format!("read {}", file.display()),
        None => format!("no file ({} does not exist)", crate::config::FILE),
    };
    let differing: Vec<_> = sources.set.iter().filter(|(_, setting)| setting.differs).collect();
    if differing.is_empty() {
        says.push_str("; every setting has its default");
    }
    for (key, setting) in differing {
        says.push_str(&format!("\n{key} = {} ({})", setting.value, setting.from));
    }
    let mut checks = vec![Check::ok("configuration", says)];
    for warning in &sources.warnings {
        checks.push(Check::warn("environment", warning.clone(), "docs/configuration.md lists all variables"));
    }
    if config.bots.is_empty() {
        checks.push(Check::warn("bots", "there are none, so nothing is answered", "remove `bots = []` from the file"));
    }
    checks
}

#[cfg(test)]
mod tests;
