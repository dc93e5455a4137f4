//! A folder that is gone when the test is over.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let name = format!("store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, making the folders that it needs.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, bytes.as_ref());
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // checkouts are read-only folders
        _ = seaworthy_store::artifacts::remove_checkout(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "tests set up files as an attacker or a user would")]
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "tests take files away as an attacker would")]
pub(crate) fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

/// Changes one byte in place, whatever the mode says.
pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x01;
    let mode = std::fs::metadata(path).unwrap().permissions();
    let mut open = mode.clone();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o600);
    std::fs::set_permissions(path, open).unwrap();
    write(path, &bytes);
    std::fs::set_permissions(path, mode).unwrap();
}

/// Every regular file below `dir`, sorted.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    found
}
