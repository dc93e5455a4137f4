//! The host's files as one folder of ours: a step is shown this copy, a mount for each top-level name, and never the host's own files.
//!
//! in: what the tree must hold and where the host has it; out: [`HostTree`]: open folders whose bytes were verified in this process.
//! Layout: `CACHE/host/<name>/usr/bin/…`; files 0555 or 0444, folders 0555, some of them empty: there a sandbox mounts something else.
//! **Invariant:** what is shown hashes to the manifest: all of it is hashed before the first use in a process, or has the seal under which
//! it was hashed before; and it has that seal again before every step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, StatVfsMountFlags, fstatvfs, openat};
use seaworthy_core::artifact::{Manifest, ManifestEntry};
use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_sandbox::Mount;
use seaworthy_store::artifacts::remove_checkout;

use super::cache::{make_private, open_cached, put_in_place, random_name, verified};
use super::error::EnvironmentError;
use super::memo::{recall_tree, remember_tree};
use super::seal::{Seal, seal, settle};
use super::unpack::{close_folder, copy, make_folder, make_parents};

/// Folders of this user that environments stand on.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// `$XDG_CACHE_HOME/seaworthy`: never believed.
    pub cache_dir: &'a Path,
    /// `$XDG_STATE_HOME/seaworthy`: what is remembered of files that nobody touched.
    pub state_dir: &'a Path,
}

/// What a tree holds.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Names, digests, modes.
    pub(super) manifest: Manifest,
    /// Where the host has each of them.
    pub(super) sources: BTreeMap<String, PathBuf>,
    /// Empty folders for other mounts.
    pub(super) empty: BTreeSet<String>,
}

impl Wanted {
    /// Names the tree.
    pub(super) fn digest(&self) -> Digest {
        let mut text = format!("seaworthy host tree 1\nfiles {}\n", self.manifest.reference().digest);
        for folder in &self.empty {
            text.push_str(&format!("folder {folder}\n"));
        }
        Digest::of(text.as_bytes())
    }

    /// All folders, outer ones before inner ones.
    fn folders(&self) -> BTreeSet<String> {
        let names = self.manifest.entries().iter().map(|entry| entry.name.as_str());
        let mut folders = self.empty.clone();
        for path in names.chain(self.empty.iter().map(String::as_str)) {
            folders.extend(path.match_indices('/').filter_map(|(end, _)| path.get(..end)).map(str::to_owned));
        }
        folders
    }

    fn tops(&self) -> impl Iterator<Item = String> {
        self.folders().into_iter().filter(|folder| !folder.contains('/'))
    }
}

/// A verified copy.
#[derive(Debug)]
pub(super) struct HostTree {
    wanted: Wanted,
    place: PathBuf,
    root: OwnedFd,
    /// As it stood when its bytes were last known.
    seal: Mutex<Seal>,
}

impl HostTree {
    /// Finds the tree in the cache, or copies it there.
    pub(super) fn open(wanted: Wanted, places: Places<'_>) -> Result<Self, EnvironmentError> {
        let host = places.cache_dir.join("host");
        make_private(&host)?;
        let name = wanted.digest();
        let place = host.join(name.hex());
        if std::fs::symlink_metadata(&place).is_err() {
            let new = host.join(format!("new-{}", random_name(&host)?));
            let built = build(&wanted, &new).and_then(|()| put_in_place(&new, &place));
            if built.is_err() {
                // the first fault is the one to tell; what is left behind has a name that nobody looks up
                let _ = remove_checkout(&new);
            }
            built?;
        }
        let root = open_cached(&place, &place)?;
        refuse_noexec(&root, &place)?;
        let now = seal(&root, &place)?;
        if recall_tree(places.state_dir, &name) != Some(now.digest) {
            let (hashed, verified) = hashed(&wanted, &place)?;
            if verified == now {
                // not remembering costs time, nothing else
                let _ = remember_tree(places.state_dir, &name, &now.digest);
            }
            return Ok(Self { wanted, place, root: hashed, seal: Mutex::new(verified) });
        }
        Ok(Self { wanted, place, root, seal: Mutex::new(now) })
    }

    /// Nothing of the tree was touched since it was hashed, or all of it is hashed again.
    pub(super) fn check(&self) -> Result<(), EnvironmentError> {
        let mut known = self.seal.lock().unwrap_or_else(PoisonError::into_inner);
        if seal(&self.root, &self.place)? != *known {
            let (root, now) = hashed(&self.wanted, &self.place)?;
            let same = |folder: &OwnedFd| rustix::fs::fstat(folder).map(|stat| (stat.st_dev, stat.st_ino)).ok();
            if same(&root) != same(&self.root) {
                let reason = "the folder itself was replaced".to_owned();
                return Err(EnvironmentError::Tampered { path: self.place.clone(), reason });
            }
            *known = now;
        }
        Ok(())
    }

    /// The tree for one sandbox, [checked](Self::check).
    pub(super) fn mounts(&self) -> Result<Vec<Mount>, EnvironmentError> {
        self.check()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mount = |top: String| {
            let source =
                openat(&self.root, top.as_str(), flags, Mode::empty()).map_err(EnvironmentError::os("open", self.place.join(&top)))?;
            Ok(Mount { source, target: format!("/{top}"), exec: true })
        };
        self.wanted.tops().map(mount).collect()
    }
}

/// Hashes every byte at `place`; the folder and how it stood.
fn hashed(wanted: &Wanted, place: &Path) -> Result<(OwnedFd, Seal), EnvironmentError> {
    let tree = verified(place, place, &wanted.manifest)?;
    let folders = wanted.folders();
    let tampered =
        |folder: &String, what| EnvironmentError::Tampered { path: place.to_path_buf(), reason: format!("folder `{folder}` {what}") };
    if let Some(missing) = folders.difference(&tree.seal.folders).next() {
        return Err(tampered(missing, "is missing"));
    }
    match tree.seal.folders.difference(&folders).next() {
        Some(extra) => Err(tampered(extra, "was added")),
        None => Ok((tree.folder, tree.seal)),
    }
}

/// Copies the host's files into the new folder `new`; one that is no longer what the manifest says stops it.
fn build(wanted: &Wanted, new: &Path) -> Result<(), EnvironmentError> {
    make_private(new)?;
    let mut made = BTreeSet::new();
    for entry in wanted.manifest.entries() {
        let source = wanted.sources.get(&entry.name).ok_or_else(|| EnvironmentError::Changed { path: Path::new("/").join(&entry.name) })?;
        make_parents(new, &entry.name, &mut made)?;
        copy_file(source, &new.join(&entry.name), entry)?;
    }
    for folder in wanted.folders() {
        if made.insert(folder.clone()) {
            make_folder(&new.join(folder))?;
        }
    }
    // innermost first: a folder without the write bit takes no more names
    for folder in made.iter().rev() {
        close_folder(&new.join(folder))?;
    }
    settle();
    Ok(())
}

fn copy_file(source: &Path, path: &Path, entry: &ManifestEntry) -> Result<(), EnvironmentError> {
    let mut reader = File::open(source).map_err(EnvironmentError::io("open", source))?;
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(EnvironmentError::io("create", path))?;
    let mut hasher = Hasher::new();
    copy(&mut reader, &mut out, &mut hasher).map_err(EnvironmentError::io("copy", source))?;
    if hasher.finish() != entry.digest {
        return Err(EnvironmentError::Changed { path: source.to_path_buf() });
    }
    let mode = if entry.mode & 0o100 == 0 { 0o444 } else { 0o555 };
    out.set_permissions(Permissions::from_mode(mode)).map_err(EnvironmentError::io("set the mode of", path))
}

/// A step could read its shell there, but not execute it.
fn refuse_noexec(root: &OwnedFd, place: &Path) -> Result<(), EnvironmentError> {
    let system = fstatvfs(root).map_err(EnvironmentError::os("examine", place))?;
    if system.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        let cause =
            std::io::Error::new(std::io::ErrorKind::PermissionDenied, "its file system is mounted `noexec`; set XDG_CACHE_HOME to another");
        return Err(EnvironmentError::io("execute programs from", place)(cause));
    }
    Ok(())
}
