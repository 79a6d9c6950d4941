//! `antiphon replay load`: turns a bundle back into a log.
//!
//! Promise: the log has the bundle's entries with their positions, times and epoch, so positions handed out to clients and
//! signed checkpoints stay valid; until it has all of them, no server opens it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde_json::json;

use super::{Desk, LogArgument, Progress, Whole, json_line};
use crate::{
    cli::{DONE, FAILED, Usage, complain},
    log::GoOn,
    replay::{
        bundle::{CHECKPOINTS, LOADED},
        copy::{self, Ended, Speed},
        source::{BundleSource, Source, Where},
        span::Span,
        target::Target,
    },
};

const EXAMPLES: &str = "\
Examples:
  antiphon replay load chat.antiphon --log ./antiphon-data          then: antiphon --data ./antiphon-data
  antiphon replay load chat.antiphon --log redis://127.0.0.1:6379 --checkpoints ./antiphon-data/redis/checkpoints/loaded

The log must be empty: a folder that does not exist, or a Redis on which no server has started. If interrupted, run the same
command to resume. Both logs have the same epoch, hence the same positions: only one of them may accept posts.";

/// Why it rejects ranges.
const WHOLE: &str = "`load` always loads the whole bundle, because entries contain positions: omit --room, --from and --to; `antiphon replay cat --log BUNDLE` reads a part of it";

/// Load a bundle into an empty log: the same entries at the same positions
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Load {
    /// A bundle of a whole log, or of its beginning
    bundle: PathBuf,
    #[command(flatten)]
    log: LogArgument,
    #[command(flatten)]
    whole: Whole,
    #[arg(long, hide = true)]
    room: Option<String>,
    /// For a Redis: put the bundle's checkpoints into this folder
    #[arg(long, value_name = "FOLDER")]
    checkpoints: Option<PathBuf>,
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
}

impl Load {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        self.whole.check(self.room.is_some(), WHOLE)?;
        let place = self.log.place(desk.env)?;
        let mut source = BundleSource::open(&self.bundle)?;
        let what = source.manifest().what();
        let part = source.manifest().part.as_ref();
        if part.is_some_and(|part| !part.is_beginning()) {
            bail!(
                "`{}` is {what}: only a log from its beginning can be loaded, because entries contain positions; `antiphon replay` reads it with --log {}",
                self.bundle.display(),
                self.bundle.display()
            );
        }
        // Those may be about entries that come after the part.
        let whole = part.is_none();
        let checkpoints = match (&place, &self.checkpoints) {
            (Where::Folder(_), Some(_)) => {
                return Err(Usage("--checkpoints is only for a Redis; a data folder contains its own".into()).into());
            }
            (Where::Folder(folder), None) => Some(folder.join("checkpoints").join(LOADED)),
            (_, Some(folder)) if folder.join("notary.key").exists() => {
                let why = format!("`{0}` belongs to a notary; name `{0}/{LOADED}`", folder.display());
                return Err(Usage(why).into());
            }
            (_, folder) => folder.clone(),
        };
        let (epoch, tail) = (source.epoch(), source.tail()?);
        let mut target = Target::open(&place, epoch, GoOn::HalfFilled, desk.handle())?;
        let stop = desk.stop();
        let span = Span { after: antiphon_schemas::Seq::ZERO, until: Some(tail) };
        let progress = Progress::of(&mut source, span)?;
        let again = format!("antiphon replay load {} --log {}", self.bundle.display(), shown(&place));
        let checked = copy::check_prefix(&mut source, &target, &stop, |n| progress.more(n))?;
        let ended = match checked {
            Ended::Whole => copy::copy(&mut source, &mut target, tail, Speed::Max, &stop, |n| progress.more(n))
                .with_context(|| format!("{} is only half loaded", shown(&place)))?,
            stopped => stopped,
        };
        progress.done();
        if let Ended::Stopped(at) = ended {
            complain(&format!("stopped at position {at} of {tail}; resume with: {again}"));
            return Ok(FAILED);
        }
        let signed = whole && take_checkpoints(&mut source, checkpoints.as_deref())?;
        target.finish()?;
        let to = shown(&place);
        let mut out = io::stdout().lock();
        if self.json {
            let said = json!({"log": to, "entries": tail.0, "epoch": epoch.to_string(), "checkpoints": signed});
            json_line(&mut out, &said)?;
            return Ok(DONE);
        }
        writeln!(out, "loaded {tail} entries of the epoch {epoch} into {to}")?;
        if !whole {
            writeln!(
                out,
                "note: it is {what}; its checkpoints were left out, because they may be about more than that"
            )?;
        } else if !signed && source.manifest().leaves.is_some() {
            writeln!(
                out,
                "note: checkpoints cannot be stored in a Redis: keep the bundle, or name a folder with --checkpoints"
            )?;
        }
        writeln!(out, "note: the original log has the same epoch; only one of them may accept posts")?;
        Ok(DONE)
    }
}

/// A log as named on the command line.
pub(super) fn shown(place: &Where) -> String {
    match place {
        Where::Folder(path) | Where::Bundle(path) => path.display().to_string(),
        Where::Redis(address) => address.to_string(),
    }
}

/// Writes the bundle's checkpoints into a folder; returns whether there are any and the folder is given.
fn take_checkpoints(source: &mut BundleSource, folder: Option<&Path>) -> anyhow::Result<bool> {
    let mut any = false;
    for name in CHECKPOINTS {
        let Some(mut content) = source.checkpoint_file(name)? else { continue };
        let Some(folder) = folder else { return Ok(false) };
        let file = folder.join(name);
        let mut write = || {
            fs::create_dir_all(folder)?;
            let mut to = fs::File::create(&file)?;
            io::copy(&mut content, &mut to)?;
            to.sync_all()
        };
        write().with_context(|| format!("cannot write `{}`", file.display()))?;
        any = true;
    }
    if let (true, Some(folder)) = (any, folder) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(any)
}
