//! Folders for the checkouts of one run, on the store's file system, gone when the run is over.
//!
//! in: the folder that holds them, a run's name; out: [`ScratchFolder`], locked while it is in use.
//! **Invariant:** nothing rests on what lies here; what a run that was killed left behind is removed by the next one, what another process
//! uses is not touched.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::artifacts::remove_checkout;
use crate::disk::{Mechanism, is_left_out};
use crate::error::StoreError;
use crate::folders::{self, lock};

/// One run's folder; removed when dropped.
#[derive(Debug)]
pub struct ScratchFolder {
    dir: PathBuf,
    _lock: OwnedFd,
}

impl ScratchFolder {
    /// Makes `parent/name` (0700), and removes its siblings that nobody uses any more. [`None`] if another process uses it.
    pub fn new(parent: &Path, name: &str) -> Result<Option<Self>, StoreError> {
        std::fs::create_dir_all(parent).map_err(StoreError::io("create", parent))?;
        let all = folders::folder(parent)?;
        // held while a new folder is not locked yet: nobody takes it for one that was left behind
        lock(&all, FlockOperation::LockExclusive).map_err(StoreError::os("lock", parent))?;
        for left in folders::names(&all).map_err(StoreError::os("list", parent))? {
            let dir = parent.join(&left);
            let Ok(folder) = folders::folder(&dir) else { continue };
            if lock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // what cannot be removed now is tried again by the next run
                _ = remove_checkout(&dir);
            }
        }
        let dir = parent.join(name);
        let held = folders::private_folder(&dir)?;
        match lock(&held, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { dir, _lock: held })),
            Err(Errno::WOULDBLOCK) if is_left_out(Mechanism::RunLock) || is_left_out(Mechanism::Fence) => {
                Ok(Some(Self { dir, _lock: held }))
            }
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(StoreError::os("lock", &dir)(errno)),
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // left-overs are removed by the next run; nothing rests on them
        _ = remove_checkout(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_removed_and_what_is_in_use_stays() {
        let parent = std::env::temp_dir().join(format!("scratch-folder-{}", std::process::id()));
        let mine = ScratchFolder::new(&parent, "r1").unwrap().unwrap();
        std::fs::create_dir_all(parent.join("r0/s-1-in/deep")).unwrap();
        let other = ScratchFolder::new(&parent, "r2").unwrap().unwrap();
        assert!(!parent.join("r0").exists(), "left behind by a run that was killed");
        assert!(mine.dir().is_dir(), "in use");
        assert!(ScratchFolder::new(&parent, "r1").unwrap().is_none(), "one at a time");
        drop(mine);
        assert!(!parent.join("r1").exists() && other.dir().is_dir());
        drop(other);
        std::fs::remove_dir(&parent).unwrap();
    }
}
