//! The places of a sandbox without namespaces: a folder of the host that stands for what would be a private root.
//!
//! In: a specification. Out: the folder, with `in`, `out`, `tmp` and links to what is shown, and the variables rewritten to it.
//!
//! **Invariant:** a mount whose place is where it lies on the host stays there; every other one is a link in the view.
//! **Invariant:** the folder is removed when [`View`] is dropped.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::spec::{Mount, Spec};
use crate::wire::Order;

/// Places that the sandbox makes.
const OWN: [&str; 3] = ["in", "out", "tmp"];

/// The folder of one run.
#[derive(Debug)]
pub(crate) struct View {
    dir: PathBuf,
    /// First components of the paths that lie in it.
    tops: BTreeSet<String>,
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
        let mut view = Self { dir, tops: OWN.map(str::to_owned).into() };
        if let Some(owner) = owner {
            std::os::unix::fs::chown(&view.dir, Some(owner), Some(owner))?;
        }
        let placed = mounts.iter().filter(|mount| !in_place(mount)).map(|mount| mount.target.as_str());
        let links = spec.links.iter().map(|(link, _)| link.as_str()).filter(|link| fs::symlink_metadata(link).is_err());
        view.tops.extend(placed.chain(links).filter_map(top).map(str::to_owned));
        Ok(view)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a path of the specification lies on the host.
    pub(crate) fn find(&self, path: &str) -> String {
        match top(path).filter(|top| path.starts_with('/') && self.tops.contains(*top)) {
            Some(_) => format!("{}{path}", self.dir.display()),
            None => path.to_owned(),
        }
    }

    /// A variable's value: each of its paths.
    pub(crate) fn rewrite(&self, value: &str) -> String {
        value.split(':').map(|part| self.find(part)).collect::<Vec<_>>().join(":")
    }
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
        if fs::remove_dir_all(&self.dir).is_err() {
            // folders that the step closed to itself
            loosen(&self.dir, 0);
            // what still cannot be removed is told by nobody: the run itself was well
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Removes the folders of launchers that were killed before they could.
fn sweep(base: &Path) {
    let own = rustix::process::geteuid();
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("seaworthy-step-")?.split('-').next()?.parse::<u32>().ok());
        let left = pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        let ours = entry.metadata().is_ok_and(|found| found.is_dir() && (own.is_root() || found.uid() == own.as_raw()));
        if left && ours {
            drop(View { dir: entry.path(), tops: BTreeSet::new() });
        }
    }
}

fn loosen(dir: &Path, depth: usize) {
    let is_folder = fs::symlink_metadata(dir).is_ok_and(|found| found.is_dir());
    if !is_folder || depth > 64 {
        return;
    }
    // the removal after it tells whether it worked
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        loosen(&entry.path(), depth + 1);
    }
}
