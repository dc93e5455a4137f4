//! Remembers digests of files that have not been touched: an interpreter's, the host's, and those of our own copies of them.
//!
//! in: files, a folder of the user's state (with what he has seen of logs; no step writes there); out: their digest.
//! **Invariant:** a remembered digest is used only if every file still has the device, inode, size, mode and times (ctime too, which no
//! program can set) that it had before and after it was hashed.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use seaworthy_core::artifact::Manifest;
use seaworthy_core::digest::{Digest, Hasher};

use super::cache::{make_private, random_name};
use super::error::EnvironmentError;
use super::interpreter::{HIDDEN, Interpreter, digest_of, find_with};
use super::seal;

const DEPTH_MAX: usize = 32;

/// [`super::find_interpreter`], but hashes only what changed since `memo_dir` last saw it: a few milliseconds.
pub fn find_interpreter_remembered(candidates: &[PathBuf], memo_dir: &Path) -> Result<Interpreter, EnvironmentError> {
    find_with(candidates, &mut |interpreter| {
        let before = signature(interpreter)?;
        let place = memo_dir.join(format!("python-{}", before.hex()));
        if let Some(known) = recall(&place) {
            return Ok(known);
        }
        let digest = digest_of(interpreter)?;
        if signature(interpreter)? == before {
            // not remembering costs time, nothing else
            let _ = remember(memo_dir, &place, &digest);
        }
        Ok(digest)
    })
}

/// What `hash` finds of the files of `sources`, or what it found when last they were as they are now. `kind` names how it looks at them.
pub(super) fn manifest_remembered(
    kind: &str,
    sources: &BTreeMap<String, PathBuf>,
    memo_dir: &Path,
    hash: impl FnOnce() -> Result<Manifest, EnvironmentError>,
) -> Result<Manifest, EnvironmentError> {
    let sign = || {
        let mut hasher = Hasher::new();
        hasher.update(format!("{kind}\n").as_bytes());
        for (name, source) in sources {
            hasher.update(format!("{name} from\n").as_bytes());
            note(source, &mut hasher).map_err(EnvironmentError::io("examine", source))?;
        }
        Ok::<Digest, EnvironmentError>(hasher.finish())
    };
    let before = sign()?;
    let place = memo_dir.join(format!("files-{}", before.hex()));
    if let Some(known) = fs::read(&place).ok().and_then(|bytes| Manifest::from_bytes(&bytes).ok()) {
        return Ok(known);
    }
    let manifest = hash()?;
    if sign()? == before {
        // not remembering costs time, nothing else
        let _ = remember_bytes(memo_dir, &place, &manifest.to_bytes());
    }
    Ok(manifest)
}

/// The seal under which the cached tree `name` was last hashed.
pub(super) fn recall_tree(memo_dir: &Path, name: &Digest) -> Option<Digest> {
    recall(&tree_place(memo_dir, name))
}

/// Keeps the seal of the cached tree `name`, whose bytes were just hashed.
pub(super) fn remember_tree(memo_dir: &Path, name: &Digest, seal: &Digest) -> Result<(), EnvironmentError> {
    remember(memo_dir, &tree_place(memo_dir, name), seal)
}

/// The artifact that was compiled for `name`.
pub(super) fn recall_bytecode(memo_dir: &Path, name: &Digest) -> Option<Digest> {
    recall(&memo_dir.join(format!("bytecode-{}", name.hex())))
}

/// Keeps which artifact was just compiled for `name`.
pub(super) fn remember_bytecode(memo_dir: &Path, name: &Digest, artifact: &Digest) -> Result<(), EnvironmentError> {
    remember(memo_dir, &memo_dir.join(format!("bytecode-{}", name.hex())), artifact)
}

fn tree_place(memo_dir: &Path, name: &Digest) -> PathBuf {
    memo_dir.join(format!("tree-{}", name.hex()))
}

/// Whether the interpreter still is what its digest says.
pub(super) fn is_unchanged(interpreter: &Interpreter, memo_dir: &Path) -> bool {
    find_interpreter_remembered(std::slice::from_ref(&interpreter.path), memo_dir).is_ok_and(|found| found == *interpreter)
}

fn recall(place: &Path) -> Option<Digest> {
    fs::read_to_string(place).ok()?.trim().parse().ok()
}

fn remember(memo_dir: &Path, place: &Path, digest: &Digest) -> Result<(), EnvironmentError> {
    remember_bytes(memo_dir, place, format!("{digest}\n").as_bytes())
}

fn remember_bytes(memo_dir: &Path, place: &Path, bytes: &[u8]) -> Result<(), EnvironmentError> {
    make_private(memo_dir)?;
    let new = memo_dir.join(format!("new-{}", random_name(memo_dir)?));
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(EnvironmentError::io("create", &new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(EnvironmentError::io("write", &new))?;
    rustix::fs::rename(&new, place).map_err(EnvironmentError::os("rename", &new))
}

/// What the file system says about every file that the digest covers.
pub(super) fn signature(interpreter: &Interpreter) -> std::io::Result<Digest> {
    let mut hasher = Hasher::new();
    hasher.update(format!("{:?} {} {}\n", interpreter.version, interpreter.abi_tag, interpreter.platform).as_bytes());
    for file in std::iter::once(&interpreter.path).chain(&interpreter.libpython) {
        note(file, &mut hasher)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    hasher.update(interpreter.stdlib.as_os_str().as_bytes());
    walk(&openat(CWD, &interpreter.stdlib, flags, Mode::empty())?, "", 0, &mut hasher)?;
    Ok(hasher.finish())
}

fn walk(folder: &OwnedFd, below: &str, depth: usize, hasher: &mut Hasher) -> std::io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(std::io::Error::other("the standard library is nested too deeply"));
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") && !HIDDEN.iter().any(|hidden| name.to_bytes() == hidden.as_bytes()) {
            names.push((name.to_owned(), entry.file_type()));
        }
    }
    names.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, kind) in names {
        let kind = match kind {
            FileType::Unknown => FileType::from_raw_mode(statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode),
            known => known,
        };
        if kind == FileType::Directory {
            let inner = openat(folder, &name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            walk(&inner, &format!("{below}{}/", name.to_string_lossy()), depth + 1, hasher)?;
        } else {
            hasher.update(below.as_bytes());
            note_at(folder, &name, hasher)?;
        }
    }
    Ok(())
}

fn note(path: &Path, hasher: &mut Hasher) -> std::io::Result<()> {
    note_at(CWD, &CString::new(path.as_os_str().as_bytes())?, hasher)
}

/// A link is noted itself and by what it leads to.
fn note_at(folder: impl AsFd, name: &CStr, hasher: &mut Hasher) -> std::io::Result<()> {
    let own = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    hasher.update(name.to_bytes_with_nul());
    seal::identify(&own, hasher);
    if FileType::from_raw_mode(own.st_mode) == FileType::Symlink
        && let Ok(target) = statat(&folder, name, AtFlags::empty())
    {
        seal::identify(&target, hasher);
    }
    Ok(())
}
