//! Opening every file below a folder that somebody else may have filled with traps.
//!
//! in: a folder and [`FolderRules`]; out: open regular files, one at a time, in name order.
//! **Invariant:** nothing outside the folder is ever opened; what is no regular file with a plain name is refused by name.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::vec;

use rustix::fs::{Dir, FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use seaworthy_core::limits::{OUTPUT_BYTES_MAX, OUTPUT_FILES_MAX};

use super::put::NewFile;
use crate::error::StoreError;
use crate::folders;

/// Tries at an open that the kernel asks to repeat.
#[cfg(target_os = "linux")]
const OPEN_TRIES: usize = 1_000;

/// What to do with files that have more than one name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HardLinks {
    /// Refuse them: the other name may be anywhere, and its holder can change the bytes.
    Refuse,
    /// Take them: only for folders whose owner is trusted, like a user's own code.
    Accept,
}

/// Bounds of a folder that is taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FolderRules {
    /// Files at most, folders counted too.
    pub files_max: usize,
    /// Sum of sizes at most, bytes.
    pub bytes_max: u64,
    /// Folders within folders at most.
    pub depth_max: usize,
    /// Names (of one component) that are left out, wherever they stand; nothing by default.
    pub ignore: BTreeSet<String>,
    /// Files with several names.
    pub hard_links: HardLinks,
}

impl Default for FolderRules {
    fn default() -> Self {
        Self {
            files_max: OUTPUT_FILES_MAX,
            bytes_max: OUTPUT_BYTES_MAX,
            depth_max: 32,
            ignore: BTreeSet::new(),
            hard_links: HardLinks::Refuse,
        }
    }
}

/// Opens the folder itself; a symbolic link as its last component is refused.
pub fn open_folder(dir: &Path) -> Result<OwnedFd, StoreError> {
    folders::folder(dir).map_err(|fault| match fault {
        StoreError::Layout { path, .. } => StoreError::refused(path.display().to_string(), "it is a symbolic link or no folder"),
        fault => fault,
    })
}

/// All files below `dir`, opened. For more than a few hundred prefer `put_folder` and `hash_folder`, which hold one open at a time.
pub fn folder_files(dir: impl AsFd, rules: &FolderRules) -> Result<Vec<NewFile>, StoreError> {
    FolderFiles::new(dir, rules)?.collect()
}

/// The files below a folder, opened one at a time.
///
/// The whole tree is listed first, so that the count and depth limits hold before anything is read.
#[derive(Debug)]
pub struct FolderFiles {
    root: OwnedFd,
    names: vec::IntoIter<String>,
    bytes_left: u64,
    rules: FolderRules,
}

impl FolderFiles {
    /// Lists the folder.
    pub fn new(dir: impl AsFd, rules: &FolderRules) -> Result<Self, StoreError> {
        let root = dir.as_fd().try_clone_to_owned().map_err(StoreError::io("open", "the folder"))?;
        let mut listing = Listing { rules, names: Vec::new(), seen: 0 };
        listing.list(&root, "", 0)?;
        listing.names.sort();
        let names = listing.names.into_iter();
        Ok(Self { root, names, bytes_left: rules.bytes_max, rules: rules.clone() })
    }

    fn open(&mut self, name: String) -> Result<NewFile, StoreError> {
        let file = open_beneath(&self.root, &name, OFlags::NONBLOCK).map_err(|errno| refusal(&name, errno))?;
        let stat = fstat(&file).map_err(StoreError::os("examine", &name))?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(StoreError::refused(name, format!("it is {}", kind_of(FileType::from_raw_mode(stat.st_mode)))));
        }
        if stat.st_nlink > 1 && self.rules.hard_links == HardLinks::Refuse {
            return Err(StoreError::refused(name, format!("it is a hard link: its bytes have {} names", stat.st_nlink)));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        self.bytes_left = self
            .bytes_left
            .checked_sub(size)
            .ok_or_else(|| StoreError::TooLarge { what: "the folder in bytes".into(), limit: self.rules.bytes_max })?;
        Ok(NewFile { name, file: File::from(file), executable: stat.st_mode & 0o100 != 0 })
    }
}

impl Iterator for FolderFiles {
    type Item = Result<NewFile, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.names.next()?;
        Some(self.open(name))
    }
}

struct Listing<'a> {
    rules: &'a FolderRules,
    names: Vec<String>,
    seen: usize,
}

impl Listing<'_> {
    fn list(&mut self, folder: &OwnedFd, prefix: &str, depth: usize) -> Result<(), StoreError> {
        if depth > self.rules.depth_max {
            return Err(StoreError::TooLarge { what: format!("the depth of `{prefix}` in folders"), limit: self.rules.depth_max as u64 });
        }
        let mut folders = Vec::new();
        for entry in Dir::read_from(folder).map_err(StoreError::os("list", prefix))? {
            let entry = entry.map_err(StoreError::os("list", prefix))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(name) = name.to_str() else {
                return Err(StoreError::refused(format!("{prefix}{}", name.to_string_lossy()), "its name is not UTF-8"));
            };
            if self.rules.ignore.contains(name) {
                continue;
            }
            self.seen += 1;
            if self.seen > self.rules.files_max {
                return Err(StoreError::TooLarge { what: "the folder in files".into(), limit: self.rules.files_max as u64 });
            }
            let path = format!("{prefix}{name}");
            match entry.file_type() {
                FileType::RegularFile => self.names.push(path),
                FileType::Directory => folders.push((name.to_owned(), path)),
                // some file systems do not say: the descriptor will
                FileType::Unknown => match open_beneath(folder, name, OFlags::DIRECTORY) {
                    Ok(_) => folders.push((name.to_owned(), path)),
                    Err(_) => self.names.push(path),
                },
                other => {
                    return Err(StoreError::refused(path, format!("it is {}", kind_of(other))));
                }
            }
        }
        folders.sort();
        for (name, path) in folders {
            let inner = open_beneath(folder, &name, OFlags::DIRECTORY).map_err(|errno| refusal(&path, errno))?;
            self.list(&inner, &format!("{path}/"), depth + 1)?;
        }
        Ok(())
    }
}

/// Opens `name` below `folder` for reading; no component may be a symbolic link or lead outside.
#[cfg(target_os = "linux")]
fn open_beneath(folder: &OwnedFd, name: &str, extra: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | extra;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // EAGAIN: a rename elsewhere made the kernel unsure whether the path stays beneath; it says to try again
    for _ in 0..OPEN_TRIES {
        match openat2(folder, name, flags, Mode::empty(), resolve) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(folder: &OwnedFd, name: &str, extra: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::openat;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (folders, last) = name.rsplit_once('/').unwrap_or(("", name));
    let mut inner = rustix::io::dup(folder)?;
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        inner = openat(&inner, part, flags | OFlags::DIRECTORY, Mode::empty())?;
    }
    openat(&inner, last, flags | extra, Mode::empty())
}

fn refusal(name: &str, errno: Errno) -> StoreError {
    match errno {
        Errno::LOOP => StoreError::refused(name, "it is a symbolic link"),
        Errno::XDEV => StoreError::refused(name, "it leads out of the folder"),
        Errno::NOENT | Errno::NOTDIR => StoreError::refused(name, "it was replaced while the folder was read"),
        Errno::NXIO => StoreError::refused(name, "it is a socket or device"),
        errno => StoreError::os("open", name)(errno),
    }
}

const fn kind_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        FileType::Directory => "a folder",
        FileType::RegularFile => "a regular file",
        FileType::Unknown => "of unknown kind",
    }
}
