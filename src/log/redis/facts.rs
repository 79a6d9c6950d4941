//! What a Redis says about itself, whether a log may live there, and what its acknowledgement is worth.
//!
//! [`look`] asks, [`judge`] and [`durability`] are pure. What a server does not say (managed ones forbid `CONFIG`) is
//! unknown, and nothing is concluded from it.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use redis::{FromRedisValue, aio::MultiplexedConnection, cmd};

use super::trouble::{Kind, Trouble, classify};
use crate::clock::Clock;

/// The median of this many is not moved by one hiccup.
const PINGS: usize = 5;
/// Each append is one round trip; beyond this people see it.
const PING_WARN: Duration = Duration::from_millis(5);
/// Beyond this share of `maxmemory` there is little time to act.
const USED_PERCENT_WARN: u64 = 80;
/// What `CONFIG` is asked for.
const SETTINGS: [&str; 6] = [
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "min-replicas-to-write",
    "maxmemory-policy",
    "maxmemory-clients",
];
/// What the scripts of the log need.
const REDIS_MIN: Version = Version(7, 0, 0);
const VALKEY_MIN: Version = Version(7, 2, 0);
/// First patch of each line without CVE-2025-49844 (a script can break out of Lua). 7.0 gets fixes from distributions
/// only, under the same number.
const LUA_FIXED: [Version; 4] = [Version(7, 2, 11), Version(7, 4, 6), Version(8, 0, 4), Version(8, 2, 2)];
const LUA_FIXED_VALKEY: [Version; 3] = [Version(7, 2, 11), Version(8, 0, 6), Version(8, 1, 4)];
/// First version without CVE-2026-23479 (a blocked client that is evicted is used after it is freed), and the patches
/// of older lines; it came with 7.2.
const UNBLOCK_FIXED: [Version; 4] = [Version(7, 4, 9), Version(8, 2, 6), Version(8, 4, 3), Version(8, 6, 3)];

/// Major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

/// What a server says. Absent: it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its version; of Valkey its own, not the one it claims for the sake of old clients.
    pub version: Option<Version>,
    /// Whether it is Valkey.
    pub valkey: bool,
    /// Whether it is a replica.
    pub replica: bool,
    /// Replicas connected to it.
    pub replicas: Option<u64>,
    /// Whether it keeps an append-only file.
    pub appendonly: Option<bool>,
    /// When that is synced: `always`, `everysec`, `no`.
    pub appendfsync: Option<String>,
    /// Whether it is not synced while it is rewritten.
    pub no_fsync_on_rewrite: Option<bool>,
    /// Whether its last write to disk failed.
    pub disk_fails: bool,
    /// Bytes in use.
    pub used: Option<u64>,
    /// Most bytes; 0 for no bound.
    pub maxmemory: Option<u64>,
    /// What it does when they are used up.
    pub policy: Option<String>,
    /// Whether clients may be cut to save memory.
    pub evicts_clients: Option<bool>,
    /// Replicas without which it takes no writes.
    pub min_replicas: Option<u64>,
    /// Median of some round trips.
    pub ping: Duration,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Good to know.
    Note,
    /// Works, but an operator should change it.
    Warn,
    /// A log must not live there.
    Refuse,
}

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// A stable kebab code.
    pub code: &'static str,
    /// What is the case.
    pub text: String,
    /// What to do.
    pub mend: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.text, self.mend)
    }
}

/// Asks a server about itself: `INFO`, `CONFIG GET` and a few `PING`s.
///
/// # Errors
/// It does not answer, or not before somebody signs in. What it forbids is no error but unknown.
pub async fn look(connection: &MultiplexedConnection) -> Result<Facts, Trouble> {
    let mut connection = connection.clone();
    let info: Option<String> = ask(&mut connection, &cmd("INFO")).await?;
    let mut settings = HashMap::new();
    for names in [&SETTINGS[..], &SETTINGS[..1]] {
        // Before 7.0 it takes one name only; that such a server is too old is found out all the same.
        if let Some(found) = ask(&mut connection, cmd("CONFIG").arg("GET").arg(names)).await? {
            settings = found;
            break;
        }
    }
    let mut pings = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let start = Instant::now();
        let _pong: Option<String> = ask(&mut connection, &cmd("PING")).await?;
        pings.push(start.elapsed());
    }
    pings.sort();
    Ok(Facts { ping: pings[PINGS / 2], ..facts(&info.unwrap_or_default(), &settings) })
}

/// How far the server's clock is ahead of this machine's, in ms; negative if it is behind. `None`: it does not say.
///
/// # Errors
/// As [`look`].
pub async fn clock_ahead_ms(connection: &MultiplexedConnection, clock: &Clock) -> Result<Option<i64>, Trouble> {
    let asked_ms = clock.now_ms();
    let time: Option<(u64, u64)> = ask(&mut connection.clone(), &cmd("TIME")).await?;
    // It was said in the middle of the round trip, as far as anybody knows.
    let here_ms = asked_ms.midpoint(clock.now_ms());
    Ok(time.map(|(seconds, micros)| (seconds * 1_000 + micros / 1_000) as i64 - here_ms as i64))
}

/// The answer; `None` if the server refuses to give one.
async fn ask<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &redis::Cmd,
) -> Result<Option<T>, Trouble> {
    match command.query_async(connection).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match classify(&error) {
            trouble if matches!(trouble.kind, Kind::Forbidden | Kind::Other) => Ok(None),
            trouble => Err(trouble),
        },
    }
}

/// What `INFO` and the settings say.
fn facts(info: &str, settings: &HashMap<String, String>) -> Facts {
    let info: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let number = |key: &str| info.get(key).and_then(|value| value.parse().ok());
    let setting = |key: &str| settings.get(key).cloned();
    let yes = |value: &str| value == "yes" || value == "1";
    let valkey = info.get("valkey_version");
    let failed = |key: &str| info.get(key).is_some_and(|status| *status != "ok");
    Facts {
        version: valkey.or(info.get("redis_version")).and_then(|text| Version::parse(text)),
        valkey: valkey.is_some(),
        replica: info.get("role").is_some_and(|role| *role != "master"),
        replicas: number("connected_slaves"),
        appendonly: info.get("aof_enabled").copied().or(setting("appendonly").as_deref()).map(yes),
        appendfsync: setting("appendfsync"),
        no_fsync_on_rewrite: setting("no-appendfsync-on-rewrite").as_deref().map(yes),
        disk_fails: failed("aof_last_write_status") || failed("rdb_last_bgsave_status"),
        used: number("used_memory"),
        maxmemory: number("maxmemory"),
        policy: info.get("maxmemory_policy").map(|policy| (*policy).to_owned()).or(setting("maxmemory-policy")),
        evicts_clients: setting("maxmemory-clients").map(|bound| bound != "0"),
        min_replicas: setting("min-replicas-to-write").and_then(|value| value.parse().ok()),
        ping: Duration::ZERO,
    }
}

/// What an operator should know of these facts, the worst first.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |level, code, text: String, mend| findings.push(Finding { level, code, text, mend });
    if facts.replica {
        let mend = "use the address of its master, or of the sentinels or the cluster";
        find(Level::Refuse, "replica", "it is a replica and accepts no writes".into(), mend);
    }
    let (product, min) = if facts.valkey { ("Valkey", VALKEY_MIN) } else { ("Redis", REDIS_MIN) };
    match facts.version {
        Some(version) if version < min => {
            let text = format!("{product} {version} is too old: the log needs {product} {min}");
            find(Level::Refuse, "version", text, "install a newer one");
        }
        Some(version) => holes(facts, product, version, &mut find),
        None => {
            find(Level::Note, "silent", "it does not report its version".into(), "allow the log's user to run INFO")
        }
    }
    if let Some(policy) = &facts.policy {
        let text = |evil| format!("maxmemory-policy is {policy}: {evil}");
        if policy.starts_with("allkeys-") {
            let evil = text("when memory runs out, the log itself is deleted");
            find(Level::Refuse, "eviction", evil, "CONFIG SET maxmemory-policy noeviction, and in redis.conf");
        } else if policy != "noeviction" {
            let evil = text("the log has no expiry and is safe, but a small change of the policy would delete it");
            find(Level::Warn, "eviction", evil, "CONFIG SET maxmemory-policy noeviction, and in redis.conf");
        }
    }
    if facts.disk_fails {
        let text = "its last write to disk failed, so it accepts no more writes".into();
        find(Level::Warn, "disk", text, "check its log file and free some space");
    }
    if facts.appendonly == Some(false) {
        let text = "appendonly is no: if it restarts, everything after its last snapshot is lost".into();
        find(Level::Warn, "not-kept", text, "CONFIG SET appendonly yes and appendfsync always, and in redis.conf");
    } else if let Some(fsync) = facts.appendfsync.as_deref().filter(|fsync| *fsync != "always") {
        let text = format!("appendfsync is {fsync}: a power failure loses the posts acknowledged last");
        find(Level::Warn, "fsync", text, "CONFIG SET appendfsync always, and in redis.conf");
    } else if facts.no_fsync_on_rewrite == Some(true) {
        let text = "no-appendfsync-on-rewrite is yes: nothing is synced while the file is rewritten".into();
        find(Level::Warn, "fsync", text, "CONFIG SET no-appendfsync-on-rewrite no, and in redis.conf");
    }
    match (facts.maxmemory, facts.used) {
        (Some(0), _) => {
            let text = "maxmemory is not set: it grows until the system kills it".into();
            find(Level::Warn, "memory", text, "CONFIG SET maxmemory to what the machine can spare, and in redis.conf");
        }
        (Some(most), Some(used)) if used.saturating_mul(100) / most > USED_PERCENT_WARN => {
            let text = format!("{} % of maxmemory is in use; when it is full, posts are rejected", used * 100 / most);
            find(Level::Warn, "memory", text, "raise maxmemory");
        }
        _ => {}
    }
    if facts.replicas.is_some_and(|n| n > 0) && facts.min_replicas == Some(0) {
        let text = "it has replicas, and min-replicas-to-write is 0: cut off from them it goes on alone, and a failover \
                    forgets that";
        find(Level::Warn, "replicas", text.into(), "CONFIG SET min-replicas-to-write 1, and in redis.conf");
    }
    if facts.ping > PING_WARN {
        let text = format!("a round trip takes {} ms, and every post waits for one", facts.ping.as_millis());
        find(Level::Warn, "slow", text, "run this node closer to it, or check what keeps it busy (SLOWLOG GET)");
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    findings
}

/// Known holes of a version.
fn holes(
    facts: &Facts,
    product: &str,
    version: Version,
    find: &mut impl FnMut(Level, &'static str, String, &'static str),
) {
    let lua = if facts.valkey { &LUA_FIXED_VALKEY[..] } else { &LUA_FIXED[..] };
    if version < Version(7, 2, 0) {
        let text = format!("{product} {version} no longer gets fixes except from your distribution");
        find(Level::Note, "patches", text, "keep its package up to date, or use a newer line");
    } else if !version.has(lua) {
        let text =
            format!("{product} {version} has CVE-2025-49844: a user who may run scripts may take over the machine");
        find(Level::Warn, "patches", text, "install the newest patch of its line");
    }
    if facts.evicts_clients == Some(true) {
        let unsafe_too = !facts.valkey && version >= Version(7, 2, 0) && !version.has(&UNBLOCK_FIXED);
        let text = match unsafe_too {
            true => format!("maxmemory-clients is set, and with it {product} {version} has CVE-2026-23479"),
            false => {
                "maxmemory-clients is set: the log's readers may be disconnected when much data waits for them".into()
            }
        };
        find(Level::Warn, "clients", text, "CONFIG SET maxmemory-clients 0, and in redis.conf");
    }
}

/// What an acknowledgement is worth, as a sentence for the operator.
pub fn durability(facts: &Facts) -> String {
    let kept = match (facts.appendonly, facts.appendfsync.as_deref()) {
        (Some(false), _) => {
            "only in the memory of Redis; if it restarts, everything after its last snapshot is lost (appendonly no)"
        }
        (Some(true), Some("always")) if facts.no_fsync_on_rewrite == Some(true) => {
            "on the disk of Redis, except while it rewrites its file (no-appendfsync-on-rewrite yes)"
        }
        (Some(true), Some("always")) => "on the disk of Redis (appendfsync always)",
        (Some(true), Some("everysec")) => {
            "in Redis; a power failure there loses the last second or two (appendfsync everysec)"
        }
        (Some(true), Some("no")) => {
            "in Redis; a power failure there loses what its system had not written yet (appendfsync no)"
        }
        _ => "in Redis; this server does not report how safely it is stored",
    };
    match facts.replicas {
        Some(1..) => format!("{kept}; a failover loses what its replicas did not have yet"),
        _ => kept.into(),
    }
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let mut parts = text.split('.').map(|part| part.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        Some(Version(parts.next()??, parts.next().flatten().unwrap_or(0), parts.next().flatten().unwrap_or(0)))
    }

    /// Whether a fix that came with these patches, one for each line, is in it. Lines after the last were born with it;
    /// of one between that is not listed nothing is known, and nothing is said.
    fn has(self, fixed: &[Version]) -> bool {
        let line = |version: &Version| (version.0, version.1);
        fixed.iter().find(|fix| line(fix) == line(&self)).is_none_or(|fix| self >= *fix)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl fmt::Display for Facts {
    /// One line: what it is, how it keeps, how much it holds, how far it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = if self.valkey { "Valkey" } else { "Redis" };
        let version = self.version.map_or("of unknown version".into(), |v| v.to_string());
        let role = if self.replica { "replica" } else { "master" };
        write!(f, "{product} {version}, {role}")?;
        if let Some(replicas) = self.replicas.filter(|n| *n > 0) {
            write!(f, " with {replicas} replica{}", if replicas == 1 { "" } else { "s" })?;
        }
        let fsync = self.appendfsync.as_deref().unwrap_or("unknown");
        match self.appendonly {
            Some(true) => write!(f, ", appendonly with fsync {fsync}")?,
            Some(false) => write!(f, ", no appendonly")?,
            None => {}
        }
        if let Some(used) = self.used {
            write!(f, ", {} MiB used", used >> 20)?;
        }
        if let Some(most) = self.maxmemory.filter(|most| *most > 0) {
            write!(f, " of {} MiB", most >> 20)?;
        }
        write!(f, ", round trip {} µs", self.ping.as_micros())
    }
}

#[cfg(test)]
mod tests;
