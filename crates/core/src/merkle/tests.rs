//! Tests of [`crate::merkle`], data-driven, with the attacks on it.

#![expect(clippy::cast_possible_truncation, reason = "test trees are small")]

use proptest::prelude::*;
use tlog_tiles::tlog as peer;

use super::tile::{Tile, WIDTH, push_entry};
use super::*;

fn leaves(count: u64) -> Vec<Digest> {
    (0..count).map(|n| leaf_hash(format!("leaf {n}").as_bytes())).collect()
}

/// Reads nodes straight from the leaves, the slow way.
fn read(leaves: &[Digest]) -> impl FnMut(Node) -> Result<Digest, MerkleError> + '_ {
    move |node| {
        let (first, count) = ((node.index << node.level) as usize, 1_usize << node.level);
        Ok(naive_root(&leaves[first..first + count]))
    }
}

/// RFC 6962's definition, word for word.
fn naive_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let middle = 1 << (leaves.len() - 1).ilog2();
            node_hash(&naive_root(&leaves[..middle]), &naive_root(&leaves[middle..]))
        }
    }
}

/// The peer's hash storage, filled by the peer's own code.
struct PeerStore(Vec<peer::Hash>);

impl peer::HashReader for PeerStore {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<peer::Hash>, peer::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

fn peer_store(count: u64) -> PeerStore {
    let mut store = PeerStore(Vec::new());
    for n in 0..count {
        let hashes = peer::stored_hashes(n, format!("leaf {n}").as_bytes(), &store).unwrap();
        store.0.extend(hashes);
    }
    store
}

fn bytes(hashes: &[peer::Hash]) -> Vec<Digest> {
    hashes.iter().map(|hash| Digest::from_bytes(hash.0)).collect()
}

fn to_peer(hashes: &[Digest]) -> Vec<peer::Hash> {
    hashes.iter().map(|hash| peer::Hash(*hash.as_bytes())).collect()
}

#[test]
fn small_trees_agree_with_the_definition_in_every_proof() {
    let all = leaves(40);
    for size in 0..=40_u64 {
        let these = &all[..size as usize];
        let root = naive_root(these);
        assert_eq!(root_of(these), root, "size {size}");
        assert_eq!(root_at(size, read(these)).unwrap(), root);
        for index in 0..size {
            let proof = inclusion_proof(index, size, read(these)).unwrap();
            verify_inclusion(&all[index as usize], index, size, &proof, &root).unwrap();
        }
        for old in 0..=size {
            let old_root = naive_root(&all[..old as usize]);
            let proof = consistency_proof(old, size, read(these)).unwrap();
            verify_consistency(old, &old_root, size, &root, &proof).unwrap();
        }
        assert!(inclusion_proof(size, size, read(these)).is_err());
        assert!(consistency_proof(size + 1, size, read(these)).is_err());
    }
}

#[test]
fn every_change_of_a_proof_is_refused() {
    let all = leaves(23);
    let root = naive_root(&all);
    for index in 0..23 {
        let leaf = all[index as usize];
        let proof = inclusion_proof(index, 23, read(&all)).unwrap();
        verify_inclusion(&leaf, index, 23, &proof, &root).expect("the control");
        for position in 0..proof.len() {
            let mut changed = proof.clone();
            changed[position] = Digest::of(b"other");
            assert_eq!(verify_inclusion(&leaf, index, 23, &changed, &root), Err(MerkleError::RootMismatch));
            changed.remove(position);
            assert!(verify_inclusion(&leaf, index, 23, &changed, &root).is_err());
        }
        let longer = [proof.clone(), vec![root]].concat();
        assert!(verify_inclusion(&leaf, index, 23, &longer, &root).is_err());
        assert!(verify_inclusion(&Digest::of(b"leaf"), index, 23, &proof, &root).is_err());
        for other in (0..24).filter(|other| *other != index) {
            assert!(verify_inclusion(&leaf, other, 23, &proof, &root).is_err(), "index {index} shown as {other}");
        }
    }
    // an inner node shown as a leaf: the domain byte stops it at the hash of the entry
    let two = node_hash(&all[0], &all[1]);
    assert_ne!(leaf_hash(&[all[0].as_bytes().as_slice(), all[1].as_bytes()].concat()), two);
}

#[test]
fn a_rewritten_log_is_not_consistent() {
    let all = leaves(23);
    let mut rewritten = all.clone();
    rewritten[3] = leaf_hash(b"forged");
    for old in 4..23 {
        let known = naive_root(&all[..old as usize]);
        let honest = consistency_proof(old, 23, read(&all)).unwrap();
        verify_consistency(old, &known, 23, &naive_root(&all), &honest).expect("the control");
        let proof = consistency_proof(old, 23, read(&rewritten)).unwrap();
        assert!(verify_consistency(old, &known, 23, &naive_root(&rewritten), &proof).is_err(), "from {old}");
        assert!(verify_consistency(old, &known, 23, &naive_root(&rewritten), &honest).is_err());
        for position in 0..honest.len() {
            let mut shorter = honest.clone();
            shorter.remove(position);
            assert!(verify_consistency(old, &known, 23, &naive_root(&all), &shorter).is_err());
        }
    }
    let root = naive_root(&all);
    assert_eq!(verify_consistency(23, &leaf_hash(b"x"), 23, &root, &[]), Err(MerkleError::OldRootMismatch));
    assert_eq!(verify_consistency(0, &leaf_hash(b"x"), 23, &root, &[]), Err(MerkleError::OldRootMismatch));
    assert!(verify_consistency(24, &root, 23, &root, &[]).is_err());
}

#[test]
fn paths_are_those_of_the_specification() {
    let cases = [
        (Some(0), 1_234_067, 256, "tile/0/x001/x234/067"),
        (Some(0), 0, 1, "tile/0/000.p/1"),
        (Some(1), 999, 256, "tile/1/999"),
        (None, 1_000, 7, "tile/entries/x001/000.p/7"),
        (Some(2), 273, 255, "tile/2/273.p/255"),
    ];
    for (level, index, width, path) in cases {
        let tile = Tile { level, index, width };
        assert_eq!(tile.path(), path);
        assert_eq!(Tile::parse(path), Some(tile));
    }
    for path in [
        "tile/0/0",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/x000/000",
        "tile/00/000",
        "tile/0/+01",
        "tile/0/000/",
        "tile/0/x001",
        "tile/0/001/001",
        "tile//000",
        "tile/entries/",
        "tile/0/000.p/",
        "tile/entry/000",
        "/tile/0/000",
        "tile/0/../000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
    ] {
        assert_eq!(Tile::parse(path), None, "{path}");
    }
}

#[test]
fn the_tiles_of_a_tree() {
    let paths = |size| Tile::all(size).map(|tile| tile.path()).collect::<Vec<_>>();
    assert!(paths(0).is_empty());
    assert_eq!(paths(1), ["tile/entries/000.p/1", "tile/0/000.p/1"]);
    assert_eq!(paths(256), ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(paths(70_000).len(), 274 + 274 + 2 + 1);
    assert!(paths(70_000).contains(&"tile/2/000.p/1".to_owned()));
    assert_eq!(Tile::in_tree(Some(0), 1, 256), None);
    assert_eq!(Tile::in_tree(Some(7), 0, u64::MAX).unwrap().width, 255);
}

#[test]
fn bundles_of_entries_read_back_and_lies_are_refused() {
    let mut bytes = Vec::new();
    let long = vec![7; 65_535];
    for entry in [b"a".as_slice(), b"", &long] {
        push_entry(&mut bytes, entry).unwrap();
    }
    let tile = Tile { level: None, index: 0, width: 3 };
    assert_eq!(tile.entries(&bytes).unwrap(), [b"a".as_slice(), b"", &long]);
    for cut in [1, 2, 3, 4, 5, 6, bytes.len() - 1] {
        assert!(tile.entries(&bytes[..cut]).is_err(), "{cut}");
    }
    assert!(Tile { width: 2, ..tile }.entries(&bytes).is_err());
    assert_eq!(push_entry(&mut bytes, &[0; 65_536]), Err(MerkleError::EntryTooLong { bytes: 65_536 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn proofs_equal_the_peers_and_are_accepted_there(size in 1..1_500_u64, seed in any::<u64>()) {
        let (all, store) = (leaves(size), peer_store(size));
        let root = root_of(&all);
        prop_assert_eq!(root, Digest::from_bytes(peer::tree_hash(size, &store).unwrap().0));
        let index = seed % size;
        let proof = inclusion_proof(index, size, read(&all)).unwrap();
        prop_assert_eq!(&proof, &bytes(&peer::prove_record(size, index, &store).unwrap()));
        let leaf = peer::Hash(*all[index as usize].as_bytes());
        let peer_root = peer::Hash(*root.as_bytes());
        prop_assert!(peer::check_record(&to_peer(&proof), size, peer_root, index, leaf).is_ok());
        let old = seed % size + 1;
        let proof = consistency_proof(old, size, read(&all)).unwrap();
        prop_assert_eq!(&proof, &bytes(&peer::prove_tree(size, old, &store).unwrap()));
        let old_root = root_of(&all[..old as usize]);
        prop_assert!(verify_consistency(old, &old_root, size, &root, &proof).is_ok());
    }

    #[test]
    fn nodes_read_from_tiles_prove_the_same(size in 1..70_000_u64, seed in any::<u64>()) {
        let all: Vec<Digest> = (0..size).map(|n| Digest::of(&n.to_be_bytes())).collect();
        let mut frontier = Frontier::default();
        let mut levels: Vec<Vec<Digest>> = vec![all.clone()];
        while let Some(row) = levels.last().filter(|row| row.len() as u64 >= WIDTH) {
            levels.push(row.as_chunks::<256>().0.iter().map(|full| naive_root(full)).collect());
        }
        all.iter().for_each(|leaf| frontier.push(*leaf));
        let mut from_tiles = |node| -> Result<Digest, MerkleError> {
            let tile = Tile::of_node(node, size).unwrap();
            let row = &levels[usize::from(tile.level.unwrap())];
            let first = (tile.index * WIDTH) as usize;
            let bytes: Vec<u8> =
                row[first..first + usize::from(tile.width)].iter().flat_map(|hash| *hash.as_bytes()).collect();
            tile.node(&bytes, node)
        };
        let root = root_at(size, &mut from_tiles).unwrap();
        prop_assert_eq!(root, frontier.root());
        let peak_hashes = peaks(size).into_iter().map(&mut from_tiles).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(&Frontier::new(size, peak_hashes).unwrap(), &frontier);
        let index = seed % size;
        let proof = inclusion_proof(index, size, &mut from_tiles).unwrap();
        prop_assert!(verify_inclusion(&all[index as usize], index, size, &proof, &root).is_ok());
        let old = seed % (size + 1);
        let proof = consistency_proof(old, size, &mut from_tiles).unwrap();
        let old_root = root_of(&all[..old as usize]);
        prop_assert!(verify_consistency(old, &old_root, size, &root, &proof).is_ok());
    }

    #[test]
    fn paths_equal_the_peers(level in 0..8_u8, index in 0..(1_u64 << 40), width in 1..=256_u16) {
        let ours = Tile { level: Some(level), index, width };
        let theirs = tlog_tiles::tile::Tile::new(8, level, index, u32::from(width), false).path();
        // the peer writes Go's older form, with the height in front
        prop_assert_eq!(ours.path().replacen("tile/", "tile/8/", 1), theirs);
        prop_assert_eq!(Tile::parse(&ours.path()), Some(ours));
    }
}
