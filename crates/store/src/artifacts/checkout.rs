//! A read-only folder tree of an artifact, for binding into a sandbox.
//!
//! in: a manifest; out: a folder of hard links to blobs (copies where the file system or the mode demands it).
//! **Invariant:** every file was hashed through a descriptor, and what was linked is the inode that was hashed.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, fstat, linkat, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;
use seaworthy_core::artifact::{Manifest, ManifestEntry};

use super::Artifacts;
use crate::error::{StoreError, blob_path};
use crate::folders;

/// Folders within folders that are removed at most.
const DEPTH_MAX: usize = 128;
const FOLDER_MODE: Mode = Mode::RUSR.union(Mode::XUSR).union(Mode::RGRP).union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);
const FILE_MODE: Mode = Mode::RUSR.union(Mode::RGRP).union(Mode::ROTH);

/// Artifacts of at most so many files are bound file by file.
const SINGLE_FILES_MAX: usize = 8;

impl Artifacts {
    /// The files of a small artifact, each hashed through the descriptor that is returned, to be bound one by one: no tree has to be made
    /// and removed. [`None`] if there are none or too many, or a program among them: blobs are no programs.
    pub fn single_files(&self, manifest: &Manifest) -> Result<Option<Vec<(String, File)>>, StoreError> {
        let entries = manifest.entries();
        if entries.is_empty() || entries.len() > SINGLE_FILES_MAX || entries.iter().any(|entry| entry.mode & 0o100 != 0) {
            return Ok(None);
        }
        let open = |entry: &ManifestEntry| {
            let file = self.verified_file(&entry.digest)?;
            let mode = fstat(&file).map_err(StoreError::os("examine", &entry.name))?.st_mode;
            refuse_mode(&entry.name, mode)?;
            Ok((entry.name.clone(), file))
        };
        entries.iter().map(open).collect::<Result<_, StoreError>>().map(Some)
    }

    /// Builds the artifact's tree as the new folder `dir`, all of it read-only, and returns the folder, open.
    ///
    /// On failure what was built is removed again. The caller removes the tree with [`remove_checkout`].
    pub fn checkout(&self, manifest: &Manifest, dir: &Path) -> Result<OwnedFd, StoreError> {
        mkdirat(CWD, dir, Mode::RWXU).map_err(StoreError::os("create", dir))?;
        let built = folders::folder(dir).and_then(|root| self.build(manifest, &root, dir).map(|()| root));
        if built.is_err() {
            // the first fault is the one to tell; a tree left behind is removed with the run's folder
            _ = remove_checkout(dir);
        }
        built
    }

    fn build(&self, manifest: &Manifest, root: &OwnedFd, dir: &Path) -> Result<(), StoreError> {
        let mut folders = BTreeSet::new();
        for entry in manifest.entries() {
            let mut ends = entry.name.match_indices('/').map(|(end, _)| end);
            for end in ends.by_ref() {
                let folder = entry.name.get(..end).unwrap_or_default();
                if folders.insert(folder.to_owned()) {
                    mkdirat(root, folder, Mode::RWXU).map_err(StoreError::os("create", dir.join(folder)))?;
                }
            }
            self.build_file(entry, root, dir)?;
        }
        // innermost first, and the root last: a folder without the write bit takes no more names
        for folder in folders.iter().rev() {
            let opened = folders::folder_in(root, folder).map_err(StoreError::os("open", dir.join(folder)))?;
            fchmod(opened, FOLDER_MODE).map_err(StoreError::os("set the mode of", dir.join(folder)))?;
        }
        fchmod(root, FOLDER_MODE).map_err(StoreError::os("set the mode of", dir))
    }

    fn build_file(&self, entry: &ManifestEntry, root: &OwnedFd, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(&entry.name);
        if entry.mode & 0o100 != 0 {
            return self.copy_file(entry, FOLDER_MODE, root, &path);
        }
        let mut file = self.verified_file(&entry.digest)?;
        match linkat(&self.blobs, &*blob_path(&entry.digest), root, &*entry.name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => {
                return self.copy_file(entry, FILE_MODE, root, &path);
            }
            Err(errno) => return Err(StoreError::os("link", path)(errno)),
        }
        let hashed = fstat(&file).map_err(StoreError::os("examine", &path))?;
        let linked = statat(root, &*entry.name, AtFlags::SYMLINK_NOFOLLOW).map_err(StoreError::os("examine", &path))?;
        if (hashed.st_dev, hashed.st_ino) != (linked.st_dev, linked.st_ino) {
            // replaced between hashing and linking: perhaps healed, so say what is there now
            self.check_open(&mut file, &entry.digest)?;
            return Err(StoreError::refused(&entry.name, "its blob was replaced while it was checked out"));
        }
        refuse_mode(&entry.name, linked.st_mode)
    }

    fn copy_file(&self, entry: &ManifestEntry, mode: Mode, root: &OwnedFd, path: &Path) -> Result<(), StoreError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(root, &*entry.name, flags, Mode::WUSR).map_err(StoreError::os("create", path))?);
        let mut reader = self.open_blob(&entry.digest)?;
        io::copy(&mut reader, &mut file).map_err(|cause| self.unwrap_corrupt("copy", &entry.digest, cause))?;
        file.flush().map_err(StoreError::io("write", path))?;
        fchmod(&file, mode).map_err(StoreError::os("set the mode of", path))
    }
}

/// A blob that can be written to is no blob.
fn refuse_mode(name: &str, mode: u32) -> Result<(), StoreError> {
    if mode & 0o7777 == 0o444 {
        return Ok(());
    }
    Err(StoreError::refused(name, format!("its blob has mode {:04o} instead of 0444", mode & 0o7777)))
}

/// Removes a tree that [`Artifacts::checkout`] built; nothing outside `dir` is touched, whatever links lie in it.
pub fn remove_checkout(dir: &Path) -> Result<(), StoreError> {
    match folders::folder(dir) {
        Ok(root) => empty(&root, dir, 0)?,
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(());
        }
        Err(fault) => return Err(fault),
    }
    unlinkat(CWD, dir, AtFlags::REMOVEDIR).map_err(StoreError::os("remove", dir))
}

fn empty(folder: &OwnedFd, path: &Path, depth: usize) -> Result<(), StoreError> {
    if depth > DEPTH_MAX {
        return Err(StoreError::TooLarge { what: format!("the depth of `{}` in folders", path.display()), limit: DEPTH_MAX as u64 });
    }
    fchmod(folder, Mode::RWXU).map_err(StoreError::os("set the mode of", path))?;
    for name in names(folder).map_err(StoreError::os("list", path))? {
        let inner = path.join(OsStr::from_bytes(name.to_bytes()));
        let stat = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(StoreError::os("examine", &inner))?;
        let flags = if FileType::from_raw_mode(stat.st_mode).is_dir() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = openat(folder, &name, flags, Mode::empty()).map_err(StoreError::os("open", &inner))?;
            empty(&opened, &inner, depth + 1)?;
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        unlinkat(folder, &name, flags).map_err(StoreError::os("remove", inner))?;
    }
    Ok(())
}

/// As they are: the trees of images have names that are not UTF-8.
fn names(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}
