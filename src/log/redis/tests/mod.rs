//! The Redis log on real servers: the conformance suite here; lost answers, restarts, lost tails and lanes beside it.

mod away;
mod erase;
mod get;
mod history;
mod lanes;
mod lineage;
mod live;
mod lost;
mod nodes;
mod time;
mod trim;

use std::sync::Arc;

use antiphon_schemas::{Entry, Epoch, Seq};

use super::{
    Options, RedisLog, Stamp,
    address::Address,
    server::{PATIENCE, Redis},
};
use crate::log::{
    Access, Append, Error, Info, Log, Pending, Shared, Verdict,
    conformance::{append, post},
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
    fn base(&self) -> Seq {
        self.log.base()
    }
    fn tail(&self) -> Seq {
        self.log.tail()
    }
    fn now_ms(&self) -> u64 {
        self.log.now_ms()
    }
    fn append(&self, batch: Vec<Append>) -> Pending<'_, Vec<Verdict>> {
        self.log.append(batch)
    }
    fn read(&self, after: Seq, entries_max: usize) -> Pending<'_, Vec<Arc<Entry>>> {
        self.log.read(after, entries_max)
    }
    fn get(&self, positions: Vec<Seq>) -> Pending<'_, Vec<Arc<Entry>>> {
        self.log.get(positions)
    }
    fn beyond(&self, seq: Seq) -> Pending<'_, ()> {
        self.log.beyond(seq)
    }
    fn load(&self, entries: Vec<Arc<Entry>>) -> Pending<'_, ()> {
        self.log.load(entries)
    }
    fn erase(&self, positions: Vec<Seq>) -> Pending<'_, usize> {
        self.log.erase(positions)
    }
    fn forget(&self, positions: &[Seq]) {
        self.log.forget(positions);
    }
    fn trim(&self, upto: Seq) -> Pending<'_, Seq> {
        self.log.trim(upto)
    }
    fn close(&self) -> Pending<'_, ()> {
        self.log.close()
    }
    fn probe(&self) -> Pending<'_, ()> {
        self.log.probe()
    }
    fn shared(&self) -> Option<&dyn Shared> {
        self.log.shared()
    }
}

fn options(url: &str, node: &str, stamp: Stamp) -> Options {
    Options { address: Address::parse(url).unwrap(), node: node.into(), stamp, known: None }
}

/// A log of a node, open.
async fn open(url: &str, node: &str) -> RedisLog {
    let log = RedisLog::open(options(url, node, Stamp::Store));
    opened(&log).await;
    log
}

/// Waits until the log is open; its epoch.
async fn opened(log: &dyn Shared) -> Epoch {
    let mut access = log.access();
    let open = access.wait_for(|access| matches!(access, Access::Open { .. }));
    match *tokio::time::timeout(PATIENCE, open).await.expect("it opens").unwrap() {
        Access::Open { epoch } => epoch,
        _ => unreachable!(),
    }
}

/// Waits until the log is away for a reason that holds `words`.
async fn away(log: &dyn Shared, words: &str) {
    let mut access = log.access();
    let away = access.wait_for(|access| matches!(access, Access::Away { why } if why.contains(words)));
    if tokio::time::timeout(PATIENCE, away).await.is_err() {
        panic!("`{words}` was waited for in vain; it is {:?}", *log.access().borrow());
    }
}

/// Appends message `n`, once.
async fn put(log: &dyn Log, n: u128) -> Result<Verdict, Error> {
    Ok(log.append(vec![append(0, n, &[], vec![post(n, &format!("message {n}"))])]).await?.remove(0))
}

/// Appends messages `from..=to`, one call each.
async fn fill(log: &dyn Log, from: u128, to: u128) {
    for n in from..=to {
        assert!(matches!(put(log, n).await.unwrap(), Verdict::Appended(_)));
    }
}

mod conformance {
    use super::*;

    crate::log::conformance::suite!(|clock| {
        let redis = Redis::start();
        let log = RedisLog::open(options(&redis.url(), "n1", Stamp::Clock(clock)));
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(opened(&log)));
        Arc::new(OnItsOwn { log, _redis: redis }) as Arc<dyn Log>
    });
}

/// As a user who has no more rights than docs/configuration.md says.
mod conformance_with_few_rights {
    use super::*;

    const DOCS: &str = include_str!("../../../../docs/configuration.md");

    crate::log::conformance::suite!(|clock| {
        let redis = Redis::start();
        let (_, rights) = DOCS.split_once("An ACL user for the log needs\n`").expect("the docs name them");
        let rights = rights.split('`').next().unwrap().split(' ');
        let user = ["ACL", "SETUSER", "antiphon", "on", ">p"].into_iter().chain(rights);
        assert_eq!(redis.command(&user.collect::<Vec<_>>()), "OK");
        let url = redis.url().replace("://", "://antiphon:p@");
        let log = RedisLog::open(options(&url, "n1", Stamp::Clock(clock)));
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(opened(&log)));
        Arc::new(OnItsOwn { log, _redis: redis }) as Arc<dyn Log>
    });
}
