//! Putting bytes into the store: hashed once while they are copied, durable before they have a name.
//!
//! in: bytes, readers, open files; out: digests, [`Blob`]s, manifests.
//! **Invariant:** temporary file, bytes, fsync, rename, fsync of the folder: in this order, one barrier a call.
//! **Invariant:** a blob that is there already is compared byte by byte; one that differs is replaced and kept in `quarantine/`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLockReadGuard};

use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fstat};
use rustix::io::Errno;
use seaworthy_core::artifact::{ArtifactRef, Manifest, ManifestEntry};
use seaworthy_core::digest::{Digest, Hasher};

use super::folder::{FolderFiles, FolderRules};
use super::{Artifacts, Writer};
use crate::barrier;
use crate::disk::{self, linkat, mkdirat, openat, renameat, unlinkat};
use crate::error::{StoreError, blob_path};
use crate::folders;

/// Files up to this size are read into memory whole, so that an equal blob costs no write.
const SMALL_BYTES: u64 = 1024 * 1024;
/// Bytes read at once from larger ones.
const CHUNK_BYTES: usize = 256 * 1024;
/// Up to so many new files are synced one by one; more of them with one syncfs.
const SYNC_EACH_MAX: usize = if cfg!(target_os = "linux") { 256 } else { usize::MAX };
const READ_ONLY: Mode = Mode::RUSR.union(Mode::RGRP).union(Mode::ROTH);

/// A file on its way into an artifact.
#[derive(Debug)]
pub struct NewFile {
    /// Path below the artifact's root, `/`-separated.
    pub name: String,
    /// The file, open for reading, at its start.
    pub file: File,
    /// Whether it may be executed.
    pub executable: bool,
}

/// What a reader turned out to hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the same bytes in hex, if it was asked for.
    pub blake3: Option<String>,
}

/// How to take in a stream.
#[derive(Clone, Copy, Debug)]
pub struct PutRules {
    /// Bytes it may have at most.
    pub bytes_max: u64,
    /// Whether to compute BLAKE3 beside SHA-256.
    pub blake3: bool,
}

impl Artifacts {
    /// Begins a batch: several blobs and artifacts for one barrier.
    pub fn batch(&self) -> Result<Batch<'_>, StoreError> {
        Batch::new(self)
    }

    /// Stores `bytes`; one barrier.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let mut batch = Batch::new(self)?;
        let digest = batch.stage_bytes(bytes)?;
        batch.commit()?;
        Ok(digest)
    }

    /// Stores what `reader` yields, at most `limit` bytes; one barrier.
    pub fn put_reader(&self, reader: &mut dyn Read, limit: u64) -> Result<Blob, StoreError> {
        self.put_reader_with(reader, PutRules { bytes_max: limit, blake3: false })
    }

    /// Stores what `reader` yields under `rules`; one barrier.
    pub fn put_reader_with(&self, reader: &mut dyn Read, rules: PutRules) -> Result<Blob, StoreError> {
        let mut batch = Batch::new(self)?;
        let blob = batch.stage_reader(reader, rules)?;
        batch.commit()?;
        Ok(blob)
    }

    /// Stores `files` and the manifest that names them as one artifact; each is read once; one barrier.
    pub fn put_files(&self, files: Vec<NewFile>) -> Result<(Manifest, ArtifactRef), StoreError> {
        self.put_each(files.into_iter().map(Ok))
    }

    /// Stores every file below `dir` as one artifact, opening one at a time; one barrier.
    pub fn put_folder(&self, dir: impl AsFd, rules: &FolderRules) -> Result<(Manifest, ArtifactRef), StoreError> {
        self.put_each(FolderFiles::new(dir, rules)?)
    }

    /// Stores a manifest document whose files are in the store already; one barrier.
    pub fn put_manifest(&self, manifest: &Manifest) -> Result<ArtifactRef, StoreError> {
        for entry in manifest.entries() {
            if !self.contains(&entry.digest) {
                return Err(StoreError::Missing { digest: entry.digest });
            }
        }
        self.put_bytes(&manifest.to_bytes())?;
        Ok(manifest.reference())
    }

    fn put_each(&self, files: impl Iterator<Item = Result<NewFile, StoreError>>) -> Result<(Manifest, ArtifactRef), StoreError> {
        let mut batch = Batch::new(self)?;
        let stored = batch.each(files)?;
        batch.commit()?;
        Ok(stored)
    }
}

/// The manifest and digests that `files` would have as an artifact; nothing is stored.
pub fn hash_files(files: Vec<NewFile>) -> Result<(Manifest, ArtifactRef), StoreError> {
    hash_each(files.into_iter().map(Ok))
}

/// The manifest and digests that the files below `dir` would have as an artifact; nothing is stored.
pub fn hash_folder(dir: impl AsFd, rules: &FolderRules) -> Result<(Manifest, ArtifactRef), StoreError> {
    hash_each(FolderFiles::new(dir, rules)?)
}

fn hash_each(files: impl Iterator<Item = Result<NewFile, StoreError>>) -> Result<(Manifest, ArtifactRef), StoreError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut entries = Vec::new();
    for file in files {
        let file = file?;
        let size = regular_size(&file)?;
        let mut hasher = Hasher::new();
        let read = copy_chunks(&mut &file.file, &mut buffer, size, &mut |chunk| {
            hasher.update(chunk);
            Ok(())
        });
        if read.map_err(|fault| fault.at(&file.name))? != size {
            return Err(changed(&file.name));
        }
        entries.push(entry_of(&file, hasher.finish(), size));
    }
    let manifest = manifest_of(entries)?;
    let reference = manifest.reference();
    Ok((manifest, reference))
}

fn entry_of(file: &NewFile, digest: Digest, size: u64) -> ManifestEntry {
    ManifestEntry { name: file.name.clone(), digest, size, mode: if file.executable { 0o755 } else { 0o644 } }
}

fn manifest_of(entries: Vec<ManifestEntry>) -> Result<Manifest, StoreError> {
    Manifest::new(entries).map_err(|fault| StoreError::refused("artifact", fault.to_string()))
}

fn changed(name: &str) -> StoreError {
    StoreError::refused(name, "it changed while it was read")
}

/// The size of a file that may become part of an artifact.
fn regular_size(file: &NewFile) -> Result<u64, StoreError> {
    let stat = fstat(&file.file).map_err(StoreError::os("examine", &file.name))?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(StoreError::refused(&file.name, "it is no regular file"));
    }
    u64::try_from(stat.st_size).map_err(|_| StoreError::refused(&file.name, "its size is negative"))
}

/// What went wrong while copying a stream.
enum CopyFault {
    Read(io::Error),
    Write(io::Error),
    Long(u64),
}

impl CopyFault {
    fn at(self, name: &str) -> StoreError {
        match self {
            Self::Read(source) => StoreError::io("read", name)(source),
            Self::Write(source) => StoreError::io("store", name)(source),
            Self::Long(limit) => StoreError::TooLarge { what: format!("`{name}` in bytes"), limit },
        }
    }
}

/// Feeds `sink` with all of `reader`, at most `limit` bytes.
fn copy_chunks(
    reader: &mut dyn Read,
    buffer: &mut [u8],
    limit: u64,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<u64, CopyFault> {
    let mut total = 0_u64;
    loop {
        let count = match reader.read(buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(CopyFault::Read(cause)),
        };
        total = total.saturating_add(count as u64);
        if total > limit {
            return Err(CopyFault::Long(limit));
        }
        sink(buffer.get(..count).unwrap_or_default()).map_err(CopyFault::Write)?;
    }
}

/// What is under a blob's name just now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Absent,
    Same,
    Differs,
}

/// A temporary file; gone when dropped, unless it was given its name.
struct Temp<'a> {
    folder: &'a OwnedFd,
    name: String,
    file: Option<File>,
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // what cannot be removed now is removed when the store is opened next
            _ = unlinkat(self.folder, &*self.name, AtFlags::empty());
        }
    }
}

struct Staged<'a> {
    temp: Temp<'a>,
    digest: Digest,
    heals: bool,
}

/// What becomes durable together, at the price of one barrier: nothing has its name in the store before [`Batch::commit`].
pub struct Batch<'a> {
    store: &'a Artifacts,
    writer: &'a Writer,
    staged: Vec<Staged<'a>>,
    seen: BTreeSet<Digest>,
    /// Too many files to keep open: one syncfs instead.
    many: bool,
    _gate: RwLockReadGuard<'a, ()>,
}

impl<'a> Batch<'a> {
    fn new(store: &'a Artifacts) -> Result<Self, StoreError> {
        let writer = store.writer()?;
        let gate = writer.gate.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Self { store, writer, staged: Vec::new(), seen: BTreeSet::new(), many: false, _gate: gate })
    }

    /// Adds `bytes`.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<Digest, StoreError> {
        self.stage_bytes(bytes)
    }

    /// Adds the one-file artifact `name` with these bytes.
    pub fn document(&mut self, name: &str, bytes: &[u8]) -> Result<ArtifactRef, StoreError> {
        let digest = self.stage_bytes(bytes)?;
        let manifest = manifest_of(vec![ManifestEntry { name: name.to_owned(), digest, size: bytes.len() as u64, mode: 0o644 }])?;
        self.stage_bytes(&manifest.to_bytes())?;
        Ok(manifest.reference())
    }

    /// Adds `files` and the manifest that names them; each is read once.
    pub fn files(&mut self, files: Vec<NewFile>) -> Result<(Manifest, ArtifactRef), StoreError> {
        self.each(files.into_iter().map(Ok))
    }

    /// Adds every file below `dir` as one artifact, opening one at a time.
    pub fn folder(&mut self, dir: impl AsFd, rules: &FolderRules) -> Result<(Manifest, ArtifactRef), StoreError> {
        self.each(FolderFiles::new(dir, rules)?)
    }

    fn each(&mut self, files: impl Iterator<Item = Result<NewFile, StoreError>>) -> Result<(Manifest, ArtifactRef), StoreError> {
        let mut buffer = Vec::new();
        let mut entries = Vec::new();
        for file in files {
            let file = file?;
            let (digest, size) = self.stage_file(&file, &mut buffer)?;
            entries.push(entry_of(&file, digest, size));
        }
        let manifest = manifest_of(entries)?;
        self.stage_bytes(&manifest.to_bytes())?;
        let reference = manifest.reference();
        Ok((manifest, reference))
    }

    /// Opens a blob of this batch, or of the store (verified): what was just hashed while it was written is what is read.
    pub fn open(&self, blob: &Digest) -> Result<File, StoreError> {
        let Some(staged) = self.staged.iter().find(|staged| staged.digest == *blob) else {
            return self.store.verified_file(blob);
        };
        let path = self.store.dir.join("tmp").join(&staged.temp.name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.writer.temps, &*staged.temp.name, flags, Mode::empty()).map_err(StoreError::os("open", path))?;
        Ok(File::from(file))
    }

    fn stage_bytes(&mut self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if !self.seen.insert(digest) {
            return Ok(digest);
        }
        let standing = self.standing(&digest, bytes.len() as u64, &mut |existing| equal(existing, &mut &*bytes, bytes.len() as u64));
        if standing != Standing::Same {
            let temp = self.temp()?;
            let path = self.store.dir.join("tmp").join(&temp.name);
            temp.file.as_ref().map_or(Ok(()), |file| disk::write_all(file, bytes)).map_err(StoreError::io("write", path))?;
            self.stage(temp, digest, standing);
        }
        Ok(digest)
    }

    fn stage_file(&mut self, file: &NewFile, buffer: &mut Vec<u8>) -> Result<(Digest, u64), StoreError> {
        let size = regular_size(file)?;
        if size > SMALL_BYTES {
            let blob = self.stage_reader(&mut &file.file, PutRules { bytes_max: size, blake3: false });
            return match blob {
                Ok(blob) if blob.size == size => Ok((blob.digest, size)),
                Ok(_) | Err(StoreError::TooLarge { .. }) => Err(changed(&file.name)),
                Err(fault) => Err(fault),
            };
        }
        buffer.clear();
        (&file.file).take(size + 1).read_to_end(buffer).map_err(StoreError::io("read", &file.name))?;
        if buffer.len() as u64 != size {
            return Err(changed(&file.name));
        }
        Ok((self.stage_bytes(buffer)?, size))
    }

    fn stage_reader(&mut self, reader: &mut dyn Read, rules: PutRules) -> Result<Blob, StoreError> {
        let mut temp = self.temp()?;
        let mut hasher = Hasher::new();
        let mut second = rules.blake3.then(blake3::Hasher::new);
        let mut buffer = vec![0; CHUNK_BYTES];
        let file = temp.file.as_ref();
        let size = copy_chunks(reader, &mut buffer, rules.bytes_max, &mut |chunk| {
            hasher.update(chunk);
            if let Some(second) = &mut second {
                second.update(chunk);
            }
            file.map_or(Ok(()), |file| disk::write_all(file, chunk))
        })
        .map_err(|fault| fault.at("stream"))?;
        let digest = hasher.finish();
        let blob = Blob { digest, size, blake3: second.map(|hasher| hasher.finalize().to_hex().to_string()) };
        if self.seen.insert(digest) {
            let standing = match &mut temp.file {
                Some(fresh) => self.standing(&digest, size, &mut |existing| {
                    io::Seek::rewind(fresh)?;
                    equal(existing, fresh, size)
                }),
                None => Standing::Absent,
            };
            if standing != Standing::Same {
                self.stage(temp, digest, standing);
            }
        }
        Ok(blob)
    }

    /// Compares what is under the name of `digest` with what should be. What cannot be read differs.
    fn standing(&self, digest: &Digest, size: u64, same: &mut dyn FnMut(&mut File) -> io::Result<bool>) -> Standing {
        let (mut file, length) = match self.store.open_raw(digest) {
            Ok(found) => found,
            Err(StoreError::Missing { .. }) => return Standing::Absent,
            Err(_) => return Standing::Differs,
        };
        if length == size && same(&mut file).unwrap_or(false) { Standing::Same } else { Standing::Differs }
    }

    fn temp(&self) -> Result<Temp<'a>, StoreError> {
        let name = format!("{}-{}", self.writer.tag, self.writer.next.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = || self.store.dir.join("tmp").join(&name);
        let file = openat(&self.writer.temps, &*name, flags, READ_ONLY).map_err(StoreError::os("create", path()))?;
        let temp = Temp { folder: &self.writer.temps, name: name.clone(), file: Some(File::from(file)) };
        if let Some(file) = &temp.file {
            // the process' umask may have taken bits away
            fchmod(file, READ_ONLY).map_err(StoreError::os("set the mode of", path()))?;
        }
        Ok(temp)
    }

    fn stage(&mut self, mut temp: Temp<'a>, digest: Digest, standing: Standing) {
        if self.staged.len() >= SYNC_EACH_MAX && !self.many {
            self.many = true;
            self.staged.iter_mut().for_each(|staged| staged.temp.file = None);
        }
        if self.many {
            temp.file = None;
        }
        self.staged.push(Staged { temp, digest, heals: standing == Standing::Differs });
    }

    /// Makes all bytes durable, gives them their names, makes the names durable.
    ///
    /// The names of blobs that were there already are synced too, and those of their folders: another process may have made them a moment
    /// ago, and died or failed before they were durable.
    pub fn commit(mut self) -> Result<(), StoreError> {
        let dir = &self.store.dir;
        barrier::group(|group| {
            if self.many {
                group.sync_file_system(&self.writer.temps).map_err(StoreError::io("sync", dir))?;
            }
            for staged in &self.staged {
                if let Some(file) = &staged.temp.file {
                    group.sync_data(file).map_err(StoreError::io("sync", dir.join("tmp").join(&staged.temp.name)))?;
                }
            }
            let mut new_shards = false;
            for staged in &mut self.staged {
                new_shards |= place(self.store, staged)?;
            }
            let shards: BTreeSet<u8> = self.seen.iter().filter_map(|digest| digest.as_bytes().first().copied()).collect();
            for shard in &shards {
                let name = format!("{shard:02x}");
                let path = dir.join("blobs").join(&name);
                let folder = folders::folder_in(&self.store.blobs, &name).map_err(StoreError::os("open", &path))?;
                group.sync(&folder).map_err(StoreError::io("sync", path))?;
            }
            let mut durable = self.writer.durable_shards.lock().unwrap_or_else(PoisonError::into_inner);
            if new_shards || !shards.is_subset(&durable) {
                group.sync(&self.store.blobs).map_err(StoreError::io("sync", dir.join("blobs")))?;
                durable.extend(shards);
            }
            Ok(())
        })
    }
}

/// Gives a durable temporary file its name; true if its shard folder is new.
fn place(store: &Artifacts, staged: &mut Staged<'_>) -> Result<bool, StoreError> {
    let path = blob_path(&staged.digest);
    if staged.heals {
        quarantine(store, &path, &staged.temp.name)?;
    }
    let full = || store.dir.join("blobs").join(&path);
    let mut made = false;
    let mut renamed = renameat(staged.temp.folder, &*staged.temp.name, &store.blobs, &*path);
    if renamed == Err(Errno::NOENT) {
        let shard: String = path.chars().take(2).collect();
        match mkdirat(&store.blobs, &*shard, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => made = true,
            Err(errno) => return Err(StoreError::os("create", full())(errno)),
        }
        renamed = renameat(staged.temp.folder, &*staged.temp.name, &store.blobs, &*path);
    }
    renamed.map_err(StoreError::os("name", full()))?;
    staged.temp.name.clear();
    Ok(made)
}

/// Keeps what stands at `path` as evidence; a file stays there too until it is replaced, so that its name is never without bytes.
fn quarantine(store: &Artifacts, path: &str, tag: &str) -> Result<(), StoreError> {
    let folder = folders::private_folder_in(&store.root, "quarantine", &store.dir)?;
    let hex: String = path.chars().skip(3).collect();
    let name = format!("{hex}.{tag}");
    let kept = match linkat(&store.blobs, path, &folder, &*name, AtFlags::empty()) {
        Err(Errno::PERM | Errno::MLINK) => renameat(&store.blobs, path, &folder, &*name),
        other => other,
    };
    match kept {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(StoreError::os("quarantine", store.dir.join("blobs").join(path))(errno)),
    }
}

/// True if both readers yield the same bytes to their ends. A guess of their length spares small ones a large buffer.
fn equal(left: &mut dyn Read, right: &mut dyn Read, length: u64) -> io::Result<bool> {
    let chunk = usize::try_from(length).unwrap_or(CHUNK_BYTES).saturating_add(1).min(CHUNK_BYTES);
    let mut ours = vec![0; chunk];
    let mut theirs = vec![0; chunk];
    loop {
        let count = fill(left, &mut ours)?;
        if count != fill(right, &mut theirs)? || ours.get(..count) != theirs.get(..count) {
            return Ok(false);
        }
        if count < chunk {
            return Ok(true);
        }
    }
}

fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(filled)
}
