//! Files that follow from the `wal` and are not written yet, and the thread that writes them while steps run.
//!
//! in: what commits fill or change; out: the same files on the disk, a moment later, the checkpoint after all others.
//! **Invariant:** an acknowledged leaf never waits for its files: the `wal` has it, and every reader looks there.
//! **Invariant:** a file is written under the lock, by a handle whose state is the newest.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use seaworthy_core::merkle::tile::Tile;

use super::LogError;
use super::disk::Folder;
use super::writer::{CHECKPOINT, Writes};

/// Bytes beyond which the one who commits writes the files himself.
const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long the thread waits for further commits, which change the same files again.
const GATHERING: Duration = Duration::from_millis(200);

/// Files to be written, by path.
#[derive(Default)]
pub(super) struct Pending {
    files: BTreeMap<String, Arc<[u8]>>,
    bytes: usize,
}

impl Pending {
    /// Takes the files of a commit that made a tree of `size` leaves. Partial tiles of smaller trees are dropped: no
    /// checkpoint of such a tree will be published any more.
    pub(super) fn add(&mut self, writes: Writes, size: u64) {
        self.files.retain(|path, _| {
            Tile::parse(path).is_none_or(|tile| tile.is_full() || Tile::in_tree(tile.level, tile.index, size) == Some(tile))
        });
        self.files.extend(writes.into_iter().map(|(path, bytes)| (path, bytes.into())));
        self.bytes = self.files.values().map(|bytes| bytes.len()).sum();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn is_too_much(&self) -> bool {
        self.bytes > PENDING_BYTES_MAX
    }

    pub(super) fn get(&self, path: &str) -> Option<&Arc<[u8]>> {
        self.files.get(path)
    }

    /// The files as they will be, for readers.
    pub(super) fn files(&self) -> impl Iterator<Item = (&String, &Arc<[u8]>)> {
        self.files.iter()
    }

    /// Writes the next file; the checkpoint when no other is left. False if there was none.
    pub(super) fn write_one(&mut self, folder: &Folder) -> Result<bool, LogError> {
        let next = self.files.keys().find(|path| *path != CHECKPOINT).or_else(|| self.files.keys().next()).cloned();
        let Some(path) = next else { return Ok(false) };
        if let Some(bytes) = self.files.get(&path) {
            folder.replace(&path, bytes)?;
            self.bytes = self.bytes.saturating_sub(bytes.len());
        }
        self.files.remove(&path);
        Ok(true)
    }

    /// Writes all of them.
    pub(super) fn write_all(&mut self, folder: &Folder) -> Result<(), LogError> {
        while self.write_one(folder)? {}
        Ok(())
    }
}

/// Wakes the writing thread, and ends it.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default)]
struct Rung {
    work: bool,
    end: bool,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).work = true;
        self.changed.notify_all();
    }

    pub(super) fn end(&self) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).end = true;
        self.changed.notify_all();
    }

    /// Waits for work; false when there will be none any more.
    pub(super) fn wait(&self) -> bool {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !rung.work && !rung.end {
            rung = self.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut rung, _) = self.changed.wait_timeout_while(rung, GATHERING, |rung| !rung.end).unwrap_or_else(PoisonError::into_inner);
        rung.work = false;
        !rung.end
    }

    pub(super) fn is_over(&self) -> bool {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).end
    }
}
