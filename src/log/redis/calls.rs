//! What a log asks of the store while it is open: append, read, load, probe.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ::redis::Value;
use antiphon_schemas::{Entry, Seq};

use super::{
    Inner, Stamp,
    append::{self, Answer},
    codec,
    link::Link,
    live, script,
};
use crate::log::{Append, BATCH_MAX, Error, READ_BYTES_MAX, Verdict};

/// An append is answered within this time, or the log is away and the append unknown. A hung store must not hold people
/// up for longer than they wait for a page.
const APPEND_MAX: Duration = Duration::from_millis(1_500);
/// One page of history.
pub(super) const READ_MAX: Duration = Duration::from_secs(2);
/// Entries in one page of history: the store answers nobody else meanwhile, for about a millisecond.
pub(super) const READ_ENTRIES_MAX: usize = 1_000;
/// Bytes of bodies in one call of a script; a larger batch is several calls, one after the other.
const CALL_BYTES_MAX: usize = 4 << 20;
/// Entries in one call of the load script.
pub(super) const LOAD_ENTRIES_MAX: usize = 512;

impl Inner {
    /// What a script learns about the time.
    fn stamp_ms(&self) -> u64 {
        match &self.stamp {
            Stamp::Store => 0,
            // 0 means the store's clock.
            Stamp::Clock(clock) => clock.now_ms().max(1),
        }
    }

    pub(super) async fn append(self: Arc<Self>, link: Arc<Link>, batch: Vec<Append>) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for part in parts(batch, BATCH_MAX, append_bytes) {
            let doubtful = self.lanes_doubtful.load(Ordering::Relaxed);
            let call = append::call(&self.keys, &link.writer, self.stamp_ms(), doubtful, &part);
            let mut connection = link.appends.clone();
            let value = link.ask(APPEND_MAX, script::run(&mut connection, &call)).await?;
            match append::answer(&self.keys, part, value).inspect_err(|error| link.end(error.to_string()))? {
                Answer::Judged { verdicts: more, written, lanes_failed } => {
                    if lanes_failed {
                        self.lanes_doubtful.store(true, Ordering::Relaxed);
                    }
                    self.cache.feed(written);
                    verdicts.extend(more);
                }
                Answer::OtherEpoch => {
                    return Err(link.fail("another node began a new epoch, or the store lost its meta"));
                }
                Answer::OtherSession => {
                    let node = &self.node;
                    return Err(link.fail(format!(
                        "another process is appending as node `{node}`, or the store lost its meta; give every node its own name"
                    )));
                }
            }
        }
        let last = verdicts.iter().rev().find_map(|verdict| match verdict {
            Verdict::Appended(entries) => entries.last().map(|entry| entry.header.seq),
            _ => None,
        });
        if let Some(last) = last {
            // Where another node wrote in between, the reader brings that in a moment. Until then this node could not give
            // its own back to a store that loses its tail, so it must not be called written.
            // The reader has a bound of its own, after which it ends the session.
            let mut tail = self.cache.follow();
            tokio::select! {
                biased;
                _ = tail.wait_for(|tail| *tail >= last) => {}
                why = link.ended() => return Err(Error::Away(why)),
            }
        }
        Ok(verdicts)
    }

    pub(super) async fn read(&self, link: &Link, after: Seq, entries_max: usize) -> Result<Vec<Arc<Entry>>, Error> {
        let count = entries_max.min(self.read_entries.load(Ordering::Relaxed));
        let mut command = ::redis::cmd("XRANGE");
        command.arg(&self.keys.log).arg(codec::id_of(after.next())).arg("+").arg("COUNT").arg(count);
        let mut connection = link.reads.clone();
        let question = command.query_async::<Value>(&mut connection);
        let values = codec::array(link.ask(READ_MAX, question).await?).unwrap_or_default();
        let mut entries = Vec::with_capacity(values.len());
        let (mut next, mut bytes) = (after.next(), 0);
        for value in values {
            let entry = codec::entry(&self.keys.log, value)?;
            if entry.header.seq != next {
                return Err(codec::damaged(&self.keys.log, codec::id_of(next).as_bytes(), "it is gone"));
            }
            bytes += entry.body.len();
            if bytes > READ_BYTES_MAX && !entries.is_empty() {
                break;
            }
            next = next.next();
            entries.push(Arc::new(entry));
        }
        if entries.is_empty() {
            return Err(codec::damaged(&self.keys.log, codec::id_of(next).as_bytes(), "it is gone"));
        }
        self.note_size(bytes, entries.len());
        Ok(entries)
    }

    /// As [`Log::get`](crate::log::Log::get), for positions of which the first is not in the cache.
    pub(super) async fn get(&self, link: &Link, positions: &[Seq]) -> Result<Vec<Arc<Entry>>, Error> {
        let older = self.cache.older(positions).max(1).min(self.read_entries.load(Ordering::Relaxed));
        let wanted = &positions[..older];
        let mut pipeline = ::redis::pipe();
        for run in wanted.chunk_by(|before, seq| *seq == before.next()) {
            let ends = [run[0], run[run.len() - 1]].map(codec::id_of);
            pipeline.cmd("XRANGE").arg(&self.keys.log).arg(&ends);
        }
        let mut connection = link.reads.clone();
        let question = pipeline.query_async::<Vec<Value>>(&mut connection);
        let runs = link.ask(READ_MAX, question).await?;
        let mut values = runs.into_iter().flat_map(|run| codec::array(run).unwrap_or_default());
        let (mut entries, mut bytes) = (Vec::with_capacity(wanted.len()), 0);
        for seq in wanted {
            let gone = || codec::damaged(&self.keys.log, codec::id_of(*seq).as_bytes(), "it is gone");
            let entry = codec::entry(&self.keys.log, values.next().ok_or_else(gone)?)?;
            if entry.header.seq != *seq {
                return Err(gone());
            }
            bytes += entry.body.len();
            if bytes > READ_BYTES_MAX && !entries.is_empty() {
                break;
            }
            entries.push(Arc::new(entry));
        }
        self.note_size(bytes, entries.len());
        Ok(entries)
    }

    /// Lets the next page have so many entries as make about [`READ_BYTES_MAX`], by the last one.
    fn note_size(&self, bytes: usize, entries: usize) {
        let each = (bytes / entries.max(1)).max(1);
        self.read_entries.store((READ_BYTES_MAX / each).clamp(1, READ_ENTRIES_MAX), Ordering::Relaxed);
    }

    pub(super) async fn load(self: Arc<Self>, link: Arc<Link>, entries: Vec<Arc<Entry>>) -> Result<(), Error> {
        for part in parts(entries, LOAD_ENTRIES_MAX, |entry| entry.body.len()) {
            let call = append::load_call(&self.keys, &link.writer, &part);
            let mut connection = link.appends.clone();
            let value = link.ask(APPEND_MAX, script::run(&mut connection, &call)).await?;
            append::load_answer(&part, value, &link)?;
            self.cache.feed(part);
        }
        Ok(())
    }

    pub(super) async fn probe(self: &Arc<Self>, link: &Arc<Link>) -> Result<(), Error> {
        self.clone().append(link.clone(), Vec::new()).await?;
        let number = self.canary.fetch_add(1, Ordering::Relaxed) + 1;
        let mut canaries = self.live.canaries();
        let mut command = ::redis::cmd("XADD");
        command.arg(&self.keys.live).arg("MAXLEN").arg("~").arg(live::KEPT).arg("*");
        command.arg("n").arg(&*self.node).arg("c").arg(number);
        let mut connection = link.live.clone();
        link.ask(APPEND_MAX, async { command.query_async::<Value>(&mut connection).await }).await?;
        tokio::select! {
            back = canaries.wait_for(|last| *last >= number) => back.map(|_| ()).map_err(|_| Error::Closed),
            why = link.ended() => Err(Error::Away(why)),
        }
    }
}

/// Something in parts of so many and of at most [`CALL_BYTES_MAX`], one at least.
pub(super) fn parts<T>(all: Vec<T>, count_max: usize, bytes_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts = vec![Vec::with_capacity(all.len().min(count_max))];
    let (mut count, mut bytes) = (0, 0);
    for one in all {
        let more = bytes_of(&one);
        if count > 0 && (count == count_max || bytes + more > CALL_BYTES_MAX) {
            parts.push(Vec::new());
            (count, bytes) = (0, 0);
        }
        (count, bytes) = (count + 1, bytes + more);
        parts.last_mut().expect("one at least").push(one);
    }
    parts
}

fn append_bytes(append: &Append) -> usize {
    append.drafts.iter().map(|draft| draft.body.len()).sum()
}
