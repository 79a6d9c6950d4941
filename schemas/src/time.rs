//! Milliseconds since 1970 as the stored form of time, RFC 3339 as the spoken one.
//!
//! Not here: reading a clock.

use jiff::{Timestamp, tz::Offset};

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
    fn times_are_written_with_milliseconds_and_read_back() {
        for at_ms in [0, 1, 999, 1_103_966_040_000, 1_795_336_020_125] {
            assert_eq!(parse_rfc3339(&rfc3339(at_ms)), Some(at_ms), "{}", rfc3339(at_ms));
        }
        assert_eq!(rfc3339(1_103_966_040_000), "2004-12-25T09:14:00.000Z");
        assert_eq!(parse_rfc3339("yesterday"), None);
        assert_eq!(parse_rfc3339("1969-12-31T23:59:59Z"), None);
    }
}
