//! The index against a model that looks at every entry, and against everything that can happen to its file.

mod crash;
mod file;
mod model;
mod pages;
mod writer;

use std::{sync::Arc, time::Duration};

use antiphon_schemas::{
    BotName, Entry, Epoch, Event, Header, MessageId, RequestId, RoomName, Seq,
    event::{
        Ask, Author, AuthorKind, MessageCancelled, MessageClaimed, MessageCompleted, MessageDead, MessageFailed,
        MessagePosted, MessageRedacted, MessageReleased, ReplyPosted, Unknown,
    },
};
use uuid::Uuid;

use super::{Index, Indexer};

const EPOCH: Epoch = Epoch(7);
/// Longer than any test: nothing becomes durable unless the test says so.
const NEVER: Duration = Duration::from_secs(3_600);

/// One entry to be: what happens (10 kinds), to which message, in which room (0: none), how much later.
type Step = (u8, u8, u8, u16);

/// The entries of these steps, from position 1.
fn entries(steps: &[Step]) -> Vec<Arc<Entry>> {
    let mut at_ms = 1_000_000;
    let entry = |(i, (what, message, room, later)): (usize, &Step)| {
        at_ms += u64::from(*later);
        entry(i as u64 + 1, at_ms, *room, event(*what, *message, i))
    };
    steps.iter().enumerate().map(entry).collect()
}

/// A long and busy log, always the same.
fn traffic(count: usize) -> Vec<Arc<Entry>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u16
    };
    let steps: Vec<Step> = (0..count).map(|_| (next() as u8, next() as u8, next() as u8, next() % 100)).collect();
    entries(&steps)
}

fn entry(seq: u64, at_ms: u64, room: u8, event: Event) -> Arc<Entry> {
    let header = Header {
        seq: Seq(seq),
        at_ms,
        request: RequestId(Uuid::from_u128(u128::from(seq))),
        kind: event.kind().into(),
        // Names of which one begins like another.
        room: [None, Some("a"), Some("a-"), Some("aa"), Some("b")][usize::from(room) % 5].map(room_of),
        subjects: event.subjects(),
        version: antiphon_schemas::entry::VERSION,
    };
    let body = Entry::body_of(&event, [0; 16]).unwrap();
    Arc::new(Entry { header, body, event })
}

fn event(what: u8, message: u8, i: usize) -> Event {
    let message_id = id(message);
    let bot = BotName::new("echo").unwrap();
    let ask = Ask { bot: bot.clone(), priority: 5, second: false };
    let reply_id = id(message.wrapping_add(100));
    match what % 10 {
        0 => said(message, if i.is_multiple_of(3) { AuthorKind::Bot } else { AuthorKind::Human }, i.is_multiple_of(2)),
        1 => MessageClaimed {
            message_id,
            reply_id,
            bot,
            worker: "w".into(),
            incarnation: None,
            attempt: 1,
            lease_ms: 10_000,
        }
        .into(),
        2 => MessageReleased { message_id, fence: None, reason: "goodbye".into(), ask }.into(),
        3 => {
            let retry_at_ms = i.is_multiple_of(2).then_some(1);
            MessageFailed {
                message_id,
                fence: Seq(1),
                reason: format!("why-{i}: ö").into(),
                attempt: 1,
                retry_at_ms,
                away: false,
            }
            .into()
        }
        4 => MessageDead { message_id, reason: "too-old".into() }.into(),
        5 => MessageCancelled { message_id }.into(),
        6 => MessageRedacted { message_id }.into(),
        7 => ReplyPosted {
            id: reply_id,
            message_id,
            author: author(AuthorKind::Bot),
            text: "yes".into(),
            hops: 1,
            made: Arc::default(),
        }
        .into(),
        8 => MessageCompleted { message_id, reply_id, fence: Seq(1), ms: 1 }.into(),
        _ => Event::Unknown(Unknown { kind: "x.y".into(), data: vec![0xc0].into(), subjects: vec![message_id] }),
    }
}

fn said(message: u8, kind: AuthorKind, asked: bool) -> Event {
    let ask = asked.then(|| Ask { bot: BotName::new("echo").unwrap(), priority: 5, second: false });
    let (author, text) = (author(kind), "hello".into());
    MessagePosted { id: id(message), author, text, to: None, ask, reply_to: None, hops: 0, said_at_ms: None }.into()
}

fn author(kind: AuthorKind) -> Author {
    Author { name: "somebody".into(), kind, color: None }
}

fn id(n: u8) -> MessageId {
    // Scattered, as the ids of clients are.
    MessageId(Uuid::from_u128(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)))
}

fn room_of(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn in_memory() -> Index {
    Index::open(None, EPOCH, Seq::ZERO).unwrap()
}

/// Hands `entries` over and waits until readers see the last of them.
async fn applied(indexer: &Indexer, entries: &[Arc<Entry>]) {
    let Some(last) = entries.last() else { return };
    indexer.apply(entries.to_vec()).await;
    indexer.applied().wait_for(|seq| *seq >= last.header.seq).await.expect("the indexer runs");
}

/// Applies all of `entries` and makes them durable.
async fn apply_durably(index: &Index, entries: &[Arc<Entry>]) {
    let indexer = Indexer::flushing(index.clone(), NEVER).unwrap();
    for batch in entries.chunks(1_000) {
        indexer.apply(batch.to_vec()).await;
    }
    indexer.close();
    assert!(index.failed().is_none(), "{index:?}");
}
