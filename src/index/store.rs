//! The tables on disk: opening existing ones or starting over, and the fold of a batch of entries into them.
//!
//! Not here: when to commit (`indexer`), reading (`reader`), the bytes of keys and values (`codec`).

use std::{
    collections::BTreeMap,
    fs, io,
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::Arc,
};

use antiphon_schemas::{Entry, Epoch, Event, MessageId, RoomName, Seq, event::MessageErased};
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction,
    backends::InMemoryBackend,
};

use super::{
    codec::{self, Class},
    error::Error,
};
use crate::projection::{
    record::{Change, Record},
    view,
};

/// Raised with every change of what the tables mean; an index of another version is rebuilt.
/// 2: with the erasures.
const VERSION: u64 = 2;
/// Pages that redb keeps in memory, read and not yet written ones: the hot end of an index of millions of messages.
const CACHE_BYTES: usize = 64 << 20;

pub(super) const MESSAGES: TableDefinition<&[u8; 16], &[u8]> = TableDefinition::new("messages");
pub(super) const RUNS: TableDefinition<&[u8], ()> = TableDefinition::new("runs");
pub(super) const ROOMS: TableDefinition<&str, (u64, u64, u64)> = TableDefinition::new("rooms");
pub(super) const TIMES: TableDefinition<u64, u64> = TableDefinition::new("times");
pub(super) const ERASURES: TableDefinition<u64, &[u8]> = TableDefinition::new("erasures");
pub(super) const META: TableDefinition<(), (u64, u64, u64, [u8; 32])> = TableDefinition::new("meta");

/// What the index is of, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) epoch: Epoch,
    pub(super) position: Seq,
    /// Of the entry at `position`; zeroes at position 0.
    pub(super) hash: [u8; 32],
}

/// The database and where it lies.
pub(super) struct Store {
    pub(super) db: Database,
    epoch: Epoch,
    path: Option<PathBuf>,
}

impl Store {
    /// What is at `path` if it can be used, else a new one.
    pub(super) fn open(path: &Path, epoch: Epoch, tail: Seq) -> Result<Store, Error> {
        if !path.exists() {
            return Store::create(path, epoch);
        }
        // redb may panic on bytes that it did not write; those are a damaged index like any other.
        let usable = catch_unwind(|| Store::usable(path, epoch, tail));
        match usable.unwrap_or_else(|_| Err("its file is not readable as an index".into())) {
            Ok(db) => Ok(Store { db, epoch, path: Some(path.into()) }),
            Err(why) => Store::replace(path, epoch, &why),
        }
    }

    /// An index that lives as long as the process.
    pub(super) fn in_memory(epoch: Epoch) -> Result<Store, Error> {
        Store::on(InMemoryBackend::new(), epoch)
    }

    /// A new index on other storage than a file.
    pub(super) fn on(storage: impl StorageBackend, epoch: Epoch) -> Result<Store, Error> {
        let db = builder().create_with_backend(storage)?;
        begin(&db, epoch)?;
        Ok(Store { db, epoch, path: None })
    }

    /// A new one in the place of this one, which is worth nothing because of `why`.
    pub(super) fn start_over(&self, why: &str) -> Result<Store, Error> {
        match &self.path {
            Some(path) => Store::replace(path, self.epoch, why),
            None => Store::in_memory(self.epoch),
        }
    }

    /// Deletes the file, so that the next start rebuilds it; readers keep what they have open.
    pub(super) fn condemn(&self) {
        if let Some(path) = &self.path
            && let Err(error) = remove(path)
        {
            tracing::error!(path = %path.display(), %error, "the index cannot be deleted; delete it before the next start");
        }
    }

    fn replace(path: &Path, epoch: Epoch, why: &str) -> Result<Store, Error> {
        tracing::warn!(path = %path.display(), why, "rebuilding the index");
        remove(path).map_err(|error| unwritable(path, &error))?;
        Store::create(path, epoch)
    }

    fn create(path: &Path, epoch: Epoch) -> Result<Store, Error> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| unwritable(path, &error))?;
        }
        let db = builder().create(path).map_err(|error| unwritable(path, &error))?;
        begin(&db, epoch).map_err(|error| unwritable(path, &error))?;
        Ok(Store { db, epoch, path: Some(path.into()) })
    }

    /// The database at `path`, or why it is of no use.
    fn usable(path: &Path, epoch: Epoch, tail: Seq) -> Result<Database, String> {
        let db = builder().set_check_integrity_on_open(true).open(path).map_err(|error| error.to_string())?;
        let meta = || -> Result<(u64, Meta), Error> { meta_of(&db.begin_read()?.open_table(META)?) };
        let (version, meta) = meta().map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!("its version is {version}, this program's is {VERSION}"));
        }
        let tables = || -> Result<(), Error> {
            let read = db.begin_read()?;
            read.open_table(MESSAGES)?;
            read.open_table(RUNS)?;
            read.open_table(ROOMS)?;
            read.open_table(TIMES)?;
            read.open_table(ERASURES)?;
            Ok(())
        };
        tables().map_err(|error| error.to_string())?;
        if meta.epoch != epoch {
            return Err(format!("it belongs to the log of epoch {}, not {epoch}", meta.epoch));
        }
        if meta.position > tail {
            return Err(format!("it is at position {}, beyond the log's tail {tail}", meta.position));
        }
        Ok(db)
    }

    /// Folds entries in, in one commit that is visible at once and durable with the next [`Store::flush`].
    ///
    /// The entries must continue where the last ones ended. Cost: one read and one write for each message touched.
    pub(super) fn apply(&self, entries: &[Arc<Entry>]) -> Result<(), Error> {
        let Some(last) = entries.last() else { return Ok(()) };
        let mut write = self.db.begin_write()?;
        write.set_durability(Durability::None)?;
        fold_messages(&write, entries)?;
        fold_runs(&write, entries)?;
        fold_rooms(&write, entries)?;
        fold_times(&write, entries)?;
        fold_erasures(&write, entries)?;
        put_meta(&write, Meta { epoch: self.epoch, position: last.header.seq, hash: last.hash() })?;
        Ok(write.commit()?)
    }

    /// Makes everything applied so far durable. Cost: two syncs, and the pages written since the last one.
    pub(super) fn flush(&self) -> Result<(), Error> {
        let mut write = self.db.begin_write()?;
        write.set_quick_repair(true);
        Ok(write.commit()?)
    }
}

fn fold_messages(write: &WriteTransaction, entries: &[Arc<Entry>]) -> Result<(), Error> {
    let mut changes: Vec<(MessageId, Seq, Change)> = Vec::with_capacity(entries.len());
    for entry in entries {
        changes.extend(Change::of(entry).map(|(id, change)| (id, entry.header.seq, change)));
    }
    // Stable: one message's changes stay in the order of the log.
    changes.sort_by_key(|(id, ..)| *id);
    let mut table = write.open_table(MESSAGES)?;
    let mut bytes = Vec::new();
    for of_one in changes.chunk_by(|a, b| a.0 == b.0) {
        let id = of_one[0].0;
        let mut record = match table.get(id.as_bytes())? {
            Some(stored) => codec::decode(stored.value()).ok_or_else(|| Error::Damaged(format!("record of {id}")))?,
            None => Record::default(),
        };
        for (_, seq, change) in of_one {
            record.apply(*seq, change);
        }
        codec::encode(&mut bytes, &record);
        table.insert(id.as_bytes(), bytes.as_slice())?;
    }
    Ok(())
}

fn fold_runs(write: &WriteTransaction, entries: &[Arc<Entry>]) -> Result<(), Error> {
    let mut places: Vec<(&str, Class, Seq)> = entries
        .iter()
        .filter_map(|entry| Some((entry.header.room.as_ref()?.as_str(), Class::of(entry), entry.header.seq)))
        .collect();
    // In key order, neighbours land on the page that is already at hand.
    places.sort_unstable();
    let mut table = write.open_table(RUNS)?;
    let mut key = Vec::new();
    for (room, class, seq) in places {
        codec::run_key(&mut key, room, class, seq);
        table.insert(key.as_slice(), ())?;
    }
    // A later fold of the log finds nothing that says who posted it.
    for (room, erased) in entries.iter().filter_map(erasure).filter(|(_, erased)| erased.reply.is_none()) {
        for seq in &erased.positions {
            codec::run_key(&mut key, room.as_str(), Class::Bot, *seq);
            if table.remove(key.as_slice())?.is_some() {
                codec::run_key(&mut key, room.as_str(), Class::Human, *seq);
                table.insert(key.as_slice(), ())?;
            }
        }
    }
    Ok(())
}

fn fold_erasures(write: &WriteTransaction, entries: &[Arc<Entry>]) -> Result<(), Error> {
    let mut table = write.open_table(ERASURES)?;
    for entry in entries {
        if let Event::MessageErased(erased) = &entry.event {
            table.insert(entry.header.seq.0, codec::positions_bytes(&erased.positions).as_slice())?;
        }
    }
    Ok(())
}

/// What an entry erases, and in which room.
fn erasure(entry: &Arc<Entry>) -> Option<(&RoomName, &MessageErased)> {
    match (&entry.event, &entry.header.room) {
        (Event::MessageErased(erased), Some(room)) => Some((room, erased)),
        _ => None,
    }
}

fn fold_rooms(write: &WriteTransaction, entries: &[Arc<Entry>]) -> Result<(), Error> {
    let mut said: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| Class::of(entry) != Class::Other) {
        if let Some(room) = &entry.header.room {
            let (messages, ..) = said.get(room.as_str()).copied().unwrap_or_default();
            said.insert(room.as_str(), (messages + 1, entry.header.seq.0, view::said_ms(entry)));
        }
    }
    let mut table = write.open_table(ROOMS)?;
    for (room, (messages, seq, at_ms)) in said {
        let before = table.get(room)?.map_or(0, |row| row.value().0);
        table.insert(room, (before + messages, seq, at_ms))?;
    }
    Ok(())
}

fn fold_times(write: &WriteTransaction, entries: &[Arc<Entry>]) -> Result<(), Error> {
    let mut table = write.open_table(TIMES)?;
    let mut last = table.last()?.map(|(second, _)| second.value());
    for entry in entries {
        // The log's times never run backwards, so a new second is always the greatest so far.
        let second = entry.header.at_ms / 1_000;
        if last.is_none_or(|last| last < second) {
            table.insert(second, entry.header.seq.0)?;
            last = Some(second);
        }
    }
    Ok(())
}

/// Makes the tables of an empty index, durably.
fn begin(db: &Database, epoch: Epoch) -> Result<(), Error> {
    let mut write = db.begin_write()?;
    write.set_quick_repair(true);
    write.open_table(MESSAGES)?;
    write.open_table(RUNS)?;
    write.open_table(ROOMS)?;
    write.open_table(TIMES)?;
    write.open_table(ERASURES)?;
    put_meta(&write, Meta { epoch, position: Seq::ZERO, hash: [0; 32] })?;
    Ok(write.commit()?)
}

fn put_meta(write: &WriteTransaction, meta: Meta) -> Result<(), Error> {
    write.open_table(META)?.insert((), (VERSION, meta.epoch.0, meta.position.0, meta.hash))?;
    Ok(())
}

pub(super) fn meta_of(table: &impl ReadableTable<(), (u64, u64, u64, [u8; 32])>) -> Result<(u64, Meta), Error> {
    let row = table.get(())?.ok_or_else(|| Error::Damaged("no row in `meta`".into()))?;
    let (version, epoch, position, hash) = row.value();
    Ok((version, Meta { epoch: Epoch(epoch), position: Seq(position), hash }))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) if path.is_dir() => fs::remove_dir(path),
        result => result,
    }
}

fn unwritable(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::Unwritable { path: path.into(), why: error.to_string() }
}
