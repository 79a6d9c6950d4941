//! The Redis log on real servers: the conformance suite here; lost answers, restarts, lost tails and lanes beside it.

use std::sync::Arc;

use antiphon_schemas::{Entry, Epoch, Seq};
use bytes::Bytes;
use tokio::sync::watch;

use super::{Options, RedisLog, Stamp, address::Address, server::Redis};
use crate::{
    clock::Clock,
    log::{Access, Append, Error, Info, Lane, Log, Mended, Pending, Verdict},
};

/// A log with a server of its own that lives as long as it.
struct OnItsOwn {
    log: RedisLog,
    _redis: Redis,
}

impl Log for OnItsOwn {
    fn info(&self) -> Info {
        self.log.info()
    }
    fn tail(&self) -> Seq {
        self.log.tail()
    }
    fn append(&self, batch: Vec<Append>) -> Pending<'_, Vec<Verdict>> {
        self.log.append(batch)
    }
    fn read(&self, after: Seq, entries_max: usize) -> Pending<'_, Vec<Arc<Entry>>> {
        self.log.read(after, entries_max)
    }
    fn beyond(&self, seq: Seq) -> Pending<'_, ()> {
        self.log.beyond(seq)
    }
    fn load(&self, entries: Vec<Arc<Entry>>) -> Pending<'_, ()> {
        self.log.load(entries)
    }
    fn close(&self) -> Pending<'_, ()> {
        self.log.close()
    }
    fn access(&self) -> watch::Receiver<Access> {
        self.log.access()
    }
    fn probe(&self) -> Pending<'_, ()> {
        self.log.probe()
    }
    fn mend(&self, at: Seq, lanes: Vec<Lane>) -> Pending<'_, Mended> {
        self.log.mend(at, lanes)
    }
    fn say(&self, words: Bytes) {
        self.log.say(words);
    }
    fn hear(&self) -> Pending<'_, Bytes> {
        self.log.hear()
    }
    fn lost(&self) -> Vec<Arc<Entry>> {
        self.log.lost()
    }
    fn begin_anew(&self) -> Pending<'_, ()> {
        self.log.begin_anew()
    }
}

fn options(url: &str, node: &str, stamp: Stamp) -> Options {
    Options { address: Address::parse(url).unwrap(), node: node.into(), stamp, known: None }
}

/// Blocks the thread (of a runtime with others) until the log is open.
fn wait_until_open(log: &dyn Log) {
    let mut access = log.access();
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(async {
            access.wait_for(|access| matches!(access, Access::Open { .. })).await.unwrap();
        });
    });
}

mod conformance {
    use super::*;

    crate::log::conformance::suite!(|clock| {
        let redis = Redis::start();
        let log = RedisLog::open(options(&redis.url(), "n1", Stamp::Clock(clock)));
        wait_until_open(&log);
        Arc::new(OnItsOwn { log, _redis: redis }) as Arc<dyn Log>
    });
}
