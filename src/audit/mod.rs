//! What makes the log an audit trail: a Merkle tree over its entries, checkpoints of it, and the notary that signs them.
//!
//! ```text
//! entries ─ Stored::leaf ─▶ merkle ─ root ─▶ checkpoint ─ notary.key ─▶ note ─▶ <data>/checkpoints, log.checkpoint
//! ```
//!
//! Promises: the verifier key and a checkpoint that was kept elsewhere are enough to find any entry that was altered, removed,
//! added or moved since, in the log or in a copy of it; appends never wait for anything here.
//! Not here: going through a log and naming what is wrong (`replay verify`).
//! Start with `merkle` and `note`, then `checkpoint`; `store` and `keys` are the files, `notary` is the task of a
//! server and `book` what it writes.

mod book;
pub mod checkpoint;
#[cfg(test)]
mod fuzz;
pub mod keys;
pub mod merkle;
pub mod notary;
pub mod note;
pub mod store;
