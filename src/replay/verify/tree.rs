//! What was signed of a log: its checkpoints, and the leaves that tell which entry is not what it was.
//!
//! ```text
//!  leaf of each entry ─▶ range of the log    ─┐ at each signed size: the roots
//!  the notary's leaves ─▶ range of the leaves ─┘
//! ```
//!
//! Promises:
//! - a root that was signed and is not the log's is a finding, whatever was done to the log;
//! - with leaves that give the signed root the first entry that was altered, removed, doubled, added or put elsewhere is named;
//!   without them the entries between two checkpoints are;
//! - a log that ends before what was signed is a finding.
//!
//! Memory: logarithmic, a window of leaves, one line a checkpoint. Not here: where notes come from (`checkpoints`).

use std::{
    collections::{BTreeMap, VecDeque},
    io::Read,
};

use antiphon_schemas::Seq;

use super::Finding;
use crate::audit::{
    checkpoint::Checkpoint,
    merkle::{CompactRange, Hash},
};

/// How far an entry is looked for that is not where it was.
const WINDOW: usize = 1_024;
/// How many entries a checkpoint in the log may lag behind what it covers; a later one is not compared.
const BEHIND_MAX: u64 = 1 << 16;
/// Ranges of the past are kept this far apart, and between them leaves.
const KEPT_EVERY: u64 = 1_024;

/// A checkpoint, and where it comes from.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// For people: `checkpoints/latest`, `--against …`.
    pub from: String,
}

/// Compares a log with what was signed of it.
pub(super) struct Tree {
    log: CompactRange,
    leaves: Option<Leaves>,
    signed: BTreeMap<u64, Vec<Signed>>,
    /// Ranges and leaves of the most recent entries, for checkpoints in the log.
    past: VecDeque<(CompactRange, Vec<Hash>)>,
    /// The largest signed size whose root was the log's.
    good: u64,
    /// A difference was found that was signed otherwise by this; it is reported once it is clear what was done.
    pending: Option<String>,
    /// A difference was told; what follows from it is not told again.
    told: bool,
    /// Checkpoints whose root was the log's.
    pub agreed: u64,
    /// Checkpoints in the log that were too far behind to be compared.
    pub passed: u64,
}

/// The notary's leaves, beside those of the log.
struct Leaves {
    reader: Box<dyn Read + Send>,
    range: CompactRange,
    /// Where the first difference is, from 0, and what came from there on: of the log, and of the notary.
    differs: Option<(u64, Vec<Hash>, Vec<Hash>)>,
    /// The leaf before it.
    last: Option<Hash>,
    ended: bool,
}

impl Tree {
    /// Compares with these checkpoints, of the same log and epoch, and, if there are any, these leaves.
    pub(super) fn new(signed: Vec<Signed>, leaves: Option<Box<dyn Read + Send>>) -> Tree {
        let mut by_size: BTreeMap<u64, Vec<Signed>> = BTreeMap::new();
        for signed in signed {
            by_size.entry(signed.checkpoint.size).or_default().push(signed);
        }
        let leaves =
            leaves.map(|reader| Leaves { reader, range: CompactRange::new(), differs: None, last: None, ended: false });
        let log = CompactRange::new();
        let past = VecDeque::from([(log.clone(), Vec::new())]);
        Tree { log, leaves, signed: by_size, past, good: 0, pending: None, told: false, agreed: 0, passed: 0 }
    }

    /// The next entry's leaf.
    pub(super) fn push(&mut self, leaf: Hash, findings: &mut Vec<Finding>) {
        self.log.append(leaf);
        if let Some(leaves) = &mut self.leaves {
            leaves.push(self.log.size() - 1, leaf);
            if leaves.differs.as_ref().is_some_and(|(_, log, _)| log.len() == WINDOW) {
                self.tell(findings);
            }
        }
        let size = self.log.size();
        match self.past.back_mut() {
            Some((range, leaves)) if size - range.size() < KEPT_EVERY => leaves.push(leaf),
            _ => {
                self.past.push_back((self.log.clone(), Vec::new()));
                if self.past.len() as u64 > BEHIND_MAX / KEPT_EVERY {
                    self.past.pop_front();
                }
            }
        }
        if let Some(signed) = self.signed.remove(&size) {
            let (root, leaves_root) = (self.log.root(), self.leaves.as_ref().and_then(|leaves| leaves.root(size)));
            signed.iter().for_each(|signed| self.compare(signed, root, leaves_root, findings));
        }
    }

    /// A checkpoint in the log, after what it covers.
    pub(super) fn in_log(&mut self, signed: &Signed, findings: &mut Vec<Finding>) {
        let size = signed.checkpoint.size;
        let Some((range, leaves)) = self.past.iter().rev().find(|(range, _)| range.size() <= size) else {
            self.passed += 1;
            return;
        };
        let mut range = range.clone();
        let more = leaves.iter().take((size - range.size()) as usize);
        more.for_each(|leaf| range.append(*leaf));
        if range.size() == size {
            self.compare(signed, range.root(), None, findings);
        } else {
            self.passed += 1;
        }
    }

    fn compare(&mut self, signed: &Signed, root: Hash, leaves_root: Option<Hash>, findings: &mut Vec<Finding>) {
        let Signed { checkpoint: Checkpoint { size, root: expected, .. }, from } = signed;
        if root == *expected {
            self.agreed += 1;
            self.good = self.good.max(*size);
            // The log is as signed, so it is the leaves that are not.
            if let Some(leaves) =
                self.leaves.take_if(|leaves| leaves.differs.as_ref().is_some_and(|(at, ..)| at < size))
            {
                let at = leaves.differs.map_or(0, |(at, ..)| at);
                let why = "the notary's leaf of this entry is not what it was, although the entry is".into();
                findings.push(Finding { at: Seq(at + 1), code: "leaves", why });
            }
            return;
        }
        if self.told || self.pending.is_some() {
            return;
        }
        if leaves_root == Some(*expected) && self.leaves.as_ref().is_some_and(|leaves| leaves.differs.is_some()) {
            self.pending = Some(from.clone());
            return;
        }
        self.told = true;
        let why = format!(
            "among positions {} to {size} something is not what was signed ({from}); without the notary's leaves nobody can say what",
            self.good + 1
        );
        findings.push(Finding { at: Seq(self.good + 1), code: "root", why });
    }

    /// Tells the difference that is pending.
    fn tell(&mut self, findings: &mut Vec<Finding>) {
        if let Some(from) = self.pending.take()
            && let Some(leaves) = self.leaves.take()
            && let Some((at, log, notary)) = &leaves.differs
        {
            findings.push(named_finding(*at, leaves.last, log, notary, &from));
            self.told = true;
        }
    }

    /// The log has no more entries for now. Returns how many checkpoints agreed, how many were passed over, and how many entries
    /// are what was signed.
    pub(super) fn end(mut self, findings: &mut Vec<Finding>) -> (u64, u64, u64) {
        let tail = self.log.size();
        let beyond = self.signed.last_key_value().map(|(size, signed)| (*size, signed[0].clone()));
        if let Some(leaves) = &mut self.leaves {
            leaves.look_ahead(beyond.as_ref().map_or(0, |(size, _)| *size));
        }
        if let (Some((size, signed)), Some(leaves)) = (&beyond, &self.leaves)
            && self.pending.is_none()
            && leaves.differs.is_some()
            && leaves.root(*size) == Some(signed.checkpoint.root)
        {
            self.pending = Some(signed.from.clone());
        }
        self.tell(findings);
        if let Some((size, Signed { from, .. })) = beyond
            && !self.told
        {
            self.told = true;
            let why = format!(
                "the log ends with position {tail}, but {from} was signed over {size} entries: its tail is gone"
            );
            findings.push(Finding { at: Seq(tail + 1), code: "cut", why });
        }
        // Nobody has signed it yet, but the notary saw something else.
        if !self.told && self.leaves.as_ref().is_some_and(|leaves| leaves.differs.is_some()) {
            self.pending = Some("by the notary's leaves; not signed yet".into());
            self.tell(findings);
        }
        (self.agreed, self.passed, self.good)
    }
}

impl Leaves {
    fn push(&mut self, at: u64, leaf: Hash) {
        if let Some((_, log, _)) = &mut self.differs
            && log.len() < WINDOW
        {
            log.push(leaf);
        }
        let Some(notary) = self.next() else { return };
        match &self.differs {
            Some(_) => {}
            None if notary == leaf => self.last = Some(leaf),
            None => self.differs = Some((at, vec![leaf], vec![notary])),
        }
    }

    /// The notary's next leaf, if there is one.
    fn next(&mut self) -> Option<Hash> {
        let mut leaf = [0; 32];
        if self.ended || self.reader.read_exact(&mut leaf).is_err() {
            self.ended = true;
            return None;
        }
        self.range.append(leaf);
        if let Some((_, _, seen)) = &mut self.differs
            && seen.len() < WINDOW
        {
            seen.push(leaf);
        }
        Some(leaf)
    }

    /// The root of the leaves, if they have this size.
    fn root(&self, size: u64) -> Option<Hash> {
        (self.range.size() == size).then(|| self.range.root())
    }

    /// What the notary saw behind the end of the log: up to a size, or as much as it takes to tell what was done.
    fn look_ahead(&mut self, size: u64) {
        let short = |leaves: &Leaves| leaves.differs.as_ref().is_some_and(|(_, _, seen)| seen.len() < WINDOW);
        while (self.range.size() < size || (size == 0 && short(self))) && self.next().is_some() {}
    }
}

/// What was done to the first entry that differs: `log` and `notary` are the leaves from there on, `last` the one before.
fn named_finding(at: u64, last: Option<Hash>, log: &[Hash], notary: &[Hash], from: &str) -> Finding {
    let seq = Seq(at + 1);
    let here = log.first();
    let find = |leaf: Option<&Hash>, among: &[Hash]| leaf.and_then(|leaf| among.iter().position(|other| other == leaf));
    let (moved_to, moved_from) = (find(notary.first(), log), find(here, notary));
    let (code, why) = match (moved_to, moved_from) {
        _ if here.is_some() && here.copied() == last => {
            ("doubled", format!("the entry before it stands here once more ({from})"))
        }
        (Some(to), Some(_)) => {
            let to = Seq(seq.0 + to as u64);
            ("reordered", format!("the entry that was here stands at position {to} now ({from})"))
        }
        (None, Some(1)) => ("removed", format!("the entry that was here is gone ({from})")),
        (None, Some(n)) => ("removed", format!("the {n} entries that were here are gone ({from})")),
        (Some(1), None) => ("added", format!("an entry was put in here ({from})")),
        (Some(n), None) => ("added", format!("{n} entries were put in here ({from})")),
        (None, None) => ("altered", format!("the entry is not what was signed ({from})")),
    };
    Finding { at: seq, code, why }
}
