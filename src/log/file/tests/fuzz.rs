//! Segments out of bytes from anywhere: opening one is refused or is the same the second time, and a refusal changes nothing.
//!
//! ```text
//! input:  bytes of the first segment u32 LE │ first segment │ second segment, if anything is left
//! ```

use std::path::Path;

use antiphon_schemas::{Epoch, Seq};

use super::{FOLDER, SimDisk};
use crate::{
    fuzzer::{Decoder, fuzz, outcome},
    log::file::{
        disk::Disk,
        format::{HEAD_BYTES, HEADER_BYTES, SegmentHeader},
        meta::Meta,
        recovery::{self, Opened},
        segment,
    },
};

const HEADER: usize = HEADER_BYTES as usize;

/// Where the first segment ends.
fn cut(input: &[u8]) -> usize {
    let len = input.first_chunk().map_or(0, |len| u32::from_le_bytes(*len) as usize);
    len.saturating_add(4).min(input.len())
}

/// A folder with these segments; their epoch is the log's.
fn disk(input: &[u8]) -> SimDisk {
    let (disk, folder) = (SimDisk::default(), Path::new(FOLDER));
    disk.create_folder(&folder.join(segment::FOLDER)).unwrap();
    let parts = input.get(4..).map_or((&[][..], &[][..]), |rest| rest.split_at(cut(input) - 4));
    let header = SegmentHeader::decode(parts.1).map_or(None, |(header, _)| Some(header));
    let second = header.map_or(Seq(2), |header| header.first);
    for (first, bytes) in [(Seq(1), parts.0), (second, parts.1)] {
        if first == Seq(1) || !bytes.is_empty() {
            disk.create(&segment::path(folder, first)).unwrap().write_at(bytes, 0).unwrap();
        }
    }
    let epoch = SegmentHeader::decode(parts.0).map_or(Epoch(1), |(header, _)| header.epoch);
    Meta { epochs: vec![epoch], base: Seq(1) }.store(&disk, folder).unwrap();
    disk
}

fn open(disk: &SimDisk, salvage: bool) -> Result<Opened, String> {
    recovery::open(disk, Path::new(FOLDER), salvage, Epoch(1)).map_err(|error| error.to_string())
}

/// Makes checksums right, of headers and of records as far as their lengths fit.
fn heal(input: &mut [u8]) {
    let first = cut(input);
    if input.len() < 4 {
        return;
    }
    let (one, other) = input[4..].split_at_mut(first - 4);
    for segment in [one, other] {
        let Some((header, mut rest)) = segment.split_at_mut_checked(HEADER) else { continue };
        let seed = crc32c::crc32c(&header[..HEADER - 4]);
        header[HEADER - 4..].copy_from_slice(&seed.to_le_bytes());
        while rest.len() >= HEAD_BYTES {
            let len = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
            let (head, end) = (HEAD_BYTES + len(8), HEAD_BYTES + len(8) + len(12));
            if len(8) == 0 || end > rest.len() {
                break;
            }
            let body_crc = crc32c::crc32c_append(seed, &rest[head..end]);
            rest[4..8].copy_from_slice(&body_crc.to_le_bytes());
            let head_crc = crc32c::crc32c_append(seed, &rest[4..head]);
            rest[..4].copy_from_slice(&head_crc.to_le_bytes());
            rest = &mut rest[end..];
        }
    }
}

/// Asserts that the newest entries follow each other up to the end, and that opening again finds the same.
fn is_sound(disk: &SimDisk, opened: &Opened) {
    let seqs = opened.newest.iter().map(|entry| entry.header.seq.0);
    let first = opened.end.seq.0 - opened.newest.len() as u64;
    assert!(seqs.eq(first..opened.end.seq.0), "no position is left out or twice");
    let again = open(disk, false).expect("what opened once opens again");
    assert_eq!((again.end.seq, again.recovery.cut_bytes), (opened.end.seq, 0));
    assert_eq!(again.newest, opened.newest);
    // A last segment of which all was torn is empty the second time, and dropped.
    assert!(
        again.end == opened.end || opened.end.offset == HEADER_BYTES && again.segments.len() < opened.segments.len()
    );
}

fn look(input: &[u8]) -> u64 {
    let disk = disk(input);
    let file = segment::path(Path::new(FOLDER), Seq(1));
    let before = disk.bytes(&file);
    let why = match open(&disk, false) {
        Ok(opened) => {
            is_sound(&disk, &opened);
            let (cut, entries) = (opened.recovery.cut_bytes, opened.newest.len().min(64));
            return outcome((opened.segments.len(), cut.checked_ilog2(), entries));
        }
        Err(why) => why,
    };
    assert_eq!(disk.bytes(&file), before, "what is refused stays as it is");
    let salvaged = open(&disk, true);
    if let Ok(opened) = &salvaged {
        is_sound(&disk, opened);
    }
    let why: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
    outcome((why, salvaged.map_or(99, |opened| opened.newest.len().min(64))))
}

#[test]
fn segments_from_anywhere_are_refused_or_open_the_same_way_twice() {
    let test = "log::file::tests::fuzz::segments_from_anywhere_are_refused_or_open_the_same_way_twice";
    fuzz(Decoder { corpus: "segment", test, look, heal: |input| heal(input) });
}
