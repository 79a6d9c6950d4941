//! Logs that decisions made are sound; whatever is done to one of their entries is found, and named by its position.

use std::{
    collections::HashMap,
    io::{Cursor, Read},
    sync::Arc,
};

use antiphon_schemas::{Entry, Epoch, RoomName, Seq, Stored, event::LogRepaired};
use proptest::prelude::*;

use super::*;
use crate::{
    audit::{checkpoint::Checkpoint, merkle::root_of, note::Signer},
    decide::tests::{Step, World, config, steps},
    replay::bundle::Portion,
};

/// Entries as a source, and the files of a notary.
pub(crate) struct Listed {
    entries: Vec<Stored>,
    next: usize,
    files: HashMap<&'static str, Vec<u8>>,
    part: Option<Portion>,
    epochs: Vec<(Seq, Epoch)>,
}

impl Listed {
    pub(crate) fn of(entries: &[Arc<Entry>]) -> Listed {
        Listed {
            entries: entries.iter().map(|entry| Stored::from(&**entry)).collect(),
            next: 0,
            files: HashMap::new(),
            part: None,
            epochs: vec![(Seq(1), Epoch(7))],
        }
    }

    /// Signs what the entries are now, at these sizes; the largest is the latest.
    fn signed(mut self, key: &Signer, sizes: &[usize]) -> Listed {
        let leaves: Vec<_> = self.entries.iter().map(Stored::leaf).collect();
        let note = |size: usize| {
            let origin = format!("antiphon/test/{}", self.epoch());
            let root = root_of(leaves[..size].iter().copied());
            Checkpoint { origin, size: size as u64, root }.signed(key).unwrap()
        };
        let history = sizes.iter().map(|size| note(*size) + "\n").collect::<String>();
        let latest = sizes.iter().max().map(|size| note(*size));
        self.files.insert("history", history.into());
        self.files.extend(latest.map(|latest| ("latest", latest.into())));
        self.files.insert("leaves", leaves.concat());
        self.files.insert("notary.pub", key.verifier().to_string().into());
        self
    }
}

impl Source for Listed {
    fn shown(&self) -> String {
        "a list".into()
    }

    fn epochs(&mut self) -> Result<Vec<(Seq, Epoch)>, Error> {
        Ok(self.epochs.clone())
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

    fn part(&self) -> Option<&Portion> {
        self.part.as_ref()
    }

    fn checkpoint_file(&mut self, name: &str) -> Result<Option<Box<dyn Read + Send>>, Error> {
        let file = self.files.get(name).cloned();
        Ok(file.map(|bytes| -> Box<dyn Read + Send> { Box::new(Cursor::new(bytes)) }))
    }
}

fn found(source: &mut Listed) -> Vec<Finding> {
    verify(source, &Witness::default(), |_| {}).unwrap().findings
}

fn log(steps: &[Step]) -> Vec<Arc<Entry>> {
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
        let report = verify(&mut source, &Witness::default(), |_| {}).unwrap();
        prop_assert_eq!(&report.findings, &vec![]);
        prop_assert_eq!(report.tail.0, entries.len() as u64);
    }

    #[test]
    fn a_part_is_held_to_what_was_signed_and_its_first_altered_entry_is_named(
        steps in steps(), taken in proptest::collection::vec(any::<bool>(), 1..40), at: prop::sample::Index, size: prop::sample::Index,
    ) {
        let entries = log(&steps);
        prop_assume!(!entries.is_empty());
        let size = size.index(entries.len()) + 1;
        let key = Signer::from_seed("antiphon/test", [9; 32]).unwrap();
        let mut source = Listed::of(&entries).signed(&key, &[size]);
        source.part = Some(Portion { after: Seq::ZERO, until: Seq(entries.len() as u64), room: None });
        let mut taken = taken.iter().cycle();
        source.entries.retain(|_| *taken.next().unwrap());
        prop_assert_eq!(found(&mut source), vec![]);
        prop_assume!(!source.entries.is_empty());
        let at = at.index(source.entries.len());
        let altered = &mut source.entries[at];
        let mut body = altered.body.to_vec();
        *body.last_mut().unwrap() ^= 1;
        altered.body = body.into();
        let seq = altered.seq();
        source.next = 0;
        let found = found(&mut source);
        prop_assert_eq!(found.iter().map(|f| (f.at, f.code)).collect::<Vec<_>>(), vec![(seq, "altered")], "{:?}", found);
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

    /// Write access to the log is enough to make it keep all rules: what was signed shows what was changed, and where.
    #[test]
    fn what_was_done_to_signed_entries_is_named(
        steps in steps(), at: prop::sample::Index, to: prop::sample::Index, how in 0..6u8, with_leaves: bool,
        size: prop::sample::Index,
    ) {
        let entries = log(&steps);
        prop_assume!(entries.len() >= 4);
        let key = Signer::from_seed("antiphon/test", [3; 32]).unwrap();
        let sizes = [entries.len(), 1 + size.index(entries.len())];
        let mut source = Listed::of(&entries).signed(&key, &sizes);
        if !with_leaves {
            source.files.remove("leaves");
        }
        prop_assert_eq!(found(&mut source), vec![]);
        let (at, to) = (at.index(entries.len()), to.index(entries.len()));
        let (code, named) = match how {
            0 => { alter(&mut source.entries[at]); ("altered", at + 1) }
            1 => { source.entries.remove(at); if at + 1 == entries.len() { ("cut", at + 1) } else { ("removed", at + 1) } }
            2 => { source.entries.insert(at + 1, source.entries[at].clone()); ("doubled", at + 2) }
            3 => { source.entries.insert(at, forged(at)); ("added", at + 1) }
            4 => { source.entries.truncate(at); ("cut", at + 1) }
            _ => {
                prop_assume!(at != to);
                source.entries.swap(at, to);
                ("reordered", at.min(to) + 1)
            }
        };
        let report = verify(&mut source, &Witness::default(), |_| {}).unwrap();
        let signed: Vec<_> = report.findings.iter().filter(|f| CODES.contains(&f.code)).collect();
        // What was put behind everything that was signed, nobody has signed otherwise.
        if matches!(how, 2 | 3) && named > entries.len() {
            prop_assert!(signed.is_empty(), "{signed:?}");
            return Ok(());
        }
        prop_assert_eq!(signed.len(), 1, "one deed is reported once: {:?}", report.findings);
        if with_leaves || code == "cut" {
            prop_assert_eq!((signed[0].code, signed[0].at.0), (code, named as u64));
        } else if code != "removed" {
            prop_assert_eq!(signed[0].code, "root");
            prop_assert!(signed[0].at.0 <= named as u64);
        }
        prop_assert!(report.signed < named as u64, "nothing behind it counts as signed");
    }
}

/// The codes of findings that come of what was signed.
const CODES: &[&str] = &["altered", "removed", "doubled", "added", "cut", "reordered", "root", "leaves"];

/// As somebody would who keeps all checksums right: another salt.
fn alter(entry: &mut Stored) {
    let mut body = entry.body.to_vec();
    body[0] ^= 1;
    entry.body = body.into();
}

fn forged(at: usize) -> Stored {
    Stored { header: Stored::from(&*entry(at)).header, body: vec![9; 60].into() }
}

fn entry(at: usize) -> Arc<Entry> {
    let mut world = World::new();
    (0..=at % 5).for_each(|message| drop(world.act(&Step::Post { message, room: 0, bot: None, priority: 5 })));
    world.entries.pop().unwrap()
}

fn three() -> (Listed, Signer) {
    let mut world = World::new();
    (0..3).for_each(|message| drop(world.act(&Step::Post { message, room: 0, bot: None, priority: 5 })));
    let key = Signer::from_seed("antiphon/test", [3; 32]).unwrap();
    (Listed::of(&world.entries).signed(&key, &[2, 3]), key)
}

fn codes(source: &mut Listed, witness: &Witness) -> Vec<(&'static str, u64)> {
    let report = verify(source, witness, |_| {}).unwrap();
    report.findings.iter().map(|finding| (finding.code, finding.at.0)).collect()
}

#[test]
fn a_log_rolled_back_with_its_checkpoints_is_found_by_one_that_was_kept_elsewhere() {
    let (whole, key) = three();
    let kept = String::from_utf8(whole.files["latest"].clone()).unwrap();
    let mut back = Listed {
        entries: whole.entries[..2].to_vec(),
        next: 0,
        files: HashMap::new(),
        part: None,
        epochs: vec![(Seq(1), Epoch(7))],
    }
    .signed(&key, &[2]);
    assert_eq!(codes(&mut back, &Witness::default()), []);
    let witness = Witness { keys: vec![], against: vec![("--against x".into(), kept)] };
    assert_eq!(codes(&mut back, &witness), [("cut", 3)]);
}

#[test]
fn a_note_that_another_key_signed_or_that_was_changed_is_not_trusted() {
    let (mut source, _) = three();
    let other = Signer::from_seed("antiphon/test", [4; 32]).unwrap();
    let witness = Witness { keys: vec![other.verifier().clone()], against: vec![] };
    assert_eq!(codes(&mut source, &witness), [("checkpoint", 0)], "the latest; of the history others may have signed");
    let latest = source.files.get_mut("latest").unwrap();
    let at = latest.iter().position(|b| *b == b'\n').unwrap() + 1;
    latest[at] = b'9';
    assert!(codes(&mut source, &Witness::default()).contains(&("checkpoint", 0)));
}

#[test]
fn a_new_epoch_is_explained_by_the_repair_after_it_or_is_a_finding() {
    let (mut source, _) = three();
    source.epochs = vec![(Seq(1), Epoch(6)), (Seq(3), Epoch(7))];
    assert_eq!(codes(&mut source, &Witness::default()), [("epoch", 3)]);
    let mut world = World::new();
    (0..3).for_each(|message| drop(world.act(&Step::Post { message, room: 0, bot: None, priority: 5 })));
    let (node, before, after) = ("n".into(), Epoch(6), Seq(2));
    let repaired = LogRepaired { node, before, after, offered: 1, again: 1, refused: vec![], refused_more: 0 };
    world.append(&RoomName::new("one").unwrap(), &repaired.into());
    let mut source = Listed::of(&world.entries);
    source.epochs = vec![(Seq(1), Epoch(6)), (Seq(3), Epoch(7))];
    assert_eq!(codes(&mut source, &Witness::default()), []);
}

#[test]
fn leaves_that_were_changed_accuse_no_entry() {
    let (mut source, _) = three();
    source.files.get_mut("leaves").unwrap()[40] ^= 1;
    assert_eq!(codes(&mut source, &Witness::default()), [("leaves", 2)]);
}

#[test]
fn an_erased_body_without_the_event_that_says_so_is_found_although_its_hash_is_right() {
    let (mut source, _) = three();
    source.entries[1].body = antiphon_schemas::entry::erased(&source.entries[1].body).unwrap();
    assert_eq!(codes(&mut source, &Witness::default()), [("erased", 2)]);
}
