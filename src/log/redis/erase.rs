//! Erasing on Redis: an entry of a stream cannot be changed, so the log is copied without the bodies, under the same ids, and
//! the copy is put in its place.
//!
//! ```text
//! {ns:0}:log.erasing   the copy, while it is made
//! {ns:0}:erasing       the token of the node that makes it; expires unless it is renewed
//! ```
//!
//! Promises:
//! - the store is blocked for a page at a time, a few milliseconds; appends continue between the pages, and the page that reaches
//!   the end puts the copy in place in the same step, so that none is lost;
//! - at most one node makes a copy: a step of anybody else, or of an earlier session, changes nothing;
//! - interrupted anywhere, the log is unchanged, and the next attempt starts over;
//! - what the store lacks for it (room, a right of its ACL) ends the erasing, not the session.
//!
//! Room: for a second log while it is made; where the store says how much it has, that is looked at first.
//! Not here: old copies in the store's own files (append-only file, snapshots), which go when those are rewritten.

use std::time::Duration;

use ::redis::{Cmd, RedisError, Value, aio::MultiplexedConnection};
use antiphon_schemas::{
    Seq,
    entry::{ERASED_BYTES_MIN, erased, is_erased},
};
use tokio::time::timeout;

use super::{
    Inner, codec,
    connect::connect,
    link::Link,
    script,
    trouble::{Kind, classify},
};
use crate::log::{Error, too_short};

/// One step; a page takes some milliseconds.
const STEP_MAX: Duration = Duration::from_secs(5);
/// How long a copier's token lives. It is renewed with each page; a node that stops renewing counts as gone.
const HOLDS: Duration = Duration::from_secs(30);
/// Entries of one page …
const PAGE_ENTRIES: u64 = 256;
/// … and about how many bytes of bodies: more would hold appends up.
const PAGE_BYTES: u64 = 1 << 20;
/// Entries that are looked at in one round trip: their bodies come along.
const LOOKED_AT: usize = 64;
/// So much of what the store may use is left alone.
const SPARE_PERCENT: u64 = 5;

/// A body to be erased: what replaces it.
struct Target {
    seq: Seq,
    begins: Vec<u8>,
    len: usize,
}

impl Inner {
    /// As [`Log::erase`](crate::log::Log::erase); the positions are in order, each once.
    pub(super) async fn erase(&self, link: &Link, positions: &[Seq]) -> Result<usize, Error> {
        // One after the other: the second mostly finds that the first has done it.
        let turn = self.erasing.lock().await;
        // The same for each try, so that nobody waits for what this node itself has broken off.
        let token = format!("{}/{}", self.node, turn.simple());
        let count = tokio::select! {
            count = self.erase_in_turn(link, &token, positions) => count?,
            () = self.closing.cancelled() => return Err(Error::Closed),
        };
        self.cache.erase(positions);
        Ok(count)
    }

    async fn erase_in_turn(&self, link: &Link, token: &str, positions: &[Seq]) -> Result<usize, Error> {
        // A connection of its own: what it is refused is no reason to end the session.
        let connected = connect(&self.address, STEP_MAX).await.map_err(|why| Error::Away(why.to_string().into()))?;
        let mut connection = connected.connection;
        let targets = self.targets(&mut connection, positions).await?;
        if targets.is_empty() {
            return Ok(0);
        }
        self.check_room(&mut connection).await?;
        ask(script::send(&mut connection)).await?;
        let started = std::time::Instant::now();
        let (live_from, mut last) = self.begin(link, &mut connection, token).await?;
        let mut rest = &targets[..];
        loop {
            let page_end = last.0 + PAGE_ENTRIES + 64;
            let here = rest.partition_point(|target| target.seq.0 <= page_end);
            let call = self.page(link, token, last, &live_from, &rest[..here]);
            match answer(link, ask(script::run(&mut connection, &call)).await?)? {
                Step::Copied(seq) if seq > last => last = seq,
                Step::InPlace => break,
                Step::Copied(_) => return Err(Error::Io("the store copies nothing".into())),
            }
            rest = &rest[rest.partition_point(|target| target.seq <= last)..];
        }
        tracing::info!(
            bodies = targets.len(),
            ms = started.elapsed().as_millis() as u64,
            "the log was copied without the bodies that were to be erased"
        );
        match self.targets(&mut connection, positions).await?.is_empty() {
            true => Ok(targets.len()),
            false => Err(Error::Io("the store still has what was erased".into())),
        }
    }

    /// Those that are not erased yet.
    async fn targets(&self, connection: &mut MultiplexedConnection, positions: &[Seq]) -> Result<Vec<Target>, Error> {
        let mut targets = Vec::new();
        for part in positions.chunks(LOOKED_AT) {
            let mut pipeline = ::redis::pipe();
            for seq in part {
                let id = codec::id_of(*seq);
                pipeline.cmd("XRANGE").arg(&self.keys.log).arg(&id).arg(&id);
            }
            let answers: Vec<Value> = ask(pipeline.query_async(connection)).await?;
            for (seq, answer) in part.iter().zip(answers) {
                let entry = codec::array(answer).unwrap_or_default().pop();
                let gone = || codec::damaged(&self.keys.log, codec::id_of(*seq).as_bytes(), "it is gone");
                let entry = codec::entry(&self.keys.log, entry.ok_or_else(gone)?)?;
                if !is_erased(&entry.body) {
                    let body = erased(&entry.body).ok_or_else(|| too_short(*seq))?;
                    targets.push(Target { seq: *seq, begins: body[..ERASED_BYTES_MIN].to_vec(), len: body.len() });
                }
            }
        }
        Ok(targets)
    }

    /// Refuses if the store says that it has no room for a second log.
    async fn check_room(&self, connection: &mut MultiplexedConnection) -> Result<(), Error> {
        let mut command = ::redis::cmd("MEMORY");
        let needed = gently(command.arg("USAGE").arg(&self.keys.log).query_async::<Option<u64>>(connection)).await?;
        let info = gently(::redis::cmd("INFO").arg("memory").query_async::<String>(connection)).await?;
        let (Some(Some(needed)), Some(info)) = (needed, info) else { return Ok(()) };
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let (used, max) = (field("used_memory:"), field("maxmemory:").filter(|max| *max > 0));
        let (Some(used), Some(max)) = (used, max.or_else(|| field("total_system_memory:"))) else { return Ok(()) };
        let may = max - max / 100 * SPARE_PERCENT;
        if used + needed > may {
            let free = may.saturating_sub(used);
            return Err(Error::Full(format!(
                "to erase is to copy the log, which takes about {needed} bytes of Redis' memory, and {free} are free; raise \
                 maxmemory or free some"
            )));
        }
        Ok(())
    }

    /// Takes the token; the live id from which words are kept, and the position before the first entry.
    async fn begin(
        &self,
        link: &Link,
        connection: &mut MultiplexedConnection,
        token: &str,
    ) -> Result<(String, Seq), Error> {
        let keys = &self.keys;
        let mut call = script::ERASE_BEGIN.call(&[&keys.log, &keys.meta, &keys.copy, &keys.erasing]);
        link.writer.sign(&mut call);
        call.arg(token).arg(HOLDS.as_millis() as u64);
        let values = codec::array(ask(script::run(connection, &call)).await?).unwrap_or_default();
        match values.iter().map(codec::number).collect::<Vec<_>>()[..] {
            [Some(0), Some(now_ms), Some(before)] => Ok((format!("{now_ms}-0"), Seq(before))),
            _ => Err(refused(link, values)),
        }
    }

    fn page(&self, link: &Link, token: &str, last: Seq, live_from: &str, targets: &[Target]) -> Cmd {
        let keys = &self.keys;
        let names = [&keys.log, &keys.meta, &keys.copy, &keys.erasing, &keys.old, &keys.live];
        let mut call = script::ERASE_COPY.call(&names);
        link.writer.sign(&mut call);
        call.arg(token).arg(HOLDS.as_millis() as u64).arg(last.0).arg(PAGE_ENTRIES).arg(PAGE_BYTES).arg(live_from);
        for target in targets {
            call.arg(codec::id_of(target.seq)).arg(&target.begins).arg(target.len);
        }
        call
    }
}

/// What a page came to.
enum Step {
    Copied(Seq),
    InPlace,
}

fn answer(link: &Link, value: Value) -> Result<Step, Error> {
    let values = codec::array(value).unwrap_or_default();
    match (values.first().and_then(codec::number), values.get(1).and_then(codec::number)) {
        (Some(0), Some(last)) => Ok(Step::Copied(Seq(last))),
        (Some(5), Some(_)) => Ok(Step::InPlace),
        _ => Err(refused(link, values)),
    }
}

/// Why a script did nothing.
fn refused(link: &Link, mut values: Vec<Value>) -> Error {
    let said = values.pop().and_then(codec::text).unwrap_or_default();
    match values.first().and_then(codec::number) {
        Some(1 | 2) => link.fail("another session of this node, or another epoch, has begun"),
        Some(3) if said.is_empty() => Error::Full("the copy took too long between two pages".into()),
        Some(3) => {
            let node = said.split('/').next().unwrap_or_default();
            Error::Full(format!(
                "node `{node}` is already copying the log to erase something; this erasure starts when it has finished"
            ))
        }
        Some(4) => Error::Io(format!("the log cannot be copied to erase something: {said}")),
        _ => Error::Io("an erase script answered what it cannot answer".into()),
    }
}

/// An answer within a time. No failure here ends the session.
async fn ask<T>(question: impl Future<Output = Result<T, RedisError>>) -> Result<T, Error> {
    match timeout(STEP_MAX, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(Error::Away("the store does not answer in time".into())),
    }
}

/// As [`ask`]; `None` for what the store forbids or does not know.
async fn gently<T>(question: impl Future<Output = Result<T, RedisError>>) -> Result<Option<T>, Error> {
    match timeout(STEP_MAX, question).await {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(error)) if matches!(classify(&error).kind, Kind::Forbidden | Kind::Other) => Ok(None),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(Error::Away("the store does not answer in time".into())),
    }
}

fn failed(error: &RedisError) -> Error {
    let trouble = classify(error);
    match trouble.kind {
        Kind::Full | Kind::DiskFails => Error::Full(trouble.to_string()),
        Kind::Forbidden | Kind::WrongType | Kind::Other => Error::Io(trouble.to_string()),
        _ => Error::Away(trouble.to_string().into()),
    }
}
