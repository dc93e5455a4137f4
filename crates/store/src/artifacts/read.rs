//! Reading back: every byte is hashed on its way to the reader.
//!
//! in: digests; out: bytes that have them, or an error.
//! **Invariant:** a reader never reports its end (`Ok(0)`) unless all bytes matched the name.

use std::fs::File;
use std::io::{self, Read, Seek};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use seaworthy_core::artifact::Manifest;
use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_core::ports::{ByteSource, PortError};

use super::{Artifacts, MANIFEST_BYTES_MAX};
use crate::error::{StoreError, blob_path};

const CHUNK_BYTES: usize = 256 * 1024;

/// Streams a blob and fails at its end if the bytes were not those of its name.
///
/// What was read before the end is unverified until the end was reached: act on it only after `Ok(0)`.
pub struct VerifiedReader {
    file: File,
    hasher: Hasher,
    digest: Digest,
    size: u64,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ahead,
    Verified,
    Failed(Digest),
}

impl std::fmt::Debug for VerifiedReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedReader")
            .field("digest", &self.digest)
            .field("size", &self.size)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl VerifiedReader {
    /// Bytes, as the file system says; unverified like the rest until the end.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl Read for VerifiedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.end {
            End::Verified => return Ok(0),
            End::Failed(found) => return Err(corrupt(self.digest, found)),
            End::Ahead if buffer.is_empty() => return Ok(0),
            End::Ahead => {}
        }
        let count = self.file.read(buffer)?;
        if count > 0 {
            self.hasher.update(buffer.get(..count).unwrap_or_default());
            return Ok(count);
        }
        let found = std::mem::take(&mut self.hasher).finish();
        if found == self.digest {
            self.end = End::Verified;
            return Ok(0);
        }
        self.end = End::Failed(found);
        Err(corrupt(self.digest, found))
    }
}

fn corrupt(digest: Digest, found: Digest) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, StoreError::Corrupt { digest, found })
}

impl Artifacts {
    /// Whether a blob of this name is there; says nothing about its bytes.
    #[must_use]
    pub fn contains(&self, blob: &Digest) -> bool {
        self.open_raw(blob).is_ok()
    }

    /// Opens a blob for streaming.
    pub fn open_blob(&self, blob: &Digest) -> Result<VerifiedReader, StoreError> {
        let (file, size) = self.open_raw(blob)?;
        Ok(VerifiedReader { file, hasher: Hasher::new(), digest: *blob, size, end: End::Ahead })
    }

    /// Reads a whole blob of at most `limit` bytes.
    pub fn read_blob(&self, blob: &Digest, limit: usize) -> Result<Vec<u8>, StoreError> {
        let (file, size) = self.open_raw(blob)?;
        let too_large = || StoreError::TooLarge { what: format!("blob `{blob}` in bytes"), limit: limit as u64 };
        if size > limit as u64 {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).map_err(|_| too_large())?);
        file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(StoreError::io("read", self.path_of(blob)))?;
        let found = Digest::of(&bytes);
        if found == *blob { Ok(bytes) } else { Err(StoreError::Corrupt { digest: *blob, found }) }
    }

    /// Opens a blob whose bytes were hashed through the very descriptor that is returned, rewound to its start.
    pub fn verified_file(&self, blob: &Digest) -> Result<File, StoreError> {
        let (mut file, _) = self.open_raw(blob)?;
        self.check_open(&mut file, blob)?;
        file.rewind().map_err(StoreError::io("rewind", self.path_of(blob)))?;
        Ok(file)
    }

    /// Copies a blob into sealed memory while hashing it: nobody, not even root on this machine's store, can change
    /// what the receiver of the descriptor reads.
    #[cfg(target_os = "linux")]
    pub fn sealed_file(&self, blob: &Digest, limit: u64) -> Result<File, StoreError> {
        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
        let mut reader = self.open_blob(blob)?;
        if reader.size() > limit {
            return Err(StoreError::TooLarge { what: format!("blob `{blob}` in bytes"), limit });
        }
        let path = self.path_of(blob);
        let memory = memfd_create("seaworthy-blob", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(StoreError::os("make memory for", &path))?;
        let mut memory = File::from(memory);
        io::copy(&mut reader, &mut memory).map_err(|cause| self.unwrap_corrupt("copy", blob, cause))?;
        fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)
            .map_err(StoreError::os("seal", &path))?;
        memory.rewind().map_err(StoreError::io("rewind", path))?;
        Ok(memory)
    }

    /// The manifest of an artifact, verified.
    pub fn manifest(&self, artifact: &Digest) -> Result<Manifest, StoreError> {
        let bytes = self.read_blob(artifact, MANIFEST_BYTES_MAX)?;
        Manifest::from_bytes(&bytes).map_err(|fault| StoreError::NotAnArtifact { digest: *artifact, reason: fault.to_string() })
    }

    /// Hashes an open blob from its start to its end.
    pub(super) fn check_open(&self, file: &mut File, blob: &Digest) -> Result<(), StoreError> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(buffer.get(..count).unwrap_or_default()),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(StoreError::io("read", self.path_of(blob))(cause)),
            }
        }
        let found = hasher.finish();
        if found == *blob { Ok(()) } else { Err(StoreError::Corrupt { digest: *blob, found }) }
    }

    /// Opens what stands under a blob's name: a regular file, its bytes unverified.
    pub(super) fn open_raw(&self, blob: &Digest) -> Result<(File, u64), StoreError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.blobs, &*blob_path(blob), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Err(StoreError::Missing { digest: *blob }),
            Err(Errno::LOOP) => {
                return Err(StoreError::refused(blob.hex(), "a symbolic link stands in its place"));
            }
            Err(errno) => return Err(StoreError::os("open", self.path_of(blob))(errno)),
        };
        let stat = fstat(&file).map_err(StoreError::os("examine", self.path_of(blob)))?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(StoreError::refused(blob.hex(), "what stands in its place is no regular file"));
        }
        Ok((File::from(file), u64::try_from(stat.st_size).unwrap_or(0)))
    }

    pub(super) fn path_of(&self, blob: &Digest) -> std::path::PathBuf {
        self.dir.join("blobs").join(blob_path(blob))
    }

    /// Gives a corruption found inside a reader back as itself.
    pub(super) fn unwrap_corrupt(&self, what: &'static str, blob: &Digest, cause: io::Error) -> StoreError {
        match cause.downcast::<StoreError>() {
            Ok(fault) => fault,
            Err(cause) => StoreError::io(what, self.path_of(blob))(cause),
        }
    }
}

impl ByteSource for Artifacts {
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, PortError> {
        match self.open_blob(digest) {
            Ok(reader) => Ok(Some(Box::new(reader))),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(fault) => Err(PortError::new(format!("open blob `{digest}`"), fault)),
        }
    }
}
