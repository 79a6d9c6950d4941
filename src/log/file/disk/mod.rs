//! What the file log asks of a disk: the seam at which tests put one that tears, forgets, fills up and fails.
//!
//! The rules that callers go by, which are those of POSIX and of disks as they are:
//! - written bytes are on the disk after [`File::sync_data`], not before; until then any part of them may be, in any order;
//! - a name made, changed or removed is on the disk after [`Disk::sync_folder`];
//! - after a sync that failed nobody knows what is on the disk, and the next sync may succeed without mending that.
//!
//! Not here: any knowledge of the log's format.

mod real;
#[cfg(test)]
pub(crate) mod sim;

use std::{any::Any, fmt, io, path::Path, sync::Arc};

pub use real::RealDisk;

/// Held while a folder is in use; dropping it lets the next process in.
pub type Lock = Box<dyn Any + Send + Sync>;

/// Why a lock could not be taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Held {
        /// Its process id, if it has written one.
        pid: Option<u32>,
    },
    /// The disk said no.
    Io(io::Error),
}

/// Folders and names.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a folder and its parents; fine if it is there.
    ///
    /// # Errors
    /// As the system says.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes an empty file, over one of the same name, for reading and writing.
    ///
    /// # Errors
    /// As the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, and as the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, over one that has it.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// `NotFound`, and as the system says.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Puts the names in a folder on the disk.
    ///
    /// # Errors
    /// As the system says; see the module header.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Takes the lock file `path` and writes our process id into it.
    ///
    /// # Errors
    /// [`LockError::Held`] at once, without waiting.
    fn lock(&self, path: &Path) -> Result<Lock, LockError>;
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait File: fmt::Debug + Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As the system says.
    fn len(&self) -> io::Result<u64>;

    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// As the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all bytes at `offset`, growing the file if need be. After an error any part may be written.
    ///
    /// # Errors
    /// `StorageFull`, and as the system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Puts everything written so far, and the length, on the disk.
    ///
    /// # Errors
    /// As the system says; see the module header.
    fn sync_data(&self) -> io::Result<()>;
}

/// A whole file.
pub(super) fn read_all(file: &dyn File) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.len()?).map_err(|_| io::Error::other("the file does not fit into memory"))?;
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Whether an error says that the system refuses at the moment, before it has done anything: no descriptors or memory left, a
/// signal, a folder that is not there. A failed sync is never among them.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    if error.kind() == io::ErrorKind::NotFound {
        return true;
    }
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN];
    error.raw_os_error().is_some_and(|code| passing.iter().any(|errno| errno.raw_os_error() == code))
}
