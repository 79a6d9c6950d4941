//! What a log asks of the store while it is open: append, read, load, probe.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ::redis::{Value, aio::MultiplexedConnection};
use antiphon_schemas::{Entry, Epoch, Seq};

use super::{
    Inner, Stamp,
    append::{self, Answer},
    codec,
    link::Link,
    live,
    retry::{self, Entered},
    script,
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

    /// As [`Log::append`](crate::log::Log::append), on the session that was entered when it was called.
    pub(super) async fn append(
        self: Arc<Self>,
        mut entered: Option<Entered>,
        batch: Vec<Append>,
    ) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for part in parts(batch, BATCH_MAX, append_bytes) {
            verdicts.extend(self.append_part(&mut entered, part).await?);
        }
        let last = verdicts.iter().rev().find_map(|verdict| match verdict {
            Verdict::Appended(entries) => entries.last().map(|entry| entry.header.seq),
            _ => None,
        });
        if let Some(last) = last {
            // Where another node wrote in between, the reader brings that in a moment. Until then this node could not give
            // its own back to a store that loses its tail, so it must not be called written.
            // The reader has a bound of its own, after which it ends the session; the next one begins by reading it.
            let mut tail = self.cache.follow();
            let mut link = self.enter(&mut entered).await?;
            let epoch = link.epoch;
            loop {
                tokio::select! {
                    biased;
                    _ = tail.wait_for(|tail| *tail >= last) => break,
                    why = link.ended() => if !link.is_lost() { return Err(Error::Away(why)) },
                }
                link = self.enter_again(&mut entered, epoch).await?;
            }
        }
        Ok(verdicts)
    }

    /// One call of the script, and what of it was not written again where its session is lost.
    async fn append_part(&self, entered: &mut Option<Entered>, part: Vec<Append>) -> Result<Vec<Verdict>, Error> {
        let count = part.len();
        // Whatever is written now comes after what is known here.
        let known = self.cache.tail();
        let mut link = self.enter(entered).await?;
        // Those that have no verdict yet, and their places.
        let mut rest: Vec<(usize, Append)> = part.into_iter().enumerate().collect();
        let mut verdicts: Vec<Option<Verdict>> = vec![None; count];
        loop {
            let (places, asked): (Vec<usize>, Vec<Append>) = rest.into_iter().unzip();
            let doubtful = self.lanes_doubtful.load(Ordering::Relaxed);
            let call = append::call(&self.keys, &link.writer, self.stamp_ms(), doubtful, &asked);
            let mut connection = link.appends.clone();
            match link.ask(APPEND_MAX, script::run(&mut connection, &call)).await {
                Ok(value) => {
                    for (place, verdict) in places.into_iter().zip(self.judged(&link, asked, value)?) {
                        verdicts[place] = Some(verdict);
                    }
                    return Ok(verdicts.into_iter().flatten().collect());
                }
                Err(Error::Away(_)) if link.is_lost() => {}
                Err(error) => return Err(error),
            }
            link = self.enter_again(entered, link.epoch).await?;
            let Some(entries) = self.written_after(known) else {
                return Err(link.fail("too much was written meanwhile to see whether an append was"));
            };
            let found = retry::found(&asked, entries);
            if found.iter().any(Option::is_some) {
                // Whether a lane could follow was said in the answer that is lost.
                self.lanes_doubtful.store(true, Ordering::Relaxed);
            }
            rest = Vec::new();
            for ((place, append), found) in places.into_iter().zip(asked).zip(found) {
                match found {
                    Some(verdict) => verdicts[place] = Some(verdict),
                    None => rest.push((place, append)),
                }
            }
            if rest.is_empty() && count > 0 {
                return Ok(verdicts.into_iter().flatten().collect());
            }
        }
    }

    /// The session after one that was lost, if it goes on with the same history.
    async fn enter_again(&self, entered: &mut Option<Entered>, epoch: Epoch) -> Result<Arc<Link>, Error> {
        let link = self.enter(entered).await?;
        if link.epoch != epoch {
            return Err(Error::Away("the store has begun a new epoch".into()));
        }
        Ok(link)
    }

    /// What the script said.
    fn judged(&self, link: &Link, asked: Vec<Append>, value: Value) -> Result<Vec<Verdict>, Error> {
        match append::answer(&self.keys, asked, value).inspect_err(|error| link.end(error.to_string()))? {
            Answer::Judged { verdicts, written, lanes_failed } => {
                if lanes_failed {
                    self.lanes_doubtful.store(true, Ordering::Relaxed);
                }
                self.cache.feed(written);
                Ok(verdicts)
            }
            Answer::OtherEpoch => Err(link.fail("another node began a new epoch, or the store lost its meta")),
            Answer::OtherSession => {
                let node = &self.node;
                Err(link.fail(format!(
                    "another process is appending as node `{node}`, or the store lost its meta; give every node its own name"
                )))
            }
        }
    }

    pub(super) async fn read(&self, link: &Link, after: Seq, entries_max: usize) -> Result<Vec<Arc<Entry>>, Error> {
        let question = |mut connection: MultiplexedConnection, most: usize| async move {
            let mut command = ::redis::cmd("XRANGE");
            command
                .arg(&self.keys.log)
                .arg(codec::id_of(after.next()))
                .arg("+")
                .arg("COUNT")
                .arg(entries_max.min(most));
            command.query_async::<Value>(&mut connection).await
        };
        let values = codec::array(self.paged(link, question).await?).unwrap_or_default();
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
        self.page.note(bytes, entries.len());
        Ok(entries)
    }

    /// As [`Log::get`](crate::log::Log::get), for positions of which the first is not in the cache.
    pub(super) async fn get(&self, link: &Link, positions: &[Seq]) -> Result<Vec<Arc<Entry>>, Error> {
        let older = self.cache.older(positions).max(1);
        let question = |mut connection: MultiplexedConnection, most: usize| async move {
            let wanted = &positions[..older.min(most)];
            let mut pipeline = ::redis::pipe();
            for run in wanted.chunk_by(|before, seq| *seq == before.next()) {
                let ends = [run[0], run[run.len() - 1]].map(codec::id_of);
                pipeline.cmd("XRANGE").arg(&self.keys.log).arg(&ends);
            }
            let runs = pipeline.query_async::<Vec<Value>>(&mut connection).await?;
            Ok((wanted, runs))
        };
        let (wanted, runs) = self.paged(link, question).await?;
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
        self.page.note(bytes, entries.len());
        Ok(entries)
    }

    /// As [`Log::load`](crate::log::Log::load), on the session that was entered when it was called.
    pub(super) async fn load(
        self: Arc<Self>,
        mut entered: Option<Entered>,
        entries: Vec<Arc<Entry>>,
    ) -> Result<(), Error> {
        for part in parts(entries, LOAD_ENTRIES_MAX, |entry| entry.body.len()) {
            let mut link = self.enter(&mut entered).await?;
            loop {
                let call = append::load_call(&self.keys, &link.writer, &part);
                let mut connection = link.appends.clone();
                match link.ask(APPEND_MAX, script::run(&mut connection, &call)).await {
                    Ok(value) => {
                        append::load_answer(&part, value, &link)?;
                        self.cache.feed(part);
                        break;
                    }
                    Err(Error::Away(_)) if link.is_lost() => {}
                    Err(error) => return Err(error),
                }
                link = self.enter_again(&mut entered, link.epoch).await?;
                // All of a call or nothing.
                let there = part.last().is_some_and(|last| {
                    let stored = self.cache.up_to(last.header.seq, 1).pop();
                    stored.is_some_and(|stored| stored.header == last.header && stored.body == last.body)
                });
                if there {
                    break;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn probe(&self, link: &Link) -> Result<(), Error> {
        let call = append::call(&self.keys, &link.writer, self.stamp_ms(), false, &[]);
        let mut connection = link.appends.clone();
        let value = link.ask(APPEND_MAX, script::run(&mut connection, &call)).await?;
        self.judged(link, Vec::new(), value)?;
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
