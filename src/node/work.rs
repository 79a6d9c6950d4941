//! Work for callers outside this process: repeatable claims, how a claim ended, and its events.
//!
//! Promises: a request with the same key is granted once, whichever nodes it reaches, and repeating it returns the same claim
//! while that is valid; a caller that stops waiting learns whether it got a claim, so none is made for nobody; a broken
//! connection releases nothing.
//!
//! Not here: HTTP and who may ask (`http`), deciding (`decide::work`).

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use antiphon_schemas::{
    BotName, Cursor, Entry, Epoch, Event, MessageId, Seq,
    event::release,
    wire::{
        monitor::WorkerKind,
        work::{HeldClaim, HeldClaims},
    },
};
use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use super::{ClaimReply, Claimed, Claimer, Error, Node, Request, TRIES_MAX};
use crate::{
    decide::work::{ClaimRequest, Held},
    fanout::{Feed, FeedItem, frame},
    projection::view,
};

/// The shortest wait: even a caller that wants only what is there now must leave time to claim it.
const WAIT_MIN: Duration = Duration::from_millis(20);
/// How long to wait for an append still in progress when the time is over; then the caller has to ask again.
const UNDER_WAY_MAX: Duration = Duration::from_secs(5);

/// A worker's wish for a message.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The bots that it answers for.
    pub bots: Arc<[BotName]>,
    /// Who asks.
    pub worker: Arc<str>,
    /// The id for its reply: made of the worker's name and its key, see [`reply_of`](crate::decide::work::reply_of).
    pub reply_id: MessageId,
    /// Its model has to be loaded first: others that wait are preferred.
    pub cold: bool,
    /// Its models, for monitors.
    pub models: Arc<[String]>,
    /// How long it waits.
    pub wait: Duration,
}

/// A worker's news: which of its claims are over.
pub struct Following {
    feed: Arc<Feed>,
    slot: u64,
}

/// How a claim was ended by its own worker.
#[derive(Debug)]
pub struct Ended {
    /// The entry that did it.
    pub entry: Arc<Entry>,
    /// The reply, if it was completed.
    pub reply: Option<Arc<Entry>>,
    /// The epoch of their positions.
    pub epoch: Epoch,
}

impl Ended {
    /// Where it is in the log.
    pub fn at(&self) -> Cursor {
        Cursor::new(self.epoch, self.entry.header.seq)
    }
}

impl Node {
    pub(super) fn ticket(&self) -> u64 {
        self.inner.view.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits for a message and claims it; `None` when nothing came in time.
    ///
    /// Guarantee: the same wish again gives the same claim, and a sign of life to it, until that is over. A caller that
    /// goes away loses nothing by it: the claim lives until its lease is over.
    ///
    /// # Errors
    /// [`Error::Refused`] with `KeyUsed` when the reply of that key is posted already; [`Error::Busy`],
    /// [`Error::Log`], [`Error::Index`], [`Error::Stopping`]: ask again, with the same key.
    pub async fn claim_again(&self, asked: Asked) -> Result<Option<Claimed>, Error> {
        let Asked { bots, worker, reply_id, cold, models, wait } = asked;
        let _waits = self.waits(&worker, WorkerKind::Remote, &bots, Some(models));
        let wait = wait.max(WAIT_MIN);
        let (until, deadline) = (self.inner.clock.instant() + wait, Instant::now() + wait);
        for _ in 0..TRIES_MAX {
            let facts = self.facts(&[reply_id]).await?;
            let wish =
                ClaimRequest { bots: bots.clone(), worker: worker.clone(), incarnation: None, reply_id, keyed: true };
            let (answer, mut told) = oneshot::channel();
            let ticket = self.ticket();
            let claimer = Claimer { ticket, cold, until: Some(until), kept: true, facts, answer };
            self.send(Request::Claim { wish, claimer }).await?;
            let told = tokio::select! {
                biased;
                told = &mut told => told,
                () = tokio::time::sleep_until(deadline) => {
                    self.send(Request::Withdraw { ticket }).await?;
                    tokio::time::timeout(UNDER_WAY_MAX, told).await.map_err(|_| Error::Busy)?
                }
            };
            match told.map_err(|_| Error::Stopping)?? {
                ClaimReply::Claimed(claimed) => return Ok(Some(claimed)),
                ClaimReply::Nothing => return Ok(None),
                ClaimReply::Stale => {}
            }
        }
        Err(Error::Busy)
    }

    /// The bot that a message asks, open or not; `None` if it asks nobody or is not there.
    ///
    /// # Errors
    /// As [`Node::message`].
    pub async fn asked(&self, id: MessageId) -> Result<Option<BotName>, Error> {
        let open = {
            let state = self.state();
            state.check_built()?;
            state.projections.queue.get(&id).map(|open| open.ask.bot.clone())
        };
        match open {
            Some(bot) => Ok(Some(bot)),
            None => Ok(self.message(id).await?.and_then(|message| message.bot)),
        }
    }

    /// The entry by which its own worker ended a claim, and for a completion the reply's: for a worker that never heard
    /// of its success. `None` if it lives, or ended otherwise.
    ///
    /// # Errors
    /// As [`Node::timeline`].
    pub async fn ended_by_worker(&self, held: Held) -> Result<Option<Ended>, Error> {
        let epoch = self.epoch();
        let entries = self.history(held.message_id).await?;
        let fence = held.fence;
        let at = entries.iter().position(|entry| match &entry.event {
            Event::MessageCompleted(e) => e.fence == fence,
            Event::MessageFailed(e) => e.fence == fence,
            Event::MessageReleased(e) => e.fence == Some(fence) && &*e.reason == release::GOODBYE,
            _ => false,
        });
        let Some(at) = at else { return Ok(None) };
        let reply = match &entries[at].event {
            Event::MessageCompleted(e) => self.history(e.reply_id).await?.into_iter().next(),
            _ => None,
        };
        Ok(Some(Ended { entry: entries[at].clone(), reply, epoch }))
    }

    /// Starts to follow what becomes of a worker's claims; first an event with those that it holds now.
    ///
    /// # Errors
    /// [`Error::Log`] while the log has never been reached.
    pub fn follow_worker(&self, worker: &Arc<str>) -> Result<(Following, Bytes), Error> {
        let (feed, slot, claims) = {
            let state = self.state();
            state.check_built()?;
            let feed = self.inner.view.workers.follow(worker);
            let slot = feed.end();
            let queue = &state.projections.queue;
            let held = |id| {
                let claim = queue.claim(&id).filter(|claim| claim.worker == *worker)?;
                Some(HeldClaim { message_id: id, fence: view::position(state.epoch, claim.fence) })
            };
            (feed, slot, queue.claimed().filter_map(held).collect())
        };
        Ok((Following { feed, slot }, frame::live("claims", &HeldClaims { claims }).bytes))
    }

    /// Whether a fence of this log can be judged by what this node has applied; waits a little for it.
    ///
    /// # Errors
    /// [`Error::Behind`]: it has not come that far.
    pub async fn knows(&self, fence: Seq) -> Result<(), Error> {
        self.state().check_built()?;
        if fence <= self.position() { Ok(()) } else { self.reached(fence).await }
    }
}

impl Following {
    /// The next events; `None` when the feed ends, or no longer contains the next one: follow again.
    pub async fn next(&mut self) -> Option<Bytes> {
        match poll_fn(|cx| self.feed.poll_take(&mut self.slot, cx)).await {
            FeedItem::Frames(bytes, _) => Some(bytes),
            FeedItem::Lagged | FeedItem::Closed => None,
        }
    }
}
