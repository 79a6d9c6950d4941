//! The Redis log, and servers on it, beside the raw thing on the same redis-server in the same run.
//!
//! Each figure has a redis-server of its own, with an append-only file on the disk of `target/`, once with
//! `appendfsync always` and once with `everysec`. Everything runs on the same machine, Redis and load included.
//! `cargo bench --bench bench -- redis [append|read|publish|echo|crowd]`

mod batches;
mod nodes;

use std::{fmt, path::Path};

use crate::{measure::block, redis_server::Redis};

/// Runs the parts and prints their figures.
pub(crate) fn run(part: Option<&str>) {
    let parts: [(&str, fn()); 5] = [
        ("append", || block(batches::append())),
        ("read", || block(batches::read())),
        ("publish", || block(nodes::publish())),
        ("echo", || block(nodes::echo())),
        ("crowd", || block(nodes::crowd())),
    ];
    parts.iter().filter(|(name, _)| part.is_none_or(|part| part == *name)).for_each(|(_, run)| run());
}

/// When Redis has its append-only file on disk.
#[derive(Clone, Copy)]
enum Fsync {
    Always,
    EverySecond,
}

impl Fsync {
    const BOTH: [Fsync; 2] = [Fsync::Always, Fsync::EverySecond];

    /// A server that keeps everything in `dir`.
    fn start(self, dir: &Path) -> Redis {
        let settings = [
            ("appendonly", "yes"),
            ("appendfsync", self.setting()),
            // A rewrite of the file would fall into one figure or the other by chance.
            ("auto-aof-rewrite-percentage", "0"),
        ];
        Redis::with(dir, &settings)
    }

    fn setting(self) -> &'static str {
        match self {
            Fsync::Always => "always",
            Fsync::EverySecond => "everysec",
        }
    }
}

impl fmt::Display for Fsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.setting())
    }
}
