//! `antiphon replay verify`: checks the log's integrity.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use antiphon_schemas::{Epoch, Seq, Stored};
use anyhow::Context;
use serde_json::json;

use super::{Desk, Paint, Part, Progress, json_line, out, position};
use crate::{
    audit::note::NOTE_BYTES_MAX,
    cli::{DONE, FAILED, Usage, foreign},
    replay::{
        bundle::Portion,
        source::{Error, Source, checkpoint_file},
        span::Span,
        verify::{Report, Witness, verify},
    },
};

/// The report states the speed from this many entries on.
const RATED_MIN: u64 = 100_000;

const EXAMPLES: &str = "\
Examples:
  antiphon replay verify                              the configured log
  antiphon replay verify --log export.antiphon --json
  antiphon replay verify --against kept-elsewhere.checkpoint

Exit code 1 if anything is wrong; the first line names the first entry. The whole log is always read; --from, --to and --room
only select which findings are shown.";

/// Check the log's integrity: its rules and its signed checkpoints
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    #[command(flatten)]
    part: Part,
    /// A checkpoint kept elsewhere: a file, or `-` for stdin; repeatable
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// The notary's key that you noted when the server started, or a file with it [default: the one beside the log]
    #[arg(long = "key", value_name = "KEY|FILE")]
    keys: Vec<String>,
    /// A node's `checkpoints` folder, for a log in Redis
    #[arg(long, value_name = "FOLDER")]
    checkpoints: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        let (mut source, span) = desk.open_part(&self.part)?;
        let progress = Progress::of(&mut *source, Span { after: antiphon_schemas::Seq::ZERO, until: None })?;
        let started = std::time::Instant::now();
        if let Some(folder) = self.checkpoints.clone().or_else(|| self.part.log.node_checkpoints(desk.env)) {
            source = Box::new(WithCheckpoints { source, folder });
        }
        let witness = self.witness()?;
        let mut report = verify(&mut *source, &witness, |entries| progress.more(entries))?;
        progress.done();
        // A finding about no entry, such as a note that cannot be trusted, concerns all of them.
        report
            .findings
            .retain(|f| f.at == Seq::ZERO || f.at > span.after && span.until.is_none_or(|until| f.at <= until));
        let mut out = out();
        if self.part.json {
            json_line(&mut out, &as_json(&report))?;
        } else {
            let seconds = started.elapsed().as_secs_f64();
            print(&mut out, &source.shown(), &report, seconds)?;
            for finding in &report.findings {
                let place = source.place(finding.at);
                let why = foreign::lines(&finding.why);
                writeln!(out, "  position {}: {why} [{}] ({place})", position(finding.at), finding.code)?;
            }
            if report.more > 0 {
                writeln!(out, "  and {} more", report.more)?;
            }
        }
        out.flush()?;
        Ok(if report.findings.is_empty() { DONE } else { FAILED })
    }
}

impl Verify {
    fn witness(&self) -> anyhow::Result<Witness> {
        let key = |text: &String| -> anyhow::Result<_> {
            let read = if text.contains('+') { text.clone() } else { read(Path::new(text))? };
            read.trim().parse().map_err(|why| Usage(format!("--key: {why}")).into())
        };
        let keys = self.keys.iter().map(key).collect::<anyhow::Result<_>>()?;
        let note = |path: &PathBuf| -> anyhow::Result<_> { Ok((format!("--against {}", path.display()), read(path)?)) };
        let against = self.against.iter().map(note).collect::<anyhow::Result<_>>()?;
        Ok(Witness { keys, against })
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().take(NOTE_BYTES_MAX as u64).read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// A log whose checkpoints are stored elsewhere.
struct WithCheckpoints {
    source: Box<dyn Source>,
    folder: PathBuf,
}

impl Source for WithCheckpoints {
    fn shown(&self) -> String {
        self.source.shown()
    }

    fn epoch(&self) -> Epoch {
        self.source.epoch()
    }

    fn seek(&mut self, after: Seq) -> Result<(), Error> {
        self.source.seek(after)
    }

    fn read(&mut self) -> Result<Vec<Stored>, Error> {
        self.source.read()
    }

    fn tail(&mut self) -> Result<Seq, Error> {
        self.source.tail()
    }

    fn place(&self, seq: Seq) -> String {
        self.source.place(seq)
    }

    fn part(&self) -> Option<&Portion> {
        self.source.part()
    }

    fn served(&self) -> bool {
        self.source.served()
    }

    fn checkpoint_file(&mut self, name: &str) -> Result<Option<Box<dyn Read + Send>>, Error> {
        checkpoint_file(&self.folder, name)
    }
}

fn print(out: &mut impl Write, shown: &str, report: &Report, seconds: f64) -> anyhow::Result<()> {
    let paint = Paint::stdout();
    let verdict = match report.findings.len() as u64 + report.more {
        0 => "sound".to_owned(),
        1 => "1 finding".to_owned(),
        n => format!("{n} findings"),
    };
    writeln!(out, "{}: {}", shown, paint.bold(&verdict))?;
    // With fewer entries this would measure the program's startup.
    let rate = match report.tail.0 {
        entries if entries < RATED_MIN => String::new(),
        entries => format!(" ({:.0} k/s)", entries as f64 / seconds.max(1e-9) / 1e3),
    };
    if let Some(entries) = report.part {
        writeln!(
            out,
            "  entries     {entries}, a part of the log up to position {}: checked against what was signed, not against the rules",
            report.tail
        )?;
    } else {
        writeln!(out, "  entries     {}{rate}", report.tail)?;
        writeln!(out, "  messages    {}, of which {} wait for an answer", report.messages, report.open_count)?;
    }
    match (report.agreed, report.keys.first()) {
        (0, None) => writeln!(out, "  checkpoints none beside the log: only its rules were checked")?,
        (agreed, key) => {
            let unsigned = report.tail.0 - report.signed.min(report.tail.0);
            writeln!(
                out,
                "  checkpoints {agreed} agree, over {} entries; {unsigned} are not signed yet",
                report.signed
            )?;
            if let Some(key) = key {
                let note =
                    if report.own_keys { " (found beside the log: compare it with the key you noted)" } else { "" };
                writeln!(out, "  key         {key}{note}")?;
            }
        }
    }
    if report.unknown > 0 {
        writeln!(out, "  carried     {} entries of kinds that this version does not know", report.unknown)?;
    }
    if report.erased > 0 {
        writeln!(out, "  erased      {} bodies", report.erased)?;
    }
    Ok(())
}

fn as_json(report: &Report) -> serde_json::Value {
    let findings = report.findings.iter().map(|f| json!({"position": f.at.0, "code": f.code, "why": f.why}));
    json!({
        "entries": report.part.unwrap_or(report.tail.0),
        "part": report.part.is_some(),
        "messages": report.messages,
        "open": report.open,
        "open_count": report.open_count,
        "unknown": report.unknown,
        "erased": report.erased,
        "checkpoints": report.agreed,
        "signed": report.signed,
        "keys": report.keys,
        "own_keys": report.own_keys,
        "findings": findings.collect::<Vec<_>>(),
        "more": report.more,
    })
}
