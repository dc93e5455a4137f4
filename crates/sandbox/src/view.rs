//! The places of a sandbox without namespaces: a folder of the host that stands for what would be a private root.
//!
//! In: a specification. Out: the folder, with `in`, `out`, `tmp` and links to what is shown, and the variables rewritten to it.
//!
//! **Invariant:** a mount whose place is where it lies on the host stays there; every other one is a link in the view.
//! **Invariant:** what the step's user cannot reach is shown as a copy of root's, which that user cannot change.
//! **Invariant:** folder and copies are removed when [`View`] is dropped.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};

use crate::spec::{Mount, Spec};
use crate::wire::Order;

mod copies;

use copies::Copies;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Folders within folders that are opened to be removed.
const DEPTH_MAX: usize = 64;

/// Places that the sandbox makes.
const OWN: [&str; 3] = ["in", "out", "tmp"];

/// The folder of one run.
#[derive(Debug)]
pub(crate) struct View {
    dir: PathBuf,
    /// Locked while the run lives: by that launchers of other process namespaces see it, too.
    own: OwnedFd,
    /// First components of the paths that lie in it.
    tops: BTreeSet<String>,
    /// Small files that lie in it.
    texts: BTreeSet<String>,
    /// What is where it lies on the host.
    stay: Vec<String>,
    copies: Option<Copies>,
}

impl View {
    /// Makes the folder, for the step's user if the launcher is root.
    pub(crate) fn make(owner: Option<u32>, spec: &Spec, mounts: &[Mount]) -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = format!("seaworthy-step-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let base = std::env::temp_dir().canonicalize()?;
        sweep(&base);
        let dir = base.join(name);
        DirBuilder::new().mode(0o700).create(&dir)?;
        let own = rustix::fs::open(&dir, FOLDER, Mode::empty())?;
        rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive)?;
        let tops = OWN.map(str::to_owned).into();
        let texts = spec.texts.iter().map(|(place, _)| place.clone()).collect();
        let mut view = Self { dir, own, tops, texts, stay: Vec::new(), copies: None };
        if let Some(owner) = owner {
            std::os::unix::fs::chown(&view.dir, Some(owner), Some(owner))?;
            view.copies = Some(Copies::new(&view.dir));
        }
        let (stay, placed): (Vec<&Mount>, Vec<&Mount>) = mounts.iter().filter(|mount| !is_mask(mount)).partition(|mount| in_place(mount));
        view.stay = stay.into_iter().map(|mount| mount.target.clone()).collect();
        let placed = placed.into_iter().map(|mount| mount.target.as_str());
        let links = spec.links.iter().map(|(link, _)| link.as_str()).filter(|link| fs::symlink_metadata(link).is_err());
        view.tops.extend(placed.chain(links).filter_map(top).map(str::to_owned));
        Ok(view)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a path of the specification lies on the host.
    pub(crate) fn find(&self, path: &str) -> String {
        if let Some(copy) = self.copies.as_ref().and_then(|copies| copies.find(path)) {
            return copy;
        }
        if self.stay.iter().any(|place| is_below(path, place)) {
            return path.to_owned();
        }
        if self.texts.contains(path) {
            return format!("{}{path}", self.dir.display());
        }
        match top(path).filter(|top| path.starts_with('/') && self.tops.contains(*top)) {
            Some(_) => format!("{}{path}", self.dir.display()),
            None => path.to_owned(),
        }
    }

    /// A variable's value: each of its paths.
    pub(crate) fn rewrite(&self, value: &str) -> String {
        value.split(':').map(|part| self.find(part)).collect::<Vec<_>>().join(":")
    }

    /// A word of the command: a path, or what follows the first `=` of an option.
    pub(crate) fn rewrite_word(&self, word: &str) -> String {
        match word.split_once('=') {
            Some((option, path)) if option.starts_with('-') && path.starts_with('/') => format!("{option}={}", self.find(path)),
            _ if word.starts_with('/') => self.find(word),
            _ => word.to_owned(),
        }
    }

    /// What the step is shown of `mount`: what rules are about, and where a link leads to; none if it lies at its place.
    pub(crate) fn show(&mut self, mount: &Mount) -> io::Result<(OwnedFd, Option<String>)> {
        let (stays, path) = (in_place(mount), path_of(&mount.source)?);
        let copy = match &mut self.copies {
            Some(copies) => copies.of(mount, &path, stays)?,
            None => None,
        };
        match copy {
            Some((source, place)) => Ok((source, (!stays).then_some(place))),
            None => Ok((mount.source.try_clone()?, (!stays).then_some(path))),
        }
    }
}

fn path_of(file: &OwnedFd) -> io::Result<String> {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    path.to_str().map(str::to_owned).ok_or_else(|| io::Error::other("its path is not UTF-8"))
}

fn is_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether it hides what lies at its target.
pub(crate) fn is_mask(mount: &Mount) -> bool {
    rustix::fs::fstat(&mount.source).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice)
}

/// Whether what is shown is what lies at that place of the host.
pub(crate) fn in_place(mount: &Mount) -> bool {
    let own = rustix::fs::fstat(mount.source.as_fd());
    matches!((own, fs::metadata(&mount.target)), (Ok(own), Ok(there)) if (own.st_dev, own.st_ino) == (there.dev(), there.ino()))
}

fn top(path: &str) -> Option<&str> {
    path.split('/').find(|part| !part.is_empty())
}

/// In the first process, as the step's user: folders, links, small files.
pub(crate) fn lay_out(order: &Order, view: &Path) -> io::Result<()> {
    for name in OWN {
        fs::create_dir(view.join(name))?;
    }
    for name in &order.outputs {
        fs::create_dir(view.join("out").join(name))?;
    }
    for mount in &order.mounts {
        if let Some(path) = &mount.reopen {
            link(path, &below(view, &mount.target)?)?;
        }
    }
    for (place, target) in &order.links {
        if fs::symlink_metadata(place).is_err() {
            link(target, &below(view, place)?)?;
        }
    }
    for (place, text) in &order.texts {
        let path = below(view, place)?;
        fs::File::options().write(true).create_new(true).open(&path)?.write_all(text.as_bytes())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444))?;
    }
    Ok(())
}

fn link(target: &str, place: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, place)
}

/// The place in the view, with its parents made; none of them may be a link.
fn below(view: &Path, place: &str) -> io::Result<PathBuf> {
    let mut path = view.to_owned();
    let parts: Vec<&str> = place.split('/').filter(|part| !part.is_empty()).collect();
    let (name, parents) = parts.split_last().ok_or(io::ErrorKind::InvalidInput)?;
    for part in parents {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(io::Error::other(format!("`{place}` lies in something that is shown"))),
            Err(_) => fs::create_dir(&path)?,
        }
    }
    Ok(path.join(name))
}

impl Drop for View {
    fn drop(&mut self) {
        remove(&self.dir, &self.own);
        if let Some(copies) = &self.copies {
            // only root's files are in it: nobody else can be in the way
            let _ = fs::remove_dir_all(&copies.dir);
        }
    }
}

fn remove(dir: &Path, own: &OwnedFd) {
    if fs::remove_dir_all(dir).is_err() {
        // folders that the step closed to itself; what still cannot be removed is told by nobody: the run itself was well
        if let Ok(stat) = rustix::fs::fstat(own) {
            let _ = loosen(own, stat.st_uid, 0);
        }
        let _ = fs::remove_dir_all(dir);
    }
}

/// Removes the folders of launchers of this user that were killed before they could. Root's belong to the steps' users, of which it
/// cannot be told who made them: they stay until `/tmp` is emptied.
fn sweep(base: &Path) {
    let own = rustix::process::geteuid();
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("seaworthy-step-")?.split('-').next()?.parse::<u32>().ok());
        // one that is being made has no lock yet; of other process namespaces the lock alone tells
        if pid.is_none_or(|pid| Path::new("/proc").join(pid.to_string()).exists()) {
            continue;
        }
        let Ok(folder) = rustix::fs::open(entry.path(), FOLDER, Mode::empty()) else { continue };
        let ours = rustix::fs::fstat(&folder).is_ok_and(|found| found.st_uid == own.as_raw());
        if ours && rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(&entry.path(), &folder);
        }
    }
}

/// Opens folders of `owner` to their owner, each by descriptor: whoever exchanges names meanwhile leads nowhere else.
fn loosen(folder: &OwnedFd, owner: u32, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX || rustix::fs::fstat(folder)?.st_uid != owner {
        return Ok(());
    }
    rustix::fs::chmod(format!("/proc/self/fd/{}", folder.as_raw_fd()), Mode::RWXU)?;
    let open = rustix::fs::openat(folder, ".", FOLDER, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&open)?.flatten() {
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        if let Ok(below) = rustix::fs::openat(&open, name, FOLDER.union(OFlags::PATH), Mode::empty()) {
            loosen(&below, owner, depth + 1)?;
        }
    }
    Ok(())
}
