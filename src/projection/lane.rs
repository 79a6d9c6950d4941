//! A lane: messages in the order of the entries that put them there, and each one's rank.
//!
//! Sorted blocks of at most [`BLOCK_MAX`]: nearly every message arrives last and leaves first, which touches one block; a rank is
//! a sum over the blocks before, some 2,000 numbers on a lane of a million.
//!
//! Promises (checked against `BTreeMap`): two neighbouring blocks hold more than half of [`BLOCK_MAX`] together, whatever was
//! removed, so there are at most four times as many blocks as needed.

use std::collections::VecDeque;

use antiphon_schemas::{MessageId, Seq};

use super::looks::look;

/// Messages of a block: moving half of one is as quick as finding it.
const BLOCK_MAX: usize = 512;

type Block = VecDeque<(Seq, MessageId)>;

/// The lane.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    /// None of them is empty, but for the only one.
    blocks: VecDeque<Block>,
    len: usize,
}

impl Lane {
    /// How many are on it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is on it.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first.
    pub(super) fn first(&self) -> Option<MessageId> {
        self.blocks.front()?.front().map(|(_, id)| *id)
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Seq, MessageId)> + use<'_> {
        self.blocks.iter().flatten().copied().inspect(|_| look(1))
    }

    /// How many stand before this place, whether or not somebody is there.
    pub(super) fn rank(&self, seq: Seq) -> usize {
        let Some(at) = self.block_of(seq) else { return 0 };
        // Lengths in a row: 32 of them are read as quickly as one message somewhere.
        look(1 + at / 32);
        let before: usize = self.blocks.range(..at).map(Block::len).sum();
        before + self.blocks[at].partition_point(|(place, _)| *place < seq)
    }

    /// Puts a message at its place.
    pub(super) fn insert(&mut self, seq: Seq, id: MessageId) {
        let Some(at) = self.block_of(seq) else {
            self.blocks.push_back(Block::from([(seq, id)]));
            self.len = 1;
            return;
        };
        let is_last = at + 1 == self.blocks.len();
        let block = &mut self.blocks[at];
        let place = match block.back() {
            Some((last, _)) if *last >= seq => block.partition_point(|(place, _)| *place < seq),
            _ => block.len(),
        };
        if let Some((known, here)) = block.get_mut(place)
            && *known == seq
        {
            *here = id;
            return;
        }
        self.len += 1;
        if block.len() < BLOCK_MAX {
            block.insert(place, (seq, id));
        } else if is_last && place == BLOCK_MAX {
            self.blocks.push_back(Block::from([(seq, id)]));
        } else {
            let mut upper = block.split_off(BLOCK_MAX / 2);
            match place.checked_sub(BLOCK_MAX / 2) {
                Some(place) => upper.insert(place, (seq, id)),
                None => block.insert(place, (seq, id)),
            }
            self.blocks.insert(at + 1, upper);
        }
    }

    /// Takes out who is at a place.
    pub(super) fn remove(&mut self, seq: Seq) {
        let Some(at) = self.block_of(seq) else { return };
        let block = &mut self.blocks[at];
        let Ok(place) = block.binary_search_by_key(&seq, |(place, _)| *place) else { return };
        block.remove(place);
        self.len -= 1;
        if block.len() <= BLOCK_MAX / 2 {
            self.join(at);
            self.join(at.saturating_sub(1));
        }
    }

    /// Makes one of a block and the next, if they are small.
    fn join(&mut self, at: usize) {
        let fits = |next: &Block| self.blocks[at].len() + next.len() <= BLOCK_MAX / 2;
        if self.blocks.get(at + 1).is_some_and(fits)
            && let Some(mut next) = self.blocks.remove(at + 1)
        {
            self.blocks[at].append(&mut next);
        } else if self.blocks[at].is_empty() && self.blocks.len() > 1 {
            self.blocks.remove(at);
        }
    }

    /// The block in which a place is: the last that begins at or before it, else the first. `None` if there is none.
    fn block_of(&self, seq: Seq) -> Option<usize> {
        let last = self.blocks.len().checked_sub(1)?;
        let begins_before = |block: &Block| block.front().is_some_and(|(first, _)| *first <= seq);
        if begins_before(&self.blocks[last]) {
            return Some(last);
        }
        if self.blocks[0].back().is_some_and(|(end, _)| *end >= seq) {
            return Some(0);
        }
        Some(self.blocks.partition_point(begins_before).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn id(n: u64) -> MessageId {
        MessageId(Uuid::from_u128(n.into()))
    }

    /// Mostly at the end and from the front, as messages come and go; sometimes anywhere.
    #[derive(Debug, Clone)]
    enum Act {
        Last(usize),
        TakeFirst(usize),
        At(u64),
        Take { from: u64, count: u64 },
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            3 => (1..900usize).prop_map(Act::Last),
            2 => (1..900usize).prop_map(Act::TakeFirst),
            2 => (0..3_000u64).prop_map(Act::At),
            2 => (0..3_000u64, 1..900u64).prop_map(|(from, count)| Act::Take { from, count }),
        ];
        proptest::collection::vec(act, 1..12)
    }

    proptest! {
        #![proptest_config(crate::decide::tests::config())]

        #[test]
        fn it_is_a_sorted_map_that_knows_ranks_and_has_few_blocks(acts in acts()) {
            let (mut lane, mut map) = (Lane::default(), BTreeMap::new());
            for act in acts {
                match act {
                    Act::Last(count) => for _ in 0..count {
                        let seq = Seq(map.last_key_value().map_or(1, |(seq, _): (&Seq, _)| seq.0 + 2));
                        lane.insert(seq, id(seq.0));
                        map.insert(seq, id(seq.0));
                    },
                    Act::TakeFirst(count) => for _ in 0..count {
                        let Some((seq, _)) = map.pop_first() else { break };
                        lane.remove(seq);
                    },
                    Act::At(seq) => {
                        lane.insert(Seq(seq), id(seq + 1));
                        map.insert(Seq(seq), id(seq + 1));
                    }
                    Act::Take { from, count } => for seq in from..from + count {
                        lane.remove(Seq(seq));
                        map.remove(&Seq(seq));
                    },
                }
                prop_assert_eq!((lane.len(), lane.is_empty()), (map.len(), map.is_empty()));
                prop_assert_eq!(lane.first(), map.first_key_value().map(|(_, id)| *id));
                prop_assert!(lane.iter().eq(map.iter().map(|(seq, id)| (*seq, *id))));
                let lens: Vec<_> = lane.blocks.iter().map(Block::len).collect();
                prop_assert!(lens.iter().all(|len| *len <= BLOCK_MAX));
                prop_assert!(lens.len() == 1 || !lens.contains(&0));
                prop_assert!(lens.windows(2).all(|two| two[0] + two[1] > BLOCK_MAX / 2), "{lens:?}");
            }
            let end = map.last_key_value().map_or(0, |(seq, _)| seq.0);
            for seq in (0..end + 2).step_by(7).map(Seq) {
                prop_assert_eq!(lane.rank(seq), map.range(..seq).count());
            }
        }

        #[test]
        fn in_whatever_order_they_come_they_stand_in_their_order(seqs in proptest::collection::vec(0..10_000u64, 0..3_000)) {
            let (mut lane, mut map) = (Lane::default(), BTreeMap::new());
            for seq in seqs {
                lane.insert(Seq(seq), id(seq));
                map.insert(Seq(seq), id(seq));
            }
            prop_assert!(lane.iter().eq(map.into_iter()));
        }
    }
}
