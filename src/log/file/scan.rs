//! Scanning a segment: how far it is valid, what follows that, and its newest entries.
//!
//! Pure but for the reading; what follows from the findings is decided by `recovery` and `salvage`.

use std::{collections::VecDeque, io, sync::Arc};

use antiphon_schemas::{Entry, Seq};

use super::{
    format::{Flaw, HEAD_BYTES, may_be_later},
    segment::{Mark, Marks, Walk},
};
use crate::log::SCAN_MAX;

/// A flaw and the offset of the record that has it.
pub(super) type FlawAt = (u64, Flaw);

/// How far a segment is sound.
pub(super) struct Scan {
    /// After the last whole batch.
    pub(super) end: Mark,
    /// Where the last whole batch begins; `end` if there is none.
    pub(super) last_batch: Mark,
    /// Where some of its records begin.
    pub(super) marks: Vec<Mark>,
    /// Why it went no further, and where. None only if the scan stopped where it was told to.
    pub(super) flaw: Option<Flaw>,
    pub(super) flaw_at: u64,
}

/// Passes whole batches from the start, to the first flaw or until the entry `until` comes next.
pub(super) fn scan(walk: &mut Walk<'_>, first: Seq, until: Option<Seq>) -> io::Result<Scan> {
    let start = Mark::start(first);
    let mut scan = Scan { end: start, last_batch: start, marks: Vec::new(), flaw: None, flaw_at: start.offset };
    let (mut at, mut batch_len, mut marks) = (start, 0, Marks::from(start.offset));
    while until != Some(at.seq) {
        scan.flaw_at = at.offset;
        let record = match walk.record(at.offset)? {
            Ok(record) => record,
            Err(flaw) => {
                scan.flaw = Some(flaw);
                break;
            }
        };
        if record.index == 0 {
            batch_len = record.batch_len;
        }
        if record.seq() != at.seq || record.batch_first != scan.end.seq || record.batch_len != batch_len {
            scan.flaw = Some(Flaw::OutOfPlace);
            break;
        }
        marks.pass(at);
        at = Mark { seq: at.seq.next(), offset: at.offset + record.len() };
        if record.ends_batch() {
            (scan.last_batch, scan.end) = (scan.end, at);
        }
    }
    scan.marks = marks.kept;
    scan.marks.retain(|mark| mark.seq < scan.end.seq);
    Ok(scan)
}

/// What follows the last complete batch.
pub(super) struct Rest {
    /// A sound record of a batch after the one that is not whole: offset and position.
    pub(super) later_batch: Option<(u64, Seq)>,
    /// After the last byte that is not zero.
    pub(super) end: u64,
}

/// Looks at everything behind the last whole batch.
pub(super) fn look_beyond(walk: &mut Walk<'_>, from: Mark) -> io::Result<Rest> {
    let mut rest = Rest { later_batch: None, end: from.offset };
    let mut offset = from.offset;
    loop {
        let bytes = walk.bytes(offset, HEAD_BYTES)?;
        let len = bytes.len();
        let mut candidates = Vec::new();
        if let Some(last) = bytes.iter().rposition(|b| *b != 0) {
            rest.end = rest.end.max(offset + last as u64 + 1);
            candidates.extend((0..=last).filter(|at| may_be_later(&bytes[*at..], from.seq)));
        }
        for at in candidates.into_iter().map(|at| offset + at as u64) {
            if let Ok(record) = walk.record(at)?
                && record.batch_first > from.seq
            {
                rest.later_batch = Some((at, record.seq()));
                return Ok(rest);
            }
        }
        if len < HEAD_BYTES {
            return Ok(rest);
        }
        // The last bytes are looked at again, as the start of a head that the window cut.
        offset += (len - HEAD_BYTES + 1) as u64;
    }
}

/// The last [`SCAN_MAX`] entries of a scanned segment, or all, oldest first; an error names the offset.
pub(super) fn newest(walk: &mut Walk<'_>, first: Seq, scan: &Scan) -> io::Result<Result<VecDeque<Arc<Entry>>, FlawAt>> {
    let from = Seq(scan.end.seq.0.saturating_sub(SCAN_MAX).max(first.0));
    let before = scan.marks.partition_point(|mark| mark.seq <= from);
    let mut at = before.checked_sub(1).map_or(Mark::start(first), |at| scan.marks[at]);
    let mut entries = VecDeque::new();
    while at.seq < scan.end.seq {
        let entry = match walk.record(at.offset)? {
            Ok(record) => {
                let entry = (at.seq >= from).then(|| record.entry());
                at = Mark { seq: at.seq.next(), offset: at.offset + record.len() };
                entry
            }
            Err(flaw) => return Ok(Err((at.offset, flaw))),
        };
        match entry {
            Some(Ok(entry)) => entries.push_back(Arc::new(entry)),
            Some(Err(flaw)) => return Ok(Err((at.offset, flaw))),
            None => {}
        }
    }
    Ok(Ok(entries))
}
