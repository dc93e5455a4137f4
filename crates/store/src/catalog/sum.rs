//! The checksum beside the database: a byte changed anywhere in the file shows, even where no row lies.
//!
//! in: the database file; out: `catalog.sum` with its BLAKE3, which is also the lock of those who write. It is taken at every start and end of
//! a command, of a file that grows with the log; nobody else reads it, so the faster hash.
//! **Invariant:** the checksum is renewed under the same lock under which the database was changed.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, openat, unlinkat};
use rustix::io::Errno;

use super::CatalogError;

/// How long to wait for another process that is indexing, in steps of 20 ms.
const LOCK_TRIES: u32 = 3_000;

#[derive(Debug)]
pub(super) struct Sum {
    database: PathBuf,
    path: PathBuf,
    file: File,
}

impl Sum {
    pub(super) fn open(database: &Path) -> Result<Self, CatalogError> {
        let path = path_of(database);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| fault("open", &path, errno.into()))?;
        Ok(Self { database: database.to_path_buf(), path, file: File::from(file) })
    }

    /// Runs `work` while no other process changes the database.
    pub(super) fn locked<T>(&self, work: impl FnOnce(&Self) -> Result<T, CatalogError>) -> Result<T, CatalogError> {
        let mut tries = 0;
        loop {
            match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK | Errno::INTR) if tries < LOCK_TRIES => sleep(Duration::from_millis(20)),
                Err(errno) => return Err(fault("lock", &self.path, errno.into())),
            }
            tries += 1;
        }
        let done = work(self);
        flock(&self.file, FlockOperation::Unlock).map_err(|errno| fault("unlock", &self.path, errno.into()))?;
        done
    }

    /// Whether the database is the one that the checksum was taken of.
    pub(super) fn matches(&self) -> Result<bool, CatalogError> {
        let mut text = String::new();
        let mut file = &self.file;
        file.rewind().map_err(|cause| fault("read", &self.path, cause))?;
        if file.take(128).read_to_string(&mut text).is_err() {
            return Ok(false);
        }
        Ok(checksum(&self.database)?.is_some_and(|sum| text == line(&sum)))
    }

    /// Takes the checksum of the database as it is now.
    pub(super) fn renew(&self) -> Result<(), CatalogError> {
        let text = line(&checksum(&self.database)?.unwrap_or_else(|| blake3::hash(b"")));
        let mut file = &self.file;
        file.rewind().and_then(|()| file.write_all(text.as_bytes())).map_err(|cause| fault("write", &self.path, cause))?;
        self.file.set_len(text.len() as u64).map_err(|cause| fault("write", &self.path, cause))
    }

    /// Removes the database: it is made again from the log.
    pub(super) fn discard(&self) -> Result<(), CatalogError> {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let mut name = self.database.clone().into_os_string();
            name.push(suffix);
            match unlinkat(CWD, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(fault("remove", Path::new(&name), errno.into())),
            }
        }
        Ok(())
    }
}

pub(super) fn path_of(database: &Path) -> PathBuf {
    database.with_extension("sum")
}

pub(super) fn line(sum: &blake3::Hash) -> String {
    format!("blake3:{sum}\n")
}

/// BLAKE3 of a file; `None` if there is none.
pub(super) fn checksum(path: &Path) -> Result<Option<blake3::Hash>, CatalogError> {
    let file = match openat(CWD, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(fault("open", path, errno.into())),
    };
    let mut file = File::from(file);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(hasher.finalize())),
            Ok(count) => _ = hasher.update(buffer.get(..count).unwrap_or_default()),
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(fault("read", path, cause)),
        }
    }
}

pub(super) fn fault(what: &'static str, path: &Path, source: std::io::Error) -> CatalogError {
    CatalogError::Io { what, path: path.to_path_buf(), source }
}
