//! Bundles of random entries are read back as they were; whatever byte is changed, it is found and named.

use std::{
    fs,
    io::{Cursor, Read},
    path::Path,
};

use antiphon_schemas::{Epoch, Header, MessageId, RequestId, RoomName, Seq, Stored, entry};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use uuid::Uuid;

use super::{About, Bundle, CHECKPOINTS, Portion, Writer, archive};
use crate::replay::source::{BundleSource, Error, Source};

fn stored(seq: u64, kind: &str, body: Vec<u8>) -> Stored {
    let header = Header {
        seq: Seq(seq),
        at_ms: seq * 10,
        request: RequestId(Uuid::from_u128(seq.into())),
        kind: kind.into(),
        room: Some(RoomName::new("lobby").unwrap()),
        subjects: [MessageId(Uuid::from_u128(7))].into(),
        version: 1,
    };
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes);
    Stored { header: bytes.freeze(), body: body.into() }
}

fn whole() -> About {
    About { epoch: Epoch(0x17a7), part: None, redacted_texts: 0 }
}

/// Writes a bundle with leaves; its bytes.
fn made(entries: &[Stored], about: About) -> Vec<u8> {
    let mut writer = Writer::new(tempfile::tempfile().unwrap());
    let leaves: Vec<u8> = entries.iter().flat_map(Stored::leaf).collect();
    writer.checkpoint("latest", &mut &b"a note"[..], 0).unwrap();
    entries.iter().for_each(|stored| writer.push(stored).unwrap());
    writer.checkpoint("leaves", &mut &leaves[..], entries.len() as u64).unwrap();
    let mut out = Vec::new();
    writer.finish(about, &mut out).unwrap();
    out
}

/// Reads all that is in a bundle, as `replay load` does.
pub(super) fn all_of(path: &Path) -> Result<Vec<Stored>, Error> {
    let mut source = BundleSource::open(path)?;
    for name in CHECKPOINTS {
        if let Some(mut file) = source.checkpoint_file(name)? {
            file.read_to_end(&mut Vec::new()).unwrap();
        }
    }
    let mut all = Vec::new();
    loop {
        let page = source.read()?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// The name of the member in which a byte of a bundle lies: its block, its content, or what fills it up.
fn member_at(bytes: &[u8], at: usize) -> String {
    let mut begin = 0;
    loop {
        let block = bytes[begin..begin + 512].try_into().unwrap();
        let Some((name, len)) = archive::parse(block).filter(|(name, _)| !name.is_empty()) else {
            return "SHA256SUMS".into();
        };
        begin += archive::extent(len).unwrap() as usize;
        if at < begin {
            return name;
        }
    }
}

/// Entries with every odd size: from the smallest body to one of a MiB.
fn entries() -> impl Strategy<Value = Vec<Stored>> {
    let body = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 16..300),
        1 => (16..200_000usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ];
    proptest::collection::vec(("[a-z.]{1,20}", body), 0..30)
        .prop_map(|all| (1..).zip(all).map(|(seq, (kind, body))| stored(seq, &kind, body)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_bundle_of_random_entries_reads_back_the_same_bytes_and_a_flipped_one_is_refused_by_name(
        entries in entries(), at: Vec<prop::sample::Index>, bit in 0..8u8,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.antiphon");
        let bytes = made(&entries, whole());
        prop_assert_eq!(&made(&entries, whole()), &bytes, "the same entries give the same bytes");
        fs::write(&path, &bytes).unwrap();
        prop_assert_eq!(all_of(&path).unwrap(), entries);
        for at in at.iter().map(|at| at.index(bytes.len())) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            fs::write(&path, &changed).unwrap();
            let why = all_of(&path).expect_err("a changed byte is found").to_string();
            // A first block that is not one is not known to be ours.
            let no_bundle = at < 512 && why.contains("is not a bundle");
            prop_assert!(no_bundle || why.contains(&member_at(&bytes, at)), "byte {}: {}", at, why);
        }
    }
}

#[test]
fn large_logs_are_cut_into_chunks_that_are_found_by_position_and_named_in_damage() {
    let body = |n: u64| (0..100_000u64).map(|i| ((i * i * n) >> 7) as u8).collect::<Vec<_>>();
    let entries: Vec<_> = (1..=100).map(|n| stored(n, "weather.changed", body(n))).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.antiphon");
    let mut bytes = made(&entries, whole());
    fs::write(&path, &bytes).unwrap();
    let mut source = BundleSource::open(&path).unwrap();
    let chunks = source.manifest().members.iter().filter(|member| member.entries.is_some()).count();
    assert_eq!(chunks, 3);
    for after in [0, 1, 41, 42, 43, 84, 99] {
        source.seek(Seq(after)).unwrap();
        assert_eq!(source.read().unwrap()[0], entries[after as usize], "after {after}");
    }
    source.seek(Seq(100)).unwrap();
    assert!(source.read().unwrap().is_empty());
    assert_eq!(source.tail().unwrap(), Seq(100));
    let place = source.place(Seq(50));
    assert!(place.starts_with("`entries/00000002.zst` (positions 43-84)"), "{place}");

    let at = bytes.len() - 1024 - 2048 - 60_000;
    bytes[at] ^= 1;
    let hurt = member_at(&bytes, at);
    assert_eq!(hurt, "entries/00000003.zst");
    fs::write(&path, &bytes).unwrap();
    let mut source = BundleSource::open(&path).unwrap();
    let sound: usize = (0..2).map(|_| source.read().unwrap().len()).sum();
    assert_eq!(sound, 84, "what is sound comes first");
    let Err(Error::Damaged { at, place, .. }) = source.read() else { panic!("the damage is found") };
    assert!(at == Seq(85) && place.contains(&hurt), "{at} {place}");
}

#[test]
fn a_part_with_holes_says_so_and_a_manifest_that_does_not_is_refused() {
    let entries: Vec<_> = [3, 4, 9].map(|n| stored(n, "message.posted", vec![1; 50])).into();
    let part = Portion { after: Seq(2), until: Seq(9), room: Some(RoomName::new("lobby").unwrap()) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.antiphon");
    fs::write(&path, made(&entries, About { part: Some(part.clone()), ..whole() })).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    let manifest = bundle.manifest();
    assert_eq!((manifest.whole, &manifest.part, manifest.count), (false, &Some(part), 3));
    assert_eq!(manifest.what(), "the part of the room lobby from position 3 to 9");
    assert_eq!(bundle.entries_after(Seq(4)).unwrap().unwrap(), entries[2..]);
    assert_eq!(bundle.entries_after(Seq(9)).unwrap(), None);

    fs::write(&path, made(&entries, whole())).unwrap();
    let why = Bundle::open(&path).unwrap_err().to_string();
    assert!(why.contains("`manifest.json`") && why.contains("holes"), "{why}");
}

#[test]
fn a_cut_a_longer_and_a_foreign_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.antiphon");
    let bytes = made(&[stored(1, "message.posted", vec![1; 50])], whole());
    for (content, words) in [
        (&bytes[..0], "is not a bundle"),
        (&b"PK\x03\x04 something else".repeat(100)[..], "is not a bundle"),
        (&bytes[..700], "manifest.json"),
        (&bytes[..bytes.len() - 1], "is cut"),
        (&[&bytes[..], &[0; 512]].concat()[..], "continues after its end"),
    ] {
        fs::write(&path, content).unwrap();
        let why = Bundle::open(&path).unwrap_err().to_string();
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn erased_bodies_are_counted_and_leaves_are_cut_to_whole_ones() {
    let body = Bytes::from(vec![5; 100]);
    let gone = Stored { body: entry::erased(&body).unwrap(), ..stored(1, "message.posted", vec![]) };
    let mut writer = Writer::new(tempfile::tempfile().unwrap());
    writer.push(&gone).unwrap();
    writer.checkpoint("leaves", &mut &[7; 100][..], 9).unwrap();
    assert!(writer.checkpoint("notary.key", &mut &b"secret"[..], 9).is_err());
    let mut out = Vec::new();
    let manifest = writer.finish(whole(), &mut out).unwrap();
    assert_eq!((manifest.erased, manifest.leaves, manifest.count), (1, Some(3), 1));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &out).unwrap();
    let mut leaves = Vec::new();
    Bundle::open(file.path()).unwrap().checkpoint("leaves").unwrap().unwrap().read_to_end(&mut leaves).unwrap();
    assert_eq!(leaves, [7; 96]);
}

#[test]
fn any_tar_opens_it() {
    let bytes = made(&[stored(1, "message.posted", vec![1; 50])], whole());
    let mut archive = tar::Archive::new(Cursor::new(&bytes));
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|member| member.unwrap().path().unwrap().display().to_string())
        .filter(|name| !name.starts_with("schemas/"))
        .collect();
    let expected = [
        "manifest.json",
        "README.txt",
        "checkpoints/latest",
        "checkpoints/leaves",
        "entries/00000001.zst",
        "SHA256SUMS",
    ];
    assert_eq!(names, expected);
}
