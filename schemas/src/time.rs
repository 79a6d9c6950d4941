//! Milliseconds since 1970 as the stored form of time, RFC 3339 as the spoken one.
//!
//! Not here: reading a clock.

use std::fmt;

use jiff::{Timestamp, tz::Offset};

/// A moment by the log's own clock, in ms since 1970: the clock that stamps entries.
///
/// Ages, retries and expiry are judged in it and in nothing else. There are two sources: an entry's header
/// ([`Header::logged_at`](crate::Header::logged_at)) and a node's log clock, which runs on from there. A wall clock is
/// neither, so the compiler refuses to compare one with an entry's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogTime(u64);

impl LogTime {
    /// The moment that the log calls `ms`.
    pub const fn from_log_ms(ms: u64) -> LogTime {
        LogTime(ms)
    }

    /// In ms since 1970.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// This much later; the end of time at the most.
    pub const fn plus_ms(self, ms: u64) -> LogTime {
        LogTime(self.0.saturating_add(ms))
    }

    /// How long after `earlier` this is, in ms; 0 if it is not.
    pub const fn ms_since(self, earlier: LogTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rfc3339(self.0))
    }
}

/// RFC 3339 in UTC with milliseconds, e.g. `2026-11-22T08:27:00.125Z`.
///
/// Guarantee: fixed width for the years 0000-9999, so the strings sort like the times. Out of range gives the nearest end.
pub fn rfc3339(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX);
    let civil = Offset::UTC.to_datetime(at);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        civil.year(),
        civil.month(),
        civil.day(),
        civil.hour(),
        civil.minute(),
        civil.second(),
        civil.millisecond()
    )
}

/// The milliseconds since 1970 of an RFC 3339 time; `None` if it is not one or lies before 1970.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_times_add_and_compare_without_wrapping() {
        let at = LogTime::from_log_ms(5);
        assert_eq!(
            (at.plus_ms(u64::MAX).ms(), at.ms_since(at.plus_ms(1)), at.plus_ms(2).ms_since(at)),
            (u64::MAX, 0, 2)
        );
    }

    #[test]
    fn times_are_written_with_milliseconds_and_read_back() {
        for at_ms in [0, 1, 999, 1_103_966_040_000, 1_795_336_020_125] {
            assert_eq!(parse_rfc3339(&rfc3339(at_ms)), Some(at_ms), "{}", rfc3339(at_ms));
        }
        assert_eq!(rfc3339(1_103_966_040_000), "2004-12-25T09:14:00.000Z");
        assert_eq!(parse_rfc3339("yesterday"), None);
        assert_eq!(parse_rfc3339("1969-12-31T23:59:59Z"), None);
    }
}
