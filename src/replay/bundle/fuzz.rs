//! Bundles out of bytes from anywhere: refused, or read with exactly the entries that their manifest names.

use std::fs;

use antiphon_schemas::Seq;
use serde_json::Value;

use super::{CHECK, FORMAT, MANIFEST, Manifest, SUMS, archive, hex, sha256, tests::all_of};
use crate::{
    fuzzer::{Decoder, fuzz, outcome},
    replay::source::{BundleSource, Error},
};

const BLOCK: usize = archive::BLOCK as usize;

fn put(out: &mut Vec<u8>, name: &str, content: &[u8]) {
    let bytes = content.len() as u64;
    let Ok(head) = archive::head(name, bytes) else { return };
    out.extend_from_slice(&head);
    out.extend_from_slice(content);
    out.extend_from_slice(&archive::END[..archive::padding(bytes)]);
}

/// What the manifest says of its members, made true as far as their bytes are there: blocks, hashes, sums, its own check.
fn healed(input: &[u8]) -> Option<Vec<u8>> {
    let (_, len) = archive::parse(input.first_chunk()?)?;
    let text = input.get(BLOCK..)?.get(..usize::try_from(len).ok()?)?;
    let mut manifest: Value = serde_json::from_slice(text).ok()?;
    let mut at = usize::try_from(archive::extent(len)?).ok()?;
    let (mut members, mut sums) = (Vec::new(), String::new());
    for member in manifest["members"].as_array_mut()? {
        let bytes = member["bytes"].as_u64()?;
        let Some(content) = usize::try_from(bytes).ok().and_then(|len| input.get(at + BLOCK..)?.get(..len)) else {
            break;
        };
        let sha256 = hex(&sha256(content));
        put(&mut members, member["name"].as_str()?, content);
        sums += &format!("{sha256}  {}\n", member["name"].as_str()?);
        member["sha256"] = sha256.into();
        at = at.checked_add(usize::try_from(archive::extent(bytes)?).ok()?)?;
    }
    manifest.as_object_mut()?.remove("check");
    manifest["format"] = FORMAT.into();
    let text = serde_json::to_string_pretty(&manifest).ok()?;
    let text = format!("{},\n", text.strip_suffix("\n}")?);
    let text = format!("{text}{CHECK}{}\"\n}}\n", hex(&sha256(text.as_bytes())));
    let mut out = Vec::new();
    put(&mut out, MANIFEST, text.as_bytes());
    out.extend_from_slice(&members);
    put(&mut out, SUMS, format!("{}  {MANIFEST}\n{sums}", hex(&sha256(text.as_bytes()))).as_bytes());
    out.extend_from_slice(&archive::END);
    Some(out)
}

fn heal(input: &mut Vec<u8>) {
    if let Some(healed) = healed(input) {
        *input = healed;
    }
}

fn look(input: &[u8]) -> u64 {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), input).unwrap();
    let words = |error: &Error| {
        let text = error.to_string().replace(&*file.path().display().to_string(), "");
        text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()
    };
    let source = match BundleSource::open(file.path()) {
        Ok(source) => source,
        Err(error) => return outcome(words(&error)),
    };
    let manifest = source.manifest();
    assert_eq!(
        Manifest::parse(&manifest.text().unwrap()).as_ref(),
        Ok(manifest),
        "a manifest is read as it was written"
    );
    let entries = match all_of(file.path()) {
        Ok(entries) => entries,
        Err(error) => return outcome(("open", words(&error))),
    };
    assert_eq!(entries.len() as u64, manifest.count);
    assert!(entries.is_sorted_by(|one, other| one.seq() < other.seq()), "in the order of their positions");
    assert!(entries.iter().all(|entry| (manifest.first..=manifest.last).contains(&Some(entry.seq()))));
    outcome((manifest.whole, entries.len().min(16), manifest.last > Some(Seq(1_000))))
}

#[test]
fn bundles_from_anywhere_are_refused_or_hold_what_they_name() {
    let test = "replay::bundle::fuzz::bundles_from_anywhere_are_refused_or_hold_what_they_name";
    fuzz(Decoder { corpus: "bundle", test, look, heal });
}
