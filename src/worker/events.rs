//! What the server says about this worker's claims: a stream that is always open, so that a cancel comes at once.
//!
//! Promise: after each connection every claim held before it is known to be live or over; between two connections
//! heartbeats and deltas say the same, only later.

use std::{sync::Arc, time::Duration};

use antiphon_kit::sse::SseEvent;
use antiphon_schemas::wire::{
    feed::Busy,
    work::{ClaimEnded, HeldClaims},
};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::{WAIT_FIRST, WAIT_MAX, lease, shared::Shared};
use crate::client::{Backoff, Stream};

/// A connection that lived this long was a good one: the next wait is short again.
const GOOD: Duration = Duration::from_secs(5);

/// Follows the stream until the server rejects this worker.
pub(super) async fn follow(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(WAIT_FIRST, WAIT_MAX);
    loop {
        let asked = Instant::now();
        let why = match shared.client.work_events(&shared.name).await {
            Ok(mut stream) => {
                shared.found();
                let why = listen(&shared, &mut stream, asked).await;
                if stream.age() >= GOOD {
                    backoff.reset();
                }
                why
            }
            Err(failure) if shared.deny(&failure) => return,
            Err(failure) => failure.to_string(),
        };
        debug!(why, "the stream of ended claims broke; connecting again");
        sleep(backoff.wait()).await;
    }
}

/// Takes what the stream says, until its end.
async fn listen(shared: &Arc<Shared>, stream: &mut Stream, asked: Instant) -> String {
    loop {
        match stream.next().await {
            Ok(event) => heard(shared, &event, asked).await,
            Err(why) => return why,
        }
    }
}

async fn heard(shared: &Arc<Shared>, SseEvent { name, data, .. }: &SseEvent, asked: Instant) {
    match name.as_str() {
        "claims" => match serde_json::from_str::<HeldClaims>(data) {
            Ok(live) => {
                for claim in shared.claims.unlisted(&live.claims, asked) {
                    tokio::spawn(lease::look_after(shared.clone(), claim));
                }
            }
            Err(why) => warn!(%why, "the server's list of claims cannot be read"),
        },
        "ended" => match serde_json::from_str::<ClaimEnded>(data) {
            Ok(ended) => shared.claims.end(ended.fence),
            Err(why) => warn!(%why, "the end of a claim cannot be read"),
        },
        "busy" => {
            let wait = serde_json::from_str::<Busy>(data).map_or(WAIT_MAX, |busy| Duration::from_millis(busy.retry_ms));
            sleep(wait.min(WAIT_MAX)).await;
        }
        _ => {}
    }
}
