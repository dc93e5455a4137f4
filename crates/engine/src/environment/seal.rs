//! What the file system says about a folder of the cache: whether anything in it was touched since its bytes were hashed.
//!
//! in: an open folder; out: [`Seal`]: one digest of name, device, inode, size, mode, links and times of every file and folder below.
//! **Invariant:** two equal seals of a folder mean equal bytes, as far as the kernel's `ctime` goes: every change of a file's bytes, mode or
//! names sets it, and no program can set it back. What this trusts beyond that: nobody writes to the device below the file system or turns
//! the machine's clock back, and a change is at least a clock tick younger than what it changes ([`settle`]).

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
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
}

/// Looks at everything below `folder`; `path` is for messages.
pub(super) fn seal(folder: &OwnedFd, path: &Path) -> Result<Seal, EnvironmentError> {
    let mut look = Look { hasher: Hasher::new(), folders: BTreeSet::new(), path };
    look.folder(folder, "", 0)?;
    Ok(Seal { digest: look.hasher.finish(), folders: look.folders })
}

/// Lets the clock tick: what is changed after this differs in time from what was just written.
pub(super) fn settle() {
    std::thread::sleep(SETTLE);
}

struct Look<'a> {
    hasher: Hasher,
    folders: BTreeSet<String>,
    path: &'a Path,
}

impl Look<'_> {
    fn folder(&mut self, folder: &OwnedFd, below: &str, depth: usize) -> Result<(), EnvironmentError> {
        let failed = |what| EnvironmentError::os(what, self.path.join(below));
        if depth > DEPTH_MAX {
            let reason = format!("`{below}` is nested too deeply");
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
        self.note(below, b"", &own);
        for name in names {
            self.entry(folder, &name, below, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &CString, below: &str, depth: usize) -> Result<(), EnvironmentError> {
        let path = format!("{below}{}", name.to_string_lossy());
        let failed = |what| EnvironmentError::os(what, self.path.join(&path));
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("examine"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            self.note(below, name.to_bytes(), &stat);
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = openat(folder, name, flags, Mode::empty()).map_err(failed("open"))?;
        self.folder(&inner, &format!("{path}/"), depth + 1)?;
        self.folders.insert(path);
        Ok(())
    }

    fn note(&mut self, below: &str, name: &[u8], stat: &Stat) {
        self.hasher.update(below.as_bytes());
        self.hasher.update(name);
        // a name has no NUL
        self.hasher.update(b"\0");
        identify(stat, &mut self.hasher);
    }
}

/// Device, inode, size, mode, links and times: what cannot stay the same when a file is changed or exchanged.
pub(super) fn identify(stat: &Stat, hasher: &mut Hasher) {
    hasher.update(&stat.st_dev.to_le_bytes());
    hasher.update(&stat.st_ino.to_le_bytes());
    hasher.update(&stat.st_size.to_le_bytes());
    hasher.update(&stat.st_mode.to_le_bytes());
    hasher.update(&stat.st_nlink.to_le_bytes());
    hasher.update(&stat.st_mtime.to_le_bytes());
    hasher.update(&stat.st_mtime_nsec.to_le_bytes());
    hasher.update(&stat.st_ctime.to_le_bytes());
    hasher.update(&stat.st_ctime_nsec.to_le_bytes());
}
