//! The subjects of an entry: nearly always one or two, stored inline.

use std::{fmt, ops::Deref};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::id::MessageId;

/// The most that any kind of ours has.
const INLINE: usize = 2;
const NOBODY: MessageId = MessageId(Uuid::nil());

/// Message ids in order; reads as a slice of them.
#[derive(Clone)]
pub struct Subjects(Held);

#[derive(Clone)]
enum Held {
    Few(u8, [MessageId; INLINE]),
    Many(Box<[MessageId]>),
}

impl Deref for Subjects {
    type Target = [MessageId];
    fn deref(&self) -> &[MessageId] {
        match &self.0 {
            Held::Few(count, ids) => &ids[..usize::from(*count)],
            Held::Many(ids) => ids,
        }
    }
}

impl Subjects {
    /// All of them.
    pub fn as_slice(&self) -> &[MessageId] {
        self
    }
}

impl FromIterator<MessageId> for Subjects {
    fn from_iter<I: IntoIterator<Item = MessageId>>(ids: I) -> Subjects {
        let mut ids = ids.into_iter();
        let (mut few, mut count) = ([NOBODY; INLINE], 0);
        while let Some(id) = ids.next() {
            match few.get_mut(usize::from(count)) {
                Some(place) => *place = id,
                None => return Subjects(Held::Many(few.into_iter().chain([id]).chain(ids).collect())),
            }
            count += 1;
        }
        Subjects(Held::Few(count, few))
    }
}

impl From<&[MessageId]> for Subjects {
    fn from(ids: &[MessageId]) -> Subjects {
        ids.iter().copied().collect()
    }
}

impl From<Vec<MessageId>> for Subjects {
    fn from(ids: Vec<MessageId>) -> Subjects {
        ids.into_iter().collect()
    }
}

impl<const N: usize> From<[MessageId; N]> for Subjects {
    fn from(ids: [MessageId; N]) -> Subjects {
        ids.into_iter().collect()
    }
}

impl IntoIterator for Subjects {
    type Item = MessageId;
    type IntoIter = std::vec::IntoIter<MessageId>;
    fn into_iter(self) -> Self::IntoIter {
        Vec::from(self.as_slice()).into_iter()
    }
}

impl<'a> IntoIterator for &'a Subjects {
    type Item = &'a MessageId;
    type IntoIter = std::slice::Iter<'a, MessageId>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Subjects {
    fn eq(&self, other: &Subjects) -> bool {
        **self == **other
    }
}

impl Eq for Subjects {}

impl Serialize for Subjects {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_slice().serialize(serializer)
    }
}

impl fmt::Debug for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_there_are_they_read_as_they_were_given() {
        for count in 0..6_u128 {
            let ids: Vec<_> = (1..=count).map(|n| MessageId(Uuid::from_u128(n))).collect();
            let subjects = Subjects::from(ids.clone());
            assert_eq!((subjects.as_slice(), &subjects), (&*ids, &Subjects::from(&*ids)));
            assert!(subjects.into_iter().eq(ids));
        }
        let [one, two] = [1, 2].map(|n| MessageId(Uuid::from_u128(n)));
        assert_ne!(Subjects::from([one]), Subjects::from([one, two]));
    }
}
