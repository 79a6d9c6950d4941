//! `antiphon replay`: the arguments of each command, and what all commands share.
//!
//! Promises: stdout carries only what was asked for, one JSON object per line with `--json`; progress goes to stderr, and only
//! on a terminal; a finding ends with exit code 1. Not here: what the commands compute (`crate::replay`).

mod cat;
mod diff;
mod erase;
mod export;
mod follow;
mod into;
mod load;
mod part;
mod play;
mod show;
mod stats;
mod table;
mod tail;
mod verify;
mod why;

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use antiphon_schemas::Seq;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

use self::part::{LogArgument, Part, Whole, place_of};
use super::{FAILED, foreign};
use crate::{
    clock::Clock,
    config::Env,
    replay::{
        copy::Stop,
        source::{self, Source},
        span::Span,
    },
};

/// A tenth of the share of a process that is not nice; with the machine to itself it is as fast as any.
const NICE: i32 = 10;

const EXAMPLES: &str = "\
Examples:
  antiphon replay cat --from 2h --kind message.      what happened to messages in the last two hours
  antiphon replay tail --follow                      the newest entries, then new ones as they arrive
  antiphon replay show lobby --at 2h                 the lobby as it was two hours ago
  antiphon replay why 0192f0c1-8b7e-7cc3-98a4-3a5e1c0d9f10
                                                     what happened to a message, and how long each step took
  antiphon replay stats --by hour --from 1d          waiting times, first words, failures

Without --log, the configured log is used: the data folder, or the Redis that `log` names. It is never written to
(erase asks the server to do that), and a server may be running on it. docs/replay.md explains every command with an example.";

/// Inspect the log: who said what, when, with which model, and whether it has been altered
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Replay {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print entries
    Cat(cat::Cat),
    /// Print the newest entries, and with --follow new ones as they arrive
    Tail(tail::Tail),
    /// Show a room as it was, with what was being answered; --follow replays it from there
    Show(show::Show),
    /// Trace one message: what it waited behind, who answered it, with which model, and how long each step took
    Why(why::Why),
    /// Report waiting times, first words, totals and failures, by bot, room, hour, model or worker
    Stats(stats::Stats),
    /// Compare the running server's state, snapshot, views and index with the log
    Diff(diff::Diff),
    /// Erase the texts of an author, or single messages, from the log for good; or only list where they are
    Erase(erase::Erase),
    /// Export the log, or part of it, as JSON Lines, as a table, or as a bundle that an auditor can check
    Export(export::Export),
    /// Copy a log into another, empty one, at full speed or at a multiple of its original pace
    Into(into::Into),
    /// Load a bundle into an empty log: the same entries at the same positions
    Load(load::Load),
    /// Check the log's integrity: its rules and its signed checkpoints
    Verify(verify::Verify),
}

impl Replay {
    pub(super) fn run(self, env: &Env) -> anyhow::Result<u8> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        // A server on this machine has priority. Harmless if the system cannot say so.
        let _ = rustix::process::nice(NICE);
        let desk = Desk { env, runtime: &runtime, clock: Clock::system() };
        let done = match self.command {
            Command::Cat(cat) => cat.run(&desk),
            Command::Tail(tail) => tail.run(&desk),
            Command::Show(show) => show.run(&desk),
            Command::Why(why) => why.run(&desk),
            Command::Stats(stats) => stats.run(&desk),
            Command::Diff(diff) => diff.run(&desk),
            Command::Erase(erase) => erase.run(&desk),
            Command::Export(export) => export.run(&desk),
            Command::Into(into) => into.run(&desk),
            Command::Load(load) => load.run(&desk),
            Command::Verify(verify) => verify.run(&desk),
        };
        runtime.shutdown_background();
        done
    }
}

/// What every command needs.
struct Desk<'a> {
    env: &'a Env,
    runtime: &'a Runtime,
    clock: Clock,
}

impl Desk<'_> {
    fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Stop on Ctrl-C. A second one ends the process at once; what was written by then is valid.
    fn stop(&self) -> Stop {
        let token = CancellationToken::new();
        let told = token.clone();
        self.runtime.spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if told.is_cancelled() {
                    std::process::exit(FAILED.into());
                }
                told.cancel();
            }
        });
        Stop::new(token, self.handle().clone())
    }

    /// Opens the selected log.
    fn open(&self, log: &LogArgument) -> anyhow::Result<Box<dyn Source>> {
        Ok(source::open(&log.place(self.env)?, self.handle())?)
    }

    /// Opens the log and goes to the selected part.
    fn open_part(&self, part: &Part) -> anyhow::Result<(Box<dyn Source>, Span)> {
        let mut source = self.open(&part.log)?;
        let span = Span::find(&mut *source, part.from, part.to, self.clock.now_ms())?;
        Ok((source, span))
    }
}

/// Progress of a long operation, shown on a terminal only.
struct Progress(ProgressBar);

impl Progress {
    /// For a span of a source; looks for its end only if it will be shown.
    fn of(source: &mut dyn Source, span: Span) -> Result<Progress, source::Error> {
        if !io::stderr().is_terminal() {
            return Ok(Progress(ProgressBar::hidden()));
        }
        let end = match span.until {
            Some(until) => until.min(source.tail()?),
            None => source.tail()?,
        };
        let bar = ProgressBar::with_draw_target(
            Some(end.0.saturating_sub(span.after.0)),
            ProgressDrawTarget::stderr_with_hz(5),
        );
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {human_pos} entries  {per_sec}  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(Progress(bar))
    }

    /// The same, unless stdout is a terminal too, where the output would interfere.
    fn of_output(source: &mut dyn Source, span: Span) -> Result<Progress, source::Error> {
        if io::stdout().is_terminal() {
            return Ok(Progress(ProgressBar::hidden()));
        }
        Progress::of(source, span)
    }

    /// This many more entries are done.
    fn more(&self, entries: usize) {
        self.0.inc(entries as u64);
    }

    /// Done: removes the bar.
    fn done(&self) {
        self.0.finish_and_clear();
    }
}

/// Calls `each` with every stored entry of a span, until it returns false.
fn each_stored(
    source: &mut dyn Source,
    span: Span,
    progress: &Progress,
    mut each: impl FnMut(&antiphon_schemas::Stored) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    loop {
        let page = source.read()?;
        if page.is_empty() {
            return Ok(());
        }
        for stored in &page {
            if span.until.is_some_and(|until| stored.seq() > until) || !each(stored)? {
                return Ok(());
            }
        }
        progress.more(page.len());
    }
}

/// Colours for a terminal, none elsewhere.
#[derive(Debug, Clone, Copy)]
struct Paint {
    on: bool,
}

impl Paint {
    /// For stdout.
    fn stdout() -> Paint {
        Paint { on: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()) }
    }

    /// In faint letters.
    fn faint(self, text: &str) -> String {
        self.dress("2", text)
    }

    /// In bold letters.
    fn bold(self, text: &str) -> String {
        self.dress("1", text)
    }

    fn dress(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Stdout, buffered.
type Output = io::BufWriter<io::StdoutLock<'static>>;

/// Stdout, buffered; a closed pipe is an error that `cli` knows.
fn out() -> Output {
    io::BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Writes one JSON object and a line end.
fn json_line(out: &mut impl Write, value: &impl serde::Serialize) -> anyhow::Result<()> {
    let json = serde_json::to_string(value)?;
    out.write_all(foreign::json(&json).as_bytes())?;
    out.write_all(b"\n")?;
    Ok(())
}

/// How long something took, as people read it: `120 ms`, `3.2 s`, `2 min 5 s`, `3 h 20 min`, `2 d 4 h`.
fn duration(ms: u64) -> String {
    // 59.95 s and more would be rounded to 60.0 s.
    let s = (ms + 500) / 1_000;
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..59_950 => format!("{}.{} s", (ms + 50) / 1_000, (ms + 50) % 1_000 / 100),
        _ if s < 3_600 => format!("{} min {} s", s / 60, s % 60),
        _ if s < 86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// A number of things: `1 message`, `2 messages`.
fn many(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A position as people read it.
fn position(seq: Seq) -> String {
    seq.0.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_and_have_a_unit() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (3_249, "3.2 s"),
            (3_250, "3.3 s"),
            (59_949, "59.9 s"),
            (59_950, "1 min 0 s"),
            (125_000, "2 min 5 s"),
            (3_599_499, "59 min 59 s"),
            (3_599_500, "1 h 0 min"),
            (12_000_000, "3 h 20 min"),
            (187_200_000, "2 d 4 h"),
        ] {
            assert_eq!(duration(ms), text, "{ms}");
        }
    }
}
