//! Clocks: the only place that reads them; they are passed to the code that needs the time.
//!
//! Three kinds of time, none comparable with another:
//! - [`LogTime`](antiphon_schemas::time::LogTime): what the log stamps entries with; ages and retries are judged in it
//!   (`node::core::LogClock`);
//! - the wall clock ([`Clock::now_ms`]): for people to read, and what a log of one process stamps with;
//! - the monotonic clock ([`Clock::instant`]): leases and waits.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Tells the wall time in milliseconds since 1970, and monotonic time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual { at: Arc<AtomicU64>, begin_ms: u64 },
}

impl Clock {
    /// The machine's clocks. The wall clock may step in both directions; a log's time never runs backwards.
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    /// A wall clock that shows `at_ms` until somebody moves it; the monotonic one runs, and moves forward with it.
    pub fn manual(at_ms: u64) -> (Clock, Arc<AtomicU64>) {
        let at = Arc::new(AtomicU64::new(at_ms));
        (Clock(Source::Manual { at: at.clone(), begin_ms: at_ms }), at)
    }

    /// Milliseconds since 1970, by the wall clock.
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            Source::Manual { at, .. } => at.load(Ordering::Relaxed),
        }
    }

    /// Monotonic time, on the scale of `tokio::time` (so that a paused runtime pauses it, too).
    pub fn instant(&self) -> Instant {
        let now = tokio::time::Instant::now().into_std();
        match &self.0 {
            Source::System => now,
            Source::Manual { at, begin_ms } => {
                now + Duration::from_millis(at.load(Ordering::Relaxed).saturating_sub(*begin_ms))
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now_ms())
    }
}
