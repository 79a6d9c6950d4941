//! Checks a log's integrity: its invariants, and the checkpoints that a notary has signed.
//!
//! ```text
//!  source ─ pages ─▶ leaves hashed (a thread) ─▶ rules: what each entry may say   ┐
//!                                              └▶ tree: what was signed of them    ┴▶ findings, in order
//! ```
//! While a server uses the log, everything runs on one thread that pauses every few milliseconds, so as not to slow it down.
//!
//! Promises: every finding names the position that it is about; memory is bounded by the number of messages, at most 64
//! bytes each, and of the open ones; nothing is written.
//! Not here: how it looks (`cli::replay`). Start with [`verify`].

mod checkpoints;
mod part;
pub mod rules;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod tree;

use std::{
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

use antiphon_schemas::{Epoch, Event, MessageId, Seq, Stored};

pub use self::checkpoints::Witness;
use self::{checkpoints::gather, part::Around, rules::Rules, tree::Tree};
use super::source::{Error, Source};
use crate::audit::note::Verifier;

/// Pages on their way from the reader: enough that neither side waits for long.
const PAGES_AHEAD: usize = 4;
/// Beside a server it works at most this long at once, plus the reading of a page: that is how long a server thread may wait.
const BURST: Duration = Duration::from_millis(1);
/// And then leaves it to others.
const REST: Duration = Duration::from_millis(1);
/// How many entries between looks at the clock: some hundred microseconds' work.
const BURST_ENTRIES: usize = 64;
/// Findings that are kept; further ones are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The entry that it is about.
    pub at: Seq,
    /// A stable kebab code.
    pub code: &'static str,
    /// What is wrong, as a sentence.
    pub why: String,
}

/// What a look through a log came to.
#[derive(Debug, Default)]
pub struct Report {
    /// The last position that was read.
    pub tail: Seq,
    /// It is a part of a log, of so many entries: only what was signed of it was looked at.
    pub part: Option<u64>,
    /// What is wrong, in the order of positions; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Further findings.
    pub more: u64,
    /// Messages and replies.
    pub messages: usize,
    /// Messages that still wait for their answer: at most [`rules::OPEN_LISTED_MAX`] of them.
    pub open: Vec<MessageId>,
    /// How many there are.
    pub open_count: usize,
    /// Entries of kinds that this version does not know.
    pub unknown: u64,
    /// Entries whose bodies were erased.
    pub erased: u64,
    /// Bytes kept for messages at the end.
    pub table_bytes: usize,
    /// Checkpoints whose root is the log's.
    pub agreed: u64,
    /// Checkpoints in the log that could not be compared, because they come too long after what they cover.
    pub passed: u64,
    /// How many entries were signed and match what was signed.
    pub signed: u64,
    /// The keys with which checkpoints were opened.
    pub keys: Vec<String>,
    /// They lie beside the log: anyone who can alter it can alter them, too.
    pub own_keys: bool,
}

/// A page with the leaves of its entries.
type Hashed = (Vec<Stored>, Vec<[u8; 32]>);

/// Reads a log from its beginning to its end for now and looks at everything, also at what was signed of it: what lies beside it,
/// and what the caller has as `witness`. `progress` gets the number of entries since its last call.
///
/// # Errors
/// [`Error::Io`]; damage is a finding.
pub fn verify(source: &mut dyn Source, witness: &Witness, progress: impl FnMut(usize)) -> Result<Report, Error> {
    let (rules, mut report, mut findings) = (Rules::of(&source.epochs()?), Report::default(), Vec::new());
    let (mut found, epoch) = (gather(source, witness, &mut findings)?, source.epoch());
    let around = if source.part().is_some() { Some(Around::of(source)?) } else { None };
    if let Some(around) = &around {
        report.part = Some(0);
        found.signed.retain(|signed| signed.checkpoint.size <= around.count);
    }
    let tree = Tree::new(found.signed, found.leaves);
    report.own_keys = found.own_keys;
    let mut look = Look { rules, tree, around, keys: found.keys, epoch, report, findings };
    source.seek(Seq::ZERO)?;
    if source.served() {
        in_bursts(source, &mut look, progress)?;
    } else {
        at_full_speed(source, &mut look, progress)?;
    }
    Ok(look.end())
}

/// Reads and hashes on a thread of its own.
fn at_full_speed(source: &mut dyn Source, look: &mut Look, mut progress: impl FnMut(usize)) -> Result<(), Error> {
    thread::scope(|scope| {
        let (send, pages) = sync_channel::<Result<Hashed, Error>>(PAGES_AHEAD);
        scope.spawn(move || {
            loop {
                let page = source.read().map(|page| {
                    let leaves = page.iter().map(Stored::leaf).collect();
                    (page, leaves)
                });
                let last = page.as_ref().map_or(true, |(page, _)| page.is_empty());
                // The receiver may be gone.
                if send.send(page).is_err() || last {
                    return;
                }
            }
        });
        for page in pages {
            let Some((page, leaves)) = look.sound(page)? else { break };
            progress(page.len());
            page.iter().zip(leaves).for_each(|(stored, leaf)| look.entry(stored, leaf));
            look.keep();
        }
        Ok(())
    })
}

/// Everything on this thread, with rests.
fn in_bursts(source: &mut dyn Source, look: &mut Look, mut progress: impl FnMut(usize)) -> Result<(), Error> {
    let mut since = Instant::now();
    loop {
        let page = source.read();
        let Some(page) = look.sound(page)?.filter(|page| !page.is_empty()) else { return Ok(()) };
        progress(page.len());
        for entries in page.chunks(BURST_ENTRIES) {
            if since.elapsed() >= BURST {
                thread::sleep(REST);
                since = Instant::now();
            }
            entries.iter().for_each(|stored| look.entry(stored, stored.leaf()));
        }
        look.keep();
    }
}

/// What looks at entries, and what came of it so far.
struct Look {
    rules: Rules,
    tree: Tree,
    around: Option<Around>,
    keys: Vec<Verifier>,
    epoch: Epoch,
    report: Report,
    findings: Vec<Finding>,
}

impl Look {
    /// What was read; `None` from damage on, which is a finding.
    fn sound<T>(&mut self, read: Result<T, Error>) -> Result<Option<T>, Error> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Error::Damaged { at, place, why }) => {
                self.findings.push(Finding { at, code: "damaged", why: format!("{place}: {why}") });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn entry(&mut self, stored: &Stored, leaf: [u8; 32]) {
        let Look { rules, tree, around, keys, epoch, report, findings } = self;
        match around {
            Some(around) => around.push(stored.seq(), leaf, tree, findings),
            None => tree.push(leaf, findings),
        }
        match stored.entry() {
            Ok(entry) => {
                report.tail = entry.header.seq;
                if let Event::LogCheckpoint(e) = &entry.event
                    && let Some(signed) = checkpoints::in_log(&e.note, report.tail, keys, *epoch, findings)
                {
                    tree.in_log(&signed, findings);
                }
                match &mut report.part {
                    Some(entries) => *entries += 1,
                    None => rules.check(&entry, findings),
                }
            }
            Err(why) => {
                findings.push(Finding { at: report.tail.next(), code: "unreadable", why: why.to_string() });
            }
        }
    }

    fn keep(&mut self) {
        self.report.keep(&mut self.findings);
    }

    fn end(self) -> Report {
        let Look { mut rules, mut tree, mut around, keys, mut report, mut findings, .. } = self;
        match &mut around {
            Some(around) => around.end(&mut tree, &mut findings),
            None => rules.end(&mut findings),
        }
        (report.agreed, report.passed, report.signed) = tree.end(&mut findings);
        report.keys = keys.iter().map(ToString::to_string).collect();
        report.keep(&mut findings);
        report.findings.sort_by_key(|finding| finding.at);
        (report.messages, report.table_bytes) = (rules.messages(), rules.table_bytes());
        (report.open, report.open_count) = rules.open();
        (report.unknown, report.erased) = (rules.unknown, rules.erased_bodies);
        report
    }
}

impl Report {
    /// Keeps what there is room for.
    fn keep(&mut self, findings: &mut Vec<Finding>) {
        let room = FINDINGS_MAX - self.findings.len();
        self.more += findings.len().saturating_sub(room) as u64;
        findings.truncate(room);
        self.findings.append(findings);
    }
}
