//! The checkpoints that a log is held to: those beside it, and one that was kept elsewhere.
//!
//! Promise: a note counts only if it is signed by a key that was asked for, and only if it is of this log and epoch; one that is
//! not is named.

use std::io::Read;

use antiphon_schemas::{Epoch, Seq};

use super::{Finding, tree::Signed};
use crate::{
    audit::{
        checkpoint::{Checkpoint, Error as Unfit},
        note::{self, NOTE_BYTES_MAX, Verifier},
    },
    replay::source::{Error, Source},
};

/// The longest history that is read: a checkpoint every five minutes for ten years has less.
const HISTORY_BYTES_MAX: u64 = 512 << 20;

/// What a log is held to.
#[derive(Default)]
pub struct Witness {
    /// Keys that are trusted, as the caller was given them. Empty: the one that lies beside the log, which anyone who can alter the
    /// log can alter, too.
    pub keys: Vec<Verifier>,
    /// Notes that were kept elsewhere, and what they are called.
    pub against: Vec<(String, String)>,
}

/// What is there to compare with.
pub(super) struct Found {
    pub(super) signed: Vec<Signed>,
    pub(super) leaves: Option<Box<dyn Read + Send>>,
    /// The keys that notes were opened with.
    pub keys: Vec<Verifier>,
    /// The keys are those that lie beside the log.
    pub own_keys: bool,
}

/// Gathers the checkpoints of a log. Notes that cannot be trusted are findings.
///
/// # Errors
/// [`Error::Io`]: a file is there, but cannot be read.
pub(super) fn gather(source: &mut dyn Source, witness: &Witness, findings: &mut Vec<Finding>) -> Result<Found, Error> {
    let epoch = source.epoch();
    let mut keys = witness.keys.clone();
    let own_keys = keys.is_empty();
    if own_keys && let Some(text) = text_of(source, "notary.pub", NOTE_BYTES_MAX as u64)? {
        match text.trim().parse() {
            Ok(key) => keys.push(key),
            Err(why) => findings.push(unfit("checkpoints/notary.pub", &format!("{why}"))),
        }
    }
    let mut signed = Vec::new();
    let mut take = |note: &str, from: String, findings: &mut Vec<Finding>| match Checkpoint::open(note, &keys) {
        Ok(checkpoint) => match of_epoch(&checkpoint, epoch) {
            Ok(true) => signed.push(Signed { checkpoint, from }),
            Ok(false) => {}
            Err(why) => findings.push(unfit(&from, &why)),
        },
        // Kept from the time of another key.
        Err(Unfit::Note(note::Error::Unknown(_))) if from.starts_with("checkpoints/history") => {}
        Err(why) => findings.push(unfit(&from, &why.to_string())),
    };
    if let Some(note) = text_of(source, "latest", NOTE_BYTES_MAX as u64)? {
        take(&note, "checkpoints/latest".into(), findings);
    }
    if let Some(history) = text_of(source, "history", HISTORY_BYTES_MAX)? {
        for (n, note) in notes(&history).enumerate() {
            take(&note, format!("checkpoints/history, no. {}", n + 1), findings);
        }
    }
    for (from, note) in &witness.against {
        match Checkpoint::open(note, &keys) {
            Ok(checkpoint) if of_epoch(&checkpoint, epoch) == Ok(true) => {
                signed.push(Signed { checkpoint, from: from.clone() });
            }
            Ok(checkpoint) => {
                let why = format!("it is of `{}`, and this log has epoch {epoch}", checkpoint.origin);
                findings.push(unfit(from, &why));
            }
            Err(why) => findings.push(unfit(from, &why.to_string())),
        }
    }
    let leaves = source
        .checkpoint_file("leaves")?
        .map(|leaves| -> Box<dyn Read + Send> { Box::new(std::io::BufReader::with_capacity(256 << 10, leaves)) });
    Ok(Found { signed, leaves, keys, own_keys })
}

/// The checkpoint in a note from the log, if one of the keys has signed it.
pub(super) fn in_log(
    note: &str,
    at: Seq,
    keys: &[Verifier],
    epoch: Epoch,
    findings: &mut Vec<Finding>,
) -> Option<Signed> {
    match Checkpoint::open(note, keys) {
        Ok(checkpoint) if of_epoch(&checkpoint, epoch) == Ok(true) => {
            Some(Signed { checkpoint, from: format!("the checkpoint at position {at}") })
        }
        // Of another notary, or from before the epoch: no business of these keys.
        Ok(_) | Err(Unfit::Note(note::Error::Unknown(_))) => None,
        Err(why) => {
            findings.push(Finding { at, code: "checkpoint", why: format!("the checkpoint here is none: {why}") });
            None
        }
    }
}

/// Whether a checkpoint is of this epoch; one of another epoch says nothing about this log.
fn of_epoch(checkpoint: &Checkpoint, epoch: Epoch) -> Result<bool, String> {
    match checkpoint.epoch() {
        Some(of) => Ok(of == epoch),
        None => Err(format!("its origin `{}` is not an antiphon log's", checkpoint.origin)),
    }
}

fn unfit(from: &str, why: &str) -> Finding {
    Finding { at: Seq::ZERO, code: "checkpoint", why: format!("{from} cannot be trusted: {why}") }
}

fn text_of(source: &mut dyn Source, name: &str, max: u64) -> Result<Option<String>, Error> {
    let Some(file) = source.checkpoint_file(name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes).map_err(|error| Error::Io(format!("checkpoints/{name}: {error}")))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The whole notes of a history: each ends with a signature and an empty line.
fn notes(history: &str) -> impl Iterator<Item = String> {
    let (mut note, mut signed) = (String::new(), false);
    history.split_inclusive('\n').filter_map(move |line| {
        if line == "\n" && std::mem::take(&mut signed) {
            return Some(std::mem::take(&mut note));
        }
        signed = line.starts_with("— ") && line.ends_with('\n');
        note.push_str(line);
        None
    })
}
