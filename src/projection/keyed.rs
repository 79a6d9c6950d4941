//! Maps whose keys strangers choose, at a fraction of the cost of std's: a hash of two multiplications for 16 bytes.
//!
//! Ids and names come from clients. What keeps them from choosing keys that all fall together is that each step multiplies
//! by a random number of this process, which no answer of ours tells, neither by its content nor (a step takes as long
//! whatever it mixes) by its time. Equal keys are still told apart by comparison: a hash decides about speed only.
//! Not here: hashes that are stored or sent.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::OnceLock,
};

/// A map with this hash.
pub(super) type KeyedMap<K, V> = HashMap<K, V, Keyed>;

/// The random numbers of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyed {
    start: u64,
    factor: u64,
}

impl Default for Keyed {
    fn default() -> Keyed {
        static OF_PROCESS: OnceLock<Keyed> = OnceLock::new();
        *OF_PROCESS.get_or_init(|| {
            let random = RandomState::new();
            Keyed { start: random.hash_one(0), factor: random.hash_one(1) }
        })
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folding;
    fn build_hasher(&self) -> Folding {
        Folding { state: self.start, factor: self.factor }
    }
}

/// A hash under way.
#[derive(Debug)]
pub(super) struct Folding {
    state: u64,
    factor: u64,
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(16);
        chunks.by_ref().for_each(|chunk| self.fold(u128::from_le_bytes(chunk.try_into().expect("16 bytes"))));
        let rest = chunks.remainder();
        if !rest.is_empty() {
            self.state ^= rest.len() as u64;
            self.fold(short(rest));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.fold(byte.into());
    }

    fn write_usize(&mut self, number: usize) {
        self.fold(number as u128);
    }

    /// Once more: after one step alone, ids that differ in a few of their upper bits may share most of their hash.
    fn finish(&self) -> u64 {
        let mut last = Folding { ..*self };
        last.fold(0);
        last.state
    }
}

/// 1 to 15 bytes, read at their two ends, which overlap: most names are that short, and a copy of unknown length is a call. With
/// their number they say what the bytes are.
fn short(bytes: &[u8]) -> u128 {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << 64;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return u128::from(u32::from_le_bytes(*first)) | u128::from(u32::from_le_bytes(*last)) << 64;
    }
    bytes.iter().fold(0, |all, byte| all << 8 | u128::from(*byte))
}

impl Folding {
    /// Both halves of the product, so that every bit of the result depends on every bit of `bits`.
    fn fold(&mut self, bits: u128) {
        let (low, high) = (bits as u64, (bits >> 64) as u64);
        let product = u128::from(self.state ^ low) * u128::from(self.factor ^ high);
        self.state = product as u64 ^ (product >> 64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The places that 4,096 keys take among as many, which 2,589 do when they fall at random.
    fn places(keys: impl Iterator<Item = u128>) -> [usize; 2] {
        let keyed = Keyed::default();
        let hashes: Vec<u64> =
            keys.map(|key| keyed.hash_one(antiphon_schemas::MessageId(uuid::Uuid::from_u128(key)))).collect();
        assert_eq!(hashes.len(), 4_096);
        [0, 52].map(|shift| hashes.iter().map(|hash| hash >> shift & 0xfff).collect::<HashSet<_>>().len())
    }

    #[test]
    fn ids_that_differ_in_a_few_bits_anywhere_fall_apart() {
        for shift in (0..=116).step_by(4) {
            for places in places((0..4_096).map(|n| n << shift)) {
                assert!(places > 2_300, "{places} places for ids that differ from bit {shift} on");
            }
        }
    }

    #[test]
    fn names_that_end_in_numbers_fall_apart() {
        let keyed = Keyed::default();
        for before in ["", "room-", "a-rather-long-name-of-a-room-"] {
            let hashes = (0..4_096).map(|n| keyed.hash_one(format!("{before}{n}")) & 0xfff);
            assert!(hashes.collect::<HashSet<_>>().len() > 2_300, "{before}");
        }
    }
}
