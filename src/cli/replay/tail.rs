//! `antiphon replay tail`: prints the newest entries, and follows new ones.

use super::{
    Desk, Part,
    cat::{Lines, Wanted},
    follow::{Follow, Interrupt},
};
use crate::{
    cli::DONE,
    replay::{newest::newest, source::Source},
};

const EXAMPLES: &str = "\
Examples:
  antiphon replay tail -f                              follow the log
  antiphon replay tail -n 5 --kind message.failed,message.dead
                                                       the last five failures
  antiphon replay tail -f --room lobby --json          a room's entries for a program

With --follow, stop it with Ctrl-C. A Redis wakes it; the files of a data folder are checked 20 times a second.";

/// Print the newest entries, and with --follow new ones as they arrive
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Tail {
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    wanted: Wanted,
    /// Number of entries
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 20)]
    count: usize,
    /// Then follow new entries
    #[arg(short, long)]
    follow: bool,
}

impl Tail {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        let mut interrupt = Interrupt::new(desk.runtime)?;
        let (mut source, span) = desk.open_part(&self.part)?;
        let mut lines = Lines::new(&self.part, self.wanted);
        let tail = source.tail()?;
        let until = span.until.map_or(tail, |until| until.min(tail));
        let last =
            newest(&mut *source, (span.after, until), self.count, |stored| anyhow::Ok(lines.take(stored)?.is_some()))?;
        if let Some(first) = last.first() {
            lines.look_ahead(&mut *source, first.seq())?;
        }
        last.iter().try_for_each(|stored| lines.show(stored))?;
        lines.flush()?;
        if self.follow && span.until.is_none_or(|until| until > tail) {
            source.seek(until.max(span.after))?;
            follow(desk, source, &mut interrupt, &mut lines, span.until)?;
        }
        Ok(DONE)
    }
}

fn follow(
    desk: &Desk<'_>,
    source: Box<dyn Source>,
    interrupt: &mut Interrupt,
    lines: &mut Lines,
    until: Option<antiphon_schemas::Seq>,
) -> anyhow::Result<()> {
    let mut pages = Follow::new(desk.runtime, source);
    while let Some(page) = pages.next(desk.runtime, interrupt)? {
        page.iter().for_each(|stored| lines.heed(stored));
        for stored in &page {
            if until.is_some_and(|until| stored.seq() > until) {
                return Ok(());
            }
            lines.show(stored)?;
        }
        lines.flush()?;
        if until.is_some_and(|until| page.last().is_some_and(|last| last.seq() >= until)) {
            return Ok(());
        }
    }
    Ok(())
}
