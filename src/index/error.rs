//! What can go wrong with an index, by what to do next.

use std::path::PathBuf;

use antiphon_schemas::Seq;

/// Why the index could not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Its file can be neither opened nor made. Give the process a folder that it may write.
    #[error("the index cannot be created at `{path}`: {why}; is the folder writable?")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// Stored bytes are not what was written. The file has been deleted; a restart rebuilds it.
    #[error("the index is damaged and will be rebuilt at the next start: {0}")]
    Damaged(String),
    /// Entries are missing between what was applied and what came. The file has been deleted; a restart rebuilds it.
    #[error("the index is at position {applied} and was given entry {got}; it will be rebuilt at the next start")]
    Gap {
        /// The last position applied.
        applied: Seq,
        /// The position that came.
        got: Seq,
    },
    /// The disk said no. What was durable is still there after a restart.
    #[error("the index cannot be read or written: {0}")]
    Io(String),
}

impl Error {
    /// Whether the same call may succeed later without a restart: never, for an index.
    pub fn retryable(&self) -> bool {
        false
    }

    /// A stable kebab code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Unwritable { .. } => "index-unwritable",
            Error::Damaged(_) => "index-damaged",
            Error::Gap { .. } => "index-gap",
            Error::Io(_) => "index-io",
        }
    }

    /// Whether the file is worth nothing any more.
    pub(super) fn condemns(&self) -> bool {
        matches!(self, Error::Damaged(_) | Error::Gap { .. })
    }
}

impl From<redb::Error> for Error {
    fn from(error: redb::Error) -> Error {
        match error {
            redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed => Error::Io(error.to_string()),
            _ => Error::Damaged(error.to_string()),
        }
    }
}

macro_rules! from_redb {
    ($($kind:ident)*) => {
        $(impl From<redb::$kind> for Error {
            fn from(error: redb::$kind) -> Error {
                redb::Error::from(error).into()
            }
        })*
    };
}
from_redb!(StorageError TableError TransactionError CommitError DatabaseError SetDurabilityError);
