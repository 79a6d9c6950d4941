//! The JSON Schemas in `json/` are those of the code: events in `json/events`, wire types in `json/wire`.
//!
//! After a change that is meant: `ANTIPHON_WRITE_SCHEMAS=1 cargo test --release -p antiphon-schemas`, then read the diff.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its files fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use antiphon_schemas::{Event, wire};

const REGENERATE: &str = "ANTIPHON_WRITE_SCHEMAS=1 cargo test --release -p antiphon-schemas";

#[test]
fn event_schemas_are_those_of_the_code() {
    check("events", Event::json_schemas());
}

#[test]
fn wire_schemas_are_those_of_the_code() {
    check("wire", wire::json_schemas());
}

fn check(folder: &str, schemas: Vec<(&'static str, schemars::Schema)>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("json").join(folder);
    let expected: BTreeMap<PathBuf, String> = schemas
        .into_iter()
        .map(|(name, schema)| {
            let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            (folder.join(format!("{name}.json")), text)
        })
        .collect();
    if std::env::var_os("ANTIPHON_WRITE_SCHEMAS").is_some() {
        write(&folder, &expected);
    }
    let found = files(&folder);
    let missing: Vec<_> = expected.keys().filter(|path| !found.contains(*path)).collect();
    assert!(missing.is_empty(), "no schema is stored for {missing:#?}\nwrite them: {REGENERATE}");
    let stale: Vec<_> = found.iter().filter(|path| !expected.contains_key(*path)).collect();
    assert!(stale.is_empty(), "no type has these schemas: {stale:#?}\nremove them: {REGENERATE}");
    for (path, text) in &expected {
        let stored = fs::read_to_string(path).unwrap();
        assert!(stored == *text, "{} is not the code's schema\nif the change is meant: {REGENERATE}", path.display());
    }
}

fn write(folder: &Path, expected: &BTreeMap<PathBuf, String>) {
    fs::create_dir_all(folder).unwrap();
    for stale in files(folder).iter().filter(|path| !expected.contains_key(*path)) {
        fs::remove_file(stale).unwrap();
    }
    for (path, text) in expected {
        fs::write(path, text).unwrap();
    }
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}
