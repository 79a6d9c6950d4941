//! What every backend does in the same way: what it refuses before it looks at its state, how much it answers, what an erased
//! entry is.

use std::sync::Arc;

use antiphon_schemas::{
    Entry, Seq,
    entry::{BODY_BYTES_MAX, SALT_BYTES, is_erased},
};

use super::{Append, BATCH_MAX, DRAFTS_MAX, ERASE_MAX, Error, READ_BYTES_MAX, SCAN_MAX};

/// What every backend refuses before it looks at its state.
pub(crate) fn check_batch(batch: &[Append]) -> Result<(), Error> {
    if batch.len() > BATCH_MAX {
        return Err(Error::Invalid(format!("{} appends in one call; {BATCH_MAX} are allowed", batch.len())));
    }
    for append in batch {
        let drafts = append.drafts.len();
        if !(1..=DRAFTS_MAX).contains(&drafts) {
            return Err(Error::Invalid(format!("{drafts} events in one append; 1-{DRAFTS_MAX} are allowed")));
        }
        for draft in &append.drafts {
            check_entry(draft.event.kind(), draft.event.subjects().len(), draft.body.len())?;
        }
    }
    Ok(())
}

/// As [`check_batch`], for entries that are taken over.
pub(crate) fn check_entries(entries: &[Arc<Entry>]) -> Result<(), Error> {
    entries.iter().try_for_each(|e| check_entry(&e.header.kind, e.header.subjects.len(), e.body.len()))
}

/// What every backend refuses to erase; the positions from `base` on, in order, each once.
pub(crate) fn check_positions(mut positions: Vec<Seq>, base: Seq, tail: Seq) -> Result<Vec<Seq>, Error> {
    if positions.len() > ERASE_MAX {
        return Err(Error::Invalid(format!(
            "{} positions to erase in one call; {ERASE_MAX} are allowed",
            positions.len()
        )));
    }
    positions.sort_unstable();
    positions.dedup();
    match positions.iter().find(|seq| **seq == Seq::ZERO || **seq > tail) {
        Some(seq) => Err(Error::Invalid(format!("there is no entry {seq} to erase; the log ends at {tail}"))),
        None => {
            positions.retain(|seq| *seq >= base);
            Ok(positions)
        }
    }
}

/// As many of these entries as one answer may have: about [`READ_BYTES_MAX`] bytes, one at least.
pub(crate) fn answer_of<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>) -> Vec<Arc<Entry>> {
    let mut bytes = 0;
    let within = |entry: &&Arc<Entry>| {
        let first = bytes == 0;
        bytes += entry.body.len();
        first || bytes <= READ_BYTES_MAX
    };
    entries.take_while(within).cloned().collect()
}

/// The position that comes next, also after the last one that can be named.
pub(crate) fn first_after(after: Seq) -> Seq {
    Seq(after.0.saturating_add(1))
}

/// What every backend refuses to read from.
pub(crate) fn check_base(first: Seq, base: Seq) -> Result<(), Error> {
    if first < base { Err(Error::Trimmed { base }) } else { Ok(()) }
}

/// What every backend refuses to trim.
pub(crate) fn check_trim(upto: Seq, tail: Seq) -> Result<(), Error> {
    if upto.0.saturating_add(SCAN_MAX) > tail.0 {
        return Err(Error::Invalid(format!(
            "the newest {SCAN_MAX} entries stay: the log ends with {tail}, not beyond {upto}"
        )));
    }
    Ok(())
}

/// What every backend refuses to get.
pub(crate) fn check_ascending(positions: &[Seq], base: Seq, tail: Seq) -> Result<(), Error> {
    let mut last = Seq::ZERO;
    for &seq in positions {
        if seq <= last {
            return Err(Error::Invalid(format!("position {seq} does not ascend from {last}")));
        }
        if seq > tail {
            return Err(Error::Invalid(format!("there is no entry {seq}; the log ends at {tail}")));
        }
        last = seq;
    }
    positions.first().map_or(Ok(()), |first| check_base(*first, base))
}

/// What an entry is once it is erased; `None` if it is erased already.
pub(crate) fn erased_entry(entry: &Entry) -> Result<Option<Arc<Entry>>, Error> {
    if is_erased(&entry.body) {
        return Ok(None);
    }
    let seq = entry.header.seq;
    Ok(Some(Arc::new(entry.erased().ok_or_else(|| too_short(seq))?)))
}

/// The refusal of a body that has no room for its hash.
pub(crate) fn too_short(seq: Seq) -> Error {
    Error::Invalid(format!("the body of entry {seq} is too short to be replaced by its hash"))
}

/// Erases the entries at these positions. Both are in order.
pub(crate) fn erase_among<'a>(entries: impl IntoIterator<Item = &'a mut Arc<Entry>>, positions: &[Seq]) {
    for entry in entries {
        if positions.binary_search(&entry.header.seq).is_ok()
            && let Ok(Some(gone)) = erased_entry(entry)
        {
            *entry = gone;
        }
    }
}

fn check_entry(kind: &str, subjects: usize, body_bytes: usize) -> Result<(), Error> {
    // The header counts both in one byte.
    const LEN_MAX: usize = u8::MAX as usize;
    if kind.len() > LEN_MAX || subjects > LEN_MAX {
        return Err(Error::Invalid(format!(
            "a kind of {} bytes with {subjects} subjects; 255 are allowed",
            kind.len()
        )));
    }
    if !(SALT_BYTES..=BODY_BYTES_MAX).contains(&body_bytes) {
        return Err(Error::Invalid(format!("a body of {body_bytes} bytes; {SALT_BYTES}-{BODY_BYTES_MAX} are allowed")));
    }
    Ok(())
}
