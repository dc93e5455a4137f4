//! Brings what a confined command left in `/out/<name>` to a folder of the host.
//!
//! in: collected files (regular, one name each, opened by the sandbox); out: copies below the folder.
//! **Invariant:** nothing is written outside the folder, whatever links lie in it; a file is there whole or not at all.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use seaworthy_sandbox::{CollectedFile, CollectedOutput};

use super::NOT_SET_UP;
use crate::failure::Failure;

/// A folder of the host, there from the beginning: a run whose results have no place should not begin.
pub(super) struct Folder {
    path: String,
    fd: OwnedFd,
}

pub(super) fn open(path: &Path) -> Result<Folder, Failure> {
    let shown = path.display().to_string();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = std::fs::create_dir_all(path).and_then(|()| Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?));
    match opened {
        Ok(fd) => Ok(Folder { path: shown, fd }),
        Err(error) => Err(refused(&shown, &error)),
    }
}

fn refused(path: &str, error: &io::Error) -> Failure {
    Failure::new(NOT_SET_UP, "sandbox/output-unwritable", format!("`{path}`: {error}"), "name a folder that you may write to with --rw")
}

pub(super) fn copy(output: CollectedOutput, folder: &Folder) -> Result<(), Failure> {
    for file in output.files {
        let shown = format!("{}/{}", folder.path, file.path);
        copy_file(file, folder).map_err(|error| refused(&shown, &error))?;
    }
    Ok(())
}

fn copy_file(mut file: CollectedFile, folder: &Folder) -> io::Result<()> {
    let (parents, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let mut at = folder.fd.try_clone()?;
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        match rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        at = rustix::fs::openat2(&at, part, flags, Mode::empty(), resolve)?;
    }
    let mode = Mode::from_raw_mode(if file.executable { 0o777 } else { 0o666 });
    // one at a time, and short: the name itself may be as long as names can be
    let new = format!(".seaworthy-{}", std::process::id());
    let make = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut copy = File::from(rustix::fs::openat(&at, new.as_str(), make, mode)?);
    let made = io::copy(&mut file.file, &mut copy).and_then(|_| Ok(rustix::fs::renameat(&at, new.as_str(), &at, name)?));
    if made.is_err() {
        // the first fault is the one to tell
        let _ = rustix::fs::unlinkat(&at, new.as_str(), AtFlags::empty());
    }
    made
}
