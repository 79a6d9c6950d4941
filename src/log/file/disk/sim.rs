//! A disk in memory that forgets, tears, fills up and fails, the same way each time for the same seed.
//!
//! What processes see and what would be left after a power loss are kept apart. [`SimDisk::lose_power`] keeps what was
//! synced; of everything since, each sector of each write is there, not there, or there up to some byte, and each name
//! made, changed or removed is so or not: any subset, whatever the order in which it was asked for.
//!
//! A sync that fails forgets what it should have written: processes still see it, the next sync succeeds, and it is not
//! on the disk (Rebello et al., "Can applications recover from fsync failures?", USENIX ATC 2020).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Disk, File, Lock, LockError};
use crate::log::conformance::Xorshift;

const SECTOR_BYTES: usize = 512;

/// See the module header. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This and everything after it fails: the machine is gone. A write leaves some of it pending.
    Crash,
    /// Only this fails, with an I/O error.
    Fail,
    /// Only this is refused, before anything is done: no descriptors are left.
    Refuse,
}

#[derive(Debug, Default)]
struct State {
    seen: Names,
    durable: Names,
    pending_names: Vec<Rename>,
    files: Vec<Bytes>,
    locked: BTreeSet<PathBuf>,
    faults: BTreeMap<u64, Fault>,
    crashed: bool,
    operations: u64,
    syncs: Vec<u64>,
    space_left: Option<u64>,
}

type Names = BTreeMap<PathBuf, usize>;

/// A change of names in a folder; `file` is none for a removal.
#[derive(Debug, Clone)]
struct Rename {
    path: PathBuf,
    from: Option<PathBuf>,
    file: Option<usize>,
}

#[derive(Debug, Default)]
struct Bytes {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets the operation after `count` more changing ones go wrong. Changing are: create, write, sync, rename, remove.
    pub(crate) fn fault_after(&self, count: u64, fault: Fault) {
        let mut state = self.state();
        let at = state.operations + count;
        state.faults.insert(at, fault);
    }

    /// How many changing operations there were.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Which of them were syncs of a file.
    pub(crate) fn syncs(&self) -> Vec<u64> {
        self.state().syncs.clone()
    }

    /// How many bytes files may still grow by in all; `None`: no bound.
    pub(crate) fn set_space_left(&self, bytes: Option<u64>) {
        self.state().space_left = bytes;
    }

    /// The machine as it is after a power loss and a restart.
    pub(crate) fn lose_power(&self, seed: u64) -> SimDisk {
        let state = self.state();
        // Never 0, where the generator would stop; spread, so that seeds side by side differ from the start.
        let mut random = Xorshift(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // Some power losses keep nearly all, some nearly nothing: a tear is as likely early as late.
        let keep = random.below(5);
        let mut names = state.durable.clone();
        for change in &state.pending_names {
            if random.below(4) < keep {
                change.apply(&mut names);
            }
        }
        let mut after = State::default();
        for file in &state.files {
            let mut bytes = file.durable.clone();
            for (offset, written) in &file.pending {
                for (at, sector) in sectors(*offset, written) {
                    match random.below(4) {
                        n if n < keep => put(&mut bytes, at, sector),
                        3 if random.below(4) == 0 => {
                            let torn = random.below(sector.len() as u64) as usize;
                            put(&mut bytes, at, &sector[..torn]);
                        }
                        _ => {}
                    }
                }
            }
            after.files.push(Bytes { seen: bytes.clone(), durable: bytes, pending: Vec::new() });
        }
        (after.seen, after.durable) = (names.clone(), names);
        SimDisk(Arc::new(Mutex::new(after)))
    }

    /// The machine keeps running, with another process: `kill -9`, no power loss.
    pub(crate) fn restart_process(&self) {
        let mut state = self.state();
        state.locked.clear();
        state.faults.clear();
        state.crashed = false;
    }

    /// Changes a byte of a file behind everybody's back.
    pub(crate) fn flip(&self, path: &Path, offset: usize) {
        let mut state = self.state();
        let file = state.seen[path];
        let bytes = &mut state.files[file];
        bytes.seen[offset] ^= 0x40;
        bytes.durable = bytes.seen.clone();
    }

    /// The bytes of a file as processes see them.
    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.files[state.seen[path]].seen.clone()
    }

    /// The files that processes see.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.state().seen.keys().cloned().collect()
    }
}

impl State {
    /// Counts a changing operation; an error if it is to go wrong.
    fn change(&mut self) -> io::Result<()> {
        let fault = self.faults.get(&self.operations).copied();
        self.operations += 1;
        self.crashed |= fault == Some(Fault::Crash);
        if self.crashed {
            return Err(io::Error::other("the simulated machine is gone"));
        }
        match fault {
            Some(Fault::Fail) => Err(io::Error::other("a simulated failure")),
            Some(Fault::Refuse) => Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error())),
            Some(Fault::Crash) | None => Ok(()),
        }
    }

    fn change_name(&mut self, change: Rename) {
        change.apply(&mut self.seen);
        self.pending_names.push(change);
    }
}

impl Rename {
    fn apply(&self, names: &mut Names) {
        if let Some(from) = &self.from {
            names.remove(from);
        }
        match self.file {
            Some(file) => drop(names.insert(self.path.clone(), file)),
            None => drop(names.remove(&self.path)),
        }
    }
}

impl Disk for SimDisk {
    fn create_folder(&self, _path: &Path) -> io::Result<()> {
        // Folders are not what we look at: they are there when something is in them.
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.change()?;
        let file = state.files.len();
        state.files.push(Bytes::default());
        state.change_name(Rename { path: path.into(), from: None, file: Some(file) });
        drop(state);
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = *self.state().seen.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let file = *state.seen.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_name(Rename { path: to.into(), from: Some(from.into()), file: Some(file) });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.change_name(Rename { path: path.into(), from: None, file: None });
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let mut names = BTreeSet::new();
        for path in state.seen.keys() {
            if let Some(name) = path.strip_prefix(folder).ok().and_then(|rest| rest.components().next()) {
                names.insert(name.as_os_str().to_string_lossy().into_owned());
            }
        }
        Ok(names.into_iter().collect())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let inside = |change: &Rename| {
            let in_folder = |path: &Path| path.parent() == Some(folder);
            in_folder(&change.path) || change.from.as_deref().is_some_and(in_folder)
        };
        let (synced, pending) = std::mem::take(&mut state.pending_names).into_iter().partition::<Vec<_>, _>(inside);
        state.pending_names = pending;
        synced.iter().for_each(|change| change.apply(&mut state.durable));
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<Lock, LockError> {
        if !self.state().locked.insert(path.into()) {
            return Err(LockError::Held { pid: Some(4_711) });
        }
        struct Unlock(SimDisk, PathBuf);
        impl Drop for Unlock {
            fn drop(&mut self) {
                self.0.state().locked.remove(&self.1);
            }
        }
        Ok(Box::new(Unlock(self.clone(), path.into())))
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = &state.files[self.file].seen;
        let rest = &bytes[bytes.len().min(offset as usize)..];
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let gone_before = state.crashed;
        let mut result = state.change();
        let mut bytes = bytes;
        if let Some(space) = state.space_left {
            let len = state.files[self.file].seen.len() as u64;
            let growth = (offset + bytes.len() as u64).saturating_sub(len);
            if growth > space {
                bytes = &bytes[..bytes.len() - usize::try_from(growth - space).unwrap().min(bytes.len())];
                result = result.and(Err(io::ErrorKind::StorageFull.into()));
            }
            state.space_left = Some(space - growth.min(space));
        }
        if gone_before || result.as_ref().is_err_and(super::is_passing) {
            return result;
        }
        // A write that fails, or during which the machine goes, has happened in part: the pending part may be any of it.
        let file = &mut state.files[self.file];
        put(&mut file.seen, offset as usize, bytes);
        file.pending.push((offset, bytes.to_vec()));
        result
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let operation = state.operations;
        state.syncs.push(operation);
        // It needs nothing that could be refused.
        let result = match state.change() {
            Err(error) if super::is_passing(&error) => Ok(()),
            result => result,
        };
        let crashed = state.crashed;
        let file = &mut state.files[self.file];
        match &result {
            Ok(()) => {
                for (offset, bytes) in std::mem::take(&mut file.pending) {
                    put(&mut file.durable, offset as usize, &bytes);
                }
            }
            // Gone with the machine: still pending. Failed: forgotten.
            Err(_) if !crashed => file.pending.clear(),
            Err(_) => {}
        }
        result
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    if written.is_empty() {
        return;
    }
    bytes.resize(bytes.len().max(offset + written.len()), 0);
    bytes[offset..offset + written.len()].copy_from_slice(written);
}

/// A write cut at sector borders.
fn sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let offset = offset as usize;
    let first = (SECTOR_BYTES - offset % SECTOR_BYTES).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let rest = rest.chunks(SECTOR_BYTES).enumerate().map(move |(n, s)| (offset + first + n * SECTOR_BYTES, s));
    std::iter::once((offset, head)).chain(rest).filter(|(_, s)| !s.is_empty())
}
