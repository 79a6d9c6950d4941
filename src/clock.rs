//! The wall clock, read here and nowhere else; handed to whoever needs the time.
//!
//! Not here: timers and leases, which run on the monotonic clock of `tokio::time`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells the time in milliseconds since 1970.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock. It may step backwards; a log never does.
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    /// A clock that stands at `at_ms` until somebody moves it.
    pub fn manual(at_ms: u64) -> (Clock, Arc<AtomicU64>) {
        let at = Arc::new(AtomicU64::new(at_ms));
        (Clock(Source::Manual(at.clone())), at)
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            Source::Manual(at) => at.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now_ms())
    }
}
