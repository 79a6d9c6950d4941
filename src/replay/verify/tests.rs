//! Logs that decisions made are sound; whatever is done to one of their entries is found, and named by its position.

use std::sync::Arc;

use antiphon_schemas::{Entry, Epoch, Seq, Stored};
use proptest::prelude::*;

use super::*;
use crate::decide::tests::{World, config, steps};

/// Entries as a source.
struct Listed {
    entries: Vec<Stored>,
    next: usize,
}

impl Listed {
    fn of(entries: &[Arc<Entry>]) -> Listed {
        Listed { entries: entries.iter().map(|entry| Stored::from(&**entry)).collect(), next: 0 }
    }
}

impl Source for Listed {
    fn shown(&self) -> String {
        "a list".into()
    }

    fn epoch(&self) -> Epoch {
        Epoch(7)
    }

    fn seek(&mut self, after: Seq) -> Result<(), Error> {
        self.next = after.0 as usize;
        Ok(())
    }

    fn read(&mut self) -> Result<Vec<Stored>, Error> {
        // Small pages, so that their borders are passed often.
        let end = (self.next + 7).min(self.entries.len());
        let page = self.entries[self.next..end].to_vec();
        self.next = end;
        Ok(page)
    }

    fn tail(&mut self) -> Result<Seq, Error> {
        Ok(self.entries.last().map_or(Seq::ZERO, Stored::seq))
    }

    fn place(&self, seq: Seq) -> String {
        format!("entry {seq}")
    }
}

fn found(source: &mut Listed) -> Vec<Finding> {
    verify(source, |_| {}).unwrap().findings
}

fn log(steps: &[crate::decide::tests::Step]) -> Vec<Arc<Entry>> {
    let mut world = World::new();
    steps.iter().for_each(|step| drop(world.act(step)));
    world.entries
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_log_that_decisions_made_has_no_findings(steps in steps()) {
        let entries = log(&steps);
        let mut source = Listed::of(&entries);
        let report = verify(&mut source, |_| {}).unwrap();
        prop_assert_eq!(&report.findings, &vec![]);
        prop_assert_eq!(report.tail.0, entries.len() as u64);
    }

    #[test]
    fn an_entry_that_is_missing_doubled_or_in_another_place_is_named(steps in steps(), at: prop::sample::Index, how in 0..3u8) {
        let entries = log(&steps);
        prop_assume!(entries.len() >= 3);
        // The last one is another thing: nothing but what was signed can tell that it is missing.
        let at = at.index(entries.len() - 2);
        let mut source = Listed::of(&entries);
        let named = match how {
            0 => { source.entries.remove(at); at + 2 }
            1 => { source.entries.insert(at, source.entries[at].clone()); at + 1 }
            _ => { source.entries.swap(at, at + 1); at + 2 }
        };
        let first = found(&mut source).into_iter().next();
        prop_assert_eq!(first.map(|finding| finding.at.0).is_some_and(|at| at <= named as u64), true);
    }
}
