//! Artifacts: content-addressed, append-only, verified on every read.
//!
//! in: bytes, files, folders; out: blobs named by SHA-256 and manifests that name them.
//!
//! On disk: `blobs/ab/<hex>` (0444), `tmp/` (writes under way), `quarantine/` (what was found corrupt and replaced),
//! `lock` (shared by writers, exclusive for `gc` and the clearing of `tmp/`), all below one folder of mode 0700.
//!
//! **Invariant:** a name appears under `blobs/` only after its bytes are durable, and its bytes never change after that.
//! **Invariant:** nobody trusts a blob for its name: every read hashes, and a write that meets an existing blob compares it.

mod checkout;
mod folder;
mod keep;
mod put;
mod read;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, RwLock};

pub use checkout::remove_checkout;
pub use folder::{FolderFiles, FolderRules, HardLinks, folder_files, open_folder};
pub use keep::{FaultKind, GcReport, StoreFault, digests_in};
pub use put::{Batch, Blob, NewFile, PutRules, hash_files, hash_folder};
pub use read::VerifiedReader;

use crate::error::StoreError;
use crate::folders;

/// Bytes of one manifest document: 100,000 files with long names stay well below.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A store of artifacts in one folder. Cheap to share between threads; any number of processes may have it open.
#[derive(Debug)]
pub struct Artifacts {
    dir: PathBuf,
    root: OwnedFd,
    blobs: OwnedFd,
    writer: Option<Writer>,
}

/// What only a store opened for writing has.
#[derive(Debug)]
struct Writer {
    temps: OwnedFd,
    /// Holds a shared flock as long as the store is open.
    lock: File,
    /// Random part of the names of this instance's temporary files.
    tag: String,
    next: AtomicU64,
    /// Read by those who put, written by `gc`.
    gate: RwLock<()>,
    /// Folders of blobs whose names this process has seen made durable.
    durable_shards: Mutex<BTreeSet<u8>>,
}

impl Artifacts {
    /// Opens the store in `dir` for reading and writing; creates it (0700) if it is not there.
    ///
    /// Refuses network file systems, folders of other users or with other modes, and symbolic links; clears what an
    /// interrupted write left behind, unless another process is writing just now.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let root = folders::private_folder(dir)?;
        folders::refuse_network_file_system(&root, dir)?;
        let blobs = folders::private_folder_in(&root, "blobs", dir)?;
        let temps = folders::private_folder_in(&root, "tmp", dir)?;
        let lock = folders::lock_file(&root, dir)?;
        if folders::try_exclusive(&lock) {
            folders::clear(&temps, dir)?;
        }
        folders::shared(&lock, dir)?;
        let writer = Writer {
            temps,
            lock,
            tag: folders::random_hex::<6>(dir)?,
            next: AtomicU64::new(0),
            gate: RwLock::new(()),
            durable_shards: Mutex::default(),
        };
        Ok(Self { dir: dir.to_path_buf(), root, blobs, writer: Some(writer) })
    }

    /// Opens the store in `dir` for reading alone: no lock, no changes, any owner and mode (a copy may lie anywhere).
    pub fn open_read_only(dir: &Path) -> Result<Self, StoreError> {
        let root = folders::folder(dir)?;
        let blobs = folders::folder_in(&root, "blobs").map_err(StoreError::os("open", dir.join("blobs")))?;
        Ok(Self { dir: dir.to_path_buf(), root, blobs, writer: None })
    }

    /// Where it lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer.as_ref().ok_or_else(|| StoreError::ReadOnly { path: self.dir.clone() })
    }
}
