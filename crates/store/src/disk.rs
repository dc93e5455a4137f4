//! The one place from which this crate changes the disk: what log, journal, artifacts and workspace rest on goes through here.
//!
//! in: the system calls of [`rustix`], by the same names; out: the same. With the feature `simulate` (tests alone) a thread may have a
//! simulated disk in between, which refuses, tears and records what passes; without it these are the calls themselves.
//! **Invariant:** what is durable or not is decided by the calls in this file; the tests of this crate look for others in its sources.
//! **Invariant:** catalog, scratch folders and checkouts are not among them: nothing rests on those, they are made again.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

#[cfg(feature = "simulate")]
pub use simulated::{Enter, Op, Simulated};
#[cfg(feature = "simulate")]
use simulated::{name_in, number, perform};

/// A mechanism of durability that the simulator can leave out, one at a time, to show that it finds the want of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// The journal refuses what a later attempt has overtaken; nor is there the lock that keeps two processes from one run.
    Fence,
    /// One process at a run.
    RunLock,
    /// A finished body is found by its STAGED record.
    FindStaged,
    /// STAGED is durable before anything is signed.
    StagedBarrier,
    /// The intent is recorded before a body runs.
    Intent,
    /// What a run has committed before it was interrupted is taken over.
    Adopt,
    /// An attempt's number is above every number that the log has.
    AttemptNumber,
}

/// Whether the simulator leaves `mechanism` out on this thread; never in the product.
#[inline]
#[must_use]
pub fn is_left_out(mechanism: Mechanism) -> bool {
    #[cfg(feature = "simulate")]
    return simulated::is_left_out(mechanism);
    #[cfg(not(feature = "simulate"))]
    {
        _ = mechanism;
        false
    }
}

/// Whether this thread's disk is a simulated one that only one thread may change: then nothing happens on other threads.
pub(crate) fn is_of_one_thread() -> bool {
    #[cfg(feature = "simulate")]
    return simulated::is_of_one_thread();
    #[cfg(not(feature = "simulate"))]
    false
}

/// The calling thread's disk, for a thread that it begins.
#[derive(Clone, Default)]
pub struct Inherited {
    #[cfg(feature = "simulate")]
    disk: Option<std::sync::Arc<dyn Simulated>>,
}

/// What a thread that begins now works with.
#[must_use]
pub fn inherit() -> Inherited {
    Inherited {
        #[cfg(feature = "simulate")]
        disk: simulated::entered(),
    }
}

impl Inherited {
    /// Does `work` on the new thread.
    pub fn work<T>(self, work: impl FnOnce() -> T) -> T {
        #[cfg(feature = "simulate")]
        let _entered = self.disk.map(Enter::new);
        work()
    }
}

pub(crate) fn openat<P: Arg + Copy>(dir: impl AsFd, path: P, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    #[cfg(feature = "simulate")]
    if simulated::is_entered() && flags.intersects(OFlags::CREATE | OFlags::TRUNC) {
        let (folder, name) = name_in(&dir, path)?;
        let mut opened = None;
        perform(&Op::Open { folder, name: &name, truncate: flags.contains(OFlags::TRUNC) }, &mut |_| {
            let file = rustix::fs::openat(&dir, path, flags, mode)?;
            let number = number(&file)?;
            opened = Some(file);
            Ok(number)
        })?;
        return opened.ok_or(Errno::IO);
    }
    rustix::fs::openat(dir, path, flags, mode)
}

pub(crate) fn mkdirat<P: Arg + Copy>(dir: impl AsFd, path: P, mode: Mode) -> Result<(), Errno> {
    #[cfg(feature = "simulate")]
    if simulated::is_entered() {
        let (folder, name) = name_in(&dir, path)?;
        let made = &mut |_| {
            rustix::fs::mkdirat(&dir, path, mode)?;
            Ok(rustix::fs::statat(&dir, path, AtFlags::SYMLINK_NOFOLLOW)?.st_ino)
        };
        return perform(&Op::Folder { folder, name: &name }, made);
    }
    rustix::fs::mkdirat(dir, path, mode)
}

/// Makes a folder and those above it that are missing.
pub(crate) fn make_folders(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir()) {
        make_folders(parent)?;
    }
    match mkdirat(CWD, dir, Mode::from_raw_mode(0o777)) {
        Err(Errno::EXIST) if dir.is_dir() => Ok(()),
        done => Ok(done?),
    }
}

pub(crate) fn renameat<P: Arg + Copy, Q: Arg + Copy>(from: impl AsFd, old: P, to: impl AsFd, new: Q) -> Result<(), Errno> {
    #[cfg(feature = "simulate")]
    if simulated::is_entered() {
        let (source, target) = (name_in(&from, old)?, name_in(&to, new)?);
        let op = Op::Rename { from: (source.0, &source.1), to: (target.0, &target.1) };
        return perform(&op, &mut |_| rustix::fs::renameat(&from, old, &to, new).map(|()| 0));
    }
    rustix::fs::renameat(from, old, to, new)
}

pub(crate) fn linkat<P: Arg + Copy, Q: Arg + Copy>(from: impl AsFd, old: P, to: impl AsFd, new: Q, flags: AtFlags) -> Result<(), Errno> {
    #[cfg(feature = "simulate")]
    if simulated::is_entered() {
        let (source, target) = (name_in(&from, old)?, name_in(&to, new)?);
        let op = Op::Link { from: (source.0, &source.1), to: (target.0, &target.1) };
        return perform(&op, &mut |_| rustix::fs::linkat(&from, old, &to, new, flags).map(|()| 0));
    }
    rustix::fs::linkat(from, old, to, new, flags)
}

pub(crate) fn unlinkat<P: Arg + Copy>(dir: impl AsFd, path: P, flags: AtFlags) -> Result<(), Errno> {
    #[cfg(feature = "simulate")]
    if simulated::is_entered() {
        let (folder, name) = name_in(&dir, path)?;
        return perform(&Op::Unlink { folder, name: &name }, &mut |_| rustix::fs::unlinkat(&dir, path, flags).map(|()| 0));
    }
    rustix::fs::unlinkat(dir, path, flags)
}

pub(crate) fn ftruncate(file: impl AsFd, length: u64) -> Result<(), Errno> {
    #[cfg(feature = "simulate")]
    if simulated::is_entered() {
        return perform(&Op::Resize { file: number(&file)?, length }, &mut |_| rustix::fs::ftruncate(&file, length).map(|()| 0));
    }
    rustix::fs::ftruncate(file, length)
}

/// Writes all of `bytes` where the file stands.
pub(crate) fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    #[cfg(feature = "simulate")]
    if simulated::is_entered() {
        let op = Op::Write { file: number(file)?, offset: simulated::offset(file)?, bytes };
        let act = &mut |count: usize| {
            let failed = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
            io::Write::write_all(&mut file, bytes.get(..count).unwrap_or(bytes)).map(|()| 0).map_err(failed)
        };
        return Ok(perform(&op, act)?);
    }
    io::Write::write_all(&mut file, bytes)
}

pub(crate) fn fsync(file: impl AsFd) -> Result<(), Errno> {
    #[cfg(feature = "simulate")]
    if simulated::is_entered() {
        return perform(&Op::Sync { file: number(&file)? }, &mut |_| Ok(0));
    }
    rustix::fs::fsync(file)
}

pub(crate) fn fdatasync(file: impl AsFd) -> Result<(), Errno> {
    #[cfg(feature = "simulate")]
    if simulated::is_entered() {
        return perform(&Op::Sync { file: number(&file)? }, &mut |_| Ok(0));
    }
    rustix::fs::fdatasync(file)
}

#[cfg(target_os = "linux")]
pub(crate) fn syncfs(file: impl AsFd) -> Result<(), Errno> {
    #[cfg(feature = "simulate")]
    if simulated::is_entered() {
        return perform(&Op::SyncAll, &mut |_| Ok(0));
    }
    rustix::fs::syncfs(file)
}

#[cfg(feature = "simulate")]
mod simulated {
    //! The seam itself: a simulated disk of the calling thread.

    use std::cell::RefCell;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use rustix::fs::{AtFlags, OFlags};
    use rustix::io::Errno;
    use rustix::path::Arg;

    use super::Mechanism;

    /// A change of the disk. Files and folders are known by their inode numbers.
    #[derive(Debug)]
    pub enum Op<'a> {
        /// A file is opened, which makes it if it is not there; the action yields its number.
        Open {
            /// The folder.
            folder: u64,
            /// Its name in it.
            name: &'a str,
            /// Whether it is emptied.
            truncate: bool,
        },
        /// A folder is made; the action yields its number.
        Folder {
            /// The folder above it.
            folder: u64,
            /// Its name in it.
            name: &'a str,
        },
        /// Bytes are written; the action takes how many of them.
        Write {
            /// The file.
            file: u64,
            /// Where.
            offset: u64,
            /// What.
            bytes: &'a [u8],
        },
        /// A file gets another length.
        Resize {
            /// The file.
            file: u64,
            /// The length.
            length: u64,
        },
        /// A name moves, and may take the place of another.
        Rename {
            /// Folder and name.
            from: (u64, &'a str),
            /// Folder and name.
            to: (u64, &'a str),
        },
        /// A file gets a second name.
        Link {
            /// Folder and name.
            from: (u64, &'a str),
            /// Folder and name.
            to: (u64, &'a str),
        },
        /// A name goes.
        Unlink {
            /// The folder.
            folder: u64,
            /// The name.
            name: &'a str,
        },
        /// A file or folder is to be durable.
        Sync {
            /// The file or folder.
            file: u64,
        },
        /// Everything is to be durable.
        SyncAll,
    }

    /// A disk that stands between this crate and the real one.
    pub trait Simulated: Send + Sync {
        /// Lets `act` happen, wholly or (of a write) in part, or not at all, and says what the caller is told.
        fn perform(&self, op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) -> Result<(), Errno>;

        /// Whether this mechanism is left out: the controls of the simulator.
        fn is_left_out(&self, _: Mechanism) -> bool {
            false
        }

        /// Whether several threads may change it at once.
        fn takes_threads(&self) -> bool {
            false
        }
    }

    thread_local! {
        static ENTERED: RefCell<Option<Arc<dyn Simulated>>> = const { RefCell::new(None) };
    }

    /// As long as it lives, the calling thread's disk is the simulated one.
    pub struct Enter {
        before: Option<Arc<dyn Simulated>>,
    }

    impl Enter {
        /// Enters `disk`.
        #[must_use]
        pub fn new(disk: Arc<dyn Simulated>) -> Self {
            Self { before: ENTERED.with(|entered| entered.borrow_mut().replace(disk)) }
        }
    }

    impl Drop for Enter {
        fn drop(&mut self) {
            let before = self.before.take();
            ENTERED.with(|entered| *entered.borrow_mut() = before);
        }
    }

    pub(super) fn entered() -> Option<Arc<dyn Simulated>> {
        ENTERED.with(|entered| entered.borrow().clone())
    }

    pub(super) fn is_of_one_thread() -> bool {
        entered().is_some_and(|disk| !disk.takes_threads())
    }

    pub(super) fn is_left_out(mechanism: Mechanism) -> bool {
        entered().is_some_and(|disk| disk.is_left_out(mechanism))
    }

    pub(super) fn is_entered() -> bool {
        ENTERED.with(|entered| entered.borrow().is_some())
    }

    pub(super) fn perform(op: &Op<'_>, act: &mut dyn FnMut(usize) -> Result<u64, Errno>) -> Result<(), Errno> {
        entered().ok_or(Errno::IO)?.perform(op, act)
    }

    pub(super) fn number(file: impl AsFd) -> Result<u64, Errno> {
        Ok(rustix::fs::fstat(file)?.st_ino)
    }

    /// The folder that holds `path`, and its last part.
    pub(super) fn name_in<P: Arg + Copy>(dir: impl AsFd, path: P) -> Result<(u64, String), Errno> {
        let path = path.as_str()?;
        match path.rsplit_once('/') {
            Some((folder, name)) => Ok((rustix::fs::statat(dir, folder, AtFlags::empty())?.st_ino, name.to_owned())),
            None => Ok((rustix::fs::statat(dir, ".", AtFlags::empty())?.st_ino, path.to_owned())),
        }
    }

    /// Where the next byte goes.
    pub(super) fn offset(file: &File) -> Result<u64, Errno> {
        if rustix::fs::fcntl_getfl(file)?.contains(OFlags::APPEND) {
            return Ok(u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0));
        }
        rustix::fs::tell(file)
    }
}
