//! DSSE envelopes in Sigstore bundles, and in-toto statements.
//!
//! in: raw bundle JSON; out: [`Bundle`], [`Statement`].
//! **Invariant:** a payload is never re-serialised: it is verified as raw bytes, then parsed strictly.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The only payload type we sign.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Media type of the bundle.
pub const BUNDLE_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A DSSE envelope with exactly one signature, and the proof that it is in a log, if known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    /// Raw statement bytes.
    pub payload: Vec<u8>,
    /// ECDSA P-256 signature over the PAE, DER.
    pub signature: Vec<u8>,
    /// hex(sha256(PEM SPKI)) of the signing key.
    pub key_hint: String,
    /// Inclusion in a log, when exported.
    pub log_proof: Option<LogProof>,
}

/// Inclusion of the bundle's leaf in a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogProof {
    /// Leaf index.
    pub index: u64,
    /// Tree size of the checkpoint.
    pub size: u64,
    /// Root of the checkpoint.
    pub root: crate::digest::Digest,
    /// Audit path.
    pub hashes: Vec<crate::digest::Digest>,
    /// The checkpoint note.
    pub checkpoint: String,
    /// SHA256(name ‖ 0x0A ‖ 0x01 ‖ public key) of the log key.
    pub log_id: crate::digest::Digest,
    /// Canonical leaf body.
    pub body: Vec<u8>,
}

/// in-toto Statement v1.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Statement {
    /// What it is about.
    pub subject: Vec<ResourceDescriptor>,
    /// Type of the predicate.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// The claim.
    pub predicate: Value,
}

/// in-toto ResourceDescriptor.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ResourceDescriptor {
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Algorithm → hex.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, Value>,
}
