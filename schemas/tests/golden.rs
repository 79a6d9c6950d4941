//! Entries as they were once written decode for ever: frozen bytes of every event kind in `golden/v1`.
//!
//! ```text
//! <kind>.<full|minimal>.bin    header length u32 LE │ header │ body (salt, MessagePack)
//! <kind>.<full|minimal>.json   what they say, and their hashes, for people and for readers in other languages
//! ```
//!
//! For each golden: the bytes decode to exactly the example in `examples`, the example's event encodes to the same
//! bytes, and the hashes are the recorded ones. So a field added later must be left out when it is absent
//! (`skip_serializing_if`): a new default that is always written would change what old entries re-encode to.
//! A new kind or example: add it to `examples`, then
//! `ANTIPHON_WRITE_GOLDEN=1 cargo test --release -p antiphon-schemas --test golden`. What is there is never overwritten.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its files fails")]

mod examples;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Once,
};

use antiphon_schemas::{Entry, Event, entry::SALT_BYTES};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const REGENERATE: &str = "ANTIPHON_WRITE_GOLDEN=1 cargo test --release -p antiphon-schemas --test golden";

#[test]
fn goldens_decode_to_what_was_written_and_encode_to_the_same_bytes() {
    for (name, example) in examples() {
        let (bin, sidecar) = (path(&name, "bin"), path(&name, "json"));
        let bytes =
            fs::read(&bin).unwrap_or_else(|e| panic!("{}: {e}; for a new example: {REGENERATE}", bin.display()));
        let entry = decoded(&bytes);
        assert_eq!(entry, example, "{name}: the bytes no longer say what they said");
        assert_eq!(stored(&reencoded(&entry)), bytes, "{name}: encodes to other bytes than those that are stored");
        let recorded: Value = serde_json::from_slice(&fs::read(&sidecar).unwrap()).unwrap();
        assert_eq!(described(&entry), recorded, "{name}: not what {} says", sidecar.display());
    }
}

#[test]
fn every_kind_has_a_full_and_a_minimal_golden() {
    let names: BTreeSet<String> = examples().into_iter().map(|(name, _)| name).collect();
    for kind in Event::KINDS {
        for size in ["full", "minimal"] {
            assert!(names.contains(&format!("{kind}.{size}")), "no golden `{kind}.{size}`: add an example");
        }
    }
}

#[test]
fn no_golden_is_left_without_its_example() {
    let expected: BTreeSet<PathBuf> =
        examples().iter().flat_map(|(name, _)| [path(name, "bin"), path(name, "json")]).collect();
    let found: BTreeSet<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.is_file()).collect();
    let extra: Vec<_> = found.difference(&expected).collect();
    assert!(extra.is_empty(), "a golden is for ever; its example is missing: {extra:#?}");
}

#[test]
fn an_unknown_kind_is_carried_through() {
    examples();
    let bytes = fs::read(path("weather.changed.unknown", "bin")).unwrap();
    let entry = decoded(&bytes);
    assert!(!Event::KINDS.contains(&&*entry.header.kind));
    let Event::Unknown(unknown) = &entry.event else { panic!("a kind of nobody's is known: {entry:?}") };
    assert_eq!(unknown.data, entry.body.slice(SALT_BYTES..));
    assert_eq!(entry.event.kind(), &*entry.header.kind);
    assert_eq!(entry.event.subjects(), entry.header.subjects);
}

/// The examples; if wished, their missing goldens are written first, before any test looks at them.
fn examples() -> Vec<(String, Entry)> {
    static WRITTEN: Once = Once::new();
    let examples = examples::all();
    WRITTEN.call_once(|| {
        if std::env::var_os("ANTIPHON_WRITE_GOLDEN").is_some() {
            for (name, example) in &examples {
                write_once(&path(name, "bin"), &stored(example));
                let sidecar = serde_json::to_string_pretty(&described(example)).unwrap() + "\n";
                write_once(&path(name, "json"), sidecar.as_bytes());
            }
        }
    });
    examples
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

fn path(name: &str, extension: &str) -> PathBuf {
    folder().join(format!("{name}.{extension}"))
}

fn write_once(path: &Path, bytes: &[u8]) {
    if !path.exists() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// The file's bytes of an entry.
fn stored(entry: &Entry) -> Vec<u8> {
    let header = entry.header_bytes();
    let mut out = BytesMut::new();
    out.put_u32_le(u32::try_from(header.len()).unwrap());
    out.put_slice(&header);
    out.put_slice(&entry.body);
    out.to_vec()
}

fn decoded(bytes: &[u8]) -> Entry {
    let (len, rest) = bytes.split_first_chunk::<4>().unwrap();
    let (header, body) = rest.split_at(u32::from_le_bytes(*len) as usize);
    Entry::decode(header, Bytes::copy_from_slice(body)).unwrap()
}

/// The entry with its body re-encoded from the decoded event: what this version would write.
fn reencoded(entry: &Entry) -> Entry {
    let salt = entry.body[..SALT_BYTES].try_into().unwrap();
    Entry { body: Entry::body_of(&entry.event, salt).unwrap(), ..entry.clone() }
}

/// What an entry says, as JSON.
fn described(entry: &Entry) -> Value {
    let header = &entry.header;
    json!({
        "version": header.version,
        "seq": header.seq,
        "at_ms": header.at_ms,
        "request": header.request,
        "kind": header.kind,
        "room": header.room,
        "subjects": header.subjects,
        "salt": hex(&entry.body[..SALT_BYTES]),
        "event": event(&entry.event),
        "header_sha256": hex(&Sha256::digest(entry.header_bytes())),
        "entry_hash": hex(&entry.hash()),
    })
}

fn event(event: &Event) -> Value {
    let value = match event {
        Event::MessagePosted(e) => serde_json::to_value(e),
        Event::MessageClaimed(e) => serde_json::to_value(e),
        Event::MessageReleased(e) => serde_json::to_value(e),
        Event::MessageFailed(e) => serde_json::to_value(e),
        Event::MessageDead(e) => serde_json::to_value(e),
        Event::MessageCancelled(e) => serde_json::to_value(e),
        Event::MessageRedacted(e) => serde_json::to_value(e),
        Event::ReplyPosted(e) => serde_json::to_value(e),
        Event::MessageCompleted(e) => serde_json::to_value(e),
        Event::LogRepaired(e) => serde_json::to_value(e),
        Event::KeyCreated(e) => serde_json::to_value(e),
        Event::KeyRevoked(e) => serde_json::to_value(e),
        Event::LogCheckpoint(e) => serde_json::to_value(e),
        Event::MessageErased(e) => serde_json::to_value(e),
        Event::Erased(e) => Ok(json!({ "subjects": e.subjects })),
        Event::Unknown(e) => Ok(json!({ "data": hex(&e.data) })),
    };
    value.unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
