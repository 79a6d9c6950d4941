//! Stand-in until the real one is here.
use std::{sync::Arc, time::Duration};
use ::redis::{RedisError, aio::MultiplexedConnection};
use super::lineage::NotYet;

/// Where.
#[derive(Debug, Clone)]
pub struct Address(pub String);
impl Address {
    pub(super) fn key(&self, partition: u8, rest: &str) -> String { format!("{{antiphon:{partition}}}:{rest}") }
}
pub(super) struct Connected { pub(super) connection: MultiplexedConnection, pub(super) at: String }
pub(super) async fn open(address: &Address, limit: Duration) -> Result<Connected, NotYet> {
    let client = ::redis::Client::open(address.0.as_str())?;
    let config = ::redis::AsyncConnectionConfig::new().set_response_timeout(Some(limit)).set_connection_timeout(Some(Duration::from_secs(1)));
    Ok(Connected { connection: client.get_multiplexed_async_connection_with_config(&config).await?, at: address.0.clone() })
}
pub(super) fn why(error: &RedisError) -> Arc<str> { error.to_string().into() }
