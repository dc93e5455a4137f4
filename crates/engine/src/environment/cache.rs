//! Unpacked trees: a cache beside the store, never believed.
//!
//! in: wheels in the store; out: [`Tree`]: an open folder whose every byte was hashed just now, sealed.
//! Layout: `CACHE/envs/<environment digest>/site-packages`; a new tree is built beside it and renamed.
//! **Invariant:** what a tree must hold is computed from the wheels (whose own digests are checked while they are read), never from anything in the cache.

use std::fs::{self, DirBuilder};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use seaworthy_core::artifact::{ArtifactRef, Manifest};
use seaworthy_core::digest::{Digest, hex_encode};
use seaworthy_core::limits::{WHEEL_BYTES_MAX, WHEEL_ENTRIES_MAX, WHEELS_MAX};
use seaworthy_core::ports::Workers;
use seaworthy_store::StoreError;
use seaworthy_store::artifacts::{Artifacts, FolderRules, HardLinks, hash_folder, open_folder, remove_checkout};

use super::error::EnvironmentError;
use super::seal::{Seal, seal, settle};
use super::unpack::{expected_tree, refuse_hiding, unpack};
use super::wheel::{Contents, WheelListing};
use super::worked::WorkedWheel;

const DEPTH_MAX: usize = 64;
/// Wheels that are hashed and listed at the same time.
const LISTED_AT_ONCE: usize = 2;

/// One file of the wheels' artifact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredWheel {
    /// File name.
    pub file: String,
    /// Its digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// A verified tree.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) folder: OwnedFd,
    pub(super) reference: ArtifactRef,
    /// How it stood while it was hashed.
    pub(super) seal: Seal,
}

/// Finds the tree in the cache and hashes all of it, or unpacks it.
pub(super) fn realise(
    wheels: &[StoredWheel],
    artifacts: &Artifacts,
    cache_dir: &Path,
    environment: &Digest,
    stdlib: &Path,
    workers: &dyn Workers,
) -> Result<Tree, EnvironmentError> {
    let mut opened = open_wheels(wheels, artifacts, workers)?;
    let listings: Vec<&WheelListing> = opened.iter().map(WorkedWheel::listing).collect();
    refuse_hiding(&listings, stdlib)?;
    let expected = expected_tree(&listings)?;
    let envs = cache_dir.join("envs");
    make_private(&envs)?;
    let place = envs.join(environment.hex());
    if fs::symlink_metadata(&place).is_err() {
        let new = envs.join(format!("new-{}", random_name(&envs)?));
        let built = build(&mut opened, &new, &place);
        if built.is_err() {
            // the first fault is the one to tell; what is left behind has a name that nobody looks up
            let _ = remove_checkout(&new);
        }
        built?;
    }
    verified(&place.join("site-packages"), &place, &expected)
}

/// Has every wheel hashed and listed, a few at a time; of several faults the first wheel's is told.
fn open_wheels<'a>(
    wheels: &'a [StoredWheel],
    artifacts: &Artifacts,
    workers: &'a dyn Workers,
) -> Result<Vec<WorkedWheel<'a>>, EnvironmentError> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut opened = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(wheel) = wheels.get(place) else { return opened };
            opened.push((place, WorkedWheel::open(wheel, artifacts, workers)));
        }
    };
    let mut opened = std::thread::scope(|scope| {
        let others: Vec<_> = (1..LISTED_AT_ONCE.min(wheels.len())).map(|_| scope.spawn(some)).collect();
        let mut opened = some();
        // a thread that died leaves its wheels out, which is seen below
        others.into_iter().for_each(|other| opened.extend(other.join().unwrap_or_default()));
        opened
    });
    opened.sort_by_key(|(place, _)| *place);
    let opened: Vec<_> = opened.into_iter().map(|(_, wheel)| wheel).collect::<Result<_, _>>()?;
    if opened.len() == wheels.len() {
        return Ok(opened);
    }
    Err(EnvironmentError::wheel(&format!("{} of {}", opened.len(), wheels.len()), "the others were not read"))
}

fn build(wheels: &mut [WorkedWheel<'_>], new: &Path, place: &Path) -> Result<(), EnvironmentError> {
    make_private(new)?;
    let mut contents: Vec<&mut dyn Contents> = wheels.iter_mut().map(|wheel| wheel as &mut dyn Contents).collect();
    unpack(&mut contents, &new.join("site-packages"))?;
    settle();
    put_in_place(new, place)
}

/// Names what was built; whoever was faster is right, since every tree is verified before it is used.
pub(super) fn put_in_place(new: &Path, place: &Path) -> Result<(), EnvironmentError> {
    match rustix::fs::rename(new, place) {
        Ok(()) => Ok(()),
        // another process was faster; its tree is hashed like any other
        Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(remove_checkout(new)?),
        Err(errno) => Err(EnvironmentError::os("rename", new)(errno)),
    }
}

/// Hashes all of the folder at `path`, a part of `place`, and compares it with `expected`.
pub(super) fn verified(path: &Path, place: &Path, expected: &Manifest) -> Result<Tree, EnvironmentError> {
    let tampered = |reason| EnvironmentError::Tampered { path: place.to_path_buf(), reason };
    let folder = open_cached(path, place)?;
    let rules = FolderRules {
        files_max: WHEEL_ENTRIES_MAX.saturating_mul(WHEELS_MAX),
        bytes_max: WHEEL_BYTES_MAX.saturating_mul(WHEELS_MAX as u64),
        depth_max: DEPTH_MAX,
        ignore: std::collections::BTreeSet::new(),
        hard_links: HardLinks::Refuse,
    };
    let before = seal(&folder, path)?;
    let (found, reference) = hash_folder(&folder, &rules).map_err(|fault| replaced(fault, place))?;
    if let Some(reason) = difference(&found, expected) {
        return Err(tampered(reason));
    }
    // what was touched meanwhile may have been hashed before it was touched
    if seal(&folder, path)? == before {
        Ok(Tree { folder, reference, seal: before })
    } else {
        Err(tampered("it changed while it was read".to_owned()))
    }
}

/// Opens the folder at `path`, a part of `place`; a link in its place is a fault of the cache.
pub(super) fn open_cached(path: &Path, place: &Path) -> Result<OwnedFd, EnvironmentError> {
    open_folder(path).map_err(|fault| replaced(fault, place))
}

fn replaced(fault: StoreError, place: &Path) -> EnvironmentError {
    match fault {
        StoreError::Refused { name, reason } => {
            EnvironmentError::Tampered { path: place.to_path_buf(), reason: format!("`{name}` was replaced: {reason}") }
        }
        fault => EnvironmentError::Store(fault),
    }
}

/// The first file in which the trees differ.
fn difference(found: &Manifest, expected: &Manifest) -> Option<String> {
    for entry in expected.entries() {
        match found.entry(&entry.name) {
            None => return Some(format!("`{}` is missing", entry.name)),
            Some(other) if other != entry => return Some(format!("`{}` was changed", entry.name)),
            Some(_) => {}
        }
    }
    let extra = found.entries().iter().find(|entry| expected.entry(&entry.name).is_none());
    extra.map(|entry| format!("`{}` was added", entry.name))
}

/// Creates `path` and what is above it, 0700 where new.
pub(super) fn make_private(path: &Path) -> Result<(), EnvironmentError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(EnvironmentError::io("create", path))
}

pub(super) fn random_name(near: &Path) -> Result<String, EnvironmentError> {
    let mut bytes = [0_u8; 8];
    let wrap = EnvironmentError::io("draw random bytes for", near);
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(hex_encode(&bytes)),
        Err(cause) => Err(wrap(std::io::Error::other(cause))),
    }
}

/// Where hints about a lock are kept.
pub(super) fn hint_path(cache_dir: &Path, lock: &Digest, interpreter: &Digest) -> PathBuf {
    cache_dir.join("envs").join(format!("{}-{}.wheels", lock.hex(), interpreter.short()))
}
