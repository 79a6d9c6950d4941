//! The scripts: each runs on the server alone, from its first line to its last.
//!
//! They begin with `#!lua`, so that a server that takes no writes at the moment (out of memory, read-only, a full disk)
//! refuses before the first line, never in the middle. `#!lua` needs Redis 7.0.

use std::sync::OnceLock;

use ::redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection};

/// A script, sent once and named by its hash from then on.
pub(super) struct Script {
    source: &'static str,
    hash: OnceLock<String>,
}

macro_rules! scripts {
    ($($(#[$about:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$about])* pub(super) static $name: Script = Script { source: include_str!($file), hash: OnceLock::new() };)*
        const ALL: &[&Script] = &[$(&$name),*];
    };
}
scripts! {
    /// The conditional append.
    APPEND = "append.lua";
    /// Takes entries over.
    LOAD = "load.lua";
    /// Begins a session.
    BEGIN = "begin.lua";
    /// Begins and ends filling.
    FILL = "fill.lua";
    /// Starts an epoch.
    EPOCH = "epoch.lua";
    /// The contents of lanes.
    LOOK = "look.lua";
    /// Rebuilds lanes.
    RESYNC = "resync.lua";
    /// Removes consumers that nobody uses.
    SWEEP = "sweep.lua";
    /// Moves the log's beginning up.
    TRIM = "trim.lua";
    /// Begins a copy without some bodies.
    ERASE_BEGIN = "erase_begin.lua";
    /// Goes on with it, and puts it in place.
    ERASE_COPY = "erase_copy.lua";
}

impl Script {
    /// A call with these keys; arguments are to be added.
    pub(super) fn call<K: AsRef<str>>(&self, keys: &[K]) -> Cmd {
        let mut cmd = ::redis::cmd("EVALSHA");
        cmd.arg(self.hash.get().expect("a session begins by sending the scripts")).arg(keys.len());
        for key in keys {
            cmd.arg(key.as_ref());
        }
        cmd
    }
}

/// Sends all scripts, so that they can be called on this server.
pub(super) async fn send(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let mut pipeline = ::redis::pipe();
    for script in ALL {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source);
    }
    let hashes: Vec<String> = pipeline.query_async(connection).await?;
    for (script, hash) in ALL.iter().zip(hashes) {
        script.hash.get_or_init(|| hash);
    }
    Ok(())
}

/// Runs a call, which sends the scripts again if the server has forgotten them.
pub(super) async fn run(connection: &mut MultiplexedConnection, call: &Cmd) -> RedisResult<Value> {
    match call.query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            send(connection).await?;
            call.query_async(connection).await
        }
        answer => answer,
    }
}
