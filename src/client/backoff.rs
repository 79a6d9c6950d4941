//! Delays between attempts.

use std::time::Duration;

/// Delays between attempts: doubled each time, half of it random so that many clients do not return at once.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// From `first` to `max`.
    pub(crate) fn new(first: Duration, max: Duration) -> Backoff {
        Backoff { first, max, next: first }
    }

    /// The next delay.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Success: the next delay is the first again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_start_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(300));
        for (low, high) in [(50, 100), (100, 200), (150, 300), (150, 300)] {
            let wait = backoff.wait();
            assert!(ms(low) <= wait && wait <= ms(high), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= ms(100));
    }
}
