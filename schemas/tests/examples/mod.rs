//! What the goldens say: of every kind one entry with all it can hold and one with the least.
//!
//! An example is never changed once its golden is stored; a field added to an event stands here as absent.

use std::{collections::BTreeMap, sync::Arc};

use antiphon_schemas::{
    BotName, Entry, Epoch, Event, Header, MessageId, RequestId, RoomName, Seq,
    entry::VERSION,
    event::{
        Ask, Author, AuthorKind, ErasedReply, KeyCreated, KeyRevoked, LogCheckpoint, LogRepaired, Made,
        MessageCancelled, MessageClaimed, MessageCompleted, MessageDead, MessageErased, MessageFailed, MessagePosted,
        MessageRedacted, MessageReleased, NotRepaired, ReplyPosted, Unknown, Usage, release,
    },
};
use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

/// All examples, by the name of their files.
pub(crate) fn all() -> Vec<(String, Entry)> {
    let full = full().into_iter().enumerate().map(|(i, event)| {
        let name = format!("{}.full", event.kind());
        // What no message is the subject of belongs to no room either.
        let room = (!event.subjects().is_empty()).then_some("2004-12-25.train-c~_");
        (name, entry(Seq::MAX.0 - i as u64, 1_795_336_020_125, room, [0xa0 + i as u8; 16], event))
    });
    let minimal = minimal().into_iter().enumerate().map(|(i, event)| {
        let name = format!("{}.minimal", event.kind());
        (name, entry(1 + i as u64, 0, None, [i as u8; 16], event))
    });
    let unknown = entry(7, 1_000, Some("r"), [0xcc; 16], unknown());
    let reply = ErasedReply { bot: Some(bot("echo")), total_ms: Seq::MAX.0, first_token_ms: Some(17) };
    let of_a_reply = MessageErased { message_id: id(3), positions: vec![Seq(4)], reply: Some(reply) };
    let of_a_reply = entry(9, 2_000, Some("r"), [0xdd; 16], of_a_reply.into());
    let said = entry(10, 1_795_336_020_125, Some("r"), [0xee; 16], imported().into());
    let others = [
        ("weather.changed.unknown".into(), unknown),
        ("message.erased.reply".into(), of_a_reply),
        ("message.posted.imported".into(), said),
    ];
    full.chain(minimal).chain(others).collect()
}

fn full() -> Vec<Event> {
    let fence = Seq(9_007_199_254_740_000);
    let reason: Arc<str> = "model-failed: 503 from „ollama“ 🌩".into();
    let ask = Ask { bot: bot("oracle"), priority: 9, second: true };
    vec![
        MessagePosted {
            id: id(1),
            author: Author { name: "Zoë 🐦".into(), kind: AuthorKind::Bot, color: Some("128192255".into()) },
            text: "Grüße,\n\t\"世界\" \u{10ffff}\u{1}".into(),
            to: Some(vec![bot("echo"), bot("B.o_t~1-")]),
            ask: Some(ask.clone()),
            reply_to: Some(id(2)),
            hops: 255,
            said_at_ms: None,
        }
        .into(),
        MessageClaimed {
            message_id: id(1),
            reply_id: id(3),
            bot: bot("echo"),
            worker: "node-1/echo".into(),
            incarnation: Some(Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0)),
            attempt: u32::MAX,
            lease_ms: 10_000,
        }
        .into(),
        MessageReleased { message_id: id(1), fence: Some(fence), reason: release::LEASE_OVER.into(), ask }.into(),
        MessageFailed {
            message_id: id(1),
            fence,
            reason: reason.clone(),
            attempt: 4,
            retry_at_ms: Some(1_795_336_025_125),
            away: false,
        }
        .into(),
        MessageDead { message_id: id(1), reason }.into(),
        MessageCancelled { message_id: id(u128::MAX) }.into(),
        MessageRedacted { message_id: id(u128::MAX - 1) }.into(),
        ReplyPosted {
            id: id(3),
            message_id: id(1),
            author: Author { name: "echo".into(), kind: AuthorKind::Bot, color: Some("#80c0ff".into()) },
            text: "Well … 🎶".repeat(40).into(),
            hops: 1,
            made: Made {
                model: "ollama:llama3.2".into(),
                options: BTreeMap::from([
                    ("temperature".into(), json!(0.25)),
                    ("num_ctx".into(), json!(8_192)),
                    ("stop".into(), json!(["</s>", null, true, -1, { "nested": 1.0e-9 }])),
                ]),
                prompt_sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into(),
                context: vec![id(4), id(5)],
                first_token_ms: Some(180),
                total_ms: 86_400_000,
                deltas: 1_000,
                finish: "length".into(),
                usage: Some(Usage { prompt_tokens: 8_000, completion_tokens: 70_000 }),
                // Added later, and left out where there are none.
                notes: Vec::new(),
            }
            .into(),
        }
        .into(),
        MessageCompleted { message_id: id(1), reply_id: id(3), fence, ms: 4_294_967_296 }.into(),
        LogRepaired {
            node: "node-1.tokyo".into(),
            before: Epoch(0x00f3_1c2b_4d5e_6f70),
            after: fence,
            offered: 100_000,
            again: 99_000,
            refused: vec![
                NotRepaired {
                    kind: "reply.posted".into(),
                    id: Some(id(1)),
                    reason: "the message has ended already: answered ✓".into(),
                },
                NotRepaired { kind: "weather.changed".into(), id: None, reason: "a kind that nobody knows".into() },
            ],
            refused_more: u32::MAX,
        }
        .into(),
        KeyCreated {
            key_id: "e3b0c44298fc".into(),
            worker: "gpu-box.tokyo_1~".into(),
            bots: vec![bot("helper"), bot("echo")],
            key_sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into(),
        }
        .into(),
        KeyRevoked { key_id: "e3b0c44298fc".into() }.into(),
        LogCheckpoint { size: Seq::MAX.0, note: "antiphon/node-1\n5\nAAAA\n\n— antiphon/node-1 AAAA\n".into() }.into(),
        MessageErased { message_id: id(1), positions: vec![Seq(1), Seq::MAX], reply: None }.into(),
    ]
}

fn minimal() -> Vec<Event> {
    let ask = Ask { bot: bot("b"), priority: 0, second: false };
    vec![
        MessagePosted {
            id: id(0),
            author: Author { name: "a".into(), kind: AuthorKind::Human, color: None },
            text: "".into(),
            to: None,
            ask: None,
            reply_to: None,
            hops: 0,
            said_at_ms: None,
        }
        .into(),
        MessageClaimed {
            message_id: id(0),
            reply_id: id(0),
            bot: bot("b"),
            worker: "".into(),
            incarnation: None,
            attempt: 0,
            lease_ms: 0,
        }
        .into(),
        MessageReleased { message_id: id(0), fence: None, reason: "".into(), ask }.into(),
        MessageFailed {
            message_id: id(0),
            fence: Seq(0),
            reason: "".into(),
            attempt: 0,
            retry_at_ms: None,
            away: false,
        }
        .into(),
        MessageDead { message_id: id(0), reason: "".into() }.into(),
        MessageCancelled { message_id: id(0) }.into(),
        MessageRedacted { message_id: id(0) }.into(),
        ReplyPosted {
            id: id(0),
            message_id: id(0),
            author: Author { name: "b".into(), kind: AuthorKind::Bot, color: None },
            text: "".into(),
            hops: 0,
            made: Arc::default(),
        }
        .into(),
        MessageCompleted { message_id: id(0), reply_id: id(0), fence: Seq(0), ms: 0 }.into(),
        LogRepaired {
            node: "".into(),
            before: Epoch(0),
            after: Seq(0),
            offered: 0,
            again: 0,
            refused: vec![],
            refused_more: 0,
        }
        .into(),
        KeyCreated { key_id: "".into(), worker: "".into(), bots: vec![], key_sha256: "".into() }.into(),
        KeyRevoked { key_id: "".into() }.into(),
        LogCheckpoint { size: 0, note: "".into() }.into(),
        MessageErased { message_id: id(0), positions: vec![], reply: None }.into(),
    ]
}

/// Said long before the log took it.
fn imported() -> MessagePosted {
    MessagePosted {
        id: id(6),
        author: Author { name: "will".into(), kind: AuthorKind::Human, color: None },
        text: "hi".into(),
        to: Some(vec![]),
        ask: None,
        reply_to: None,
        hops: 0,
        said_at_ms: Some(1_103_966_100_000),
    }
}

/// A kind of a later version: a map with a field that nobody here knows.
fn unknown() -> Event {
    let data = Bytes::from_static(b"\x82\xa3sky\xa4blue\xa7degrees\x15");
    Event::Unknown(Unknown { kind: "weather.changed".into(), data, subjects: vec![id(8), id(9)] })
}

fn entry(seq: u64, at_ms: u64, room: Option<&str>, salt: [u8; 16], event: Event) -> Entry {
    let header = Header {
        seq: Seq(seq),
        at_ms,
        request: RequestId(Uuid::from_u128(u128::from(seq) << 64 | 0xfeed)),
        kind: event.kind().into(),
        room: room.map(|r| RoomName::new(r).unwrap()),
        subjects: event.subjects(),
        version: VERSION,
    };
    Entry { header, body: Entry::body_of(&event, salt).unwrap(), event }
}

fn id(n: u128) -> MessageId {
    MessageId(Uuid::from_u128(n << 96 | n))
}

fn bot(name: &str) -> BotName {
    BotName::new(name).unwrap()
}
