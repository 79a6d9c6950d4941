//! Copies a log into another, entry by entry as they are stored, under the same positions and epoch.
//!
//! Promises:
//! - what the target has must be a prefix of the source, byte for byte; then the copy continues it, else nothing is written;
//! - only a prefix of a log is copied: entries contain positions (fences, checkpoints), so none may change;
//! - a wish to stop is heard between batches and while it waits, and what was written is kept.
//!
//! Not here: what the target is (`target`), what is said of it (`cli::replay`).

use std::{
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use antiphon_schemas::{Entry, Seq, Stored};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    source::{Error, Source},
    target::Target,
};

/// Entries in one batch: some thousand cost a folder one sync, …
const BATCH_ENTRIES: usize = 4_096;
/// … and so many bytes of bodies.
const BATCH_BYTES: usize = 4 << 20;

/// How fast entries follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as they can be written.
    Max,
    /// This many times as fast as they came.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        let times = text.strip_suffix('x').and_then(|times| times.parse::<f64>().ok());
        match times.filter(|times| times.is_finite() && *times > 0.0) {
            Some(times) => Ok(Speed::Times(times)),
            None => Err(format!("`{text}` is not a speed; write max, 1x, 10x or 0.5x")),
        }
    }
}

impl Speed {
    /// How long after the first entry one is due whose time is so many ms later.
    fn due(self, later_ms: u64) -> Duration {
        match self {
            Speed::Max => Duration::ZERO,
            // A week of nothing at a thousandth of the speed is still a time that can be waited for.
            Speed::Times(times) => {
                Duration::try_from_secs_f64(later_ms as f64 / 1_000.0 / times).unwrap_or(Duration::from_secs(1 << 40))
            }
        }
    }
}

/// The wish to stop.
#[derive(Debug, Clone)]
pub struct Stop {
    token: CancellationToken,
    runtime: Handle,
}

impl Stop {
    /// Nobody wishes it yet; `token` tells.
    pub fn new(token: CancellationToken, runtime: Handle) -> Stop {
        Stop { token, runtime }
    }

    /// Whether somebody wishes it by now.
    pub fn wished(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits; false if somebody wishes to stop meanwhile.
    fn wait_until(&self, moment: Instant) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                () = self.token.cancelled() => false,
                () = tokio::time::sleep_until(moment.into()) => true,
            }
        })
    }
}

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was meant is there.
    Whole,
    /// Somebody stopped it; it can be resumed behind this position.
    Stopped(Seq),
}

/// Checks that what the target has is how the source begins, and leaves the source behind it.
///
/// # Errors
/// The first position that differs; nothing was written.
pub fn check_prefix(
    source: &mut dyn Source,
    target: &Target,
    stop: &Stop,
    mut checked: impl FnMut(usize),
) -> Result<Ended, Error> {
    source.seek(Seq::ZERO)?;
    let mut theirs = Pages::of(source);
    if target.tail() > Seq::ZERO {
        let mut there = target.source()?;
        let place = there.shown();
        let mut ours = Pages::of(&mut *there);
        let mut done = Seq::ZERO;
        while done < target.tail() {
            if stop.wished() {
                return Ok(Ended::Stopped(done));
            }
            let Some(own) = ours.next()? else {
                return Err(Error::Io(format!("{place} ends at position {done}, not {}", target.tail())));
            };
            done = own.seq();
            match theirs.next()? {
                Some(other) if other == own => {}
                Some(other) if other.seq() == own.seq() && other.leaf() == own.leaf() => {
                    return Err(Error::Io(format!(
                        "position {done} was erased in one of both logs since it was copied to {place}; copy into an empty log"
                    )));
                }
                other => {
                    let why = if other.is_some() { "differs" } else { "is not in the other log" };
                    return Err(Error::Io(format!(
                        "what is in {place} is not how the other log begins: position {done} {why}; nothing was written"
                    )));
                }
            }
            checked(1);
        }
    }
    source.seek(target.tail())?;
    Ok(Ended::Whole)
}

/// Copies what comes next in the source, up to a position.
///
/// # Errors
/// [`Error`]; what was written before it is valid and can be continued.
pub fn copy(
    source: &mut dyn Source,
    target: &mut Target,
    until: Seq,
    speed: Speed,
    stop: &Stop,
    mut copied: impl FnMut(usize),
) -> Result<Ended, Error> {
    let (mut pages, mut batch, mut bytes) = (Pages::of(source), Vec::new(), 0);
    let mut begun: Option<(Instant, u64)> = None;
    let mut end = Ended::Whole;
    let mut last = target.tail();
    while last < until {
        let Some(stored) = pages.next()? else { break };
        let entry = stored.entry().map_err(|why| Error::Damaged {
            at: stored.seq(),
            place: pages.source.place(stored.seq()),
            why: why.to_string(),
        })?;
        if entry.header.seq != last.next() {
            return Err(Error::Io(format!(
                "position {} comes after {last} in {}: only a log from its beginning can be copied, so that positions stay what they are",
                entry.header.seq,
                pages.source.shown()
            )));
        }
        if speed != Speed::Max {
            let at_ms = entry.header.at_ms;
            let (since, first_ms) = *begun.get_or_insert_with(|| (Instant::now(), at_ms));
            let due = since.checked_add(speed.due(at_ms.saturating_sub(first_ms)));
            let due = due.unwrap_or_else(|| since + Duration::from_secs(1 << 30));
            if due > Instant::now() {
                flush(target, &mut batch, &mut bytes, &mut copied)?;
                target.settle()?;
                if !stop.wait_until(due) {
                    end = Ended::Stopped(target.tail());
                    break;
                }
            }
        }
        (last, bytes) = (entry.header.seq, bytes + entry.body.len());
        batch.push(Arc::new(entry));
        if batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
            flush(target, &mut batch, &mut bytes, &mut copied)?;
            if stop.wished() {
                end = Ended::Stopped(target.tail());
                break;
            }
        }
    }
    flush(target, &mut batch, &mut bytes, &mut copied)?;
    target.settle()?;
    if end == Ended::Whole && last < until {
        return Err(Error::Io(format!("{} ends at position {last}, not {until}", pages.source.shown())));
    }
    Ok(end)
}

fn flush(
    target: &mut Target,
    batch: &mut Vec<Arc<Entry>>,
    bytes: &mut usize,
    copied: &mut impl FnMut(usize),
) -> Result<(), Error> {
    let count = batch.len();
    target.load(std::mem::take(batch))?;
    *bytes = 0;
    copied(count);
    Ok(())
}

/// The entries of a source, one by one.
struct Pages<'a> {
    source: &'a mut dyn Source,
    page: std::vec::IntoIter<Stored>,
}

impl Pages<'_> {
    fn of(source: &mut dyn Source) -> Pages<'_> {
        Pages { source, page: Vec::new().into_iter() }
    }

    fn next(&mut self) -> Result<Option<Stored>, Error> {
        if self.page.as_slice().is_empty() {
            self.page = self.source.read()?.into_iter();
        }
        Ok(self.page.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gaps_between_entries_are_kept_or_shortened() {
        for (text, later_ms, due_ms) in
            [("1x", 1_500, 1_500), ("10x", 1_500, 150), ("0.5x", 10, 20), ("max", u64::MAX, 0), ("1x", 0, 0)]
        {
            assert_eq!(text.parse::<Speed>().unwrap().due(later_ms), Duration::from_millis(due_ms), "{text}");
        }
        assert!("0.001x".parse::<Speed>().unwrap().due(u64::MAX) > Duration::from_secs(1 << 30));
        for text in ["", "x", "10", "0x", "-1x", "infx", "nanx", "fast"] {
            assert!(text.parse::<Speed>().unwrap_err().contains("is not a speed"), "{text}");
        }
    }
}
