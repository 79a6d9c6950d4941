//! The way from a consumer to the runtime while a reply is being written.
//!
//! Promises: pieces arrive in order, none twice; the first leaves at once, later ones are gathered by the runtime for
//! at most [`DELTA_GATHER`]; a full outbox makes the consumer wait, so a fast model cannot fill memory.
//! Not here: indexes, fences and heartbeats (the runtime's).

use std::time::Duration;

use tokio::sync::mpsc;

/// How long later pieces are gathered into one delta: below what an eye sees, and at most 50 frames a second and reply.
pub const DELTA_GATHER: Duration = Duration::from_millis(20);
/// Pieces under way between consumer and runtime; more wait in the model's connection.
const PIECES_MAX: usize = 64;

/// What a consumer says while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next words of the reply; never empty.
    Text(String),
    /// What it is doing: `loading-model`, `reading-prompt`, `writing`.
    Stage(&'static str),
}

/// The runtime no longer listens (claim lost, cancelled, shutting down): stop working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// The consumer's end.
#[derive(Debug)]
pub struct Outbox {
    pieces: mpsc::Sender<Piece>,
}

/// The runtime's end.
#[derive(Debug)]
pub struct OutboxReader {
    pieces: mpsc::Receiver<Piece>,
}

/// A connected pair.
pub fn outbox() -> (Outbox, OutboxReader) {
    let (tx, rx) = mpsc::channel(PIECES_MAX);
    (Outbox { pieces: tx }, OutboxReader { pieces: rx })
}

impl Outbox {
    /// Sends the next words; waits while the runtime is behind. Empty text sends nothing.
    ///
    /// # Errors
    /// [`Closed`]: stop working, nobody wants the rest.
    pub async fn text(&mut self, text: impl Into<String>) -> Result<(), Closed> {
        let text = text.into();
        if text.is_empty() {
            return Ok(());
        }
        self.pieces.send(Piece::Text(text)).await.map_err(|_| Closed)
    }

    /// Says what the consumer is doing.
    ///
    /// # Errors
    /// [`Closed`]: stop working, nobody wants the rest.
    pub async fn stage(&mut self, stage: &'static str) -> Result<(), Closed> {
        self.pieces.send(Piece::Stage(stage)).await.map_err(|_| Closed)
    }
}

impl OutboxReader {
    /// The next piece; `None` when the consumer is done and all is read. Cancel-safe.
    pub async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }

    /// The next piece if one is there now.
    pub fn try_next(&mut self) -> Option<Piece> {
        self.pieces.try_recv().ok()
    }
}
