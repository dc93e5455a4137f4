//! Artifacts: bytes named by digest, described by a directory manifest.
//!
//! in: file names, digests, sizes, modes; out: [`Manifest`] with the three digests of formats.md.
//! **Invariant:** a `Manifest` is sorted by path component, holds only safe names, and no two names collide under case folding.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What an artifact is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// Rows to learn from or to measure on.
    Dataset,
    /// A trained model.
    Model,
    /// Results for people and gates.
    Report,
    /// A locked environment.
    Environment,
    /// A folder of source code.
    Code,
    /// A gate's folder.
    PolicyBundle,
    /// Captured output of a step.
    StepLog,
}

/// One regular file of an artifact.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// Path below the root, `/`-separated.
    pub name: String,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// `0o644` or `0o755`.
    pub mode: u32,
}

/// The files of an artifact; a single-file artifact is a folder with one entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    entries: Vec<ManifestEntry>,
}

/// How other statements and the lock name an artifact.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// SHA-256 of the canonical manifest document: the artifact's digest everywhere in Seaworthy.
    pub digest: Digest,
    /// SHA256 of the concatenated raw file digests (the OpenSSF model-signing root; does not bind names).
    pub root: Digest,
    /// in-toto `dirHash` (binds names).
    pub dir_hash: Digest,
    /// Number of files.
    pub files: u64,
    /// Sum of sizes, bytes.
    pub bytes: u64,
}
