//! Artifacts: bytes named by digest, described by a directory manifest.
//!
//! in: file names, digests, sizes, modes; out: [`Manifest`] with the three digests of formats.md.
//! **Invariant:** a `Manifest` is sorted by path component, holds only safe names, and no two names collide under case folding.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};
use crate::json_strict::{self, push_string};

/// Bytes of one name in a manifest.
pub const NAME_BYTES_MAX: usize = 4_096;

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

impl ArtifactKind {
    /// The kind as it is written in leaves.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Model => "model",
            Self::Report => "report",
            Self::Environment => "environment",
            Self::Code => "code",
            Self::PolicyBundle => "policy_bundle",
            Self::StepLog => "step_log",
        }
    }
}

/// One regular file of an artifact.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// Why a list of files is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A name that could escape the root, be misread by another tool, or not exist elsewhere.
    #[error("file name `{name}` is refused: {reason}")]
    Name {
        /// The name, controls escaped, shortened.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// One name twice.
    #[error("file `{name}` is listed twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Two paths that a file system without case would merge.
    #[error("`{first}` and `{second}` differ only in case")]
    CaseCollision {
        /// The path seen first.
        first: String,
        /// The other.
        second: String,
    },
    /// A path is a file and a folder at once.
    #[error("`{name}` is a file and also the folder of another file")]
    FileIsFolder {
        /// The path.
        name: String,
    },
    /// A mode that is neither of the two.
    #[error("file `{name}` has mode {mode:o}: only 644 and 755 are kept")]
    Mode {
        /// The file.
        name: String,
        /// Its mode.
        mode: u32,
    },
    /// The document is no JSON of the right shape.
    #[error("manifest document refused at byte {offset}: {reason}")]
    Document {
        /// Byte offset, if known.
        offset: usize,
        /// What is wrong.
        reason: String,
    },
    /// The document is not the canonical form of what it says.
    #[error("manifest document is not canonical")]
    NotCanonical,
}

impl ManifestError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "manifest/name",
            Self::Duplicate { .. } => "manifest/duplicate",
            Self::CaseCollision { .. } => "manifest/case-collision",
            Self::FileIsFolder { .. } => "manifest/file-is-folder",
            Self::Mode { .. } => "manifest/mode",
            Self::Document { .. } => "manifest/document",
            Self::NotCanonical => "manifest/not-canonical",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Name { .. } | Self::Duplicate { .. } | Self::CaseCollision { .. } | Self::FileIsFolder { .. } => {
                "rename the file: names must mean the same on every file system and in every verifier"
            }
            Self::Mode { .. } => "set the mode to 644, or 755 for an executable",
            Self::Document { .. } | Self::NotCanonical => {
                "the stored manifest was changed or written by another tool; restore it from a copy"
            }
        }
    }
}

/// The stored document, borrowed for reading.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    entries: Vec<ManifestEntry>,
}

impl Manifest {
    /// Sorts and checks `entries`. An empty list is a manifest: an empty folder.
    pub fn new(mut entries: Vec<ManifestEntry>) -> Result<Self, ManifestError> {
        for entry in &entries {
            check_name(&entry.name)?;
            if !matches!(entry.mode, 0o644 | 0o755) {
                return Err(ManifestError::Mode { name: entry.name.clone(), mode: entry.mode });
            }
        }
        entries.sort_unstable_by(|a, b| component_order(&a.name, &b.name));
        check_collisions(&entries)?;
        Ok(Self { entries })
    }

    /// The files, in manifest order.
    #[must_use]
    pub fn entries(&self) -> &[ManifestEntry] {
        &self.entries
    }

    /// The file called `name`.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&ManifestEntry> {
        let position = self.entries.binary_search_by(|entry| component_order(&entry.name, name)).ok()?;
        self.entries.get(position)
    }

    /// SHA256 of the concatenated raw file digests in manifest order (OpenSSF model-signing's subject digest).
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut hasher = Hasher::new();
        for entry in &self.entries {
            hasher.update(entry.digest.as_bytes());
        }
        hasher.finish()
    }

    /// in-toto `dirHash`: SHA256 over the lines `hex  path\n`, sorted by the bytes of the path.
    #[must_use]
    pub fn dir_hash(&self) -> Digest {
        let mut sorted: Vec<&ManifestEntry> = self.entries.iter().collect();
        sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut hasher = Hasher::new();
        for entry in sorted {
            hasher.update(entry.digest.hex().as_bytes());
            hasher.update(b"  ");
            hasher.update(entry.name.as_bytes());
            hasher.update(b"\n");
        }
        hasher.finish()
    }

    /// The canonical JSON document, written without a tree of values.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        use std::fmt::Write as _;
        let names: usize = self.entries.iter().map(|entry| entry.name.len()).sum();
        let mut text = String::with_capacity(16 + names + self.entries.len() * 136);
        text.push_str("{\"entries\":[");
        for (position, entry) in self.entries.iter().enumerate() {
            if position > 0 {
                text.push(',');
            }
            text.push_str("{\"digest\":\"");
            text.push_str(&entry.digest.hex());
            // writing to a String cannot fail
            _ = write!(text, "\",\"mode\":{},\"name\":", entry.mode);
            push_string(&entry.name, &mut text);
            _ = write!(text, ",\"size\":{}}}", entry.size);
        }
        text.push_str("]}");
        text.into_bytes()
    }

    /// Reads a document that [`Self::to_bytes`] wrote; any other spelling is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let document: Document =
            json_strict::parse_typed(bytes).map_err(|error| ManifestError::Document { offset: error.offset, reason: error.reason })?;
        let manifest = Self::new(document.entries)?;
        if manifest.to_bytes() == bytes { Ok(manifest) } else { Err(ManifestError::NotCanonical) }
    }

    /// The digests and totals by which others name this artifact.
    #[must_use]
    pub fn reference(&self) -> ArtifactRef {
        ArtifactRef {
            digest: Digest::of(&self.to_bytes()),
            root: self.root(),
            dir_hash: self.dir_hash(),
            files: u64::try_from(self.entries.len()).unwrap_or(u64::MAX),
            bytes: self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.size)),
        }
    }
}

/// Order by path component, as `std::path::Path` and Python's `PurePosixPath` have it: `/` sorts before every other byte
/// of a name (controls are refused, so nothing is below it).
fn component_order(a: &str, b: &str) -> std::cmp::Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.as_bytes().iter().map(rank).cmp(b.as_bytes().iter().map(rank))
}

fn check_name(name: &str) -> Result<(), ManifestError> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 4096 bytes"
    } else if name.starts_with('/') {
        "it is absolute"
    } else if name.contains('\\') {
        "it has a backslash"
    } else if name.chars().any(|character| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')) {
        "it has a control character or a line break"
    } else if name.split('/').any(str::is_empty) {
        "it has an empty component"
    } else if name.split('/').any(|part| matches!(part, "." | "..")) {
        "it has a `.` or `..` component"
    } else if name.split('/').any(|part| part.len() > 255) {
        "it has a component longer than 255 bytes"
    } else {
        return Ok(());
    };
    Err(ManifestError::Name { name: name.chars().take(80).flat_map(char::escape_debug).collect(), reason })
}

/// Upper, then lower: joins `ß` with `SS`, `ſ` with `s` and the Kelvin sign with `k`, which lower case alone does not.
fn fold(path: &str) -> String {
    if path.is_ascii() { path.to_ascii_lowercase() } else { path.to_uppercase().to_lowercase() }
}

/// `entries` are sorted: equal names are neighbours, and the files of a folder stand together.
fn check_collisions(entries: &[ManifestEntry]) -> Result<(), ManifestError> {
    let mut files: HashMap<String, &str> = HashMap::with_capacity(entries.len());
    for entry in entries {
        if let Some(first) = files.insert(fold(&entry.name), &entry.name) {
            return Err(collision(first, &entry.name));
        }
    }
    let mut folders: HashMap<String, &str> = HashMap::new();
    let mut previous = "";
    for entry in entries {
        let folder = entry.name.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder == previous {
            continue;
        }
        previous = folder;
        let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
        for path in ends.filter_map(|end| folder.get(..end)).filter(|path| !path.is_empty()) {
            let folded = fold(path);
            if let Some(file) = files.get(&folded) {
                return Err(if *file == path { ManifestError::FileIsFolder { name: path.to_owned() } } else { collision(file, path) });
            }
            if let Some(first) = folders.insert(folded, path).filter(|first| *first != path) {
                return Err(collision(first, path));
            }
        }
    }
    Ok(())
}

fn collision(first: &str, second: &str) -> ManifestError {
    if first == second {
        ManifestError::Duplicate { name: first.to_owned() }
    } else {
        ManifestError::CaseCollision { first: first.to_owned(), second: second.to_owned() }
    }
}

#[cfg(test)]
mod tests;
