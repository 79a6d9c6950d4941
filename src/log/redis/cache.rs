//! The newest entries, in memory: what followers read, what a reconnect is compared with, what a lost tail is offered from.
//!
//! Promises: contiguous; an entry is added only where the last one ends; the newest entry stays whatever the bounds say.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use antiphon_schemas::{Entry, Seq};
use tokio::sync::watch;

use crate::log::{answer_of, erase_among};

/// How many entries can be restored if the store loses its tail: some minutes of a busy log.
pub(super) const ENTRIES_MAX: usize = 100_000;
/// Bodies that are kept; decoded they take about three times as much.
const BYTES_MAX: usize = 64 << 20;

/// The newest entries and the last position.
#[derive(Debug)]
pub(super) struct Cache {
    // A std mutex: held for short work in memory, never across an await.
    state: Mutex<State>,
    tail: watch::Sender<Seq>,
}

#[derive(Debug, Default)]
struct State {
    /// The position before the first entry kept.
    base: Seq,
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl State {
    fn tail(&self) -> Seq {
        Seq(self.base.0 + self.entries.len() as u64)
    }

    /// Index of the first entry after a position at or above the base.
    fn index(&self, after: Seq) -> usize {
        usize::try_from(after.0 - self.base.0).unwrap_or(usize::MAX).min(self.entries.len())
    }
}

impl Cache {
    pub(super) fn new() -> Cache {
        Cache { state: Mutex::default(), tail: watch::Sender::new(Seq::ZERO) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last position.
    pub(super) fn tail(&self) -> Seq {
        *self.tail.borrow()
    }

    /// The time of the newest entry; 0 if none is kept.
    pub(super) fn last_at_ms(&self) -> u64 {
        self.state().entries.back().map_or(0, |entry| entry.header.at_ms)
    }

    /// Follows the last position.
    pub(super) fn follow(&self) -> watch::Receiver<Seq> {
        self.tail.subscribe()
    }

    /// Adds what continues the cache; skips what it has; stops at a gap.
    pub(super) fn feed(&self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        let mut state = self.state();
        let before = state.tail();
        for entry in entries {
            let next = state.tail().next();
            if entry.header.seq > next {
                break;
            }
            if entry.header.seq == next {
                state.bytes += entry.body.len();
                state.entries.push_back(entry);
            }
        }
        while state.entries.len() > ENTRIES_MAX || (state.bytes > BYTES_MAX && state.entries.len() > 1) {
            let oldest = state.entries.pop_front().expect("there are some");
            state.bytes -= oldest.body.len();
            state.base = oldest.header.seq;
        }
        if state.tail() > before {
            self.tail.send_replace(state.tail());
        }
    }

    /// As [`Log::read`](crate::log::Log::read), if what it asks for is here.
    pub(super) fn read(&self, after: Seq, entries_max: usize) -> Option<Vec<Arc<Entry>>> {
        let state = self.state();
        if after < state.base {
            return None;
        }
        Some(answer_of(state.entries.range(state.index(after)..).take(entries_max)))
    }

    /// As [`Log::get`](crate::log::Log::get), if the first of them is here; they are not beyond the tail.
    pub(super) fn get(&self, positions: &[Seq]) -> Option<Vec<Arc<Entry>>> {
        let state = self.state();
        if positions.first().is_some_and(|first| *first <= state.base) {
            return None;
        }
        // What was cut off meanwhile is not here any more: the store is asked, and says so.
        let here = positions.last().is_none_or(|last| *last <= state.tail());
        here.then(|| answer_of(positions.iter().map(|seq| &state.entries[state.index(Seq(seq.0 - 1))])))
    }

    /// How many of these positions, which ascend, are older than what is kept.
    pub(super) fn older(&self, positions: &[Seq]) -> usize {
        let state = self.state();
        positions.partition_point(|seq| *seq <= state.base)
    }

    /// The `count` entries that end with position `last`, oldest first; fewer where the cache begins.
    pub(super) fn up_to(&self, last: Seq, count: usize) -> Vec<Arc<Entry>> {
        let state = self.state();
        let end = if last < state.base { 0 } else { state.index(last) };
        state.entries.range(end.saturating_sub(count)..end).cloned().collect()
    }

    /// Erases the bodies at these positions, which are in order.
    pub(super) fn erase(&self, positions: &[Seq]) {
        let mut state = self.state();
        erase_among(&mut state.entries, positions);
    }

    /// Forgets what is after `fork` and gives it out, in order. Where nothing is left the cache is empty and ends at 0.
    pub(super) fn cut(&self, fork: Seq) -> Vec<Arc<Entry>> {
        let mut state = self.state();
        let at = if fork < state.base { 0 } else { state.index(fork) };
        let gone: Vec<_> = state.entries.split_off(at).into();
        state.bytes -= gone.iter().map(|entry| entry.body.len()).sum::<usize>();
        if state.entries.is_empty() {
            state.base = Seq::ZERO;
        }
        self.tail.send_replace(state.tail());
        gone
    }

    /// Forgets everything; the next entry is the one after `base`.
    pub(super) fn begin_after(&self, base: Seq) {
        let mut state = self.state();
        *state = State { base, ..State::default() };
        self.tail.send_replace(base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        log::{
            Log,
            conformance::{append, post, read_all},
            memory::MemoryLog,
        },
    };
    use antiphon_schemas::Epoch;

    async fn entries(count: u64, text: &str) -> Vec<Arc<Entry>> {
        let log = MemoryLog::new(Epoch(1), Clock::manual(1).0);
        for n in 0..count {
            log.append(vec![append(0, 1, &[], vec![post(n.into(), text)])]).await.unwrap();
        }
        read_all(&log).await
    }

    #[tokio::test]
    async fn only_what_goes_on_where_it_ends_is_added() {
        let all = entries(10, "a").await;
        let cache = Cache::new();
        cache.feed(all[2..].to_vec());
        assert_eq!(cache.tail(), Seq::ZERO, "a hole");
        cache.feed(all[..4].to_vec());
        cache.feed(all[1..6].to_vec());
        cache.feed([all[5].clone(), all[7].clone()]);
        assert_eq!((cache.tail(), cache.read(Seq::ZERO, 100).unwrap()), (Seq(6), all[..6].to_vec()));
        assert_eq!(cache.read(Seq(4), 1).unwrap(), all[4..5]);
        assert_eq!(cache.up_to(Seq(5), 2), all[3..5]);
        assert_eq!(cache.cut(Seq(4)), all[4..6]);
        assert_eq!((cache.tail(), cache.read(Seq(4), 9)), (Seq(4), Some(vec![])));
        cache.begin_after(Seq(8));
        assert_eq!((cache.tail(), cache.read(Seq(7), 9)), (Seq(8), None));
        cache.feed(all.clone());
        assert_eq!(cache.read(Seq(8), 9).unwrap(), all[8..]);
        assert_eq!((cache.cut(Seq(3)), cache.tail()), (all[8..].to_vec(), Seq::ZERO), "nothing is left");
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_are_too_many_bytes() {
        let large = entries(70, &"x".repeat(1_000_000)).await;
        let cache = Cache::new();
        cache.feed(large.clone());
        assert_eq!(cache.tail(), Seq(70));
        assert!(cache.read(Seq::ZERO, 1).is_none());
        let kept = cache.up_to(Seq(70), 100);
        assert!(kept.len() > 60 && kept.iter().map(|e| e.body.len()).sum::<usize>() <= BYTES_MAX);
        assert_eq!(cache.read(Seq(69), 9).unwrap(), large[69..]);
    }
}
