//! The tree of an image, layer upon layer, in a new folder of ours.
//!
//! in: entries of layers in order; out: the folder, and a [`Listing`] of what it must hold.
//! What becomes of entries: files 0444, or 0555 if anybody may execute them, with their time; folders 0555; symbolic links as they are;
//! owners, set-id bits and extended attributes are dropped, devices and pipes left out. Whiteouts (OCI image-spec, layer.md) hide what
//! lower layers brought.
//! **Invariant:** nothing outside the folder is touched: paths are resolved in a model of the tree, where no link is followed, and opened
//! beneath the folder with no link followed either. **Invariant:** one path has one meaning: a layer that brings it twice is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fchmod, futimens, linkat, mkdirat, openat2, symlinkat, unlinkat,
};
use seaworthy_core::digest::Hasher;
use seaworthy_core::limits::{
    IMAGE_BYTES_MAX, IMAGE_DEPTH_MAX, IMAGE_ENTRIES_MAX, IMAGE_NAME_BYTES_MAX, IMAGE_NAMES_BYTES_MAX, IMAGE_PATH_BYTES_MAX,
};

use super::layer::Worked;
use super::listing::{Listed, Listing};
use super::tar::{Entry, Kind};

const CHUNK_BYTES: usize = 256 * 1024;
const WHITEOUT: &[u8] = b".wh.";
/// Hides all that lower layers have in its folder.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What AUFS kept for itself, in images of old.
const AUFS: [&[u8]; 3] = [b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk"];
const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);

/// Why an entry was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// The entry, and why.
    Entry(String),
    /// The folder could not be written.
    Disk(io::Error),
}

impl From<rustix::io::Errno> for Refused {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Disk(errno.into())
    }
}

/// What stands at a path, and which layer brought it.
struct Node {
    listed: Listed,
    layer: usize,
}

/// What was dropped, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// Devices and pipes.
    pub specials: u64,
    /// Files with set-id bits or extended attributes, which they lost.
    pub privileges: u64,
}

/// A tree under construction.
pub(super) struct Tree {
    root: OwnedFd,
    nodes: BTreeMap<Vec<u8>, Node>,
    layer: usize,
    bytes: u64,
    entries: usize,
    /// Bytes of all paths and of what links point to.
    names: u64,
    /// Whiteouts of this layer.
    hidden: BTreeSet<Vec<u8>>,
    dropped: Dropped,
    /// The folder that was opened last.
    recent: Option<(Vec<u8>, OwnedFd)>,
    buffer: Vec<u8>,
}

impl Tree {
    /// Begins in the empty folder `root`.
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            nodes: BTreeMap::new(),
            layer: 0,
            bytes: 0,
            entries: 0,
            names: 0,
            hidden: BTreeSet::new(),
            dropped: Dropped::default(),
            recent: None,
            buffer: vec![0; CHUNK_BYTES],
        }
    }

    /// Lays one layer over what is there.
    pub(super) fn layer(&mut self, archive: &mut Worked<'_>) -> Result<(), Refused> {
        self.layer += 1;
        self.hidden.clear();
        while let Some(entry) = archive.next().map_err(|e| read(&e))? {
            self.count(&entry.path, &entry.target)?;
            self.apply(&entry, archive)?;
        }
        Ok(())
    }

    /// One more entry, or one more folder that an entry has above it without saying so.
    fn count(&mut self, path: &[u8], target: &[u8]) -> Result<(), Refused> {
        self.entries += 1;
        self.names = self.names.saturating_add((path.len() + target.len()) as u64);
        if self.entries > IMAGE_ENTRIES_MAX {
            return refuse(path, &format!("the image has more than {IMAGE_ENTRIES_MAX} entries"));
        }
        if self.names > IMAGE_NAMES_BYTES_MAX {
            return refuse(path, &format!("the names in the image have more than {IMAGE_NAMES_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    /// Makes the folder `path` if nothing stands there, as a runtime does for the working folder.
    pub(super) fn ensure(&mut self, path: &[u8]) -> Result<(), Refused> {
        self.layer += 1;
        let Some(path) = clean(path).filter(|path| !path.is_empty()) else { return Ok(()) };
        // through a link, or onto a file: found out when it is to be used
        let blocked = ancestors(&path)
            .chain([path.as_slice()])
            .any(|above| self.nodes.get(above).is_some_and(|node| !matches!(node.listed, Listed::Folder)));
        if !blocked && !self.nodes.contains_key(&path) {
            self.parents(&path)?;
            self.make_folder(&path)?;
        }
        Ok(())
    }

    /// Closes every folder; what the tree holds now, and what was dropped.
    pub(super) fn finish(mut self) -> Result<(Listing, Dropped), Refused> {
        let closed = Mode::from_raw_mode(0o555);
        let folders = self.nodes.iter().rev().filter(|(_, node)| matches!(node.listed, Listed::Folder));
        let folders: Vec<Vec<u8>> = folders.map(|(path, _)| path.clone()).collect();
        self.recent = None;
        for path in folders {
            let folder = self.open(&path)?;
            fchmod(folder, closed)?;
        }
        fchmod(&self.root, closed)?;
        Ok((Listing::new(self.nodes.into_iter().map(|(path, node)| (path, node.listed))), self.dropped))
    }

    fn apply(&mut self, entry: &Entry, archive: &mut Worked<'_>) -> Result<(), Refused> {
        let path = match clean(&entry.path) {
            Some(path) => path,
            None => return refuse(&entry.path, "it has `..` in its path, or is too long or too deep"),
        };
        if path.is_empty() {
            return if entry.kind == Kind::Folder { Ok(()) } else { refuse(&entry.path, "it names the root itself") };
        }
        if path.split(|byte| *byte == b'/').any(|part| AUFS.contains(&part)) {
            return Ok(());
        }
        let (folder, name) = split(&path);
        if folder.split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT)) {
            return refuse(&entry.path, "a folder has the name of a whiteout");
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(entry, folder, name, hidden);
        }
        self.parents(&path)?;
        if entry.attributes > 0 || entry.mode & 0o6000 != 0 && entry.kind == Kind::File {
            self.dropped.privileges += 1;
        }
        if entry.kind == Kind::Folder && self.nodes.get(&path).is_some_and(|node| matches!(node.listed, Listed::Folder)) {
            let layer = self.layer;
            self.nodes.entry(path).and_modify(|node| node.layer = layer);
            return Ok(());
        }
        if entry.kind == Kind::HardLink {
            return self.hard_link(entry, &path);
        }
        self.clear(&entry.path, &path)?;
        match entry.kind {
            Kind::Folder => self.make_folder(&path),
            Kind::File => self.file(entry, &path, archive),
            Kind::SymbolicLink => self.symbolic_link(entry, path),
            Kind::HardLink | Kind::Device | Kind::Fifo => {
                self.dropped.specials += 1;
                Ok(())
            }
        }
    }

    /// `.wh.NAME` hides NAME of lower layers, `.wh..wh..opq` everything in the folder; neither anything of its own layer.
    fn whiteout(&mut self, entry: &Entry, folder: &[u8], name: &[u8], hidden: &[u8]) -> Result<(), Refused> {
        if entry.kind != Kind::File || entry.size != 0 {
            return refuse(&entry.path, "a whiteout is no empty file");
        }
        // each costs a look at all that it may hide
        if !self.hidden.insert(join(folder, name)) {
            return refuse(&entry.path, "its layer brings it twice");
        }
        for above in ancestors(folder).chain([folder]).filter(|above| !above.is_empty()) {
            match self.nodes.get(above).map(|node| &node.listed) {
                Some(Listed::Folder) => {}
                // there is nothing to hide
                None => return Ok(()),
                Some(_) => return refuse(&entry.path, "it hides something behind a link or a file"),
            }
        }
        if name == OPAQUE {
            return self.hide_below(folder);
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." || hidden.starts_with(WHITEOUT) {
            return refuse(&entry.path, "it is a whiteout of nothing");
        }
        let path = join(folder, hidden);
        self.hide_below(&path)?;
        self.hide(&path)
    }

    /// Removes what lower layers have below `folder`, and folders that are empty then.
    fn hide_below(&mut self, folder: &[u8]) -> Result<(), Refused> {
        for path in self.below(folder).into_iter().rev() {
            self.hide(&path)?;
        }
        Ok(())
    }

    /// Removes one node of a lower layer; a folder stays while something of this layer is in it.
    fn hide(&mut self, path: &[u8]) -> Result<(), Refused> {
        let Some(node) = self.nodes.get(path).filter(|node| node.layer < self.layer) else { return Ok(()) };
        let is_folder = matches!(node.listed, Listed::Folder);
        if is_folder && self.has_below(path) {
            return Ok(());
        }
        self.remove(path, is_folder)
    }

    /// Makes room for something new at `path`.
    fn clear(&mut self, shown: &[u8], path: &[u8]) -> Result<(), Refused> {
        let Some(node) = self.nodes.get(path) else { return Ok(()) };
        let twice = "its layer brings it twice";
        let is_folder = matches!(node.listed, Listed::Folder);
        if node.layer == self.layer {
            return refuse(shown, twice);
        }
        if is_folder {
            let below = self.below(path);
            if below.iter().any(|path| self.nodes.get(path).is_some_and(|node| node.layer == self.layer)) {
                return refuse(shown, twice);
            }
            for path in below.into_iter().rev() {
                let is_folder = self.nodes.get(&path).is_some_and(|node| matches!(node.listed, Listed::Folder));
                self.remove(&path, is_folder)?;
            }
        }
        self.remove(path, is_folder)
    }

    fn remove(&mut self, path: &[u8], is_folder: bool) -> Result<(), Refused> {
        if is_folder && self.recent.as_ref().is_some_and(|(open, _)| open == path) {
            self.recent = None;
        }
        let (folder, name) = split(path);
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(self.at(folder)?, name, flags)?;
        self.nodes.remove(path);
        Ok(())
    }

    /// Every path below `folder`, outer ones before inner ones.
    fn below(&self, folder: &[u8]) -> Vec<Vec<u8>> {
        if folder.is_empty() {
            return self.nodes.keys().cloned().collect();
        }
        let (from, to) = (join(folder, b""), [folder, b"0"].concat());
        self.nodes.range(from..to).map(|(path, _)| path.clone()).collect()
    }

    fn has_below(&self, folder: &[u8]) -> bool {
        self.nodes.range(join(folder, b"")..[folder, b"0"].concat()).next().is_some()
    }

    /// The folders above `path`: made where missing, refused where something else stands.
    fn parents(&mut self, path: &[u8]) -> Result<(), Refused> {
        for above in ancestors(path) {
            match self.nodes.get(above).map(|node| &node.listed) {
                Some(Listed::Folder) => {}
                Some(Listed::Link { .. }) => return refuse(path, "its path leads through a symbolic link"),
                Some(Listed::File { .. }) => return refuse(path, "its path leads through a file"),
                None => {
                    self.count(above, b"")?;
                    self.make_folder(above)?;
                }
            }
        }
        Ok(())
    }

    fn make_folder(&mut self, path: &[u8]) -> Result<(), Refused> {
        let (folder, name) = split(path);
        mkdirat(self.at(folder)?, name, Mode::RWXU)?;
        self.put(path.to_vec(), Listed::Folder);
        Ok(())
    }

    fn file(&mut self, entry: &Entry, path: &[u8], archive: &mut Worked<'_>) -> Result<(), Refused> {
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > IMAGE_BYTES_MAX {
            return refuse(&entry.path, &format!("the image unpacks to more than {IMAGE_BYTES_MAX} bytes"));
        }
        let (folder, name) = split(path);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(self.at(folder)?, name, flags, Mode::RUSR | Mode::WUSR)?);
        let mut hasher = Hasher::new();
        loop {
            let count = archive.read(&mut self.buffer).map_err(|e| read(&e))?;
            let chunk = self.buffer.get(..count).unwrap_or_default();
            if chunk.is_empty() {
                break;
            }
            hasher.update(chunk);
            file.write_all(chunk).map_err(Refused::Disk)?;
        }
        let executable = entry.mode & 0o111 != 0;
        // no file system keeps times without end
        let seconds = entry.mtime.0.clamp(0, i64::from(u32::MAX));
        let time = Timespec { tv_sec: seconds, tv_nsec: entry.mtime.1.into() };
        futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
        fchmod(&file, Mode::from_raw_mode(if executable { 0o555 } else { 0o444 }))?;
        let listed = Listed::File { executable, size: entry.size, digest: hasher.finish(), mtime: (seconds, entry.mtime.1) };
        self.put(path.to_vec(), listed);
        Ok(())
    }

    fn symbolic_link(&mut self, entry: &Entry, path: Vec<u8>) -> Result<(), Refused> {
        if entry.target.is_empty() || entry.target.len() > IMAGE_PATH_BYTES_MAX {
            return refuse(&entry.path, "it is a link to nothing, or to a name that is too long");
        }
        let (folder, name) = split(&path);
        symlinkat(entry.target.as_slice(), self.at(folder)?, name)?;
        self.put(path, Listed::Link { target: entry.target.clone() });
        Ok(())
    }

    /// A second name for a file of the image; of a symbolic link a second link.
    fn hard_link(&mut self, entry: &Entry, path: &[u8]) -> Result<(), Refused> {
        let target = clean(&entry.target).filter(|target| !target.is_empty());
        let Some(target) = target.filter(|target| target != path) else {
            return refuse(&entry.path, "it is a second name for something outside the image, or for itself");
        };
        let listed = match self.nodes.get(&target).map(|node| &node.listed) {
            Some(Listed::File { executable, size, digest, mtime }) => {
                Listed::File { executable: *executable, size: *size, digest: *digest, mtime: *mtime }
            }
            Some(Listed::Link { target }) => Listed::Link { target: target.clone() },
            Some(Listed::Folder) | None => return refuse(&entry.path, "it is a second name for no file of the image"),
        };
        self.clear(&entry.path, path)?;
        let ((from, name), (folder, new)) = (split(&target), split(path));
        // what had to make room may have been the target
        if !self.nodes.contains_key(&target) {
            return refuse(&entry.path, "it is a second name for what it replaces");
        }
        let source = self.open(from)?;
        linkat(source, name, self.at(folder)?, new, AtFlags::empty())?;
        self.put(path.to_vec(), listed);
        Ok(())
    }

    fn put(&mut self, path: Vec<u8>, listed: Listed) {
        self.nodes.insert(path, Node { listed, layer: self.layer });
    }

    /// The folder at `path`, kept open for the next entry.
    fn at(&mut self, path: &[u8]) -> Result<impl AsFd + use<'_>, Refused> {
        if self.recent.as_ref().is_none_or(|(open, _)| open != path) {
            self.recent = Some((path.to_vec(), self.open(path)?));
        }
        match &self.recent {
            Some((_, folder)) => Ok(folder.as_fd()),
            None => Ok(self.root.as_fd()),
        }
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, Refused> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = if path.is_empty() { b".".as_slice() } else { path };
        Ok(openat2(&self.root, path, flags, Mode::empty(), BENEATH)?)
    }
}

/// The path from the root in plain form, empty for the root itself; none if it leaves the root or is out of bounds.
fn clean(path: &[u8]) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let fine = parts.len() <= IMAGE_DEPTH_MAX && parts.iter().all(|part| *part != b".." && part.len() <= IMAGE_NAME_BYTES_MAX);
    Some(parts.join(&b'/')).filter(|path| fine && path.len() <= IMAGE_PATH_BYTES_MAX)
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/').and_then(|slash| path.split_at_checked(slash)) {
        Some((folder, name)) => (folder, name.get(1..).unwrap_or_default()),
        None => (b"", path),
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// The folders above `path`, outermost first.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').filter_map(|(end, _)| path.get(..end))
}

/// A fault of the archive, or of the stream below it.
fn read(error: &io::Error) -> Refused {
    Refused::Entry(error.to_string())
}

fn refuse<T>(path: &[u8], why: &str) -> Result<T, Refused> {
    Err(Refused::Entry(format!("`{}`: {why}", path.escape_ascii())))
}
