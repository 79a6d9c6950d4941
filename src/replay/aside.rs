//! A file that is written aside and gets its name when it is whole.
//!
//! Promises: until [`Aside::publish`] nothing has the name; what broke off is removed, or after a crash called
//! `….unfinished`; an existing file is replaced only on request.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// A file without its name yet; removed when dropped.
#[derive(Debug)]
pub struct Aside {
    file: fs::File,
    path: PathBuf,
    published: bool,
}

/// Whether a file of the same name may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// No.
    Never,
    /// By the word of a person.
    Yes,
}

impl Aside {
    /// A new file beside `target`; `what` tells those apart that one process makes.
    ///
    /// # Errors
    /// As the system says.
    pub fn beside(target: &Path, what: &str) -> io::Result<Aside> {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{what}-{}.unfinished", std::process::id()));
        let path = target.with_file_name(name);
        // Of a process that had our number.
        let file = fs::File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Aside { file, path, published: false })
    }

    /// A new file among those that nobody keeps.
    ///
    /// # Errors
    /// As the system says.
    pub fn anywhere(what: &str) -> io::Result<Aside> {
        Aside::beside(&std::env::temp_dir().join("antiphon"), what)
    }

    /// The file, for reading and writing.
    ///
    /// # Errors
    /// As the system says.
    pub fn file(&self) -> io::Result<fs::File> {
        self.file.try_clone()
    }

    /// Gives the file its name; on the disk when this returns.
    ///
    /// # Errors
    /// `AlreadyExists`, and as the system says.
    pub fn publish(mut self, target: &Path, replace: Replace) -> io::Result<()> {
        self.file.sync_all()?;
        check_free(target, replace)?;
        fs::rename(&self.path, target)?;
        self.published = true;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(parent)?.sync_all()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done; its name says what it is.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a file may get this name.
///
/// # Errors
/// `AlreadyExists`.
pub fn check_free(target: &Path, replace: Replace) -> io::Result<()> {
    match (fs::symlink_metadata(target), replace) {
        (Ok(meta), _) if meta.is_dir() => Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is a folder")),
        (Ok(_), Replace::Never) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_gets_its_name_when_it_is_whole_and_what_breaks_off_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let target = folder.path().join("out");
        let broken_off = Aside::beside(&target, "out").unwrap();
        broken_off.file().unwrap().write_all(b"half").unwrap();
        assert!(names() == 1 && !target.exists());
        drop(broken_off);
        assert_eq!(names(), 0);

        let write = |text: &str, replace| {
            let aside = Aside::beside(&target, "out").unwrap();
            aside.file().unwrap().write_all(text.as_bytes()).unwrap();
            aside.publish(&target, replace)
        };
        write("one", Replace::Never).unwrap();
        assert_eq!(write("two", Replace::Never).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read_to_string(&target).unwrap().as_str(), names()), ("one", 1));
        write("three", Replace::Yes).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "three");
    }
}
