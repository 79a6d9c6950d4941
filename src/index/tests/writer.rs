//! The indexer: its bound, its second, and what stops it.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use redb::{StorageBackend, backends::InMemoryBackend};

use super::*;
use crate::index::{Error, Page, QUEUE_ENTRIES_MAX, store::Store};

/// A disk that can be made to fail, or to take its time.
#[derive(Clone, Default)]
struct Disk(Arc<Faults>);

#[derive(Default)]
struct Faults {
    memory: InMemoryBackend,
    broken: AtomicBool,
    held: Mutex<bool>,
    let_go: Condvar,
}

impl Disk {
    fn hold(&self, held: bool) {
        *self.0.held.lock().unwrap() = held;
        self.0.let_go.notify_all();
    }

    fn check(&self) -> io::Result<()> {
        if self.0.broken.load(Ordering::SeqCst) { Err(io::Error::other("no more")) } else { Ok(()) }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.0.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.0.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let held = self.0.held.lock().unwrap();
        drop(self.0.let_go.wait_while(held, |held| *held).unwrap());
        self.check()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.0.memory.write(offset, data)
    }
}

fn on(disk: &Disk) -> Index {
    Index::over(Store::on(disk.clone(), EPOCH).unwrap()).unwrap()
}

#[tokio::test]
async fn a_change_becomes_durable_without_another_one_after_it() {
    let index = in_memory();
    let indexer = Indexer::flushing(index, Duration::from_millis(20)).unwrap();
    let mut durable = indexer.durable();
    applied(&indexer, &traffic(5)).await;
    durable.wait_for(|seq| *seq == Seq(5)).await.unwrap();
}

#[tokio::test]
async fn a_failing_disk_stops_the_indexer_and_nothing_else() {
    let (disk, log) = (Disk::default(), traffic(2 * QUEUE_ENTRIES_MAX + 100));
    let index = on(&disk);
    let indexer = Indexer::flushing(index.clone(), Duration::ZERO).unwrap();
    applied(&indexer, &log[..100]).await;
    indexer.durable().wait_for(|seq| *seq == Seq(100)).await.unwrap();
    assert!(index.failed().is_none());

    disk.0.broken.store(true, Ordering::SeqCst);
    let mut applied = indexer.applied();
    // More than the queue holds: it must not wait for a thread that is gone.
    for batch in log[100..].chunks(1_000) {
        indexer.apply(batch.to_vec()).await;
    }
    while applied.changed().await.is_ok() {}
    assert!(matches!(index.failed(), Some(Error::Io(_))), "{index:?}");
    let position = index.position();
    assert!(position >= Seq(100) && position == *applied.borrow());
    model::assert_is_fold_of(&index.reader(), &log[..position.0 as usize]);
    indexer.close();
    indexer.close();
}

#[tokio::test]
async fn a_gap_stops_the_indexer_where_it_stands() {
    let (index, log) = (in_memory(), traffic(100));
    let indexer = Indexer::flushing(index.clone(), NEVER).unwrap();
    applied(&indexer, &log[..40]).await;
    indexer.apply(log[41..].to_vec()).await;
    let mut applied = indexer.applied();
    while applied.changed().await.is_ok() {}
    assert!(matches!(index.failed(), Some(Error::Gap { applied: Seq(40), got: Seq(42) })), "{index:?}");
    model::assert_is_fold_of(&index.reader(), &log[..40]);
}

#[tokio::test]
async fn whoever_hands_over_too_much_waits_and_nothing_is_lost() {
    let (disk, log) = (Disk::default(), traffic(2 * QUEUE_ENTRIES_MAX));
    let index = on(&disk);
    let indexer = Indexer::flushing(index.clone(), Duration::ZERO).unwrap();
    disk.hold(true);
    applied(&indexer, &log[..1]).await;
    // The thread now makes it durable, which takes until the disk is let go; the queue fills.
    indexer.apply(log[1..=QUEUE_ENTRIES_MAX].to_vec()).await;
    let mut waiting = pin!(indexer.apply(log[QUEUE_ENTRIES_MAX + 1..].to_vec()));
    let pending = poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await;
    assert!(pending, "the queue takes more than its bound");
    disk.hold(false);
    waiting.await;
    indexer.close();
    model::assert_is_fold_of(&index.reader(), &log);
}

#[tokio::test]
async fn what_was_handed_over_before_the_close_is_durable_after_it_and_later_entries_are_dropped() {
    let (index, log) = (in_memory(), traffic(3_000));
    let indexer = Indexer::flushing(index.clone(), NEVER).unwrap();
    for batch in log[..2_500].chunks(7) {
        indexer.apply(batch.to_vec()).await;
    }
    indexer.close();
    assert_eq!((*indexer.applied().borrow(), *indexer.durable().borrow()), (Seq(2_500), Seq(2_500)));
    indexer.apply(log[2_500..].to_vec()).await;
    assert_eq!((index.position(), index.failed().is_none()), (Seq(2_500), true));
}

#[tokio::test]
async fn a_reader_outlives_its_index() {
    let (index, log) = (in_memory(), traffic(200));
    apply_durably(&index, &log).await;
    let reader = index.reader();
    drop(index);
    model::assert_is_fold_of(&reader, &log);
    assert!(!reader.messages(&room_of("a"), Page { limit: 1, ..Page::default() }).unwrap().is_empty());
}
