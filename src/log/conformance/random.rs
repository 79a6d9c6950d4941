//! Random traces against the log in memory.

use super::*;

/// Random appends with stale positions and shared subjects: each verdict and the entries equal the memory log's.
pub(crate) async fn random_traces_give_the_reference_entries(open: Open) {
    for seed in 1..=20u64 {
        let mut random = Xorshift(seed);
        let (clock, at) = Clock::manual(START_MS);
        let log = open(clock.clone());
        let reference = crate::log::memory::MemoryLog::new(log.info().epoch, clock);
        for call in 0..60u128 {
            at.store(START_MS + random.below(50), Ordering::Relaxed);
            let mut batch = Vec::new();
            for n in 0..1 + random.below(6) {
                let subject = u128::from(random.below(8));
                let behind_max = if random.below(9) == 0 { 400 } else { 6 };
                let after = log.tail().0.saturating_sub(random.below(behind_max));
                let after = after + u64::from(random.below(40) == 0);
                let subjects: &[u128] = if random.below(5) == 0 { &[] } else { &[subject] };
                let drafts = (0..=random.below(3)).map(|_| post(subject, &"t".repeat(random.below(300) as usize)));
                batch.push(append(after, call * 10 + u128::from(n), subjects, drafts.collect()));
            }
            let verdicts = log.append(batch.clone()).await.unwrap();
            let expected = reference.append(batch).await.unwrap();
            assert_eq!(format!("{verdicts:?}"), format!("{expected:?}"), "seed {seed}, call {call}");
            if random.below(8) == 0 && log.tail() > Seq(SCAN_MAX) {
                let upto = Seq(random.below(log.tail().0 - SCAN_MAX));
                assert_eq!(
                    log.trim(upto).await.unwrap(),
                    reference.trim(upto).await.unwrap(),
                    "seed {seed}, call {call}"
                );
            }
            let some: Vec<_> = (log.base().0..=log.tail().0).filter(|_| random.below(4) == 0).map(Seq).collect();
            let (got, wanted) = (log.get(some.clone()).await.unwrap(), reference.get(some).await.unwrap());
            assert_eq!(got, wanted, "seed {seed}, call {call}");
        }
        assert_eq!(read_all(&*log).await, read_all(&reference).await, "seed {seed}");
    }
}

/// A small generator for traces: the same seed gives the same trace.
pub(crate) struct Xorshift(pub(crate) u64);

impl Xorshift {
    /// A number in `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}
