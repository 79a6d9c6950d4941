//! Whole nodes under simulated time, store, disk, clocks, pauses, kills and lost answers, by seed.
//!
//! ```text
//!  events (by simulated time) ─▶ machine's mailbox ─▶ core.on ─▶ effects ─▶ store, disk, other machines ─▶ events
//!  people and bots ───────────▶ requests ─▶                   faults ─▶ pauses, kills, failovers, steps of clocks
//! ```
//!
//! Invariants, looked at while it runs and at its end, when the faults are over and everything has settled (`checks`):
//! nothing acknowledged is lost or doubled, one answer an asking, one holder a claim, no healthy holder loses its claim, no
//! message is given up before its time, feeds once and in order, the state is the fold of the log, what is called erased is.
//!
//! The same seed gives the same run. `ANTIPHON_SEED=n` repeats one, `ANTIPHON_SEEDS=from..to` a range; `ANTIPHON_SOAK=1` runs 100,000. A seed that fails is
//! run again with fewer kinds of faults and for a shorter time, and the smallest that still fails is printed.

mod actors;
mod checks;
mod effects;
mod faults;
mod machine;
mod plan;
mod schedule;
mod store;
mod tests;
mod world;
