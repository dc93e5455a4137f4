//! Tiles of a log's tree and their paths, and bundles of entries: C2SP tlog-tiles v0.1.0.
//!
//! in: tree size, nodes, entries; out: which file holds what, and the bytes of it.
//! **Invariant:** a path that [`Tile::parse`] accepts is the only spelling of that resource; no width is 0 or over 256.

use super::{MerkleError, Node, node_hash};
use crate::digest::Digest;
use crate::limits::LOG_ENTRY_BYTES_MAX;

/// Hashes in a full tile, and entries in a full bundle.
pub const WIDTH: u64 = 256;
/// Tree levels in one tile.
pub const HEIGHT: u8 = 8;

/// A tile, or a bundle of entries, of a certain width.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tile {
    /// Level of tiles; `None` is a bundle of entries.
    pub level: Option<u8>,
    /// Number within the level.
    pub index: u64,
    /// Hashes or entries in it, 1 to 256.
    pub width: u16,
}

impl Tile {
    /// The widest tile `index` of `level` in a tree of `size` leaves, if it is not empty.
    #[must_use]
    pub fn in_tree(level: Option<u8>, index: u64, size: u64) -> Option<Self> {
        let nodes = size.checked_shr(u32::from(level.unwrap_or(0)) * u32::from(HEIGHT)).unwrap_or(0);
        let width = nodes.saturating_sub(index.checked_mul(WIDTH)?).min(WIDTH);
        (width > 0).then(|| Self { level, index, width: u16::try_from(width).unwrap_or(256) })
    }

    /// Every tile and bundle of a tree of `size` leaves, each at its greatest width.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        let levels = (0..8u8).map(Some).take_while(move |level| Self::in_tree(*level, 0, size).is_some());
        let entries = (size > 0).then_some(None);
        entries.into_iter().chain(levels).flat_map(move |level| (0..).map_while(move |index| Self::in_tree(level, index, size)))
    }

    /// Whether no more can be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == WIDTH
    }

    /// Path below the log's folder: `tile/0/x001/x234/067`, `tile/entries/000.p/7`.
    #[must_use]
    pub fn path(&self) -> String {
        let level = self.level.map_or_else(|| "entries".to_owned(), |level| level.to_string());
        let mut number = format!("{:03}", self.index % 1_000);
        let mut rest = self.index / 1_000;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % 1_000);
            rest /= 1_000;
        }
        let partial = if self.is_full() { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{level}/{number}{partial}")
    }

    /// Reads a path back; `None` for anything that [`Self::path`] would not write.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level = if level == "entries" { None } else { Some(level.parse().ok()?) };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|width| (1..256).contains(width))?),
            None => (rest, 256),
        };
        let mut index = 0_u64;
        for part in number.split('/') {
            let digits = part.strip_prefix('x').unwrap_or(part);
            index = index.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
        }
        let tile = Self { level, index, width };
        (tile.path() == path).then_some(tile)
    }

    /// The tile that holds `node` (in a tree of `size` leaves), or the hashes it is made of.
    #[must_use]
    pub fn of_node(node: Node, size: u64) -> Option<Self> {
        let level = node.level / HEIGHT;
        let within = node.level % HEIGHT;
        let index = node.index.checked_shl(u32::from(within))? / WIDTH;
        let tile = Self::in_tree(Some(level), index, size)?;
        let last = ((node.index + 1) << within).checked_sub(index * WIDTH)?;
        (last <= u64::from(tile.width)).then_some(tile)
    }

    /// The hash of `node` from this tile's bytes.
    pub fn node(&self, bytes: &[u8], node: Node) -> Result<Digest, MerkleError> {
        let hashes = self.chunks(bytes)?;
        let within = node.level % HEIGHT;
        let range = || {
            let first = (node.index << within).checked_sub(self.index.checked_mul(WIDTH)?)?;
            let first = usize::try_from(first).ok()?;
            hashes.get(first..first.checked_add(1 << within)?)
        };
        let wanted = (self.level == Some(node.level / HEIGHT)).then(range).flatten();
        wanted.and_then(perfect_root).ok_or_else(|| self.malformed("it does not hold the node asked for"))
    }

    /// The hashes in a tile's bytes, which must be exactly as many as its width.
    pub fn hashes(&self, bytes: &[u8]) -> Result<Vec<Digest>, MerkleError> {
        Ok(self.chunks(bytes)?.iter().copied().map(Digest::from_bytes).collect())
    }

    fn chunks<'a>(&self, bytes: &'a [u8]) -> Result<&'a [[u8; 32]], MerkleError> {
        let (hashes, rest): (&'a [[u8; 32]], _) = bytes.as_chunks();
        if !rest.is_empty() || hashes.len() != usize::from(self.width) {
            return Err(self.malformed("its length does not fit its width"));
        }
        Ok(hashes)
    }

    /// The entries in a bundle's bytes, exactly as many as its width.
    pub fn entries<'a>(&self, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, MerkleError> {
        let mut entries = Vec::with_capacity(usize::from(self.width));
        let mut rest = bytes;
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let (entry, tail) = tail.split_at_checked(length).ok_or_else(|| self.malformed("an entry is cut short"))?;
            entries.push(entry);
            rest = tail;
        }
        if !rest.is_empty() || entries.len() != usize::from(self.width) {
            return Err(self.malformed("the number of entries does not fit its width"));
        }
        Ok(entries)
    }

    fn malformed(&self, reason: &'static str) -> MerkleError {
        MerkleError::Tile { path: self.path(), reason }
    }
}

/// The root of `2^k` hashes.
fn perfect_root(hashes: &[[u8; 32]]) -> Option<Digest> {
    let mut row: Vec<Digest> = hashes.iter().copied().map(Digest::from_bytes).collect();
    while row.len() > 1 {
        let (pairs, rest) = row.as_chunks::<2>();
        if !rest.is_empty() {
            return None;
        }
        row = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied()
}

/// Appends `entry` to a bundle: length as a big-endian `u16`, then the bytes.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), MerkleError> {
    let too_long = MerkleError::EntryTooLong { bytes: entry.len() };
    if entry.len() > LOG_ENTRY_BYTES_MAX {
        return Err(too_long);
    }
    let length = u16::try_from(entry.len()).map_err(|_| too_long)?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}
