//! A log read from outside: beside its writer, cut anywhere, altered anywhere.

use std::fs;

use antiphon_schemas::Stored;

use super::*;
use crate::log::file::History;

/// Appends `batches` batches of one to three entries each, numbered from `first`.
async fn fill(log: &FileLog, first: u64, batches: u64) {
    for batch in 0..batches {
        let at = first + batch;
        let drafts = (0..=at % 3).map(|n| post(u128::from(at * 10 + n), &format!("message {at} {}", "x".repeat(200))));
        let verdicts = log.append(vec![append(log.tail().0, u128::from(at), &[], drafts.collect())]).await.unwrap();
        assert!(matches!(verdicts[0], Verdict::Appended(_)));
    }
}

fn all(history: &mut History) -> Result<Vec<Stored>, Error> {
    let mut entries = Vec::new();
    loop {
        let page = history.read()?;
        if page.is_empty() {
            return Ok(entries);
        }
        entries.extend(page);
    }
}

async fn stored(log: &FileLog) -> Vec<Stored> {
    read_all(log).await.iter().map(|entry| Stored::from(&**entry)).collect()
}

/// A closed log of many small segments, and its entries.
async fn closed() -> (TempDir, Vec<Stored>) {
    let folder = tempfile::tempdir().unwrap();
    let log = FileLog::open_folder(folder.path(), small(), Clock::system()).unwrap();
    fill(&log, 0, 60).await;
    let entries = stored(&log).await;
    log.close().await.unwrap();
    (folder, entries)
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder.join("log")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_beside_the_writer_sees_whole_batches_in_order_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(FileLog::open_folder(folder.path(), small(), Clock::system()).unwrap());
    let writer = tokio::spawn({
        let log = log.clone();
        async move {
            for first in (0..1_000).step_by(10) {
                fill(&log, first, 10).await;
            }
        }
    });
    let mut history = History::open(folder.path()).unwrap();
    let mut seen = Vec::new();
    while !writer.is_finished() || history.tail().unwrap() > Seq(seen.len() as u64) {
        let page = tokio::task::block_in_place(|| history.read()).unwrap();
        seen.extend(page);
        assert_eq!(history.next(), Seq(seen.len() as u64 + 1));
        let ends_whole = seen.last().is_none_or(|last| {
            // Batch `at` has as many entries as its number says; its first has the id `at * 10`.
            let id = last.entry().unwrap().header.subjects[0].0.as_u128();
            id % 10 == id / 10 % 3
        });
        assert!(ends_whole);
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    assert_eq!(seen, stored(&log).await);
}

#[tokio::test]
async fn it_goes_on_after_any_position() {
    let (folder, entries) = closed().await;
    assert!(segments(folder.path()).len() > 5);
    let mut history = History::open(folder.path()).unwrap();
    assert_eq!(history.tail().unwrap().0, entries.len() as u64);
    for after in [0, 1, 2, 7, 30, entries.len() - 1, entries.len(), entries.len() + 5] {
        history.seek(Seq(after as u64)).unwrap();
        assert_eq!(all(&mut history).unwrap(), entries[after.min(entries.len())..], "after {after}");
    }
    let (file, offset) = history.place(Seq(10)).unwrap().unwrap();
    let bytes = fs::read(file).unwrap();
    let header = &entries[9].header[..];
    assert_eq!(&bytes[offset as usize + 32..][..header.len()], header, "where it says, behind the record's head");
}

#[tokio::test]
async fn a_torn_end_is_the_end_and_a_changed_byte_anywhere_else_is_named() {
    let (folder, entries) = closed().await;
    let files = segments(folder.path());
    let last = files.last().unwrap();
    let whole = fs::read(last).unwrap();
    // Wherever the last segment is cut, the batches before are there, and nothing is wrong.
    let before = last.file_stem().unwrap().to_str().unwrap().parse::<usize>().unwrap() - 1;
    for end in (0..whole.len()).step_by(97) {
        fs::write(last, &whole[..end]).unwrap();
        let read = all(&mut History::open(folder.path()).unwrap()).unwrap();
        assert!(read.len() >= before && read[..] == entries[..read.len()], "cut at {end}");
    }
    fs::write(last, &whole).unwrap();
    for (n, file) in files.iter().enumerate().rev().skip(1) {
        let first = file.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        let whole = fs::read(file).unwrap();
        let written = whole.iter().rposition(|b| *b != 0).unwrap();
        for at in (20..=written).step_by(211) {
            let mut changed = whole.clone();
            changed[at] ^= 0x40;
            fs::write(file, &changed).unwrap();
            let mut history = History::open(folder.path()).unwrap();
            let mut read = Vec::new();
            let error = loop {
                match history.read() {
                    Ok(page) if page.is_empty() => panic!("segment {n}, byte {at}: it is not found"),
                    Ok(page) => read.extend(page),
                    Err(error) => break error,
                }
            };
            assert!(matches!(&error, Error::Damaged { place, .. } if place.contains("position")), "{error}");
            assert!(read[..] == entries[..read.len()] && read.len() as u64 + 1 >= first, "what is sound comes first");
        }
        fs::write(file, &whole).unwrap();
    }
    // Segments that were exchanged, or are missing.
    let (a, b) = (fs::read(&files[1]).unwrap(), fs::read(&files[2]).unwrap());
    fs::write(&files[1], &b).unwrap();
    assert!(matches!(all(&mut History::open(folder.path()).unwrap()), Err(Error::Damaged { .. })));
    fs::write(&files[1], &a).unwrap();
    fs::remove_file(&files[2]).unwrap();
    assert!(matches!(all(&mut History::open(folder.path()).unwrap()), Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn nothing_is_written_made_or_locked() {
    let (folder, entries) = closed().await;
    let look = || {
        let files = segments(folder.path()).into_iter().chain([folder.path().join("meta")]);
        files.map(|file| (fs::metadata(&file).unwrap().modified().unwrap(), file)).collect::<Vec<_>>()
    };
    let before = look();
    let reader = FileLog::open_folder(folder.path(), small(), Clock::system()).unwrap();
    assert_eq!(all(&mut History::open(folder.path()).unwrap()).unwrap(), entries, "beside the holder of the lock");
    reader.close().await.unwrap();
    assert_eq!(look().len(), before.len());
    let none = tempfile::tempdir().unwrap();
    assert!(matches!(History::open(none.path()), Err(Error::Io(why)) if why.contains("there is no log")));
    assert_eq!(fs::read_dir(none.path()).unwrap().count(), 0);
}
