//! The queue before the commit thread: calls wait here, and are taken out in groups.
//!
//! Promises: whoever was let in gets an answer, at the latest when the thread ends; letting in never waits.
//! Bounds: [`CALLS_MAX`] calls, [`BYTES_MAX`] bytes; beyond that [`Error::Full`].

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use antiphon_schemas::Entry;
use tokio::sync::oneshot;

use crate::log::{Append, Error, Verdict};

/// Calls that may wait; a node has one under way, so this is for many callers on one log.
const CALLS_MAX: usize = 4_096;
/// Bytes that may wait: what a slow disk may hold up in memory. One call larger than this is let in alone.
const BYTES_MAX: u64 = 64 << 20;
/// Entries that one write may hold (or one call's, if that has more).
const GROUP_ENTRIES_MAX: usize = 1_024;
/// Bytes that one write may hold (or one call's): large enough to be fast, small enough not to delay whoever waits.
const GROUP_BYTES_MAX: u64 = 1 << 20;

/// Where the answer to a call goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// One call.
#[derive(Debug)]
pub(super) enum Work {
    Append(Vec<Append>, Answer<Vec<Verdict>>),
    Load(Vec<Arc<Entry>>, Answer<()>),
}

impl Work {
    /// Answers that it was not done.
    pub(super) fn refuse(self, error: Error) {
        // A caller that went away needs no answer.
        match self {
            Work::Append(_, answer) => drop(answer.send(Err(error))),
            Work::Load(_, answer) => drop(answer.send(Err(error))),
        }
    }
}

/// A call, measured by its caller so that the commit thread need not.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) entries: usize,
    /// The most bytes that its records can have.
    pub(super) bytes_max: u64,
}

/// See the module header.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: u64,
    /// The thread waits: only then is a wake-up (a system call) needed.
    idle: bool,
    closing: bool,
    /// Set when the thread has ended: the answer to everything that comes later.
    ended: Option<Error>,
}

impl Queue {
    // A std mutex: held for moving a few pointers, never across a write or an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call in, or answers it at once.
    pub(super) fn push(&self, job: Job) {
        let mut state = self.state();
        let refusal = if let Some(error) = &state.ended {
            Some(error.clone())
        } else if state.closing {
            Some(Error::Closed)
        } else if !state.jobs.is_empty() && (state.jobs.len() >= CALLS_MAX || state.bytes + job.bytes_max > BYTES_MAX) {
            Some(Error::Full(format!("{} calls wait for the disk", state.jobs.len())))
        } else {
            None
        };
        if let Some(error) = refusal {
            drop(state);
            return job.work.refuse(error);
        }
        state.bytes += job.bytes_max;
        state.jobs.push_back(job);
        if std::mem::take(&mut state.idle) {
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Waits for calls and moves the next group into `group`; false when closed and empty.
    pub(super) fn take(&self, group: &mut Vec<Job>) -> bool {
        let mut state = self.state();
        while state.jobs.is_empty() {
            if state.closing {
                return false;
            }
            state.idle = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        let (mut entries, mut bytes) = (0, 0);
        while let Some(job) = state.jobs.front() {
            entries += job.entries;
            bytes += job.bytes_max;
            if !group.is_empty() && (entries > GROUP_ENTRIES_MAX || bytes > GROUP_BYTES_MAX) {
                break;
            }
            state.bytes -= job.bytes_max;
            group.extend(state.jobs.pop_front());
        }
        true
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
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        jobs.into_iter().for_each(|job| job.work.refuse(error.clone()));
    }

    /// Why the thread has ended, if it has.
    pub(super) fn ended(&self) -> Option<Error> {
        self.state().ended.clone()
    }
}
