//! The folder of the outbox: its lock, the two file logs, and compaction: live entries are copied into the other folder.
//!
//! Compaction, in this order; a crash between any two steps leaves a `current` whose folder has everything:
//! 1. the other folder is emptied of what an earlier try may have left;
//! 2. a new file log there gets all entries that still say something, as they are but for their positions;
//! 3. `current` is written aside and renamed: from here on the other folder counts;
//! 4. the old folder is emptied (or at the next open, if that fails).
//!
//! Not here: what the entries say (`record`), when to do this (`worker`).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use antiphon_schemas::{Entry, Header, Seq};

use super::{OpenError, Settings, pending_set::PendingSet};
use crate::{
    clock::Clock,
    log::{
        self, Log,
        file::{
            self, FileLog,
            disk::{Disk, Lock, LockError},
        },
    },
};

const CURRENT: &str = "current";
const CURRENT_ASIDE: &str = "current.new";
/// Entries read at once; pages are bounded by bytes anyway.
const PAGE: usize = 1_024;

/// One of the two folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    A,
    B,
}

impl Half {
    fn name(self) -> &'static str {
        match self {
            Half::A => "a",
            Half::B => "b",
        }
    }

    fn other(self) -> Half {
        match self {
            Half::A => Half::B,
            Half::B => Half::A,
        }
    }
}

/// An open outbox folder.
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    options: file::Options,
    clock: Clock,
    half: Half,
    pub(super) log: FileLog,
    // Held as long as the folder is used.
    _lock: Lock,
}

/// Why a folder was not compacted.
pub(super) enum NotCompacted {
    /// Everything is as it was: try again later.
    Later(String),
    /// Nobody knows which folder counts after a crash: nothing may be written any more.
    Broken(io::Error),
}

/// Opens the folder, or makes one, and reads all of it.
pub(super) async fn open(
    disk: Arc<dyn Disk>,
    path: &Path,
    settings: &Settings,
    clock: Clock,
) -> Result<(Folder, PendingSet), OpenError> {
    let (path, options) = (path.to_path_buf(), settings.log.clone());
    let folder = blocking(move || Folder::open(disk, path, options, clock)).await?;
    let mut pending_set = PendingSet::default();
    while pending_set.tail() < folder.log.tail() {
        for entry in folder.log.read(pending_set.tail(), PAGE).await.map_err(OpenError::Read)? {
            let unreadable = |why| OpenError::Unreadable { folder: folder.half_path(), seq: entry.header.seq, why };
            pending_set.apply(&entry).map_err(unreadable)?;
        }
    }
    Ok((folder, pending_set))
}

impl Folder {
    fn open(disk: Arc<dyn Disk>, path: PathBuf, options: file::Options, clock: Clock) -> Result<Folder, OpenError> {
        let io = |source| OpenError::Io { folder: path.clone(), source };
        disk.create_folder(&path).map_err(io)?;
        let lock = match disk.lock(&path.join("lock")) {
            Ok(lock) => lock,
            Err(LockError::Held { pid }) => return Err(OpenError::Locked { pid }),
            Err(LockError::Io(source)) => return Err(io(source)),
        };
        let half = load_current(&*disk, &path)?;
        if let Err(error) = empty(&*disk, &path.join(half.other().name())) {
            tracing::warn!(%error, "obsolete files of the outbox could not be removed; they only take up space");
        }
        let log = FileLog::open(disk.clone(), path.join(half.name()), options.clone(), clock.clone())?;
        // The file log saw to its own name; this is for ours.
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match disk.sync_folder(parent) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            result => result.map_err(io)?,
        }
        // A salvage is for what is found now, never for what is written from here on.
        let options = file::Options { salvage: false, ..options };
        Ok(Folder { disk, path, options, clock, half, log, _lock: lock })
    }

    fn half_path(&self) -> PathBuf {
        self.path.join(self.half.name())
    }

    /// Continues in the other folder, which holds only live entries; returns their pending set.
    pub(super) async fn compact(&mut self, pending_set: &PendingSet) -> Result<PendingSet, NotCompacted> {
        let later = |error: &dyn std::fmt::Display| NotCompacted::Later(error.to_string());
        let (disk, options, clock) = (self.disk.clone(), self.options.clone(), self.clock.clone());
        let half = self.half.other();
        let target = self.path.join(half.name());
        let made = blocking(move || {
            empty(&*disk, &target).map_err(|source| OpenError::Io { folder: target.clone(), source })?;
            Ok(FileLog::open(disk, target, options, clock)?)
        });
        let log = made.await.map_err(|error: OpenError| later(&error))?;
        let compacted = match copy(&self.log, &log, pending_set).await {
            Ok(compacted) => compacted,
            Err(error) => {
                // It holds nothing that counts.
                let _ = log.close().await;
                return Err(later(&error));
            }
        };
        let (disk, path) = (self.disk.clone(), self.path.clone());
        blocking(move || store_current(&*disk, &path, half)).await?;
        let old = std::mem::replace(&mut self.log, log);
        let old_path = self.half_path();
        self.half = half;
        // Every append to it was answered; and it is not needed any more.
        let _ = old.close().await;
        let disk = self.disk.clone();
        if let Err(error) = blocking(move || empty(&*disk, &old_path)).await {
            tracing::warn!(%error, "obsolete files of the outbox could not be removed; this is retried at the next start");
        }
        Ok(compacted)
    }
}

/// Copies the entries that still say something; they keep their times and their order.
async fn copy(from: &FileLog, to: &FileLog, pending_set: &PendingSet) -> Result<PendingSet, log::Error> {
    let (live, mut compacted) = (pending_set.live(), PendingSet::default());
    let mut wanted = live.into_iter().peekable();
    let mut after = Seq::ZERO;
    while wanted.peek().is_some() {
        let mut copied = Vec::new();
        for entry in from.read(after, PAGE).await? {
            after = entry.header.seq;
            if wanted.next_if_eq(&after).is_some() {
                let header = Header { seq: compacted.tail().next(), ..entry.header.clone() };
                let entry = Entry { header, body: entry.body.clone(), event: entry.event.clone() };
                compacted.apply(&entry).map_err(log::Error::Invalid)?;
                copied.push(Arc::new(entry));
            }
        }
        if !copied.is_empty() {
            to.load(copied).await?;
        }
    }
    Ok(compacted)
}

fn load_current(disk: &dyn Disk, path: &Path) -> Result<Half, OpenError> {
    let file = path.join(CURRENT);
    let bad = |why| OpenError::Current { file: file.clone(), why };
    let io = |source| OpenError::Io { folder: path.into(), source };
    let current = match disk.open(&file) {
        Ok(current) => current,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Never compacted; or somebody removed it, and then the first folder has been emptied long ago.
            let (a, b) = (has_log(disk, path, Half::A).map_err(io)?, has_log(disk, path, Half::B).map_err(io)?);
            return if b && !a { Err(bad("is missing, but there is a folder `b`")) } else { Ok(Half::A) };
        }
        Err(error) => return Err(io(error)),
    };
    let mut bytes = [0; 4];
    let read = current.read_at(&mut bytes, 0).map_err(io)?;
    let half = match &bytes[..read] {
        b"a\n" => Half::A,
        b"b\n" => Half::B,
        _ => return Err(bad("says neither `a` nor `b`")),
    };
    if has_log(disk, path, half).map_err(io)? { Ok(half) } else { Err(bad("names a folder that is empty")) }
}

fn has_log(disk: &dyn Disk, path: &Path, half: Half) -> io::Result<bool> {
    Ok(list(disk, &path.join(half.name()))?.iter().any(|name| name == "meta"))
}

/// Makes `half` the folder that counts; durable when it returns.
fn store_current(disk: &dyn Disk, path: &Path, half: Half) -> Result<(), NotCompacted> {
    let aside = path.join(CURRENT_ASIDE);
    let written = disk.create(&aside).and_then(|file| {
        file.write_at(format!("{}\n", half.name()).as_bytes(), 0)?;
        file.sync_data()
    });
    written.map_err(|error| NotCompacted::Later(error.to_string()))?;
    disk.rename(&aside, &path.join(CURRENT)).and_then(|()| disk.sync_folder(path)).map_err(NotCompacted::Broken)
}

/// Removes the file log in a folder, `meta` last: what has none is no log. What a salvage set aside stays.
fn empty(disk: &dyn Disk, half: &Path) -> io::Result<()> {
    let segments = half.join("log");
    let names: Vec<_> = list(disk, &segments)?.into_iter().filter(|name| name.ends_with(".seg")).collect();
    let has_meta = list(disk, half)?.iter().any(|name| name == "meta");
    if names.is_empty() && !has_meta {
        return Ok(());
    }
    for name in names {
        disk.remove(&segments.join(name))?;
    }
    disk.sync_folder(&segments)?;
    if has_meta {
        disk.remove(&half.join("meta"))?;
    }
    disk.sync_folder(half)
}

fn list(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<String>> {
    match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names,
    }
}

/// Runs what blocks on the disk beside the tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only when the runtime stops; then this task is dropped at its next await, which is here.
            Err(_) => std::future::pending().await,
        },
    }
}
