//! The conversation server: every post, claim, reply and completion is an event in one ordered log.
//!
//! Start with `log` (the contract), then `decide` and `projection` (pure), `node` (the one owner of a node's state),
//! `fanout`, `work`, `http`; `server` wires them, `cli` starts it. `worker` answers from other
//! machines, through `client`; `audit` signs what the log is, `replay` reads it for auditors. ARCHITECTURE.md is the map.

pub mod audit;
pub mod cli;
mod client;
pub mod clock;
pub mod config;
pub mod decide;
pub mod fanout;
#[cfg(test)]
#[path = "../tests/support/fuzz.rs"]
mod fuzzer;
pub mod http;
pub mod index;
pub mod log;
mod model;
pub mod node;
pub mod outbox;
pub mod projection;
pub mod replay;
pub mod server;
pub mod tasks;
pub mod telemetry;
pub mod work;
mod worker;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
