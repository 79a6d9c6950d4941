//! Checks on every (re)connect whether the store still has the history that this node has seen.
//!
//! If the store holds the very entry that this node has at its last position, it holds everything before it too. If not,
//! its tail was lost: one node starts a new epoch, and every node truncates its view at the fork, the newest entry that both
//! have.
//!
//! Promises: an epoch is started once however many nodes see the loss; a node that has a history does not
//! touch an empty store until a person decides.

use std::sync::{Arc, atomic::Ordering};

use ::redis::{Cmd, ErrorKind, RedisError, Value, aio::MultiplexedConnection};
use antiphon_schemas::{Entry, Epoch, Seq, entry::body_hash};

use super::{
    Inner, Keys, cache, codec,
    connect::LinkError,
    live, script,
    trouble::{Kind, classify},
};
use crate::log::Error;

/// The version of the layout of keys and fields that this program writes.
pub(super) const FORMAT: &str = "1";
/// Entries in one page of a comparison or of catching up.
/// A page of the longest texts, 64 KiB each, is 16 MiB, which a slow network brings within `keeper::ASK_MAX`.
const PAGE: usize = 256;
/// How many of the newest entries a starting node reads at once: what it can restore if the store loses them soon.
const NEWEST: u64 = 1_000;

/// The field of meta that keeps nodes away; its value is the session that brings entries in.
const FILLING: &str = "w:(filling)";

/// Why a session cannot begin.
pub(super) enum NotYet {
    /// It is tried again.
    Away(Arc<str>),
    /// A person decides.
    Empty,
}

impl From<RedisError> for NotYet {
    fn from(error: RedisError) -> NotYet {
        NotYet::Away(classify(&error).to_string().into())
    }
}

impl From<LinkError> for NotYet {
    fn from(error: LinkError) -> NotYet {
        NotYet::Away(error.to_string().into())
    }
}

impl From<Error> for NotYet {
    fn from(error: Error) -> NotYet {
        NotYet::Away(match error {
            Error::Away(why) => why,
            error => error.to_string().into(),
        })
    }
}

fn away(why: impl Into<Arc<str>>) -> NotYet {
    NotYet::Away(why.into())
}

/// What the store has.
pub(super) struct Store {
    /// The epoch that holds, if there is one.
    pub(super) epoch: Option<Epoch>,
    /// The epoch that a person accepted although the store was empty, if there is one.
    pub(super) accepted: Option<Epoch>,
    /// The first position that it has.
    pub(super) base: Seq,
    /// The last position.
    pub(super) tail: Seq,
    /// Another log is being copied into it, or was when that was interrupted.
    pub(super) filling: bool,
}

/// Looks at meta and at the log's end.
///
/// # Errors
/// [`NotYet::Away`] also for keys that this program cannot have written.
pub(super) async fn look(connection: &mut MultiplexedConnection, keys: &Keys) -> Result<Store, NotYet> {
    let mut command = ::redis::cmd("HMGET");
    let command = command.arg(&keys.meta).arg("epoch").arg("version").arg("accepted").arg(FILLING).arg("base");
    let answer = ask(connection, command, &keys.meta).await?;
    let values = codec::array(answer).and_then(|values| <[Value; 5]>::try_from(values).ok());
    let [epoch, version, accepted, filling, base] =
        values.ok_or_else(|| away("the store answered HMGET with what it cannot answer"))?;
    if let Some(version) = codec::text(version).filter(|version| version != FORMAT) {
        let key = &keys.meta;
        return Err(away(format!(
            "`{key}` has format version {version}, but this program supports {FORMAT}; use the version of Antiphon that wrote it"
        )));
    }
    let epoch = codec::text(epoch).map(|epoch| parse_epoch(keys, &epoch)).transpose()?;
    let accepted = codec::text(accepted).map(|epoch| parse_epoch(keys, &epoch)).transpose()?;
    let base = match codec::text(base) {
        None => Seq(1),
        Some(base) => base
            .parse()
            .ok()
            .filter(|base| (1..=Seq::MAX.0).contains(base))
            .map(Seq)
            .ok_or_else(|| away(format!("`{}` has the base `{base}`, which is not a position", keys.meta)))?,
    };
    let (last, tail) = ends(connection, &keys.log).await?;
    if last != tail {
        let key = &keys.log;
        return Err(away(format!(
            "the log is damaged: the last entry of `{key}` is {tail}, but it had {last}; put them back"
        )));
    }
    let tail = codec::seq_of(tail.as_bytes())
        .ok_or_else(|| away(format!("the log is damaged: `{}` ends with {tail}, which is not a position", keys.log)))?;
    Ok(Store { epoch, accepted, base, tail, filling: codec::text(filling).is_some() })
}

/// An epoch as stored in meta.
pub(super) fn parse_epoch(keys: &Keys, text: &str) -> Result<Epoch, NotYet> {
    let epoch = (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    epoch.map(Epoch).ok_or_else(|| away(format!("`{}` has the epoch `{text}`, which is not 16 hex digits", keys.meta)))
}

/// The id of the last entry that a stream ever had, and of the last that it has.
async fn ends(connection: &mut MultiplexedConnection, key: &str) -> Result<(String, String), NotYet> {
    const NOTHING: &str = "0-0";
    let mut command = ::redis::cmd("XINFO");
    let answer = match command.arg("STREAM").arg(key).query_async::<Value>(connection).await {
        Ok(answer) => answer,
        Err(error)
            if error.kind() == ErrorKind::Server(::redis::ServerErrorKind::ResponseError) && no_such_key(&error) =>
        {
            return Ok((NOTHING.into(), NOTHING.into()));
        }
        Err(error) => return Err(named(&error, key)),
    };
    let odd = || away("the store answered XINFO with what it cannot answer");
    let mut pairs = codec::array(answer).ok_or_else(odd)?;
    let last_ever = codec::take(&mut pairs, "last-generated-id").and_then(codec::text).ok_or_else(odd)?;
    let last = match codec::take(&mut pairs, "last-entry").ok_or_else(odd)? {
        Value::Nil => NOTHING.into(),
        entry => String::from_utf8(codec::parts(entry).ok_or_else(odd)?.0).map_err(|_| odd())?,
    };
    Ok((last_ever, last))
}

/// The id after which live words are news.
pub(super) async fn live_end(connection: &mut MultiplexedConnection, keys: &Keys) -> Result<String, NotYet> {
    Ok(ends(connection, &keys.live).await?.0)
}

fn no_such_key(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("no such key"))
}

async fn ask(connection: &mut MultiplexedConnection, command: &Cmd, key: &str) -> Result<Value, NotYet> {
    command.query_async(connection).await.map_err(|error| named(&error, key))
}

/// An error of a command on one key; a wrong type says which key has it.
fn named(error: &RedisError, key: &str) -> NotYet {
    match error.code() {
        Some("WRONGTYPE") => away(format!("`{key}` does not contain a log; another program uses this key")),
        _ => NotYet::Away(classify(error).to_string().into()),
    }
}

/// Makes this node's history and the store's one: finds the fork, starts or takes the epoch, catches up. The epoch.
///
/// The caller's session has begun, so nothing of its own past can be written any more.
pub(super) async fn settle(inner: &Inner, connection: &mut MultiplexedConnection) -> Result<Epoch, NotYet> {
    let keys = &inner.keys;
    let store = look(connection, keys).await?;
    let held = store.epoch.ok_or_else(|| away("the store lost its meta while a session began"))?;
    let (epoch, own) = match inner.cached() {
        Some(epoch) => (epoch, inner.cache.tail()),
        None => match inner.known {
            Some((epoch, seq, _)) => (epoch, seq),
            None => (held, Seq::ZERO),
        },
    };
    // An entry that was trimmed meanwhile cannot be compared; that its epoch holds must do.
    let trimmed = own < store.base && held == epoch;
    let same = own == Seq::ZERO || trimmed || (own <= store.tail && has(inner, connection, own).await?);
    let mut settled = held;
    if !same {
        if held == epoch {
            if store.tail == Seq::ZERO {
                return Err(NotYet::Empty);
            }
            settled = begin_epoch(connection, keys, held).await?;
        }
        // Nor are those that were trimmed lost.
        let fork = fork(inner, connection, store.tail).await?.max(Seq(store.base.0 - 1));
        let lost = inner.cache.cut(fork);
        tracing::warn!(
            epoch = %settled, fork = fork.0, tail = store.tail.0, lost = lost.len(),
            "the store has lost the end of the log; this node offers the missing entries it still has"
        );
        inner.keep_lost(lost);
    }
    inner.state().cached = Some(settled);
    inner.base.store(store.base.0, Ordering::Relaxed);
    catch_up(inner, connection, &store).await?;
    Ok(settled)
}

/// Whether the store's entry at this node's last position is the one that this node knows.
async fn has(inner: &Inner, connection: &mut MultiplexedConnection, own: Seq) -> Result<bool, NotYet> {
    let stored = page(inner, connection, own, own).await?;
    let Some(stored) = stored.first() else { return Ok(false) };
    Ok(match (inner.cache.up_to(own, 1).first(), inner.known) {
        (Some(entry), _) => identical(entry, stored),
        (None, Some((_, _, hash))) => stored.hash() == hash,
        (None, None) => false,
    })
}

/// What makes an entry the same: the request that wrote it, when, and its bytes, erased or not.
fn identical(a: &Entry, b: &Entry) -> bool {
    a.header == b.header && body_hash(&a.body) == body_hash(&b.body)
}

/// The newest cached entry that the store has too; 0 if there is none.
async fn fork(inner: &Inner, connection: &mut MultiplexedConnection, tail: Seq) -> Result<Seq, NotYet> {
    let mut last = inner.cache.tail().min(tail);
    loop {
        let cached = inner.cache.up_to(last, inner.page.at_most(PAGE));
        let (Some(first), Some(newest)) = (cached.first(), cached.last()) else { return Ok(Seq::ZERO) };
        let stored = page(inner, connection, first.header.seq, newest.header.seq).await?;
        // A store that was changed by hand may miss some.
        let found = cached.iter().rev().find(|own| stored.iter().any(|entry| identical(own, entry)));
        if let Some(found) = found {
            return Ok(found.header.seq);
        }
        last = Seq(first.header.seq.0 - 1);
    }
}

/// Starts an epoch in place of `old`, or takes the one that another node started.
async fn begin_epoch(connection: &mut MultiplexedConnection, keys: &Keys, old: Epoch) -> Result<Epoch, NotYet> {
    let mut call = script::EPOCH.call(&[&keys.meta, &keys.live, &keys.log]);
    call.arg(old.to_string()).arg(fresh_epoch().to_string()).arg(FORMAT).arg(live::KEPT).arg("");
    let answer = script::run(connection, &call).await?;
    let epoch = codec::text(answer).ok_or_else(|| away("the store lost its meta while an epoch began"))?;
    parse_epoch(keys, &epoch)
}

/// A random epoch; 0 means "none yet".
pub(super) fn fresh_epoch() -> Epoch {
    Epoch(rand::random::<u64>().max(1))
}

/// Reads what is between the cache and the store's tail.
async fn catch_up(inner: &Inner, connection: &mut MultiplexedConnection, store: &Store) -> Result<(), NotYet> {
    let (tail, before) = (store.tail, Seq(store.base.0 - 1));
    let behind = tail.0.saturating_sub(inner.cache.tail().0);
    // Nothing to continue from, or more than would be kept: begin with the last page, so that what a tail that is lost soon
    // after had can be given back.
    if inner.cache.tail() == Seq::ZERO || inner.cache.tail() < before || behind > cache::ENTRIES_MAX as u64 {
        inner.cache.begin_after(Seq(tail.0.saturating_sub(NEWEST)).max(before));
    }
    while inner.cache.tail() < tail {
        let own = inner.cache.tail();
        let entries = page(inner, connection, own.next(), tail).await?;
        inner.cache.feed(entries.into_iter().map(Arc::new));
        if inner.cache.tail() == own {
            return Err(codec::damaged(&inner.keys.log, codec::id_of(own.next()).as_bytes(), "it is gone").into());
        }
    }
    Ok(())
}

/// One page of the store's entries, both ends included.
async fn page(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    first: Seq,
    last: Seq,
) -> Result<Vec<Entry>, NotYet> {
    let (mut command, key) = (::redis::cmd("XRANGE"), &inner.keys.log);
    command.arg(key).arg(codec::id_of(first)).arg(codec::id_of(last));
    command.arg("COUNT").arg(inner.page.at_most(PAGE));
    let answer = command.query_async::<Value>(connection).await.map_err(|error| {
        if classify(&error).kind == Kind::Ended && first < last {
            inner.page.cut();
        }
        named(&error, key)
    });
    let values = codec::array(answer?);
    let values = values.ok_or_else(|| away("the store answered XRANGE with what it cannot answer"))?;
    Ok(values.into_iter().map(|value| codec::entry(key, value)).collect::<Result<_, _>>()?)
}
