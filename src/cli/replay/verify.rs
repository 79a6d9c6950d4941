//! `antiphon replay verify`: whether the log is what it was and what it may be.

use std::io::Write;

use serde_json::json;

use super::{Desk, Paint, Part, Progress, json_line, out, position};
use crate::{
    cli::{DONE, FAILED},
    replay::{
        span::Span,
        verify::{Report, verify},
    },
};

const EXAMPLES: &str = "\
Examples:
  antiphon replay verify                              the log of the configuration
  antiphon replay verify --log export.antiphon --json
  antiphon replay verify --against kept-elsewhere.checkpoint

Exit code 1 if anything is not as it must be; the first line names the first entry. The log is always read whole; --from, --to
and --room say which findings are shown.";

/// Whether the log is what it was: every rule of it, and what its notary has signed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    #[command(flatten)]
    part: Part,
}

impl Verify {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        let (mut source, span) = desk.open_part(&self.part)?;
        let progress = Progress::of(&mut *source, Span { after: antiphon_schemas::Seq::ZERO, until: None })?;
        let started = std::time::Instant::now();
        let mut report = verify(&mut *source, |entries| progress.more(entries))?;
        progress.done();
        report.findings.retain(|f| f.at > span.after && span.until.is_none_or(|until| f.at <= until));
        let mut out = out();
        if self.part.json {
            json_line(&mut out, &as_json(&report))?;
        } else {
            let seconds = started.elapsed().as_secs_f64();
            print(&mut out, &source.shown(), &report, seconds)?;
            for finding in &report.findings {
                let place = source.place(finding.at);
                writeln!(out, "  position {}: {} [{}] ({place})", position(finding.at), finding.why, finding.code)?;
            }
            if report.more > 0 {
                writeln!(out, "  and {} more", report.more)?;
            }
        }
        out.flush()?;
        Ok(if report.findings.is_empty() { DONE } else { FAILED })
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
    let rate = report.tail.0 as f64 / seconds.max(1e-9) / 1e3;
    writeln!(out, "  entries     {} ({rate:.0} k/s)", report.tail)?;
    writeln!(out, "  messages    {}, of which {} wait for an answer", report.messages, report.open_count)?;
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
        "entries": report.tail.0,
        "messages": report.messages,
        "open": report.open,
        "open_count": report.open_count,
        "unknown": report.unknown,
        "erased": report.erased,
        "findings": findings.collect::<Vec<_>>(),
        "more": report.more,
    })
}
