//! `antiphon serve`: runs the server until it is stopped.

use std::path::Path;

use anyhow::Context;

use super::DONE;
use crate::{
    config::{Config, Env, Flags},
    server, telemetry,
};

/// Runs the server configured by flags, environment and file.
///
/// # Errors
/// An invalid configuration, or why the server did not start: one line each.
pub(super) fn run(flags: Flags, env: &Env) -> anyhow::Result<u8> {
    let config = Config::load(&flags, env, Path::new("."))?;
    telemetry::init(env).map_err(super::Usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let served = runtime.block_on(server::run(config));
    // Reads from a model's connection cannot be cancelled; do not wait for them.
    runtime.shutdown_background();
    served?;
    Ok(DONE)
}
