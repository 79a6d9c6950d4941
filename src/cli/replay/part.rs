//! The log that a command reads, and which part of it.

use std::path::{Path, PathBuf};

use antiphon_schemas::RoomName;

use crate::{
    cli::Usage,
    config::{Config, Env, Flags, LogKind},
    log::redis::address::Address,
    replay::{source::Where, span::Moment},
};

/// The log, and which part of it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Part {
    #[command(flatten)]
    pub(super) log: LogArgument,
    /// Only entries of this room
    #[arg(long)]
    pub(super) room: Option<RoomName>,
    /// Start at this time or position: 2026-11-25T10:00, 2h (ago), 1234
    #[arg(long, value_name = "TIME|POSITION")]
    pub(super) from: Option<Moment>,
    /// Stop after this time or position
    #[arg(long, value_name = "TIME|POSITION")]
    pub(super) to: Option<Moment>,
    /// Print one JSON object per line
    #[arg(long)]
    pub(super) json: bool,
}

/// The log.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct LogArgument {
    /// A data folder, a Redis (redis://…) or a bundle [default: the configured log]
    #[arg(long = "log", value_name = "WHERE")]
    pub(super) place: Option<String>,
}

impl LogArgument {
    /// Where the selected log is.
    pub(super) fn place(&self, env: &Env) -> anyhow::Result<Where> {
        let Some(text) = &self.place else {
            let config = Config::load(&Flags::default(), env, Path::new("."))?;
            return Ok(match config.log {
                LogKind::Redis(address) => Where::Redis(Box::new(address)),
                LogKind::File => Where::Folder(config.data),
                LogKind::Memory => {
                    return Err(Usage("the configured log is in memory (`log = \"memory\"`) and cannot be read from outside the server; name another with --log".into()).into());
                }
            });
        };
        place_of(text, "--log")
    }

    /// For the configured log in a Redis: where the configured node keeps its checkpoints, if it has any.
    pub(super) fn node_checkpoints(&self, env: &Env) -> Option<PathBuf> {
        let config = Config::load(&Flags::default(), env, Path::new(".")).ok()?;
        let here = matches!(&config.log, LogKind::Redis(_)) && self.place.is_none();
        here.then(|| config.data.join("redis").join("checkpoints")).filter(|folder| folder.exists())
    }
}

/// `--from` and `--to` of a command that reads the whole log: rejected with the reason, not as unknown flags.
#[derive(Debug, clap::Args)]
pub(super) struct Whole {
    #[arg(long, hide = true)]
    from: Option<String>,
    #[arg(long, hide = true)]
    to: Option<String>,
}

impl Whole {
    /// Rejects those given, and `more` of the kind, with a sentence that says what to do instead.
    pub(super) fn check(&self, more: bool, why: &str) -> anyhow::Result<()> {
        if more || self.from.is_some() || self.to.is_some() { Err(Usage(why.into()).into()) } else { Ok(()) }
    }
}

/// The log that a text names: an address, or a path.
pub(super) fn place_of(text: &str, argument: &str) -> anyhow::Result<Where> {
    if text.contains("://") {
        return match Address::parse(text) {
            Ok(address) => Ok(Where::Redis(Box::new(address))),
            Err(why) => Err(Usage(format!("{argument}: {why}")).into()),
        };
    }
    Ok(Where::of_path(PathBuf::from(text)))
}
