//! The log's time as this node knows it: one reading of the log's clock, carried on by monotonic time.
//!
//! Promises: it never runs backwards; it follows the log's stamps as long as these drift (by [`DRIFT_MS`] and a thousandth of the
//! time since they last agreed), and ignores a step: a store or machine whose clock jumps by an hour ages nobody's message by an hour. A step is remembered
//! as the skew.
//! Not here: reading a clock (the driver does), what is judged by the time (`decide::work`).

use std::time::{Duration, Instant};

use antiphon_schemas::time::LogTime;

/// What log and node may differ by before the difference is a step instead of drift. Above it a node of a shared log gives up
/// no message for its age: its idea of age, or the store's, is wrong by more than any network delay.
pub(crate) const SKEW_MAX: Duration = Duration::from_secs(60);

/// What a reading may be off by: answers on their way, a machine that was busy.
const DRIFT_MS: u64 = 2_000;

/// See the module header.
#[derive(Debug, Default)]
pub(crate) struct LogClock {
    anchor: Option<(u64, Instant)>,
    skew_ms: i64,
    /// When this clock and the log's last agreed.
    agreed_at: Option<Instant>,
}

impl LogClock {
    /// The log's time at a moment; the beginning of time before the first reading.
    pub(crate) fn now(&self, at: Instant) -> LogTime {
        let (ms, since) = self.anchor.unwrap_or((0, at));
        LogTime::from_log_ms(ms.saturating_add(millis(at.saturating_duration_since(since))))
    }

    /// Takes a reading of the log's own clock, made at `at`.
    pub(crate) fn read(&mut self, log_ms: u64, at: Instant) {
        if self.anchor.is_none() {
            self.anchor = Some((log_ms, at));
        }
        self.skew_ms = difference(log_ms, self.now(at).ms());
        self.follow(log_ms, at);
    }

    /// Takes note of an entry's stamp, seen at `at`: the log's clock was at least there.
    pub(crate) fn observe(&mut self, stamp_ms: u64, at: Instant) {
        let ahead = difference(stamp_ms, self.now(at).ms());
        if self.anchor.is_some() && ahead > 0 {
            self.skew_ms = ahead;
        }
        if self.anchor.is_some() {
            self.follow(stamp_ms, at);
        }
    }

    /// How far this clock is ahead of a stamp, in ms; negative if it is behind.
    pub(crate) fn ahead_of(&self, stamp_ms: u64, at: Instant) -> i64 {
        difference(self.now(at).ms(), stamp_ms)
    }

    /// How far the log's clock is ahead of this one, in ms, when it was last read; what drifted is made up for.
    pub(crate) fn skew_ms(&self) -> i64 {
        self.skew_ms
    }

    /// Whether ages may be judged by it.
    pub(crate) fn is_trusted(&self) -> bool {
        self.skew_ms.unsigned_abs() <= millis(SKEW_MAX)
    }

    fn follow(&mut self, log_ms: u64, at: Instant) {
        let agreed_ms_ago = self.agreed_at.map_or(0, |agreed| millis(at.saturating_duration_since(agreed)));
        let ahead = difference(log_ms, self.now(at).ms());
        if ahead.unsigned_abs() > DRIFT_MS + agreed_ms_ago / 1_000 {
            return;
        }
        self.agreed_at = Some(at);
        if ahead > 0 {
            self.anchor = Some((log_ms, at));
            self.skew_ms = 0;
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `a - b`.
fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn it_runs_on_from_the_reading_by_monotonic_time() {
        let (mut clock, begun) = (LogClock::default(), Instant::now());
        clock.read(1_000, begun);
        assert_eq!(clock.now(begun + ms(250)).ms(), 1_250);
    }

    #[test]
    fn it_follows_stamps_that_drift_ahead_and_never_runs_backwards() {
        let (mut clock, begun) = (LogClock::default(), Instant::now());
        clock.read(1_000, begun);
        clock.observe(1_500, begun + ms(100));
        assert_eq!((clock.now(begun + ms(100)).ms(), clock.skew_ms()), (1_500, 0));
        clock.observe(1_200, begun + ms(110));
        assert_eq!(clock.now(begun + ms(110)).ms(), 1_510);
    }

    /// After a step forward and one back a log stamps with its last time until its clock has come there again.
    #[test]
    fn a_log_that_waits_for_its_clock_is_not_followed() {
        let (mut clock, begun) = (LogClock::default(), Instant::now());
        clock.read(1_000, begun);
        for waited in [10, HOUR_MS - 50_000, HOUR_MS - 10_000] {
            clock.observe(1_000 + HOUR_MS, begun + ms(waited));
            assert_eq!(clock.now(begun + ms(waited)).ms(), 1_000 + waited);
        }
    }

    #[test]
    fn a_step_of_the_logs_clock_ages_nobody_and_is_remembered_as_skew() {
        let (mut clock, begun) = (LogClock::default(), Instant::now());
        clock.read(1_000, begun);
        clock.observe(1_000 + HOUR_MS, begun + ms(10));
        assert_eq!((clock.now(begun + ms(10)).ms(), clock.is_trusted()), (1_010, false));
        assert_eq!(clock.skew_ms(), HOUR_MS as i64 - 10);
        clock.read(1_030, begun + ms(30));
        assert!(clock.is_trusted(), "the store's clock is right again");
    }
}
