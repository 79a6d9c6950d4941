//! Why a log could not be opened.

use std::{io, path::PathBuf};

/// Why a log could not be opened; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or written to.
    #[error("cannot use the data folder `{}`: {why}; make it writable, or choose another with --data", folder.display())]
    Folder {
        /// The data folder.
        folder: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// Another process uses the folder.
    #[error("the data folder `{}` is in use by {}; stop it, or choose another folder with --data", folder.display(), pid.map_or("another process".into(), |pid| format!("process {pid}")))]
    Locked {
        /// The data folder.
        folder: PathBuf,
        /// Who uses it, if it could be read.
        pid: Option<u32>,
    },
    /// Stored bytes are not what was written, and it is not a torn tail.
    #[error("the log is damaged: `{}` at byte {offset}: {why}; restore the data folder from a backup, or start with --salvage to keep what is before it and set the rest aside", file.display())]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// Another log is being copied into it, or was when that was interrupted.
    #[error("the data folder `{}` is incomplete: let `antiphon replay load` or `into` finish, or remove the folder", .0.display())]
    HalfFilled(PathBuf),
    /// It cannot be filled: something is there that may not be added to.
    #[error("`{}` cannot be filled: {why}; name a folder that is empty or does not exist", folder.display())]
    NotFillable {
        /// The data folder.
        folder: PathBuf,
        /// What is there.
        why: String,
    },
    /// Another version of this program wrote it.
    #[error("`{}` has format version {found}, but this program supports {known}; use the version of Antiphon that wrote it", file.display())]
    OtherVersion {
        /// The file.
        file: PathBuf,
        /// The version that it has.
        found: u32,
        /// The version that we write.
        known: u32,
    },
    /// The disk said no while an existing log was read or mended.
    #[error("cannot open the log: `{}`: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
