//! How much one answer with entries of the log may have: about [`READ_BYTES_MAX`], and less where the store cuts answers off.
//!
//! A server closes a connection whose answers exceed its `client-output-buffer-limit`. Such a page is asked for again, with
//! a quarter of the entries, on a fresh connection; what comes later is as small.
//! Not here: pages that are read ahead (`pages`).

use std::{
    future::Future,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use ::redis::{RedisResult, aio::MultiplexedConnection};

use super::{
    Inner,
    calls::{READ_ENTRIES_MAX, READ_MAX},
    connect::connect,
    lanes,
    link::Link,
};
use crate::log::{Error, READ_BYTES_MAX};

/// Entries in the first page, before their size is known.
const READ_ENTRIES_FIRST: usize = 64;
/// A page that was cut off is divided by `1 << CUT_BITS` …
const CUT_BITS: u32 = 2;
/// … at most so often: [`READ_ENTRIES_MAX`] are one by then.
const CUTS_MAX: u32 = 5;

/// The size of the next page.
pub(super) struct PageSize {
    /// Entries that make about [`READ_BYTES_MAX`], by the last page read.
    entries: AtomicUsize,
    cuts: AtomicU32,
}

impl PageSize {
    pub(super) fn new() -> PageSize {
        PageSize { entries: AtomicUsize::new(READ_ENTRIES_FIRST), cuts: AtomicU32::new(0) }
    }

    /// Entries of the next page of history.
    pub(super) fn entries(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// What is left of so many, one at least.
    pub(super) fn at_most(&self, whole: usize) -> usize {
        (whole >> (CUT_BITS * self.cuts.load(Ordering::Relaxed))).max(1)
    }

    /// Lets the next page have so many entries as make about [`READ_BYTES_MAX`], by the last one.
    pub(super) fn note(&self, bytes: usize, entries: usize) {
        let each = (bytes / entries.max(1)).max(1);
        let fit = self.at_most(READ_BYTES_MAX) / each;
        self.entries.store(fit.clamp(1, READ_ENTRIES_MAX), Ordering::Relaxed);
    }

    /// The store cut an answer off.
    pub(super) fn cut(&self) {
        let cuts = self.cuts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cuts| Some((cuts + 1).min(CUTS_MAX)));
        let entries = (self.entries() >> CUT_BITS).max(1);
        self.entries.store(entries, Ordering::Relaxed);
        tracing::info!(entries, cuts = cuts.unwrap_or_default() + 1, "the store cut an answer off; pages get smaller");
    }
}

impl Inner {
    /// The answer to a question about at most so many entries, over the connection for reads.
    ///
    /// # Errors
    /// [`Error::Away`]
    pub(super) async fn paged<T, F>(
        &self,
        link: &Link,
        question: impl Fn(MultiplexedConnection, usize) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let mut tries = 0;
        loop {
            let (reads, most) = (link.reads(), self.page.entries());
            let idle = reads.ended.is_cancelled();
            if !idle {
                match link.ask_of(READ_MAX, question(reads.connection, most)).await? {
                    Ok(answer) => return Ok(answer),
                    Err(trouble) if tries == CUTS_MAX => {
                        let at = &link.at;
                        return Err(link.fail(format!(
                            "{at}: {trouble}; even a page of {most} entries is cut off: raise `client-output-buffer-limit normal`"
                        )));
                    }
                    Err(_) => tries += 1,
                }
            }
            let fresh = connect(&self.address, lanes::LANES_MAX).await.map_err(|error| link.fail(error.to_string()))?;
            if fresh.at != link.at {
                return Err(link.fail(format!("the master moves from {} to {}", link.at, fresh.at)));
            }
            link.renew_reads(fresh);
            // It is there, and it did not end for being idle.
            if !idle {
                self.page.cut();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_was_cut_off_leaves_the_next_ones_a_quarter_and_one_entry_at_least() {
        let page = PageSize::new();
        page.note(READ_BYTES_MAX, 256);
        let mut sizes = Vec::new();
        for _ in 0..6 {
            sizes.push((page.entries(), page.at_most(256)));
            page.cut();
        }
        assert_eq!(sizes, [(256, 256), (64, 64), (16, 16), (4, 4), (1, 1), (1, 1)]);
        page.note(1_000, 10);
        assert_eq!(page.entries(), READ_BYTES_MAX / (1 << 10) / 100, "short entries make a longer page");
    }
}
