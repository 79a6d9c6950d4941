//! Reading single entries, however far apart: from memory if all of them are there, else in one go over the segments.
//!
//! Promises: those of `reader`; a segment is opened once, and what lies between two positions that are far apart is not read.

use std::sync::{Arc, PoisonError};

use antiphon_schemas::{Entry, Seq};

use super::{
    format::Flaw,
    reader::{Page, Reader, SegmentFile},
    segment::{Mark, Marks, Walk},
};
use crate::log::Error;

impl Reader {
    /// The entries at these positions, which ascend, if the newest in memory reach back to the first.
    pub(super) fn get_memory(&self, positions: &[Seq]) -> Option<Vec<Arc<Entry>>> {
        let mut page = Page::new(positions.len());
        if positions.is_empty() {
            return Some(page.entries);
        }
        let recent = &self.recent.read().unwrap_or_else(PoisonError::into_inner).entries;
        let first = recent.front()?.header.seq;
        for seq in positions {
            let entry = recent.get(usize::try_from(seq.0.checked_sub(first.0)?).ok()?)?;
            if !page.takes(entry.body.len()) {
                break;
            }
            page.entries.push(entry.clone());
        }
        Some(page.entries)
    }

    /// The entries at these positions, which ascend and are durable, from the segments.
    pub(super) fn get_disk(&self, positions: &[Seq]) -> Result<Vec<Arc<Entry>>, Error> {
        let read = self.whole(|| {
            let (mut page, mut rest) = (Page::new(positions.len()), positions);
            while let Some(first) = rest.first() {
                let (segment, next) = self.segment_of(*first);
                let (here, beyond) = rest.split_at(rest.partition_point(|seq| next.is_none_or(|next| *seq < next)));
                if !self.get_from(&self.segment(segment), here, &mut page)? {
                    break;
                }
                rest = beyond;
            }
            Ok(page.entries)
        });
        self.unless_trimmed(positions.first().copied().unwrap_or(Seq::MAX), read)
    }

    /// Fills the page from one segment; whether all went in.
    fn get_from(&self, file: &SegmentFile<'_>, positions: &[Seq], page: &mut Page) -> Result<bool, Error> {
        let (opened, _, seed) = file.open()?;
        let mut walk = Walk::new(&*opened, seed);
        let mut at = Mark::start(file.first);
        for &seq in positions {
            let nearest = self.indexes.nearest(file.first, seq);
            if nearest.seq > at.seq {
                at = nearest;
                walk.jump(at.offset);
            }
            let mut marks = Marks::from(at.offset);
            loop {
                let flawed = |flaw| file.damaged(at.offset, flaw);
                let record = walk.record(at.offset).map_err(|error| file.io(&error))?.map_err(flawed)?;
                if record.seq() != at.seq {
                    return Err(flawed(Flaw::OutOfPlace));
                }
                marks.pass(at);
                let next = Mark { seq: at.seq.next(), offset: at.offset + record.len() };
                if at.seq == seq {
                    if !page.takes(record.body.len()) {
                        self.indexes.extend(file.first, &marks.kept);
                        return Ok(false);
                    }
                    page.entries.push(Arc::new(record.entry().map_err(flawed)?));
                    at = next;
                    break;
                }
                at = next;
            }
            self.indexes.extend(file.first, &marks.kept);
        }
        Ok(true)
    }
}
