//! The batch as the append script takes it, and its answer as verdicts.

use std::{collections::HashMap, sync::Arc};

use ::redis::{Cmd, Value};
use antiphon_schemas::{Entry, Header, Seq, entry::VERSION};

use super::{Keys, codec, link::Link, script};
use crate::log::{Append, Error, Move, SCAN_MAX, Verdict};

/// Who appends, as the scripts check it.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    /// The node's name.
    pub(super) node: Arc<str>,
    /// What it wrote when its connection was made: a request of a session before this one writes nothing.
    pub(super) session: String,
    /// The epoch that it knows.
    pub(super) epoch: String,
}

impl Writer {
    /// Adds who appends to a call.
    pub(super) fn sign(&self, call: &mut Cmd) {
        call.arg(&*self.node).arg(&self.session).arg(&self.epoch);
    }
}

/// What the script said to a batch.
pub(super) enum Answer {
    /// A verdict for each, all entries written, and whether a lane could not follow.
    Judged { verdicts: Vec<Verdict>, written: Vec<Arc<Entry>>, lanes_failed: bool },
    /// Nothing was written: another epoch holds.
    OtherEpoch,
    /// Nothing was written: another session of this node's name holds.
    OtherSession,
}

/// The call that appends `batch`. `now_ms` 0 means the server's clock.
pub(super) fn call(keys: &Keys, writer: &Writer, now_ms: u64, lanes_doubtful: bool, batch: &[Append]) -> Cmd {
    let mut names = vec![keys.log.clone(), keys.meta.clone(), keys.lanes.clone()];
    let mut places: HashMap<String, usize> = HashMap::new();
    for step in batch.iter().flat_map(|append| &append.moves) {
        let (Move::Put { lane, .. } | Move::Take { lane, .. } | Move::Drop { lane, .. }) = step;
        let name = keys.lane(lane);
        places.entry(name).or_insert_with_key(|name| {
            names.push(name.clone());
            names.len()
        });
    }
    let place = |lane| places[&keys.lane(lane)];
    let mut call = script::APPEND.call(&names);
    writer.sign(&mut call);
    let any_subjects = batch.iter().any(|append| !append.subjects.is_empty());
    call.arg(now_ms).arg(SCAN_MAX).arg(u8::from(lanes_doubtful)).arg(u8::from(any_subjects)).arg(batch.len());
    for append in batch {
        call.arg(append.after.0).arg(append.request.to_string());
        call.arg(append.subjects.len()).arg(append.moves.len()).arg(append.drafts.len());
        for subject in &append.subjects {
            call.arg(subject.to_string());
        }
        for step in &append.moves {
            match step {
                Move::Put { lane, draft, message_id } => {
                    call.arg("P").arg(place(lane)).arg(*draft).arg(message_id.to_string());
                }
                Move::Take { lane, since, worker } => {
                    call.arg("T").arg(place(lane)).arg(since.0).arg(&**worker);
                }
                Move::Drop { lane, since } => {
                    call.arg("D").arg(place(lane)).arg(since.0).arg("");
                }
            }
        }
        for draft in &append.drafts {
            call.arg(draft.event.kind()).arg(codec::subjects_text(&draft.event.subjects()));
            call.arg(codec::room_text(draft.room.as_ref())).arg(VERSION).arg(&draft.body[..]);
        }
    }
    call
}

/// What the script's answer means for the batch.
pub(super) fn answer(keys: &Keys, batch: Vec<Append>, value: Value) -> Result<Answer, Error> {
    let odd = || Error::Io("the append script answered what it cannot answer".into());
    let values = codec::array(value).ok_or_else(odd)?;
    match values.first().and_then(codec::number) {
        Some(0) => {}
        Some(1) => return Ok(Answer::OtherEpoch),
        Some(2) => return Ok(Answer::OtherSession),
        _ => return Err(odd()),
    }
    let [_, before, at_ms, codes, failed, missed] = <[Value; 6]>::try_from(values).map_err(|_| odd())?;
    let number = |value| codec::number(value).ok_or_else(odd);
    let (before, at_ms, lanes_failed) = (Seq(number(&before)?), number(&at_ms)?, number(&failed)? != 0);
    let codes = codec::bytes(codes).filter(|codes| codes.len() == batch.len()).ok_or_else(odd)?;
    // Missed before the batch, then what the batch itself wrote: from here every conflict takes its end.
    let mut known = Vec::new();
    for value in codec::array(missed).ok_or_else(odd)? {
        known.push(Arc::new(codec::entry(&keys.log, value)?));
    }
    let written_from = known.len();
    let mut tail = before;
    let mut verdicts = Vec::with_capacity(batch.len());
    for (append, code) in batch.into_iter().zip(codes) {
        verdicts.push(match code {
            b'A' => {
                let start = known.len();
                for draft in append.drafts {
                    tail = tail.next();
                    let header = Header {
                        seq: tail,
                        at_ms,
                        request: append.request,
                        kind: draft.event.kind().into(),
                        room: draft.room,
                        subjects: draft.event.subjects(),
                        version: VERSION,
                    };
                    known.push(Arc::new(Entry { header, body: draft.body, event: draft.event }));
                }
                Verdict::Appended(known[start..].to_vec())
            }
            b'C' => Verdict::Conflict(known.iter().filter(|entry| entry.header.seq > append.after).cloned().collect()),
            b'B' => Verdict::Behind { tail },
            b'D' => Verdict::Diverged { tail },
            b'O' => Verdict::OutOfStep,
            _ => return Err(odd()),
        });
    }
    Ok(Answer::Judged { verdicts, written: known.split_off(written_from), lanes_failed })
}

/// What a load must be whatever the log has.
pub(super) fn check_run(entries: &[Arc<Entry>]) -> Result<(), Error> {
    for (before, entry) in entries.iter().zip(entries.iter().skip(1)) {
        let (before, entry) = (&before.header, &entry.header);
        if entry.seq != before.seq.next() {
            return Err(Error::Invalid(format!("entry {} cannot follow entry {}", entry.seq, before.seq)));
        }
        if entry.at_ms < before.at_ms {
            return Err(Error::Invalid(format!("entry {} is older than the entry before it", entry.seq)));
        }
    }
    match entries.last() {
        // The scripts count in numbers that are exact up to there.
        Some(last) if last.header.seq > Seq::MAX || last.header.at_ms > Seq::MAX.0 => {
            Err(Error::Invalid(format!("entry {} is beyond what the log can count", last.header.seq)))
        }
        _ => Ok(()),
    }
}

/// The call that takes `entries` over.
pub(super) fn load_call(keys: &Keys, writer: &Writer, entries: &[Arc<Entry>]) -> Cmd {
    let mut call = script::LOAD.call(&[&keys.log, &keys.meta]);
    writer.sign(&mut call);
    let first = entries.first().map(|entry| &entry.header);
    call.arg(first.map_or(0, |first| first.seq.0)).arg(first.map_or(0, |first| first.at_ms)).arg(entries.len());
    for entry in entries {
        let header = &entry.header;
        call.arg(&*header.kind).arg(codec::subjects_text(&header.subjects));
        call.arg(codec::room_text(header.room.as_ref())).arg(header.at_ms).arg(header.version);
        call.arg(header.request.to_string()).arg(&entry.body[..]);
    }
    call
}

/// What the script's answer means for the load.
pub(super) fn load_answer(entries: &[Arc<Entry>], value: Value, link: &Link) -> Result<(), Error> {
    let values = codec::array(value).unwrap_or_default();
    let number = |at: usize| values.get(at).and_then(codec::number);
    let first = entries.first().map_or(Seq::ZERO, |entry| entry.header.seq);
    match number(0) {
        Some(0) => Ok(()),
        Some(1 | 2) => Err(link.fail("another session of this node, or another epoch, has begun")),
        _ => Err(Error::Invalid(match number(1) {
            Some(tail) if Seq(tail).next() == first => format!("entry {first} is older than the entry before it"),
            tail => format!("entry {first} cannot follow entry {}", tail.unwrap_or(0)),
        })),
    }
}
