//! Real crashes of real processes. Power loss and failing disks are simulated beside the code (`src/log/file/tests`).
//!
//! `ANTIPHON_SOAK=1` runs the full counts.

mod kill;
