//! How long to wait before the next entry is shown, so that a log plays as it was, or faster.

use std::{str::FromStr, time::Duration};

/// A silence longer than this is shortened to it: nobody waits for a night to pass.
pub const GAP_MAX: Duration = Duration::from_secs(5);

/// How fast it goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// 1 is as it was, 10 ten times as fast.
    Times(f64),
    /// Without waiting.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        match text.strip_suffix('x').unwrap_or(text).parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
            _ => Err(format!(
                "`{text}` is not a speed: 1 is the original pace, 10 ten times as fast, 0.5 half as fast, max without pauses"
            )),
        }
    }
}

/// Where the play is.
#[derive(Debug, Clone)]
pub struct Pace {
    speed: Speed,
    keeps_gaps: bool,
    at_ms: u64,
}

/// What comes before the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How long to wait.
    pub wait: Duration,
    /// The silence as it was, if it was shortened.
    pub was: Option<Duration>,
}

impl Pace {
    /// From this time on, in ms since 1970.
    pub fn from(at_ms: u64, speed: Speed, keeps_gaps: bool) -> Pace {
        Pace { speed, keeps_gaps, at_ms }
    }

    /// Goes on to an entry of this time.
    pub fn next(&mut self, at_ms: u64) -> Pause {
        let gap = Duration::from_millis(at_ms.saturating_sub(self.at_ms));
        self.at_ms = self.at_ms.max(at_ms);
        let Speed::Times(times) = self.speed else { return Pause { wait: Duration::ZERO, was: None } };
        let kept = if self.keeps_gaps { gap } else { gap.min(GAP_MAX) };
        // A speed near 0 may ask for more than there is.
        let wait = Duration::try_from_secs_f64(kept.as_secs_f64() / times).unwrap_or(Duration::MAX);
        Pause { wait, was: (kept < gap).then_some(gap) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_speed_is_a_number_or_max() {
        for (text, speed) in
            [("1", Speed::Times(1.0)), ("10x", Speed::Times(10.0)), ("0.5", Speed::Times(0.5)), ("max", Speed::Max)]
        {
            assert_eq!(text.parse(), Ok(speed));
        }
        for text in ["", "0", "-1", "x", "fast", "inf", "NaN"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(crate::decide::tests::config())]

        #[test]
        fn pauses_are_the_gaps_at_that_speed_and_what_is_cut_is_said(
            gaps in proptest::collection::vec(0..20_000u64, 1..20), times in 1..50u32,
        ) {
            let mut at_ms = 1_000;
            let mut pace = Pace::from(at_ms, Speed::Times(f64::from(times)), false);
            let mut keeping = Pace::from(at_ms, Speed::Times(f64::from(times)), true);
            let mut at_once = Pace::from(at_ms, Speed::Max, false);
            for gap in gaps {
                at_ms += gap;
                let (pause, gap) = (pace.next(at_ms), Duration::from_millis(gap));
                let near = |wait: Duration, gap: Duration| (wait.as_secs_f64() * f64::from(times) - gap.as_secs_f64()).abs() < 1e-6;
                prop_assert!(near(pause.wait, gap.min(GAP_MAX)));
                prop_assert_eq!(pause.was, (gap > GAP_MAX).then_some(gap));
                let kept = keeping.next(at_ms);
                prop_assert!(near(kept.wait, gap) && kept.was.is_none());
                prop_assert_eq!(at_once.next(at_ms), Pause { wait: Duration::ZERO, was: None });
            }
        }
    }

    #[test]
    fn a_clock_that_went_back_is_no_wait() {
        let mut pace = Pace::from(5_000, Speed::Times(1.0), false);
        assert_eq!(pace.next(1_000).wait, Duration::ZERO);
        assert_eq!(pace.next(6_000).wait, Duration::from_secs(1));
    }
}
