//! The log on Redis Streams, for several nodes.

pub mod address;

#[cfg(test)]
#[path = "../../../tests/support/redis.rs"]
pub(crate) mod server;
#[cfg(test)]
mod server_tests;
