//! The Redis with the log: whether it is reachable, recent enough, configured to keep its data, and has the same time.

use std::time::Duration;

use super::Check;
use crate::{
    clock::Clock,
    config::{Config, LogKind},
    log::redis::{
        connect::connect,
        facts::{Level, clock_ahead_ms, durability, judge, look},
    },
    node::Skew,
};

const WHAT: &str = "redis";
/// A few short requests.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// No check unless the log is in Redis.
pub(super) async fn check(config: &Config) -> Vec<Check> {
    let LogKind::Redis(address) = &config.log else { return Vec::new() };
    let connected = match connect(address, ANSWER_MAX).await {
        Ok(connected) => connected,
        Err(error) => {
            let says = format!("{address}: {} {}", error.at, error.trouble.what());
            return vec![Check::fail(WHAT, says, error.trouble.mend())];
        }
    };
    let facts = match look(&connected.connection).await {
        Ok(facts) => facts,
        Err(trouble) => {
            return vec![Check::fail(WHAT, format!("{}: {}", connected.at, trouble.what()), trouble.mend())];
        }
    };
    let says = format!("{address}\n{}: {facts}\nan acknowledged entry is {}", connected.at, durability(&facts));
    let mut checks = vec![Check::ok(WHAT, says)];
    checks.extend(judge(&facts).into_iter().map(|finding| match finding.level {
        Level::Refuse => Check::fail(WHAT, finding.text, finding.mend),
        Level::Warn => Check::warn(WHAT, finding.text, finding.mend),
        Level::Note => Check::ok(WHAT, format!("{}; {}", finding.text, finding.mend)),
    }));
    checks.extend(clock_ahead_ms(&connected.connection, &Clock::system()).await.ok().flatten().map(clock));
    checks
}

/// How far its clock is ahead of this machine's.
pub(super) fn clock(ahead_ms: i64) -> Check {
    match (Skew { wall_ms: ahead_ms, log_ms: 0 }).finding() {
        None => Check::ok("clock", format!("this machine and Redis are {} ms apart", ahead_ms.unsigned_abs())),
        Some((says, mend)) => Check::warn("clock", says, mend),
    }
}
