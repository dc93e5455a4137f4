//! Takes the files a step left in its output folders.
//!
//! In: the descriptor of `/out`, after the death of every process that could write there. Out: open files, sorted.
//!
//! **Invariant:** only regular files with exactly one name, opened beneath their folder without following any link.
//! **Invariant:** the first thing that is anything else stops the collection and is named.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

use crate::error::CollectError;
use crate::report::{CollectedFile, CollectedOutput};

const DEPTH_MAX: usize = 32;
const PATH_BYTES_MAX: usize = 1024;

/// Bounds over all outputs of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
}

/// Collects every declared output.
pub(crate) fn collect(out: &OwnedFd, names: &[String], bounds: Bounds) -> Result<Vec<CollectedOutput>, CollectError> {
    let mut walk = Walk { bounds, files: 0, folders: 0, bytes: 0 };
    names
        .iter()
        .map(|name| {
            let folder = open(out, name, OFlags::DIRECTORY).map_err(reading(name))?;
            let mut files = Vec::new();
            walk.folder(&folder, name, "", 0, &mut files)?;
            files.sort_by(|one, other| one.path.as_bytes().cmp(other.path.as_bytes()));
            Ok(CollectedOutput { name: name.clone(), files })
        })
        .collect()
}

fn reading(path: &str) -> impl FnOnce(io::Error) -> CollectError {
    let path = path.to_owned();
    move |source| CollectError::Read { path, source }
}

struct Walk {
    bounds: Bounds,
    files: usize,
    folders: usize,
    bytes: u64,
}

impl Walk {
    fn folder(
        &mut self,
        folder: &OwnedFd,
        output: &str,
        prefix: &str,
        depth: usize,
        files: &mut Vec<CollectedFile>,
    ) -> Result<(), CollectError> {
        let shown = format!("{output}/{prefix}");
        if depth > DEPTH_MAX {
            return Err(CollectError::Limit { path: shown, limit: DEPTH_MAX as u64, unit: "nested folders" });
        }
        self.folders += 1;
        if self.folders > self.bounds.files.saturating_add(1024) {
            return Err(CollectError::Limit { path: shown, limit: self.bounds.files as u64, unit: "folders" });
        }
        let entries = Dir::read_from(folder).map_err(|error| reading(&shown)(error.into()))?;
        for entry in entries {
            let entry = entry.map_err(|error| reading(&shown)(error.into()))?;
            let raw = entry.file_name().to_bytes();
            if matches!(raw, b"." | b"..") {
                continue;
            }
            let name = plain_name(raw, &shown)?;
            let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            if path.len() > PATH_BYTES_MAX {
                return Err(CollectError::Name { path: shown, what: "the path is too long" });
            }
            self.entry(folder, output, name, path, depth, files)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: &OwnedFd,
        output: &str,
        name: &str,
        path: String,
        depth: usize,
        files: &mut Vec<CollectedFile>,
    ) -> Result<(), CollectError> {
        let shown = format!("{output}/{path}");
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| reading(&shown)(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let inner = open(folder, name, OFlags::DIRECTORY).map_err(reading(&shown))?;
            return self.folder(&inner, output, &path, depth + 1, files);
        }
        regular(&stat, &shown)?;
        // Opening what is regular cannot block; the second look makes sure that it is what was looked at.
        let fd = open(folder, name, OFlags::NONBLOCK).map_err(reading(&shown))?;
        let opened = rustix::fs::fstat(&fd).map_err(|error| reading(&shown)(error.into()))?;
        regular(&opened, &shown)?;
        let size = u64::try_from(opened.st_size).unwrap_or(u64::MAX);
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        if self.files > self.bounds.files {
            return Err(CollectError::Limit { path: shown, limit: self.bounds.files as u64, unit: "files" });
        }
        // By length, not by blocks: a sparse file is as long to hash and to keep as it says.
        if self.bytes > self.bounds.bytes {
            return Err(CollectError::Limit { path: shown, limit: self.bounds.bytes, unit: "bytes" });
        }
        let executable = opened.st_mode & 0o111 != 0;
        files.push(CollectedFile { path, file: File::from(fd), size, executable });
        Ok(())
    }
}

fn open(folder: &OwnedFd, name: &str, extra: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | extra;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(folder.as_fd(), name, flags, Mode::empty(), resolve)?)
}

fn regular(stat: &Stat, shown: &str) -> Result<(), CollectError> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_nlink == 1 => return Ok(()),
        FileType::RegularFile => "a file with several names (hard link)",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Directory => "a folder",
        FileType::Unknown => "of an unknown kind",
    };
    Err(CollectError::Kind { path: shown.escape_debug().to_string(), what })
}

/// Names that every reader, shell and log shows as they are.
fn plain_name<'a>(raw: &'a [u8], folder: &str) -> Result<&'a str, CollectError> {
    let refuse = |what| Err(CollectError::Name { path: format!("{folder}/{}", raw.escape_ascii()).replace("//", "/"), what });
    let Ok(name) = std::str::from_utf8(raw) else {
        return refuse("not UTF-8");
    };
    if name.chars().any(char::is_control) {
        return refuse("a control character");
    }
    if name.contains('\\') {
        return refuse("a backslash");
    }
    let misleading = |one: char| matches!(one, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}');
    if name.chars().any(misleading) {
        return refuse("an invisible character or direction mark");
    }
    if name.trim() != name {
        return refuse("white space at its end");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for raw in [&b"a\nb"[..], b"a\x1b[2J", b"\xff", b"a\\b", "a\u{202e}b".as_bytes(), "a\u{200b}".as_bytes(), b" a", b"a "] {
            assert!(plain_name(raw, "out").is_err(), "{raw:?}");
        }
        for raw in ["model.onnx", "größe", "a b", ".hidden", "-x"] {
            assert_eq!(plain_name(raw.as_bytes(), "out").unwrap(), raw);
        }
    }
}
