//! Where the log is.
