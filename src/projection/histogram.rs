//! How often which duration was, in little memory.
//!
//! Promises (checked): a percentile is within 1 % of the exact one, the largest value is exact, values below 256 ms are.
//! A bucket is 1/128 of a power of two; only those that hold something take room.

use std::collections::BTreeMap;

use serde::Serialize;

/// Below this each value has a bucket of its own; above, a power of two has half as many.
const EXACT: u64 = 256;
const HALF: u64 = EXACT / 2;

/// A histogram of milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: BTreeMap<u16, u64>,
    count: u64,
    max: u64,
}

/// Summary of a histogram, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many there were.
    pub count: u64,
    /// Half of them were at most this.
    pub p50_ms: u64,
    /// 95 %.
    pub p95_ms: u64,
    /// 99 %.
    pub p99_ms: u64,
    /// All.
    pub max_ms: u64,
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, ms: u64) {
        *self.buckets.entry(bucket(ms)).or_default() += 1;
        self.count += 1;
        self.max = self.max.max(ms);
    }

    /// Counts everything that another one has counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// The smallest value that so many percent do not exceed; `None` if there are none.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        found.map(|(bucket, _)| middle(*bucket).min(self.max))
    }

    /// The usual percentiles; `None` if there is nothing.
    pub fn summary(&self) -> Option<Summary> {
        Some(Summary {
            count: self.count,
            p50_ms: self.percentile(50)?,
            p95_ms: self.percentile(95)?,
            p99_ms: self.percentile(99)?,
            max_ms: self.max,
        })
    }
}

fn bucket(ms: u64) -> u16 {
    let bucket = match u64::from(ms.max(1).ilog2()).checked_sub(7) {
        None | Some(0) => ms,
        Some(shift) => shift * HALF + (ms >> shift),
    };
    u16::try_from(bucket).expect("57 powers of two of 128 buckets, and the first 256")
}

fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    match (bucket / HALF).checked_sub(1) {
        None | Some(0) => bucket,
        Some(shift) => ((bucket - shift * HALF) << shift) + (1 << (shift - 1)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Vec<u64>> {
        let value = prop_oneof![0..300u64, 0..100_000u64, (0..63u32).prop_map(|n| 1 << n), any::<u64>()];
        proptest::collection::vec(value, 1..300)
    }

    proptest! {
        #![proptest_config(crate::decide::tests::config())]

        #[test]
        fn percentiles_are_within_one_percent_of_the_exact_ones(mut values in values()) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|ms| histogram.add(*ms));
            values.sort_unstable();
            for percent in [1, 25, 50, 75, 90, 95, 99, 100] {
                let exact = values[(values.len() * percent).div_ceil(100) - 1];
                let told = histogram.percentile(percent as u64).unwrap();
                let off = told.abs_diff(exact) as f64;
                prop_assert!(off <= exact as f64 * 0.01, "{}: {} for {}", percent, told, exact);
                prop_assert!(exact >= EXACT || told == exact);
            }
            let summary = histogram.summary().unwrap();
            prop_assert_eq!((summary.count, summary.max_ms), (values.len() as u64, *values.last().unwrap()));
        }
    }

    proptest! {
        #![proptest_config(crate::decide::tests::config())]

        #[test]
        fn two_together_are_one_that_has_counted_the_values_of_both(one in values(), other in values()) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|ms| histogram.add(*ms));
                histogram
            };
            let mut both = of(&one);
            both.merge(&of(&other));
            prop_assert_eq!(both, of(&[one, other].concat()));
        }
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!((Histogram::default().percentile(50), Histogram::default().summary()), (None, None));
    }
}
