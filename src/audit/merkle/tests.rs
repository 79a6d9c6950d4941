//! Trees and proofs against the definitions of RFC 6962.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// The definition in RFC 6962, 2.1.
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

/// As in RFC 6962, 2.1.1.
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

/// As in RFC 6962, 2.1.2.
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
    assert!(!verify_inclusion(&three, 0, 0, &[], &empty) && !verify_inclusion(&three, u64::MAX, u64::MAX, &[], &three));
}
