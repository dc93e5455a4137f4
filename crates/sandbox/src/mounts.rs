//! The private root of a sandbox.
//!
//! In: an order and the descriptors of its mounts, inside new mount and pid namespaces. Out: the process stands in the new
//! root; the folder `/out` as a descriptor for the launcher.
//!
//! **Invariant:** nothing of the host is reachable by path but the mounts of the order, all read-only, five devices, and those that the order
//! declares.
//! **Invariant:** writable are `/out/<name>`, `/tmp` and `/dev/shm`; all bounded in size, none may hold programs.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, move_mount, open_tree, unmount,
};

use crate::device::Device;
use crate::secrets::{SECRETS_FOLDER, Secret};
use crate::syscall;
use crate::wire::{Order, OrderMount, Shape};

pub(crate) const RDONLY: u64 = 0x1;
pub(crate) const NOSUID: u64 = 0x2;
pub(crate) const NODEV: u64 = 0x4;
pub(crate) const NOEXEC: u64 = 0x8;

/// Shown empty: they tell of the host, or have been a way out of a container.
const PROC_MASKED: [&str; 14] = [
    "acpi",
    "asound",
    "config.gz",
    "driver",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "latency_stats",
    "modules",
    "sched_debug",
    "scsi",
    "timer_list",
];
/// Names in the root of what masks are made of; gone before the step starts.
const COVER_FILE: &str = ".empty";
const COVER_FOLDER: &str = ".void";
const DEVICES: [(&str, u32, u32); 5] = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];

/// The stage that failed, with why.
pub(crate) type Staged<T> = Result<T, (String, io::Error)>;

pub(crate) fn stage<E: Into<io::Error>>(name: impl Into<String>) -> impl FnOnce(E) -> (String, io::Error) {
    let name = name.into();
    move |error| (name, error.into())
}

/// Lays the root out and moves into it. Returns `/out`.
pub(crate) fn enter_root(order: &Order, sources: Vec<OwnedFd>, secrets: &[Secret]) -> Staged<OwnedFd> {
    // While the host's paths still mean what the launcher meant.
    let trees = find_trees(order, sources)?;
    let writable = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let root = tmpfs(&[("size", "16m"), ("nr_inodes", "65536"), ("mode", "0755")], writable).map_err(stage("making the root"))?;
    // A place that every system has; it is covered only in this mount namespace, and left with the old root.
    move_mount(root.as_fd(), "", CWD, "/tmp", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(stage("attaching the root"))?;
    let root = Root { fd: root };
    root.place_covers().map_err(stage("making masks"))?;
    root.place_mounts(order, &trees)?;
    root.place_proc().map_err(stage("mounting /proc"))?;
    root.place_devices().map_err(stage("making /dev"))?;
    for device in &order.devices {
        root.place_device(device).map_err(stage(format!("device `{}`", device.name)))?;
    }
    let out = root.place_writable(order).map_err(stage("making /out and /tmp"))?;
    root.place_secrets(secrets).map_err(stage("making /secrets"))?;
    for (link, target) in &order.links {
        root.link(link, target).map_err(stage(format!("link `{link}`")))?;
    }
    for (place, text) in &order.texts {
        root.text(place, text).map_err(stage(format!("file `{place}`")))?;
    }
    root.folder(&order.workdir).map_err(stage(format!("workdir `{}`", order.workdir)))?;
    root.remove_covers().map_err(stage("making masks"))?;
    root.pivot().map_err(stage("pivot_root"))?;
    Ok(out)
}

struct Root {
    fd: OwnedFd,
}

impl Root {
    fn place_covers(&self) -> io::Result<()> {
        self.file(COVER_FILE)?;
        self.folder(COVER_FOLDER)?;
        Ok(())
    }

    fn remove_covers(&self) -> io::Result<()> {
        rustix::fs::unlinkat(&self.fd, COVER_FILE, AtFlags::empty())?;
        Ok(rustix::fs::unlinkat(&self.fd, COVER_FOLDER, AtFlags::REMOVEDIR)?)
    }

    fn place_mounts(&self, order: &Order, trees: &[OwnedFd]) -> Staged<()> {
        let mut pairs: Vec<(&OrderMount, &OwnedFd)> = order.mounts.iter().zip(trees).collect();
        // Outer places first, so that an inner mount lands on top; otherwise in the given order.
        pairs.sort_by_key(|(mount, _)| mount.target.split('/').filter(|part| !part.is_empty()).count());
        for (mount, tree) in pairs {
            self.place_mount(mount, tree).map_err(stage(format!("mount `{}`", mount.target)))?;
        }
        Ok(())
    }

    fn place_mount(&self, mount: &OrderMount, tree: &OwnedFd) -> io::Result<()> {
        let target = match mount.shape {
            Shape::Mask => {
                let (parent, name) = mount.target.rsplit_once('/').unwrap_or(("", &mount.target));
                return self.mask(&self.folder(parent)?, name);
            }
            Shape::Folder => self.folder(&mount.target)?,
            Shape::File => self.file(&mount.target)?,
        };
        attach(tree.as_fd(), target.as_fd())
    }

    fn place_proc(&self) -> io::Result<()> {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), "hidepid", "invisible")?;
        fsconfig_create(context.as_fd())?;
        let quiet = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let proc = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, quiet)?;
        let place = self.folder("/proc")?;
        attach(proc.as_fd(), place.as_fd())?;
        PROC_MASKED.iter().try_for_each(|name| self.mask(&proc, name))
    }

    /// Hides a file behind an empty one, a folder behind an empty one; what is not there needs no hiding.
    fn mask(&self, folder: &OwnedFd, name: &str) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
            Ok(place) => place,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let is_folder = FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) == FileType::Directory;
        let cover = if is_folder { COVER_FOLDER } else { COVER_FILE };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(&self.fd, cover, flags)?;
        syscall::mount_setattr(tree.as_fd(), RDONLY | NOSUID | NODEV | NOEXEC, false)?;
        attach(tree.as_fd(), place.as_fd())
    }

    fn place_devices(&self) -> io::Result<()> {
        let folder = self.folder("/dev")?;
        for (name, major, minor) in DEVICES {
            let tree = open_tree(CWD, format!("/dev/{name}"), OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
            let found = rustix::fs::fstat(&tree)?.st_rdev;
            if (rustix::fs::major(found), rustix::fs::minor(found)) != (major, minor) {
                return Err(io::Error::other(format!("the host's /dev/{name} is something else")));
            }
            syscall::mount_setattr(tree.as_fd(), NOSUID | NOEXEC, false)?;
            attach(tree.as_fd(), self.file(&format!("/dev/{name}"))?.as_fd())?;
        }
        for (name, target) in
            [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")]
        {
            rustix::fs::symlinkat(target, &folder, name)?;
        }
        Ok(())
    }

    /// A node of the host's, at the same place; its mode and owner stay, so that who may not open it there may not here.
    fn place_device(&self, device: &Device) -> io::Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        let place = format!("/dev/{}", device.name);
        let tree = open_tree(CWD, &place, flags)?;
        if !device.is(&rustix::fs::fstat(&tree)?) {
            return Err(io::Error::other(format!("`{place}` is no longer the device that was declared")));
        }
        syscall::mount_setattr(tree.as_fd(), RDONLY | NOSUID | NOEXEC, false)?;
        attach(tree.as_fd(), self.file(&place)?.as_fd())
    }

    fn place_writable(&self, order: &Order) -> io::Result<OwnedFd> {
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let size = order.disk_bytes.max(4096).to_string();
        // Folders need inodes too; more files than the limit must be possible, so that passing it is reported as such.
        let inodes = order.output_files.saturating_mul(2).saturating_add(64).to_string();
        for (path, mode) in [("/tmp", "1777"), ("/dev/shm", "1777")] {
            let scratch = tmpfs(&[("size", &size), ("nr_inodes", "1m"), ("mode", mode)], flags)?;
            attach(scratch.as_fd(), self.folder(path)?.as_fd())?;
        }
        let out = tmpfs(&[("size", &size), ("nr_inodes", &inodes), ("mode", "0755")], flags)?;
        attach(out.as_fd(), self.folder("/out")?.as_fd())?;
        for name in &order.outputs {
            rustix::fs::mkdirat(&out, name.as_str(), Mode::from_raw_mode(0o755))?;
            let tree = open_tree(&out, name.as_str(), OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
            let place = rustix::fs::openat(
                &out,
                name.as_str(),
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            attach(tree.as_fd(), place.as_fd())?;
        }
        // The folder that holds them is not the step's to write; this leaves the folders mounted on it writable.
        syscall::mount_setattr(out.as_fd(), RDONLY, false)?;
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&out, ".", folder, Mode::empty())?)
    }

    /// Files that only the step's user reads, in a file system of their own that is never swapped out, where the kernel has one.
    fn place_secrets(&self, secrets: &[Secret]) -> io::Result<()> {
        if secrets.is_empty() {
            return Ok(());
        }
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let memory = memory_of("ramfs", &[("mode", "0700")], flags).or_else(|_| tmpfs(&[("size", "4m"), ("mode", "0700")], flags))?;
        for secret in secrets {
            let make = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&memory, secret.name.as_str(), make, Mode::from_raw_mode(0o400))?;
            fs::File::from(file).write_all(&secret.value)?;
        }
        syscall::mount_setattr(memory.as_fd(), RDONLY, false)?;
        attach(memory.as_fd(), self.folder(SECRETS_FOLDER)?.as_fd())
    }

    fn link(&self, link: &str, target: &str) -> io::Result<()> {
        let (parent, name) = link.rsplit_once('/').unwrap_or(("", link));
        rustix::fs::symlinkat(target, self.folder(parent)?, name)?;
        Ok(())
    }

    /// A new file of the root itself, which is read-only as a whole before the step starts.
    fn text(&self, path: &str, text: &str) -> io::Result<()> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let make = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o444);
        let file = rustix::fs::openat(self.folder(parent)?, name, make, mode)?;
        rustix::fs::fchmod(&file, mode)?;
        fs::File::from(file).write_all(text.as_bytes())
    }

    /// The folder of that path, made where missing. No symbolic link is followed, not even in a mount.
    fn folder(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = path.trim_matches('/');
        let whole = if below.is_empty() { "." } else { below };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.fd, whole, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let mut at = rustix::fs::openat(&self.fd, ".", flags, Mode::empty())?;
        for part in below.split('/').filter(|part| !part.is_empty()) {
            at = match rustix::fs::openat(&at, part, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o755))?;
                    rustix::fs::openat(&at, part, flags, Mode::empty())?
                }
                other => other?,
            };
        }
        Ok(at)
    }

    /// The file of that path, made where missing.
    fn file(&self, path: &str) -> io::Result<OwnedFd> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.folder(parent)?;
        let make = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, name, make, Mode::from_raw_mode(0o444)) {
            // In an outer mount, which cannot be written but may have it already.
            Err(Errno::EXIST | Errno::ROFS) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?)
            }
            other => Ok(other?),
        }
    }

    fn pivot(&self) -> io::Result<()> {
        syscall::mount_setattr(self.fd.as_fd(), RDONLY, false)?;
        rustix::process::fchdir(&self.fd)?;
        rustix::process::pivot_root(".", ".")?;
        // The old root now lies over the new one, and `.` is the old.
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")?;
        Ok(())
    }
}

fn tmpfs(options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    memory_of("tmpfs", options, attributes)
}

fn memory_of(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

fn attach(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", place, "", flags)?)
}

/// Read-only, without set-id programs and devices, and without programs unless wanted; for everything below too.
pub(crate) fn restrict(tree: &OwnedFd, exec: bool) -> io::Result<()> {
    let attributes = RDONLY | NOSUID | NODEV | if exec { 0 } else { NOEXEC };
    syscall::mount_setattr(tree.as_fd(), attributes, true)
}

/// A copy of the mount at a descriptor. Needs `CAP_SYS_ADMIN` where the descriptor was opened.
pub(crate) fn clone_tree(source: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(source, "", flags)?)
}

/// The mounts ready to be placed: handed over as such, or found again by path and restricted here.
fn find_trees(order: &Order, sources: Vec<OwnedFd>) -> Staged<Vec<OwnedFd>> {
    let found = order.mounts.iter().zip(sources).map(|(mount, source)| {
        let Some(path) = &mount.reopen else {
            return Ok(source);
        };
        reopen(path, &source)
            .and_then(|tree| restrict(&tree, mount.exec).map(|()| tree))
            .map_err(stage(format!("mount `{}`", mount.target)))
    });
    found.collect()
}

/// For a launcher without `CAP_SYS_ADMIN`: the same file, found again by path in this namespace, or an error.
fn reopen(path: &str, source: &OwnedFd) -> io::Result<OwnedFd> {
    let found = fs::canonicalize(path)
        .and_then(|real| Ok(rustix::fs::open(real, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?))?;
    let (want, have) = (rustix::fs::fstat(source)?, rustix::fs::fstat(&found)?);
    if (want.st_dev, want.st_ino) != (have.st_dev, have.st_ino) {
        return Err(io::Error::other(format!("`{path}` is no longer the file that was opened")));
    }
    clone_tree(found.as_fd())
}
