//! The log on Redis Streams, for several nodes: Redis 7.0 and later, Valkey 7.2 and later.
//!
//! ```text
//! {ns:0}:log               the log: ids <seq>-0, see `codec`
//! {ns:0}:live              live updates, see `live`
//! {ns:0}:meta              a hash: epoch, version (of this layout), base (where a log that was trimmed begins), w:<node> the session whose appends count; w:(filling)
//!                          while another log is being copied into it, and no node begins a session
//! {ns:0}:lanes  …:work:…   the lanes, see `lanes`
//! {ns:0}:erasing  …:log.erasing   only while something is erased, see `erase`
//! ```
//!
//! Promises, besides those of `log`:
//! - opening never waits for a server: the log is unavailable until it is reached, and reconnects automatically;
//! - a request that the store executes late, after this node has begun another session, writes nothing;
//! - on every (re)connect the store's history is compared with what this node has seen (`lineage`);
//! - a connection that ends while the store is there is replaced before anyone is notified (`link`, `retry`); nothing is written
//!   twice by that;
//! - an idle log asks for nothing but what wakes it: one blocking read, repeated every two seconds; its other three connections
//!   ask for the time every 30 s (`keeper`), so that nothing in between drops them;
//! - every wait has a time limit.
//!
//! Not here: what to do while the log is unavailable (`node`).
//! Start with append.lua and `append`, then `keeper` and `lineage`, the critical parts.

pub mod address;
mod append;
mod cache;
mod calls;
mod codec;
pub mod connect;
mod erase;
pub mod facts;
mod filling;
#[cfg(test)]
mod fuzz;
mod history;
mod inner;
mod keeper;
mod keys;
mod lanes;
mod lineage;
mod link;
mod live;
mod pages;
mod paging;
mod reader;
mod resp;
mod retry;
mod script;
#[cfg(test)]
#[path = "../../../tests/support/redis.rs"]
pub(crate) mod server;
#[cfg(test)]
mod server_tests;
mod shared;
#[cfg(test)]
mod tests;
mod time;
mod trim;
pub mod trouble;

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use antiphon_schemas::{Entry, Epoch, Seq};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{address::Address, cache::Cache, inner::Inner, keys::Keys, link::Link, live::Live, paging::PageSize};
pub use self::{filling::Filling, history::History};
use super::{
    Access, Append, Error, Info, Log, Pending, Shared, Verdict, check_ascending, check_base, check_batch,
    check_entries, check_positions, check_trim, first_after,
};
use crate::{
    clock::Clock,
    tasks::{Kind, Tasks},
};

/// An append and a live word came back within this time, or the store is not ready.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// Those under way are finished within this time when the log closes.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// The reason that is given once the log is closed.
const CLOSED: &str = "the log is closed";
/// After [`Shared::begin_anew`] the log opens within this time, or it says why not.
const ANEW_MAX: Duration = Duration::from_secs(5);

/// Whose clock stamps the entries.
#[derive(Debug, Clone)]
pub enum Stamp {
    /// The store's: one for all nodes.
    Store,
    /// This one, for tests.
    Clock(Clock),
}

/// Settings of the Redis log.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the store is.
    pub address: Address,
    /// This node's name, unlike that of any other node; it stays the same over restarts.
    pub node: Arc<str>,
    /// Whose clock stamps the entries.
    pub stamp: Stamp,
    /// What this node's disk remembers of the log: epoch, a position, and the hash of the entry there.
    pub known: Option<(Epoch, Seq, [u8; 32])>,
}

/// The log in Redis. Dropping it ends its tasks and connections.
pub struct RedisLog {
    inner: Arc<Inner>,
}

impl RedisLog {
    /// Opens the log; returns at once, and [`Shared::access`] tells when it can be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(options: Options) -> RedisLog {
        RedisLog::open_among(options, &Tasks::new())
    }

    /// As [`RedisLog::open`]; what it runs is among `tasks`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open_among(options: Options, tasks: &Tasks) -> RedisLog {
        let Options { address, node, stamp, known } = options;
        let (live, to_send) = Live::new();
        let away = Access::Away { why: "not connected yet".into() };
        let inner = Arc::new(Inner {
            keys: Keys::of(&address),
            address,
            node,
            stamp,
            known,
            cache: Cache::new(),
            live,
            access: watch::Sender::new(away),
            base: AtomicU64::new(1),
            lanes_doubtful: AtomicBool::new(false),
            canary: AtomicU64::new(0),
            page: PageSize::new(),
            closing: CancellationToken::new(),
            hurry: Notify::new(),
            opened: Notify::new(),
            erasing: tokio::sync::Mutex::new(Uuid::new_v4()),
            state: Mutex::default(),
            runtime: Handle::current(),
        });
        tasks.spawn("redis keeper", Kind::Owned, keeper::run(inner.clone()));
        tasks.spawn("redis live words", Kind::Owned, {
            let inner = inner.clone();
            async move {
                inner.closing.run_until_cancelled(live::send(&inner, to_send)).await;
            }
        });
        RedisLog { inner }
    }
}

impl Log for RedisLog {
    fn info(&self) -> Info {
        let state = self.inner.state();
        Info {
            epoch: state.epoch.unwrap_or(Epoch(0)),
            partition: antiphon_schemas::Cursor::PARTITION,
            backend: "redis",
            durability: state.durability.clone(),
        }
    }

    fn base(&self) -> Seq {
        self.inner.base()
    }

    fn tail(&self) -> Seq {
        self.inner.cache.tail()
    }

    fn now_ms(&self) -> u64 {
        self.inner.now_ms()
    }

    fn append(&self, batch: Vec<Append>) -> Pending<'_, Vec<Verdict>> {
        match check_batch(&batch) {
            Ok(()) => self.spawn(self.inner.clone().append(self.inner.enter_now(), batch)),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn read(&self, after: Seq, entries_max: usize) -> Pending<'_, Vec<Arc<Entry>>> {
        if let Err(error) = check_base(first_after(after), self.base()) {
            return Box::pin(std::future::ready(Err(error)));
        }
        if after >= self.tail() || entries_max == 0 {
            return Box::pin(std::future::ready(Ok(Vec::new())));
        }
        if let Some(entries) = self.inner.cache.read(after, entries_max) {
            return Box::pin(std::future::ready(Ok(entries)));
        }
        Box::pin(async move {
            let inner = &*self.inner;
            let read = |link: Arc<Link>| async move {
                let read = inner.read(&link, after, entries_max).await;
                inner.or_trimmed(&link, after.next(), read).await
            };
            inner.persist(read).await
        })
    }

    fn get(&self, positions: Vec<Seq>) -> Pending<'_, Vec<Arc<Entry>>> {
        if let Err(error) = check_ascending(&positions, self.base(), self.tail()) {
            return Box::pin(std::future::ready(Err(error)));
        }
        if let Some(entries) = self.inner.cache.get(&positions) {
            return Box::pin(std::future::ready(Ok(entries)));
        }
        Box::pin(async move {
            let first = positions.first().copied().unwrap_or(Seq::MAX);
            let (inner, positions) = (&*self.inner, &positions[..]);
            let read = |link: Arc<Link>| async move {
                let read = inner.get(&link, positions).await;
                inner.or_trimmed(&link, first, read).await
            };
            inner.persist(read).await
        })
    }

    fn beyond(&self, seq: Seq) -> Pending<'_, ()> {
        let mut tail = self.inner.cache.follow();
        let closing = self.inner.closing.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                there = tail.wait_for(|tail| *tail > seq) => there.map(|_| ()).map_err(|_| Error::Closed),
                () = closing.cancelled() => Err(Error::Closed),
            }
        })
    }

    fn load(&self, entries: Vec<Arc<Entry>>) -> Pending<'_, ()> {
        match check_entries(&entries).and_then(|()| append::check_run(&entries)) {
            Ok(()) => self.spawn(self.inner.clone().load(self.inner.enter_now(), entries)),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn erase(&self, positions: Vec<Seq>) -> Pending<'_, usize> {
        let positions = check_positions(positions, self.base(), self.tail());
        Box::pin(async move {
            let (inner, positions) = (&*self.inner, &positions?[..]);
            inner.persist(|link| async move { inner.erase(&link, positions).await }).await
        })
    }

    fn forget(&self, positions: &[Seq]) {
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        self.inner.cache.erase(&positions);
    }

    fn trim(&self, upto: Seq) -> Pending<'_, Seq> {
        let inner = self.inner.clone();
        self.spawn(async move {
            let inner = &*inner;
            let trim = |link: Arc<Link>| async move {
                if upto >= inner.base() {
                    check_trim(upto, inner.cache.tail())?;
                }
                inner.trim(&link, upto).await
            };
            inner.persist(trim).await
        })
    }

    fn close(&self) -> Pending<'_, ()> {
        self.inner.closing.cancel();
        let mut access = self.inner.access.subscribe();
        Box::pin(async move {
            // The keeper's last word.
            let closed = access.wait_for(|access| matches!(access, Access::Away { why } if &**why == CLOSED));
            let _ = timeout(CLOSE_MAX, closed).await;
            Ok(())
        })
    }

    fn probe(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let inner = &*self.inner;
            let probe = |link: Arc<Link>| async move {
                let proved = timeout(PROBE_MAX, inner.probe(&link)).await;
                proved.unwrap_or_else(|_| Err(link.fail("a live update did not come back")))
            };
            inner.persist(probe).await
        })
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

impl RedisLog {
    /// Does something to its end, whether or not anybody waits for it.
    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Pending<'static, T> {
        let task = self.inner.runtime.spawn(work);
        Box::pin(async move { task.await.unwrap_or_else(|_| Err(Error::Away("the request broke off".into()))) })
    }
}

impl Drop for RedisLog {
    fn drop(&mut self) {
        self.inner.closing.cancel();
    }
}
