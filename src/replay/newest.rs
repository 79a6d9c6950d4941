//! The newest entries that pass a filter, found from the end.
//!
//! Promise: of a long log only so much is read as is needed, in steps that grow.

use std::collections::VecDeque;

use antiphon_schemas::{Seq, Stored};
use bytes::Bytes;

use super::source::{Error, Source};

/// The first step back: one page of a folder's log.
const STEP_MIN: u64 = 4_096;
/// The longest: what is read in vain behind the last one that is needed.
const STEP_MAX: u64 = 1 << 18;

/// The last `count` entries after `after`, up to `until`, that `takes` wants, oldest first.
///
/// # Errors
/// `E` of the source, or of `takes`.
pub fn newest<E: From<Error>>(
    source: &mut dyn Source,
    (after, until): (Seq, Seq),
    count: usize,
    mut takes: impl FnMut(&Stored) -> Result<bool, E>,
) -> Result<Vec<Stored>, E> {
    let (mut found, mut high, mut step) = (VecDeque::new(), until, STEP_MIN);
    while found.len() < count && high > after {
        let low = Seq(high.0.saturating_sub(step)).max(after);
        let wanted = count - found.len();
        let mut here = VecDeque::new();
        source.seek(low)?;
        'reading: loop {
            let page = source.read()?;
            for stored in &page {
                if stored.seq() > high {
                    break 'reading;
                }
                if takes(stored)? {
                    here.push_back(own(stored));
                    if here.len() > wanted {
                        here.pop_front();
                    }
                }
            }
            if page.last().is_none_or(|last| last.seq() >= high) {
                break;
            }
        }
        here.append(&mut found);
        (found, high, step) = (here, low, (step * 4).min(STEP_MAX));
    }
    Ok(found.into())
}

/// A copy that does not keep the window alive from which it was read.
pub(super) fn own(stored: &Stored) -> Stored {
    Stored { header: Bytes::copy_from_slice(&stored.header), body: Bytes::copy_from_slice(&stored.body) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::replay::tests::{Listed, log};

    proptest! {
        #![proptest_config(crate::decide::tests::config())]

        #[test]
        fn the_newest_are_the_last_of_all_that_pass(
            steps in crate::decide::tests::steps(), count in 0..30usize, every in 1..5u64, cut: prop::sample::Index, from: prop::sample::Index,
        ) {
            let entries = log(&steps);
            let until = Seq(cut.index(entries.len() + 1) as u64);
            let after = Seq(from.index(entries.len() + 1) as u64);
            let takes = |stored: &Stored| stored.seq().0.is_multiple_of(every);
            let found = newest(&mut Listed::of(entries.clone()), (after, until), count, |s| Ok::<_, Error>(takes(s))).unwrap();
            let all: Vec<_> = entries.into_iter().filter(|s| s.seq() > after && s.seq() <= until && takes(s)).collect();
            prop_assert_eq!(&found[..], &all[all.len().saturating_sub(count)..]);
        }
    }

    #[test]
    fn it_goes_back_further_for_what_is_rare() {
        let entries: Vec<_> = (1..=20_000).map(|n| Stored::from(&*crate::replay::tests::key_revoked(n))).collect();
        let takes = |s: &Stored| Ok::<_, Error>(s.seq().0.is_multiple_of(6_000));
        let found = newest(&mut Listed::of(entries), (Seq::ZERO, Seq(20_000)), 3, takes).unwrap();
        assert_eq!(found.iter().map(|s| s.seq().0).collect::<Vec<_>>(), [6_000, 12_000, 18_000]);
    }
}
