//! A folder that is filled with another log's entries: half filled, no server opens it; anything else in it is left alone.

use antiphon_schemas::Epoch;

use super::*;
use crate::log::{
    GoOn,
    file::{Filling, History, OpenError, disk::sim::Fault},
};

const EPOCH: Epoch = Epoch(0x17a7);

/// The entries of a log of its own.
async fn entries() -> Vec<Arc<Entry>> {
    let folder = tempfile::tempdir().unwrap();
    let log = FileLog::open_folder(folder.path(), small(), Clock::manual(7).0).unwrap();
    for n in 1..=5 {
        put(&log, n, "text").await.unwrap();
    }
    read_all(&log).await
}

#[tokio::test]
async fn a_folder_is_filled_under_the_epoch_of_another_log_and_opens_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let entries = entries().await;
    let open = || FileLog::open_folder(&data, small(), Clock::system());
    let filling = Filling::open(&data, EPOCH, GoOn::HalfFilled).unwrap();
    filling.load(entries[..2].to_vec()).await.unwrap();
    drop(filling);
    let refusal = open().unwrap_err();
    assert!(matches!(&refusal, OpenError::HalfFilled(_)) && refusal.to_string().contains("is incomplete"), "{refusal}");

    let filling = Filling::open(&data, EPOCH, GoOn::HalfFilled).unwrap();
    assert_eq!((filling.tail(), filling.was_whole()), (Seq(2), false));
    assert!(matches!(filling.load(entries[3..].to_vec()).await, Err(Error::Invalid(_))), "a hole");
    filling.load(entries[2..].to_vec()).await.unwrap();
    filling.finish(&data).await.unwrap();
    let log = open().unwrap();
    assert_eq!((log.info().epoch, read_all(&log).await), (EPOCH, entries));
    drop(log);

    let refusal = Filling::open(&data, EPOCH, GoOn::HalfFilled).unwrap_err();
    assert!(refusal.to_string().contains("it already contains a log"), "{refusal}");
    drop(open().expect("what is refused is left as it was"));
    let again = Filling::open(&data, EPOCH, GoOn::Any).unwrap();
    assert!(again.was_whole() && open().is_err());
    again.finish(&data).await.unwrap();
    assert_eq!(History::open(&data).unwrap().tail().unwrap(), Seq(5));
}

#[tokio::test]
async fn a_folder_with_anything_else_in_it_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let fill = |path: &Path| Filling::open(path, EPOCH, GoOn::Any).unwrap_err().to_string();
    let notes = folder.path().join("notes");
    std::fs::create_dir(&notes).unwrap();
    std::fs::write(notes.join("todo.txt"), "mine").unwrap();
    let why = fill(&notes);
    assert!(
        why.contains("it holds `todo.txt`") && !notes.join("meta").exists() && !notes.join("filling").exists(),
        "{why}"
    );

    let data = folder.path().join("data");
    let log = FileLog::open_folder(&data, small(), Clock::system()).unwrap();
    assert!(fill(&data).contains("in use by process"));
    let epoch = log.info().epoch;
    drop(log);
    let why = fill(&data);
    assert!(why.contains(&format!("has epoch {epoch}")) && why.contains("has 00000000000017a7"), "{why}");
    drop(FileLog::open_folder(&data, small(), Clock::system()).unwrap());
}

/// Goal: power fails at every operation of the creation; then filling resumes, and no server ever mistakes it for an empty log.
#[tokio::test]
async fn a_power_loss_while_a_folder_is_made_to_be_filled_leaves_one_that_can_be_filled() {
    let entries = entries().await;
    let count = {
        let disk = SimDisk::default();
        drop(Filling::on(Arc::new(disk.clone()), Path::new(FOLDER), EPOCH, GoOn::HalfFilled).unwrap());
        disk.operations()
    };
    let mut half = 0;
    for at in 0..count {
        let disk = SimDisk::default();
        disk.fault_after(at, Fault::Crash);
        drop(Filling::on(Arc::new(disk.clone()), Path::new(FOLDER), EPOCH, GoOn::HalfFilled));
        for seed in 0..4 {
            let after = disk.lose_power(seed);
            half += u32::from(matches!(open(&after.lose_power(seed), false), Err(OpenError::HalfFilled(_))));
            let filling = Filling::on(Arc::new(after.clone()), Path::new(FOLDER), EPOCH, GoOn::HalfFilled);
            let filling = filling.unwrap_or_else(|why| panic!("operation {at}, seed {seed}: {why}"));
            filling.load(entries.clone()).await.unwrap();
            filling.finish(Path::new(FOLDER)).await.unwrap();
            let log = open(&after, false).unwrap();
            assert_eq!(
                (log.info().epoch, read_all(&log).await),
                (EPOCH, entries.clone()),
                "operation {at}, seed {seed}"
            );
        }
    }
    assert!(half > 0);
}
