//! The files of a log: reading them, with what the `wal` still holds for missing ones, and replacing them whole.
//!
//! in: paths below the log's folder; out: bytes.
//! **Invariant:** a file appears under its name only with all its bytes (written aside, then renamed).
//! **Invariant:** only regular files are read, without following links, and never more than [`FILE_BYTES_MAX`].

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::Bundle;
use seaworthy_core::merkle::Node;
use seaworthy_core::merkle::tile::Tile;

use super::LogError;
use super::pending::Pending;
use super::wal::WAL;
use crate::{barrier, disk};

/// Bytes of one file that is read whole.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Where a file is written before it gets its name. One writer at a time holds the lock, so one name is enough.
pub(super) const ASIDE: &str = ".writing";
const CACHED_FILES_MAX: usize = 256;

pub(super) fn io_error(what: &'static str, file: &str, cause: impl std::fmt::Display) -> LogError {
    LogError::Io { what, file: file.to_owned(), cause: cause.to_string() }
}

/// The log's folder.
pub(super) struct Folder {
    fd: OwnedFd,
    #[cfg(test)]
    pub(super) fault: Fault,
}

/// Test only: lets the write with number `after` fail half-way, and every later one at once, like a full disk or a crash.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Fault {
    pub(super) after: std::sync::atomic::AtomicU64,
}

#[cfg(test)]
impl Fault {
    /// How many of `length` bytes still get through; `None` if nothing is in the way.
    fn cut(&self, length: usize) -> Option<usize> {
        use std::sync::atomic::Ordering::SeqCst;
        match self.after.fetch_update(SeqCst, SeqCst, |n| Some(if n > 1 { n - 1 } else { n })).unwrap_or(0) {
            0 => None,
            1 => Some(0),
            2 => Some(length / 2),
            _ => None,
        }
    }
}

/// Releases the lock when dropped: it is the lock of this open file description alone.
pub(super) struct Lock(#[expect(dead_code, reason = "held for its drop")] OwnedFd);

impl Folder {
    pub(super) fn open(dir: &Path) -> Result<Self, LogError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(|error| io_error("open the folder", &dir.to_string_lossy(), error))?;
        Ok(Self {
            fd,
            #[cfg(test)]
            fault: Fault::default(),
        })
    }

    /// Waits for the lock that keeps other processes, and other handles of this one, from appending.
    pub(super) fn lock(&self) -> Result<Lock, LogError> {
        // a new open file description: a lock on `fd` itself would be shared by everybody who has it
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let failed = |error: Errno| io_error("lock", ".", error);
        let fd = rustix::fs::openat(&self.fd, ".", flags, Mode::empty()).map_err(failed)?;
        crate::folders::lock(&fd, FlockOperation::LockExclusive).map_err(failed)?;
        Ok(Lock(fd))
    }

    /// Whether a writer is at work, and if not, a lock that keeps one out for the moment. Where locks are not to be had, as
    /// on some read-only copies, nobody writes.
    pub(super) fn lock_out_writers(&self) -> (bool, Option<Lock>) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(fd) = rustix::fs::openat(&self.fd, ".", flags, Mode::empty()) else { return (false, None) };
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockShared) {
            Ok(()) => (false, Some(Lock(fd))),
            Err(error) => (error == Errno::WOULDBLOCK, None),
        }
    }

    /// Opens a file for appending or syncing.
    pub(super) fn open_file(&self, path: &str, flags: OFlags) -> Result<File, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        disk::openat(&self.fd, path, flags, Mode::from_raw_mode(0o644)).map(File::from)
    }

    /// The bytes of a regular file; `None` if there is none.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, LogError> {
        let mut file = match self.open_file(path, OFlags::RDONLY) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::LOOP) => return Err(LogError::corrupt(path, "it is a symbolic link")),
            Err(error) => return Err(io_error("open", path, error)),
        };
        let metadata = file.metadata().map_err(|error| io_error("read", path, error))?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(LogError::corrupt(path, "it is no regular file of a sensible length"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(|error| io_error("read", path, error))?;
        Ok(Some(bytes))
    }

    /// Writes a file aside and renames it into place, making its folders.
    pub(super) fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), LogError> {
        let file = self.write_aside(bytes)?;
        drop(file);
        self.rename_aside(path)
    }

    pub(super) fn write_aside(&self, bytes: &[u8]) -> Result<File, LogError> {
        // never one that a crash left: what stood in it could come back under the new name
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let new = match self.open_file(ASIDE, flags) {
            Err(Errno::EXIST) => {
                disk::unlinkat(&self.fd, ASIDE, AtFlags::empty()).map_err(|error| io_error("take away", ASIDE, error))?;
                self.open_file(ASIDE, flags)
            }
            new => new,
        };
        let file = new.map_err(|error| io_error("create", ASIDE, error))?;
        self.write_all(&file, bytes).map_err(|error| io_error("write", ASIDE, error))?;
        Ok(file)
    }

    /// Writes bytes that are there already, so that the next barrier takes them to the disk whatever became of an earlier one.
    pub(super) fn write_again(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), LogError> {
        use std::io::Seek as _;
        let failed = |error: std::io::Error| io_error("write again", path, error);
        let mut file = self.open_file(path, OFlags::WRONLY).map_err(|error| io_error("open", path, error))?;
        file.seek(std::io::SeekFrom::Start(offset)).map_err(failed)?;
        self.write_all(&file, bytes).map_err(failed)
    }

    /// The barrier of a commit. If it fails, the disk may have forgotten any part of what was not durable, and no later barrier would take
    /// it there: all of it is written once more.
    pub(super) fn sync_wal(&self, wal: &File) -> Result<(), LogError> {
        let synced = barrier::group(|group| group.sync_data(wal)).map_err(|error| io_error("sync", WAL, error));
        if synced.is_err()
            && let Ok(Some(bytes)) = self.read(WAL)
        {
            // if this fails too, nothing that was acknowledged is lost yet, and the next opening meets the same disk
            _ = self.write_again(WAL, 0, &bytes);
        }
        synced
    }

    /// Takes a file away that the `wal` holds.
    pub(super) fn remove(&self, path: &str) {
        // one that cannot be removed is found by the audit if it is not whole
        _ = disk::unlinkat(&self.fd, path, AtFlags::empty());
    }

    /// Makes the names in the folder durable, and its own.
    pub(super) fn keep_names(&self) -> Result<(), LogError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(&self.fd, "..", flags, Mode::empty()).map_err(|error| io_error("open", "..", error))?;
        barrier::sync_each(&[self.fd.as_fd(), parent.as_fd()]).map_err(|error| io_error("sync", ".", error))
    }

    /// The one place where bytes go into a file.
    pub(super) fn write_all(&self, file: &File, bytes: &[u8]) -> std::io::Result<()> {
        #[cfg(test)]
        if let Some(cut) = self.fault.cut(bytes.len()) {
            disk::write_all(file, &bytes[..cut])?;
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        disk::write_all(file, bytes)
    }

    pub(super) fn rename_aside(&self, path: &str) -> Result<(), LogError> {
        let rename = || disk::renameat(&self.fd, ASIDE, &self.fd, path);
        let done = match rename() {
            Err(Errno::NOENT) => self.make_folders(path).and_then(|()| rename()),
            done => done,
        };
        done.map_err(|error| io_error("write", path, error))
    }

    fn make_folders(&self, path: &str) -> Result<(), Errno> {
        for (at, _) in path.match_indices('/') {
            let folder = path.get(..at).unwrap_or_default();
            match disk::mkdirat(&self.fd, folder, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes the folder of a full tile's partial ones. What cannot be removed is allowed to stay.
    pub(super) fn remove_partials(&self, full: Tile) {
        let folder = format!("{}.p", full.path());
        for name in self.names(&folder).unwrap_or_default() {
            // a partial that stays is no fault: the specification allows it
            _ = disk::unlinkat(&self.fd, &*format!("{folder}/{name}"), AtFlags::empty());
        }
        _ = disk::unlinkat(&self.fd, &*folder, AtFlags::REMOVEDIR);
    }

    /// Names in a folder; none if it does not exist.
    pub(super) fn names(&self, folder: &str) -> Result<Vec<String>, LogError> {
        Ok(self.list(folder)?.into_iter().map(|(name, _)| name).collect())
    }

    fn list(&self, folder: &str) -> Result<Vec<(String, FileType)>, LogError> {
        let failed = |error: Errno| io_error("list", folder, error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, folder, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            fd => fd.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                let path = if folder == "." { name.clone() } else { format!("{folder}/{name}") };
                let kind = match entry.file_type() {
                    FileType::Unknown => self.kind(&path)?,
                    kind => kind,
                };
                names.push((name, kind));
            }
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(names)
    }

    fn kind(&self, path: &str) -> Result<FileType, LogError> {
        let stat = rustix::fs::statat(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW);
        Ok(FileType::from_raw_mode(stat.map_err(|error| io_error("list", path, error))?.st_mode))
    }

    /// Everything below the folder that is no folder itself, sorted.
    pub(super) fn walk(&self) -> Result<Vec<String>, LogError> {
        let mut found = Vec::new();
        let mut folders = vec![".".to_owned()];
        while let Some(folder) = folders.pop() {
            for (name, kind) in self.list(&folder)? {
                let path = if folder == "." { name } else { format!("{folder}/{name}") };
                if kind == FileType::Directory { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The length of what is under a name; `None` if nothing is.
    pub(super) fn length(&self, path: &str) -> Option<u64> {
        let stat = rustix::fs::statat(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        u64::try_from(stat.st_size).ok()
    }

    /// Whether `path` names the very file that is open as `file`.
    pub(super) fn is_same(&self, path: &str, file: &File) -> Result<bool, LogError> {
        let failed = |error: Errno| io_error("look at", path, error);
        let named = rustix::fs::statat(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let open = rustix::fs::fstat(file).map_err(failed)?;
        Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino))
    }
}

/// The files as a reader sees them: those on the disk, and in the place of missing ones what the `wal` still holds.
pub(super) struct Files {
    pub(super) folder: Arc<Folder>,
    /// Makes the missing files from the `wal`; not called as long as none is missing.
    restore: Option<Restore>,
    restored: OnceLock<HashMap<String, Arc<[u8]>>>,
    cache: Mutex<HashMap<String, Arc<[u8]>>>,
}

/// Reads the files that the `wal` holds.
pub(super) type Restore = fn(&Arc<Folder>) -> Result<Vec<(String, Vec<u8>)>, LogError>;

impl Files {
    /// Only what is on the disk.
    pub(super) fn on_disk(folder: Arc<Folder>) -> Self {
        Self { folder, restore: None, restored: OnceLock::new(), cache: Mutex::default() }
    }

    /// With the help of the `wal`.
    pub(super) fn with_wal(folder: Arc<Folder>, restore: Restore) -> Self {
        Self { restore: Some(restore), ..Self::on_disk(folder) }
    }

    /// With those that are still to be written.
    pub(super) fn with_pending(folder: Arc<Folder>, pending: &Pending) -> Self {
        let restored: HashMap<_, _> = pending.files().map(|(path, bytes)| (path.clone(), bytes.clone())).collect();
        Self { restored: OnceLock::from(restored), ..Self::on_disk(folder) }
    }

    /// The files that the `wal` holds.
    pub(super) fn restored(&self) -> Result<&HashMap<String, Arc<[u8]>>, LogError> {
        if let Some(restored) = self.restored.get() {
            return Ok(restored);
        }
        let files = self.restore.map_or_else(|| Ok(Vec::new()), |restore| restore(&self.folder))?;
        let files = files.into_iter().map(|(path, bytes)| (path, bytes.into())).collect();
        Ok(self.restored.get_or_init(|| files))
    }

    /// A file; one that a power cut left empty or torn counts as missing, as long as the `wal` still holds it.
    pub(super) fn read(&self, path: &str) -> Result<Option<Arc<[u8]>>, LogError> {
        if let Some(bytes) = self.folder.read(path)?.filter(|bytes| is_whole(path, bytes)) {
            return Ok(Some(bytes.into()));
        }
        if let Some(bytes) = self.restored()?.get(path) {
            return Ok(Some(bytes.clone()));
        }
        // a writer may have written it between the two looks
        Ok(self.folder.read(path)?.filter(|bytes| !bytes.is_empty()).map(Arc::from))
    }

    /// The bytes of a tile or bundle, from a wider one if that is what is left.
    pub(super) fn tile(&self, tile: Tile) -> Result<Arc<[u8]>, LogError> {
        let path = tile.path();
        if let Some(bytes) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&path) {
            return Ok(bytes.clone());
        }
        let bytes = match self.read(&path)? {
            Some(bytes) => bytes,
            None => self.cut_beginning_of_wider(tile)?,
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED_FILES_MAX {
            cache.clear();
        }
        cache.insert(path, bytes.clone());
        Ok(bytes)
    }

    /// The beginning of a wider tile of the same index: the full one, or the partial one of a later state.
    fn cut_beginning_of_wider(&self, tile: Tile) -> Result<Arc<[u8]>, LogError> {
        let full = Tile { width: 256, ..tile };
        let folder = format!("{}.p", full.path());
        let mut paths = vec![full.path()];
        paths.extend(self.folder.names(&folder)?.into_iter().map(|name| format!("{folder}/{name}")));
        paths.extend(self.restored()?.keys().filter(|path| path.starts_with(&folder)).cloned());
        for wide in paths.iter().filter_map(|path| Tile::parse(path)).filter(|wide| wide.width > tile.width) {
            if let Some(bytes) = self.read(&wide.path())? {
                return Ok(prefix(&bytes, wide, tile)?.into());
            }
        }
        Err(LogError::corrupt(tile.path(), "it is missing"))
    }

    /// The hash of a perfect subtree in the tree of `size` leaves.
    pub(super) fn node(&self, node: Node, size: u64) -> Result<Digest, LogError> {
        let tile = Tile::of_node(node, size).ok_or(LogError::OutOfRange { index: node.index << node.level, size })?;
        Ok(tile.node(&self.tile(tile)?, node)?)
    }
}

/// Whether a file has the form of what it is: its beginning alone has not. Says nothing about its content.
fn is_whole(path: &str, bytes: &[u8]) -> bool {
    match Tile::parse(path) {
        Some(tile) if tile.level.is_some() => bytes.len() == usize::from(tile.width) * 32,
        Some(tile) => tile.entries(bytes).is_ok(),
        None if path.starts_with("bundles/") => Bundle::from_json(bytes).is_ok(),
        None => !bytes.is_empty(),
    }
}

/// What the narrower tile of the same index holds.
pub(super) fn prefix(bytes: &[u8], wide: Tile, narrow: Tile) -> Result<Vec<u8>, LogError> {
    let width = usize::from(narrow.width);
    let length = if wide.level.is_some() { width * 32 } else { wide.entries(bytes)?.iter().take(width).map(|entry| entry.len() + 2).sum() };
    let head = bytes.get(..length).ok_or_else(|| LogError::corrupt(wide.path(), "it is too short"))?;
    Ok(head.to_vec())
}
