//! `antiphon replay export`: entries as JSON Lines, messages as a table, or a bundle.
//!
//! Promises: a file gets its name only when it is complete; it contains nothing appended after the export began; texts redacted
//! before it began are left out of JSON Lines and tables.

mod job;

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;

use self::job::Job;
use super::{Desk, Part, json_line, out};
use crate::{
    cli::{DONE, Usage},
    replay::{
        aside::{Aside, Replace, check_free},
        bundle::ENDING,
        csv::Texts,
    },
};

const EXAMPLES: &str = "\
Examples:
  antiphon replay export --format bundle --out chat.antiphon      all of it, for an auditor or another server
  antiphon replay export --format csv --room lobby --from 2026-11-01 --out lobby.csv
  antiphon replay export | jq .kind                               every entry as a JSON object

jsonl has the entries in the format of `replay cat --json`; csv has one row per message and reply; a bundle has the entries
as stored, with schemas, checkpoints and hashes. A server may be running on the log.";

/// Export the log, or part of it, as JSON Lines, as a table, or as a bundle that an auditor can check
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    #[command(flatten)]
    part: Part,
    /// Format
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// Output file; `-` is stdout [default: stdout, except for a bundle]
    #[arg(long, value_name = "FILE|-")]
    out: Option<PathBuf>,
    /// Include redacted texts
    #[arg(long)]
    with_redacted: bool,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    /// Take the checkpoints from this folder; for a Redis they are in a node's data folder
    #[arg(long, value_name = "FOLDER")]
    checkpoints: Option<PathBuf>,
}

/// What can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Entries, one JSON object a line
    Jsonl,
    /// Messages and replies, one a row
    Csv,
    /// Entries as they are stored, in one file
    Bundle,
}

/// Where it goes.
enum Place {
    Stdout,
    File { aside: Aside, target: PathBuf, replace: Replace },
}

impl Export {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        let place = self.place()?;
        let (mut source, span) = desk.open_part(&self.part)?;
        // Before the log's end is looked at, so that they cover no more than is exported.
        let mut job = Job::new(&self, self.checkpoints(desk), &mut *source, span, desk.stop())?;
        let to_file = matches!(place, Place::File { .. });
        let mut to: Box<dyn Write> = match &place {
            Place::Stdout => Box::new(out()),
            Place::File { aside, .. } => Box::new(io::BufWriter::with_capacity(64 << 10, aside.file()?)),
        };
        let done = match self.format {
            Format::Jsonl => job.jsonl(&mut *to, self.texts())?,
            Format::Csv => job.csv(&mut *to, self.texts())?,
            Format::Bundle => job.bundle(&mut *to, &self.aside(&place)?)?,
        };
        to.flush()?;
        drop(to);
        let shown = match place {
            Place::Stdout => "stdout".into(),
            Place::File { aside, target, replace } => {
                let shown = target.display().to_string();
                aside.publish(&target, replace).with_context(|| format!("cannot write `{shown}`"))?;
                shown
            }
        };
        let log = source.shown();
        if self.part.json && to_file {
            json_line(&mut io::stdout().lock(), &done.as_json(&shown, &log))?;
        } else if self.part.json || !to_file {
            done.notes().for_each(|note| eprintln!("{note}"));
        } else {
            let mut out = out();
            writeln!(out, "{}", done.line(&shown, &log))?;
            done.notes().try_for_each(|note| writeln!(out, "{note}"))?;
            out.flush()?;
        }
        Ok(DONE)
    }

    fn checkpoints(&self, desk: &Desk<'_>) -> Option<PathBuf> {
        self.checkpoints.clone().or_else(|| self.part.log.node_checkpoints(desk.env))
    }

    fn texts(&self) -> Texts {
        if self.with_redacted { Texts::All } else { Texts::Shown }
    }

    fn place(&self) -> anyhow::Result<Place> {
        let target = match (&self.out, self.format) {
            (None, Format::Bundle) => {
                return Err(Usage(format!("a bundle needs a file: --out NAME.{ENDING}")).into());
            }
            (Some(out), Format::Bundle) if out == Path::new("-") && io::stdout().is_terminal() => {
                return Err(Usage("a bundle cannot be written to a terminal; name a file with --out".into()).into());
            }
            (None, _) => return Ok(Place::Stdout),
            (Some(out), _) if out == Path::new("-") => return Ok(Place::Stdout),
            (Some(out), _) => out.clone(),
        };
        let replace = if self.force { Replace::Yes } else { Replace::Never };
        let shown = target.display();
        if target.is_file() && replace == Replace::Never {
            anyhow::bail!("`{shown}` already exists; name another file, or replace it with --force");
        }
        check_free(&target, replace).with_context(|| format!("cannot write `{shown}`"))?;
        let aside = Aside::beside(&target, "export").with_context(|| format!("cannot write beside `{shown}`"))?;
        Ok(Place::File { aside, target, replace })
    }

    /// Where the large members of a bundle are kept meanwhile.
    fn aside(&self, place: &Place) -> io::Result<Aside> {
        match place {
            Place::Stdout => Aside::anywhere("members"),
            Place::File { target, .. } => Aside::beside(target, "members"),
        }
    }
}
