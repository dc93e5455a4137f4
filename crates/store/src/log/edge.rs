//! The right edge of the log in memory: all that an append needs of the tree.
//!
//! in: entries; out: the files they fill or change, and the root.
//! **Invariant:** an append costs the hashes on its own path: nothing that was written before is hashed again.
//! **Invariant:** entries are loaded only if they hash to the tree: none that was edited is copied into the next file.

use seaworthy_core::digest::Digest;
use seaworthy_core::merkle::tile::{Tile, push_entry};
use seaworthy_core::merkle::{Frontier, MerkleError, leaf_hash, peaks, root_of};

use super::LogError;
use super::disk::{Files, Folder};

/// The hashes of each level's partial tile, the partial bundle of entries, and the peaks of the tree.
#[derive(Clone, Default)]
pub(super) struct Edge {
    frontier: Frontier,
    levels: Vec<Vec<Digest>>,
    entries: Vec<u8>,
}

impl Edge {
    /// Reads the edge of the tree of `size` leaves from its tiles, and refuses entries that do not hash to it.
    pub(super) fn load(files: &Files, size: u64) -> Result<Self, LogError> {
        let edge = Self::read(files, size)?;
        edge.check_entries()?;
        Ok(edge)
    }

    /// The edge as the files have it: nothing is compared.
    pub(super) fn read(files: &Files, size: u64) -> Result<Self, LogError> {
        let peaks = peaks(size).into_iter().map(|node| files.node(node, size)).collect::<Result<_, _>>()?;
        let mut edge = Self { frontier: Frontier::new(size, peaks)?, ..Self::default() };
        if let Some(tile) = partial(None, size) {
            edge.entries = files.tile(tile)?.to_vec();
        }
        for level in (0..8u8).take_while(|level| Tile::in_tree(Some(*level), 0, size).is_some()) {
            let hashes = partial(Some(level), size).map(|tile| tile.hashes(&files.tile(tile)?).map_err(LogError::from));
            // a level whose newest tile is full has no partial one
            edge.levels.push(hashes.transpose()?.unwrap_or_default());
        }
        Ok(edge)
    }

    /// The entries against the hashes of the lowest level; those go into the root, which the caller compares with a signed one.
    fn check_entries(&self) -> Result<(), LogError> {
        let Some(tile) = partial(None, self.size()) else { return Ok(()) };
        let entries = tile.entries(&self.entries)?;
        let hashes = self.levels.first().map(Vec::as_slice).unwrap_or_default();
        if entries.len() == hashes.len() && entries.iter().zip(hashes).all(|(entry, hash)| leaf_hash(entry) == *hash) {
            return Ok(());
        }
        Err(LogError::corrupt(tile.path(), "its entries do not hash to the tree"))
    }

    pub(super) fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub(super) fn root(&self) -> Digest {
        self.frontier.root()
    }

    /// Takes the next entry; tiles and bundles that it fills are appended to `full`.
    pub(super) fn push(&mut self, entry: &[u8], full: &mut Vec<(Tile, Vec<u8>)>) -> Result<(), MerkleError> {
        push_entry(&mut self.entries, entry)?;
        let mut hash = leaf_hash(entry);
        self.frontier.push(hash);
        let mut count = self.size();
        if count.is_multiple_of(256) {
            let bundle = std::mem::take(&mut self.entries);
            full.push((Tile { level: None, index: count / 256 - 1, width: 256 }, bundle));
        }
        for level in 0.. {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Vec::with_capacity(256));
            }
            let Some(hashes) = self.levels.get_mut(usize::from(level)) else { break };
            hashes.push(hash);
            if hashes.len() < 256 {
                break;
            }
            count /= 256;
            hash = root_of(hashes);
            full.push((Tile { level: Some(level), index: count - 1, width: 256 }, bytes(hashes)));
            hashes.clear();
        }
        Ok(())
    }

    /// The partial tiles and the partial bundle as they stand.
    pub(super) fn partials(&self) -> Vec<(Tile, Vec<u8>)> {
        let bundle = partial(None, self.size()).map(|tile| (tile, self.entries.clone()));
        let tiles = (0..8u8).zip(&self.levels).filter_map(|(level, hashes)| {
            let tile = partial(Some(level), self.size())?;
            Some((tile, bytes(hashes)))
        });
        bundle.into_iter().chain(tiles).collect()
    }
}

impl Edge {
    /// Narrower partial tiles of the right edge that have another length than they must have, as they should be. They are never synced, so a
    /// power cut may have torn them, and whoever holds an older checkpoint reads them.
    pub(super) fn torn_beginnings(&self, folder: &Folder) -> Result<Vec<(String, Vec<u8>)>, LogError> {
        let mut torn = Vec::new();
        for (wide, bytes) in self.partials() {
            let names = folder.names(&format!("{}.p", Tile { width: 256, ..wide }.path()))?;
            let narrower = |name: &String| name.parse::<u16>().ok().filter(|width| (1..wide.width).contains(width));
            let ends = if wide.level.is_some() { Vec::new() } else { ends(&wide.entries(&bytes)?) };
            for width in names.iter().filter_map(narrower) {
                let end = if wide.level.is_some() { Some(usize::from(width) * 32) } else { ends.get(usize::from(width) - 1).copied() };
                let path = Tile { width, ..wide }.path();
                let Some(whole) = end.and_then(|end| bytes.get(..end)) else { continue };
                if folder.length(&path) != u64::try_from(whole.len()).ok() {
                    torn.push((path, whole.to_vec()));
                }
            }
        }
        Ok(torn)
    }
}

/// Where each entry of a bundle ends.
fn ends(entries: &[&[u8]]) -> Vec<usize> {
    let mut end = 0;
    let length = |entry: &&[u8]| {
        end += entry.len() + 2;
        end
    };
    entries.iter().map(length).collect()
}

fn bytes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The partial tile of `level` in a tree of `size` leaves, if it is not empty.
pub(super) fn partial(level: Option<u8>, size: u64) -> Option<Tile> {
    let nodes = size.checked_shr(u32::from(level.unwrap_or(0)) * 8)?;
    Tile::in_tree(level, nodes / 256, size).filter(|tile| !tile.is_full())
}
