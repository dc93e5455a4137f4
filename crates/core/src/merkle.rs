//! RFC 6962 Merkle trees: hashes, proofs and their verification, over whatever holds the hashes.
//!
//! in: leaf hashes, or a function that reads the hash of a perfect subtree; out: roots, proofs, verdicts.
//! **Invariant:** pure arithmetic; nothing here trusts a proof before its whole path has been hashed.
//!
//! Tiles, their paths and entry bundles (C2SP tlog-tiles v0.1.0) are in [`tile`].

use crate::digest::{Digest, Hasher};

pub mod tile;

/// Why a proof does not hold or cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
    /// The index or size asked for is not in the tree.
    #[error("{what} {asked} is outside a tree of {size} leaves")]
    OutOfRange {
        /// `leaf` or `size`.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// Leaves there are.
        size: u64,
    },
    /// A proof with too many or too few hashes.
    #[error("the proof has {got} hashes, which does not fit the tree")]
    ProofLength {
        /// Hashes in the proof.
        got: usize,
    },
    /// The proof leads to another root.
    #[error("the proof leads to another root than the checkpoint's")]
    RootMismatch,
    /// The proof starts from another root than the one known before.
    #[error("the proof does not start from the root known before: the log was rewritten")]
    OldRootMismatch,
    /// Bytes that are no tile of that width.
    #[error("tile `{path}` is malformed: {reason}")]
    Tile {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry too long for a log.
    #[error("an entry of {bytes} bytes does not fit a log: the limit is 65535")]
    EntryTooLong {
        /// Its length.
        bytes: usize,
    },
}

/// SHA256(0x00 ‖ entry), RFC 6962 §2.1.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[0]);
    hasher.update(entry);
    hasher.finish()
}

/// SHA256(0x01 ‖ left ‖ right), RFC 6962 §2.1.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[1]);
    hasher.update(left.as_bytes());
    hasher.update(right.as_bytes());
    hasher.finish()
}

/// The root of the empty tree: SHA256 of nothing.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// The root over all leaf hashes.
#[must_use]
pub fn root_of(leaves: &[Digest]) -> Digest {
    let mut frontier = Frontier::default();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier.root()
}

/// A perfect subtree: leaves `index << level` up to `(index + 1) << level`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Node {
    /// Height above the leaves.
    pub level: u8,
    /// Position at that height.
    pub index: u64,
}

/// The right edge of a growing tree: the roots of the perfect subtrees it consists of, largest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The edge of a tree of `size` leaves whose peaks (see [`peaks`]) are given, largest first.
    pub fn new(size: u64, peaks: Vec<Digest>) -> Result<Self, MerkleError> {
        if usize::try_from(size.count_ones()).is_ok_and(|expected| expected == peaks.len()) {
            Ok(Self { size, peaks })
        } else {
            Err(MerkleError::ProofLength { got: peaks.len() })
        }
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next leaf hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root now.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
    }
}

/// The largest power of two below `n`; `n` is at least 2.
fn split(n: u64) -> u64 {
    1 << n.saturating_sub(1).max(1).ilog2()
}

/// The perfect subtrees a tree of `size` leaves consists of, largest first.
#[must_use]
pub fn peaks(size: u64) -> Vec<Node> {
    range_nodes(0, size)
}

/// The perfect subtrees that cover `[low, high)`, left to right; `low` is aligned as in RFC 6962's recursion.
fn range_nodes(mut low: u64, high: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    while low < high {
        let level = (high - low).ilog2();
        nodes.push(Node { level: u8::try_from(level).unwrap_or(63), index: low >> level });
        low += 1 << level;
    }
    nodes
}

fn range_hash<E>(low: u64, high: u64, read: &mut impl FnMut(Node) -> Result<Digest, E>) -> Result<Digest, E> {
    let mut hash: Option<Digest> = None;
    for node in range_nodes(low, high).into_iter().rev() {
        let left = read(node)?;
        hash = Some(hash.map_or(left, |right| node_hash(&left, &right)));
    }
    Ok(hash.unwrap_or_else(empty_root))
}

/// The root of the tree of `size` leaves, from the hashes that `read` gives.
pub fn root_at<E>(size: u64, mut read: impl FnMut(Node) -> Result<Digest, E>) -> Result<Digest, E> {
    range_hash(0, size, &mut read)
}

/// The audit path of leaf `index` in the tree of `size` leaves, from the leaf upwards (RFC 6962 §2.1.1).
pub fn inclusion_proof<E: From<MerkleError>>(
    index: u64,
    size: u64,
    mut read: impl FnMut(Node) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    if index >= size {
        return Err(MerkleError::OutOfRange { what: "leaf", asked: index, size }.into());
    }
    let (mut low, mut high) = (0, size);
    let mut siblings = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            siblings.push((middle, high));
            high = middle;
        } else {
            siblings.push((low, middle));
            low = middle;
        }
    }
    siblings.into_iter().rev().map(|(low, high)| range_hash(low, high, &mut read)).collect()
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 6962 §2.1.2).
/// Empty if `old` is 0 or equals `new`.
pub fn consistency_proof<E: From<MerkleError>>(
    old: u64,
    new: u64,
    mut read: impl FnMut(Node) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    if old > new {
        return Err(MerkleError::OutOfRange { what: "size", asked: old, size: new }.into());
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut low, mut high) = (0, new);
    let mut ranges = Vec::new();
    while high != old {
        let middle = low + split(high - low);
        if old <= middle {
            ranges.push((middle, high));
            high = middle;
        } else {
            ranges.push((low, middle));
            low = middle;
        }
    }
    if low > 0 {
        ranges.push((low, high));
    }
    ranges.into_iter().rev().map(|(low, high)| range_hash(low, high, &mut read)).collect()
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with `root` (RFC 9162 §2.1.3.2).
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, proof: &[Digest], root: &Digest) -> Result<(), MerkleError> {
    if index >= size {
        return Err(MerkleError::OutOfRange { what: "leaf", asked: index, size });
    }
    let mut walk = Walk { node: index, last: size - 1 };
    let mut hash = *leaf;
    for sibling in proof {
        hash = match walk.step() {
            None => return Err(MerkleError::ProofLength { got: proof.len() }),
            Some(Side::Left) => node_hash(sibling, &hash),
            Some(Side::Right) => node_hash(&hash, sibling),
        };
    }
    match (walk.last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(MerkleError::RootMismatch),
        _ => Err(MerkleError::ProofLength { got: proof.len() }),
    }
}

/// Checks that the tree of `old` leaves with `old_root` is a prefix of the tree of `new` leaves with `new_root`
/// (RFC 9162 §2.1.4.2). From size 0 everything is consistent and the proof is empty.
pub fn verify_consistency(old: u64, old_root: &Digest, new: u64, new_root: &Digest, proof: &[Digest]) -> Result<(), MerkleError> {
    if old > new {
        return Err(MerkleError::OutOfRange { what: "size", asked: old, size: new });
    }
    if old == 0 || old == new {
        if !proof.is_empty() {
            return Err(MerkleError::ProofLength { got: proof.len() });
        }
        let known = if old == 0 { empty_root() } else { *new_root };
        return if *old_root == known { Ok(()) } else { Err(MerkleError::OldRootMismatch) };
    }
    let mut walk = Walk { node: old - 1, last: new - 1 };
    let skip = walk.node.trailing_ones();
    walk = Walk { node: walk.node >> skip, last: walk.last >> skip };
    // a perfect old tree is itself the first hash of the path
    let (start, rest) = match proof.split_first() {
        _ if old.is_power_of_two() => (*old_root, proof),
        Some((first, rest)) => (*first, rest),
        None => return Err(MerkleError::ProofLength { got: 0 }),
    };
    let (mut from_old, mut from_new) = (start, start);
    for sibling in rest {
        match walk.step() {
            None => return Err(MerkleError::ProofLength { got: proof.len() }),
            Some(Side::Left) => {
                from_old = node_hash(sibling, &from_old);
                from_new = node_hash(sibling, &from_new);
            }
            Some(Side::Right) => from_new = node_hash(&from_new, sibling),
        }
    }
    if walk.last != 0 {
        return Err(MerkleError::ProofLength { got: proof.len() });
    }
    if from_old != *old_root {
        return Err(MerkleError::OldRootMismatch);
    }
    if from_new == *new_root { Ok(()) } else { Err(MerkleError::RootMismatch) }
}

/// The way from a node up to the root: RFC 9162's `fn` and `sn`.
struct Walk {
    node: u64,
    last: u64,
}

/// On which side the next hash of a proof stands.
enum Side {
    Left,
    Right,
}

impl Walk {
    /// One level up; `None` if the root was reached already.
    fn step(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            // levels where the node has no sibling are skipped
            let lone = if self.node == 0 { 0 } else { self.node.trailing_zeros() };
            self.node >>= lone;
            self.last >>= lone;
            Side::Left
        } else {
            Side::Right
        };
        self.node >>= 1;
        self.last >>= 1;
        Some(side)
    }
}

#[cfg(test)]
mod tests;
