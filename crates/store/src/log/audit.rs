//! The full check of a log's folder, without any key: every byte of every file is accounted for.
//!
//! in: the folder; out: a fault for each file that does not fit the others, is missing, or does not belong there.
//! **Invariant:** entries hash to tiles, tiles to the root, the root is the checkpoint's; each attestation leaf has its
//! bundle and each bundle its leaf; the `wal` agrees with all of them. Whether the checkpoint's signature is the log's is
//! for the holder of the key to say: see trust.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, LeafBody, key_hint};
use seaworthy_core::merkle::tile::Tile;
use seaworthy_core::merkle::{Frontier, leaf_hash};
use seaworthy_core::note::Checkpoint;

use super::LogError;
use super::disk::{ASIDE, Folder, prefix};
use super::reader::{bundle_path, from_wal};
use super::wal::{WAL, scan};
use super::writer::{CHECKPOINT, checkpoint_is_last};

/// What kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FaultKind {
    /// The file does not say what the rest of the log says.
    Changed,
    /// The file should be there.
    Missing,
    /// The file belongs to nothing.
    Stray,
    /// The file cannot be read.
    Unreadable,
}

/// One fault of a log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogFault {
    /// Path below the log's folder.
    pub file: String,
    /// Kind.
    pub kind: FaultKind,
    /// One line about it.
    pub detail: String,
}

/// Checks everything in `dir`. An empty list means: intact, but for the signatures.
#[must_use]
pub fn audit(dir: &Path) -> Vec<LogFault> {
    let mut audit = match Folder::open(dir) {
        Ok(folder) => Audit::new(folder),
        Err(error) => {
            return vec![LogFault { file: ".".into(), kind: FaultKind::Unreadable, detail: error.to_string() }];
        }
    };
    audit.run();
    audit.faults.sort();
    audit.faults.dedup();
    audit.faults
}

struct Audit {
    folder: Arc<Folder>,
    faults: Vec<LogFault>,
    /// Files that belong to the log.
    seen: BTreeSet<String>,
    /// What a crash kept from being written, from the `wal`; empty otherwise.
    pending: HashMap<String, Vec<u8>>,
}

impl Audit {
    fn new(folder: Folder) -> Self {
        let (faults, seen, pending) = (Vec::new(), BTreeSet::new(), HashMap::new());
        Self { folder: Arc::new(folder), faults, seen, pending }
    }

    fn run(&mut self) {
        // without a checkpoint nothing else can be checked; the fault is noted
        let Some(checkpoint) = self.checkpoint() else { return };
        let (leaves, bundles) = self.entries(&checkpoint);
        self.tiles(&checkpoint, &leaves);
        self.bundles(&bundles);
        self.strays(checkpoint.size);
    }

    fn fault(&mut self, file: impl Into<String>, kind: FaultKind, detail: impl std::fmt::Display) {
        self.faults.push(LogFault { file: file.into(), kind, detail: detail.to_string() });
    }

    fn error(&mut self, error: LogError) {
        match error {
            LogError::Corrupt { file, reason } => self.fault(file, FaultKind::Changed, reason),
            LogError::Io { what, file, cause } => {
                self.fault(file, FaultKind::Unreadable, format!("cannot {what}: {cause}"));
            }
            other => self.fault(".", FaultKind::Changed, other),
        }
    }

    /// Reads a file that must be there.
    fn read(&mut self, path: &str) -> Option<Vec<u8>> {
        self.seen.insert(path.to_owned());
        match self.folder.read(path) {
            Ok(Some(bytes)) => return Some(bytes),
            Ok(None) if self.pending.contains_key(path) => return self.pending.get(path).cloned(),
            Ok(None) => self.fault(path, FaultKind::Missing, "it is missing"),
            Err(error) => self.error(error),
        }
        None
    }

    /// The state the files should be in: the checkpoint file's, or the wal's if a crash kept the files behind it. A torn
    /// end of the `wal` behind that is a commit that was never acknowledged.
    fn checkpoint(&mut self) -> Option<Checkpoint> {
        let wal = self.read(WAL).unwrap_or_default();
        let on_disk = self.folder.read(CHECKPOINT).unwrap_or_else(|error| {
            self.error(error);
            None
        });
        let standing = scan(&wal).and_then(|scan| match checkpoint_is_last(&scan, on_disk.as_deref()) {
            _ if scan.records.is_empty() => Err(LogError::corrupt(WAL, "it does not start with an intact record")),
            // a checkpoint is published after its record was confirmed: no commit was ever begun behind this one
            Ok(true) if scan.torn && scan.intent.is_none() && !scan.is_confirmed() => Err(LogError::corrupt(WAL, "its end was changed")),
            standing => standing,
        });
        match standing {
            Ok(true) => {}
            Ok(false) => match from_wal(&self.folder) {
                Ok(writes) => self.pending.extend(writes),
                Err(error) => self.error(error),
            },
            // a missing wal was reported when it was read
            Err(_) if wal.is_empty() && !self.faults.is_empty() => {}
            Err(error) => self.error(error),
        }
        let bytes = match self.pending.get(CHECKPOINT) {
            Some(pending) => pending.clone(),
            None => self.read(CHECKPOINT)?,
        };
        self.seen.insert(CHECKPOINT.to_owned());
        match Checkpoint::parse(&bytes) {
            Ok((checkpoint, _)) => Some(checkpoint),
            Err(error) => {
                self.error(error.into());
                None
            }
        }
    }

    /// Reads every entry: the leaf hashes, and the attestations among them.
    fn entries(&mut self, checkpoint: &Checkpoint) -> (Vec<Option<Digest>>, BTreeMap<Digest, LeafBody>) {
        let mut leaves = Vec::new();
        let mut attested = BTreeMap::new();
        for tile in (0..).map_while(|index| Tile::in_tree(None, index, checkpoint.size)) {
            let path = tile.path();
            let bytes = self.read(&path);
            let entries = bytes.as_deref().map(|bytes| tile.entries(bytes));
            let entries = match entries {
                Some(Ok(entries)) => entries,
                Some(Err(error)) => {
                    self.error(error.into());
                    Vec::new()
                }
                None => Vec::new(),
            };
            let hashes = entries.iter().map(|entry| Some(leaf_hash(entry)));
            leaves.extend(hashes.chain(std::iter::repeat(None)).take(usize::from(tile.width)));
            let bodies = entries.iter().filter_map(|entry| LeafBody::parse(entry));
            attested.extend(bodies.map(|body| (body.pae, body)));
            if let Some(bytes) = &bytes {
                self.partials(tile, bytes);
            }
        }
        (leaves, attested)
    }

    /// Narrower tiles of earlier checkpoints must be the beginning of this one.
    fn partials(&mut self, wide: Tile, bytes: &[u8]) {
        let base = Tile { width: 256, ..wide }.path();
        let names = self.folder.names(&format!("{base}.p")).unwrap_or_default();
        for narrow in names.iter().filter_map(|name| Tile::parse(&format!("{base}.p/{name}"))) {
            if narrow.width >= wide.width {
                continue;
            }
            let path = narrow.path();
            let (found, wanted) = (self.read(&path), prefix(bytes, wide, narrow).ok());
            if found.is_some() && wanted.is_some() && found != wanted {
                self.fault(path, FaultKind::Changed, format!("it is not the beginning of `{}`", wide.path()));
            }
        }
    }

    /// Compares tiles with entries, and decides by the root which of the two was changed.
    fn tiles(&mut self, checkpoint: &Checkpoint, leaves: &[Option<Digest>]) {
        let size = checkpoint.size;
        let rows = self.rows(size);
        let from_tiles = rows.first().and_then(|row| root_if_whole(row, size));
        let from_entries = root_if_whole(leaves, size);
        let agree = |root: Option<Digest>| root == Some(checkpoint.root);
        let leaf_row = rows.first().map(Vec::as_slice).unwrap_or_default();
        let trusted = match (agree(from_entries), agree(from_tiles)) {
            (true, _) => leaves,
            (false, true) => leaf_row,
            (false, false) => {
                self.fault(CHECKPOINT, FaultKind::Changed, "neither the entries nor the tiles hash to its root");
                leaves
            }
        };
        for index in differences(trusted, leaves) {
            self.changed(None, index, size, "its entries do not hash to the tree");
        }
        let mut expected = trusted.to_vec();
        for (level, row) in (0..8u8).zip(&rows) {
            for index in differences(&expected, row) {
                self.changed(Some(level), index, size, "its hashes are not those of the level below");
            }
            expected = expected.as_chunks::<256>().0.iter().map(|full| root_if_whole(full, 256)).collect();
        }
    }

    fn changed(&mut self, level: Option<u8>, index: u64, size: u64, detail: &str) {
        if let Some(tile) = Tile::in_tree(level, index, size) {
            let path = tile.path();
            if self.faults.iter().all(|fault| fault.file != path) {
                self.fault(path, FaultKind::Changed, detail);
            }
        }
    }

    /// All hashes of all tiles, a row a level.
    fn rows(&mut self, size: u64) -> Vec<Vec<Option<Digest>>> {
        let mut rows = Vec::new();
        for level in (0..8u8).take_while(|level| Tile::in_tree(Some(*level), 0, size).is_some()) {
            let mut row = Vec::new();
            for tile in (0..).map_while(|index| Tile::in_tree(Some(level), index, size)) {
                let bytes = self.read(&tile.path());
                let hashes = match bytes.as_deref().map(|bytes| tile.hashes(bytes)) {
                    Some(Ok(hashes)) => hashes,
                    Some(Err(error)) => {
                        self.error(error.into());
                        Vec::new()
                    }
                    None => Vec::new(),
                };
                let padding = std::iter::repeat(None);
                row.extend(hashes.into_iter().map(Some).chain(padding).take(usize::from(tile.width)));
                if let Some(bytes) = &bytes {
                    self.partials(tile, bytes);
                }
            }
            rows.push(row);
        }
        rows
    }

    fn bundles(&mut self, attested: &BTreeMap<Digest, LeafBody>) {
        for (pae, leaf) in attested {
            let path = bundle_path(pae);
            let Some(bytes) = self.read(&path) else { continue };
            let reason = match Bundle::from_json(&bytes) {
                Err(error) => error.to_string(),
                Ok(bundle) if bundle.pae_digest() != *pae => "its statement is not the one in the leaf".to_owned(),
                Ok(bundle) if bundle.signature != leaf.signature => "its signature is not the one in the leaf".to_owned(),
                Ok(bundle) if bundle.key_hint != key_hint(&leaf.public_key) => "its key is not the one in the leaf".to_owned(),
                Ok(bundle) if bundle.log_proof.is_some() || bundle.to_json() != bytes => {
                    "it is not written as the log writes it".to_owned()
                }
                Ok(_) => continue,
            };
            self.fault(path, FaultKind::Changed, reason);
        }
    }

    fn strays(&mut self, size: u64) {
        let found = match self.folder.walk() {
            Ok(found) => found,
            Err(error) => return self.error(error),
        };
        for path in found {
            if path == ASIDE || self.seen.contains(&path) {
                continue;
            }
            let detail = match Tile::parse(&path) {
                Some(_) => format!("it is no tile of a log of {size} leaves"),
                None if path.starts_with("bundles/") => "no leaf of the log is about this bundle".to_owned(),
                None => "it does not belong to a log".to_owned(),
            };
            self.fault(path, FaultKind::Stray, detail);
        }
    }
}

/// The root of a row of hashes, if none is missing.
fn root_if_whole(row: &[Option<Digest>], size: u64) -> Option<Digest> {
    let mut frontier = Frontier::default();
    for hash in row {
        frontier.push((*hash)?);
    }
    (frontier.size() == size).then(|| frontier.root())
}

/// Tiles in which the two rows differ; what is missing on either side was reported already.
fn differences<'a>(expected: &'a [Option<Digest>], found: &'a [Option<Digest>]) -> impl Iterator<Item = u64> + 'a {
    let differ = |(a, b): (&Option<Digest>, &Option<Digest>)| a.is_some() && b.is_some() && a != b;
    let tiles = expected.chunks(256).zip(found.chunks(256)).zip(0_u64..);
    tiles.filter(move |((a, b), _)| a.iter().zip(*b).any(differ)).map(|(_, index)| index)
}
