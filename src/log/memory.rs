//! The log in memory: the reference that the others are compared with; for tests and for trying things out.
//!
//! Promises: everything `log` promises, for as long as the process lives.
//! Not here: any bound on its size; it keeps every entry, so it is not for serving for weeks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use antiphon_schemas::{Entry, Epoch, Seq};
use tokio::sync::watch;

use super::{
    Append, Error, Info, Log, Pending, Sequencer, Verdict, answer_of, check_ascending, check_base, check_batch,
    check_entries, check_positions, check_trim, erased_entry, first_after,
};
use crate::clock::Clock;

/// A log that lives as long as the process.
#[derive(Debug)]
pub struct MemoryLog {
    info: Info,
    clock: Clock,
    state: Mutex<State>,
    tail: watch::Sender<Seq>,
}

#[derive(Debug, Default)]
struct State {
    /// How many were trimmed.
    trimmed: u64,
    entries: Vec<Arc<Entry>>,
    sequencer: Sequencer,
    closed: bool,
}

impl MemoryLog {
    /// An empty log.
    pub fn new(epoch: Epoch, clock: Clock) -> MemoryLog {
        let durability = "none: the log is in memory and ends with the process".to_string();
        MemoryLog {
            info: Info { epoch, partition: antiphon_schemas::Cursor::PARTITION, backend: "memory", durability },
            clock,
            state: Mutex::default(),
            tail: watch::Sender::new(Seq::ZERO),
        }
    }

    // A std mutex: held for short work in memory only, never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for MemoryLog {
    fn info(&self) -> Info {
        self.info.clone()
    }

    fn base(&self) -> Seq {
        self.state().base()
    }

    fn tail(&self) -> Seq {
        *self.tail.borrow()
    }

    fn now_ms(&self) -> u64 {
        self.state().sequencer.stamp_ms(self.clock.now_ms())
    }

    fn append(&self, batch: Vec<Append>) -> Pending<'_, Vec<Verdict>> {
        let result = (|| {
            check_batch(&batch)?;
            let mut state = self.state();
            if state.closed {
                return Err(Error::Closed);
            }
            let now_ms = self.clock.now_ms();
            let mut verdicts = Vec::with_capacity(batch.len());
            for append in batch {
                let verdict = state.sequencer.admit(append, now_ms);
                if let Verdict::Appended(entries) = &verdict {
                    state.entries.extend(entries.iter().cloned());
                }
                verdicts.push(verdict);
            }
            self.tail.send_replace(state.sequencer.tail());
            Ok(verdicts)
        })();
        Box::pin(std::future::ready(result))
    }

    fn read(&self, after: Seq, entries_max: usize) -> Pending<'_, Vec<Arc<Entry>>> {
        let state = self.state();
        let result = check_base(first_after(after), state.base()).map(|()| {
            let start = state.entries.len().min(state.place(first_after(after)));
            answer_of(state.entries[start..].iter().take(entries_max))
        });
        Box::pin(std::future::ready(result))
    }

    fn get(&self, positions: Vec<Seq>) -> Pending<'_, Vec<Arc<Entry>>> {
        let state = self.state();
        let result = check_ascending(&positions, state.base(), state.sequencer.tail())
            .map(|()| answer_of(positions.iter().map(|seq| &state.entries[state.place(*seq)])));
        Box::pin(std::future::ready(result))
    }

    fn beyond(&self, seq: Seq) -> Pending<'_, ()> {
        let mut tail = self.tail.subscribe();
        Box::pin(async move { tail.wait_for(|tail| *tail > seq).await.map(|_| ()).map_err(|_| Error::Closed) })
    }

    fn load(&self, entries: Vec<Arc<Entry>>) -> Pending<'_, ()> {
        let mut state = self.state();
        let result = if state.closed {
            Err(Error::Closed)
        } else {
            check_entries(&entries).and_then(|()| state.sequencer.load(&entries))
        };
        if result.is_ok() {
            state.entries.extend(entries);
            self.tail.send_replace(state.sequencer.tail());
        }
        Box::pin(std::future::ready(result))
    }

    fn erase(&self, positions: Vec<Seq>) -> Pending<'_, usize> {
        let result = (|| {
            let mut state = self.state();
            if state.closed {
                return Err(Error::Closed);
            }
            let positions = check_positions(positions, state.base(), state.sequencer.tail())?;
            let mut gone = Vec::new();
            for seq in &positions {
                gone.extend(erased_entry(&state.entries[state.place(*seq)])?);
            }
            let count = gone.len();
            for entry in gone {
                let at = state.place(entry.header.seq);
                state.entries[at] = entry;
            }
            state.sequencer.erase(&positions);
            Ok(count)
        })();
        Box::pin(std::future::ready(result))
    }

    // The log itself is what it keeps in memory.
    fn forget(&self, _positions: &[Seq]) {}

    fn trim(&self, upto: Seq) -> Pending<'_, Seq> {
        let mut state = self.state();
        let result = if state.closed {
            Err(Error::Closed)
        } else if upto < state.base() {
            Ok(())
        } else {
            check_trim(upto, state.sequencer.tail())
        };
        let result = result.map(|()| {
            if upto >= state.base() {
                let kept = state.place(upto.next());
                state.entries.drain(..kept);
                state.trimmed = upto.0;
            }
            state.base()
        });
        Box::pin(std::future::ready(result))
    }

    fn close(&self) -> Pending<'_, ()> {
        self.state().closed = true;
        Box::pin(std::future::ready(Ok(())))
    }
}

impl State {
    fn base(&self) -> Seq {
        Seq(self.trimmed + 1)
    }

    /// The index of the entry at a position that was not trimmed.
    fn place(&self, seq: Seq) -> usize {
        usize::try_from(seq.0 - self.base().0).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::log::conformance::suite!(|clock| { Arc::new(MemoryLog::new(Epoch(7), clock)) as Arc<dyn Log> });
}
