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
    let body = Body(data);
    match kind {
        "message.posted" => body.posted(),
        "message.claimed" => body.claimed(),
        "reply.posted" => body.reply(),
        "message.completed" => body.completed(),
        _ => None,
    }
}

/// What is left of the body. `None` is "not as we write it".
struct Body<'a>(&'a [u8]);

/// How many fields of a map are still to come.
struct Fields(usize);

impl<'a> Body<'a> {
    fn posted(mut self) -> Option<Event> {
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
        let said_at_ms = match self.field(&mut fields, "said_at_ms") {
            Some(()) => Some(self.number()?),
            None => None,
        };
        self.end(&fields)?;
        Some(Event::MessagePosted(MessagePosted { id, author, text, to, ask, reply_to, hops, said_at_ms }))
    }

    fn claimed(mut self) -> Option<Event> {
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
        self.end(&fields)?;
        Some(Event::MessageClaimed(MessageClaimed {
            message_id,
            reply_id,
            bot,
            worker,
            incarnation,
            attempt,
            lease_ms,
        }))
    }

    fn reply(mut self) -> Option<Event> {
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
        self.end(&fields)?;
        Some(Event::ReplyPosted(ReplyPosted { id, message_id, author, text, hops, made }))
    }

    fn completed(mut self) -> Option<Event> {
        let mut fields = self.map()?;
        self.field(&mut fields, "message_id")?;
        let message_id = self.message_id()?;
        self.field(&mut fields, "reply_id")?;
        let reply_id = self.message_id()?;
        self.field(&mut fields, "fence")?;
        let fence = Seq(self.number()?);
        self.field(&mut fields, "ms")?;
        let ms = self.number()?;
        self.end(&fields)?;
        Some(Event::MessageCompleted(MessageCompleted { message_id, reply_id, fence, ms }))
    }

    /// Nothing is left. The events are made where they are given back, not before this: they are large, and each move counts.
    fn end(&self, fields: &Fields) -> Option<()> {
        (fields.0 == 0 && self.0.is_empty()).then_some(())
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
        let notes = match self.field(&mut fields, "notes") {
            Some(()) => (0..self.array()?).map(|_| self.str().map(Into::into)).collect::<Option<_>>()?,
            None => Vec::new(),
        };
        fields.end(Made {
            model,
            options,
            prompt_sha256,
            context,
            first_token_ms,
            total_ms,
            deltas,
            finish,
            usage,
            notes,
        })
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
mod tests;
