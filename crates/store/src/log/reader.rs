//! Reading a log: entries, bundles, proofs; without a key, without waiting for a lock, on a read-only copy too.
//!
//! in: the folder; out: one consistent state of the log, that of the checkpoint found at opening.
//! **Invariant:** what a crash left in the `wal` stands in for missing files, so a reader sees every acknowledged leaf.
//! **Invariant:** nothing read here is trusted: whoever uses it verifies the checkpoint's signature and the proofs.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use seaworthy_core::digest::Digest;
use seaworthy_core::merkle::tile::Tile;
use seaworthy_core::merkle::{consistency_proof, inclusion_proof};
use seaworthy_core::note::{Checkpoint, Note};
use seaworthy_core::ports::{EvidenceSource, PortError};

use super::LogError;
use super::disk::{Files, Folder};
use super::edge::Edge;
use super::pending::Pending;
use super::wal::{WAL, scan};
use super::writer::{CHECKPOINT, Writes, apply, checkpoint_is_last};

/// How often a reader looks again if a writer commits in between.
const LOOKS_MAX: usize = 20;

/// One state of a log, to read from.
pub struct LogReader {
    files: Files,
    note: String,
    checkpoint: Checkpoint,
    /// A crash kept some files from being written: they are in the `wal` only.
    behind: bool,
}

/// Where the bundle of a statement is kept.
pub(super) fn bundle_path(pae: &Digest) -> String {
    let hex = pae.hex();
    format!("bundles/{}/{hex}.json", hex.get(..2).unwrap_or_default())
}

impl LogReader {
    /// Opens the log in `dir` as it is now. A copy without a `wal` is read as its files stand.
    pub fn open(dir: &Path) -> Result<Self, LogError> {
        let folder = Arc::new(Folder::open(dir)?);
        for _ in 1..LOOKS_MAX {
            // a writer that commits or flushes between two reads makes them disagree for a moment
            if let Ok(reader) = Self::look(&folder) {
                return Ok(reader);
            }
            std::thread::yield_now();
        }
        Self::look(&folder)
    }

    /// The state of `note`, whose files are written but for the `pending` ones.
    pub(super) fn at(folder: &Arc<Folder>, note: &str, pending: &Pending) -> Result<Self, LogError> {
        let (checkpoint, _) = Checkpoint::parse(note.as_bytes())?;
        let files = Files::with_pending(folder.clone(), pending);
        Ok(Self { files, note: note.to_owned(), checkpoint, behind: !pending.is_empty() })
    }

    fn look(folder: &Arc<Folder>) -> Result<Self, LogError> {
        // while a writer works, the last record may not be durable yet: only what another confirms may be relied on
        let (writing, _lock) = folder.lock_out_writers();
        let wal = folder.read(WAL)?;
        let on_disk = folder.read(CHECKPOINT)?;
        let (note, behind) = match &wal {
            Some(wal) => {
                let scan = scan(wal)?;
                let behind = !checkpoint_is_last(&scan, on_disk.as_deref())?;
                let durable = if writing { scan.confirmed() } else { scan.records.last() };
                let durable = durable.ok_or_else(|| LogError::corrupt(WAL, "it does not start with an intact record"))?;
                (durable.checkpoint.clone(), behind)
            }
            None => {
                let bytes = on_disk.ok_or_else(|| LogError::corrupt(CHECKPOINT, "it is missing"))?;
                (String::from_utf8_lossy(&bytes).into_owned(), false)
            }
        };
        let (checkpoint, _) = Checkpoint::parse(note.as_bytes())?;
        let files = Files::with_wal(folder.clone(), from_wal);
        Ok(Self { files, note, checkpoint, behind })
    }

    /// The state: origin, size, root.
    #[must_use]
    pub fn state(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The checkpoint note, signatures included.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The entries of `range`, with their indexes; ends early with an error if one cannot be read.
    pub fn entries(&self, range: Range<u64>) -> impl Iterator<Item = Result<(u64, Vec<u8>), LogError>> + '_ {
        range.map(|index| Ok((index, self.read_entry(index)?)))
    }

    fn read_entry(&self, index: u64) -> Result<Vec<u8>, LogError> {
        let size = self.checkpoint.size;
        let outside = LogError::OutOfRange { index, size };
        let tile = Tile::in_tree(None, index / 256, size).filter(|_| index < size).ok_or(outside)?;
        let bytes = self.files.tile(tile)?;
        let position = usize::try_from(index % 256).unwrap_or(usize::MAX);
        let entry = tile.entries(&bytes)?.get(position).map(|entry| entry.to_vec());
        entry.ok_or_else(|| LogError::corrupt(tile.path(), "an entry is missing"))
    }

    /// The inclusion proof of leaf `index` in the tree of the checkpoint.
    pub fn inclusion(&self, index: u64) -> Result<Vec<Digest>, LogError> {
        inclusion_proof(index, self.checkpoint.size, |node| self.files.node(node, self.checkpoint.size))
    }

    /// The proof that the log of `old` leaves is a prefix of this one.
    pub fn consistency(&self, old: u64) -> Result<Vec<Digest>, LogError> {
        consistency_proof(old, self.checkpoint.size, |node| self.files.node(node, self.checkpoint.size))
    }

    /// The C2SP tlog-proof text of leaf `index`: all that somebody with the leaf and the log's key needs.
    pub fn prove(&self, index: u64) -> Result<String, LogError> {
        let hashes = lines(&self.inclusion(index)?);
        Ok(format!("c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n{}", self.note))
    }

    /// The body of a C2SP tlog-witness add-checkpoint request, for a witness that cosigned `old` leaves last: what shows that
    /// the log only grew, and the note with the log's own signature (witnesses look at no other).
    pub fn cosignature_request(&self, old: u64) -> Result<String, LogError> {
        let hashes = lines(&self.consistency(old)?);
        let mut note = Note::parse(self.note.as_bytes())?;
        note.signatures.retain(|signature| signature.name == self.checkpoint.origin);
        Ok(format!("old {old}\n{hashes}\n{}", note.format()))
    }
}

/// Hashes of a proof in base64, each a line.
fn lines(hashes: &[Digest]) -> String {
    use base64::Engine as _;
    hashes.iter().map(|hash| base64::engine::general_purpose::STANDARD.encode(hash.as_bytes()) + "\n").collect()
}

/// The files that the `wal` holds, at their last state.
pub(super) fn from_wal(folder: &Arc<Folder>) -> Result<Writes, LogError> {
    let Some(wal) = folder.read(WAL)? else { return Ok(Writes::new()) };
    let scan = scan(&wal)?;
    let Some((base, rest)) = scan.records.split_first() else {
        return Err(LogError::corrupt(WAL, "it does not start with an intact record"));
    };
    let origin = Checkpoint::parse(base.checkpoint.as_bytes())?.0.origin;
    let mut edge = Edge::load(&Files::on_disk(folder.clone()), base.before)?;
    let mut writes = apply(&mut edge, std::slice::from_ref(base), &origin)?;
    if !rest.is_empty() {
        writes = apply(&mut edge, rest, &origin)?;
    }
    Ok(writes)
}

impl EvidenceSource for LogReader {
    fn size(&self) -> Result<u64, PortError> {
        Ok(self.checkpoint.size)
    }

    fn entry(&self, index: u64) -> Result<Vec<u8>, PortError> {
        Ok(self.read_entry(index)?)
    }

    fn bundle(&self, pae: &Digest) -> Result<Option<Vec<u8>>, PortError> {
        Ok(self.files.read(&bundle_path(pae))?.map(|bytes| bytes.to_vec()))
    }

    fn checkpoint(&self) -> Result<String, PortError> {
        Ok(self.note.clone())
    }

    fn inclusion_proof(&self, index: u64) -> Result<Vec<Digest>, PortError> {
        Ok(self.inclusion(index)?)
    }

    fn bundle_digests(&self) -> Result<Vec<Digest>, PortError> {
        let mut paths = BTreeSet::new();
        if self.behind {
            paths.extend(self.files.restored()?.keys().cloned());
        }
        for folder in self.files.folder.names("bundles")? {
            let folder = format!("bundles/{folder}");
            paths.extend(self.files.folder.names(&folder)?.into_iter().map(|name| format!("{folder}/{name}")));
        }
        let named = paths.iter().filter_map(|path| {
            let digest = path.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()?;
            (bundle_path(&digest) == *path).then_some(digest)
        });
        Ok(named.collect())
    }
}
