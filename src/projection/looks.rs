//! Counts, in tests only, how many things are visited or copied while the state is locked.
//!
//! A clock measures the machine; this measures the work. One look is one message, node or block that is visited or copied: at
//! worst a cache miss or two, some 200 ns.

#[cfg(test)]
use std::cell::Cell;

#[cfg(test)]
thread_local! {
    /// Looks of this thread.
    static LOOKS: Cell<u64> = const { Cell::new(0) };
    /// The most of them within one hold of a lock.
    static LONGEST: Cell<u64> = const { Cell::new(0) };
}

/// Counts so many looks.
#[inline(always)]
pub(super) fn look(looks: usize) {
    #[cfg(test)]
    LOOKS.set(LOOKS.get() + looks as u64);
    #[cfg(not(test))]
    let _ = looks;
}

/// A lock that is held.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Hold(u64);

#[cfg(test)]
impl Hold {
    pub(crate) fn begin() -> Hold {
        Hold(LOOKS.get())
    }
}

#[cfg(test)]
impl Drop for Hold {
    fn drop(&mut self) {
        LONGEST.set(LONGEST.get().max(LOOKS.get() - self.0));
    }
}

/// The looks of this thread so far.
#[cfg(test)]
pub(crate) fn so_far() -> u64 {
    LOOKS.get()
}

/// The most looks within one hold since this was asked last.
#[cfg(test)]
pub(crate) fn longest_hold() -> u64 {
    LONGEST.take()
}
