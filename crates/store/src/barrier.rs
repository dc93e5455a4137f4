//! Durable barriers: the points at which a caller waits until what it wrote survives a power cut.
//!
//! in: files that were written; out: the same files, durable, and one more on the counter.
//! **Invariant:** nothing in this crate calls fsync but through here, so [`count`] is the number of waits.
//! **Invariant:** a failed fsync is never retried: the kernel may have dropped the pages, so the caller must fail.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNT_OF_THREAD: Cell<u64> = const { Cell::new(0) };
}

/// Barriers passed by this process so far.
#[must_use]
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Barriers passed by the calling thread so far: for tests that run beside others in one process.
#[must_use]
pub fn count_of_thread() -> u64 {
    COUNT_OF_THREAD.get()
}

/// Makes one file durable, its length and metadata included; one barrier.
pub fn sync(file: &File) -> io::Result<()> {
    crate::disk::fsync(file)?;
    note();
    Ok(())
}

/// Makes several files or folders durable in one go; one barrier.
pub fn sync_each<F: AsFd>(files: &[F]) -> io::Result<()> {
    group(|group| files.iter().try_for_each(|file| group.sync(file)))
}

/// Runs `work`, all of whose syncs count as the one barrier that its caller waits for.
pub fn group<T, E>(work: impl FnOnce(&Group) -> Result<T, E>) -> Result<T, E> {
    let done = work(&Group(()))?;
    note();
    Ok(done)
}

/// Permission to sync without counting, inside [`group`].
#[derive(Debug)]
pub struct Group(());

impl Group {
    /// Makes one file or folder durable.
    pub fn sync(&self, file: impl AsFd) -> io::Result<()> {
        crate::disk::fsync(file).map_err(io::Error::from)
    }

    /// Makes the bytes of one file durable, and of its metadata what is needed to read them.
    pub fn sync_data(&self, file: impl AsFd) -> io::Result<()> {
        crate::disk::fdatasync(file).map_err(io::Error::from)
    }

    /// Makes the whole file system that holds `file` durable: cheaper than very many single syncs.
    #[cfg(target_os = "linux")]
    pub fn sync_file_system(&self, file: impl AsFd) -> io::Result<()> {
        crate::disk::syncfs(file).map_err(io::Error::from)
    }

    /// Only Linux syncs one file system as a whole.
    #[cfg(not(target_os = "linux"))]
    pub fn sync_file_system(&self, _file: impl AsFd) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn note() {
    COUNT.fetch_add(1, Ordering::Relaxed);
    COUNT_OF_THREAD.set(COUNT_OF_THREAD.get() + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_counts_once_and_a_failed_one_not_at_all() {
        let folder = File::open(std::env::temp_dir()).unwrap();
        let before = count_of_thread();
        sync(&folder).unwrap();
        assert_eq!(count_of_thread() - before, 1);
        sync_each(&[&folder, &folder, &folder]).unwrap();
        assert_eq!(count_of_thread() - before, 2);
        group(|_| Err::<(), _>(io::Error::other("no"))).unwrap_err();
        assert_eq!(count_of_thread() - before, 2);
        assert!(count() >= 2);
    }
}
