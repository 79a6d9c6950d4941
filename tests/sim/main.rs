//! Real crashes of real processes. Power loss and failing disks are simulated beside the code (`src/log/file/tests`).
//!
//! `ANTIPHON_SOAK=1` runs the full counts.

#![expect(clippy::unwrap_used, reason = "the lints' exception for tests does not reach their helpers")]

mod kill;
