//! Files as one folder of ours: of the host's a step is shown this copy, a mount for each top-level name, and never the host's own; of
//! compiled Python it is shown the copy of what the store has.
//!
//! in: what the tree must hold and who has it; out: [`SealedTree`]: open folders whose bytes were verified in this process.
//! Layout: `CACHE/<kind>/<name>/usr/bin/…`; files 0555 or 0444, folders 0555, some of them empty: there a sandbox mounts something else.
//! **Invariant:** what is shown hashes to the manifest: all of it is hashed before the first use in a process, or has the seal under which
//! it was hashed before; and it has that seal again before every step.

use std::collections::BTreeSet;
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
    /// Empty folders for other mounts.
    pub(super) empty: BTreeSet<String>,
}

type Fetch<'a> = &'a dyn Fn(&ManifestEntry) -> Result<Source, EnvironmentError>;

/// Where a tree is kept, and who has its bytes.
pub(super) struct Kept<'a> {
    pub(super) places: Places<'a>,
    /// The folder of the cache.
    pub(super) kind: &'static str,
    /// Names the tree in it.
    pub(super) name: Digest,
    /// Opens one file, to be copied.
    pub(super) fetch: Fetch<'a>,
}

/// A file to be copied.
pub(super) struct Source {
    pub(super) file: File,
    /// For messages.
    pub(super) path: PathBuf,
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
pub(super) struct SealedTree {
    wanted: Wanted,
    place: PathBuf,
    root: OwnedFd,
    /// As it stood when its bytes were last known.
    seal: Mutex<Seal>,
}

impl SealedTree {
    /// Finds the tree in the cache, or copies it there.
    pub(super) fn open(wanted: Wanted, kept: &Kept<'_>) -> Result<Self, EnvironmentError> {
        let (places, name) = (kept.places, kept.name);
        let folder = places.cache_dir.join(kept.kind);
        make_private(&folder)?;
        let place = folder.join(name.hex());
        if std::fs::symlink_metadata(&place).is_err() {
            let new = folder.join(format!("new-{}", random_name(&folder)?));
            let built = build(&wanted, kept.fetch, &new).and_then(|()| put_in_place(&new, &place));
            if built.is_err() {
                // the first fault is the one to tell; what is left behind has a name that nobody looks up
                let _ = remove_checkout(&new);
            }
            built?;
        }
        let root = open_cached(&place, &place)?;
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
        if !known.holds(&self.root, &self.place)? {
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

    /// A step could read its shell there, but not execute it.
    pub(super) fn refuse_noexec(&self) -> Result<(), EnvironmentError> {
        let system = fstatvfs(&self.root).map_err(EnvironmentError::os("examine", &self.place))?;
        if system.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            let reason = "its file system is mounted `noexec`; set XDG_CACHE_HOME to another";
            let cause = std::io::Error::new(std::io::ErrorKind::PermissionDenied, reason);
            return Err(EnvironmentError::io("execute programs from", &self.place)(cause));
        }
        Ok(())
    }

    /// The tree as one mount without programs, [checked](Self::check).
    pub(super) fn mount(&self, target: &str) -> Result<Mount, EnvironmentError> {
        self.check()?;
        let source = self.root.try_clone().map_err(EnvironmentError::io("open", &self.place))?;
        Ok(Mount { source, target: target.to_owned(), exec: false })
    }

    /// A mount for each top-level folder, [checked](Self::check).
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

/// Copies the files into the new folder `new`; one that is no longer what the manifest says stops it.
fn build(wanted: &Wanted, fetch: Fetch<'_>, new: &Path) -> Result<(), EnvironmentError> {
    make_private(new)?;
    let mut made = BTreeSet::new();
    for entry in wanted.manifest.entries() {
        make_parents(new, &entry.name, &mut made)?;
        copy_file(fetch(entry)?, &new.join(&entry.name), entry)?;
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
    close_folder(new)?;
    settle();
    Ok(())
}

fn copy_file(source: Source, path: &Path, entry: &ManifestEntry) -> Result<(), EnvironmentError> {
    let Source { file: mut reader, path: source } = source;
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(EnvironmentError::io("create", path))?;
    let mut hasher = Hasher::new();
    copy(&mut reader, &mut out, &mut hasher).map_err(EnvironmentError::io("copy", &source))?;
    if hasher.finish() != entry.digest {
        return Err(EnvironmentError::Changed { path: source });
    }
    let mode = if entry.mode & 0o100 == 0 { 0o444 } else { 0o555 };
    out.set_permissions(Permissions::from_mode(mode)).map_err(EnvironmentError::io("set the mode of", path))
}
