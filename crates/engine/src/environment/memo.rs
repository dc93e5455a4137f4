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
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use seaworthy_core::artifact::Manifest;
use seaworthy_core::digest::{Digest, Hasher};

use super::cache::{make_private, random_name};
use super::error::EnvironmentError;
use super::interpreter::{HIDDEN, Interpreter, digest_of, find_with};
use super::seal::Identity;

const DEPTH_MAX: usize = 32;

/// [`super::find_interpreter`], but hashes only what changed since `memo_dir` last saw it: a few milliseconds.
pub fn find_interpreter_remembered(candidates: &[PathBuf], memo_dir: &Path) -> Result<Interpreter, EnvironmentError> {
    find_with(candidates, &mut |interpreter| {
        let (before, looked) = look(interpreter)?;
        let place = memo_dir.join(format!("python-{}", before.hex()));
        if let Some(known) = recall(&place) {
            return Ok((known, looked));
        }
        let digest = digest_of(interpreter)?;
        let (after, looked) = look(interpreter)?;
        if after == before {
            // not remembering costs time, nothing else
            let _ = remember(memo_dir, &place, &digest);
            return Ok((digest, looked));
        }
        Ok((digest, Looked::default()))
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
pub(crate) fn is_unchanged(interpreter: &Interpreter, memo_dir: &Path) -> bool {
    if interpreter.looked.holds() {
        return true;
    }
    find_interpreter_remembered(std::slice::from_ref(&interpreter.path), memo_dir).is_ok_and(|found| found == *interpreter)
}

fn recall(place: &Path) -> Option<Digest> {
    fs::read_to_string(place).ok()?.trim().parse().ok()
}

fn remember(memo_dir: &Path, place: &Path, digest: &Digest) -> Result<(), EnvironmentError> {
    remember_bytes(memo_dir, place, format!("{digest}\n").as_bytes())
}

pub(super) fn remember_bytes(memo_dir: &Path, place: &Path, bytes: &[u8]) -> Result<(), EnvironmentError> {
    make_private(memo_dir)?;
    let new = memo_dir.join(format!("new-{}", random_name(memo_dir)?));
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(EnvironmentError::io("create", &new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(EnvironmentError::io("write", &new))?;
    rustix::fs::rename(&new, place).map_err(EnvironmentError::os("rename", &new))
}

/// How the files of an interpreter stood: what has to be looked at again to know that nobody touched them. No part of what the
/// interpreter is, so two of them are always equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Looked(Option<Arc<Seen>>);

impl PartialEq for Looked {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Looked {}

impl Looked {
    /// Whether everything still stands so. A name that came or went shows in the times of its folder, so nothing is listed and nothing
    /// hashed. What cannot be told is a no: then all of it is looked at anew.
    pub(super) fn holds(&self) -> bool {
        self.0.as_deref().is_some_and(|seen| seen.holds().unwrap_or(false))
    }
}

#[derive(Debug)]
struct Seen {
    stdlib: PathBuf,
    /// By path from the standard library, or absolute: the file or folder itself, and what a link leads to.
    files: Vec<(CString, Identity, Option<Identity>)>,
}

impl Seen {
    fn holds(&self) -> std::io::Result<bool> {
        let stdlib = open_stdlib(&self.stdlib)?;
        for (name, own, target) in &self.files {
            if Identity::of(&statat(&stdlib, name, AtFlags::SYMLINK_NOFOLLOW)?) != *own {
                return Ok(false);
            }
            // a link that led nowhere must still do so
            if own.is_link() && statat(&stdlib, name, AtFlags::empty()).ok().map(|stat| Identity::of(&stat)) != *target {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn open_stdlib(stdlib: &Path) -> std::io::Result<OwnedFd> {
    Ok(openat(CWD, stdlib, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// What the file system says about every file that the digest covers.
pub(super) fn signature(interpreter: &Interpreter) -> std::io::Result<Digest> {
    look(interpreter).map(|(signature, _)| signature)
}

fn look(interpreter: &Interpreter) -> std::io::Result<(Digest, Looked)> {
    let mut look = Look { hasher: Hasher::new(), files: Vec::new() };
    look.hasher.update(format!("{:?} {} {}\n", interpreter.version, interpreter.abi_tag, interpreter.platform).as_bytes());
    for file in std::iter::once(&interpreter.path).chain(&interpreter.libpython) {
        let name = CString::new(file.as_os_str().as_bytes())?;
        look.note(CWD, &name, name.clone())?;
    }
    look.hasher.update(interpreter.stdlib.as_os_str().as_bytes());
    look.walk(&open_stdlib(&interpreter.stdlib)?, &mut Vec::new(), 0)?;
    let seen = Seen { stdlib: interpreter.stdlib.clone(), files: look.files };
    Ok((look.hasher.finish(), Looked(Some(Arc::new(seen)))))
}

struct Look {
    hasher: Hasher,
    files: Vec<(CString, Identity, Option<Identity>)>,
}

impl Look {
    /// `below` is the folder's path from the standard library, and is so again afterwards.
    fn walk(&mut self, folder: &OwnedFd, below: &mut Vec<u8>, depth: usize) -> std::io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(std::io::Error::other("the standard library is nested too deeply"));
        }
        // its times are no part of the signature: `__pycache__` comes and goes
        let own = if below.is_empty() { c".".to_owned() } else { CString::new(below.as_slice())? };
        self.files.push((own, Identity::of(&fstat(folder)?), None));
        let mut names = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") && !HIDDEN.iter().any(|hidden| name.to_bytes() == hidden.as_bytes()) {
                names.push((name.to_owned(), entry.file_type()));
            }
        }
        names.sort_by(|a, b| a.0.cmp(&b.0));
        let length = below.len();
        for (name, kind) in names {
            let kind = match kind {
                FileType::Unknown => FileType::from_raw_mode(statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode),
                known => known,
            };
            if length > 0 {
                below.push(b'/');
            }
            below.extend(name.to_bytes());
            if kind == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                self.walk(&openat(folder, &name, flags, Mode::empty())?, below, depth + 1)?;
            } else {
                self.note(folder, &name, CString::new(below.as_slice())?)?;
            }
            below.truncate(length);
        }
        Ok(())
    }

    /// A link is noted itself and by what it leads to.
    fn note(&mut self, folder: impl AsFd, name: &CStr, path: CString) -> std::io::Result<()> {
        let (own, target) = identities(&folder, name)?;
        self.hasher.update(path.to_bytes_with_nul());
        own.hash(&mut self.hasher);
        if let Some(target) = &target {
            target.hash(&mut self.hasher);
        }
        self.files.push((path, own, target));
        Ok(())
    }
}

fn note(path: &Path, hasher: &mut Hasher) -> std::io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let (own, target) = identities(CWD, &name)?;
    hasher.update(name.to_bytes_with_nul());
    own.hash(hasher);
    if let Some(target) = target {
        target.hash(hasher);
    }
    Ok(())
}

/// How a file stands; of a link also what it leads to, if that is there.
fn identities(folder: impl AsFd, name: &CStr) -> std::io::Result<(Identity, Option<Identity>)> {
    let own = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let own = Identity::of(&own);
    let target = if own.is_link() { statat(&folder, name, AtFlags::empty()).ok() } else { None };
    Ok((own, target.map(|stat| Identity::of(&stat))))
}
