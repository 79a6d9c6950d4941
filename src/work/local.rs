//! The work of this process's own node: claims by calls, words that cost no copy more than they must.
//!
//! Promise: claims carry this process's incarnation, so that they are released when it starts again.

use std::{sync::Arc, time::Duration};

use antiphon_kit::{Consumer, Delivery};
use antiphon_schemas::event::{Author, AuthorKind, release};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, info_span};

use super::{BotSlots, End, Lease, Trouble, WorkSource, WorkerPool, failed};
use crate::{
    decide::work::{self, Held},
    log,
    node::{Claimed, Error, LiveUpdate, Node},
};

/// Pause before the next try when the log or the index says no.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

impl WorkerPool {
    /// Starts every slot of every bot, for work of this process's own node.
    pub fn start(node: &Node, bots: Vec<BotSlots>, heartbeat: Duration) -> WorkerPool {
        let sources = bots.into_iter().flat_map(|bot| {
            let bot = Arc::new(bot);
            (1..=bot.slots).map(move |slot| {
                let worker = format!("{}/{}/{slot}", node.name(), bot.profile.name).into();
                LocalSource { node: node.clone(), bot: bot.clone(), worker, heartbeat }
            })
        });
        WorkerPool::of(sources)
    }
}

/// Where one slot of one bot gets its work.
struct LocalSource {
    node: Node,
    bot: Arc<BotSlots>,
    worker: Arc<str>,
    heartbeat: Duration,
}

/// A claim of this process.
struct LocalLease {
    node: Node,
    bot: Arc<BotSlots>,
    claimed: Claimed,
    heartbeat: Duration,
}

impl WorkSource for LocalSource {
    type Lease = LocalLease;

    async fn claim(&mut self) -> Result<LocalLease, Trouble> {
        self.bot.consumer.ready().await;
        let claim = self.node.claim(&self.bot.profile.name, &self.worker, Some(self.node.incarnation()));
        let claimed = claim.await.map_err(trouble)?;
        let (node, bot, heartbeat) = (self.node.clone(), self.bot.clone(), self.heartbeat);
        Ok(LocalLease { node, bot, claimed, heartbeat })
    }
}

impl Lease for LocalLease {
    fn consumer(&self) -> &Arc<dyn Consumer> {
        &self.bot.consumer
    }

    fn over(&self) -> &CancellationToken {
        &self.claimed.over
    }

    fn span(&self) -> Span {
        let Claimed { held, room, attempt, .. } = &self.claimed;
        let span = info_span!("message", id = %held.message_id, %room, bot = %self.bot.profile.name, attempt);
        span.in_scope(|| debug!(fence = held.fence.0, "claimed"));
        span
    }

    async fn delivery(&self) -> Result<Delivery, End> {
        match self.read().await {
            Ok(delivery) => Ok(delivery),
            // Not the message's fault: no attempt is counted.
            Err(Error::Log(log::Error::Away(_))) => Err(End::Released),
            Err(failure) => Err(failed(format!("not-readable: {failure}"), true)),
        }
    }

    async fn delta(&self, index: u32, _before: &str, text: &str) -> Result<(), Trouble> {
        let word = LiveUpdate::Delta { index, text: text.into(), before: None };
        self.node.say(self.claimed.held, word).await.map(drop).map_err(trouble)
    }

    async fn stage(&self, stage: &'static str) -> Result<(), Trouble> {
        let word = LiveUpdate::Stage { stage: stage.into(), progress: None };
        self.node.say(self.claimed.held, word).await.map(drop).map_err(trouble)
    }

    fn alive(&self) -> impl Future<Output = ()> + Send + 'static {
        heartbeats(self.node.clone(), self.claimed.held, self.heartbeat)
    }

    async fn end(&self, end: &End) -> Result<(), Trouble> {
        let end = match end.clone() {
            End::Completed { text, made } => {
                let (name, color) = (self.bot.profile.name.as_str().into(), self.bot.color.clone());
                work::End::Completed { author: Author { name, kind: AuthorKind::Bot, color }, text, made }
            }
            End::Failed { reason, retryable } => work::End::Failed { reason, retryable },
            End::Away { reason, after } => work::End::Away { reason, after_ms: after.as_millis() as u64 },
            End::Released => work::End::Released(release::GOODBYE),
        };
        self.node.end(self.claimed.held, end).await.map(drop).map_err(trouble)
    }

    fn pause(_failures: u32) -> Duration {
        AFTER_FAILURE
    }
}

impl LocalLease {
    async fn read(&self) -> Result<Delivery, Error> {
        let (claimed, profile) = (&self.claimed, self.bot.profile.clone());
        let message = self.node.message(claimed.held.message_id).await?;
        let message = Arc::new(message.ok_or_else(|| Error::Index("the claimed message is not there".into()))?);
        let context = self.node.context(&claimed.room, message.position.0.seq, profile.context_messages).await?;
        let (reply_id, attempt) = (claimed.reply_id, claimed.attempt);
        Ok(Delivery { message, reply_id, attempt, context, bot: profile })
    }
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::Refused(refusal) => Trouble::Over(refusal.to_string()),
        Error::Stopping => Trouble::Closed(Error::Stopping.to_string()),
        other => Trouble::Passing(other.to_string()),
    }
}

/// Keeps a claim alive until it is aborted or over.
async fn heartbeats(node: Node, held: Held, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(Error::Refused(_) | Error::Stopping) = node.say(held, LiveUpdate::Heartbeat).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::{sync::mpsc, time::timeout};

    use super::*;

    /// A test that waits longer has failed.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Says that it is asked for a claim; the first time it panics at that.
    struct Shaky {
        asked: mpsc::UnboundedSender<()>,
        shaken: bool,
    }

    impl WorkSource for Shaky {
        type Lease = LocalLease;

        async fn claim(&mut self) -> Result<LocalLease, Trouble> {
            self.asked.send(()).unwrap();
            assert!(std::mem::replace(&mut self.shaken, true), "shaken");
            pending().await
        }
    }

    #[tokio::test]
    async fn a_slot_that_panics_begins_again_and_still_stops() {
        let (asked, mut told) = mpsc::unbounded_channel();
        let pool = WorkerPool::of([Shaky { asked, shaken: false }]);
        for _ in 0..2 {
            timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        }
        timeout(PATIENCE, pool.stop(Duration::ZERO)).await.unwrap();
    }
}
