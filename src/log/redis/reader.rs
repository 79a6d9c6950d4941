//! The one reader of a node: log and live updates over its own connection, woken by the store.
//!
//! It is never cancelled and kept: ending it drops its connection, since the store would keep answering.

use std::{sync::Arc, time::Duration};

use ::redis::{Value, aio::MultiplexedConnection};
use antiphon_schemas::Seq;

use super::{Inner, codec, link::Link};
use crate::log::Error;

/// How long the store holds an idle read before it answers; then the read is repeated.
const BLOCK: Duration = Duration::from_secs(2);
/// Longer than [`BLOCK`]: without an answer by then the store hangs.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Entries in one answer: bounds its bytes, and how long live updates wait behind entries.
const COUNT: usize = 256;

/// Follows log and live words until the session ends. `live_at` is the last live id that is old news.
pub(super) async fn run(
    inner: Arc<Inner>,
    link: Arc<Link>,
    mut connection: MultiplexedConnection,
    mut live_at: String,
) {
    let block_ms = BLOCK.as_millis() as u64;
    loop {
        // What this node appended itself is mostly there already.
        let log_at = inner.cache.tail();
        let mut command = ::redis::cmd("XREAD");
        command.arg("BLOCK").arg(block_ms).arg("COUNT").arg(inner.page.at_most(COUNT)).arg("STREAMS");
        command.arg(&inner.keys.log).arg(&inner.keys.live).arg(codec::id_of(log_at)).arg(&live_at);
        let question = command.query_async::<Value>(&mut connection);
        let Ok(answer) = link.ask(ANSWER_MAX, question).await else { return };
        if let Err(error) = take(&inner, &link, answer, &mut live_at) {
            link.end(error.to_string());
            return;
        }
    }
}

fn take(inner: &Inner, link: &Link, answer: Value, live_at: &mut String) -> Result<(), Error> {
    let odd = || Error::Io("the store answered XREAD with what it cannot answer".into());
    // Alternating names and entries, or pairs of them: by protocol version.
    let mut streams = Vec::new();
    let mut flat = codec::array(answer).ok_or_else(odd)?.into_iter();
    while let Some(name) = flat.next() {
        let (name, entries) = match name {
            Value::Array(pair) => <[Value; 2]>::try_from(pair).map_err(|_| odd())?.into(),
            name => (name, flat.next().ok_or_else(odd)?),
        };
        streams.push((codec::text(name).ok_or_else(odd)?, codec::array(entries).ok_or_else(odd)?));
    }
    // Entries first: live words are about them.
    streams.sort_by_key(|(name, _)| *name != inner.keys.log);
    for (name, entries) in streams {
        for entry in entries {
            let (id, fields) = codec::parts(entry).ok_or_else(odd)?;
            if name == inner.keys.log {
                let tail = inner.cache.tail();
                match codec::seq_of(&id) {
                    Some(seq) if seq <= tail => continue,
                    Some(seq) if seq == tail.next() => {
                        inner.cache.feed([Arc::new(codec::entry_of(&name, &id, fields)?)]);
                    }
                    Some(Seq(_)) | None => {
                        return Err(codec::damaged(&name, &id, format!("it cannot follow position {tail}")));
                    }
                }
            } else {
                *live_at = String::from_utf8(id).map_err(|_| odd())?;
                if let Some(epoch) = inner.live.take(&inner.node, fields)
                    && epoch != link.writer.epoch
                {
                    link.end("another node began a new epoch");
                }
            }
        }
    }
    Ok(())
}
