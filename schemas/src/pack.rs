//! MessagePack from anywhere: read with a bound on how deep it nests.
//!
//! Promise: no bytes overflow the stack of a thread, 2 MiB, whatever they are. `rmp_serde::from_slice` alone goes 1,024 levels
//! deep, also into fields that it only passes over, which is more than that stack holds.
//! Not here: writing.

use rmp_serde::decode::Error;
use serde::Deserialize;

/// Levels of maps and lists. Incoming JSON has at most 128 (`serde_json`), and is nested a few levels deeper here.
pub const DEPTH_MAX: usize = 160;

/// The value that `bytes` begin with; what follows it is not looked at.
///
/// # Errors
/// If it is not of this type, or nests deeper than [`DEPTH_MAX`].
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut reader)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use crate::{
        Event, MessageId,
        event::{Author, AuthorKind, KeyRevoked, Made, ReplyPosted},
        quick,
    };

    /// A list in a list in a list …
    fn nested(levels: usize) -> Vec<u8> {
        [vec![0x91; levels - 1], vec![0x90]].concat()
    }

    /// A reply with `value` as its only option.
    fn reply_with_option(value: &[u8]) -> Bytes {
        let id = MessageId(Uuid::nil());
        let author = Author { name: "n".into(), kind: AuthorKind::Bot, color: None };
        let made = Made { options: [("nested".to_owned(), "here".into())].into(), ..Made::default() };
        let reply = ReplyPosted { id, message_id: id, author, text: "t".into(), hops: 1, made: made.into() };
        let bytes = Event::from(reply).encode().unwrap();
        let at = bytes.windows(5).position(|bytes| bytes == b"\xa4here").unwrap();
        [&bytes[..at], value, &bytes[at + 5..]].concat().into()
    }

    #[test]
    fn values_that_nest_too_deep_are_refused_before_the_stack_overflows() {
        let read = |levels| super::from_slice::<serde_json::Value>(&nested(levels)).is_ok();
        assert!(read(super::DEPTH_MAX - 1) && !read(super::DEPTH_MAX + 1) && !read(100_000));
        // Also where they are only passed over.
        let field = [b"\x81\xa1x", &*nested(100_000)].concat();
        assert!(super::from_slice::<KeyRevoked>(&field).is_err());
    }

    #[test]
    fn the_quick_reader_nests_exactly_as_deep_as_serde() {
        let mut read = 0;
        for levels in 100..200 {
            let data = reply_with_option(&nested(levels));
            let serde = Event::decode_any("reply.posted", &data, &[]).ok();
            assert!(quick::decode("reply.posted", &data) == serde, "{levels} levels");
            read += usize::from(serde.is_some());
        }
        assert!(read > 28 && read < 100, "JSON's 128 levels and not all: {read}");
    }
}
