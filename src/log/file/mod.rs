//! The embedded log: append-only segments in one folder, one writer, many readers.
