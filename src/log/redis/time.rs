//! The time that the store would stamp an entry with, without asking it: read once, carried on by the monotonic clock.

use std::time::{Duration, Instant};

use ::redis::{RedisResult, aio::MultiplexedConnection};

use super::{Inner, Stamp};
use crate::clock::Clock;

/// What the store's clock said, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreTime {
    ms: u64,
    at: Instant,
}

impl StoreTime {
    /// Asks for it: one round trip, in whose middle the answer is taken to have been given.
    pub(super) async fn look(connection: &mut MultiplexedConnection) -> RedisResult<StoreTime> {
        let asked = Instant::now();
        let (seconds, micros): (u64, u64) = ::redis::cmd("TIME").query_async(connection).await?;
        Ok(StoreTime::of(seconds, micros, asked, Instant::now()))
    }

    fn of(seconds: u64, micros: u64, asked: Instant, answered: Instant) -> StoreTime {
        let trip = answered.saturating_duration_since(asked);
        StoreTime { ms: seconds * 1_000 + micros / 1_000, at: asked + trip / 2 }
    }

    /// What it says at a moment.
    fn at(&self, moment: Instant) -> u64 {
        let since: Duration = moment.saturating_duration_since(self.at);
        self.ms + u64::try_from(since.as_millis()).unwrap_or(u64::MAX - self.ms)
    }
}

impl Inner {
    /// As [`Log::now_ms`](crate::log::Log::now_ms).
    pub(super) fn now_ms(&self) -> u64 {
        let now_ms = match &self.stamp {
            Stamp::Clock(clock) => clock.now_ms(),
            Stamp::Store => {
                let time = self.state().time;
                // Before the first session nothing better is known.
                time.map_or_else(|| Clock::system().now_ms(), |time| time.at(Instant::now()))
            }
        };
        now_ms.max(self.cache.last_at_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_said_it_in_the_middle_of_the_round_trip_and_its_clock_goes_on() {
        let asked = Instant::now();
        let after = |ms| asked + Duration::from_millis(ms);
        let time = StoreTime::of(7, 250_999, asked, after(100));
        assert_eq!(
            [after(0), after(50), after(100), after(60_050)].map(|moment| time.at(moment)),
            [7_250, 7_250, 7_300, 67_250]
        );
    }
}
