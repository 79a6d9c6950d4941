//! The folder `checkpoints` of a data folder: what a notary has signed, and the leaves it has signed over.
//!
//! ```text
//! checkpoints/latest        the newest signed note
//!             history       signed notes, oldest first, each followed by an empty line
//!             leaves        32 B for each entry, from position 1: its leaf hash
//!             notary.key    the secret; notary.pub: the verifier key          (`keys`)
//!             <epoch>/      latest, history and leaves of an epoch of the log that has ended
//! ```
//!
//! Promises: `latest` is written to a temporary file and renamed, so a reader always sees a complete one, the old or the new; a
//! torn end of `history` or `leaves` is ignored, and truncated by the next writer. Files are synced only at a clean stop, so
//! no append ever waits for that: after a power failure `leaves` may be short or wrong, and is rebuilt from the log.
//! Not here: whether the content is true (`notary`, `replay verify`).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use antiphon_schemas::Epoch;

use super::merkle::Hash;

const LEAF_BYTES: u64 = 32;
/// Leaves that a reader holds at a time.
const WINDOW_LEAVES: u64 = 2_048;

/// Where the files of a notary are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `checkpoints` itself.
    pub folder: PathBuf,
    /// The newest signed note.
    pub latest: PathBuf,
    /// Signed notes, oldest first.
    pub history: PathBuf,
    /// The leaf hashes.
    pub leaves: PathBuf,
    /// The notary's secret.
    pub key: PathBuf,
    /// Its verifier key.
    pub public: PathBuf,
}

/// Where the files of a notary are in a data folder.
pub fn paths(data: &Path) -> Paths {
    Paths::of(data.join("checkpoints"))
}

impl Paths {
    fn of(folder: PathBuf) -> Paths {
        let [latest, history, leaves, key, public] =
            ["latest", "history", "leaves", "notary.key", "notary.pub"].map(|name| folder.join(name));
        Paths { folder, latest, history, leaves, key, public }
    }

    /// Where what was signed in an epoch that has ended is kept. Its keys stay where they are.
    pub fn of_ended(&self, epoch: Epoch) -> Paths {
        Paths::of(self.folder.join(epoch.to_string()))
    }
}

/// The newest signed note; `None` if there is none. Nothing of it is checked.
///
/// # Errors
/// What the system says when it cannot be read.
pub fn read_latest(paths: &Paths) -> io::Result<Option<String>> {
    match fs::read(&paths.latest) {
        // What is not text is no note, and is found not to be one.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The signed notes of the history, oldest first, without a torn end. Nothing of them is checked.
///
/// # Errors
/// What the system says when it cannot be read.
pub fn read_history(paths: &Paths) -> io::Result<Vec<String>> {
    Ok(whole_notes(paths)?.0)
}

/// The whole notes of the history, and where they end in it.
fn whole_notes(paths: &Paths) -> io::Result<(Vec<String>, u64)> {
    let bytes = match fs::read(&paths.history) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(e) => return Err(e),
    };
    let (mut notes, mut start, mut at, mut is_signed) = (Vec::new(), 0, 0, false);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        // A text has empty lines of its own; the one that ends a note follows a signature.
        if line == b"\n" && is_signed {
            let Ok(note) = std::str::from_utf8(&bytes[start..at]) else { break };
            notes.push(note.to_owned());
            start = at + 1;
        }
        at += line.len();
        is_signed = line.starts_with("— ".as_bytes()) && line.ends_with(b"\n");
    }
    Ok((notes, start as u64))
}

/// Reads leaf hashes: any of them, and those in a row without a call of the system for each.
#[derive(Debug)]
pub struct Leaves {
    file: File,
    len: u64,
    /// Leaves from `from` on.
    window: Vec<u8>,
    from: u64,
}

impl Leaves {
    /// The leaves in a folder; `None` if there are none.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(paths: &Paths) -> io::Result<Option<Leaves>> {
        match File::open(&paths.leaves) {
            Ok(file) => {
                let len = file.metadata()?.len() / LEAF_BYTES;
                Ok(Some(Leaves { file, len, window: Vec::new(), from: 0 }))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// How many whole ones it had when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it had none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The leaf with this index: that of the entry at the position one higher.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if there is none; else what the system says.
    pub fn get(&mut self, index: u64) -> io::Result<Hash> {
        if index >= self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let held = (self.window.len() as u64) / LEAF_BYTES;
        if !(self.from..self.from + held).contains(&index) {
            let count = WINDOW_LEAVES.min(self.len - index);
            // Nothing is held if it cannot be read.
            let mut window = std::mem::take(&mut self.window);
            window.resize((count * LEAF_BYTES) as usize, 0);
            self.file.read_exact_at(&mut window, index * LEAF_BYTES)?;
            (self.window, self.from) = (window, index);
        }
        let at = ((index - self.from) * LEAF_BYTES) as usize;
        Ok(self.window[at..].first_chunk().copied().unwrap_or_default())
    }
}

/// Leaves that are made again from the log, beside the present ones.
#[derive(Debug)]
pub struct Rebuilt {
    file: File,
    path: PathBuf,
}

impl Rebuilt {
    /// As [`Store::write_leaves`].
    ///
    /// # Errors
    /// What the system says.
    pub fn write_leaves(&self, index: u64, leaves: &[Hash]) -> io::Result<()> {
        self.file.write_all_at(leaves.as_flattened(), index * LEAF_BYTES)
    }
}

impl Drop for Rebuilt {
    /// What was not adopted is of no use to anybody.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes the folder. One at a time: the data folder's lock sees to it.
#[derive(Debug)]
pub struct Store {
    paths: Paths,
    leaves: File,
}

impl Store {
    /// Opens the folder, or makes it, and cuts a torn end of the history.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(paths: Paths) -> io::Result<Store> {
        fs::create_dir_all(&paths.folder)?;
        let (_, end) = whole_notes(&paths)?;
        match OpenOptions::new().write(true).open(&paths.history) {
            Ok(history) => history.set_len(end)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let leaves = open_leaves(&paths)?;
        Ok(Store { paths, leaves })
    }

    /// Where it writes.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Writes leaves starting at this index, overwriting existing ones. One write.
    ///
    /// # Errors
    /// The system's error; the file's contents must then be written again.
    pub fn write_leaves(&self, index: u64, leaves: &[Hash]) -> io::Result<()> {
        self.leaves.write_all_at(leaves.as_flattened(), index * LEAF_BYTES)
    }

    /// Keeps this many leaves.
    ///
    /// # Errors
    /// What the system says.
    pub fn cut_leaves(&self, count: u64) -> io::Result<()> {
        self.leaves.set_len(count * LEAF_BYTES)
    }

    /// Begins to make the leaves again; the present ones stay until [`Store::adopt`].
    ///
    /// # Errors
    /// What the system says.
    pub fn rebuild(&self) -> io::Result<Rebuilt> {
        let path = self.paths.folder.join("leaves.new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        Ok(Rebuilt { file, path })
    }

    /// Puts leaves that were made again in the place of the present ones.
    ///
    /// # Errors
    /// What the system says.
    pub fn adopt(&mut self, rebuilt: Rebuilt) -> io::Result<()> {
        fs::rename(&rebuilt.path, &self.paths.leaves)?;
        self.leaves = open_leaves(&self.paths)?;
        Ok(())
    }

    /// Makes this the newest note.
    ///
    /// # Errors
    /// What the system says; then the previous one is still valid.
    pub fn write_latest(&self, note: &str) -> io::Result<()> {
        let aside = self.paths.folder.join("latest.new");
        fs::write(&aside, note)?;
        fs::rename(&aside, &self.paths.latest)
    }

    /// Adds a note to the history.
    ///
    /// # Errors
    /// What the system says; a part of it may be there, and is ignored.
    pub fn add_history(&self, note: &str) -> io::Result<()> {
        let mut history = OpenOptions::new().append(true).create(true).open(&self.paths.history)?;
        history.write_all(format!("{note}\n").as_bytes())
    }

    /// Puts away what was signed in an epoch that has ended, and starts over. Only files of the same names
    /// overwrite what was set aside before: after a crash midway, calling it again moves the rest.
    ///
    /// # Errors
    /// What the system says; call it again.
    pub fn set_aside(&mut self, epoch: Epoch) -> io::Result<()> {
        let aside = self.paths.of_ended(epoch);
        fs::create_dir_all(&aside.folder)?;
        let Paths { latest, history, leaves, .. } = &self.paths;
        // The newest note last: as long as it is here, the next start knows what is to be put away.
        for (from, to) in [(leaves, &aside.leaves), (history, &aside.history), (latest, &aside.latest)] {
            match fs::rename(from, to) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        self.leaves = open_leaves(&self.paths)?;
        Ok(())
    }

    /// What was written is on the disk when this returns.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> io::Result<()> {
        self.leaves.sync_data()?;
        for path in [&self.paths.latest, &self.paths.history] {
            match File::open(path) {
                Ok(file) => file.sync_data()?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        File::open(&self.paths.folder)?.sync_all()
    }
}

fn open_leaves(paths: &Paths) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(&paths.leaves)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::note::Signer;

    fn note(n: usize) -> String {
        let signer = Signer::from_seed("antiphon/n", [7; 32]).unwrap();
        signer.sign(&format!("antiphon/n/{n}\n{n}\nroot\n")).unwrap()
    }

    #[test]
    fn notes_and_leaves_are_read_back_whole_whatever_a_crash_left_behind_them() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        assert_eq!(read_latest(&paths).unwrap(), None);
        assert!(read_history(&paths).unwrap().is_empty() && Leaves::open(&paths).unwrap().is_none());
        let store = Store::open(paths.clone()).unwrap();
        for n in 0..3 {
            store.add_history(&note(n)).unwrap();
            store.write_latest(&note(n)).unwrap();
        }
        let whole = fs::read(&paths.history).unwrap();
        let next = format!("{}\n", note(3)).into_bytes();
        for end in 0..next.len() {
            fs::write(&paths.history, [&whole, &next[..end]].concat()).unwrap();
            assert_eq!(read_history(&paths).unwrap(), (0..3).map(note).collect::<Vec<_>>(), "cut at {end}");
            let store = Store::open(paths.clone()).unwrap();
            store.add_history(&note(4)).unwrap();
            assert_eq!(read_history(&paths).unwrap(), [0, 1, 2, 4].map(note), "cut at {end}");
        }
        assert_eq!(read_latest(&paths).unwrap(), Some(note(2)));

        let leaves: Vec<Hash> = (0..5_000_u64).map(|i| std::array::from_fn(|at| (i >> (at % 8)) as u8)).collect();
        store.write_leaves(0, &leaves[..3_000]).unwrap();
        store.write_leaves(3_000, &leaves[3_000..]).unwrap();
        OpenOptions::new().append(true).open(&paths.leaves).unwrap().write_all(b"torn").unwrap();
        let mut read = Leaves::open(&paths).unwrap().unwrap();
        assert_eq!(read.len(), 5_000);
        for index in (0..5_000).chain([4_999, 0, 2_047, 2_048, 4_095, 17]) {
            assert_eq!(read.get(index).unwrap(), leaves[index as usize], "leaf {index}");
        }
        assert_eq!(read.get(5_000).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        store.cut_leaves(7).unwrap();
        assert_eq!(Leaves::open(&paths).unwrap().unwrap().len(), 7);
        store.sync().unwrap();
    }

    #[test]
    fn what_an_ended_epoch_signed_is_kept_aside_also_after_a_crash_in_mid_way() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        let mut store = Store::open(paths.clone()).unwrap();
        store.write_leaves(0, &[[1; 32]]).unwrap();
        store.add_history(&note(1)).unwrap();
        store.write_latest(&note(2)).unwrap();
        let aside = paths.of_ended(Epoch(9));
        // The leaves were put away, then it crashed.
        fs::create_dir_all(&aside.folder).unwrap();
        fs::rename(&paths.leaves, &aside.leaves).unwrap();

        store.set_aside(Epoch(9)).unwrap();
        store.set_aside(Epoch(9)).unwrap();
        assert_eq!(read_latest(&aside).unwrap(), Some(note(2)));
        assert_eq!(read_history(&aside).unwrap(), [note(1)]);
        assert_eq!(read_latest(&paths).unwrap(), None);
        store.write_leaves(0, &[[2; 32], [3; 32]]).unwrap();
        assert_eq!(Leaves::open(&paths).unwrap().unwrap().len(), 2);
    }
}
