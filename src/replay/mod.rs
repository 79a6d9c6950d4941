//! The audit trail: who said what, when, with which model, and whether the log has been altered.
//!
//! ```text
//!  data folder ┐
//!  Redis log   ┼─▶ source ─ stored entries ─▶ span, filter ─▶ cat · show · why · stats · verify · diff · export …
//!  bundle      ┘
//! ```
//!
//! Promises:
//! - sources are only read, and may be in use at the same time;
//! - hashes and exports are of the stored bytes, never of a re-encoding;
//! - problems are reported with their position.
//!
//! Not here: the command line and how things look there (`cli::replay`), the tree and its signatures (`audit`).
//! Start with [`source`], then [`span`].

pub mod aside;
pub mod bundle;
pub mod copy;
pub mod csv;
pub mod diff;
pub mod hidden;
pub mod lanes;
pub mod legs;
pub mod life;
pub mod messages;
pub mod newest;
pub mod pace;
pub mod places;
pub mod room;
pub mod source;
pub mod span;
pub mod stats;
pub mod target;
#[cfg(test)]
pub(crate) mod tests;
pub mod verify;

pub use crate::projection::histogram;
