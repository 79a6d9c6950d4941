//! The queue before the commit thread: calls are judged as they arrive, and taken out in groups.
//!
//! Callers judge for themselves, under the queue's lock: that work is done while the disk is busy with the group before.
//! A verdict may rest on entries that are not durable yet; it is returned only once they are, because calls are written in
//! the order in which they were judged.
//!
//! Promises: every admitted call gets an answer, at the latest when the thread ends; admission never waits for the disk.
//! Bounds: [`CALLS_MAX`] calls, [`BYTES_MAX`] bytes; beyond that [`Error::Full`].

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use antiphon_schemas::{Entry, Seq};
use tokio::sync::oneshot;

use super::erasing::Target;
use crate::{
    clock::Clock,
    log::{Append, Error, Sequencer, Verdict},
};

/// Calls that may wait; a node has one under way, so this is for many callers on one log.
const CALLS_MAX: usize = 4_096;
/// Bytes that may wait: what a slow disk may hold up in memory. One call larger than this is let in alone.
const BYTES_MAX: u64 = 64 << 20;
/// Entries that one write may hold (or one call's, if that has more).
const GROUP_ENTRIES_MAX: usize = 1_024;
/// Bytes that one write may hold (or one call's): large enough to be fast, small enough not to delay the calls behind it.
const GROUP_BYTES_MAX: u64 = 1 << 20;

/// Where the answer to a call goes. A caller that went away needs none, so a failed send is no error.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// A judged call: what its caller will be told once its entries are durable.
#[derive(Debug)]
pub(super) enum Call {
    Append(Answer<Vec<Verdict>>, Vec<Verdict>),
    Load(Answer<()>, Vec<Arc<Entry>>),
    /// Writes no entries; done after those of its group.
    Erase(Answer<usize>, Vec<Target>),
    /// As an erasure: entries at or below this position go.
    Trim(Answer<Seq>, Seq),
}

impl Call {
    /// The entries to be written.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let (verdicts, loaded): (&[Verdict], &[Arc<Entry>]) = match self {
            Call::Append(_, verdicts) => (verdicts, &[]),
            Call::Load(_, entries) => (&[], entries),
            Call::Erase(..) | Call::Trim(..) => (&[], &[]),
        };
        let appended = verdicts.iter().flat_map(|verdict| match verdict {
            Verdict::Appended(entries) => entries.as_slice(),
            _ => &[],
        });
        appended.chain(loaded)
    }

    /// Answers that its entries are written.
    pub(super) fn tell(self) {
        match self {
            // The writer answers it, with what it has done.
            Call::Erase(..) | Call::Trim(..) => {}
            Call::Append(answer, verdicts) => drop(answer.send(Ok(verdicts))),
            Call::Load(answer, _) => drop(answer.send(Ok(()))),
        }
    }

    /// Answers that it was not done.
    pub(super) fn refuse(self, error: Error) {
        match self {
            Call::Append(answer, _) => drop(answer.send(Err(error))),
            Call::Load(answer, _) => drop(answer.send(Err(error))),
            Call::Erase(answer, _) => drop(answer.send(Err(error))),
            Call::Trim(answer, _) => drop(answer.send(Err(error))),
        }
    }
}

/// How large a call is; measured before it takes the lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// The most entries that it can write.
    pub(super) entries_max: usize,
    /// The most bytes that their records can have.
    pub(super) bytes_max: u64,
}

/// See the module header.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    clock: Clock,
}

#[derive(Debug)]
struct State {
    /// Counts everything judged, durable or not.
    sequencer: Sequencer,
    calls: VecDeque<(Call, Size)>,
    bytes: u64,
    /// The thread waits: only then is a wake-up (a system call) needed.
    idle: bool,
    closing: bool,
    /// Set when the thread has ended: the answer to everything that comes later.
    ended: Option<Error>,
}

impl Queue {
    /// A queue before a log that `sequencer` knows the end of.
    pub(super) fn new(sequencer: Sequencer, clock: Clock) -> Queue {
        let (calls, bytes, idle, closing, ended) = (VecDeque::new(), 0, false, false, None);
        let state = Mutex::new(State { sequencer, calls, bytes, idle, closing, ended });
        Queue { state, arrived: Condvar::new(), clock }
    }

    // A std mutex: held for judging and for moving pointers, never across a write or an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time that an entry would get now.
    pub(super) fn now_ms(&self) -> u64 {
        let now_ms = self.clock.now_ms();
        self.state().sequencer.stamp_ms(now_ms)
    }

    /// Judges a batch of appends and lets it in, or answers it at once.
    pub(super) fn append(&self, batch: Vec<Append>, size: Size, answer: Answer<Vec<Verdict>>) {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        if let Err(error) = state.may_enter(size) {
            drop(state);
            drop(answer.send(Err(error)));
            return;
        }
        let verdicts = batch.into_iter().map(|append| state.sequencer.admit(append, now_ms)).collect();
        self.enter(state, Call::Append(answer, verdicts), size);
    }

    /// Admits entries that continue where the log ends, or answers at once.
    pub(super) fn load(&self, entries: Vec<Arc<Entry>>, size: Size, answer: Answer<()>) {
        let mut state = self.state();
        if let Err(error) = state.may_enter(size).and_then(|()| state.sequencer.load(&entries)) {
            drop(state);
            drop(answer.send(Err(error)));
            return;
        }
        self.enter(state, Call::Load(answer, entries), size);
    }

    /// Lets in records to be erased, all of them durable, or answers at once.
    pub(super) fn erase(&self, targets: Vec<Target>, answer: Answer<usize>) {
        let size = Size { entries_max: 0, bytes_max: 0 };
        let state = self.state();
        if let Err(error) = state.may_enter(size) {
            drop(state);
            drop(answer.send(Err(error)));
            return;
        }
        self.enter(state, Call::Erase(answer, targets), size);
    }

    /// Lets in that entries at or below a position go, or answers at once.
    pub(super) fn trim(&self, upto: Seq, answer: Answer<Seq>) {
        let size = Size { entries_max: 0, bytes_max: 0 };
        let state = self.state();
        if let Err(error) = state.may_enter(size) {
            drop(state);
            drop(answer.send(Err(error)));
            return;
        }
        self.enter(state, Call::Trim(answer, upto), size);
    }

    /// Erases what the sequencer keeps of these positions, which are in order.
    pub(super) fn forget(&self, positions: &[Seq]) {
        self.state().sequencer.erase(positions);
    }

    fn enter(&self, mut state: MutexGuard<'_, State>, call: Call, size: Size) {
        state.bytes += size.bytes_max;
        state.calls.push_back((call, size));
        if std::mem::take(&mut state.idle) {
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Waits for calls and moves the next group into `group`. Returns the most bytes it can take; none when closed and empty.
    pub(super) fn take(&self, group: &mut Vec<Call>) -> Option<u64> {
        let mut state = self.state();
        while state.calls.is_empty() {
            if state.closing {
                return None;
            }
            state.idle = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        let (mut entries, mut bytes) = (0, 0);
        while let Some((_, size)) = state.calls.front() {
            entries += size.entries_max;
            if !group.is_empty() && (entries > GROUP_ENTRIES_MAX || bytes + size.bytes_max > GROUP_BYTES_MAX) {
                break;
            }
            bytes += size.bytes_max;
            group.extend(state.calls.pop_front().map(|(call, _)| call));
        }
        state.bytes -= bytes;
        Some(bytes)
    }

    /// Nothing of the group taken last was written: goes back to `durable`, the sequencer of what was. Refuses all that wait
    /// too, since they were judged as if the group were there.
    pub(super) fn undo(&self, durable: &Sequencer, group: &mut Vec<Call>, error: &Error) {
        let mut state = self.state();
        state.sequencer = durable.clone();
        state.bytes = 0;
        let waiting = std::mem::take(&mut state.calls);
        drop(state);
        group.drain(..).chain(waiting.into_iter().map(|(call, _)| call)).for_each(|call| call.refuse(error.clone()));
    }

    /// Lets nobody in any more; what is in is still done.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.arrived.notify_one();
    }

    /// The thread ends: answers all that wait, and all that come later, with `error`. The first call counts.
    pub(super) fn end(&self, error: Error) {
        let mut state = self.state();
        let error = state.ended.get_or_insert(error).clone();
        let waiting = std::mem::take(&mut state.calls);
        drop(state);
        waiting.into_iter().for_each(|(call, _)| call.refuse(error.clone()));
    }

    /// Why the thread has ended, if it has.
    pub(super) fn ended(&self) -> Option<Error> {
        self.state().ended.clone()
    }
}

impl State {
    fn may_enter(&self, size: Size) -> Result<(), Error> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        if self.closing {
            return Err(Error::Closed);
        }
        let full = self.calls.len() >= CALLS_MAX || self.bytes + size.bytes_max > BYTES_MAX;
        if full && !self.calls.is_empty() {
            return Err(Error::Full(format!("{} calls wait for the disk", self.calls.len())));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::conformance::{append, post};

    fn queue() -> Queue {
        Queue::new(Sequencer::default(), Clock::manual(1).0)
    }

    fn push(queue: &Queue, bytes_max: u64) -> oneshot::Receiver<Result<Vec<Verdict>, Error>> {
        let (answer, receiver) = oneshot::channel();
        queue.append(vec![append(0, 1, &[], vec![post(1, "a")])], Size { entries_max: 1, bytes_max }, answer);
        receiver
    }

    #[test]
    fn full_is_an_answer_and_groups_are_bounded() {
        let queue = queue();
        let mut large = [push(&queue, 2 * BYTES_MAX), push(&queue, 1)];
        assert!(large[0].try_recv().is_err(), "let in alone");
        assert!(matches!(large[1].try_recv(), Ok(Err(Error::Full(_)))));
        let mut group = Vec::new();
        assert_eq!(queue.take(&mut group), Some(2 * BYTES_MAX));
        let waiting: Vec<_> = (0..CALLS_MAX).map(|_| push(&queue, 1)).collect();
        assert!(matches!(push(&queue, 1).try_recv(), Ok(Err(Error::Full(_)))));
        group.clear();
        queue.take(&mut group);
        assert_eq!(group.len(), GROUP_ENTRIES_MAX);
        queue.end(Error::Closed);
        let refused = waiting.into_iter().skip(GROUP_ENTRIES_MAX);
        assert!(refused.map(|mut answer| answer.try_recv()).all(|a| matches!(a, Ok(Err(Error::Closed)))));
    }

    #[test]
    fn undoing_a_group_refuses_all_that_were_judged_after_it() {
        let queue = queue();
        let durable = Sequencer::default();
        let (mut first, mut group) = (push(&queue, 1), Vec::new());
        queue.take(&mut group);
        let mut second = push(&queue, 1);
        queue.undo(&durable, &mut group, &Error::Full("test".into()));
        for answer in [&mut first, &mut second] {
            assert!(matches!(answer.try_recv(), Ok(Err(Error::Full(_)))));
        }
        push(&queue, 1);
        queue.take(&mut group);
        assert_eq!(group[0].entries().next().unwrap().header.seq.0, 1, "positions were not used up");
    }
}
