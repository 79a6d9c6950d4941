//! The runtime of consumers: claims for them, pumps their words, hands in their outcome, wherever the work comes from.
//!
//! ```text
//!  source ─ claim ─▶ lease ─ delivery ─▶ consumer ─ pieces ─▶ pump ─ deltas, stages ─▶ lease
//!   (one a slot)     └─ alive: heartbeats      └─ outcome ─────── end ────────────▶ lease
//! ```
//!
//! Promises:
//! - a slot claims only when it is free and a consumer is ready; nothing is claimed that nobody works on;
//! - the lease is renewed by a task of its own, however long the consumer is silent;
//! - work stops within the same turn in which its claim ends (cancel, takeover): the future is dropped;
//! - an outcome is handed in, and retried until it is taken, before the claim is let go;
//! - on stop, replies under way may finish within the grace; what is left is released at once.
//!
//! Not here: models and prompts (`antiphon-bot`), leases and fences (`node`), work from another machine's node (`worker`).
//! Start with [`WorkSource`] and [`Lease`]; `local` is the work of this process's own node.

mod local;
mod pump;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use antiphon_kit::{Consumer, Delivery, Outcome, Profile, Reply, outbox};
use antiphon_schemas::event::{Made, release};
use futures_util::FutureExt;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error, info, warn};

use self::pump::{Pumped, pump};
use crate::tasks::message;

/// Where a slot gets its work. One for each slot.
pub trait WorkSource: Send + 'static {
    /// Its claims.
    type Lease: Lease;

    /// Waits until a consumer is ready and there is work for it, and claims that. Dropped when the slot stops.
    ///
    /// # Errors
    /// No claim; it is called again after a [pause](Lease::pause).
    fn claim(&mut self) -> impl Future<Output = Result<Self::Lease, Trouble>> + Send;

    /// The slot claims nothing more: gives back what a claim may get that was dropped while it waited.
    fn leave(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// A claim: one message to answer, and the way for what is said about it. The runtime waits for each call before the next.
pub trait Lease: Send + Sync + 'static {
    /// What answers.
    fn consumer(&self) -> &Arc<dyn Consumer>;

    /// Cancelled when the claim is over, however it ended: stop working.
    fn over(&self) -> &CancellationToken;

    /// Names the message in traces.
    fn span(&self) -> Span;

    /// The message and what an answer needs.
    ///
    /// # Errors
    /// How the claim ends instead.
    fn delivery(&self) -> impl Future<Output = Result<Delivery, End>> + Send;

    /// Sends the piece `text` of the reply, which follows `before`: all that was sent so far.
    ///
    /// # Errors
    /// [`Trouble`]; nothing more can be said.
    fn delta(&self, index: u32, before: &str, text: &str) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Says what the consumer is doing.
    ///
    /// # Errors
    /// As [`Lease::delta`].
    fn stage(&self, stage: &'static str) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Keeps the claim alive for as long as it is polled; ends when there is nothing more to keep.
    fn alive(&self) -> impl Future<Output = ()> + Send + 'static;

    /// Ends the claim.
    ///
    /// # Errors
    /// [`Trouble::Passing`]: the same again, after a [pause](Lease::pause).
    fn end(&self, end: &End) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// How long to wait after this many failures in a row, at least one.
    fn pause(failures: u32) -> Duration;
}

/// How a claim ends.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// With an answer.
    Completed {
        /// The whole answer.
        text: Arc<str>,
        /// How it was made.
        made: Made,
    },
    /// With an error.
    Failed {
        /// `code: words`.
        reason: Arc<str>,
        /// Whether another try may help.
        retryable: bool,
    },
    /// The model could not have answered: it waits for that, and the try does not count.
    Away {
        /// `code: words`.
        reason: Arc<str>,
        /// When the next try makes sense.
        after: Duration,
    },
    /// Given back: it waits again, and the try does not count.
    Released,
}

/// Why something could not be said or claimed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The claim is over.
    #[error("{0}")]
    Over(String),
    /// This will never be taken; something else may.
    #[error("{0}")]
    Refused(String),
    /// Nobody listens any more.
    #[error("{0}")]
    Closed(String),
    /// Not now; the same again may do.
    #[error("{0}")]
    Passing(String),
}

/// A bot to run: who it is, what answers for it, how much at once.
#[derive(Clone)]
pub struct BotSlots {
    /// Who.
    pub profile: Arc<Profile>,
    /// Its colour.
    pub color: Option<Arc<str>>,
    /// What answers.
    pub consumer: Arc<dyn Consumer>,
    /// Replies side by side.
    pub slots: usize,
}

/// The running slots.
pub struct WorkerPool {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    give_up: CancellationToken,
}

impl WorkerPool {
    /// Starts a slot at each source.
    pub fn of<D: WorkSource>(sources: impl IntoIterator<Item = D>) -> WorkerPool {
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        for source in sources {
            tasks.spawn(slot(source, stop.clone(), give_up.clone()));
        }
        WorkerPool { tasks, stop, give_up }
    }

    /// Cancel it to have everything given back at once, also while [`WorkerPool::stop`] waits.
    pub fn give_up(&self) -> CancellationToken {
        self.give_up.clone()
    }

    /// Claims nothing more, lets replies finish within `grace`, then gives back what is left.
    pub async fn stop(mut self, grace: Duration) {
        self.stop.cancel();
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, finished).await.is_err() {
            info!("giving back what is still being answered; it is answered after the next start");
            self.give_up.cancel();
            while self.tasks.join_next().await.is_some() {}
        }
    }
}

/// One slot, until it is stopped; begun again if it panics, so that no bot runs out of slots.
async fn slot<D: WorkSource>(mut source: D, stop: CancellationToken, give_up: CancellationToken) {
    let mut panics = 0;
    while let Err(panic) = AssertUnwindSafe(run(&mut source, &stop, &give_up)).catch_unwind().await {
        panics += 1;
        error!("a slot of a bot panicked: {}; it begins again", message(&*panic));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(D::Lease::pause(panics)) => {}
        }
    }
}

/// One slot, until it is stopped.
async fn run<D: WorkSource>(source: &mut D, stop: &CancellationToken, give_up: &CancellationToken) {
    let mut failures = 0;
    loop {
        let claimed = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            claimed = source.claim() => Some(claimed),
        };
        match claimed {
            None => return source.leave().await,
            Some(Ok(lease)) => {
                failures = 0;
                let span = lease.span();
                answer(&lease, give_up).instrument(span).await;
            }
            // The claim could not be written or asked for, or the node that hands out work is stopping.
            Some(Err(trouble)) => {
                failures += 1;
                debug!(error = %trouble, "no claim");
                tokio::select! {
                    () = stop.cancelled() => return source.leave().await,
                    () = tokio::time::sleep(D::Lease::pause(failures)) => {}
                }
            }
        }
    }
}

async fn answer<H: Lease>(lease: &H, give_up: &CancellationToken) {
    let started = Instant::now();
    let alive = tokio::spawn(lease.alive());
    let end = tokio::select! {
        biased;
        () = lease.over().cancelled() => None,
        () = give_up.cancelled() => Some(End::Released),
        end = work(lease, started) => Some(end),
    };
    match end {
        Some(end) => hand_in(lease, end, started, give_up).await,
        None => info!("stopped: the claim is over"),
    }
    alive.abort();
}

async fn work<H: Lease>(lease: &H, started: Instant) -> End {
    let delivery = match lease.delivery().await {
        Ok(delivery) => delivery,
        Err(end) => return end,
    };
    let (mut tx, rx) = outbox();
    let consumer = async move {
        let handled = AssertUnwindSafe(lease.consumer().handle(delivery, &mut tx)).catch_unwind().await;
        drop(tx);
        handled
    };
    let (outcome, pumped) = tokio::join!(consumer, pump(lease, rx, started));
    match (outcome, pumped) {
        (Ok(Outcome::Reply(reply)), Ok(pumped)) => completed(reply, pumped, started),
        (Ok(Outcome::Failed { reason, retryable }), _) => failed(reason, retryable),
        (Ok(Outcome::Away { reason, after }), _) => End::Away { reason: reason.into(), after },
        (Ok(Outcome::NotNow), _) => End::Released,
        (_, Err(trouble)) => failed(format!("not-sent: {trouble}"), true),
        (Err(_), _) => failed("bot-broke: it panicked; see the server's log".into(), true),
    }
}

fn completed(reply: Reply, pumped: Pumped, started: Instant) -> End {
    if reply.text != pumped.text {
        return failed("bot-broke: its words are not its answer".into(), false);
    }
    let made = Made {
        model: reply.model.into(),
        options: reply.options,
        prompt_sha256: reply.prompt_sha256.into(),
        context: reply.context,
        first_token_ms: pumped.first_token_ms,
        total_ms: started.elapsed().as_millis() as u64,
        deltas: pumped.deltas,
        finish: reply.finish.into(),
        usage: reply.usage,
        notes: reply.notes.into_iter().map(Into::into).collect(),
    };
    End::Completed { text: reply.text.into(), made }
}

/// Hands in how it ended; tries again while nobody takes it and the claim is live.
async fn hand_in<H: Lease>(lease: &H, mut end: End, started: Instant, give_up: &CancellationToken) {
    let mut failures = 0;
    loop {
        let ms = started.elapsed().as_millis() as u64;
        match lease.end(&end).await {
            Ok(()) => return said(&end, ms),
            Err(Trouble::Over(why)) => return info!(refusal = %why, "came too late"),
            Err(Trouble::Closed(_)) => return,
            Err(Trouble::Refused(why)) if matches!(end, End::Completed { .. }) => {
                warn!(%why, "the answer is not taken");
                end = failed(format!("not-taken: {why}"), false);
                continue;
            }
            Err(Trouble::Refused(why)) => return warn!(%why, "the end is not taken"),
            Err(Trouble::Passing(why)) => warn!(error = %why, "the end cannot be appended yet"),
        }
        failures += 1;
        tokio::select! {
            () = lease.over().cancelled() => return,
            () = give_up.cancelled() => return,
            () = tokio::time::sleep(H::pause(failures)) => {}
        }
    }
}

fn failed(reason: String, retryable: bool) -> End {
    End::Failed { reason: reason.into(), retryable }
}

fn said(end: &End, ms: u64) {
    match end {
        End::Completed { made, .. } => {
            info!(ms, first_token_ms = made.first_token_ms, deltas = made.deltas, model = %made.model, "answered");
        }
        End::Failed { reason, retryable } => warn!(ms, %reason, retryable, "failed"),
        End::Away { reason, after } => warn!(ms, %reason, after_ms = after.as_millis() as u64, "the model is away"),
        End::Released => info!(ms, reason = release::GOODBYE, "released"),
    }
}
