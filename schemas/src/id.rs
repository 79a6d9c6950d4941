//! Ids and names: how each looks, what is refused, and how it is written.
//!
//! Cursor, as given to people and programs (fixed width, so that strings of one epoch sort like positions):
//!
//! ```text
//! 9f3c1a2b4d5e6f70-00-0000000000000042
//! └ epoch, hex ──┘ │  └ seq, decimal ┘
//!                  └ partition
//! ```

use std::{borrow::Borrow, cell::RefCell, fmt, str::FromStr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de};
use uuid::Uuid;

use crate::met::Met;

/// Why a string is not an id or name; a sentence fragment for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// A message's id: any UUID; ours are version 7. Clients may choose it, which makes a repeated post harmless.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub Uuid);

/// The id of one conditional append; a retry after a lost answer finds it among the entries it missed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub Uuid);

macro_rules! uuid_id {
    ($name:ident) => {
        impl $name {
            /// The id as 16 bytes, most significant first (RFC 9562).
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                Uuid::try_parse(text).map(Self).map_err(|_| Invalid("not a UUID"))
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "format": "uuid"})
            }
        }
    };
}
uuid_id!(MessageId);
uuid_id!(RequestId);

/// A position in the log: 1, 2, 3 …, without gaps. 0 is "before the first entry".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first entry.
    pub const ZERO: Seq = Seq(0);
    /// The largest seq: 2^53 - 1, the largest integer that JSON readers keep exactly; it has 16 digits.
    pub const MAX: Seq = Seq((1 << 53) - 1);

    /// The next position.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The random id that a partition gets when it is created; written as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Epoch {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let hex = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let value = hex.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        value.map(Epoch).ok_or(Invalid("not an epoch; it has 16 hex digits"))
    }
}

/// An epoch as text within an event, for `#[serde(with = …)]`: readers of JSON cannot keep 64 bits.
pub(crate) mod epoch_text {
    use super::*;

    pub(crate) fn serialize<S: serde::Serializer>(epoch: &Epoch, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(epoch)
    }

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Epoch, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }

    pub(crate) fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{16}$"})
    }
}

/// A position that can be given out: epoch, partition and seq. Drawn in the module header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cursor {
    /// The log's epoch; a cursor of another epoch is answered with a reset, never a guess.
    pub epoch: Epoch,
    /// The partition; this version has one, number 0.
    pub partition: u8,
    /// The position within the partition.
    pub seq: Seq,
}

impl Cursor {
    /// The partition of every log of this version.
    pub const PARTITION: u8 = 0;

    /// The position `seq` in the log of this epoch. The one place that names a partition, so that a log of many needs its
    /// callers to say which, and the compiler finds them.
    pub const fn new(epoch: Epoch, seq: Seq) -> Cursor {
        Cursor { epoch, partition: Cursor::PARTITION, seq }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:02x}-{:016}", self.epoch, self.partition, self.seq.0)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cursor {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        const WHY: Invalid = Invalid("not a position; use one as the server gave it out");
        let bytes = text.as_bytes();
        if bytes.len() != 36 || !text.is_ascii() || bytes[16] != b'-' || bytes[19] != b'-' {
            return Err(WHY);
        }
        let (epoch, partition, seq) = (&text[..16], &text[17..19], &text[20..]);
        let hex = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hex(partition) || !seq.bytes().all(|b| b.is_ascii_digit()) {
            return Err(WHY);
        }
        let seq = Seq(seq.parse().map_err(|_| WHY)?);
        if seq > Seq::MAX {
            return Err(WHY);
        }
        Ok(Cursor {
            epoch: epoch.parse().map_err(|_| WHY)?,
            partition: u8::from_str_radix(partition, 16).map_err(|_| WHY)?,
            seq,
        })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr, $why:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest name, in characters.
            pub const LEN_MAX: usize = $max;

            /// The name, if it is one.
            ///
            /// # Errors
            /// [`Invalid`] with the rule that it breaks.
            pub fn new(text: &str) -> Result<Self, Invalid> {
                let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
                let fits = (1..=Self::LEN_MAX).contains(&text.len());
                if fits && text.bytes().all(known) && !text.bytes().all(|b| b == b'.') {
                    Ok(Self(text.into()))
                } else {
                    Err(Invalid($why))
                }
            }

            /// The name in these bytes, if it is one, where logs are read: one that this thread has met lately is shared.
            pub(crate) fn met(bytes: &[u8]) -> Option<Self> {
                thread_local!(static MET: RefCell<Met<$name>> = const { RefCell::new(Met::new()) });
                MET.with_borrow_mut(|met| met.get(bytes, |text| Self::new(text).ok()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::new(text)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let pattern = format!("^(?!\\.+$)[A-Za-z0-9._~-]{{1,{}}}$", $max);
                schemars::json_schema!({"type": "string", "pattern": pattern})
            }
        }
    };
}

name!(
    /// A room's name: 1-128 of `A-Z a-z 0-9 . _ ~ -`, not only dots (it is used unescaped in paths and keys).
    RoomName, 128, "a room name has 1-128 of A-Z a-z 0-9 . _ ~ - and is not only dots"
);
name!(
    /// A bot's name: 1-64 of `A-Z a-z 0-9 . _ ~ -`, not only dots.
    BotName, 64, "a bot name has 1-64 of A-Z a-z 0-9 . _ ~ - and is not only dots"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn room_names_are_what_may_stand_in_a_path() {
        for good in ["lobby", "a", "2004-12-25.train-c", "A_b~c.", "..x", &"r".repeat(128)] {
            assert!(RoomName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a\n", "%41", &"r".repeat(129)] {
            assert!(RoomName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_cursor_that_was_not_given_out_is_refused() {
        let good = "9f3c1a2b4d5e6f70-00-0000000000000042";
        assert_eq!(good.parse::<Cursor>().map(|c| c.to_string()).as_deref(), Ok(good));
        for bad in [
            "",
            "0",
            "42",
            &good[1..],
            &good.to_uppercase(),
            "9f3c1a2b4d5e6f70-00-00000000000000+2",
            "9f3c1a2b4d5e6f70_00-0000000000000042",
            "9f3c1a2b4d5e6f70-00-9999999999999999",
            "ééééééééé-00-0000000000000042",
        ] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn cursors_of_one_epoch_sort_like_their_positions(epoch: u64, a in 0..Seq::MAX.0, b in 0..Seq::MAX.0) {
            let cursor = |seq| Cursor::new(Epoch(epoch), Seq(seq));
            prop_assert_eq!(cursor(a).to_string().parse::<Cursor>().ok(), Some(cursor(a)));
            prop_assert_eq!(cursor(a).to_string().cmp(&cursor(b).to_string()), a.cmp(&b));
        }
    }
}
