//! `antiphon replay into`: copies a log, or its beginning, into another one.
//!
//! Promises: entries already there are compared, not written again, so the command resumes after an interruption or when the log
//! has grown; positions, times and epoch stay the same.

use std::io::{self, Write};

use antiphon_schemas::Seq;
use anyhow::{Context, bail};
use serde_json::json;

use super::{Desk, Part, Progress, json_line, load::shown, place_of};
use crate::{
    cli::{DONE, FAILED, complain},
    log::GoOn,
    replay::{
        copy::{self, Ended, Speed},
        source::Where,
        span::Span,
        target::Target,
    },
};

const EXAMPLES: &str = "\
Examples:
  antiphon replay into redis://127.0.0.1:6379 --log ./antiphon-data          from a folder to several nodes
  antiphon replay into ./as-it-was --log redis://127.0.0.1:6379 --to 2026-11-25T10:00
  antiphon replay into ./again --speed 10x --log chat.antiphon               entries arrive ten times as fast as originally

Run the same command again to resume, also after the log has grown. No server opens the copy before it is complete.
Both logs have the same epoch, hence the same positions: only one of them may accept posts.";

/// Copy a log into another, empty one, at full speed or at a multiple of its original pace
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Into {
    /// The copy: a data folder or a Redis (redis://…) that is empty, or contains the beginning of the log
    #[arg(value_name = "LOG")]
    target: String,
    /// max, or a multiple of the original pace: 1x, 10x, 0.5x
    #[arg(long, value_name = "SPEED", default_value = "max")]
    speed: Speed,
    #[command(flatten)]
    part: Part,
}

impl Into {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        let place = place_of(&self.target, "LOG")?;
        let from = self.part.log.place(desk.env)?;
        if same(&from, &place) {
            bail!("{} cannot be copied into itself", shown(&place));
        }
        let (mut source, span) = desk.open_part(&self.part)?;
        if self.part.room.is_some() || span.after > Seq::ZERO {
            bail!(
                "only a log from its beginning can be copied, up to --to: the entries of {} would get new positions, and those inside of entries (fences, checkpoints) would be wrong; `replay export --format bundle` takes any part along as it is",
                if self.part.room.is_some() { "a room" } else { "a later part" }
            );
        }
        let tail = source.tail()?;
        let until = span.until.map_or(tail, |until| until.min(tail));
        let epoch = source.epoch();
        let mut target = Target::open(&place, epoch, GoOn::Any, desk.handle())?;
        let had = target.tail();
        if had > until {
            target.give_back()?;
            bail!("{} already has {had} positions, more than the {until} to be copied", shown(&place));
        }
        let stop = desk.stop();
        let progress = Progress::of(&mut *source, Span { after: Seq::ZERO, until: Some(until) })?;
        let checked = match copy::check_prefix(&mut *source, &target, &stop, |n| progress.more(n)) {
            Ok(checked) => checked,
            Err(why) => {
                target.give_back()?;
                return Err(why.into());
            }
        };
        let ended = match checked {
            Ended::Whole => copy::copy(&mut *source, &mut target, until, self.speed, &stop, |n| progress.more(n))
                .with_context(|| {
                    format!("{} contains only the beginning; run the same command to resume", shown(&place))
                })?,
            stopped => stopped,
        };
        progress.done();
        if let Ended::Stopped(_) = ended {
            let (at, to) = (target.tail(), shown(&place));
            target.give_back()?;
            complain(&format!(
                "stopped: {to} has {at} of {until} positions and no server opens it; run the same command to resume, or with --to {at} to finish it there"
            ));
            return Ok(FAILED);
        }
        target.finish()?;
        let (to, copied) = (shown(&place), until.0 - had.0);
        let mut out = io::stdout().lock();
        if self.part.json {
            let said = json!({"log": to, "copied": copied, "there_already": had.0, "last": until.0, "epoch": epoch.to_string()});
            json_line(&mut out, &said)?;
            return Ok(DONE);
        }
        writeln!(out, "copied {copied} entries of the epoch {epoch} into {to}, {had} were there already")?;
        writeln!(out, "note: both logs have the same epoch; only one of them may accept posts")?;
        Ok(DONE)
    }
}

/// Whether two places are the same.
fn same(one: &Where, other: &Where) -> bool {
    match (one, other) {
        (Where::Folder(one), Where::Folder(other)) => {
            matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
        }
        _ => one == other,
    }
}
