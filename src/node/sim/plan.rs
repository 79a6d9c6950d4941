//! What may go wrong in a run, chosen by its seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

pub(super) const LEASE: Duration = Duration::from_secs(10);
pub(super) const MAX_AGE_MS: u64 = 120_000;
pub(super) const RETRY_BASE_MS: u64 = 1_000;
pub(super) const ATTEMPTS_MAX: u32 = 3;

/// What may go wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    /// How long people act and things go wrong.
    pub(super) busy: Duration,
    pub(super) pauses: bool,
    pub(super) kills: bool,
    pub(super) outages: bool,
    pub(super) lost_answers: bool,
    pub(super) failovers: bool,
    pub(super) skews: bool,
    pub(super) steps: bool,
    pub(super) full: bool,
}

impl Plan {
    /// Everything that may go wrong, chosen by a seed. One node has its log for itself: that one cannot go away.
    pub(super) fn of(seed: u64) -> Plan {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        let nodes = rng.random_range(1..=3);
        let shared = nodes > 1;
        Plan {
            seed,
            nodes,
            busy: Duration::from_secs(rng.random_range(20..=90)),
            pauses: rng.random_bool(0.6),
            kills: rng.random_bool(0.5),
            outages: shared && rng.random_bool(0.5),
            lost_answers: shared && rng.random_bool(0.5),
            failovers: shared && rng.random_bool(0.3),
            skews: rng.random_bool(0.5),
            steps: rng.random_bool(0.3),
            full: rng.random_bool(0.3),
        }
    }
}
