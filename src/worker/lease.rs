//! A claim over HTTP: what is said about it is resent until the server takes it.
//!
//! Promises: a delta is repeated until it is taken or the claim is over, with all that came before it where the server has
//! lost that; heartbeats have a task of their own, which also tells stages; whatever says that the claim is over ends it.

use std::{sync::Arc, time::Duration};

use antiphon_kit::{Consumer, Delivery};
use antiphon_schemas::{
    MessageId,
    wire::{
        Position,
        work::{CompleteWork, FailWork, HeldClaim, ReleaseWork, Work, WorkDelta, WorkHeartbeat},
    },
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, info_span};

use super::{pause, shared::Shared};
use crate::{
    client::Failure,
    work::{End, Lease, Trouble},
};

/// Two renewals may be lost before the lease ends.
const HEARTBEATS_PER_LEASE: u32 = 3;
/// A heartbeat that takes longer than its interval is given up for the next, but not sooner than this.
const HEARTBEAT_MAX_LEAST: Duration = Duration::from_secs(1);
/// The longest reason that the server takes, in bytes.
const REASON_BYTES_MAX: usize = 500;

/// As many notes on an answer as the server takes.
const NOTES_MAX: usize = 8;

/// A claim of this worker.
pub(super) struct RemoteLease {
    held: Arc<Held>,
    consumer: Arc<dyn Consumer>,
    delivery: Delivery,
}

/// What heartbeats need to know of a claim.
struct Held {
    shared: Arc<Shared>,
    id: MessageId,
    fence: Position,
    lease: Duration,
    /// How long ago the claim was made is not known: it was asked for more than once.
    aged: bool,
    over: CancellationToken,
    stage: watch::Sender<Option<&'static str>>,
}

impl RemoteLease {
    pub(super) fn new(
        shared: Arc<Shared>,
        consumer: Arc<dyn Consumer>,
        work: Work,
        over: CancellationToken,
        aged: bool,
    ) -> RemoteLease {
        let Work { message, reply_id, fence, attempt, lease_ms, context, bot } = work;
        let (id, lease, stage) = (message.id, Duration::from_millis(lease_ms.max(1)), watch::Sender::new(None));
        let held = Arc::new(Held { shared, id, fence, lease, aged, over, stage });
        let delivery = Delivery { message, reply_id, attempt, context, bot: Arc::new(bot) };
        RemoteLease { held, consumer, delivery }
    }
}

impl Drop for RemoteLease {
    fn drop(&mut self) {
        self.held.shared.claims.leave(self.held.fence);
    }
}

impl Lease for RemoteLease {
    fn consumer(&self) -> &Arc<dyn Consumer> {
        &self.consumer
    }

    fn over(&self) -> &CancellationToken {
        &self.held.over
    }

    fn span(&self) -> Span {
        let Delivery { message, attempt, bot, .. } = &self.delivery;
        let span = info_span!("message", id = %message.id, room = %message.room, bot = %bot.name, attempt);
        span.in_scope(|| debug!(fence = %self.held.fence.0, "claimed"));
        span
    }

    async fn delivery(&self) -> Result<Delivery, End> {
        Ok(self.delivery.clone())
    }

    async fn delta(&self, index: u32, before: &str, text: &str) -> Result<(), Trouble> {
        let Held { shared, id, fence, .. } = &*self.held;
        let mut delta = WorkDelta { fence: *fence, index, text: text.into(), before: None };
        let mut failures = 0;
        loop {
            let failure = match shared.client.delta(*id, &delta).await {
                Ok(_taken) => return Ok(()),
                Err(failure) => failure,
            };
            // A server that was started again has forgotten what was written.
            if failure.code() == Some("delta-gap") && delta.before.is_none() && !before.is_empty() {
                delta.before = Some(before.into());
                continue;
            }
            match self.held.judge(&failure) {
                Trouble::Passing(why) => {
                    debug!(why, index, "the delta is sent again");
                    failures += 1;
                    sleep(pause(failures)).await;
                }
                trouble => return Err(trouble),
            }
        }
    }

    async fn stage(&self, stage: &'static str) -> Result<(), Trouble> {
        // No word of the reply waits for it.
        self.held.stage.send_replace(Some(stage));
        Ok(())
    }

    fn alive(&self) -> impl Future<Output = ()> + Send + 'static {
        // From here on: a stage may be said before the task runs.
        keep(self.held.clone(), self.held.stage.subscribe())
    }

    async fn end(&self, end: &End) -> Result<(), Trouble> {
        let Held { shared, id, fence, .. } = &*self.held;
        let fence = *fence;
        let answer = match end.clone() {
            End::Completed { text, made } => {
                let answer = CompleteWork {
                    fence,
                    text: text.as_ref().into(),
                    finish: made.finish.as_ref().into(),
                    usage: made.usage,
                    model: Some(made.model.as_ref().into()),
                    options: Some(made.options),
                    prompt_sha256: Some(made.prompt_sha256.as_ref().into()),
                    context: Some(made.context),
                    first_token_ms: made.first_token_ms,
                    total_ms: Some(made.total_ms),
                    deltas: Some(made.deltas),
                    notes: Some(made.notes.iter().take(NOTES_MAX).map(|note| short(note)).collect::<Vec<_>>())
                        .filter(|notes| !notes.is_empty()),
                };
                shared.client.complete(*id, &answer).await.map(drop)
            }
            End::Failed { reason, retryable } => {
                let failure = FailWork { fence, reason: short(&reason), retryable, away_ms: None };
                shared.client.fail(*id, &failure).await
            }
            End::Away { reason, after } => {
                let away_ms = Some(after.as_millis() as u64);
                let failure = FailWork { fence, reason: short(&reason), retryable: true, away_ms };
                shared.client.fail(*id, &failure).await
            }
            End::Released => shared.client.release(*id, &ReleaseWork { fence }).await,
        };
        answer.map_err(|failure| self.held.judge(&failure))
    }

    fn pause(failures: u32) -> Duration {
        pause(failures)
    }
}

impl Held {
    /// What a failure means for the claim.
    fn judge(&self, failure: &Failure) -> Trouble {
        let why = failure.to_string();
        if self.shared.deny(failure) {
            return Trouble::Closed(why);
        }
        match failure.code() {
            Some(code) if is_over(code) => {
                self.over.cancel();
                Trouble::Over(why)
            }
            // A proxy on the way whose server is being exchanged says all sorts of things.
            Some("not-antiphon") | None => Trouble::Passing(why),
            Some(_) if failure.retryable() => Trouble::Passing(why),
            Some(_) => Trouble::Refused(why),
        }
    }
}

fn is_over(code: &str) -> bool {
    matches!(code, "stale-fence" | "ended" | "no-such-message" | "claim-over")
}

/// Heartbeats, and stages as soon as they are said, until the claim is over.
async fn keep(held: Arc<Held>, mut stages: watch::Receiver<Option<&'static str>>) {
    let mut lease = held.lease;
    let mut wait = if held.aged { Duration::ZERO } else { lease / HEARTBEATS_PER_LEASE };
    let (mut untold, mut failures) = (None, 0);
    loop {
        tokio::select! {
            () = held.over.cancelled() => return,
            said = stages.changed() => match said {
                Ok(()) => untold = *stages.borrow_and_update(),
                Err(_gone) => return,
            },
            () = sleep(wait) => {}
        }
        let every = lease / HEARTBEATS_PER_LEASE;
        let heartbeat = WorkHeartbeat { fence: held.fence, stage: untold.map(str::to_owned), progress: None };
        let beat = held.shared.client.heartbeat(held.id, &heartbeat);
        let answer = timeout(every.max(HEARTBEAT_MAX_LEAST), beat).await;
        wait = every;
        match answer.unwrap_or_else(|_| Err(Failure::Lost("no answer in time".into()))) {
            Ok(alive) => {
                lease = Duration::from_millis(alive.lease_ms.max(1));
                (untold, failures, wait) = (None, 0, lease / HEARTBEATS_PER_LEASE);
            }
            Err(failure) => match held.judge(&failure) {
                Trouble::Over(_) | Trouble::Closed(_) => return,
                // Whatever is wrong with the stage, the next heartbeat goes without it.
                Trouble::Refused(why) => {
                    debug!(why, "a heartbeat is refused");
                    untold = None;
                }
                Trouble::Passing(why) => {
                    debug!(why, "a heartbeat is lost");
                    failures += 1;
                    wait = pause(failures).min(every);
                }
            },
        }
    }
}

/// Asks whether a claim lives that its server did not name among the live ones. A node that has not read the claim's
/// entry yet does not name it either, so the list alone ends nothing.
pub(super) async fn look_after(shared: Arc<Shared>, claim: HeldClaim) {
    let heartbeat = WorkHeartbeat { fence: claim.fence, stage: None, progress: None };
    if let Err(failure) = shared.client.heartbeat(claim.message_id, &heartbeat).await
        && failure.code().is_some_and(is_over)
    {
        shared.claims.end(claim.fence);
    }
}

/// A reason as the server takes it: one line, not too long.
fn short(reason: &str) -> String {
    let mut plain = String::new();
    for c in reason.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if plain.len() + c.len_utf8() > REASON_BYTES_MAX {
            break;
        }
        plain.push(c);
    }
    plain
}
