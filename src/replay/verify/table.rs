//! What is kept of every message while a log is verified: one word each.
//!
//! Promise: at most 64 bytes a message, also while the table grows. Ids are kept as keyed 64-bit hashes: two messages that
//! share one would be taken for the same, by chance once in a billion logs of ten million messages, and by nobody's intent,
//! because the key is random in each run.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
};

use antiphon_schemas::MessageId;

/// A message's state. Only what remains after its end; while it is open there is more (`rules`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// It asks nobody, or it is a reply.
    None,
    /// It waits, is held, or is to be tried again.
    Open,
    /// It has its answer.
    Answered,
    /// No answer, and no further try.
    Failed,
    /// Given up.
    Dead,
    /// No longer wanted.
    Cancelled,
}

/// A message in one word: its state (3 bits), redacted, erased, its room's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

const REDACTED: u64 = 1 << 3;
const ERASED: u64 = 1 << 4;
const ROOM_SHIFT: u32 = 32;

impl Word {
    pub(super) fn new(stands: Stands, room: u32) -> Word {
        Word(stands as u64 | u64::from(room) << ROOM_SHIFT)
    }

    pub(super) fn stands(self) -> Stands {
        match self.0 & 7 {
            0 => Stands::None,
            1 => Stands::Open,
            2 => Stands::Answered,
            3 => Stands::Failed,
            4 => Stands::Dead,
            _ => Stands::Cancelled,
        }
    }

    pub(super) fn room(self) -> u32 {
        (self.0 >> ROOM_SHIFT) as u32
    }

    pub(super) fn is_redacted(self) -> bool {
        self.0 & REDACTED != 0
    }

    pub(super) fn is_erased(self) -> bool {
        self.0 & ERASED != 0
    }

    pub(super) fn stand(&mut self, stands: Stands) {
        self.0 = self.0 & !7 | stands as u64;
    }

    pub(super) fn redact(&mut self) {
        self.0 |= REDACTED;
    }

    pub(super) fn erase(&mut self) {
        self.0 |= ERASED;
    }
}

/// Takes a hash for what it is.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The messages of a log.
#[derive(Debug, Default)]
pub(super) struct Table {
    key: RandomState,
    words: HashMap<u64, Word, BuildHasherDefault<Hashed>>,
}

impl Table {
    pub(super) fn get(&self, id: &MessageId) -> Option<Word> {
        self.words.get(&self.key.hash_one(id)).copied()
    }

    pub(super) fn get_mut(&mut self, id: &MessageId) -> Option<&mut Word> {
        self.words.get_mut(&self.key.hash_one(id))
    }

    /// Puts a message in; `false` if there was one of its id, which stays.
    pub(super) fn put(&mut self, id: &MessageId, word: Word) -> bool {
        match self.words.entry(self.key.hash_one(id)) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(word);
                true
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// Bytes that it takes, as its capacity says.
    pub(super) fn bytes(&self) -> usize {
        // The word, its key and a byte of control for each place; a seventh of the places stays free.
        self.words.capacity() * 8 / 7 * (size_of::<(u64, Word)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_what_it_is_told() {
        let all = [Stands::None, Stands::Open, Stands::Answered, Stands::Failed, Stands::Dead, Stands::Cancelled];
        for (from, to) in all.into_iter().flat_map(|from| all.map(|to| (from, to))) {
            let mut word = Word::new(from, u32::MAX);
            assert_eq!(
                (word.stands(), word.room(), word.is_redacted(), word.is_erased()),
                (from, u32::MAX, false, false)
            );
            word.redact();
            word.stand(to);
            assert_eq!((word.stands(), word.room(), word.is_redacted(), word.is_erased()), (to, u32::MAX, true, false));
            word.erase();
            assert!(word.is_erased());
        }
    }

    #[test]
    fn a_message_takes_at_most_64_bytes_even_while_the_table_grows() {
        let mut table = Table::default();
        let (mut before, mut worst) = (0, 0.0_f64);
        for n in 1..=300_000_u64 {
            assert!(table.put(&MessageId(uuid::Uuid::from_u128(u128::from(n))), Word::new(Stands::None, 0)));
            let bytes = table.bytes();
            // While it grows the old one and the new one are there.
            let peak = if bytes == before { bytes } else { bytes + before };
            before = bytes;
            if n > 1_000 {
                worst = worst.max(peak as f64 / n as f64);
            }
        }
        assert_eq!(table.len(), 300_000);
        assert!(worst <= 64.0, "{worst:.1} bytes");
    }
}
