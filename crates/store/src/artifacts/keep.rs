//! Housekeeping: what may go, and what is no longer what it was.
//!
//! in: the digests that the log and the journal name; out: [`GcReport`], [`StoreFault`]s.
//! **Invariant:** `gc` removes nothing that is named, directly or through a named manifest; when in doubt it removes nothing.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use rustix::fs::{AtFlags, FileType, statat};
use seaworthy_core::artifact::Manifest;
use seaworthy_core::digest::Digest;
use serde::Serialize;
use serde_json::Value;

use super::{Artifacts, MANIFEST_BYTES_MAX};
use crate::disk::unlinkat;
use crate::error::{StoreError, blob_path};
use crate::folders;

/// What `gc` did, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct GcReport {
    /// Blobs that stay.
    pub kept: u64,
    /// Blobs that went.
    pub removed: Vec<Digest>,
    /// Their bytes.
    pub removed_bytes: u64,
    /// True if nothing was really removed.
    pub dry_run: bool,
}

/// What kind of fault an audit found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Bytes that are not those of the name.
    Corrupt,
    /// A mode that lets somebody write.
    Mode,
    /// Something that the store did not put there.
    Stray,
    /// A blob that was once found corrupt and replaced; kept as evidence.
    Quarantined,
    /// Something that cannot be read.
    Unreadable,
}

/// One fault of a store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct StoreFault {
    /// Path below the store, journal or catalog.
    pub path: String,
    /// Kind.
    pub kind: FaultKind,
    /// One line.
    pub message: String,
}

impl StoreFault {
    /// A fault at `path`.
    pub fn new(path: impl Into<String>, kind: FaultKind, message: impl Into<String>) -> Self {
        Self { path: path.into(), kind, message: message.into() }
    }
}

/// Every string in `value` that is a SHA-256 digest in hex: what a leaf, statement or journal record names.
#[must_use]
pub fn digests_in(value: &Value) -> BTreeSet<Digest> {
    let mut found = BTreeSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => found.extend(text.strip_prefix("sha256:").unwrap_or(text).parse::<Digest>()),
            Value::Array(items) => open.extend(items),
            Value::Object(members) => {
                open.extend(members.values());
                found.extend(members.keys().filter_map(|key| key.parse::<Digest>().ok()));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found
}

impl Artifacts {
    /// Removes every blob that is neither in `named` nor a file of a manifest in `named`.
    ///
    /// `named` must hold what the log names *and* what the journals of unfinished runs have staged. Refuses while another
    /// process has the store open for writing, and when a named blob is corrupt: it might be the manifest of others.
    pub fn gc(&self, named: &BTreeSet<Digest>, dry_run: bool) -> Result<GcReport, StoreError> {
        let writer = self.writer()?;
        let _alone = writer.gate.write().unwrap_or_else(PoisonError::into_inner);
        if !folders::try_exclusive(&writer.lock) {
            // a failed attempt may have cost the shared lock
            folders::shared(&writer.lock, &self.dir)?;
            return Err(StoreError::Busy { path: self.dir.clone() });
        }
        let done = self.collect(named, dry_run);
        folders::shared(&writer.lock, &self.dir)?;
        done
    }

    fn collect(&self, named: &BTreeSet<Digest>, dry_run: bool) -> Result<GcReport, StoreError> {
        let live = self.expand(named)?;
        let mut report = GcReport { dry_run, ..GcReport::default() };
        for digest in self.blob_names()? {
            if live.contains(&digest) {
                report.kept += 1;
                continue;
            }
            let path = blob_path(&digest);
            let stat = statat(&self.blobs, &*path, AtFlags::SYMLINK_NOFOLLOW).map_err(StoreError::os("examine", self.path_of(&digest)))?;
            if !dry_run {
                unlinkat(&self.blobs, &*path, AtFlags::empty()).map_err(StoreError::os("remove", self.path_of(&digest)))?;
            }
            report.removed_bytes += u64::try_from(stat.st_size).unwrap_or(0);
            report.removed.push(digest);
        }
        Ok(report)
    }

    /// `named` and every file of the manifests among them.
    pub fn expand(&self, named: &BTreeSet<Digest>) -> Result<BTreeSet<Digest>, StoreError> {
        let mut live = named.clone();
        for digest in named {
            match self.read_blob(digest, MANIFEST_BYTES_MAX) {
                Ok(bytes) => {
                    if let Ok(manifest) = Manifest::from_bytes(&bytes) {
                        live.extend(manifest.entries().iter().map(|entry| entry.digest));
                    }
                }
                // names of statements and plans are no blobs; what is too large is no manifest
                Err(StoreError::Missing { .. } | StoreError::TooLarge { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(live)
    }

    /// The names of all blobs, sorted.
    pub fn blob_names(&self) -> Result<Vec<Digest>, StoreError> {
        let mut names = Vec::new();
        let blobs = self.dir.join("blobs");
        for shard in folders::names(&self.blobs).map_err(StoreError::os("list", &blobs))? {
            let Ok(folder) = folders::folder_in(&self.blobs, &shard) else {
                continue;
            };
            let found = folders::names(&folder).map_err(StoreError::os("list", blobs.join(&shard)))?;
            names.extend(found.iter().filter_map(|name| name.parse::<Digest>().ok()).filter(|digest| digest.hex().starts_with(&shard)));
        }
        Ok(names)
    }

    /// Hashes every blob and looks at every name and mode below the store.
    ///
    /// A store opened read-only may be a copy: owners and modes of the copy say nothing and are not reported.
    pub fn audit(&self) -> Result<Vec<StoreFault>, StoreError> {
        let mut faults = Vec::new();
        for name in folders::names(&self.root).map_err(StoreError::os("list", &self.dir))? {
            match &*name {
                "blobs" | "lock" => {}
                "tmp" => self.audit_temps(&mut faults)?,
                "quarantine" => self.audit_quarantine(&mut faults)?,
                _ => faults.push(StoreFault::new(name, FaultKind::Stray, "it does not belong to the store")),
            }
        }
        for shard in folders::names(&self.blobs).map_err(StoreError::os("list", self.dir.join("blobs")))? {
            let path = format!("blobs/{shard}");
            let hex = shard.len() == 2 && shard.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
            match folders::folder_in(&self.blobs, &shard) {
                Ok(folder) if hex => self.audit_shard(&folder, &shard, &mut faults)?,
                Ok(_) => faults.push(StoreFault::new(path, FaultKind::Stray, "no such folder belongs to the store")),
                Err(errno) => faults.push(StoreFault::new(path, FaultKind::Stray, format!("it cannot be opened as a folder: {errno}"))),
            }
        }
        faults.sort();
        Ok(faults)
    }

    fn audit_shard(&self, folder: &OwnedFd, shard: &str, faults: &mut Vec<StoreFault>) -> Result<(), StoreError> {
        for name in folders::names(folder).map_err(StoreError::os("list", self.dir.join("blobs").join(shard)))? {
            let path = format!("blobs/{shard}/{name}");
            let digest = match name.parse::<Digest>() {
                Ok(digest) if name.starts_with(shard) => digest,
                Ok(_) => {
                    faults.push(StoreFault::new(path, FaultKind::Stray, "the blob lies in the wrong folder, where nobody finds it"));
                    continue;
                }
                Err(_) => {
                    faults.push(StoreFault::new(path, FaultKind::Stray, "its name is no digest"));
                    continue;
                }
            };
            match self.verified_file(&digest) {
                Ok(file) => {
                    let mode = rustix::fs::fstat(&file).map_or(0, |stat| stat.st_mode & 0o7777);
                    if mode != 0o444 && self.writer.is_some() {
                        faults.push(StoreFault::new(path, FaultKind::Mode, format!("its mode is {mode:04o} instead of 0444")));
                    }
                }
                Err(fault @ StoreError::Corrupt { .. }) => faults.push(StoreFault::new(path, FaultKind::Corrupt, fault.to_string())),
                Err(fault @ StoreError::Refused { .. }) => faults.push(StoreFault::new(path, FaultKind::Stray, fault.to_string())),
                // gone between listing and opening: `gc` ran
                Err(StoreError::Missing { .. }) => {}
                Err(fault) => faults.push(StoreFault::new(path, FaultKind::Unreadable, fault.to_string())),
            }
        }
        Ok(())
    }

    /// What lies in `tmp/` while nobody writes was left by a crash; the next opening for writing clears it.
    fn audit_temps(&self, faults: &mut Vec<StoreFault>) -> Result<(), StoreError> {
        let folder = folders::folder_in(&self.root, "tmp").map_err(StoreError::os("open", self.dir.join("tmp")))?;
        for name in folders::names(&folder).map_err(StoreError::os("list", self.dir.join("tmp")))? {
            let stat = statat(&folder, &*name, AtFlags::SYMLINK_NOFOLLOW);
            let regular = stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
            if !regular || !is_temp_name(&name) {
                faults.push(StoreFault::new(format!("tmp/{name}"), FaultKind::Stray, "it does not belong to the store"));
            }
        }
        Ok(())
    }

    fn audit_quarantine(&self, faults: &mut Vec<StoreFault>) -> Result<(), StoreError> {
        let folder = folders::folder_in(&self.root, "quarantine").map_err(StoreError::os("open", self.dir.join("quarantine")))?;
        for name in folders::names(&folder).map_err(StoreError::os("list", self.dir.join("quarantine")))? {
            faults.push(StoreFault::new(
                format!("quarantine/{name}"),
                FaultKind::Quarantined,
                "a blob was found corrupt and replaced by good bytes; this is the bad one",
            ));
        }
        Ok(())
    }
}

/// `<12 hex>-<number>`: the only names that the store itself gives to temporary files.
fn is_temp_name(name: &str) -> bool {
    name.split_once('-').is_some_and(|(tag, number)| {
        tag.len() == 12 && tag.bytes().all(|c| c.is_ascii_hexdigit()) && !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit())
    })
}
