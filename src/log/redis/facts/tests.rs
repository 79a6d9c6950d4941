//! What is found out about servers that were set up well, badly, and to say nothing.

use super::*;
use crate::log::redis::{
    address::Address,
    connect::connect,
    server::{Redis, Sentinels},
};

async fn look_at(url: &str) -> Facts {
    let connected = connect(&Address::parse(url).unwrap(), Duration::from_secs(5)).await.unwrap();
    look(&connected.connection).await.unwrap()
}

/// Facts about which there is nothing to say.
fn good() -> Facts {
    Facts {
        version: Some(Version(8, 6, 3)),
        valkey: false,
        replica: false,
        replicas: Some(0),
        appendonly: Some(true),
        appendfsync: Some("always".into()),
        no_fsync_on_rewrite: Some(false),
        disk_fails: false,
        used: Some(1 << 20),
        maxmemory: Some(1 << 30),
        policy: Some("noeviction".into()),
        evicts_clients: Some(false),
        min_replicas: Some(0),
        ping: Duration::from_micros(80),
    }
}

#[test]
fn each_bad_setting_is_found_and_says_what_to_do() {
    use Level::*;
    assert_eq!(judge(&good()), []);
    type Spoil = fn(&mut Facts);
    let cases: &[(Spoil, &[(Level, &str)])] = &[
        (|f| f.version = Some(Version(6, 2, 14)), &[(Refuse, "version")]),
        (|f| (f.version, f.valkey) = (Some(Version(7, 0, 0)), true), &[(Refuse, "version")]),
        (|f| f.version = None, &[(Note, "silent")]),
        (|f| f.version = Some(Version(7, 0, 15)), &[(Note, "patches")]),
        (|f| f.version = Some(Version(7, 2, 10)), &[(Warn, "patches")]),
        (|f| f.version = Some(Version(7, 2, 11)), &[]),
        (|f| f.version = Some(Version(8, 2, 1)), &[(Warn, "patches")]),
        (|f| f.version = Some(Version(9, 0, 0)), &[]),
        (|f| (f.version, f.valkey) = (Some(Version(8, 1, 3)), true), &[(Warn, "patches")]),
        (|f| (f.version, f.valkey) = (Some(Version(8, 1, 4)), true), &[]),
        (|f| f.evicts_clients = Some(true), &[(Warn, "clients")]),
        (|f| f.replica = true, &[(Refuse, "replica")]),
        (|f| f.policy = Some("allkeys-lru".into()), &[(Refuse, "eviction")]),
        (|f| f.policy = Some("volatile-ttl".into()), &[(Warn, "eviction")]),
        (|f| f.disk_fails = true, &[(Warn, "disk")]),
        (|f| f.appendonly = Some(false), &[(Warn, "not-kept")]),
        (|f| f.appendfsync = Some("everysec".into()), &[(Warn, "fsync")]),
        (|f| f.no_fsync_on_rewrite = Some(true), &[(Warn, "fsync")]),
        (|f| f.maxmemory = Some(0), &[(Warn, "memory")]),
        (|f| f.used = Some((1 << 30) / 100 * 85), &[(Warn, "memory")]),
        (|f| f.used = Some((1 << 30) / 100 * 75), &[]),
        (|f| f.replicas = Some(1), &[(Warn, "replicas")]),
        (|f| (f.replicas, f.min_replicas) = (Some(1), Some(1)), &[]),
        (|f| f.ping = Duration::from_millis(6), &[(Warn, "slow")]),
        // What is unknown is no fault.
        (|f| *f = Facts { version: f.version, ..Facts::default() }, &[]),
        (
            |f| (f.ping, f.replica, f.version) = (Duration::from_secs(1), true, Some(Version(7, 0, 1))),
            &[(Refuse, "replica"), (Warn, "slow"), (Note, "patches")],
        ),
    ];
    for (i, (spoil, expected)) in cases.iter().enumerate() {
        let mut facts = good();
        spoil(&mut facts);
        let found = judge(&facts);
        assert_eq!(found.iter().map(|f| (f.level, f.code)).collect::<Vec<_>>(), *expected, "case {i}: {facts:?}");
        assert!(found.iter().all(|f| !f.text.is_empty() && !f.mend.is_empty() && !f.to_string().contains('\n')));
    }
}

#[test]
fn client_eviction_names_the_hole_where_it_is_one() {
    let said = |version| judge(&Facts { version: Some(version), evicts_clients: Some(true), ..good() })[0].text.clone();
    assert!(said(Version(8, 6, 2)).contains("CVE-2026-23479"));
    assert!(!said(Version(8, 6, 3)).contains("CVE"));
    assert!(!said(Version(8, 8, 0)).contains("CVE"));
}

#[test]
fn a_version_is_read_however_it_is_written() {
    for (text, version) in [
        ("7.0.15", Some(Version(7, 0, 15))),
        ("8.0-rc1", Some(Version(8, 0, 0))),
        ("255.255.255", Some(Version(255, 255, 255))),
        ("7.2.4-rc2", Some(Version(7, 2, 4))),
        ("unstable", None),
        ("", None),
    ] {
        assert_eq!(Version::parse(text), version, "{text}");
    }
    let valkey = facts("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.3\r\n", &HashMap::new());
    assert_eq!((valkey.version, valkey.valkey), (Some(Version(8, 1, 3)), true));
}

#[tokio::test]
async fn a_server_that_was_set_up_well_has_no_findings_and_says_so_in_a_sentence() {
    let dir = tempfile::TempDir::new().unwrap();
    let settings = [("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory", "100mb")];
    let redis = Redis::with(dir.path(), &settings);
    let facts = look_at(&redis.url()).await;
    assert_eq!(
        (facts.maxmemory, facts.policy.as_deref(), facts.min_replicas),
        (Some(100 << 20), Some("noeviction"), Some(0))
    );
    let bad: Vec<_> =
        judge(&facts).into_iter().filter(|finding| !["patches", "slow"].contains(&finding.code)).collect();
    assert_eq!(bad, [], "{facts:?}");
    assert_eq!(durability(&facts), "on the disk of Redis (appendfsync always)");
    assert!(facts.version.unwrap() >= REDIS_MIN && facts.ping > Duration::ZERO);
    let line = facts.to_string();
    assert!(line.contains("master, appendonly with fsync always") && line.contains(" of 100 MiB"), "{line}");
}

#[tokio::test]
async fn a_server_that_was_set_up_badly_has_every_finding() {
    let redis = Redis::start_with(&[("maxmemory-policy", "allkeys-lfu"), ("maxmemory-clients", "1g")]);
    let codes: Vec<_> = judge(&look_at(&redis.url()).await).iter().map(|finding| finding.code).collect();
    for code in ["eviction", "clients", "not-kept", "memory"] {
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
    redis.command(&["CONFIG", "SET", "appendonly", "yes"]);
    let facts = look_at(&redis.url()).await;
    assert!(judge(&facts).iter().any(|finding| finding.code == "fsync"));
    assert!(durability(&facts).contains("everysec"));
}

#[tokio::test]
async fn what_a_server_forbids_to_see_is_unknown() {
    let redis = Redis::start();
    redis.command(&["ACL", "SETUSER", "managed", "on", ">p", "~*", "+@all", "-config"]);
    redis.command(&["ACL", "SETUSER", "mute", "on", ">p", "~*", "+ping"]);
    let facts = look_at(&format!("redis://managed:p@127.0.0.1:{}", redis.port())).await;
    assert_eq!((facts.appendonly, facts.appendfsync.as_deref(), facts.min_replicas), (Some(false), None, None));
    assert!(facts.version.is_some() && facts.policy.is_some());
    let facts = look_at(&format!("redis://mute:p@127.0.0.1:{}", redis.port())).await;
    assert_eq!(facts, Facts { ping: facts.ping, ..Facts::default() });
    assert!(durability(&facts).contains("does not report"));
    redis.command(&["CONFIG", "SET", "requirepass", "p"]);
    let connected = connect(&Address::parse(&redis.url()).unwrap(), Duration::from_secs(5)).await;
    let trouble = match connected {
        Ok(connected) => look(&connected.connection).await.unwrap_err(),
        Err(error) => error.trouble,
    };
    assert_eq!(trouble.kind, Kind::NotSignedIn);
}

#[tokio::test]
async fn master_and_replica_are_told_apart_and_a_failover_is_mentioned() {
    let sentinels = Sentinels::start();
    let facts = look_at(&sentinels.url()).await;
    assert_eq!((facts.replica, facts.replicas), (false, Some(1)));
    assert!(judge(&facts).iter().any(|finding| finding.code == "replicas"));
    assert!(durability(&facts).ends_with("a failover loses what its replicas did not have yet"));
    let facts = look_at(&sentinels.replica().url()).await;
    assert!(facts.replica && judge(&facts)[0].level == Level::Refuse);
}
