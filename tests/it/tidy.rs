//! The shape of the code itself: what must be absent, and that every module introduces itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// (folder, words that must not occur in it, why)
const ABSENT: &[(&str, &[&str], &str)] = &[
    ("schemas/src", &["tokio", "redis::", "axum", "SystemTime", "std::fs", "std::net"], "the ground floor does no I/O"),
    (
        "src/projection",
        &["tokio", "redis::", "axum", "SystemTime", "Instant", "std::fs"],
        "a projection is a pure fold",
    ),
    ("src/decide", &["tokio", "redis::", "axum", "SystemTime", "Instant", "rand::"], "a decision is a pure function"),
    ("src/fanout", &["crate::node", "crate::log::", "crate::http", "crate::work"], "fan-out knows frames only"),
    (
        "src/log",
        &["crate::node", "crate::http", "crate::work", "crate::projection", "crate::decide"],
        "the log knows entries only",
    ),
    ("src/index", &["crate::node", "crate::http", "crate::work", "tokio::net"], "the index is a projection"),
    ("src/node", &["axum", "StatusCode", "crate::http", "crate::work"], "a node does not know who asks"),
    (
        "src/audit",
        &["axum", "StatusCode", "crate::http", "crate::work", "crate::server"],
        "the notary follows a node and does not know who asks",
    ),
    (
        "src/work",
        &["axum", "StatusCode", "crate::http", "antiphon_bot", "reqwest", "crate::worker", "crate::client"],
        "the runtime does not know bots or HTTP",
    ),
    (
        "src/client",
        &["axum", "crate::node", "crate::http", "crate::work", "antiphon_bot"],
        "whoever asks a server is not one",
    ),
    (
        "src/worker",
        &["axum", "StatusCode", "crate::node", "crate::http", "reqwest"],
        "a worker is a program on another machine",
    ),
    ("src/replay", &["axum", "crate::node", "crate::http", "crate::cli"], "the audit trail needs no server"),
    ("consumers", &["redis::", "axum", "antiphon::"], "consumers see deliveries, not the log or HTTP"),
];

/// Words that must not occur anywhere else than in these files.
const ONLY: &[(&str, &[&str])] =
    &[("SystemTime::now", &["src/clock.rs"]), ("axum", &["src/http"]), ("redis::", &["src/log/redis"])];

#[test]
fn layers_stay_apart() {
    let mut found = Vec::new();
    for (folder, words, why) in ABSENT {
        for file in rust_files(Path::new(folder)) {
            found.extend(words.iter().filter_map(|word| Some(format!("{}: `{word}`: {why}", find(&file, word)?))));
        }
    }
    for (word, allowed) in ONLY {
        for file in rust_files(Path::new("src")) {
            if !allowed.iter().any(|prefix| file.starts_with(prefix)) {
                found.extend(find(&file, word).map(|place| format!("{place}: `{word}` belongs in {allowed:?}")));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_module_introduces_itself() {
    let folders = ["src", "schemas", "consumers", "tests", "benches"];
    let files = folders.iter().flat_map(|d| rust_files(Path::new(d)));
    let missing: Vec<_> = files.filter(|f| !fs::read_to_string(f).unwrap().starts_with("//!")).collect();
    assert!(missing.is_empty(), "no `//!` header: {missing:#?}");
}

fn find(file: &Path, word: &str) -> Option<String> {
    let text = fs::read_to_string(file).unwrap();
    // What stands behind `#[cfg(test)]` may use what it likes.
    let code = text.split("#[cfg(test)]").next().unwrap_or("");
    // `log::redis::` and `self::redis::` are ours, `redis::` alone is the crate.
    let ours = |line: &str| line.replace("log::redis::", "").replace("self::redis::", "");
    let has = |line: &str| !line.trim_start().starts_with("//") && ours(line).contains(word);
    let line = code.lines().position(has)?;
    Some(format!("{}:{}", file.display(), line + 1))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}
