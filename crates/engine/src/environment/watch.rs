//! Files of the host that a run rests on, watched: a change during the run is found without reading what did not change.
//!
//! in: files, and the digests they were hashed to; out: the first whose bytes are not those any more.
//! **Invariant:** a file is compared with what the file system said of it *before* it was hashed; where that differs, the bytes decide.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy_core::digest::Digest;

use super::interpreter::file_digest;

/// Device, inode, size, mode and times; no program can set the change time.
type Stamp = (u64, u64, u64, u32, (i64, i64), (i64, i64));

/// A file as it was before it was hashed.
#[derive(Clone, Debug)]
pub struct Seen {
    path: PathBuf,
    stamp: Stamp,
}

impl Seen {
    /// Takes note of a file that is about to be hashed.
    pub fn before_hashing(path: &Path) -> std::io::Result<Self> {
        Ok(Self { path: path.to_owned(), stamp: stamp(path)? })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Files that must stay what they were hashed to.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    files: Arc<[(Seen, Digest)]>,
}

impl Watch {
    /// Watches files, each with the digest that was found.
    #[must_use]
    pub fn new(files: Vec<(Seen, Digest)>) -> Self {
        Self { files: files.into() }
    }

    /// The first file that is not what it was; one that cannot be looked at is not. Reads only files whose stamp differs.
    #[must_use]
    pub fn changed(&self) -> Option<&Path> {
        let same = |seen: &Seen, digest: &Digest| {
            stamp(&seen.path).is_ok_and(|now| now == seen.stamp) || file_digest(&seen.path).is_ok_and(|now| now == *digest)
        };
        self.files.iter().find(|(seen, digest)| !same(seen, digest)).map(|(seen, _)| seen.path())
    }

    /// How many files there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is nothing to watch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let m = fs::metadata(path)?;
    Ok((m.dev(), m.ino(), m.size(), m.mode(), (m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec())))
}
