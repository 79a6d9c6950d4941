//! A hand-fed bench for consumers: deliver one message, get the pieces and the outcome back.
//!
//! Not here: a server, a log, leases. Tests of a consumer need nothing else.

use std::sync::Arc;

use antiphon_schemas::{
    Cursor, Epoch, MessageId, RoomName, Seq,
    wire::{Author, AuthorKind, Message, Position, Status},
};

use crate::{Consumer, Delivery, Outcome, Piece, Profile, outbox};

/// Hands `delivery` to `consumer` and returns every piece that it sent, in order, and its outcome.
pub async fn deliver(consumer: &dyn Consumer, delivery: Delivery) -> (Vec<Piece>, Outcome) {
    let (mut tx, mut rx) = outbox();
    let work = async move {
        let outcome = consumer.handle(delivery, &mut tx).await;
        drop(tx);
        outcome
    };
    let read = async {
        let mut pieces = Vec::new();
        while let Some(piece) = rx.next().await {
            pieces.push(piece);
        }
        pieces
    };
    let (outcome, pieces) = tokio::join!(work, read);
    (pieces, outcome)
}

/// A first-attempt delivery of a person's `text` in room `bench`, without context.
pub fn delivery(text: &str, profile: Profile) -> Delivery {
    Delivery {
        message: message("somebody", AuthorKind::Human, text),
        reply_id: MessageId(uuid_of(2)),
        attempt: 1,
        context: Vec::new(),
        bot: Arc::new(profile),
    }
}

/// A message of room `bench`.
pub fn message(author: &str, kind: AuthorKind, text: &str) -> Arc<Message> {
    Arc::new(Message {
        id: MessageId(uuid_of(1)),
        room: RoomName::new("bench").expect("a room name"),
        author: Author { name: author.into(), kind, color: None },
        text: text.into(),
        at: "2026-01-01T00:00:00.000Z".into(),
        said_at: None,
        reply_to: None,
        position: Position(Cursor::new(Epoch(1), Seq(1))),
        status: Status::Claimed,
        reason: None,
        redacted: false,
        bot: None,
        model: None,
        options: None,
        prompt_sha256: None,
        context: None,
        first_token_ms: None,
        total_ms: None,
        deltas: None,
        finish: None,
        usage: None,
        notes: None,
    })
}

fn uuid_of(n: u8) -> uuid::Uuid {
    uuid::Uuid::from_bytes([n; 16])
}
