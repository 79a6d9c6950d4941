//! Claiming: one request that waits at the server, again under the same key if its answer was lost.
//!
//! Promises: a key is used until it is answered, and never after; bots whose model is not well are left out; what a claim
//! gets that nobody waits for any more is given back.

use std::{sync::Arc, time::Duration};

use antiphon_schemas::wire::work::{ClaimWork, ReleaseWork, Work};
use tokio::time::{Instant, timeout};
use tracing::warn;
use uuid::Uuid;

use super::{lease::RemoteLease, shared::Shared};
use crate::work::{Trouble, WorkSource};

/// The longest wait for work: what the server allows.
const WAIT_MS: u64 = 30_000;
/// The same while a bot is left out, so that it is asked for soon after its model is well again.
const WAIT_WITHOUT_MS: u64 = 5_000;
/// A server that has no work lets us wait; one that answers at once, again and again, must not be asked at once.
const TOO_SOON: Duration = Duration::from_millis(500);
/// A stop does not wait longer than this for what an open claim may have got.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// Where one slot of a worker gets its work.
pub(super) struct RemoteSource {
    shared: Arc<Shared>,
    /// A claim that is not answered yet.
    open: Option<ClaimWork>,
}

impl RemoteSource {
    pub(super) fn new(shared: Arc<Shared>) -> RemoteSource {
        RemoteSource { shared, open: None }
    }

    /// What to ask for now; under the same key as long as that is not answered.
    async fn wish(&self) -> ClaimWork {
        let ready = self.shared.ready().await;
        let wait = if ready.len() < self.shared.bots.len() { WAIT_WITHOUT_MS } else { WAIT_MS };
        let mut models = self.shared.warmth().await;
        models.retain(|model| ready.iter().any(|served| served.bot.model() == model.name));
        let key = self.open.as_ref().map_or_else(|| Uuid::new_v4().to_string(), |open| open.claim_key.clone());
        ClaimWork {
            worker: self.shared.name.to_string(),
            bots: ready.iter().map(|served| served.name.to_string()).collect(),
            claim_key: key,
            wait_ms: Some(wait),
            models: Some(models).filter(|models| !models.is_empty()),
        }
    }

    /// The claim that an answer is, unless it is over already.
    fn lease(&self, work: Work, repeated: bool) -> Option<RemoteLease> {
        let Some(served) = self.shared.bots.iter().find(|served| served.name == work.bot.name) else {
            warn!(bot = %work.bot.name, "the server gives work of a bot that was not asked for; it is left to its lease");
            return None;
        };
        let over = self.shared.claims.take(work.message.id, work.fence);
        let lease = RemoteLease::new(self.shared.clone(), served.consumer.clone(), work, over.clone(), repeated);
        (!over.is_cancelled()).then_some(lease)
    }
}

impl WorkSource for RemoteSource {
    type Lease = RemoteLease;

    async fn claim(&mut self) -> Result<RemoteLease, Trouble> {
        loop {
            let repeated = self.open.is_some();
            let wish = self.wish().await;
            // Kept before it is sent: this future may be dropped while it waits.
            let (asked, wish) = (Instant::now(), self.open.insert(wish));
            let answer = self.shared.client.claim(wish).await;
            if let Err(failure) = &answer {
                if self.shared.deny(failure) {
                    return Err(Trouble::Closed(failure.to_string()));
                }
                if !failure.retryable() {
                    self.open = None;
                }
                // Its answer is posted already, and its holder has seen it: the next claim gets another message.
                if failure.code() == Some("claim-over") {
                    continue;
                }
                self.shared.lost(failure);
                return Err(Trouble::Passing(failure.to_string()));
            }
            self.open = None;
            self.shared.found();
            match answer {
                Ok(Some(work)) => {
                    if let Some(lease) = self.lease(work, repeated) {
                        return Ok(lease);
                    }
                }
                _ if asked.elapsed() < TOO_SOON => return Err(Trouble::Passing("no work, too soon".into())),
                _ => {}
            }
        }
    }

    async fn leave(&mut self) {
        let Some(open) = self.open.take() else { return };
        let wish = ClaimWork { wait_ms: Some(0), models: None, ..open };
        let give_back = async {
            if let Ok(Some(work)) = self.shared.client.claim(&wish).await {
                let release = ReleaseWork { fence: work.fence };
                // If this is lost, too, the lease runs out.
                let _ = self.shared.client.release(work.message.id, &release).await;
            }
        };
        let _in_time = timeout(LEAVE_MAX, give_back).await;
    }
}
