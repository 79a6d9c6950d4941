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

/// The tree over the first leaves of a log, as far as it is needed to go on: the roots of its perfect subtrees.
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

    /// So many leaves it has.
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
/// Empty if the sizes are equal, or `old` is 0: every tree goes on from the empty one.
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
        // Else it is the old root itself, which whoever verifies has.
        proof.push(subtree(start, end, &mut leaf)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that the tree of `new_size` leaves goes on from that of `old_size`. Source: RFC 9162, 2.1.4.2.
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
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// The definition, as it stands in RFC 6962, 2.1.
    fn naive(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at((leaves.len().next_power_of_two() / 2).max(1));
                node(&naive(left), &naive(right))
            }
        }
    }

    /// As it stands in RFC 6962, 2.1.1.
    fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return vec![];
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(k);
        let (mut path, sibling) = match index < k {
            true => (naive_path(index, left), naive(right)),
            false => (naive_path(index - k, right), naive(left)),
        };
        path.push(sibling);
        path
    }

    /// As it stands in RFC 6962, 2.1.2.
    fn naive_consistency(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if whole { vec![] } else { vec![naive(leaves)] };
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(k);
        let (mut proof, sibling) = match old <= k {
            true => (naive_consistency(old, left, whole), naive(right)),
            false => (naive_consistency(old - k, right, false), naive(left)),
        };
        proof.push(sibling);
        proof
    }

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n).map(|i| Sha256::digest(i.to_le_bytes()).into()).collect()
    }

    fn of(leaves: &[Hash]) -> impl FnMut(u64) -> Result<Hash, Infallible> {
        |index| Ok(leaves[index as usize])
    }

    fn hex(hash: &Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The eight leaves that Certificate Transparency's own tests use, and the roots over the first 0, 1 … 8 of them.
    #[test]
    fn the_known_trees_have_their_known_roots() {
        let data: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let leaves = data.map(|data| Sha256::new().chain_update([0]).chain_update(data).finalize().into());
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(hex(&root_of(leaves[..size].iter().copied())), *root, "{size} leaves");
        }
    }

    proptest! {
        #[test]
        fn root_and_proofs_are_those_of_the_definition(size in 1_usize..200, a: prop::sample::Index, b: prop::sample::Index) {
            let leaves = leaves(size);
            let root = root_of(leaves.iter().copied());
            prop_assert_eq!(root, naive(&leaves));

            let index = a.index(size);
            let proof = inclusion_proof(index as u64, size as u64, of(&leaves)).unwrap();
            prop_assert_eq!(&proof, &naive_path(index, &leaves));
            prop_assert!(verify_inclusion(&leaves[index], index as u64, size as u64, &proof, &root));

            let old = b.index(size) + 1;
            let old_root = naive(&leaves[..old]);
            let proof = consistency_proof(old as u64, size as u64, of(&leaves)).unwrap();
            prop_assert_eq!(&proof, &naive_consistency(old, &leaves, true));
            prop_assert!(verify_consistency(old as u64, &old_root, size as u64, &root, &proof));
        }

        #[test]
        fn whatever_is_changed_in_a_proof_it_no_longer_holds(
            size in 2_usize..100, a: prop::sample::Index, b: prop::sample::Index, at: prop::sample::Index, bit in 0..8_u8,
        ) {
            let leaves = leaves(size);
            let (n, root) = (size as u64, root_of(leaves.iter().copied()));
            let flipped = |hashes: &[Hash]| {
                let mut hashes = hashes.to_vec();
                let place = at.index(hashes.len() * 32);
                hashes[place / 32][place % 32] ^= 1 << bit;
                hashes
            };
            let (index, leaf) = (a.index(size) as u64, leaves[a.index(size)]);
            let proof = inclusion_proof(index, n, of(&leaves)).unwrap();
            let holds = |leaf: &Hash, index, proof: &[Hash], root: &Hash| verify_inclusion(leaf, index, n, proof, root);
            prop_assert!(!holds(&leaf, index, &flipped(&proof), &root));
            prop_assert!(!holds(&flipped(&[leaf])[0], index, &proof, &root));
            prop_assert!(!holds(&leaf, index, &proof, &flipped(&[root])[0]));
            prop_assert!(!holds(&leaf, (index + 1) % n, &proof, &root));
            prop_assert!(!holds(&leaf, index, &proof[1..], &root));
            prop_assert!(!holds(&leaf, index, &[&proof[..], &[root]].concat(), &root));

            let old = b.index(size - 1) + 1;
            let (old, old_root) = (old as u64, naive(&leaves[..old]));
            let proof = consistency_proof(old, n, of(&leaves)).unwrap();
            let holds = |old_root: &Hash, root: &Hash, proof: &[Hash]| verify_consistency(old, old_root, n, root, proof);
            prop_assert!(!holds(&old_root, &root, &flipped(&proof)));
            prop_assert!(!holds(&flipped(&[old_root])[0], &root, &proof));
            prop_assert!(!holds(&old_root, &flipped(&[root])[0], &proof));
            prop_assert!(!holds(&old_root, &root, &proof[1..]));
            prop_assert!(!holds(&old_root, &root, &[&proof[..], &[root]].concat()));
        }

        #[test]
        fn a_range_that_was_put_away_goes_on_as_if_it_had_not(size in 0_usize..100, more in 0_usize..20) {
            let leaves = leaves(size + more);
            let mut range = CompactRange::new();
            range.extend(leaves[..size].iter().copied());
            let bytes = range.to_bytes();
            prop_assert!(CompactRange::from_bytes(&bytes[..bytes.len() - 1]).is_none());
            let mut range = CompactRange::from_bytes(&bytes).unwrap();
            range.extend(leaves[size..].iter().copied());
            prop_assert_eq!((range.size(), range.root()), ((size + more) as u64, naive(&leaves)));
        }
    }

    #[test]
    fn every_tree_goes_on_from_the_empty_one_and_none_backwards() {
        let (empty, three) = (root_of([]), root_of(leaves(3)));
        assert!(verify_consistency(0, &empty, 3, &three, &[]) && verify_consistency(3, &three, 3, &three, &[]));
        assert!(!verify_consistency(0, &three, 3, &three, &[]) && !verify_consistency(3, &three, 0, &empty, &[]));
        assert!(!verify_consistency(3, &three, 3, &empty, &[]) && !verify_consistency(3, &three, 3, &three, &[three]));
        assert!(
            !verify_inclusion(&three, 0, 0, &[], &empty) && !verify_inclusion(&three, u64::MAX, u64::MAX, &[], &three)
        );
    }
}
