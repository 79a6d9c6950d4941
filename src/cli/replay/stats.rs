//! `antiphon replay stats`: statistics of answers.

use std::io::Write;

use serde_json::json;

use super::{Desk, Paint, Part, Progress, duration, each_stored, json_line, out, table::Table};
use crate::{
    cli::{DONE, foreign::one_line},
    replay::{
        histogram::Histogram,
        stats::{self, Series},
    },
};

const EXAMPLES: &str = "\
Examples:
  antiphon replay stats                          every bot
  antiphon replay stats --by hour --from 1d      the last day, hour by hour
  antiphon replay stats --by model --json | jq '{model: .key, p95: .first_token.p95_ms}'

Covers questions asked within the range, and what happened to them there. Percentiles are accurate to 1 %.";

/// Report waiting times, first words, totals and failures, by bot, room, hour, model or worker
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Stats {
    #[command(flatten)]
    part: Part,
    /// Group by
    #[arg(long, value_enum, default_value_t = By::Bot)]
    by: By,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum By {
    Bot,
    Room,
    Hour,
    Model,
    Worker,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            By::Bot => "bot",
            By::Room => "room",
            By::Hour => "hour",
            By::Model => "model",
            By::Worker => "worker",
        }
    }

    fn meant(self) -> stats::By {
        match self {
            By::Bot => stats::By::Bot,
            By::Room => stats::By::Room,
            By::Hour => stats::By::Hour,
            By::Model => stats::By::Model,
            By::Worker => stats::By::Worker,
        }
    }
}

/// Names of models and workers have no practical limit.
const NAME_CHARS_MAX: usize = 60;

impl Stats {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        let (mut source, span) = desk.open_part(&self.part)?;
        let mut stats = stats::Stats::by(self.by.meant());
        let room = self.part.room.as_ref().map(|room| room.as_str());
        let progress = Progress::of(&mut *source, span)?;
        each_stored(&mut *source, span, &progress, |stored| {
            if room.is_none_or(|room| stored.room() == room) {
                stats.apply(stored)?;
            }
            Ok(true)
        })?;
        progress.done();
        let (series, mut out) = (stats.finish(), out());
        if self.part.json {
            series.iter().try_for_each(|(key, series)| json_line(&mut out, &as_json(self.by, key, series)))?;
        } else {
            let rows: Vec<_> = series.iter().map(|(key, series)| (one_line(key, NAME_CHARS_MAX), series)).collect();
            write(&mut out, self.by, &rows)?;
        }
        out.flush()?;
        Ok(DONE)
    }
}

fn as_json(by: By, key: &str, series: &Series) -> serde_json::Value {
    json!({
        "by": by.name(),
        "key": key,
        "asked": series.asked,
        "answered": series.answered,
        "waiting": series.waiting.summary(),
        "first_token": series.first_token.summary(),
        "total": series.total.summary(),
        "failed": series.failed(),
        "failures": series.failures,
        "retries": series.retries,
        "takeovers": series.takeovers,
        "dead": series.dead,
        "cancelled": series.cancelled,
        "open": series.open,
    })
}

fn write(out: &mut impl Write, by: By, rows: &[(String, &Series)]) -> anyhow::Result<()> {
    let paint = Paint::stdout();
    if rows.is_empty() {
        writeln!(out, "no questions were asked")?;
        return Ok(());
    }
    let mut counts = Table::new(&[
        by.name(),
        "asked",
        "answered",
        "failed tries",
        "retries",
        "takeovers",
        "dead",
        "cancelled",
        "open",
    ]);
    for (name, s) in rows {
        let numbers = [s.asked, s.answered, s.failed(), s.retries, s.takeovers, s.dead, s.cancelled, s.open];
        counts.row([name.clone()].into_iter().chain(numbers.map(|n| n.to_string())).collect());
    }
    counts.write(out, paint)?;
    for (what, of) in [
        ("waiting", (|s| &s.waiting) as fn(&Series) -> &Histogram),
        ("first token", |s| &s.first_token),
        ("total", |s| &s.total),
    ] {
        let mut times = Table::new(&[what, "count", "p50", "p95", "p99", "max"]);
        for (name, series) in rows {
            let Some(s) = of(series).summary() else { continue };
            let numbers = [s.p50_ms, s.p95_ms, s.p99_ms, s.max_ms].map(duration);
            times.row([name.clone(), s.count.to_string()].into_iter().chain(numbers).collect());
        }
        writeln!(out)?;
        times.write(out, paint)?;
    }
    if rows.iter().any(|(_, series)| series.failed() > 0) {
        let mut failures = Table::new(&["failure", by.name(), "count"]);
        for (name, series) in rows {
            for (code, count) in &series.failures {
                failures.row(vec![one_line(code, NAME_CHARS_MAX), name.clone(), count.to_string()]);
            }
        }
        writeln!(out)?;
        failures.write(out, paint)?;
    }
    Ok(())
}
