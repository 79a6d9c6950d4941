//! Pure folds over entries: everything that a node knows, as a function of the log.
//!
//! Promises: `apply` is synchronous, takes no clock, does no I/O and cannot fail; folding the same entries again
//! gives the same value; any projection can be thrown away and folded anew.
//! Not here: reading the log, disk (`index`), who waits for what (`node`).

pub mod record;
