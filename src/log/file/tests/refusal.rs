//! What the log refuses, in words that say what to do; and what `--salvage` makes of it.

use super::*;
use crate::log::file::{OpenError, disk::Disk};

#[test]
fn a_folder_in_use_is_refused_with_the_holders_process_id() {
    let folder = tempfile::tempdir().unwrap();
    let open = || FileLog::open_folder(folder.path(), small(), Clock::system());
    let log = open().unwrap();
    let refusal = open().unwrap_err();
    assert!(matches!(&refusal, OpenError::Locked { pid: Some(pid), .. } if *pid == std::process::id()), "{refusal}");
    assert!(refusal.to_string().contains(&format!("in use by process {}; stop it", std::process::id())));
    drop(log);
    open().unwrap();
}

#[tokio::test]
async fn a_closed_log_lets_the_next_process_in() {
    let folder = tempfile::tempdir().unwrap();
    let open = || FileLog::open_folder(folder.path(), small(), Clock::system());
    let log = open().unwrap();
    put(&log, 1, "a").await.unwrap();
    log.close().await.unwrap();
    assert_eq!(read_all(&open().unwrap()).await, read_all(&log).await, "and can still be read");
}

#[test]
fn a_folder_that_cannot_be_made_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "in the way").unwrap();
    let refusal = FileLog::open_folder(folder.path().join("file/data"), small(), Clock::system()).unwrap_err();
    let line = refusal.to_string();
    assert!(
        line.starts_with("cannot use the data folder `") && line.contains("--data") && !line.contains('\n'),
        "{line}"
    );
}

#[tokio::test]
async fn another_format_version_is_refused_and_not_salvaged() {
    let disk = SimDisk::default();
    filled(&open(&disk, false).unwrap()).await;
    let meta = Path::new(FOLDER).join("meta");
    disk.create(&meta).unwrap().write_at(b"antiphon log\nformat 3\n", 0).unwrap();
    for salvage in [false, true] {
        let refusal = open(&disk, salvage).unwrap_err();
        assert!(matches!(&refusal, OpenError::OtherVersion { file, found: 3, known: 2 } if *file == meta), "{refusal}");
    }
}

/// Goal: whatever byte of an older write is changed, opening names the file; salvage keeps exactly what is before.
#[tokio::test]
async fn a_flipped_byte_in_the_last_segment_is_refused_by_name_and_can_be_salvaged() {
    let pristine = SimDisk::default();
    let log = open(&pristine, false).unwrap();
    let written = filled(&log).await;
    let epoch = log.info().epoch;
    drop(log);
    let last = segments(&pristine).pop().unwrap();
    let first_in_last: u64 = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let bytes = pristine.bytes(&last);
    let end = bytes.iter().rposition(|b| *b != 0).unwrap();
    // The last write can be taken for a torn one: nothing follows it. All before it is damage.
    let last_write = end + 1 - written.last().unwrap().body.len() - 32 - written.last().unwrap().header_bytes().len();
    assert!(last_write > 1_000, "several writes are in the last segment");
    for offset in (0..last_write).step_by(13) {
        let disk = pristine.lose_power(1);
        disk.flip(&last, offset);
        let refusal = open(&disk, false).unwrap_err();
        assert!(matches!(&refusal, OpenError::Damaged { file, .. } if *file == last), "byte {offset}: {refusal}");
        assert!(refusal.to_string().contains("--salvage"));

        let log = open(&disk, true).unwrap();
        let salvaged = log.recovery().salvaged.clone().unwrap();
        assert!(salvaged.contains("set aside in `data/salvaged-"), "{salvaged}");
        assert_ne!(log.info().epoch, epoch, "positions given out before may now mean something else");
        let kept = read_all(&log).await;
        assert_eq!(kept, written[..kept.len()]);
        assert!(kept.len() as u64 >= first_in_last - 1 && kept.len() < written.len());
        let entry = put(&log, 1, "goes on").await.unwrap().remove(0);
        assert_eq!(entry.header.seq.0, kept.len() as u64 + 1);
        let aside = disk.paths().into_iter().find(|p| p.to_str().unwrap().contains("salvaged-")).unwrap();
        let mut expected = bytes.clone();
        expected[offset] ^= 0x40;
        assert_eq!(disk.bytes(&aside), expected, "the damaged segment is kept as it was");
        drop(log);
        let log = open(&disk, false).unwrap();
        assert_eq!((read_all(&log).await.len(), &log.recovery().salvaged), (kept.len() + 1, &None));
    }
}

#[tokio::test]
async fn a_flipped_byte_in_an_older_segment_is_named_when_read_and_can_be_salvaged() {
    let disk = SimDisk::default();
    let log = open(&disk, false).unwrap();
    let mut written = filled(&log).await;
    for n in 50..500 {
        written.extend(put(&log, n, "beyond what opening looks at").await.unwrap());
    }
    drop(log);
    let older = segments(&disk).remove(1);
    disk.flip(&older, 1_000);
    let log = open(&disk, false).unwrap();
    let mut after = Seq::ZERO;
    let error = loop {
        match log.read(after, 100).await {
            Ok(entries) => after = entries.last().expect("the damage comes first").header.seq,
            Err(error) => break error,
        }
    };
    let name = older.display().to_string();
    assert!(matches!(&error, Error::Damaged { place, .. } if place.contains(&name)), "{error}");
    put(&log, 1, "writing goes on").await.unwrap();
    drop(log);
    let log = open(&disk, true).unwrap();
    let kept = read_all(&log).await;
    assert!(!kept.is_empty() && kept.len() < 20, "{} entries", kept.len());
    assert_eq!(kept, written[..kept.len()]);
    put(&log, 1, "goes on").await.unwrap();
}

/// A crash tore the last write, and an older segment is damaged: what a person will look at is what was found.
#[tokio::test]
async fn a_log_that_is_refused_stays_as_it_is_down_to_its_torn_tail() {
    let disk = SimDisk::default();
    filled(&open(&disk, false).unwrap()).await;
    let names = segments(&disk);
    let (older, last) = (&names[names.len() - 2], &names[names.len() - 1]);
    let end = disk.bytes(last).iter().rposition(|b| *b != 0).unwrap();
    disk.flip(last, end);
    disk.flip(older, 1_000);
    let found: Vec<_> = names.iter().map(|name| disk.bytes(name)).collect();
    let refusal = open(&disk, false).unwrap_err();
    assert!(matches!(&refusal, OpenError::Damaged { file, .. } if file == older), "{refusal}");
    assert!(names.iter().map(|name| disk.bytes(name)).eq(found), "nothing was written");
}

#[tokio::test]
async fn removed_and_swapped_segments_are_found() {
    let pristine = SimDisk::default();
    filled(&open(&pristine, false).unwrap()).await;
    let names = segments(&pristine);
    assert!(names.len() > 4);

    let disk = pristine.lose_power(1);
    disk.remove(&names[0]).unwrap();
    let refusal = open(&disk, false).unwrap_err();
    assert!(refusal.to_string().contains("the first segment is missing"), "{refusal}");

    for removed in &names[1..names.len() - 1] {
        let disk = pristine.lose_power(1);
        disk.remove(removed).unwrap();
        let refusal = open(&disk, false).unwrap_err();
        assert!(matches!(&refusal, OpenError::Damaged { .. }), "{refusal}");
        let kept = read_all(&open(&disk, true).unwrap()).await;
        let first: usize = removed.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(kept.len(), first - 1);
    }

    // The last segment of another log of the same length: sound in itself, but it does not belong.
    let other = SimDisk::default();
    filled(&open(&other, false).unwrap()).await;
    let disk = pristine.lose_power(1);
    let last = names.last().unwrap();
    disk.create(last).unwrap().write_at(&other.bytes(last), 0).unwrap();
    let refusal = open(&disk, false).unwrap_err();
    assert!(matches!(&refusal, OpenError::Damaged { file, .. } if file == last), "{refusal}");
}

#[tokio::test]
async fn a_lost_meta_is_refused_and_can_be_salvaged() {
    let disk = SimDisk::default();
    let written = filled(&open(&disk, false).unwrap()).await;
    disk.remove(&Path::new(FOLDER).join("meta")).unwrap();
    let refusal = open(&disk, false).unwrap_err();
    assert!(matches!(&refusal, OpenError::Damaged { .. }), "{refusal}");
    assert_eq!(read_all(&open(&disk, true).unwrap()).await, written);
    assert_eq!(read_all(&open(&disk, false).unwrap()).await, written);
}

/// A log of 500 entries: opening looks at the newest 256 only.
async fn long() -> (SimDisk, Vec<Arc<Entry>>) {
    let disk = SimDisk::default();
    let log = open(&disk, false).unwrap();
    for n in 0..500 {
        put(&log, n, "text").await.unwrap();
    }
    let written = read_all(&log).await;
    drop(log);
    (disk, written)
}

#[tokio::test]
async fn an_older_segment_of_another_log_is_found_when_read() {
    let ((disk, written), (other, _)) = (long().await, long().await);
    let swapped = segments(&disk).remove(2);
    disk.create(&swapped).unwrap().write_at(&other.bytes(&swapped), 0).unwrap();
    let log = open(&disk, false).unwrap();
    let first: u64 = swapped.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(log.read(Seq(first - 3), 1).await.unwrap(), written[first as usize - 3..][..1]);
    for after in [first - 2, first - 1, first] {
        let error = log.read(Seq(after), 1).await.unwrap_err();
        assert!(error.to_string().contains(swapped.to_str().unwrap()), "{error}");
    }
}

/// The same epoch and names, other entries: only the hash tells.
#[tokio::test]
async fn an_older_segment_of_a_copy_of_the_log_that_went_another_way_is_found_when_read() {
    let disk = SimDisk::default();
    put(&open(&disk, false).unwrap(), 1, "the same so far").await.unwrap();
    let copy = disk.lose_power(1);
    for (disk, text) in [(&disk, "one way"), (&copy, "another")] {
        let log = open(disk, false).unwrap();
        for n in 0..500 {
            put(&log, n, text).await.unwrap();
        }
    }
    let swapped = segments(&disk).remove(1);
    assert!(segments(&copy).contains(&swapped), "texts of the same length, segments of the same names");
    disk.create(&swapped).unwrap().write_at(&copy.bytes(&swapped), 0).unwrap();
    let log = open(&disk, false).unwrap();
    let mut after = Seq::ZERO;
    let error = loop {
        match log.read(after, 5).await {
            Ok(entries) => after = entries.last().expect("the segment comes first").header.seq,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains(swapped.to_str().unwrap()), "{error}");
}

/// Broken off at any operation, by `kill -9` or by a power loss, and begun again: the same entries are kept.
#[tokio::test]
async fn a_salvage_that_is_broken_off_can_be_started_again() {
    let (pristine, written) = long().await;
    let damaged = segments(&pristine).remove(1);
    pristine.flip(&damaged, 1_000);
    let whole = pristine.lose_power(1);
    let kept = read_all(&open(&whole, true).unwrap()).await;
    assert!(kept.len() > 3 && kept.len() < 100);
    for at in 0..whole.operations() {
        for seed in 0..6 {
            let disk = pristine.lose_power(1);
            disk.fault_after(at, super::super::disk::sim::Fault::Crash);
            assert!(open(&disk, true).is_err());
            let disk = if seed % 2 == 0 {
                disk.restart_process();
                disk
            } else {
                disk.lose_power(seed)
            };
            let log = open(&disk, true).unwrap();
            assert_eq!(read_all(&log).await, written[..kept.len()], "broken off at {at}, seed {seed}");
            let added = put(&log, 1, "goes on").await.unwrap();
            drop(log);
            let found = read_all(&open(&disk.lose_power(seed), false).unwrap()).await;
            assert_eq!((found.len(), found.last()), (kept.len() + 1, added.last()), "broken off at {at}, seed {seed}");
        }
    }
}
