//! A persistent hash map: a clone costs one `Arc` and shares everything; a change after it copies only the nodes on the path to
//! its key.
//!
//! ```text
//! root: branch of 16 ─▶ branch of 16 ─▶ leaf: one entry              4 bits of the key's hash at each step
//! ```
//!
//! An entry has a leaf of its own: to find it among a million costs the few cache lines of its path and its own, and nothing
//! is looked through or moved when others come and go.
//!
//! Promises (checked against `HashMap`): a clone never changes; no change copies more than `COPIED_MAX` nodes and entries, at any
//! size, and none ever rehashes the whole map.
//! Not here: any order.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
    iter,
    mem::{replace, take},
    slice,
    sync::Arc,
};

use super::{keyed::Keyed, looks::look};

/// Bits of the hash that choose among the nodes below a branch.
const BITS: u32 = 4;
const FAN: usize = 1 << BITS;
/// Levels until the hash has no bits left: entries with equal hashes share a leaf, however many they are.
const DEPTH_MAX: u32 = u64::BITS / BITS;
/// What a change copies at most: all branches above a leaf, and its entry. Of a million entries most have five branches above them.
#[cfg(test)]
pub(super) const COPIED_MAX: u64 = DEPTH_MAX as u64 * FAN as u64 + 1;

/// The map.
#[derive(Debug, Clone)]
pub(super) struct Trie<K, V> {
    root: Node<K, V>,
    len: usize,
}

#[derive(Debug, Default)]
enum Node<K, V> {
    #[default]
    Nothing,
    Leaf(Arc<Leaf<K, V>>),
    Branch(Arc<[Node<K, V>; FAN]>),
}

#[derive(Debug, Clone)]
struct Leaf<K, V> {
    entry: (K, V),
    /// Others whose hashes are equal to the last bit: none but by a wonder.
    equal: Vec<(K, V)>,
}

impl<K, V> Clone for Node<K, V> {
    fn clone(&self) -> Node<K, V> {
        match self {
            Node::Nothing => Node::Nothing,
            Node::Leaf(leaf) => Node::Leaf(leaf.clone()),
            Node::Branch(below) => Node::Branch(below.clone()),
        }
    }
}

impl<K, V> Node<K, V> {
    fn is_nothing(&self) -> bool {
        matches!(self, Node::Nothing)
    }
}

impl<K, V> Leaf<K, V> {
    fn entries(&self) -> impl Iterator<Item = &(K, V)> {
        iter::once(&self.entry).chain(&self.equal)
    }

    fn entries_mut(&mut self) -> impl Iterator<Item = &mut (K, V)> {
        iter::once(&mut self.entry).chain(&mut self.equal)
    }
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Trie<K, V> {
        Trie { root: Node::Nothing, len: 0 }
    }
}

impl<K: Eq + Hash, V: PartialEq> PartialEq for Trie<K, V> {
    fn eq(&self, other: &Trie<K, V>) -> bool {
        self.len == other.len && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: Eq + Hash, V> Trie<K, V> {
    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The value of a key.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        look(1);
        let (mut node, mut rest) = (&self.root, hash(key));
        loop {
            match node {
                Node::Nothing => return None,
                Node::Leaf(leaf) => return leaf.entries().find(|(k, _)| k.borrow() == key).map(|(_, value)| value),
                Node::Branch(below) => node = &below[step(&mut rest)],
            }
        }
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> Iter<'_, K, V> {
        Iter { nodes: vec![&self.root], equal: [].iter() }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Trie<K, V> {
    /// The value of a key, to be changed.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (mut node, mut rest) = (&mut self.root, hash(key));
        loop {
            match node {
                Node::Nothing => return None,
                Node::Leaf(leaf) => return own(leaf, 1).entries_mut().find(|(k, _)| k == key).map(|(_, value)| value),
                Node::Branch(below) => node = &mut own(below, FAN)[step(&mut rest)],
            }
        }
    }

    /// Sets the value of a key; what it was before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (mut node, mut rest, mut depth) = (&mut self.root, hash(&key), 0);
        loop {
            match node {
                Node::Branch(below) => {
                    node = &mut own(below, FAN)[step(&mut rest)];
                    depth += 1;
                }
                Node::Nothing => {
                    *node = Node::Leaf(Arc::new(Leaf { entry: (key, value), equal: Vec::new() }));
                    self.len += 1;
                    return None;
                }
                Node::Leaf(leaf) if leaf.entry.0 == key || depth == DEPTH_MAX => {
                    let leaf = own(leaf, 1);
                    if let Some((_, known)) = leaf.entries_mut().find(|(k, _)| *k == key) {
                        return Some(replace(known, value));
                    }
                    leaf.equal.push((key, value));
                    self.len += 1;
                    return None;
                }
                Node::Leaf(leaf) => {
                    let mut other = hash(&leaf.entry.0) >> (BITS * depth);
                    let mut below = [const { Node::Nothing }; FAN];
                    below[step(&mut other)] = take(node);
                    *node = Node::Branch(Arc::new(below));
                }
            }
        }
    }

    /// Takes a key out, with its value.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let taken = remove(&mut self.root, hash(key), key)?;
        self.len -= 1;
        Some(taken)
    }
}

/// Drops empty branches, too.
fn remove<K: Clone + Eq + Hash, V: Clone>(node: &mut Node<K, V>, mut rest: u64, key: &K) -> Option<V> {
    match node {
        Node::Nothing => None,
        Node::Leaf(leaf) if leaf.equal.is_empty() => {
            if leaf.entry.0 != *key {
                return None;
            }
            let Node::Leaf(leaf) = take(node) else { return None };
            Some(Arc::unwrap_or_clone(leaf).entry.1)
        }
        Node::Leaf(leaf) => {
            let at = leaf.entries().position(|(k, _)| k == key)?;
            let Leaf { entry, equal } = own(leaf, 1);
            let taken = match at.checked_sub(1) {
                Some(at) => equal.swap_remove(at),
                None => replace(entry, equal.pop()?),
            };
            Some(taken.1)
        }
        Node::Branch(below) => {
            let nodes = own(below, FAN);
            let next = &mut nodes[step(&mut rest)];
            let taken = remove(next, rest, key)?;
            if next.is_nothing() && nodes.iter().all(Node::is_nothing) {
                *node = Node::Nothing;
            }
            Some(taken)
        }
    }
}

fn hash<Q: Hash + ?Sized>(key: &Q) -> u64 {
    Keyed::default().hash_one(key)
}

/// The place in a branch, and what is left of the hash.
fn step(rest: &mut u64) -> usize {
    let at = *rest as usize % FAN;
    *rest >>= BITS;
    at
}

/// Makes something mutable: copies it, which is so many looks, if a clone of the map shares it.
fn own<T: Clone>(shared: &mut Arc<T>, looks: usize) -> &mut T {
    if cfg!(test) && Arc::strong_count(shared) > 1 {
        look(looks);
    }
    Arc::make_mut(shared)
}

/// [`Trie::iter`].
#[derive(Debug)]
pub(super) struct Iter<'a, K, V> {
    nodes: Vec<&'a Node<K, V>>,
    equal: slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        loop {
            if let Some((key, value)) = self.equal.next() {
                look(1);
                return Some((key, value));
            }
            match self.nodes.pop()? {
                Node::Nothing => {}
                Node::Leaf(leaf) => {
                    look(1);
                    self.equal = leaf.equal.iter();
                    return Some((&leaf.entry.0, &leaf.entry.1));
                }
                Node::Branch(below) => self.nodes.extend(below.iter()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::projection::looks;

    /// What is done to a map.
    #[derive(Debug, Clone)]
    enum Act {
        Put { from: u16, count: u16 },
        Change { from: u16, count: u16 },
        Remove { from: u16, count: u16 },
        Clone,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let keys = || (0..600u16, 1..300u16);
        let act = prop_oneof![
            4 => keys().prop_map(|(from, count)| Act::Put { from, count }),
            2 => keys().prop_map(|(from, count)| Act::Change { from, count }),
            4 => keys().prop_map(|(from, count)| Act::Remove { from, count }),
            2 => Just(Act::Clone),
        ];
        proptest::collection::vec(act, 1..20)
    }

    fn is_same(trie: &Trie<u16, usize>, map: &HashMap<u16, usize>) -> Result<(), TestCaseError> {
        prop_assert_eq!(trie.len(), map.len());
        prop_assert_eq!(&trie.iter().map(|(key, value)| (*key, *value)).collect::<HashMap<_, _>>(), map);
        for key in (0..1_000).step_by(13) {
            prop_assert_eq!(trie.get(&key), map.get(&key));
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(crate::decide::tests::config())]

        #[test]
        fn it_is_a_map_and_what_a_clone_holds_never_changes_under_it(acts in acts()) {
            let (mut trie, mut map, mut clones) = (Trie::default(), HashMap::new(), Vec::new());
            for (n, act) in acts.into_iter().enumerate() {
                match act {
                    Act::Put { from, count } => for key in from..from + count {
                        prop_assert_eq!(trie.insert(key, n), map.insert(key, n));
                    },
                    Act::Change { from, count } => for key in from..from + count {
                        let known = trie.get_mut(&key);
                        prop_assert_eq!(known.as_deref(), map.get(&key));
                        known.into_iter().for_each(|value| *value += 1_000);
                        map.get_mut(&key).into_iter().for_each(|value| *value += 1_000);
                    },
                    Act::Remove { from, count } => for key in from..from + count {
                        prop_assert_eq!(trie.remove(&key), map.remove(&key));
                    },
                    Act::Clone => clones.push((trie.clone(), map.clone())),
                }
                is_same(&trie, &map)?;
            }
            for (trie, map) in &clones {
                is_same(trie, map)?;
            }
            for (other, map_of_other) in &clones {
                prop_assert_eq!(trie == *other, map == *map_of_other);
            }
            for key in map.keys() {
                trie.remove(key);
            }
            prop_assert!(trie.root.is_nothing(), "nothing is left of what it grew to");
        }
    }

    /// A key whose hash is that of all others.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Alike(u32);

    impl Hash for Alike {
        fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
    }

    #[test]
    fn keys_whose_hashes_are_equal_are_told_apart() {
        let mut trie = Trie::default();
        for key in 0..5 {
            assert_eq!(trie.insert(Alike(key), key), None);
        }
        assert_eq!(trie.insert(Alike(3), 30), Some(3));
        let clone = trie.clone();
        // The first of them, one between and the last.
        for (left, key, value) in [(4, 0, 0), (3, 3, 30), (2, 4, 4)] {
            assert_eq!(trie.remove(&Alike(key)), Some(value));
            assert_eq!((trie.remove(&Alike(key)), trie.len()), (None, left));
        }
        assert_eq!(trie.iter().map(|(_, value)| *value).sum::<u32>(), 1 + 2);
        *trie.get_mut(&Alike(2)).unwrap() = 20;
        assert_eq!([1, 2, 3].map(|key| trie.get(&Alike(key)).copied()), [Some(1), Some(20), None]);
        assert_eq!([1, 2, 3].map(|key| clone.get(&Alike(key)).copied()), [Some(1), Some(2), Some(30)]);
    }

    #[test]
    fn after_a_clone_a_change_copies_a_few_nodes_of_a_hundred_thousand_entries() {
        let mut trie: Trie<u64, u64> = Trie::default();
        for key in 0..100_000 {
            trie.insert(key, key);
        }
        for key in (0..1_000_000).step_by(7_919) {
            let clone = trie.clone();
            let before = looks::so_far();
            let known = match key % 3 {
                0 => trie.remove(&key),
                1 => trie.get_mut(&key).map(|value| *value),
                _ => trie.insert(key, 0),
            };
            assert_eq!(known, (key < 100_000).then_some(key));
            assert!(looks::so_far() - before <= COPIED_MAX, "{}", looks::so_far() - before);
            drop(clone);
        }
    }
}
