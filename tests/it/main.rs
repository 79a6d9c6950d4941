//! The server from outside: the real binary, real HTTP, real disks, real SIGKILL.
//!
//! Each test starts its own server on a free port in a temporary folder. Long tests have a short count here and their
//! full count in `./scripts/soak` (`ANTIPHON_SOAK=1`).

#![expect(clippy::unwrap_used, reason = "the lints' exception for tests does not reach their helpers")]

mod compose;
mod contract;
mod crash;
mod erase;
mod feed;
mod harness;
mod import;
mod keys;
mod models;
mod nodes;
mod notary;
mod openapi;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/redis.rs"]
mod redis;
mod replay_bundle;
mod replay_docs;
mod replay_story;
mod replay_tail;
mod replay_verify;
mod start;
mod terminal;
mod tidy;
mod version;
mod workers;
