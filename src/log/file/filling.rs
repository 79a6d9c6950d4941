//! Fills a folder with the entries of another log, position and epoch included.
//!
//! Promises:
//! - until [`Filling::finish`] no server opens the folder, because it contains the file `filling`; so an interrupted copy is
//!   never taken for a whole log, and nobody appends to it;
//! - a folder that holds anything else is refused and left as it was.
//!
//! Not here: whether the entries are those that belong there (`replay::copy`).

use std::{io, path::Path, sync::Arc};

use antiphon_schemas::{Entry, Epoch, Seq};

use super::{
    FileLog, OpenError, Options,
    disk::{Disk, RealDisk},
    meta::Meta,
    segment,
};
use crate::{
    clock::Clock,
    log::{Error, GoOn, Log},
};

/// Stands in a folder that is being filled.
const MARK: &str = "filling";
/// What an empty folder may hold: our lock, and what file systems put at their root.
const NOTHING: &[&str] = &["lock", "lost+found"];
/// What may be there besides, if the mark is: its making was broken off.
const BEGINNING: &[&str] = &[MARK, segment::FOLDER, "meta.new"];

/// A folder's log while it is being filled.
#[derive(Debug)]
pub struct Filling {
    log: FileLog,
    disk: Arc<dyn Disk>,
    was_whole: bool,
}

impl Filling {
    /// Creates an empty log with an epoch in a folder that is empty or does not exist, or opens one to continue.
    ///
    /// # Errors
    /// [`OpenError`]; of a folder that is refused nothing was changed.
    pub fn open(folder: &Path, epoch: Epoch, go_on: GoOn) -> Result<Filling, OpenError> {
        Filling::on(Arc::new(RealDisk), folder, epoch, go_on)
    }

    pub(super) fn on(disk: Arc<dyn Disk>, folder: &Path, epoch: Epoch, go_on: GoOn) -> Result<Filling, OpenError> {
        let mut was_whole = false;
        let look = |disk: &dyn Disk, folder: &Path| {
            was_whole = begin(disk, folder, epoch, go_on)?;
            Ok(epoch)
        };
        let log = FileLog::open_after(disk.clone(), folder, Options::default(), Clock::system(), look)?;
        Ok(Filling { log, disk, was_whole })
    }

    /// The last position that it has.
    pub fn tail(&self) -> Seq {
        self.log.tail()
    }

    /// Whether it was already a complete log before it was opened to continue.
    pub fn was_whole(&self) -> bool {
        self.was_whole
    }

    /// Adds entries that continue where it ends; they are on the disk when this returns.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn load(&self, entries: Vec<Arc<Entry>>) -> Result<(), Error> {
        self.log.load(entries).await
    }

    /// It is whole: servers may open it from now on.
    ///
    /// # Errors
    /// [`Error::Io`]: it still counts as half filled.
    pub async fn finish(self, folder: &Path) -> Result<(), Error> {
        let removed = self.disk.remove(&folder.join(MARK)).and_then(|()| self.disk.sync_folder(folder));
        removed.map_err(|error| Error::Io(format!("`{}`: {error}", folder.join(MARK).display())))?;
        self.log.close().await
    }
}

/// Marks a locked folder, or says why it may not be filled; whether there was a whole log in it.
fn begin(disk: &dyn Disk, folder: &Path, epoch: Epoch, go_on: GoOn) -> Result<bool, OpenError> {
    let names = names(disk, folder)?;
    let marked = names.iter().any(|name| name == MARK);
    let refused = |why| Err(OpenError::NotFillable { folder: folder.into(), why });
    let was_whole = match Meta::load(disk, folder) {
        Ok(Some(meta)) if meta.epoch() != epoch => {
            return refused(format!("the log in it has epoch {}, the one to copy has {epoch}", meta.epoch()));
        }
        Ok(Some(_)) if !marked && go_on == GoOn::HalfFilled => return refused("it already contains a log".into()),
        Ok(Some(_)) => !marked,
        Ok(None) => {
            let mine = |name: &&str| NOTHING.contains(name) || marked && BEGINNING.contains(name);
            let other: Vec<_> = names.iter().map(String::as_str).filter(|name| !mine(name)).take(3).collect();
            if !other.is_empty() {
                return refused(format!("it holds `{}`", other.join("`, `")));
            }
            false
        }
        Err(_) => return refused("its `meta` cannot be read".into()),
    };
    if marked {
        return Ok(false);
    }
    let mark = || {
        let file = disk.create(&folder.join(MARK))?;
        file.write_at(b"antiphon replay is filling this folder; servers open it when that is done\n", 0)?;
        file.sync_data()?;
        disk.sync_folder(folder)
    };
    mark().map_err(|why| OpenError::Folder { folder: folder.into(), why })?;
    Ok(was_whole)
}

/// What a server says to a folder that is not whole.
pub(super) fn refuse(disk: &dyn Disk, folder: &Path) -> Result<(), OpenError> {
    match names(disk, folder)?.iter().any(|name| name == MARK) {
        true => Err(OpenError::HalfFilled(folder.into())),
        false => Ok(()),
    }
}

fn names(disk: &dyn Disk, folder: &Path) -> Result<Vec<String>, OpenError> {
    match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|source| OpenError::Io { file: folder.into(), source }),
    }
}
