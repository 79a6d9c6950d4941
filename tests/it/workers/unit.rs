//! The systemd unit of `docs/`: what it says is what the program understands.

use std::process::Command;

use crate::harness::antiphon;

const FILE: &str = "docs/antiphon-worker.service";

/// The values of a key, in order.
fn values(key: &str) -> Vec<String> {
    let unit = std::fs::read_to_string(FILE).unwrap().replace("\\\n", " ");
    unit.lines().filter_map(|line| line.strip_prefix(&format!("{key}="))).map(str::to_owned).collect()
}

/// Seconds in `30s` or `5min`.
fn seconds(time: &str) -> u64 {
    let digits = time.trim_end_matches(char::is_alphabetic);
    let unit = if time.ends_with("min") { 60 } else { 1 };
    digits.parse::<u64>().unwrap() * unit
}

#[test]
fn the_unit_starts_a_worker_with_flags_that_there_are_and_leaves_it_time_to_finish() {
    let start = values("ExecStart").pop().unwrap();
    let mut words = start.split_whitespace();
    assert!(words.next().unwrap().ends_with("/antiphon"), "{start}");
    assert_eq!(words.next(), Some("worker"));
    let help = antiphon().args(["worker", "--help"]).output().unwrap();
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    for flag in words.clone().filter(|word| word.starts_with("--")) {
        assert!(help.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == flag), "{flag}: {help}");
    }
    let words: Vec<_> = words.collect();
    let grace = words.windows(2).find(|pair| pair[0] == "--grace-s").expect("it says how long a reply may take")[1];
    let stop = seconds(&values("TimeoutStopSec")[0]);
    assert!(stop > grace.parse::<u64>().unwrap(), "systemd would kill it before its grace is over");
    assert_eq!(values("Restart"), ["on-failure"]);
    // The key is no argument: everybody on a machine can read those.
    assert!(!start.contains("--key "), "{start}");
    assert_eq!(values("EnvironmentFile").len(), 1);
}

#[test]
fn the_unit_can_do_nothing_but_dial_out() {
    for (key, value) in [
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateDevices", "yes"),
        ("CapabilityBoundingSet", ""),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX AF_NETLINK"),
        ("MemoryDenyWriteExecute", "yes"),
    ] {
        assert_eq!(values(key), [value], "{key}");
    }
}

#[test]
fn systemd_understands_the_unit() {
    // Not on every machine: there the checks above must do.
    let Ok(checked) = Command::new("systemd-analyze").args(["verify", "--man=no", FILE]).output() else { return };
    let said = String::from_utf8_lossy(&checked.stderr);
    // It also says that the program is not installed here.
    let wrong: Vec<_> = said.lines().filter(|line| line.contains("antiphon-worker.service:")).collect();
    let wrong: Vec<_> = wrong.iter().filter(|line| !line.contains("is not executable")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
