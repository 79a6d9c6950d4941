//! The file: whatever it holds, an index opens, and it never says what the log does not.

use std::{fs, path::Path};

use super::*;
use crate::index::{
    Error,
    store::{MESSAGES, META},
};

const COUNT: usize = 2_000;
const TAIL: Seq = Seq(COUNT as u64);

/// A file that holds the index of `log`.
async fn indexed(path: &Path, log: &[Arc<Entry>]) {
    apply_durably(&Index::open(Some(path), EPOCH, Seq::ZERO).unwrap(), log).await;
}

/// Asserts that the index at `path` starts over and can be rebuilt.
async fn assert_rebuilt(path: &Path, log: &[Arc<Entry>]) {
    let index = Index::open(Some(path), EPOCH, TAIL).unwrap();
    model::assert_is_fold_of(&index.reader(), &[]);
    apply_durably(&index, log).await;
    drop(index);
    model::assert_is_fold_of(&Index::open(Some(path), EPOCH, TAIL).unwrap().reader(), log);
}

#[tokio::test]
async fn what_was_closed_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("new/folders/index.redb"), traffic(COUNT));
    indexed(&path, &log[..1_200]).await;
    let index = Index::open(Some(&path), EPOCH, TAIL).unwrap();
    model::assert_is_fold_of(&index.reader(), &log[..1_200]);
    let index = index.checked(&log[1_199]).unwrap();
    apply_durably(&index, &log[1_200..]).await;
    model::assert_is_fold_of(&index.reader(), &log);
}

#[tokio::test]
async fn an_index_of_another_epoch_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("index.redb"), traffic(COUNT));
    apply_durably(&Index::open(Some(&path), Epoch(8), Seq::ZERO).unwrap(), &log).await;
    assert_rebuilt(&path, &log).await;
}

#[tokio::test]
async fn an_index_beyond_the_logs_tail_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("index.redb"), traffic(COUNT + 1));
    indexed(&path, &log).await;
    assert_rebuilt(&path, &log[..COUNT]).await;
}

#[tokio::test]
async fn an_index_of_another_entry_at_its_position_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("index.redb"), traffic(COUNT));
    indexed(&path, &log).await;
    let another = entry(TAIL.0, 1, 1, said(1, AuthorKind::Human, true));
    let index = Index::open(Some(&path), EPOCH, TAIL).unwrap().checked(&another).unwrap();
    assert_eq!(index.position(), Seq::ZERO);
    drop(index);
    assert_rebuilt(&path, &log).await;
}

#[tokio::test]
async fn an_index_of_another_version_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("index.redb"), traffic(COUNT));
    indexed(&path, &log).await;
    let db = redb::Database::open(&path).unwrap();
    let write = db.begin_write().unwrap();
    write.open_table(META).unwrap().insert((), (1, EPOCH.0, TAIL.0, [0; 32])).unwrap();
    write.commit().unwrap();
    drop(db);
    assert_rebuilt(&path, &log).await;
}

#[tokio::test]
async fn a_file_that_is_no_index_is_built_anew() {
    let log = traffic(COUNT);
    let noise: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [&b""[..], b"\0", b"not a database", &noise] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.redb");
        fs::write(&path, bytes).unwrap();
        assert_rebuilt(&path, &log).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    fs::create_dir(&path).unwrap();
    assert_rebuilt(&path, &log).await;
}

/// Every so often a byte of a good file is flipped, or the file ends there. What opens must be whole, or empty.
#[tokio::test]
async fn a_damaged_file_is_noticed_and_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("index.redb"), traffic(COUNT));
    indexed(&path, &log).await;
    let good = fs::read(&path).unwrap();
    let mut rebuilt = 0;
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut turned = good.clone();
        turned[at] ^= 0x55;
        for bytes in [&turned, &good[..at]] {
            fs::write(&path, bytes).unwrap();
            let index = Index::open(Some(&path), EPOCH, TAIL).unwrap();
            let expected = if index.position() == TAIL { &log[..] } else { &[] };
            rebuilt += usize::from(expected.is_empty());
            model::assert_is_fold_of(&index.reader(), expected);
        }
    }
    assert!(rebuilt >= 60, "hardly any damage was noticed: {rebuilt}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_condemns_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("index.redb"), traffic(COUNT));
    indexed(&path, &log).await;
    let db = redb::Database::open(&path).unwrap();
    let write = db.begin_write().unwrap();
    write.open_table(MESSAGES).unwrap().insert(id(1).as_bytes(), &b"\xff"[..]).unwrap();
    write.commit().unwrap();
    drop(db);
    let index = Index::open(Some(&path), EPOCH, TAIL).unwrap();
    assert!(matches!(index.reader().record(id(1)), Err(Error::Damaged(_))));
    assert!(index.reader().record(id(2)).is_ok(), "the rest can still be read");
    drop(index);
    assert_rebuilt(&path, &log).await;
}

#[tokio::test]
async fn a_gap_condemns_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("index.redb"), traffic(COUNT));
    let index = Index::open(Some(&path), EPOCH, Seq::ZERO).unwrap();
    let indexer = Indexer::flushing(index.clone(), NEVER).unwrap();
    indexer.apply(log[1..].to_vec()).await;
    indexer.close();
    assert!(matches!(index.failed(), Some(Error::Gap { .. })), "{index:?}");
    drop((index, indexer));
    assert_rebuilt(&path, &log).await;
}

#[tokio::test]
async fn only_a_folder_that_cannot_be_written_keeps_it_from_opening() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("file");
    fs::write(&in_the_way, "").unwrap();
    let error = Index::open(Some(&in_the_way.join("index.redb")), EPOCH, Seq::ZERO).unwrap_err();
    assert!(matches!(&error, Error::Unwritable { .. }), "{error}");
    assert!(error.to_string().contains("index.redb"), "{error}");
}
