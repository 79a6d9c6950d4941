//! `antiphon replay export`: entries as JSON Lines, messages as a table, or a bundle.
//!
//! Promises: a file gets its name when it is whole; nothing is in it of what was appended after the export began; a text that
//! was redacted before it began is left out of JSON Lines and tables.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use antiphon_schemas::{Seq, Stored, entry::Header};
use anyhow::Context;
use serde_json::json;

use super::{Desk, Part, Progress, cat::as_json, each_stored, json_line, out};
use crate::{
    cli::{DONE, Usage},
    replay::{
        aside::{Aside, Replace, check_free},
        bundle::{About, CHECKPOINTS, ENDING, Manifest, Portion, Writer},
        copy::Stop,
        csv::{self, Texts},
        messages::{Hidden, Standing},
        source::{Source, checkpoint_file},
        span::{Filter, Span},
    },
};

const EXAMPLES: &str = "\
Examples:
  antiphon replay export --format bundle --out chat.antiphon      all of it, for an auditor or another server
  antiphon replay export --format csv --room lobby --from 2026-11-01 --out lobby.csv
  antiphon replay export | jq .kind                               every entry as a JSON object

jsonl has the entries as `replay cat --json` shows them; csv has one row for each message and reply; a bundle has the entries
as they are stored, with schemas, checkpoints and hashes. It can be done beside a running server.";

/// Take the log, or a part of it, along: as JSON Lines, as a table, or as a bundle that an auditor can check
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    #[command(flatten)]
    part: Part,
    /// What to make
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// Where to; `-` is stdout [default: stdout, but for a bundle]
    #[arg(long, value_name = "FILE|-")]
    out: Option<PathBuf>,
    /// Also the texts that were redacted
    #[arg(long)]
    with_redacted: bool,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// Take the checkpoints from this folder: of a Redis they lie with a node, in its data folder
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
        let mut job = Job::new(&self, &mut *source, span, desk.stop())?;
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

    fn texts(&self) -> Texts {
        if self.with_redacted { Texts::All } else { Texts::Shown }
    }

    fn place(&self) -> anyhow::Result<Place> {
        let target = match (&self.out, self.format) {
            (None, Format::Bundle) => {
                return Err(Usage(format!("a bundle needs a file: --out NAME.{ENDING}")).into());
            }
            (Some(out), Format::Bundle) if out == Path::new("-") && io::stdout().is_terminal() => {
                return Err(Usage("a bundle is nothing for a terminal; name a file with --out".into()).into());
            }
            (None, _) => return Ok(Place::Stdout),
            (Some(out), _) if out == Path::new("-") => return Ok(Place::Stdout),
            (Some(out), _) => out.clone(),
        };
        let replace = if self.force { Replace::Yes } else { Replace::Never };
        let shown = target.display();
        if target.is_file() && replace == Replace::Never {
            anyhow::bail!("`{shown}` is there already; name another file, or replace it with --force");
        }
        check_free(&target, replace).with_context(|| format!("cannot write `{shown}`"))?;
        let aside = Aside::beside(&target, "export").with_context(|| format!("cannot write beside `{shown}`"))?;
        Ok(Place::File { aside, target, replace })
    }

    /// Where the large members of a bundle wait.
    fn aside(&self, place: &Place) -> io::Result<Aside> {
        match place {
            Place::Stdout => Aside::anywhere("members"),
            Place::File { target, .. } => Aside::beside(target, "members"),
        }
    }
}

/// What is to be exported.
struct Job<'a> {
    source: &'a mut dyn Source,
    checkpoints: Vec<(&'static str, Vec<u8>)>,
    folder: Option<PathBuf>,
    filter: Filter,
    /// With an end: what is appended meanwhile is not in it.
    span: Span,
    until: Seq,
    whole: bool,
    stop: Stop,
}

/// What was exported.
#[derive(Debug, Default)]
struct Done {
    format: &'static str,
    count: u64,
    ends: Option<(Seq, Seq)>,
    /// Texts that are hidden in the log: left out, or in it all the same.
    hidden: u64,
    hidden_in_it: bool,
    bundle: Option<Manifest>,
    /// How many entries the newest checkpoint covers.
    covers: Option<u64>,
}

impl<'a> Job<'a> {
    fn new(export: &Export, source: &'a mut dyn Source, span: Span, stop: Stop) -> anyhow::Result<Job<'a>> {
        let folder = export.checkpoints.clone();
        let mut checkpoints = Vec::new();
        if export.format == Format::Bundle {
            // `history` before `latest`, which is then never older; the leaves are taken last, when they cover both.
            for name in ["notary.pub", "history", "latest"] {
                if let Some(mut file) = checkpoint(source, folder.as_deref(), name)? {
                    let mut bytes = Vec::new();
                    file.read_to_end(&mut bytes).with_context(|| format!("cannot read the checkpoints' `{name}`"))?;
                    checkpoints.push((name, bytes));
                }
            }
            if folder.is_some() && checkpoints.is_empty() {
                anyhow::bail!(
                    "there are no checkpoints in `{}`",
                    export.checkpoints.as_ref().map_or("".into(), |f| f.display().to_string())
                );
            }
        }
        let tail = source.tail()?;
        source.seek(span.after)?;
        let until = span.until.map_or(tail, |until| until.min(tail));
        let filter = Filter { room: export.part.room.clone(), ..Filter::default() };
        let whole = filter.room.is_none() && span.after == Seq::ZERO && until == tail;
        let span = Span { after: span.after, until: Some(until) };
        Ok(Job { source, checkpoints, folder, filter, span, until, whole, stop })
    }

    /// Calls `each` with every entry that is exported.
    fn each(&mut self, mut each: impl FnMut(&Stored) -> anyhow::Result<()>) -> anyhow::Result<Done> {
        let mut done = Done::default();
        self.source.seek(self.span.after)?;
        let progress = Progress::of(self.source, self.span)?;
        let (filter, stop) = (&self.filter, &self.stop);
        each_stored(self.source, self.span, &progress, |stored| {
            go_on(stop)?;
            if filter.room.is_some() && !filter.takes_header(&Header::decode(&stored.header)?) {
                return Ok(true);
            }
            done.count += 1;
            done.ends = Some((done.ends.map_or(stored.seq(), |(first, _)| first), stored.seq()));
            each(stored)?;
            Ok(true)
        })?;
        progress.done();
        Ok(done)
    }

    /// What is hidden by now; whoever hid it meant every copy. With `standing` also where the messages stand.
    fn look(&mut self, mut standing: Option<&mut Standing>) -> anyhow::Result<Hidden> {
        let mut hidden = Hidden::default();
        let all = Span { after: self.span.after, until: None };
        let progress = Progress::of(self.source, all)?;
        let (until, stop) = (self.until, &self.stop);
        self.source.seek(all.after)?;
        each_stored(self.source, all, &progress, |stored| {
            go_on(stop)?;
            hidden.apply(stored)?;
            if let Some(standing) = &mut standing
                && stored.seq() <= until
            {
                standing.apply(&stored.entry()?);
            }
            Ok(true)
        })?;
        progress.done();
        Ok(hidden)
    }

    fn jsonl(&mut self, to: &mut dyn Write, texts: Texts) -> anyhow::Result<Done> {
        let hidden = self.look(None)?;
        let mut left_out = 0;
        let mut to = to;
        let done = self.each(|stored| {
            let mut value = as_json(&stored.entry()?);
            if hidden.text_of(stored).is_some() {
                left_out += 1;
                value["redacted"] = json!(true);
                if texts == Texts::Shown
                    && let Some(event) = value["event"].as_object_mut()
                {
                    event.remove("text");
                }
            }
            json_line(&mut to, &value)
        })?;
        Ok(Done { format: "jsonl", hidden: left_out, hidden_in_it: texts == Texts::All, ..done })
    }

    fn csv(&mut self, to: &mut dyn Write, texts: Texts) -> anyhow::Result<Done> {
        let mut standing = Standing::default();
        let hidden = self.look(Some(&mut standing))?;
        let mut left_out = 0;
        csv::head(to)?;
        let done = self.each(|stored| {
            left_out += u64::from(hidden.text_of(stored).is_some());
            Ok(csv::row(to, &stored.entry()?, &standing, &hidden, texts)?)
        })?;
        Ok(Done { format: "csv", hidden: left_out, hidden_in_it: texts == Texts::All, ..done })
    }

    fn bundle(&mut self, to: &mut dyn Write, aside: &Aside) -> anyhow::Result<Done> {
        let hidden = self.look(None)?;
        let mut writer = Writer::new(aside.file()?);
        for (name, bytes) in &self.checkpoints {
            writer.checkpoint(name, &mut &bytes[..], 0)?;
        }
        let (mut in_it, mut told) = (0, 0);
        let until = self.until;
        let done = self.each(|stored| {
            if let Some(since) = hidden.text_of(stored) {
                in_it += 1;
                // The same entries give the same bytes: a later redaction changes nothing of the bundle.
                told += u64::from(since <= until);
            }
            Ok(writer.push(stored)?)
        })?;
        let latest = self.checkpoints.iter().find(|(name, _)| *name == "latest");
        let covers = latest.and_then(|(_, note)| size_of(note));
        // A part is proved by the leaves around it.
        let leaves_max = if self.whole { self.until.0 } else { self.until.0.max(covers.unwrap_or(0)) };
        if let Some(mut leaves) = checkpoint(self.source, self.folder.as_deref(), CHECKPOINTS[2])? {
            writer.checkpoint(CHECKPOINTS[2], &mut leaves, leaves_max)?;
        }
        let portion = Portion { after: self.span.after, until: self.until, room: self.filter.room.clone() };
        let part = (!self.whole).then_some(portion);
        let about = About { epoch: self.source.epoch(), part, redacted_texts: told };
        let manifest = writer.finish(about, to)?;
        Ok(Done { format: "bundle", hidden: in_it, hidden_in_it: true, bundle: Some(manifest), covers, ..done })
    }
}

/// Stops where somebody wishes it; what is there of the file is removed.
fn go_on(stop: &Stop) -> anyhow::Result<()> {
    if stop.wished() { anyhow::bail!("stopped; nothing was written") } else { Ok(()) }
}

/// A file of the checkpoints: from the folder that was named, else as the source has it.
fn checkpoint(
    source: &mut dyn Source,
    folder: Option<&Path>,
    name: &str,
) -> anyhow::Result<Option<Box<dyn io::Read + Send>>> {
    Ok(match folder {
        Some(folder) => checkpoint_file(folder, name)?,
        None => source.checkpoint_file(name)?,
    })
}

/// How many entries a checkpoint covers: its second line.
fn size_of(note: &[u8]) -> Option<u64> {
    std::str::from_utf8(note).ok()?.lines().nth(1)?.parse().ok()
}

impl Done {
    fn line(&self, to: &str, log: &str) -> String {
        let bytes = fs::metadata(to).map_or(0, |meta| meta.len());
        let ends = self.ends.map_or("none".into(), |(first, last)| format!("positions {first}-{last}"));
        format!("{to}: {} entries ({ends}) of {log} as {}, {bytes} bytes", self.count, self.format)
    }

    /// What whoever gets it should know.
    fn notes(&self) -> impl Iterator<Item = String> {
        let texts = |n: u64| if n == 1 { "1 text".into() } else { format!("{n} texts") };
        let hidden = (self.hidden > 0).then(|| match self.hidden_in_it {
            true => format!(
                "note: it holds {} that were redacted; give it only to those who may read them",
                texts(self.hidden)
            ),
            false => {
                format!("note: {} that were redacted are left out; --with-redacted takes them in", texts(self.hidden))
            }
        });
        let proof = self.bundle.as_ref().map(|manifest| match (self.covers, manifest.leaves) {
            (None, _) => {
                "note: there are no checkpoints, so nothing in it shows that the log was not changed before".into()
            }
            (Some(covers), Some(leaves)) if leaves >= covers => {
                format!("checkpoints: the newest covers the first {covers} positions, and their leaf hashes are in it")
            }
            (Some(covers), leaves) => format!(
                "note: the newest checkpoint covers the first {covers} positions, of which it has {} leaf hashes",
                leaves.unwrap_or(0)
            ),
        });
        hidden.into_iter().chain(proof)
    }

    fn as_json(&self, to: &str, log: &str) -> serde_json::Value {
        json!({
            "file": to,
            "log": log,
            "format": self.format,
            "entries": self.count,
            "first": self.ends.map(|(first, _)| first.0),
            "last": self.ends.map(|(_, last)| last.0),
            "redacted_texts": self.hidden,
            "redacted_texts_in_it": self.hidden_in_it,
            "whole": self.bundle.as_ref().map(|manifest| manifest.whole),
            "leaves": self.bundle.as_ref().and_then(|manifest| manifest.leaves),
            "checkpoint_covers": self.covers,
        })
    }
}
