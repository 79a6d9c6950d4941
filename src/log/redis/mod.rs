//! The log on Redis Streams, for several nodes.

pub mod address;
pub mod connect;
pub mod facts;
pub mod trouble;

#[cfg(test)]
#[path = "../../../tests/support/redis.rs"]
pub(crate) mod server;
#[cfg(test)]
mod server_tests;
