//! Reads the bodies of which a log is full: posts, claims, replies and completions, as this version writes them.
//!
//! Promise: what is given is what serde gives for the same bytes. Everything else (fields in another order, missing, or of
//! a later version; numbers and strings in other forms; damage) is given up on, and serde says what it is.
//! Not here: writing, and all other kinds (`event`).

use std::{collections::BTreeMap, io::Cursor, sync::Arc};

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    event::{
        Ask, Author, AuthorKind, Event, Made, MessageClaimed, MessageCompleted, MessagePosted, ReplyPosted, Usage, word,
    },
    id::{BotName, MessageId, Seq},
    pack::DEPTH_MAX,
};

/// Maps in which the options stand: a reply's, and that of how it was made.
const OPTIONS_DEPTH: usize = 2;

/// The event of `kind` with this body, if it is one of those.
pub(crate) fn decode(kind: &str, data: &[u8]) -> Option<Event> {
    let mut body = Body(data);
    let event = match kind {
        "message.posted" => body.posted()?.into(),
        "message.claimed" => body.claimed()?.into(),
        "reply.posted" => body.reply()?.into(),
        "message.completed" => body.completed()?.into(),
        _ => return None,
    };
    body.0.is_empty().then_some(event)
}

/// What is left of the body. `None` is "not as we write it".
struct Body<'a>(&'a [u8]);

/// How many fields of a map are still to come.
struct Fields(usize);

impl<'a> Body<'a> {
    fn posted(&mut self) -> Option<MessagePosted> {
        let mut fields = self.map()?;
        self.field(&mut fields, "id")?;
        let id = self.message_id()?;
        self.field(&mut fields, "author")?;
        let author = self.author(|name| Some(std::str::from_utf8(name).ok()?.into()))?;
        self.field(&mut fields, "text")?;
        let text = self.str()?.into();
        let to = match self.field(&mut fields, "to") {
            Some(()) => Some((0..self.array()?).map(|_| self.bot()).collect::<Option<_>>()?),
            None => None,
        };
        let ask = match self.field(&mut fields, "ask") {
            Some(()) => Some(self.ask()?),
            None => None,
        };
        let reply_to = match self.field(&mut fields, "reply_to") {
            Some(()) => Some(self.message_id()?),
            None => None,
        };
        self.field(&mut fields, "hops")?;
        let hops = self.number()?;
        fields.end(MessagePosted { id, author, text, to, ask, reply_to, hops })
    }

    fn claimed(&mut self) -> Option<MessageClaimed> {
        let mut fields = self.map()?;
        self.field(&mut fields, "message_id")?;
        let message_id = self.message_id()?;
        self.field(&mut fields, "reply_id")?;
        let reply_id = self.message_id()?;
        self.field(&mut fields, "bot")?;
        let bot = self.bot()?;
        self.field(&mut fields, "worker")?;
        let worker = word(self.bytes()?)?;
        let incarnation = match self.field(&mut fields, "incarnation") {
            Some(()) => Some(self.uuid()?),
            None => None,
        };
        self.field(&mut fields, "attempt")?;
        let attempt = self.number()?;
        self.field(&mut fields, "lease_ms")?;
        let lease_ms = self.number()?;
        fields.end(MessageClaimed { message_id, reply_id, bot, worker, incarnation, attempt, lease_ms })
    }

    fn reply(&mut self) -> Option<ReplyPosted> {
        let mut fields = self.map()?;
        self.field(&mut fields, "id")?;
        let id = self.message_id()?;
        self.field(&mut fields, "message_id")?;
        let message_id = self.message_id()?;
        self.field(&mut fields, "author")?;
        let author = self.author(word)?;
        self.field(&mut fields, "text")?;
        let text = self.str()?.into();
        self.field(&mut fields, "hops")?;
        let hops = self.number()?;
        self.field(&mut fields, "made")?;
        let made = Arc::new(self.made()?);
        fields.end(ReplyPosted { id, message_id, author, text, hops, made })
    }

    fn completed(&mut self) -> Option<MessageCompleted> {
        let mut fields = self.map()?;
        self.field(&mut fields, "message_id")?;
        let message_id = self.message_id()?;
        self.field(&mut fields, "reply_id")?;
        let reply_id = self.message_id()?;
        self.field(&mut fields, "fence")?;
        let fence = Seq(self.number()?);
        self.field(&mut fields, "ms")?;
        let ms = self.number()?;
        fields.end(MessageCompleted { message_id, reply_id, fence, ms })
    }

    fn author(&mut self, name: impl FnOnce(&[u8]) -> Option<Arc<str>>) -> Option<Author> {
        let mut fields = self.map()?;
        self.field(&mut fields, "name")?;
        let name = name(self.bytes()?)?;
        self.field(&mut fields, "kind")?;
        let kind = match self.bytes()? {
            b"human" => AuthorKind::Human,
            b"bot" => AuthorKind::Bot,
            _ => return None,
        };
        let color = match self.field(&mut fields, "color") {
            Some(()) => Some(self.str()?.into()),
            None => None,
        };
        fields.end(Author { name, kind, color })
    }

    fn ask(&mut self) -> Option<Ask> {
        let mut fields = self.map()?;
        self.field(&mut fields, "bot")?;
        let bot = self.bot()?;
        self.field(&mut fields, "priority")?;
        let priority = self.number()?;
        self.field(&mut fields, "second")?;
        let second = match self.byte()? {
            0xc2 => false,
            0xc3 => true,
            _ => return None,
        };
        fields.end(Ask { bot, priority, second })
    }

    fn made(&mut self) -> Option<Made> {
        let mut fields = self.map()?;
        self.field(&mut fields, "model")?;
        let model = word(self.bytes()?)?;
        let options = match self.field(&mut fields, "options") {
            Some(()) => self.options()?,
            None => BTreeMap::new(),
        };
        self.field(&mut fields, "prompt_sha256")?;
        let prompt_sha256 = self.str()?.into();
        self.field(&mut fields, "context")?;
        let context = (0..self.array()?).map(|_| self.message_id()).collect::<Option<_>>()?;
        let first_token_ms = match self.field(&mut fields, "first_token_ms") {
            Some(()) => Some(self.number()?),
            None => None,
        };
        self.field(&mut fields, "total_ms")?;
        let total_ms = self.number()?;
        self.field(&mut fields, "deltas")?;
        let deltas = self.number()?;
        self.field(&mut fields, "finish")?;
        let finish = word(self.bytes()?)?;
        let usage = match self.field(&mut fields, "usage") {
            Some(()) => Some(self.usage()?),
            None => None,
        };
        fields.end(Made { model, options, prompt_sha256, context, first_token_ms, total_ms, deltas, finish, usage })
    }

    fn usage(&mut self) -> Option<Usage> {
        let mut fields = self.map()?;
        self.field(&mut fields, "prompt_tokens")?;
        let prompt_tokens = self.number()?;
        self.field(&mut fields, "completion_tokens")?;
        let completion_tokens = self.number()?;
        fields.end(Usage { prompt_tokens, completion_tokens })
    }

    /// Any JSON, which only serde reads.
    fn options(&mut self) -> Option<BTreeMap<String, Value>> {
        let mut reader = rmp_serde::Deserializer::new(Cursor::new(self.0));
        reader.set_max_depth(DEPTH_MAX - OPTIONS_DEPTH);
        let options = BTreeMap::deserialize(&mut reader).ok()?;
        let read = usize::try_from(reader.position()).ok()?;
        self.0 = self.0.get(read..)?;
        Some(options)
    }

    /// Goes past the name of a field, if that is what comes next and its map still has one. Always inlined: to compare
    /// with a known name is a few instructions, and there are ten in an entry.
    #[inline(always)]
    fn field(&mut self, fields: &mut Fields, name: &str) -> Option<()> {
        let (&len, rest) = self.0.split_first()?;
        if usize::from(len) != 0xa0 | name.len() || fields.0 == 0 {
            return None;
        }
        self.0 = rest.strip_prefix(name.as_bytes())?;
        fields.0 -= 1;
        Some(())
    }

    #[inline]
    fn map(&mut self) -> Option<Fields> {
        let head = self.byte()?;
        (head & 0xf0 == 0x80).then(|| Fields(usize::from(head & 0x0f)))
    }

    /// How many elements come.
    fn array(&mut self) -> Option<usize> {
        Some(match self.byte()? {
            head @ 0x90..=0x9f => usize::from(head & 0x0f),
            0xdc => usize::from(u16::from_be_bytes(self.chunk()?)),
            _ => return None,
        })
    }

    fn bot(&mut self) -> Option<BotName> {
        BotName::met(self.bytes()?)
    }

    #[inline]
    fn message_id(&mut self) -> Option<MessageId> {
        self.uuid().map(MessageId)
    }

    #[inline]
    fn uuid(&mut self) -> Option<Uuid> {
        self.0 = self.0.strip_prefix(&[0xc4, 16])?;
        self.chunk().map(Uuid::from_bytes)
    }

    fn str(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The bytes of a string.
    #[inline]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = match self.byte()? {
            head @ 0xa0..=0xbf => usize::from(head & 0x1f),
            0xd9 => usize::from(self.byte()?),
            0xda => usize::from(u16::from_be_bytes(self.chunk()?)),
            0xdb => usize::try_from(u32::from_be_bytes(self.chunk()?)).ok()?,
            _ => return None,
        };
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(text)
    }

    #[inline]
    fn number<N: TryFrom<u64>>(&mut self) -> Option<N> {
        let number = match self.byte()? {
            number @ 0..=0x7f => u64::from(number),
            0xcc => u64::from(self.byte()?),
            0xcd => u64::from(u16::from_be_bytes(self.chunk()?)),
            0xce => u64::from(u32::from_be_bytes(self.chunk()?)),
            0xcf => u64::from_be_bytes(self.chunk()?),
            _ => return None,
        };
        number.try_into().ok()
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*chunk)
    }
}

impl Fields {
    /// What was read, if its map had no other field.
    fn end<T>(&self, read: T) -> Option<T> {
        (self.0 == 0).then_some(read)
    }
}

#[cfg(test)]
mod tests {
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
        (text(), options, text(), context, option::of(number()), number(), any::<u32>(), text(), usage).prop_map(
            |(model, options, prompt_sha256, context, first_token_ms, total_ms, deltas, finish, usage)| Made {
                model,
                options: serde_json::from_value(options).unwrap(),
                prompt_sha256,
                context,
                first_token_ms,
                total_ms,
                deltas,
                finish,
                usage: usage.map(|(prompt_tokens, completion_tokens)| Usage { prompt_tokens, completion_tokens }),
            },
        )
    }

    fn events() -> impl Strategy<Value = Event> {
        let ask = (bot(), any::<u8>(), any::<bool>()).prop_map(|(bot, priority, second)| Ask { bot, priority, second });
        let to = option::of(prop::collection::vec(bot(), 0..20));
        let posted = (message_id(), author(), text(), to, option::of(ask), option::of(message_id()), any::<u8>())
            .prop_map(|(id, author, text, to, ask, reply_to, hops)| {
                MessagePosted { id, author, text, to, ask, reply_to, hops }.into()
            });
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
        let completed =
            (message_id(), message_id(), number(), number()).prop_map(|(message_id, reply_id, fence, ms)| {
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
}
