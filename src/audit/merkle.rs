//! The Merkle tree of RFC 6962 (and 9162) over leaf hashes: root, proofs, and a compact range that grows leaf by leaf.
//!
//! ```text
//! root of n leaves:  n = 0: SHA-256("") │ n = 1: the leaf │ else node(root of the first k, root of the rest),
//!                    k the largest power of two below n;  node(l, r) = SHA-256(1 ‖ l ‖ r)
//! ```
//!
//! Promises: pure; leaves are given as they are (`Stored::leaf` has hashed them already); memory is O(log n) for whatever is
//! made here; a proof that does not fit is answered `false`, however malformed it is.
//! Not here: what a leaf is (`antiphon_schemas::entry`), what is signed (`checkpoint`), files (`store`).

use sha2::{Digest, Sha256};

/// A leaf, a node or a root.
pub type Hash = [u8; 32];

/// Perfect subtrees of one range: one a bit of its size.
const TREES_MAX: usize = 64;

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [0; 65];
    bytes[0] = 1;
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// The tree over the first leaves of a log, as far as it is needed to grow: the roots of its perfect subtrees.
///
/// Shape: as many hashes as its size has bits set. Cost of a leaf: one hash of two nodes on average, no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    /// The largest first; those beyond the bits of `size` are zeros.
    trees: [Hash; TREES_MAX],
}

impl Default for CompactRange {
    fn default() -> CompactRange {
        CompactRange { size: 0, trees: [[0; 32]; TREES_MAX] }
    }
}

impl CompactRange {
    /// The tree over no leaves.
    pub fn new() -> CompactRange {
        CompactRange::default()
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the next leaf.
    pub fn append(&mut self, leaf: Hash) {
        let mut depth = self.depth();
        let mut tree = leaf;
        // Two trees of one size are one of the next: as in adding 1 to a binary number.
        for _ in 0..self.size.trailing_ones() {
            depth -= 1;
            tree = node(&self.trees[depth], &tree);
            self.trees[depth] = [0; 32];
        }
        self.trees[depth] = tree;
        self.size += 1;
    }

    /// The root over its leaves.
    pub fn root(&self) -> Hash {
        let trees = &self.trees[..self.depth()];
        let Some((smallest, larger)) = trees.split_last() else { return Sha256::digest([]).into() };
        larger.iter().rev().fold(*smallest, |root, tree| node(tree, &root))
    }

    /// Size (u64, little-endian), then the subtrees.
    pub fn to_bytes(&self) -> Vec<u8> {
        let trees = self.trees[..self.depth()].iter().flatten().copied();
        self.size.to_le_bytes().into_iter().chain(trees).collect()
    }

    /// What [`CompactRange::to_bytes`] has written; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<CompactRange> {
        let (size, rest) = bytes.split_first_chunk()?;
        let mut range = CompactRange { size: u64::from_le_bytes(*size), ..CompactRange::default() };
        let (trees, odd) = rest.as_chunks();
        if !odd.is_empty() || trees.len() != range.depth() {
            return None;
        }
        range.trees[..trees.len()].copy_from_slice(trees);
        Some(range)
    }

    fn depth(&self) -> usize {
        self.size.count_ones() as usize
    }
}

impl Extend<Hash> for CompactRange {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.append(leaf));
    }
}

/// The root over these leaves.
pub fn root_of(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut range = CompactRange::new();
    range.extend(leaves);
    range.root()
}

/// The largest power of two below `size`: where RFC 6962 splits a tree of two leaves or more.
fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// Root over the leaves from `start` up to `end`.
fn subtree<E>(start: u64, end: u64, leaf: &mut impl FnMut(u64) -> Result<Hash, E>) -> Result<Hash, E> {
    let mut range = CompactRange::new();
    for index in start..end {
        range.append(leaf(index)?);
    }
    Ok(range.root())
}

/// Proves that the leaf with this index (from 0) is one of the first `size`: the siblings on its way up, the lowest first.
///
/// Cost: reads each other leaf once, a run of neighbours at a time.
///
/// # Errors
/// What `leaf` says when it cannot give one.
///
/// # Panics
/// If there is no such leaf: `index` is not below `size`.
pub fn inclusion_proof<E>(index: u64, size: u64, mut leaf: impl FnMut(u64) -> Result<Hash, E>) -> Result<Vec<Hash>, E> {
    assert!(index < size, "leaf {index} of a tree of {size}");
    let (mut start, mut end, mut proof) = (0, size, Vec::new());
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(subtree(middle, end, &mut leaf)?);
            end = middle;
        } else {
            proof.push(subtree(start, middle, &mut leaf)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` has this index among the `size` leaves under `root`. Source: RFC 9162, 2.1.3.2.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut found) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            found = node(sibling, &found);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            found = node(&found, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && found == *root
}

/// Proves that the first `old` of `new` leaves are those of an earlier tree of that size.
///
/// Empty if the sizes are equal, or `old` is 0: every tree extends the empty one.
/// Cost: reads each leaf once, a run of neighbours at a time.
///
/// # Errors
/// What `leaf` says when it cannot give one.
///
/// # Panics
/// If `old` is greater than `new`.
pub fn consistency_proof<E>(old: u64, new: u64, mut leaf: impl FnMut(u64) -> Result<Hash, E>) -> Result<Vec<Hash>, E> {
    assert!(old <= new, "a tree of {old} cannot go on as one of {new}");
    let (mut start, mut end, mut proof) = (0, new, Vec::new());
    if old == 0 || old == new {
        return Ok(proof);
    }
    // The subtree that holds the end of the old tree, from the whole one down to where it ends there exactly.
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(subtree(middle, end, &mut leaf)?);
            end = middle;
        } else {
            proof.push(subtree(start, middle, &mut leaf)?);
            start = middle;
        }
    }
    if start > 0 {
        // Else it is the old root itself, which the verifier has.
        proof.push(subtree(start, end, &mut leaf)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that the tree of `new_size` leaves extends that of `old_size`. Source: RFC 9162, 2.1.4.2.
pub fn verify_consistency(old_size: u64, old_root: &Hash, new_size: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return proof.is_empty() && *old_root == root_of([]);
    }
    // A tree of a power of two is a subtree of the new one: its root is the first hash, and is not sent.
    let (first, rest) = match proof.split_first() {
        _ if old_size.is_power_of_two() => (old_root, proof),
        Some(split) => split,
        None => return false,
    };
    let (mut at, mut last) = (old_size - 1, new_size - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            (old, new) = (node(sibling, &old), node(sibling, &new));
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new = node(&new, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old == *old_root && new == *new_root
}

#[cfg(test)]
mod tests;
