//! Replays a room from a given moment: its entries at their original pace, or line by line.

use antiphon_schemas::{RoomName, Seq, Stored};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Desk, follow::Interrupt, show::Screen};
use crate::replay::{
    pace::{Pace, Speed},
    source::Source,
};

/// What it waits for between two lines.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// The original time at a speed; whether long pauses are kept.
    Paced(Speed, bool),
    /// Enter.
    Step,
}

/// Replays a room after the source's position, up to `end` or Ctrl-C. `at_ms` is the moment shown last.
pub(super) fn run(
    desk: &Desk<'_>,
    source: &mut dyn Source,
    (room, end): (&RoomName, Seq),
    at_ms: u64,
    how: How,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let mut interrupt = Interrupt::new(desk.runtime)?;
    let mut enter = BufReader::new(tokio::io::stdin()).lines();
    let mut pace = match how {
        How::Paced(speed, keeps_gaps) => Pace::from(at_ms, speed, keeps_gaps),
        How::Step => Pace::from(at_ms, Speed::Max, false),
    };
    loop {
        let page = source.read()?;
        if page.first().is_none_or(|stored| stored.seq() > end) {
            return Ok(());
        }
        let wanted = |stored: &&Stored| stored.seq() <= end && stored.room() == room.as_str();
        for stored in page.iter().filter(wanted) {
            let entry = stored.entry()?;
            if !screen.shows(&entry.event) {
                continue;
            }
            let pause = pace.next(stored.at_ms());
            if let Some(was) = pause.was {
                screen.shortened(was.as_millis() as u64)?;
            }
            let goes_on = match how {
                // Without a terminal there may be no Enter: then stop.
                How::Step => matches!(interrupt.or(desk.runtime, enter.next_line()), Some(Ok(Some(_)))),
                How::Paced(..) => interrupt.or(desk.runtime, async { tokio::time::sleep(pause.wait).await }).is_some(),
            };
            if !goes_on {
                return Ok(());
            }
            screen.entry(entry)?;
        }
    }
}
