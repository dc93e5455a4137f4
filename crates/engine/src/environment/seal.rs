//! What the file system says about a folder of the cache: whether anything in it was touched since its bytes were hashed.
//!
//! in: an open folder; out: [`Seal`]: one digest of name, device, inode, size, mode, links and times of every file and folder below.
//! **Invariant:** two equal seals of a folder mean equal bytes, as far as the kernel's `ctime` goes: every change of a file's bytes, mode or
//! names sets it, and no program can set it back. What this trusts beyond that: nobody writes to the device below the file system or turns
//! the machine's clock back, and a change is at least a clock tick younger than what it changes ([`settle`]).

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use seaworthy_core::digest::{Digest, Hasher};

use super::error::EnvironmentError;

const DEPTH_MAX: usize = 64;
/// Longer than a tick of the clock that stamps files, on every kernel.
const SETTLE: Duration = Duration::from_millis(20);

/// How a folder stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seal {
    /// Of everything that was seen.
    pub(super) digest: Digest,
    /// The folders below, `/`-separated.
    pub(super) folders: BTreeSet<String>,
    /// The folder itself, and every file and folder below by its path from there.
    seen: Vec<(CString, Identity)>,
}

impl Seal {
    /// Whether `folder` still stands so. A name that came or went shows in the times of its folder, so nothing is listed and nothing
    /// hashed: one look a file.
    pub(super) fn holds(&self, folder: &OwnedFd, path: &Path) -> Result<bool, EnvironmentError> {
        for (name, identity) in &self.seen {
            match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if Identity::of(&stat) == *identity => {}
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
                Err(errno) => return Err(EnvironmentError::os("examine", path.join(OsStr::from_bytes(name.to_bytes())))(errno)),
            }
        }
        Ok(true)
    }
}

/// Looks at everything below `folder`; `path` is for messages.
pub(super) fn seal(folder: &OwnedFd, path: &Path) -> Result<Seal, EnvironmentError> {
    let mut look = Look { hasher: Hasher::new(), folders: BTreeSet::new(), seen: Vec::new(), path };
    look.folder(folder, &mut Vec::new(), 0)?;
    Ok(Seal { digest: look.hasher.finish(), folders: look.folders, seen: look.seen })
}

/// Lets the clock tick: what is changed after this differs in time from what was just written.
pub(super) fn settle() {
    std::thread::sleep(SETTLE);
}

struct Look<'a> {
    hasher: Hasher,
    folders: BTreeSet<String>,
    seen: Vec<(CString, Identity)>,
    path: &'a Path,
}

impl Look<'_> {
    /// `below` is the folder's path from the first, and is so again afterwards.
    fn folder(&mut self, folder: &OwnedFd, below: &mut Vec<u8>, depth: usize) -> Result<(), EnvironmentError> {
        let place = self.path.join(OsStr::from_bytes(below));
        let failed = |what| EnvironmentError::os(what, place.clone());
        if depth > DEPTH_MAX {
            let reason = format!("`{}` is nested too deeply", String::from_utf8_lossy(below));
            return Err(EnvironmentError::Tampered { path: self.path.to_path_buf(), reason });
        }
        let own = fstat(folder).map_err(failed("examine"))?;
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(failed("list"))? {
            let entry = entry.map_err(failed("list"))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort();
        self.note(if below.is_empty() { b"." } else { below }, &own)?;
        let length = below.len();
        for name in names {
            if length > 0 {
                below.push(b'/');
            }
            below.extend(name.to_bytes());
            self.entry(folder, &name, below, depth)?;
            below.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &CString, path: &mut Vec<u8>, depth: usize) -> Result<(), EnvironmentError> {
        let failed = |what, path: &[u8]| EnvironmentError::os(what, self.path.join(OsStr::from_bytes(path)));
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| failed("examine", path)(errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return self.note(path, &stat);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = openat(folder, name, flags, Mode::empty()).map_err(|errno| failed("open", path)(errno))?;
        self.folder(&inner, path, depth + 1)?;
        self.folders.insert(String::from_utf8_lossy(path).into_owned());
        Ok(())
    }

    fn note(&mut self, path: &[u8], stat: &Stat) -> Result<(), EnvironmentError> {
        let identity = Identity::of(stat);
        let name = CString::new(path).map_err(|_| {
            let reason = "a name holds a NUL".to_owned();
            EnvironmentError::Tampered { path: self.path.to_path_buf(), reason }
        })?;
        self.hasher.update(name.to_bytes_with_nul());
        identity.hash(&mut self.hasher);
        self.seen.push((name, identity));
        Ok(())
    }
}

/// Device, inode, size, mode, links and times: what cannot stay the same when a file is changed or exchanged. The types of these numbers
/// differ from one architecture to the next; each fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity([i128; 9]);

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        Self([
            i128::from(stat.st_dev),
            i128::from(stat.st_ino),
            i128::from(stat.st_size),
            i128::from(stat.st_mode),
            i128::from(stat.st_nlink),
            i128::from(stat.st_mtime),
            i128::from(stat.st_mtime_nsec),
            i128::from(stat.st_ctime),
            i128::from(stat.st_ctime_nsec),
        ])
    }

    pub(super) fn is_link(&self) -> bool {
        let Self([_, _, _, mode, ..]) = self;
        u32::try_from(*mode).is_ok_and(|mode| FileType::from_raw_mode(mode) == FileType::Symlink)
    }

    pub(super) fn hash(&self, hasher: &mut Hasher) {
        for number in self.0 {
            hasher.update(&number.to_le_bytes());
        }
    }
}
