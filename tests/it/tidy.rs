//! The shape of the code itself: who may use whom, what must be absent, and that every module introduces itself.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// (module, the modules that it may use): the arrows of ARCHITECTURE.md. Tests may use what they like; `server`, `cli` and
/// `main` put everything together.
const ARROWS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("tasks", &[]),
    ("projection", &[]),
    ("decide", &["projection"]),
    ("fanout", &["projection"]),
    ("index", &["projection"]),
    ("log", &["clock", "tasks"]),
    ("outbox", &["clock", "decide", "log", "tasks"]),
    ("replay", &["audit", "log", "projection"]),
    ("node", &["clock", "decide", "fanout", "index", "log", "outbox", "projection", "tasks"]),
    // The notary follows a node, and does not know who asks.
    ("audit", &["log", "node", "tasks"]),
    // `local` claims from the node of this process.
    ("work", &["decide", "log", "node", "tasks"]),
    ("config", &["log"]),
    ("model", &["config"]),
    ("telemetry", &["config"]),
    ("client", &["config"]),
    ("worker", &["client", "work"]),
    ("http", &["audit", "config", "decide", "fanout", "log", "node", "projection", "tasks"]),
];

/// (folder or file, words that must not occur in it, why)
const ABSENT: &[(&str, &[&str], &str)] = &[
    ("schemas/src", &["tokio", "redis::", "axum", "SystemTime", "std::fs", "std::net"], "the ground floor does no I/O"),
    (
        "src/projection",
        &["tokio", "redis::", "axum", "SystemTime", "Instant", "std::fs"],
        "a projection is a pure fold",
    ),
    ("src/decide", &["tokio", "redis::", "axum", "SystemTime", "Instant", "rand::"], "a decision is a pure function"),
    (
        "src/node/core",
        &["async ", ".await", "spawn", "select!", "dyn Log", "Indexer", "std::fs", "std::net", "std::thread"],
        "the core asks for effects; the driver carries them out",
    ),
    (
        "src/node/core",
        &["SystemTime", "Instant::now", "crate::clock", "rand::random", "rand::rng(", "Uuid::new_v4", "Uuid::now_v7"],
        "time and the seed are arguments of the core, so that a simulation can choose them",
    ),
    ("src/index", &["tokio::net"], "the index is a projection"),
    ("src/node", &["axum", "StatusCode"], "a node does not know who asks"),
    ("src/audit", &["axum", "StatusCode"], "the notary follows a node and does not know who asks"),
    ("src/work", &["axum", "StatusCode", "antiphon_bot", "reqwest"], "the runtime does not know bots or HTTP"),
    ("src/client", &["axum", "antiphon_bot"], "whoever asks a server is not one"),
    ("src/worker", &["axum", "StatusCode", "reqwest"], "a worker is a program on another machine"),
    ("consumers", &["redis::", "axum", "antiphon::"], "consumers see deliveries, not the log or HTTP"),
];

/// (folder, a word, the only things that it may be part of, why)
const ONLY_AS: &[(&str, &str, &[&str], &str)] = &[(
    "src/node/core",
    "tokio",
    &["tokio::sync::oneshot", "tokio::sync::watch", "tokio_util::sync::CancellationToken"],
    "the core sends answers, which never waits, and knows nothing else of the runtime",
)];

/// Words that must not occur anywhere else than in these files.
const ONLY: &[(&str, &[&str])] = &[
    ("SystemTime::now", &["src/clock.rs", "consumers/bot/src/client.rs"]),
    ("axum", &["src/http"]),
    ("redis::", &["src/log/redis"]),
];

#[test]
fn modules_use_only_what_the_map_lets_them_use() {
    let mut found = Vec::new();
    for (module, may_use) in ARROWS {
        let files = [format!("src/{module}"), format!("src/{module}.rs")];
        let files = files.iter().map(Path::new).filter(|path| path.exists());
        let files: Vec<_> = files.flat_map(rust_files).collect();
        assert!(!files.is_empty(), "there is no module `{module}`");
        let mut used_at_all = BTreeSet::new();
        for file in files.iter().filter(|file| !is_test(file)) {
            let used = used_modules(&code_of(file));
            let others = used.iter().filter(|used| used != module && !may_use.contains(&used.as_str()));
            found.extend(others.map(|used| format!("{}: `{module}` may not use `{used}`", file.display())));
            used_at_all.extend(used);
        }
        let unused = may_use.iter().filter(|may| !used_at_all.contains(**may));
        found.extend(unused.map(|may| format!("`{module}` does not use `{may}` any more: take the arrow out")));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn layers_stay_apart() {
    let mut found = Vec::new();
    for (folder, words, why) in ABSENT {
        for file in rust_files(Path::new(folder)).into_iter().filter(|file| !is_test(file)) {
            found.extend(words.iter().filter_map(|word| Some(format!("{}: `{word}`: {why}", find(&file, word)?))));
        }
    }
    for (folder, word, forms, why) in ONLY_AS {
        for file in rust_files(Path::new(folder)).into_iter().filter(|file| !is_test(file)) {
            let rest = forms.iter().fold(code_of(&file), |code, form| code.replace(form, ""));
            found.extend(rest.contains(word).then(|| format!("{}: `{word}`: {why}", file.display())));
        }
    }
    for (word, allowed) in ONLY {
        for file in rust_files(Path::new("src")) {
            if !is_test(&file) && !allowed.iter().any(|prefix| file.starts_with(prefix)) {
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
    // `log::redis::` and `self::redis::` are ours, `redis::` alone is the crate.
    let ours = |line: &str| line.replace("log::redis::", "").replace("self::redis::", "");
    let line = code_of(file).lines().position(|line| ours(line).contains(word))?;
    Some(format!("{}:{}", file.display(), line + 1))
}

/// A file without its comments and its test module, which may use what it likes; lines keep their numbers.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let inline = lines.peek().is_some_and(|next| next.contains("mod ") && next.ends_with('{'));
        if line == "#[cfg(test)]" && inline {
            break;
        }
        code.push_str(if line.trim_start().starts_with("//") { "" } else { line });
        code.push('\n');
    }
    code
}

/// The modules of this crate that code names: in paths, and at the first level of `use crate::{…}`.
fn used_modules(code: &str) -> BTreeSet<String> {
    let name =
        |text: &str| -> String { text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut used = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let Some(group) = after.strip_prefix('{') else {
            used.insert(name(after));
            continue;
        };
        let mut depth = 0;
        let mut from = 0;
        for (at, c) in group.char_indices() {
            match c {
                ',' if depth == 0 => {
                    used.insert(name(&group[from..at]));
                    from = at + 1;
                }
                '{' => depth += 1,
                '}' if depth == 0 => {
                    used.insert(name(&group[from..at]));
                    break;
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    // What a macro of ours or the crate's root gives is no module.
    let is_module = |name: &str| {
        [format!("src/{name}/mod.rs"), format!("src/{name}.rs")].iter().any(|path| Path::new(path).is_file())
    };
    used.retain(|name| is_module(name));
    used
}

fn is_test(file: &Path) -> bool {
    file.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        let name = part.trim_end_matches(".rs");
        ["tests", "conformance", "fuzz", "sim", "fake"].contains(&name) || name.ends_with("_tests")
    })
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    if dir.is_file() {
        return vec![dir.to_path_buf()];
    }
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
