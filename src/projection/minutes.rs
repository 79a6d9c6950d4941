//! How one bot's answers went, minute by minute of the log's time.
//!
//! Promises: the last [`MINUTES_MAX`] minutes in which something happened; the totals over all of them are made of
//! exactly these. Time runs as the log's does, never backwards.
//! Not here: which entry counts as what (`monitor`), longer times (`replay::stats`).

use std::collections::VecDeque;

use antiphon_schemas::{
    time,
    wire::monitor::{Minute, Spread},
};

use super::histogram::{Histogram, Summary};

/// How many are kept: the width of their plot on a page.
pub const MINUTES_MAX: usize = 60;

/// What happened within a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers asked for.
    pub posted: u64,
    /// Answers given.
    pub answered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Of these, those after which it was tried again.
    pub retried: u64,
    /// Claims that ended because nobody was heard of any more.
    pub takeovers: u64,
    /// From the wish to the first claim.
    pub waiting: Histogram,
    /// From the claim to the first words, of answers.
    pub first_token: Histogram,
    /// From the wish to the answer.
    pub total: Histogram,
}

impl Tally {
    fn merge(&mut self, other: &Tally) {
        self.posted += other.posted;
        self.answered += other.answered;
        self.failed += other.failed;
        self.retried += other.retried;
        self.takeovers += other.takeovers;
        self.waiting.merge(&other.waiting);
        self.first_token.merge(&other.first_token);
        self.total.merge(&other.total);
    }

    fn shown(&self, minute: u64) -> Minute {
        Minute {
            at: time::rfc3339(minute * 60_000),
            posted: self.posted,
            answered: self.answered,
            failed: self.failed,
            waiting_ms: spread(&self.waiting),
            first_token_ms: spread(&self.first_token),
            total_ms: spread(&self.total),
        }
    }
}

/// Summary of a histogram; `None` if it is empty.
pub fn spread(histogram: &Histogram) -> Option<Spread> {
    let Summary { p50_ms: p50, p95_ms: p95, p99_ms: p99, max_ms: max, .. } = histogram.summary()?;
    Some(Spread { p50, p95, p99, max })
}

/// The fold of one bot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Minutes {
    /// Minutes that are over, and how they are shown: that changes no more.
    past: VecDeque<(Tally, Minute)>,
    /// The newest one.
    now: Option<(u64, Tally)>,
    all: Tally,
}

impl Minutes {
    /// Counts something at a time that is not before the last.
    pub fn count(&mut self, at_ms: u64, change: impl Fn(&mut Tally)) {
        let minute = at_ms / 60_000;
        if let Some((last, tally)) = self.now.take_if(|(last, _)| *last < minute) {
            let shown = tally.shown(last);
            self.past.push_back((tally, shown));
        }
        if self.past.len() == MINUTES_MAX {
            self.past.pop_front();
            self.all = Tally::default();
            self.past.iter().for_each(|(tally, _)| self.all.merge(tally));
        }
        change(&mut self.now.get_or_insert_with(|| (minute, Tally::default())).1);
        change(&mut self.all);
    }

    /// The minutes, oldest first.
    pub fn shown(&self) -> Vec<Minute> {
        let now = self.now.as_ref().map(|(minute, tally)| tally.shown(*minute));
        self.past.iter().map(|(_, shown)| shown.clone()).chain(now).collect()
    }

    /// All of them together.
    pub fn all(&self) -> &Tally {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::decide::tests::config())]

        #[test]
        fn the_last_sixty_minutes_are_kept_and_together_they_are_what_is_told_of_all(
            steps in proptest::collection::vec((0..100_000u64, 0..5_000u64), 1..200),
        ) {
            let (mut minutes, mut at_ms, mut counted) = (Minutes::default(), 1_700_000_000_000, Vec::new());
            for (wait_ms, took_ms) in steps {
                at_ms += wait_ms;
                counted.push((at_ms / 60_000, took_ms));
                minutes.count(at_ms, |tally| {
                    tally.answered += 1;
                    tally.total.add(took_ms);
                });
            }
            let mut which: Vec<_> = counted.iter().map(|(minute, _)| *minute).collect();
            which.dedup();
            let kept = &which[which.len().saturating_sub(MINUTES_MAX)..];
            let shown = minutes.shown();
            let begins: Vec<_> = kept.iter().map(|minute| time::rfc3339(minute * 60_000)).collect();
            prop_assert_eq!(shown.iter().map(|m| m.at.clone()).collect::<Vec<_>>(), begins);
            let mut all = Histogram::default();
            counted.iter().filter(|(minute, _)| kept.contains(minute)).for_each(|(_, ms)| all.add(*ms));
            prop_assert_eq!(shown.iter().map(|m| m.answered).sum::<u64>(), minutes.all().answered);
            prop_assert_eq!(&minutes.all().total, &all);
            let mut newest = Histogram::default();
            let last = kept[kept.len() - 1];
            counted.iter().filter(|(minute, _)| *minute == last).for_each(|(_, ms)| newest.add(*ms));
            prop_assert_eq!(shown[shown.len() - 1].total_ms, spread(&newest));
        }
    }
}
