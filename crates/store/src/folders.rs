//! The folders of store and workspace: made private, checked, locked.
//!
//! in: paths; out: directory descriptors, so that nothing is looked up by path twice.
//! **Invariant:** a folder is used for writing only if it is a real folder of ours with mode 0700 on a local file system.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, fstat};
use rustix::io::Errno;

use crate::barrier;
use crate::disk::{mkdirat, openat, unlinkat};
use crate::error::StoreError;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const PRIVATE: Mode = Mode::RWXU;
/// How long to wait for `gc` in another process, in steps of 50 ms.
const LOCK_TRIES: u32 = 1_200;

/// Magic numbers of file systems on which rename, flock and fsync do not mean what they must.
#[cfg(target_os = "linux")]
const NETWORK: [(i64, &str); 4] = [(0x6969, "NFS"), (0xff53_4d42, "CIFS"), (0x517b, "SMB"), (0xfe53_4d42, "SMB2")];

/// Creates `dir` if need be and opens it; 0700 and ours, or refused. Its name survives a power cut.
pub(crate) fn private_folder(dir: &Path) -> Result<OwnedFd, StoreError> {
    match mkdirat(CWD, dir, PRIVATE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(StoreError::os("create", dir)(errno)),
    }
    let folder = folder(dir)?;
    check_private(&folder, dir)?;
    keep_name(&folder, dir)?;
    Ok(folder)
}

/// Makes the name of an empty folder durable. One that holds something has been through here: nothing is put into a folder before, so what
/// it holds cannot be lost with its name.
pub(crate) fn keep_name(folder: &OwnedFd, dir: &Path) -> Result<(), StoreError> {
    if !names(folder).map_err(StoreError::os("list", dir))?.is_empty() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // the parent may be a link of the user's own making
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent_fd = openat(CWD, parent, flags, Mode::empty()).map_err(StoreError::os("open", parent))?;
    barrier::sync_each(&[parent_fd]).map_err(StoreError::io("sync", parent))
}

/// The same for a folder inside an open one.
pub(crate) fn private_folder_in(parent: &OwnedFd, name: &str, dir: &Path) -> Result<OwnedFd, StoreError> {
    let path = dir.join(name);
    match mkdirat(parent, name, PRIVATE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(StoreError::os("create", path)(errno)),
    }
    let folder = folder_in(parent, name).map_err(|errno| no_folder(&path, errno))?;
    check_private(&folder, &path)?;
    keep_name(&folder, &path)?;
    Ok(folder)
}

/// Locks an open file or folder; a signal does not stop the waiting.
pub(crate) fn lock(fd: impl AsFd, operation: FlockOperation) -> Result<(), Errno> {
    loop {
        match rustix::fs::flock(&fd, operation) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// Opens a folder that is no symbolic link.
pub(crate) fn folder(dir: &Path) -> Result<OwnedFd, StoreError> {
    openat(CWD, dir, FOLDER, Mode::empty()).map_err(|errno| no_folder(dir, errno))
}

/// Opens a folder inside an open one; no symbolic link.
pub(crate) fn folder_in(parent: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    openat(parent, name, FOLDER, Mode::empty())
}

fn no_folder(path: &Path, errno: Errno) -> StoreError {
    if matches!(errno, Errno::LOOP | Errno::NOTDIR) {
        StoreError::Layout { path: path.to_path_buf(), reason: "it is a symbolic link or no folder".into() }
    } else {
        StoreError::os("open", path)(errno)
    }
}

fn check_private(folder: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    let stat = fstat(folder).map_err(StoreError::os("examine", path))?;
    let layout = |reason: String| Err(StoreError::Layout { path: path.to_path_buf(), reason });
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return layout(format!("it belongs to user {}", stat.st_uid));
    }
    let mode = stat.st_mode & 0o7777;
    if mode != 0o700 { layout(format!("its mode is {mode:04o} instead of 0700")) } else { Ok(()) }
}

#[cfg(target_os = "linux")]
pub(crate) fn refuse_network_file_system(folder: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    let stat = rustix::fs::fstatfs(folder).map_err(StoreError::os("examine", path))?;
    match network_name(stat.f_type as i64) {
        Some(name) => Err(StoreError::Layout { path: path.to_path_buf(), reason: format!("it lies on a network file system ({name})") }),
        None => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn refuse_network_file_system(_folder: &OwnedFd, _path: &Path) -> Result<(), StoreError> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn network_name(magic: i64) -> Option<&'static str> {
    // the kernel's field is signed on some platforms: compare the low 32 bits
    NETWORK.iter().find(|(known, _)| known & 0xffff_ffff == magic & 0xffff_ffff).map(|(_, name)| *name)
}

pub(crate) fn lock_file(root: &OwnedFd, dir: &Path) -> Result<File, StoreError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = openat(root, "lock", flags, Mode::RUSR | Mode::WUSR).map_err(StoreError::os("open", dir.join("lock")))?;
    Ok(File::from(lock))
}

/// True if nobody else has the lock, which is then held exclusively.
pub(crate) fn try_exclusive(lock: &File) -> bool {
    flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Takes the lock shared; waits at most a minute for one who holds it exclusively.
pub(crate) fn shared(lock: &File, dir: &Path) -> Result<(), StoreError> {
    for _ in 0..LOCK_TRIES {
        match flock(lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => sleep(Duration::from_millis(50)),
            Err(errno) => return Err(StoreError::os("lock", dir)(errno)),
        }
    }
    Err(StoreError::Busy { path: dir.to_path_buf() })
}

/// Removes the files in `folder`.
pub(crate) fn clear(folder: &OwnedFd, dir: &Path) -> Result<(), StoreError> {
    for name in names(folder).map_err(StoreError::os("list", dir.join("tmp")))? {
        unlinkat(folder, &*name, AtFlags::empty()).map_err(StoreError::os("remove", dir.join("tmp").join(&name)))?;
    }
    Ok(())
}

/// The names in a folder, sorted; names that are not UTF-8 are shown with their odd bytes replaced.
pub(crate) fn names(folder: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// `N` random bytes in hex.
pub(crate) fn random_hex<const N: usize>(path: &Path) -> Result<String, StoreError> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|cause| StoreError::Io {
        what: "draw random bytes for",
        path: path.to_path_buf(),
        source: std::io::Error::other(cause),
    })?;
    Ok(seaworthy_core::digest::hex_encode(&bytes))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_magic_in_either_sign() {
        let cases = [
            (0x6969, Some("NFS")),
            (0xff53_4d42, Some("CIFS")),
            (i64::from(0xff53_4d42_u32 as i32), Some("CIFS")),
            (0xef53, None),
            (0x0102_1994, None),
        ];
        for (magic, want) in cases {
            assert_eq!(network_name(magic), want, "{magic:x}");
        }
    }
}
