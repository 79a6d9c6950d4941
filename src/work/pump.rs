//! From a consumer's pieces to deltas: the first at once, later ones gathered for a moment.

use std::time::Duration;

use antiphon_kit::{DELTA_GATHER, OutboxReader, Piece};
use tokio::time::{Instant, timeout_at};

use super::{Lease, Trouble};

/// Everything that was sent of a reply.
#[derive(Debug, Default)]
pub(super) struct Pumped {
    /// The deltas, concatenated.
    pub(super) text: String,
    /// How many there were.
    pub(super) deltas: u32,
    /// From the claim to the first.
    pub(super) first_token_ms: Option<u64>,
}

/// Sends pieces until the consumer is done. At least [`DELTA_GATHER`] lies between two deltas, and no piece waits
/// longer than that.
///
/// # Errors
/// What the lease says to a delta: the claim is over, or the reply is too long. The outbox closes with the reader.
pub(super) async fn pump<H: Lease>(lease: &H, mut pieces: OutboxReader, started: Instant) -> Result<Pumped, Trouble> {
    let mut pumped = Pumped::default();
    let mut last_sent: Option<Instant> = None;
    while let Some(piece) = pieces.next().await {
        let mut stage = None;
        match piece {
            Piece::Stage(said) => stage = Some(said),
            Piece::Text(mut text) => {
                let until = last_sent.map_or(started, |at| at + DELTA_GATHER);
                while stage.is_none() {
                    match timeout_at(until.max(Instant::now()), pieces.next()).await {
                        Ok(Some(Piece::Text(more))) => text.push_str(&more),
                        Ok(Some(Piece::Stage(said))) => stage = Some(said),
                        Ok(None) | Err(_) => break,
                    }
                }
                pumped.first_token_ms.get_or_insert_with(|| millis(started.elapsed()));
                lease.delta(pumped.deltas, &pumped.text, &text).await?;
                pumped.text.push_str(&text);
                pumped.deltas += 1;
                last_sent = Some(Instant::now());
            }
        }
        if let Some(stage) = stage {
            lease.stage(stage).await?;
        }
    }
    Ok(pumped)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
