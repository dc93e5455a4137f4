//! The directory manifest: OpenSSF model signing's predicate, for models and datasets alike.
//!
//! in: a [`Manifest`]; out: the statement that any OpenSSF verifier accepts, with sizes and modes beside the digests.
//! **Invariant:** the subject's root, and its `dirHash` if it has one, are recomputed from the listed files on reading.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{ARTIFACT_ANNOTATION, MANIFEST, ReadError, artifact_of, dir_hash_of, only_subject, sha256_of};
use crate::artifact::{Manifest, ManifestEntry};
use crate::digest::Digest;
use crate::envelope::Statement;

/// The file that a model's own bundle occupies, hence the only name a manifest may leave out.
pub const SIGNATURE_FILE: &str = "model.sig";

/// What the manifest is of: only a model's leaves room for its signature file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A model: `model.sig` at the root is not part of it.
    Model,
    /// A dataset or any other folder: nothing is left out.
    Folder,
}

/// One listed file; what a foreign manifest does not say is absent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedFile {
    /// Path below the root.
    pub name: String,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: Option<u64>,
    /// `0o644` or `0o755`.
    pub mode: Option<u32>,
}

/// What a manifest statement claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestClaim {
    /// The subject's name.
    pub name: String,
    /// SHA256 over the raw digests in manifest order.
    pub root: Digest,
    /// The `dirHash` claimed, if any; it binds names.
    pub dir_hash: Option<Digest>,
    /// The artifact digest claimed, if any.
    pub artifact: Option<Digest>,
    /// The files, in manifest order.
    pub files: Vec<ListedFile>,
    /// Names that the signer left out.
    pub ignored: Vec<String>,
}

impl ManifestClaim {
    /// The manifest, if every size and mode is listed: then it is as good as the manifest document itself.
    pub fn manifest(&self) -> Result<Manifest, ReadError> {
        let entries = self.files.iter().map(|file| match (file.size, file.mode) {
            (Some(size), Some(mode)) => Ok(ManifestEntry { name: file.name.clone(), digest: file.digest, size, mode }),
            _ => Err(ReadError::Unsupported(format!("`{}` is listed without size or mode", file.name))),
        });
        Manifest::new(entries.collect::<Result<_, _>>()?).map_err(|cause| ReadError::Inconsistent(cause.to_string()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate<'a> {
    #[serde(borrow)]
    resources: Vec<Resource<'a>>,
    serialization: Serialization,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Serialization {
    allow_symlinks: bool,
    hash_type: String,
    ignore_paths: Vec<String>,
    method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shard_size: Option<u64>,
}

// fields in the order of their names: the streamed payload is then canonical
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource<'a> {
    algorithm: Cow<'a, str>,
    digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Cow<'a, str>>,
    name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    kind: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload<'a> {
    #[serde(rename = "_type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    predicate: Predicate<'a>,
    #[serde(rename = "predicateType")]
    predicate_type: Cow<'a, str>,
    subject: Vec<PayloadSubject>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadSubject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
    digest: Digests,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    artifact: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Digests {
    #[serde(rename = "dirHash", alias = "dirHash1", default, skip_serializing_if = "Option::is_none")]
    dir_hash: Option<Digest>,
    sha256: Digest,
}

fn typed(manifest: &Manifest, of: Subject) -> Predicate<'_> {
    let resource = |entry: &'_ ManifestEntry| Resource {
        algorithm: Cow::Borrowed("sha256"),
        digest: entry.digest,
        mode: Some(Cow::Borrowed(if entry.mode == 0o755 { "0755" } else { "0644" })),
        name: Cow::Owned(entry.name.clone()),
        size: Some(entry.size),
        kind: Some(Cow::Borrowed("file")),
    };
    let ignore_paths = match of {
        Subject::Model => vec![SIGNATURE_FILE.to_owned()],
        Subject::Folder => Vec::new(),
    };
    let serialization =
        Serialization { allow_symlinks: false, hash_type: "sha256".to_owned(), ignore_paths, method: "files".to_owned(), shard_size: None };
    Predicate { resources: manifest.entries().iter().map(resource).collect(), serialization }
}

/// The manifest statement of an artifact, under the name people know it by.
#[must_use]
pub fn statement(name: &str, manifest: &Manifest, of: Subject) -> Statement {
    super::statement(MANIFEST, vec![super::subject(name, &manifest.reference())], &typed(manifest, of))
}

/// The payload of [`statement`], byte for byte, written in one pass: a tree of 20,000 files never becomes a value tree.
///
/// Without bytes there is nothing to sign: a payload that cannot be written is an error, never an empty one.
pub fn payload(name: &str, manifest: &Manifest, of: Subject) -> Result<Vec<u8>, ReadError> {
    let artifact = manifest.reference();
    let payload = Payload {
        kind: Cow::Borrowed(crate::envelope::STATEMENT_TYPE),
        predicate: typed(manifest, of),
        predicate_type: Cow::Borrowed(MANIFEST),
        subject: vec![PayloadSubject {
            annotations: Some(Annotations { artifact: artifact.digest }),
            digest: Digests { dir_hash: Some(artifact.dir_hash), sha256: artifact.root },
            name: name.to_owned(),
        }],
    };
    serde_json::to_vec(&payload).map_err(|cause| ReadError::Malformed(cause.to_string()))
}

/// Reads a manifest statement, ours or a peer's, and recomputes what its subject claims.
pub fn read(statement: &Statement) -> Result<ManifestClaim, ReadError> {
    if statement.predicate_type != MANIFEST {
        return Err(ReadError::PredicateType { found: statement.predicate_type.chars().take(120).collect(), want: MANIFEST });
    }
    let typed: Predicate<'_> = Predicate::deserialize(&statement.predicate).map_err(|cause| ReadError::Malformed(cause.to_string()))?;
    let subject = only_subject(statement)?;
    let root = sha256_of(subject).ok_or_else(|| ReadError::Subject("no sha256 root".to_owned()))?;
    let artifact = match subject.annotations.get(ARTIFACT_ANNOTATION) {
        None => None,
        Some(_) => Some(artifact_of(subject).ok_or_else(|| ReadError::Subject("artifact annotation is no digest".to_owned()))?),
    };
    let name = subject.name.clone().ok_or_else(|| ReadError::Subject("no name".to_owned()))?;
    claim(typed, name, root, dir_hash_of(subject), artifact)
}

/// Reads a manifest payload straight from its bytes: as strict as parsing it first, and fast on large folders.
pub fn from_payload(bytes: &[u8]) -> Result<ManifestClaim, ReadError> {
    if bytes.len() > crate::limits::PAYLOAD_BYTES_MAX {
        return Err(ReadError::Malformed("payload is too large".to_owned()));
    }
    let payload: Payload<'_> = serde_json::from_slice(bytes).map_err(|cause| ReadError::Malformed(cause.to_string()))?;
    if payload.kind != crate::envelope::STATEMENT_TYPE {
        return Err(ReadError::Malformed("not an in-toto statement v1".to_owned()));
    }
    if payload.predicate_type != MANIFEST {
        return Err(ReadError::PredicateType { found: payload.predicate_type.chars().take(120).collect(), want: MANIFEST });
    }
    let [subject] = <[PayloadSubject; 1]>::try_from(payload.subject)
        .map_err(|many| ReadError::Subject(format!("expected exactly one, found {}", many.len())))?;
    let artifact = subject.annotations.map(|annotations| annotations.artifact);
    claim(payload.predicate, subject.name, subject.digest.sha256, subject.digest.dir_hash, artifact)
}

fn claim(
    typed: Predicate<'_>,
    name: String,
    root: Digest,
    dir_hash: Option<Digest>,
    artifact: Option<Digest>,
) -> Result<ManifestClaim, ReadError> {
    if typed.serialization.method != "files" || typed.serialization.shard_size.is_some() {
        return Err(ReadError::Unsupported(format!("serialization method `{}`; only `files`", typed.serialization.method)));
    }
    if typed.serialization.hash_type != "sha256" {
        return Err(ReadError::Unsupported(format!("hash type `{}`; only `sha256`", typed.serialization.hash_type)));
    }
    let files = typed.resources.into_iter().map(listed).collect::<Result<Vec<_>, _>>()?;
    let complete = files.iter().all(|file| file.size.is_some() && file.mode.is_some());
    let entry = |file: &ListedFile| ManifestEntry {
        name: file.name.clone(),
        digest: file.digest,
        size: file.size.unwrap_or(0),
        mode: file.mode.unwrap_or(0o644),
    };
    let manifest = Manifest::new(files.iter().map(entry).collect()).map_err(|cause| ReadError::Inconsistent(cause.to_string()))?;
    let sorted = manifest.entries().iter().map(|entry| entry.name.as_str()).eq(files.iter().map(|file| file.name.as_str()));
    if !sorted {
        return Err(ReadError::Inconsistent("files are not in manifest order".to_owned()));
    }
    if manifest.root() != root {
        return Err(ReadError::Inconsistent(format!("the files give root {}, the subject says {root}", manifest.root())));
    }
    let recomputed = manifest.reference();
    if dir_hash.is_some_and(|claimed| claimed != recomputed.dir_hash) {
        return Err(ReadError::Inconsistent("the files do not give the subject's dirHash".to_owned()));
    }
    if artifact.is_some_and(|claimed| !complete || claimed != recomputed.digest) {
        return Err(ReadError::Inconsistent("the files do not give the subject's artifact digest".to_owned()));
    }
    Ok(ManifestClaim { name, root, dir_hash, artifact, files, ignored: typed.serialization.ignore_paths })
}

fn listed(resource: Resource<'_>) -> Result<ListedFile, ReadError> {
    if resource.algorithm != "sha256" {
        return Err(ReadError::Unsupported(format!("digest algorithm `{}`", resource.algorithm)));
    }
    if resource.kind.as_deref().is_some_and(|kind| kind != "file") {
        return Err(ReadError::Unsupported(format!("`{}` is no regular file", resource.name)));
    }
    let mode = match resource.mode.as_deref() {
        None => None,
        Some("0644") => Some(0o644),
        Some("0755") => Some(0o755),
        Some(other) => return Err(ReadError::Malformed(format!("mode `{other}` of `{}`", resource.name))),
    };
    Ok(ListedFile { name: resource.name.into_owned(), digest: resource.digest, size: resource.size, mode })
}
