//! The progress bar of an import: rate and time left on a terminal, nothing elsewhere.

use std::{
    io::{self, IsTerminal},
    path::Path,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::source;
use crate::cli::foreign;

/// What fits beside the bar.
const TROUBLE_CHARS_MAX: usize = 200;

/// The bar; hidden when stderr is not a terminal.
pub(super) struct Progress(ProgressBar);

/// How many rows there are, if a terminal shows it and the file can be read twice.
pub(super) fn total(file: &Path, limit: Option<u64>) -> io::Result<Option<u64>> {
    if !io::stderr().is_terminal() || !file.metadata().is_ok_and(|m| m.is_file()) {
        return Ok(None);
    }
    let rows = source::count(source::open(file)?);
    // A truncated file is reported when its end is reached.
    Ok(rows.ok().map(|rows| limit.map_or(rows, |limit| rows.min(limit))))
}

impl Progress {
    /// At zero. Without a total there is a rate but no time left.
    pub(super) fn new(total: Option<u64>) -> Progress {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{bar:30} {human_pos}/{human_len}  {per_sec}, {eta} left  {msg}"),
            None => (ProgressBar::no_length(), "{spinner} {human_pos} rows  {per_sec}, {elapsed}  {msg}"),
        };
        bar.set_style(ProgressStyle::with_template(template).expect("a template that is ours"));
        Progress(bar)
    }

    /// `rows` are done; `trouble` is what delays the rest.
    pub(super) fn at(&self, rows: u64, trouble: Option<String>) {
        self.0.set_position(rows);
        if trouble.is_some() || !self.0.message().is_empty() {
            self.0.set_message(foreign::one_line(&trouble.unwrap_or_default(), TROUBLE_CHARS_MAX));
        }
    }

    /// Prints something above the bar.
    pub(super) fn aside(&self, say: impl FnOnce()) {
        self.0.suspend(say);
    }

    /// Removes the bar.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
