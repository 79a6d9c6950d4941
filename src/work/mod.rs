//! The runtime of consumers that live in this process: claims for them, pumps their words, appends their outcome.
//!
//! Promises:
//! - a slot claims only when it is free and its consumer is ready; nothing is claimed that nobody works on;
//! - the lease is renewed by a task of its own, however long the consumer is silent;
//! - work stops within the same turn in which its claim ends (cancel, takeover): the future is dropped;
//! - an outcome is appended, again and again while the log refuses, before the claim is let go of;
//! - on stop, replies under way may finish within the grace; what is left is released at once.
//!
//! Not here: models and prompts (`antiphon-bot`), leases and fences (`node`), remote workers (HTTP).

mod pump;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use antiphon_kit::{Consumer, Delivery, Outcome, Profile, Reply, outbox};
use antiphon_schemas::event::{Author, AuthorKind, Made, release};
use futures_util::FutureExt;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use self::pump::{Pumped, pump};
use crate::{
    decide::work::{End, Held},
    log,
    node::{Claimed, Error, Node, Word},
};

/// Pause before the next try when the log or the index says no.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// A bot to run: who it is, what answers for it, how much at once.
#[derive(Clone)]
pub struct Hand {
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
pub struct Crew {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    give_up: CancellationToken,
}

impl Crew {
    /// Starts every slot of every hand.
    pub fn start(node: &Node, hands: Vec<Hand>, heartbeat: Duration) -> Crew {
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        for hand in hands {
            for slot in 1..=hand.slots {
                let worker = format!("{}/{}/{slot}", node.name(), hand.profile.name).into();
                let slot = Slot {
                    node: node.clone(),
                    hand: hand.clone(),
                    worker,
                    heartbeat,
                    stop: stop.clone(),
                    give_up: give_up.clone(),
                };
                tasks.spawn(slot.run());
            }
        }
        Crew { tasks, stop, give_up }
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

struct Slot {
    node: Node,
    hand: Hand,
    worker: Arc<str>,
    heartbeat: Duration,
    stop: CancellationToken,
    give_up: CancellationToken,
}

impl Slot {
    async fn run(self) {
        let bot = &self.hand.profile.name;
        loop {
            let next = async {
                self.hand.consumer.ready().await;
                self.node.claim(bot, &self.worker, Some(self.node.incarnation())).await
            };
            let claimed = tokio::select! {
                () = self.stop.cancelled() => return,
                claimed = next => claimed,
            };
            match claimed {
                Ok(claimed) => {
                    let (id, room) = (claimed.held.message_id, claimed.room.clone());
                    let span = info_span!("message", %id, %room, %bot, attempt = claimed.attempt);
                    self.answer(claimed).instrument(span).await;
                }
                // The claim could not be written, or the node stops.
                Err(failure) => {
                    debug!(error = %failure, "no claim");
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = tokio::time::sleep(AFTER_FAILURE) => {}
                    }
                }
            }
        }
    }

    async fn answer(&self, claimed: Claimed) {
        let started = Instant::now();
        let held = claimed.held;
        debug!(fence = held.fence.0, "claimed");
        let alive = tokio::spawn(heartbeats(self.node.clone(), held, self.heartbeat));
        let end = tokio::select! {
            () = claimed.over.cancelled() => None,
            () = self.give_up.cancelled() => Some(End::Released(release::GOODBYE)),
            end = self.work(&claimed, started) => Some(end),
        };
        match end {
            Some(end) => self.append(&claimed, end, started).await,
            None => info!("stopped: the claim is over"),
        }
        alive.abort();
    }

    async fn work(&self, claimed: &Claimed, started: Instant) -> End {
        let delivery = match self.delivery(claimed).await {
            Ok(delivery) => delivery,
            // Not the message's fault: no attempt is counted.
            Err(Error::Log(log::Error::Away(_))) => return End::Released(release::GOODBYE),
            Err(failure) => return failed(format!("not-readable: {failure}"), true),
        };
        let (mut tx, rx) = outbox();
        let consumer = async move {
            let handled = AssertUnwindSafe(self.hand.consumer.handle(delivery, &mut tx)).catch_unwind().await;
            drop(tx);
            handled
        };
        let (outcome, pumped) = tokio::join!(consumer, pump(&self.node, claimed.held, rx, started));
        match (outcome, pumped) {
            (Ok(Outcome::Reply(reply)), Ok(pumped)) => self.completed(reply, pumped, started),
            (Ok(Outcome::Failed { reason, retryable }), _) => failed(reason, retryable),
            (Ok(Outcome::NotNow), _) => End::Released(release::GOODBYE),
            (_, Err(failure)) => failed(format!("not-sent: {failure}"), true),
            (Err(_), _) => failed("bot-broke: it panicked; see the server's log".into(), true),
        }
    }

    async fn delivery(&self, claimed: &Claimed) -> Result<Delivery, Error> {
        let profile = self.hand.profile.clone();
        let message = self.node.message(claimed.held.message_id).await?;
        let message = Arc::new(message.ok_or_else(|| Error::Index("the claimed message is not there".into()))?);
        let context = self.node.context(&claimed.room, message.position.0.seq, profile.context_messages).await?;
        let (reply_id, attempt) = (claimed.reply_id, claimed.attempt);
        Ok(Delivery { message, reply_id, attempt, context, bot: profile })
    }

    fn completed(&self, reply: Reply, pumped: Pumped, started: Instant) -> End {
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
        };
        let (name, color) = (self.hand.profile.name.as_str().into(), self.hand.color.clone());
        let author = Author { name, kind: AuthorKind::Bot, color };
        End::Completed { author, text: reply.text.into(), made }
    }

    /// Appends how it ended; tries again while the log refuses and the claim is live.
    async fn append(&self, claimed: &Claimed, end: End, started: Instant) {
        loop {
            let ms = started.elapsed().as_millis() as u64;
            match self.node.end(claimed.held, end.clone()).await {
                Ok(()) => return said(&end, ms),
                Err(Error::Refused(refusal)) => return info!(%refusal, "came too late"),
                Err(Error::Stopping) => return,
                Err(failure) => warn!(error = %failure, "the end cannot be appended yet"),
            }
            tokio::select! {
                () = claimed.over.cancelled() => return,
                () = self.give_up.cancelled() => return,
                () = tokio::time::sleep(AFTER_FAILURE) => {}
            }
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
        End::Released(reason) => info!(ms, reason, "released"),
    }
}

/// Keeps a claim alive until it is aborted or over.
async fn heartbeats(node: Node, held: Held, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(Error::Refused(_) | Error::Stopping) = node.say(held, Word::Heartbeat).await {
            return;
        }
    }
}
