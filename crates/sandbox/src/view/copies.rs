//! Copies of what a user of the step's own cannot reach: the launcher is root, and its folders are closed to others.
//!
//! In: a mount, and its path. Out: a copy of root's beside the view, which the step's user can read and not change.
//!
//! **Invariant:** only files and folders are copied, each by descriptor; a link is copied as the link that it is.
//! **Invariant:** a program that cannot be reached is refused: a copy would be looked for in vain.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, FlockOperation, Mode, OFlags};

use super::is_below;
use crate::spec::Mount;

/// Folders within folders that are copied.
const DEPTH_MAX: usize = 64;

/// The copies of one run.
#[derive(Debug)]
pub(crate) struct Copies {
    pub(super) dir: PathBuf,
    /// Place of the specification, copy.
    moved: Vec<(String, String)>,
    made: usize,
    /// Locked while the run lives, as the view is.
    lock: Option<OwnedFd>,
}

impl Copies {
    pub(super) fn new(view: &Path) -> Self {
        let mut dir = view.as_os_str().to_owned();
        dir.push("-shown");
        Self { dir: dir.into(), moved: Vec::new(), made: 0, lock: None }
    }

    /// Where a path below something that was copied lies.
    pub(super) fn find(&self, path: &str) -> Option<String> {
        let (place, copy) = self.moved.iter().find(|(place, _)| is_below(path, place))?;
        Some(format!("{copy}{}", path.strip_prefix(place.as_str())?))
    }

    /// A copy, if others cannot reach what is mounted.
    pub(super) fn of(&mut self, mount: &Mount, path: &str, stays: bool) -> io::Result<Option<(OwnedFd, String)>> {
        if is_reachable(Path::new(path)) {
            return Ok(None);
        }
        let is_folder = FileType::from_raw_mode(rustix::fs::fstat(&mount.source)?.st_mode) == FileType::Directory;
        if stays && mount.exec && !is_folder {
            let what = format!("the step's user cannot reach the program `{path}`: a folder above it is closed to others");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        if self.made == 0 {
            // the name is the view's own, with an ending: nobody else made it
            DirBuilder::new().mode(0o755).create(&self.dir)?;
            fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o755))?;
            let own = rustix::fs::open(&self.dir, super::FOLDER, Mode::empty())?;
            rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive)?;
            self.lock = Some(own);
        }
        let place = self.dir.join(self.made.to_string());
        self.made += 1;
        if is_folder {
            copy_folder(&mount.source, &place, 0)?
        } else {
            copy_file(&mount.source, &place)?
        }
        let shown = place.to_str().map(str::to_owned).ok_or_else(|| io::Error::other("its path is not UTF-8"))?;
        if stays {
            self.moved.push((mount.target.clone(), shown.clone()));
        }
        let copied = rustix::fs::open(&place, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Some((copied, shown)))
    }
}

/// Whether any user gets to the file and may read it.
fn is_reachable(path: &Path) -> bool {
    let open = |path: &Path, bits: u32| fs::metadata(path).is_ok_and(|found| found.mode() & bits == bits);
    let wanted = if path.is_dir() { 0o005 } else { 0o004 };
    open(path, wanted) && path.ancestors().skip(1).all(|folder| open(folder, 0o001))
}

fn copy_folder(source: &OwnedFd, place: &Path, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("it is nested too deeply to be copied"));
    }
    fs::create_dir(place)?;
    let folder = rustix::fs::openat(source, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = rustix::fs::openat(&folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let below = place.join(std::ffi::OsStr::new(name.to_str().map_err(io::Error::other)?));
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::Directory => copy_folder(&found, &below, depth + 1)?,
            FileType::RegularFile => copy_file(&found, &below)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&folder, name, Vec::new())?;
                rustix::fs::symlink(target.as_c_str(), &below)?;
            }
            _ => {}
        }
    }
    fs::set_permissions(place, fs::Permissions::from_mode(0o755))
}

fn copy_file(source: &OwnedFd, place: &Path) -> io::Result<()> {
    let mut read = File::open(format!("/proc/self/fd/{}", source.as_fd().as_raw_fd()))?;
    let mode = if read.metadata()?.mode() & 0o111 == 0 { 0o444 } else { 0o555 };
    let mut write = File::options().write(true).create_new(true).mode(0o600).open(place)?;
    io::copy(&mut read, &mut write)?;
    write.set_permissions(fs::Permissions::from_mode(mode))
}
