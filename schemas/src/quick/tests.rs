//! The quick way reads what the general one reads, and nothing else.

use bytes::Bytes;
use proptest::{option, prelude::*};
use serde_json::json;

use super::*;

fn message_id() -> impl Strategy<Value = MessageId> {
    any::<u128>().prop_map(|n| MessageId(Uuid::from_u128(n)))
}

fn bot() -> impl Strategy<Value = BotName> {
    "[A-Za-z0-9_~-]{1,64}".prop_map(|name| BotName::new(&name).unwrap())
}

/// Of every length that MessagePack writes in another way.
fn text() -> impl Strategy<Value = Arc<str>> {
    ("\\PC{0,20}", prop::sample::select(vec![1, 1, 1, 10, 100, 4_000]))
        .prop_map(|(text, times)| text.repeat(times).into())
}

/// Of every length that MessagePack writes in another way.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(n, shift)| n >> shift)
}

fn author() -> impl Strategy<Value = Author> {
    let kind = prop::sample::select(vec![AuthorKind::Human, AuthorKind::Bot]);
    (text(), kind, option::of(text())).prop_map(|(name, kind, color)| Author { name, kind, color })
}

fn made() -> impl Strategy<Value = Made> {
    let options =
        prop::sample::select(vec![json!({}), json!({"a": 1}), json!({"b": [null, -1.5, {"c": "d"}], "e": true})]);
    let usage = option::of((number(), number()));
    let context = prop::collection::vec(message_id(), 0..40);
    let notes = prop::collection::vec(text(), 0..3);
    (text(), options, text(), context, option::of(number()), number(), any::<u32>(), text(), usage, notes).prop_map(
        |(model, options, prompt_sha256, context, first_token_ms, total_ms, deltas, finish, usage, notes)| Made {
            model,
            options: serde_json::from_value(options).unwrap(),
            prompt_sha256,
            context,
            first_token_ms,
            total_ms,
            deltas,
            finish,
            usage: usage.map(|(prompt_tokens, completion_tokens)| Usage { prompt_tokens, completion_tokens }),
            notes,
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    let ask = (bot(), any::<u8>(), any::<bool>()).prop_map(|(bot, priority, second)| Ask { bot, priority, second });
    let to = option::of(prop::collection::vec(bot(), 0..20));
    let ends = (option::of(message_id()), any::<u8>(), option::of(number()));
    let posted = (message_id(), author(), text(), to, option::of(ask), ends).prop_map(
        |(id, author, text, to, ask, (reply_to, hops, said_at_ms))| {
            MessagePosted { id, author, text, to, ask, reply_to, hops, said_at_ms }.into()
        },
    );
    let incarnation = option::of(any::<u128>().prop_map(Uuid::from_u128));
    let claimed = (message_id(), message_id(), bot(), text(), incarnation, any::<u32>(), number()).prop_map(
        |(message_id, reply_id, bot, worker, incarnation, attempt, lease_ms)| {
            MessageClaimed { message_id, reply_id, bot, worker, incarnation, attempt, lease_ms }.into()
        },
    );
    let reply = (message_id(), message_id(), author(), text(), any::<u8>(), made()).prop_map(
        |(id, message_id, author, text, hops, made)| {
            ReplyPosted { id, message_id, author, text, hops, made: made.into() }.into()
        },
    );
    let completed = (message_id(), message_id(), number(), number()).prop_map(|(message_id, reply_id, fence, ms)| {
        MessageCompleted { message_id, reply_id, fence: Seq(fence), ms }.into()
    });
    prop_oneof![posted, claimed, reply, completed]
}

/// What is done to bytes that were once an event's.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<u8>()), 1..4)
}

/// Whether serde gives the same wherever this gives something.
fn agrees(kind: &str, data: Vec<u8>) -> Result<bool, TestCaseError> {
    let data = Bytes::from(data);
    let Some(event) = decode(kind, &data) else { return Ok(false) };
    prop_assert_eq!(Some(event), Event::decode_any(kind, &data, &[]).ok());
    Ok(true)
}

proptest! {
    #[test]
    fn what_this_version_writes_is_read_without_serde_and_as_serde_reads_it(event in events()) {
        let data = event.encode().unwrap();
        prop_assert_eq!(decode(event.kind(), &data), Some(event.clone()));
        prop_assert_eq!(Event::decode_any(event.kind(), &data, &[]).unwrap(), event);
    }

    #[test]
    fn damaged_bytes_are_given_up_on_or_read_as_serde_reads_them(event in events(), damage in damage()) {
        let mut data = event.encode().unwrap().to_vec();
        for (at, what, byte) in damage {
            if data.is_empty() {
                break;
            }
            let at = at.index(data.len());
            match what {
                0 => data.truncate(at),
                1 => data.insert(at, byte),
                2 => drop(data.remove(at)),
                _ => data[at] = byte,
            }
        }
        for kind in ["message.posted", "message.claimed", "reply.posted", "message.completed"] {
            agrees(kind, data.clone())?;
        }
    }
}

/// Each byte of a short event in all its values, which no random damage is sure to hit: heads, lengths, counts.
#[test]
fn every_byte_may_be_any_other() {
    let id = MessageId(Uuid::nil());
    let author = Author { name: "n".into(), kind: AuthorKind::Bot, color: None };
    let ask = Ask { bot: BotName::new("b").unwrap(), priority: 5, second: true };
    let posted = MessagePosted {
        id,
        author: author.clone(),
        text: "t".into(),
        to: Some(vec![ask.bot.clone()]),
        ask: Some(ask.clone()),
        reply_to: None,
        hops: 1,
        said_at_ms: Some(70_000),
    };
    let claimed = MessageClaimed {
        message_id: id,
        reply_id: id,
        bot: ask.bot,
        worker: "w".into(),
        incarnation: None,
        attempt: 1,
        lease_ms: 300,
    };
    let made = Made { context: vec![id], first_token_ms: Some(1), ..Made::default() };
    let reply = ReplyPosted { id, message_id: id, author, text: "t".into(), hops: 1, made: made.into() };
    let completed = MessageCompleted { message_id: id, reply_id: id, fence: Seq(1), ms: 70_000 };
    let mut read = 0;
    for event in [Event::from(posted), claimed.into(), reply.into(), completed.into()] {
        let data = event.encode().unwrap().to_vec();
        for (at, byte) in (0..data.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
            let mut changed = data.clone();
            changed[at] = byte;
            read += usize::from(agrees(event.kind(), changed).unwrap());
        }
    }
    assert!(read > 10_000, "most other bytes of ids and texts are as good: {read}");
}
