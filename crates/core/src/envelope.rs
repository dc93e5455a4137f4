//! DSSE envelopes in Sigstore bundles, and in-toto statements.
//!
//! in: raw bundle JSON; out: [`Bundle`], [`Statement`], and the leaf a bundle becomes in the log.
//! **Invariant:** a payload is never re-serialised: it is verified as raw bytes, then parsed strictly.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifact::ArtifactRef;
use crate::digest::{Digest, Hasher};
use crate::json_strict::{self, JsonError};
use crate::limits::PAYLOAD_BYTES_MAX;

mod wire;

/// The only payload type we sign.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
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

/// Why bytes are no bundle or no statement of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The JSON itself.
    #[error("{what} refused: {source}")]
    Json {
        /// `bundle` or `statement`.
        what: &'static str,
        /// The JSON error.
        source: JsonError,
    },
    /// Over a bound.
    #[error("{what} of {bytes} bytes is over the limit")]
    TooLarge {
        /// `bundle` or `payload`.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// A field with another value than the one this format has.
    #[error("`{field}` is `{got}`, expected {expected}")]
    Field {
        /// Path of the field.
        field: &'static str,
        /// What stands there, shortened.
        got: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// Not exactly one signature.
    #[error("the envelope has {count} signatures, expected exactly one")]
    Signatures {
        /// How many.
        count: usize,
    },
    /// The key is a certificate: the trust roots for those are in no policy of ours.
    #[error("the bundle is signed with a certificate, not with a key")]
    Certificate,
}

impl EnvelopeError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json { .. } => "envelope/json",
            Self::TooLarge { .. } => "envelope/too-large",
            Self::Field { .. } => "envelope/field",
            Self::Signatures { .. } => "envelope/signatures",
            Self::Certificate => "envelope/certificate",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Certificate => "sign with a P-256 key; keyless bundles are not read yet",
            Self::TooLarge { .. } => "split the artifact, or raise the limit in a build of your own",
            _ => "the file was changed, or is no Sigstore bundle v0.3 with an in-toto statement",
        }
    }
}

/// DSSE's pre-authentication encoding: what a signature covers.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = pae_head(payload_type, payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

fn pae_head(payload_type: &str, payload_bytes: usize) -> String {
    format!("DSSEv1 {} {payload_type} {payload_bytes} ", payload_type.len())
}

impl Bundle {
    /// SHA256 of the PAE: the name of the statement everywhere in Seaworthy, and the digest in its leaf.
    #[must_use]
    pub fn pae_digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(pae_head(PAYLOAD_TYPE, self.payload.len()).as_bytes());
        hasher.update(&self.payload);
        hasher.finish()
    }

    /// The Sigstore bundle v0.3 as JSON, with one `tlogEntries` element if the log proof is known.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        wire::to_json(self)
    }

    /// Reads a bundle: strict JSON, exactly one signature, the one payload type, a key hint, at most one log entry.
    /// Nothing in it is verified yet.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        wire::from_json(bytes)
    }
}

/// The Rekor v2 `hashedrekord` 0.0.2 body of a bundle: the leaf by which the log holds it. `spki_der` is the
/// SubjectPublicKeyInfo of the P-256 key that signed.
#[must_use]
pub fn leaf_body(bundle: &Bundle, spki_der: &[u8]) -> Vec<u8> {
    body_text(&bundle.pae_digest(), &bundle.signature, spki_der)
}

/// How a bundle names its key: hex(SHA256) of the key's PEM text, with LF and a final newline, as model-signing has it.
#[must_use]
pub fn key_hint(spki_der: &[u8]) -> String {
    let mut hasher = Hasher::new();
    hasher.update(b"-----BEGIN PUBLIC KEY-----\n");
    for line in STANDARD.encode(spki_der).as_bytes().chunks(64) {
        hasher.update(line);
        hasher.update(b"\n");
    }
    hasher.update(b"-----END PUBLIC KEY-----\n");
    hasher.finish().hex()
}

fn body_text(pae: &Digest, signature: &[u8], spki_der: &[u8]) -> Vec<u8> {
    let digest = STANDARD.encode(pae.as_bytes());
    let signature = STANDARD.encode(signature);
    let key = STANDARD.encode(spki_der);
    format!(
        concat!(
            r#"{{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{{"hashedRekordV002":{{"#,
            r#""data":{{"algorithm":"SHA2_256","digest":"{digest}"}},"signature":{{"content":"{signature}","#,
            r#""verifier":{{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{{"rawBytes":"{key}"}}}}}}}}}}}}"#
        ),
        digest = digest,
        signature = signature,
        key = key
    )
    .into_bytes()
}

/// What an attestation leaf says: the parts of [`leaf_body`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeafBody {
    /// SHA256(PAE) of the statement.
    pub pae: Digest,
    /// The signature, DER.
    pub signature: Vec<u8>,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

impl LeafBody {
    /// Reads a leaf that [`leaf_body`] wrote; `None` for any other entry, an audit event for instance.
    #[must_use]
    pub fn parse(entry: &[u8]) -> Option<Self> {
        wire::leaf(entry)
    }

    /// Whether this leaf is about `bundle`: same statement, same signature.
    #[must_use]
    pub fn is_of(&self, bundle: &Bundle) -> bool {
        self.signature == bundle.signature && self.pae == bundle.pae_digest()
    }
}

/// The statement with its type, as it is written and read.
#[derive(Deserialize)]
struct TypedStatement {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(flatten)]
    statement: Statement,
}

impl Statement {
    /// The payload to sign: canonical JSON with `_type`.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        let subject = self.subject.iter().map(ResourceDescriptor::to_value).collect();
        let fields = [
            ("_type", Value::from(STATEMENT_TYPE)),
            ("predicate", self.predicate.clone()),
            ("predicateType", Value::from(self.predicate_type.as_str())),
            ("subject", Value::Array(subject)),
        ];
        let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value));
        json_strict::to_canonical(&Value::Object(fields.collect()))
    }

    /// Reads a payload whose signature was verified: strict JSON, the one type, at least one subject, each with a digest.
    /// Fields unknown to in-toto v1 are ignored, as its specification demands.
    pub fn from_payload(payload: &[u8]) -> Result<Self, EnvelopeError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(EnvelopeError::TooLarge { what: "payload", bytes: payload.len() });
        }
        let TypedStatement { statement_type, statement } =
            json_strict::parse_typed(payload).map_err(|source| EnvelopeError::Json { what: "statement", source })?;
        wire::expect("_type", &statement_type, STATEMENT_TYPE, "in-toto Statement v1")?;
        if statement.subject.is_empty() {
            let (got, expected) = ("[]".to_owned(), "at least one subject");
            return Err(EnvelopeError::Field { field: "subject", got, expected });
        }
        for subject in &statement.subject {
            if subject.digest.is_empty() || subject.digest.values().any(String::is_empty) {
                let got = subject.name.clone().unwrap_or_default().chars().take(80).collect();
                return Err(EnvelopeError::Field { field: "subject[].digest", got, expected: "a digest a subject" });
            }
        }
        Ok(statement)
    }
}

impl ResourceDescriptor {
    /// Something with a name and one SHA-256 digest.
    #[must_use]
    pub fn sha256(name: impl Into<String>, digest: &Digest) -> Self {
        Self { name: Some(name.into()), ..Self::default() }.with_digest("sha256", digest.hex())
    }

    /// A folder: `sha256` is the model-signing root and `dirHash` binds the names.
    #[must_use]
    pub fn folder(name: impl Into<String>, artifact: &ArtifactRef) -> Self {
        Self::sha256(name, &artifact.root).with_digest("dirHash", artifact.dir_hash.hex())
    }

    /// Something found at a URI.
    #[must_use]
    pub fn at(uri: impl Into<String>) -> Self {
        Self { uri: Some(uri.into()), ..Self::default() }
    }

    /// Adds a digest.
    #[must_use]
    pub fn with_digest(mut self, algorithm: impl Into<String>, hex: impl Into<String>) -> Self {
        self.digest.insert(algorithm.into(), hex.into());
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn with_annotation(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// The `sha256` digest, if there is one and it is well-formed.
    #[must_use]
    pub fn sha256_digest(&self) -> Option<Digest> {
        self.digest.get("sha256")?.parse().ok()
    }

    /// The `dirHash` digest, under the name of the specification's heading or of its example.
    #[must_use]
    pub fn dir_hash(&self) -> Option<Digest> {
        self.digest.get("dirHash").or_else(|| self.digest.get("dirHash1"))?.parse().ok()
    }

    fn to_value(&self) -> Value {
        let digests = || self.digest.iter().map(|(key, hex)| (key.clone(), Value::from(hex.as_str())));
        let annotations = || self.annotations.iter().map(|(key, value)| (key.clone(), value.clone()));
        let fields = [
            ("name", self.name.as_deref().map(Value::from)),
            ("uri", self.uri.as_deref().map(Value::from)),
            ("digest", (!self.digest.is_empty()).then(|| Value::Object(digests().collect()))),
            ("annotations", (!self.annotations.is_empty()).then(|| Value::Object(annotations().collect()))),
        ];
        Value::Object(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }
}

#[cfg(test)]
mod tests;
