//! What the tree of an image must hold.
//!
//! in: what was unpacked, or a folder of the cache; out: [`Listing`], the same text for the same tree.
//! Form: a line an entry, sorted by path: `d PATH`, `f r|x SHA256 SIZE SECONDS.NANOS PATH`, `l TARGET PATH`; bytes of names other than printable
//! ASCII as `%XX`.
//! **Invariant:** two trees with the same listing have the same names, kinds, execute bits, bytes, times of files and targets of links.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};
use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_core::limits::IMAGE_DEPTH_MAX;

const HEAD: &str = "seaworthy image tree 1";
const CHUNK_BYTES: usize = 256 * 1024;

/// What stands at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Listed {
    Folder,
    File {
        executable: bool,
        size: u64,
        digest: Digest,
        /// Seconds and nanoseconds.
        mtime: (i64, u32),
    },
    Link {
        target: Vec<u8>,
    },
}

/// The lines of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listing {
    text: String,
}

impl Listing {
    /// Of entries sorted by path.
    pub(super) fn new(entries: impl Iterator<Item = (Vec<u8>, Listed)>) -> Self {
        let mut text = format!("{HEAD}\n");
        for (path, listed) in entries {
            let path = escaped(&path);
            match listed {
                Listed::Folder => text.push_str(&format!("d {path}\n")),
                Listed::File { executable, size, digest, mtime: (seconds, nanos) } => {
                    let may = if executable { 'x' } else { 'r' };
                    text.push_str(&format!("f {may} {digest} {size} {seconds}.{nanos:09} {path}\n"));
                }
                Listed::Link { target } => text.push_str(&format!("l {} {path}\n", escaped(&target))),
            }
        }
        Self { text }
    }

    /// As it was written down; none if it is something else.
    pub(super) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let text = String::from_utf8(bytes).ok()?;
        text.lines().next().is_some_and(|line| line == HEAD).then_some(Self { text })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    /// Reads every byte below `folder`.
    pub(super) fn of_folder(folder: &OwnedFd) -> std::io::Result<Self> {
        let mut found = BTreeMap::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        walk(folder, &mut Vec::new(), 0, &mut found, &mut Hashing { buffer: &mut buffer, linked: BTreeMap::new() })?;
        Ok(Self::new(found.into_iter()))
    }

    /// The first entry in which `found` differs from this.
    pub(super) fn difference(&self, found: &Self) -> Option<String> {
        let path = |line: &str| line.rsplit(' ').next().unwrap_or_default().to_owned();
        let of = |listing: &Self| listing.text.lines().skip(1).map(|line| (path(line), line.to_owned())).collect::<BTreeMap<_, _>>();
        let (wanted, there) = (of(self), of(found));
        for (path, line) in &wanted {
            match there.get(path) {
                None => return Some(format!("`{path}` is missing")),
                Some(other) if other != line => return Some(format!("`{path}` was changed")),
                Some(_) => {}
            }
        }
        there.keys().find(|path| !wanted.contains_key(*path)).map(|path| format!("`{path}` was added"))
    }
}

fn escaped(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => text.push_str("%25"),
            b'!'..=b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

/// `path` is the folder's from the root, and is so again afterwards.
fn walk(
    folder: &OwnedFd,
    path: &mut Vec<u8>,
    depth: usize,
    found: &mut BTreeMap<Vec<u8>, Listed>,
    hashing: &mut Hashing<'_>,
) -> std::io::Result<()> {
    if depth > IMAGE_DEPTH_MAX {
        return Err(std::io::Error::other("it is nested too deeply"));
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    let length = path.len();
    for name in names {
        if length > 0 {
            path.push(b'/');
        }
        path.extend(name.to_bytes());
        let stat = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let listed = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                walk(&openat(folder, &name, flags, Mode::empty())?, path, depth + 1, found, hashing)?;
                Listed::Folder
            }
            FileType::Symlink => Listed::Link { target: readlinkat(folder, &name, Vec::new())?.into_bytes() },
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                file(File::from(openat(folder, &name, flags, Mode::empty())?), hashing)?
            }
            _ => return Err(std::io::Error::other(format!("`{}` is neither file, folder nor link", escaped(path)))),
        };
        found.insert(path.clone(), listed);
        path.truncate(length);
    }
    Ok(())
}

/// What hashing of files needs, and what it found out of those with several names: each is hashed once.
struct Hashing<'a> {
    buffer: &'a mut [u8],
    linked: BTreeMap<(u64, u64), Listed>,
}

fn file(mut file: File, hashing: &mut Hashing<'_>) -> std::io::Result<Listed> {
    let stat = rustix::fs::fstat(&file)?;
    let inode = (stat.st_dev, stat.st_ino);
    if let Some(known) = hashing.linked.get(&inode) {
        return Ok(known.clone());
    }
    let mut hasher = Hasher::new();
    let mut size = 0;
    loop {
        let count = file.read(hashing.buffer)?;
        let chunk = hashing.buffer.get(..count).unwrap_or_default();
        if chunk.is_empty() {
            break;
        }
        size += chunk.len() as u64;
        hasher.update(chunk);
    }
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    #[expect(clippy::useless_conversion, reason = "the type differs from one architecture to the next")]
    let seconds = i64::from(stat.st_mtime);
    let mtime = (seconds, nanos);
    let listed = Listed::File { executable: stat.st_mode & 0o111 != 0, size, digest: hasher.finish(), mtime };
    if stat.st_nlink > 1 {
        hashing.linked.insert(inode, listed.clone());
    }
    Ok(listed)
}
