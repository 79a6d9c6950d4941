//! The log's beginning: `base` in meta, moved up together with the entries below it.
//!
//! Not here: copying a log that was trimmed (`erase`), comparing one with what a node has (`lineage`).

use std::sync::{Arc, atomic::Ordering};

use antiphon_schemas::{Entry, Seq};

use super::{Inner, calls::READ_MAX, codec, link::Link, script};
use crate::log::{Error, SCAN_MAX, check_base};

/// Entries that go in one step: the store answers nobody else meanwhile, for some milliseconds.
const STEP_ENTRIES: u64 = 10_000;

impl Inner {
    /// As [`Log::base`](crate::log::Log::base).
    pub(super) fn base(&self) -> Seq {
        Seq(self.base.load(Ordering::Relaxed))
    }

    /// As [`Log::trim`](crate::log::Log::trim).
    pub(super) async fn trim(&self, link: &Link, upto: Seq) -> Result<Seq, Error> {
        let _under_way = link.tasks.token();
        let mut base = self.base();
        while base <= upto {
            let next = Seq(upto.0.min(base.0 + STEP_ENTRIES - 1)).next();
            let mut call = script::TRIM.call(&[&self.keys.log, &self.keys.meta, &self.keys.erasing]);
            link.writer.sign(&mut call);
            call.arg(next.0).arg(SCAN_MAX);
            let mut connection = link.appends.clone();
            let answer = link.ask(READ_MAX, script::run(&mut connection, &call)).await?;
            base = moved(link, answer)?;
            self.base.store(base.0, Ordering::Relaxed);
        }
        Ok(base)
    }

    /// What was read from `first` on; where something is missing another node may have trimmed it, which meta says.
    pub(super) async fn or_trimmed(
        &self,
        link: &Link,
        first: Seq,
        read: Result<Vec<Arc<Entry>>, Error>,
    ) -> Result<Vec<Arc<Entry>>, Error> {
        let Err(error @ Error::Damaged { .. }) = read else { return read };
        let mut connection = link.reads().connection;
        let mut command = ::redis::cmd("HGET");
        let question = command.arg(&self.keys.meta).arg("base").query_async::<Option<u64>>(&mut connection);
        let base = link.ask(READ_MAX, question).await?.unwrap_or(1);
        self.base.store(base, Ordering::Relaxed);
        check_base(first, Seq(base)).and(Err(error))
    }
}

/// Where the log begins now, or why it was not moved.
fn moved(link: &Link, answer: ::redis::Value) -> Result<Seq, Error> {
    let values = codec::array(answer).unwrap_or_default();
    match (values.first().and_then(codec::number), values.get(1).and_then(codec::number)) {
        (Some(0), Some(base)) => Ok(Seq(base)),
        (Some(1 | 2), _) => Err(link.fail("another session of this node, or another epoch, has begun")),
        (Some(3), Some(tail)) => {
            Err(Error::Invalid(format!("the newest {SCAN_MAX} entries stay: the log ends with {tail}")))
        }
        (Some(4), _) => Err(Error::Full("a node is copying the log to erase something".into())),
        _ => Err(Error::Io("the trim script answered what it cannot answer".into())),
    }
}
