//! The state, locked for reading.
//!
//! Promise (checked): what is done under this lock does not grow with what waits; `projection::looks` counts it in tests.

use std::{ops::Deref, sync::RwLockReadGuard};

use super::State;

/// The state as of now, for as long as this lives. Hold it briefly: the core waits for it. Take what is needed, as
/// clones of `Arc`s where it is large, and encode afterwards.
#[derive(Debug)]
pub struct StateGuard<'a> {
    state: RwLockReadGuard<'a, State>,
    #[cfg(test)]
    _hold: crate::projection::looks::Hold,
}

impl<'a> StateGuard<'a> {
    pub(super) fn of(state: RwLockReadGuard<'a, State>) -> StateGuard<'a> {
        StateGuard {
            state,
            #[cfg(test)]
            _hold: crate::projection::looks::Hold::begin(),
        }
    }
}

impl Deref for StateGuard<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        &self.state
    }
}
