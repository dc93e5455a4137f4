//! The bytes behind the digests: manifest documents and files, hashed again.
//!
//! in: descriptors and digests; out: evidence, and faults that name the file and the blob.
//! **Invariant:** bytes count only after hashing here; each blob is hashed once, whatever names it.

use std::collections::HashMap;
use std::io::Read;

use seaworthy_core::artifact::Manifest;
use seaworthy_core::attestation::{artifact_of, dir_hash_of, sha256_of};
use seaworthy_core::digest::{Digest, Hasher};
use seaworthy_core::envelope::ResourceDescriptor;
use seaworthy_core::limits::PAYLOAD_BYTES_MAX;
use seaworthy_core::ports::ByteSource;

use super::Walker;
use super::report::Evidence;

const CHUNK_BYTES: usize = 256 * 1024;

/// How far bytes are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The manifest document only.
    Manifest,
    /// Every file.
    Files,
}

/// What has been hashed already.
#[derive(Default)]
pub(crate) struct Hashed {
    /// Blob → its size, or nothing if it failed.
    blobs: HashMap<Digest, Option<u64>>,
    manifests: HashMap<Digest, Option<Manifest>>,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

type Refusal = (&'static str, String);

/// Hashes one blob; keeps its bytes if asked to.
fn hash(source: &dyn ByteSource, digest: &Digest, mut keep: Option<&mut Vec<u8>>) -> Result<u64, Refusal> {
    let opened = source.open(digest).map_err(|cause| ("verify/blob-missing", format!("blob {digest} cannot be read: {cause}")))?;
    let mut reader = opened.ok_or_else(|| ("verify/blob-missing", format!("blob {digest} is not there")))?;
    let (mut hasher, mut size) = (Hasher::new(), 0_u64);
    let mut chunk = vec![0_u8; CHUNK_BYTES];
    loop {
        let read = reader.read(&mut chunk).map_err(|cause| ("verify/blob-mismatch", format!("blob {digest}: {cause}")))?;
        let part = chunk.get(..read).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        hasher.update(part);
        size += u64::try_from(read).unwrap_or(u64::MAX);
        if let Some(kept) = keep.as_deref_mut() {
            if kept.len() + read > PAYLOAD_BYTES_MAX {
                return Err(("verify/blob-mismatch", format!("blob {digest} is too large for a manifest")));
            }
            kept.extend_from_slice(part);
        }
    }
    let found = hasher.finish();
    if found == *digest { Ok(size) } else { Err(("verify/blob-mismatch", format!("blob {digest} has the bytes of {found}"))) }
}

impl Walker<'_> {
    /// Hashes a blob once; a second failure of the same blob is shown, but not counted again.
    pub(crate) fn blob(&mut self, label: &str, digest: &Digest, size: Option<u64>) -> Evidence {
        let known = self.hashed.blobs.get(digest).copied();
        let found = match known {
            Some(found) => found,
            None => match hash(self.bytes, digest, None) {
                Ok(found) => {
                    self.hashed.count += 1;
                    self.hashed.bytes += found;
                    self.hashed.blobs.insert(*digest, Some(found));
                    Some(found)
                }
                Err((code, message)) => {
                    self.hashed.blobs.insert(*digest, None);
                    return self.fail(code, label, format!("{label}: {message}"), None, Some(*digest));
                }
            },
        };
        match (found, size) {
            (None, _) => self.fail_again(label, "the same blob as above", *digest),
            (Some(found), Some(size)) if found != size => {
                let message = format!("{label}: blob {digest} has {found} bytes, {size} are recorded");
                self.fail("verify/blob-mismatch", label, message, None, Some(*digest))
            }
            (Some(found), _) => Evidence::ok(label, format!("{found} bytes hashed")).about(*digest),
        }
    }

    /// Reads and checks a manifest document once.
    fn manifest(&mut self, label: &str, artifact: &Digest) -> Result<Manifest, Box<Evidence>> {
        if let Some(known) = self.hashed.manifests.get(artifact) {
            let again = || Box::new(self.fail_again(label, "the same manifest as above", *artifact));
            return known.clone().ok_or_else(again);
        }
        let mut document = Vec::new();
        let read = hash(self.bytes, artifact, Some(&mut document)).and_then(|size| {
            let manifest = Manifest::from_bytes(&document);
            let refuse = |cause| ("verify/blob-mismatch", format!("manifest {artifact}: {cause}"));
            manifest.map(|manifest| (manifest, size)).map_err(refuse)
        });
        match read {
            Ok((manifest, size)) => {
                self.hashed.count += 1;
                self.hashed.bytes += size;
                self.hashed.manifests.insert(*artifact, Some(manifest.clone()));
                Ok(manifest)
            }
            Err((code, message)) => {
                self.hashed.manifests.insert(*artifact, None);
                Err(Box::new(self.fail(code, label, format!("{label}: {message}"), None, Some(*artifact))))
            }
        }
    }

    /// An artifact by its own digest: manifest document, then every file if asked to; revocation too.
    pub(crate) fn artifact(&mut self, label: &str, artifact: &Digest, depth: Depth) -> Evidence {
        if let Some(leaf) = self.log.artifact_revoked(artifact) {
            let message = format!("{label}: artifact {artifact} was revoked by leaf {leaf}");
            return self.fail("verify/revoked", label, message, Some(leaf), Some(*artifact));
        }
        let manifest = match self.manifest(label, artifact) {
            Ok(manifest) => manifest,
            Err(evidence) => return *evidence,
        };
        let reference = manifest.reference();
        let size = format!("{} files, {} bytes", reference.files, reference.bytes);
        if depth == Depth::Manifest {
            return Evidence::ok(label, format!("{size}; files not hashed without --deep")).about(*artifact);
        }
        // only what is wrong is listed: a tree of 20,000 files is one line
        let checked = manifest.entries().iter().map(|entry| self.blob(&format!("{label}/{}", entry.name), &entry.digest, Some(entry.size)));
        let wrong: Vec<Evidence> = checked.filter(|evidence| evidence.status != super::Status::Ok).collect();
        Evidence::ok(label, format!("{size} hashed")).about(*artifact).with(wrong)
    }

    /// What a descriptor names: an artifact whose root and `dirHash` must be the manifest's own, or one blob.
    pub(crate) fn described(&mut self, label: &str, descriptor: &ResourceDescriptor, depth: Depth) -> Evidence {
        let Some(artifact) = artifact_of(descriptor) else {
            return match sha256_of(descriptor) {
                Some(digest) => self.blob(label, &digest, None),
                None => self.fail("verify/wrong-inputs", label, format!("{label} has no digest"), None, None),
            };
        };
        let evidence = self.artifact(label, &artifact, depth);
        let Some(Some(manifest)) = self.hashed.manifests.get(&artifact) else { return evidence };
        let same = sha256_of(descriptor) == Some(manifest.root()) && dir_hash_of(descriptor) == Some(manifest.dir_hash());
        if same {
            return evidence;
        }
        let message = format!("{label}: root or dirHash is not that of artifact {artifact}: names or bytes were swapped");
        evidence.with([self.fail("verify/wrong-subject", label, message, None, Some(artifact))])
    }

    /// The manifest of an artifact that was checked before.
    pub(crate) fn checked_manifest(&self, artifact: &Digest) -> Option<&Manifest> {
        self.hashed.manifests.get(artifact)?.as_ref()
    }
}

/// A small blob, if it is there and its bytes are right.
pub(crate) fn read_blob(source: &dyn ByteSource, digest: &Digest) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    hash(source, digest, Some(&mut bytes)).ok()?;
    Some(bytes)
}
