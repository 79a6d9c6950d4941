//! The calls of workers.
//!
//! Promise: each has a time limit, so that a dead connection is noticed before a lease expires.

use std::time::Duration;

use antiphon_schemas::{
    MessageId,
    wire::work::{
        Alive, BotProfiles, ClaimWork, CompleteWork, DeltaTaken, FailWork, ReleaseWork, Work, WorkCompleted, WorkDelta,
        WorkHeartbeat,
    },
};
use reqwest::StatusCode;
use serde::Serialize;

use super::{ANSWER_MAX, Client, Failure, Stream};

/// The longest wait for work that a claim may ask for.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
/// How much later than requested a claim's response may arrive.
const CLAIM_MARGIN: Duration = Duration::from_secs(10);
/// Deltas only go to memory: half a lease is far more than any server needs, and leaves time for a retry.
const WORD_MAX: Duration = Duration::from_secs(5);

impl Client {
    /// Waits for work as long as `wish` says and claims it; `None` if none arrived. Repeating a `claim_key` returns the same
    /// claim.
    pub(crate) async fn claim(&self, wish: &ClaimWork) -> Result<Option<Work>, Failure> {
        let wait = wish.wait_ms.map_or(WAIT_MAX, Duration::from_millis) + CLAIM_MARGIN;
        let path = ["api", "work", "claim"];
        let response = self.send(&path, |http, url| http.post(url).json(wish).timeout(wait)).await?;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(None),
            _ => self.json(response).await.map(Some),
        }
    }

    /// Sends a delta of a reply.
    pub(crate) async fn delta(&self, id: MessageId, delta: &WorkDelta) -> Result<DeltaTaken, Failure> {
        self.about(id, "deltas", delta, WORD_MAX).await
    }

    /// Keeps a claim alive.
    pub(crate) async fn heartbeat(&self, id: MessageId, heartbeat: &WorkHeartbeat) -> Result<Alive, Failure> {
        self.about(id, "heartbeat", heartbeat, WORD_MAX).await
    }

    /// Answers a message. Repeating it returns the same response.
    pub(crate) async fn complete(&self, id: MessageId, answer: &CompleteWork) -> Result<WorkCompleted, Failure> {
        self.about(id, "complete", answer, ANSWER_MAX).await
    }

    /// Reports that this attempt produced no answer.
    pub(crate) async fn fail(&self, id: MessageId, failed: &FailWork) -> Result<(), Failure> {
        self.about::<serde::de::IgnoredAny>(id, "fail", failed, ANSWER_MAX).await.map(drop)
    }

    /// Gives a message back. Limited like a delta, because a worker that releases is about to exit.
    pub(crate) async fn release(&self, id: MessageId, released: &ReleaseWork) -> Result<(), Failure> {
        self.about::<serde::de::IgnoredAny>(id, "release", released, WORD_MAX).await.map(drop)
    }

    /// The bots whose messages may be claimed.
    pub(crate) async fn bots(&self) -> Result<BotProfiles, Failure> {
        let response = self.send(&["api", "work", "bots"], |http, url| http.get(url).timeout(ANSWER_MAX)).await?;
        self.json(response).await
    }

    /// The event stream of a worker's claims.
    pub(crate) async fn work_events(&self, worker: &str) -> Result<Stream, Failure> {
        self.stream(&["api", "work", "events"], |http, mut url| {
            url.query_pairs_mut().append_pair("worker", worker);
            http.get(url)
        })
        .await
    }

    async fn about<T: serde::de::DeserializeOwned>(
        &self,
        id: MessageId,
        what: &str,
        body: &impl Serialize,
        within: Duration,
    ) -> Result<T, Failure> {
        let path = ["api", "work", &id.to_string(), what];
        let response = self.send(&path, |http, url| http.post(url).json(body).timeout(within)).await?;
        self.json(response).await
    }
}
