//! Typed builders and readers of every predicate of the chain.
//!
//! in: typed claims (a provenance, a gate decision, a release …); out: [`Statement`]; and back, strictly.
//!
//! A standard predicate is used wherever one exists. Our own, all below `https://seaworthy.dev/attestation/`, are the
//! deployment, the integrity score, the revocation and the run request.
//! **Invariant:** a reader accepts exactly what its builder writes: the predicate type must match, unknown fields are
//! refused, and whatever can be recomputed from the claim itself is recomputed.

pub mod deployment;
pub mod integrity_score;
pub mod manifest;
pub mod provenance;
pub mod release;
pub mod revocation;
pub mod run_request;
pub mod svr;
pub mod test_result;
pub mod time;
pub mod vsa;

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::artifact::ArtifactRef;
use crate::digest::Digest;
use crate::envelope::{ResourceDescriptor, Statement};

/// OpenSSF model signing: the directory manifest.
pub const MANIFEST: &str = "https://model_signing/signature/v1.0";
/// SLSA build provenance.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// in-toto test result.
pub const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
/// in-toto simple verification result: a gate's answer.
pub const SVR: &str = "https://in-toto.io/attestation/svr/v0.2";
/// SLSA verification summary: the approval of a model.
pub const VSA: &str = "https://slsa.dev/verification_summary/v1";
/// in-toto release.
pub const RELEASE: &str = "https://in-toto.io/attestation/release/v0.1";
/// Our own: a model version offered to an environment.
pub const DEPLOYMENT: &str = "https://seaworthy.dev/attestation/deployment/v1";
/// Our own: the integrity score and its parts.
pub const INTEGRITY_SCORE: &str = "https://seaworthy.dev/attestation/integrity-score/v1";
/// Our own: something counts no more from a log position on.
pub const REVOCATION: &str = "https://seaworthy.dev/attestation/revocation/v1";
/// Our own: a user asks for exactly one run of exactly one plan.
pub const RUN_REQUEST: &str = "https://seaworthy.dev/attestation/run-request/v1";

/// Every predicate type this product signs.
pub const PREDICATES: [&str; 10] =
    [MANIFEST, PROVENANCE, TEST_RESULT, SVR, VSA, RELEASE, DEPLOYMENT, INTEGRITY_SCORE, REVOCATION, RUN_REQUEST];

/// Annotation of a descriptor that holds the artifact's own digest (of its manifest document).
pub const ARTIFACT_ANNOTATION: &str = "artifact";
/// Digest algorithm names in descriptors.
pub(crate) const SHA256: &str = "sha256";
/// in-toto's digest over names and contents of a folder.
pub(crate) const DIR_HASH: &str = "dirHash";

/// Why a statement is not the claim it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another predicate type.
    #[error("predicate type is `{found}`, expected `{want}`")]
    PredicateType {
        /// What stands there.
        found: String,
        /// What was asked for.
        want: &'static str,
    },
    /// The predicate does not have the shape of its type.
    #[error("predicate is malformed: {0}")]
    Malformed(String),
    /// The claim contradicts itself.
    #[error("claim is inconsistent: {0}")]
    Inconsistent(String),
    /// A subject is missing or unusable.
    #[error("subject refused: {0}")]
    Subject(String),
    /// Valid elsewhere, but nothing this product can check.
    #[error("unsupported: {0}")]
    Unsupported(String),
}

/// The subject or dependency that names an artifact: root and `dirHash`, and its own digest as annotation.
#[must_use]
pub fn subject(name: &str, artifact: &ArtifactRef) -> ResourceDescriptor {
    ResourceDescriptor {
        name: Some(name.to_owned()),
        uri: None,
        digest: BTreeMap::from([(SHA256.to_owned(), artifact.root.hex()), (DIR_HASH.to_owned(), artifact.dir_hash.hex())]),
        annotations: BTreeMap::from([(ARTIFACT_ANNOTATION.to_owned(), Value::String(artifact.digest.hex()))]),
    }
}

/// A dependency that is one blob, not a folder: the lock file, the workflow file.
#[must_use]
pub fn blob(name: &str, digest: &Digest) -> ResourceDescriptor {
    ResourceDescriptor {
        name: Some(name.to_owned()),
        digest: BTreeMap::from([(SHA256.to_owned(), digest.hex())]),
        ..ResourceDescriptor::default()
    }
}

/// The artifact digest that a descriptor made by [`subject`] carries.
#[must_use]
pub fn artifact_of(descriptor: &ResourceDescriptor) -> Option<Digest> {
    descriptor.annotations.get(ARTIFACT_ANNOTATION)?.as_str()?.parse().ok()
}

/// The `sha256` of a descriptor.
#[must_use]
pub fn sha256_of(descriptor: &ResourceDescriptor) -> Option<Digest> {
    descriptor.digest.get(SHA256)?.parse().ok()
}

/// The `dirHash` of a descriptor; `dirHash1` is accepted too, as in the digest set's own example.
#[must_use]
pub fn dir_hash_of(descriptor: &ResourceDescriptor) -> Option<Digest> {
    descriptor.digest.get(DIR_HASH).or_else(|| descriptor.digest.get("dirHash1"))?.parse().ok()
}

/// A descriptor of a statement, by its SHA256(PAE).
#[must_use]
pub fn statement_reference(pae: &Digest) -> ResourceDescriptor {
    ResourceDescriptor {
        uri: Some(format!("seaworthy:attestation/{pae}")),
        digest: BTreeMap::from([(SHA256.to_owned(), pae.hex())]),
        ..ResourceDescriptor::default()
    }
}

/// Builds a statement from a predicate that serialises.
pub(crate) fn statement<P: Serialize>(kind: &str, subject: Vec<ResourceDescriptor>, predicate: &P) -> Statement {
    // the predicates are plain structs with string keys: their serialisation cannot fail; a null predicate would be
    // refused by every reader
    let predicate = serde_json::to_value(predicate).unwrap_or(Value::Null);
    Statement { subject, predicate_type: kind.to_owned(), predicate }
}

/// Reads the predicate of a statement of type `want`.
pub(crate) fn predicate<P: DeserializeOwned>(statement: &Statement, want: &'static str) -> Result<P, ReadError> {
    if statement.predicate_type != want {
        return Err(ReadError::PredicateType { found: statement.predicate_type.chars().take(120).collect(), want });
    }
    P::deserialize(&statement.predicate).map_err(|cause| ReadError::Malformed(cause.to_string()))
}

/// The only subject of a statement.
pub(crate) fn only_subject(statement: &Statement) -> Result<&ResourceDescriptor, ReadError> {
    match statement.subject.as_slice() {
        [one] => Ok(one),
        many => Err(ReadError::Subject(format!("expected exactly one, found {}", many.len()))),
    }
}

#[cfg(test)]
mod tests;
