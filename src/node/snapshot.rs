//! Snapshots: what a restart cannot read back from index and log, at one position, in one file.
//!
//! ```text
//! magic "antsnap1" │ crc32c of the rest u32 │ MessagePack of {epoch, hash of the entry at the position, kept}
//! ```
//!
//! Promises: written aside, synced, renamed, folder synced, so there is always a whole one or none; one that does not
//! fit the log (other epoch, other entry at its position), does not read, or is of another version of what is kept is ignored:
//! the log is folded from the start. What it remembers of the log ([`remembered`]) counts in any version.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use antiphon_schemas::{Epoch, Seq, pack};
use serde::{Deserialize, Serialize};

use crate::{
    log::Log,
    projection::{SNAPSHOT_VERSION, SnapshotData},
};

const MAGIC: &[u8; 8] = b"antsnap1";

#[derive(Serialize, Deserialize)]
struct Stored {
    epoch: Epoch,
    hash: [u8; 32],
    kept: SnapshotData,
}

/// Where a data folder's snapshot is.
pub(super) fn path(data: &Path) -> PathBuf {
    data.join("snapshot")
}

/// Writes the snapshot of projections whose last entry has this hash.
pub(super) fn write(data: &Path, epoch: Epoch, hash: [u8; 32], projections: SnapshotData) -> io::Result<()> {
    let stored = Stored { epoch, hash, kept: projections };
    let body = rmp_serde::to_vec_named(&stored).map_err(io::Error::other)?;
    let aside = data.join("snapshot.new");
    let mut file = File::create(&aside)?;
    file.write_all(MAGIC)?;
    file.write_all(&crc32c::crc32c(&body).to_le_bytes())?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::rename(&aside, path(data))?;
    File::open(data)?.sync_all()
}

/// The snapshot, if there is one that fits the log; else the beginning.
pub(super) async fn read(data: &Path, log: &dyn Log) -> SnapshotData {
    let bytes = match fs::read(path(data)) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return SnapshotData::default(),
        Err(e) => {
            tracing::warn!(error = %e, "the snapshot cannot be read; folding the log from its start");
            return SnapshotData::default();
        }
    };
    match parse(&bytes) {
        Some(stored) if stored.kept.version != SNAPSHOT_VERSION => {
            tracing::info!("the snapshot is of another version; folding the log from its start");
            SnapshotData::default()
        }
        Some(stored) if fits(&stored, log).await => stored.kept,
        _ => {
            tracing::warn!("the snapshot does not fit the log; folding the log from its start");
            SnapshotData::default()
        }
    }
}

/// What a data folder remembers of the log: epoch, a position, and the hash of the entry there.
pub fn remembered(data: &Path) -> Option<(Epoch, Seq, [u8; 32])> {
    let stored = parse(&fs::read(path(data)).ok()?)?;
    (stored.kept.position > Seq::ZERO).then_some((stored.epoch, stored.kept.position, stored.hash))
}

/// What the snapshot holds, if there is one of this epoch and version.
pub(super) fn kept(data: &Path, epoch: Epoch) -> Option<SnapshotData> {
    let stored = parse(&fs::read(path(data)).ok()?)?;
    (stored.epoch == epoch && stored.kept.version == SNAPSHOT_VERSION).then_some(stored.kept)
}

fn parse(bytes: &[u8]) -> Option<Stored> {
    let (crc, body) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    (crc32c::crc32c(body) == u32::from_le_bytes(*crc)).then(|| pack::from_slice(body).ok())?
}

async fn fits(stored: &Stored, log: &dyn Log) -> bool {
    let position = stored.kept.position;
    if stored.epoch != log.info().epoch || position == Seq::ZERO {
        return false;
    }
    let entry = log.read(Seq(position.0 - 1), 1).await.ok().and_then(|mut entries| entries.pop());
    entry.is_some_and(|entry| entry.header.seq == position && entry.hash() == stored.hash)
}

#[cfg(test)]
mod tests {
    use antiphon_schemas::{
        RequestId,
        event::{Event, KeyRevoked},
    };
    use uuid::Uuid;

    use super::*;
    use crate::{
        clock::Clock,
        log::{Append, Draft, Verdict, memory::MemoryLog},
        projection::{Limits, Projections},
    };

    /// What was written before snapshots had a version.
    #[derive(Serialize)]
    struct Old {
        epoch: Epoch,
        hash: [u8; 32],
        kept: OldKept,
    }

    #[derive(Serialize)]
    struct OldKept {
        position: Seq,
        open: Vec<()>,
        counts: crate::projection::counts::Counts,
    }

    #[tokio::test]
    async fn a_snapshot_of_another_version_is_not_used_but_what_it_remembers_of_the_log_is() {
        let log = MemoryLog::new(Epoch(7), Clock::manual(1).0);
        let event = Event::from(KeyRevoked { key_id: "0123456789ab".into() });
        let drafts = vec![Draft::new(None, event, [0; 16]).unwrap()];
        let request = RequestId(Uuid::from_u128(1));
        let append = Append { after: Seq::ZERO, request, subjects: vec![], drafts, moves: vec![] };
        let verdicts = log.append(vec![append]).await.unwrap();
        let Verdict::Appended(entries) = &verdicts[0] else { panic!("{verdicts:?}") };
        let (hash, position) = (entries[0].hash(), entries[0].header.seq);
        let mut projections =
            Projections::resume(Epoch(7), Limits { recent_messages: 1, rooms: 1 }, SnapshotData::default());
        projections.apply(&entries[0]);
        let dir = tempfile::tempdir().unwrap();

        write(dir.path(), Epoch(7), hash, projections.snapshot()).unwrap();
        assert_eq!(read(dir.path(), &log).await, projections.snapshot());

        let old = Old { epoch: Epoch(7), hash, kept: OldKept { position, open: vec![], counts: Default::default() } };
        let old = rmp_serde::to_vec_named(&old).unwrap();
        let newer = SnapshotData { version: SNAPSHOT_VERSION + 1, ..projections.snapshot() };
        let newer = rmp_serde::to_vec_named(&Stored { epoch: Epoch(7), hash, kept: newer }).unwrap();
        for body in [old, newer] {
            let bytes = [&MAGIC[..], &crc32c::crc32c(&body).to_le_bytes(), &body].concat();
            fs::write(path(dir.path()), bytes).unwrap();
            assert_eq!(read(dir.path(), &log).await, SnapshotData::default());
            assert_eq!(remembered(dir.path()), Some((Epoch(7), position, hash)));
        }
    }
}
