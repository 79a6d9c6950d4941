//! The driver: turns the core's effects into futures, and their ends into inputs. The only part of the core's loop that
//! knows tokio.
//!
//! Order of a turn, strictly: an append that has ended, then live words, then other ends, then requests, then what other
//! nodes did, time last. So words never wait behind posts, and after a pause every heartbeat that waits is taken before a
//! deadline fires.
//! Not here: what any of it means (`core`).

use std::sync::{Arc, Mutex, PoisonError};

use antiphon_schemas::{MessageId, Seq};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Duration, Instant, sleep_until, timeout},
};
use tracing::error;

use super::{
    Inner, Node, REQUESTS_MAX, WordRequest, build,
    core::{Core, Effect, Input, Now, Request},
    indexed::close_index,
};
use crate::{
    index::Indexer,
    log::{Access, BATCH_MAX, Log, Shared},
    outbox::Outbox,
};

/// Far enough to mean "no deadline", near enough for the timer wheel.
const FAR: Duration = Duration::from_secs(24 * 3600);
/// How long an append that is behind waits for entries that are on their way here, before it reads them itself.
const REACH_MAX: Duration = Duration::from_millis(500);

/// See the module header.
pub(super) struct Driver {
    pub(super) inner: Arc<Inner>,
    pub(super) core: Core,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) words: mpsc::Receiver<WordRequest>,
    pub(super) stops: mpsc::Receiver<oneshot::Sender<()>>,
    pub(super) outbox: Option<Outbox>,
}

/// What effects act on.
struct Outside<'a> {
    inner: Arc<Inner>,
    log: &'a dyn Log,
    outbox: Option<Outbox>,
    /// `None` until the state is built, and while it is rebuilt.
    indexer: Option<Indexer>,
    /// The indexer of a rebuild that has just ended.
    rebuilt: Arc<Mutex<Option<Indexer>>>,
}

impl Driver {
    /// Runs until the node is stopped; then everything is closed.
    pub(super) async fn run(self) {
        let Driver { inner, mut core, mut requests, mut words, mut stops, outbox } = self;
        let log = inner.log.clone();
        let (log, shared) = (&*log, log.shared());
        let mut outside = Outside { inner: inner.clone(), log, outbox, indexer: None, rebuilt: Arc::default() };
        // The append under way, and everything else that ends in an input.
        let mut append: Option<BoxFuture<'_, Input>> = None;
        let mut others: FuturesUnordered<BoxFuture<'_, Input>> = FuturesUnordered::new();
        let mut access = Follow::new(shared, log);
        let mut heard: Option<BoxFuture<'_, Input>> = shared.map(hear);
        let mut grown: Option<(Seq, BoxFuture<'_, Input>)> = None;
        let sleep = sleep_until(Instant::now() + FAR);
        tokio::pin!(sleep);
        let mut input = access.current(log);
        'node: loop {
            let now = Now { at: inner.clock.instant(), wall_ms: inner.clock.now_ms() };
            for effect in core.on(now, input) {
                match effect {
                    Effect::Append(batch) => append = Some(log.append(batch).map(Input::Appended).boxed()),
                    Effect::Stop(done) => {
                        requests.close();
                        words.close();
                        stops.close();
                        drop(others);
                        outside.close().await;
                        for done in done {
                            let _ = done.send(());
                        }
                        return;
                    }
                    effect => others.extend(outside.start(effect)),
                }
            }
            let due = core.deadline().map_or(FAR, |at| at.saturating_duration_since(inner.clock.instant()));
            sleep.as_mut().reset(Instant::now() + due.min(FAR));
            grown = core.follows().map(|position| match grown.take() {
                Some((after, future)) if after == position => (after, future),
                _ => (position, grow(log, position)),
            });
            input = tokio::select! {
                biased;
                ended = wait(append.as_mut()), if append.is_some() => {
                    append = None;
                    ended
                }
                Some(WordRequest { held, word, answer }) = words.recv() => Input::Say { held, word, answer },
                Some(done) = stops.recv() => Input::Requests(vec![Request::Stop { done }]),
                Some(ended) = others.next(), if !others.is_empty() => {
                    outside.take_indexer();
                    ended
                }
                request = requests.recv(), if core.takes_requests() => {
                    // Without a handle nobody can ask for a stop any more.
                    let Some(first) = request else { break 'node };
                    let mut batch = vec![first];
                    while batch.len() < REQUESTS_MAX && let Ok(request) = requests.try_recv() {
                        batch.push(request);
                    }
                    Input::Requests(batch)
                }
                () = access.changed() => access.current(log),
                input = wait(heard.as_mut()), if heard.is_some() => {
                    heard = shared.map(hear);
                    input
                }
                ended = wait(grown.as_mut().map(|(_, future)| future)), if grown.is_some() => {
                    grown = None;
                    ended
                }
                () = outside.indexed(core.waits_for_index()), if core.waits_for_index().is_some() => Input::Indexed,
                () = &mut sleep => Input::Time,
            };
        }
        drop(others);
        outside.close().await;
    }
}

impl<'a> Outside<'a> {
    /// Starts an effect; the future of its end, if it has one.
    fn start(&mut self, effect: Effect) -> Option<BoxFuture<'a, Input>> {
        let log = self.log;
        Some(match effect {
            Effect::Read { after, reach } => read(log, after, reach).boxed(),
            Effect::LookUp(needs) => look_up(Node { inner: self.inner.clone() }, needs).boxed(),
            Effect::Park(posts) => self.outbox.as_ref()?.park(posts).map(Input::Parked).boxed(),
            Effect::Settle(ends) => self.outbox.as_ref()?.settle(ends).map(Input::Settled).boxed(),
            Effect::ResyncLanes { at, lanes } => log.shared()?.resync_lanes(at, lanes).map(Input::Resynced).boxed(),
            Effect::Rebuild => {
                let (inner, old, rebuilt) = (self.inner.clone(), self.indexer.take(), self.rebuilt.clone());
                let build = async move {
                    let (state, indexer) = build::build(&inner, old).await?;
                    *rebuilt.lock().unwrap_or_else(PoisonError::into_inner) = Some(indexer);
                    Ok(Box::new(state))
                };
                build.map(Input::Rebuilt).boxed()
            }
            Effect::Purge => {
                self.outbox.as_ref()?.purge();
                return None;
            }
            Effect::Broadcast(message) => {
                log.shared()?.broadcast(message);
                return None;
            }
            Effect::Index(entries) => {
                self.indexer.as_ref()?.push(entries);
                return None;
            }
            Effect::Forget(positions) => {
                log.forget(&positions);
                return None;
            }
            Effect::Append(_) | Effect::Stop(_) => return None,
        })
    }

    fn take_indexer(&mut self) {
        let rebuilt = self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.indexer = rebuilt.or(self.indexer.take());
    }

    /// Ends when the index has reached a position, or will never do so.
    async fn indexed(&self, reach: Option<Seq>) {
        if let (Some(indexer), Some(reach)) = (&self.indexer, reach) {
            let _ = indexer.applied().wait_for(|at| *at >= reach).await;
        }
    }

    /// Closes what the node has open, in this order: feeds, log, outbox, index.
    async fn close(&mut self) {
        self.inner.view.end_feeds();
        if let Err(failure) = self.log.close().await {
            error!(error = %failure, "the log did not close cleanly");
        }
        if let Some(outbox) = self.outbox.take()
            && let Err(failure) = outbox.close().await
        {
            error!(error = %failure, "the outbox did not close cleanly");
        }
        close_index(self.indexer.take()).await;
    }
}

async fn read(log: &dyn Log, after: Seq, reach: Option<Seq>) -> Input {
    if let Some(reach) = reach {
        let _ = timeout(REACH_MAX, log.beyond(Seq(reach.0.saturating_sub(1)))).await;
    }
    Input::Read(log.read(after, BATCH_MAX).await)
}

async fn look_up(node: Node, needs: Vec<Vec<MessageId>>) -> Input {
    let mut facts = Vec::with_capacity(needs.len());
    for needs in needs {
        match node.facts(&needs).await {
            Ok(found) => facts.push(found),
            Err(failure) => return Input::LookedUp(Err(failure)),
        }
    }
    Input::LookedUp(Ok(facts))
}

/// Follows whether the log can be used.
struct Follow(Option<watch::Receiver<Access>>, Access);

impl Follow {
    fn new(shared: Option<&dyn Shared>, log: &dyn Log) -> Follow {
        Follow(shared.map(Shared::access), Access::Open { epoch: log.info().epoch })
    }

    fn current(&mut self, log: &dyn Log) -> Input {
        let access = self.0.as_mut().map_or_else(|| self.1.clone(), |access| access.borrow_and_update().clone());
        Input::Access { access, log_ms: log.now_ms() }
    }

    async fn changed(&mut self) {
        let changed = match &mut self.0 {
            Some(access) => access.changed().await.is_ok(),
            None => false,
        };
        // A log of one process is always open; one whose keeper is gone says nothing more.
        if !changed {
            std::future::pending().await
        }
    }
}

async fn wait<F: Future<Output = Input> + Unpin>(future: Option<F>) -> Input {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

fn hear(shared: &dyn Shared) -> BoxFuture<'_, Input> {
    async move {
        match shared.recv().await {
            Ok(message) => Input::Heard(message),
            Err(_) => std::future::pending().await,
        }
    }
    .boxed()
}

fn grow(log: &dyn Log, after: Seq) -> BoxFuture<'_, Input> {
    async move {
        match log.beyond(after).await {
            Ok(()) => Input::Grown,
            Err(_) => std::future::pending().await,
        }
    }
    .boxed()
}
