//! The JSON of Sigstore bundles v0.3 and of `hashedrekord` leaves.
//!
//! in: bytes; out: [`Bundle`], [`LeafBody`], and back.
//! **Invariant:** what this module writes has sorted keys and no spaces; what it reads may have any order, but no field it
//! does not know.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::{BUNDLE_MEDIA_TYPE, Bundle, EnvelopeError, LeafBody, LogProof, PAYLOAD_TYPE};
use crate::digest::Digest;
use crate::json_strict::{self, push_string};
use crate::limits::PAYLOAD_BYTES_MAX;

/// Bytes of a bundle file: the payload in base64, and room for the rest.
const BUNDLE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX / 3 * 4 + 1024 * 1024;
/// Hashes in an inclusion proof: one a level of a tree of `u64` leaves.
const PROOF_HASHES_MAX: usize = 64;

pub(super) fn to_json(bundle: &Bundle) -> Vec<u8> {
    let mut text = String::with_capacity(bundle.payload.len() / 3 * 4 + 4_096);
    text.push_str("{\"dsseEnvelope\":{\"payload\":\"");
    STANDARD.encode_string(&bundle.payload, &mut text);
    // writing to a String cannot fail, here and below
    _ = write!(text, "\",\"payloadType\":\"{PAYLOAD_TYPE}\",\"signatures\":[{{\"keyid\":\"\",\"sig\":\"");
    STANDARD.encode_string(&bundle.signature, &mut text);
    _ = write!(text, "\"}}]}},\"mediaType\":\"{BUNDLE_MEDIA_TYPE}\",\"verificationMaterial\":{{\"publicKey\":{{\"hint\":");
    push_string(&bundle.key_hint, &mut text);
    text.push_str("},\"tlogEntries\":[");
    if let Some(proof) = &bundle.log_proof {
        push_entry(proof, &mut text);
    }
    text.push_str("]}}");
    text.into_bytes()
}

fn push_entry(proof: &LogProof, text: &mut String) {
    let hashes: Vec<String> = proof.hashes.iter().map(|hash| format!("\"{}\"", STANDARD.encode(hash.as_bytes()))).collect();
    let index = proof.index;
    _ = write!(text, "{{\"canonicalizedBody\":\"{}\",\"inclusionProof\":{{\"checkpoint\":", STANDARD.encode(&proof.body));
    text.push_str("{\"envelope\":");
    push_string(&proof.checkpoint, text);
    _ = write!(
        text,
        "}},\"hashes\":[{}],\"logIndex\":\"{index}\",\"rootHash\":\"{}\",\"treeSize\":\"{}\"}},",
        hashes.join(","),
        STANDARD.encode(proof.root.as_bytes()),
        proof.size
    );
    _ = write!(
        text,
        "\"integratedTime\":\"0\",\"kindVersion\":{{\"kind\":\"hashedrekord\",\"version\":\"0.0.2\"}},\
         \"logId\":{{\"keyId\":\"{}\"}},\"logIndex\":\"{index}\"}}",
        STANDARD.encode(proof.log_id.as_bytes())
    );
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BundleJson {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

/// Time stamps are not ours and prove nothing here, but other tools write the empty list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Material {
    public_key: Option<PublicKey>,
    certificate: Option<Value>,
    x509_certificate_chain: Option<Value>,
    #[serde(default)]
    tlog_entries: Vec<Entry>,
    #[serde(rename = "timestampVerificationData")]
    _timestamps: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKey {
    hint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    /// DSSE calls it an unauthenticated hint; ours is empty.
    #[serde(rename = "keyid")]
    _keyid: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    log_index: String,
    log_id: LogId,
    kind_version: KindVersion,
    integrated_time: Option<String>,
    inclusion_proof: InclusionProof,
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LogId {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindVersion {
    kind: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct InclusionProof {
    log_index: String,
    root_hash: String,
    tree_size: String,
    #[serde(default)]
    hashes: Vec<String>,
    checkpoint: CheckpointJson,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointJson {
    envelope: String,
}

pub(super) fn from_json(bytes: &[u8]) -> Result<Bundle, EnvelopeError> {
    if bytes.len() > BUNDLE_BYTES_MAX {
        return Err(EnvelopeError::TooLarge { what: "bundle", bytes: bytes.len() });
    }
    let bundle: BundleJson = json_strict::parse_typed(bytes).map_err(|source| EnvelopeError::Json { what: "bundle", source })?;
    expect("mediaType", &bundle.media_type, BUNDLE_MEDIA_TYPE, "a Sigstore bundle v0.3")?;
    let envelope = bundle.dsse_envelope;
    expect("dsseEnvelope.payloadType", &envelope.payload_type, PAYLOAD_TYPE, "application/vnd.in-toto+json")?;
    let [signature] = envelope.signatures.as_slice() else {
        return Err(EnvelopeError::Signatures { count: envelope.signatures.len() });
    };
    let material = bundle.verification_material;
    if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
        return Err(EnvelopeError::Certificate);
    }
    let key = material.public_key.ok_or_else(|| other("verificationMaterial.publicKey", "null", "a key hint"))?;
    let log_proof = match material.tlog_entries.as_slice() {
        [] => None,
        [entry] => Some(log_proof(entry)?),
        more => {
            return Err(other("verificationMaterial.tlogEntries", &more.len().to_string(), "at most one log entry"));
        }
    };
    Ok(Bundle {
        payload: decode("dsseEnvelope.payload", &envelope.payload)?,
        signature: decode("dsseEnvelope.signatures[0].sig", &signature.sig)?,
        key_hint: key.hint,
        log_proof,
    })
}

fn log_proof(entry: &Entry) -> Result<LogProof, EnvelopeError> {
    expect("kindVersion.kind", &entry.kind_version.kind, "hashedrekord", "hashedrekord")?;
    expect("kindVersion.version", &entry.kind_version.version, "0.0.2", "0.0.2")?;
    expect("integratedTime", entry.integrated_time.as_deref().unwrap_or("0"), "0", "0: no clock decides")?;
    let proof = &entry.inclusion_proof;
    expect("inclusionProof.logIndex", &proof.log_index, &entry.log_index, "the entry's own logIndex")?;
    if proof.hashes.len() > PROOF_HASHES_MAX {
        return Err(other("inclusionProof.hashes", &proof.hashes.len().to_string(), "at most 64 hashes"));
    }
    Ok(LogProof {
        index: number("logIndex", &entry.log_index)?,
        size: number("inclusionProof.treeSize", &proof.tree_size)?,
        root: digest("inclusionProof.rootHash", &proof.root_hash)?,
        hashes: proof.hashes.iter().map(|hash| digest("inclusionProof.hashes", hash)).collect::<Result<_, _>>()?,
        checkpoint: proof.checkpoint.envelope.clone(),
        log_id: digest("logId.keyId", &entry.log_id.key_id)?,
        body: decode("canonicalizedBody", &entry.canonicalized_body)?,
    })
}

fn other(field: &'static str, got: &str, expected: &'static str) -> EnvelopeError {
    EnvelopeError::Field { field, got: got.chars().take(80).collect(), expected }
}

pub(super) fn expect(field: &'static str, got: &str, want: &str, expected: &'static str) -> Result<(), EnvelopeError> {
    if got == want { Ok(()) } else { Err(other(field, got, expected)) }
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).map_err(|_| other(field, text, "standard base64"))
}

fn digest(field: &'static str, text: &str) -> Result<Digest, EnvelopeError> {
    let bytes = decode(field, text)?.try_into().map_err(|_| other(field, text, "base64 of 32 bytes"))?;
    Ok(Digest::from_bytes(bytes))
}

fn number(field: &'static str, text: &str) -> Result<u64, EnvelopeError> {
    let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
    number.ok_or_else(|| other(field, text, "a decimal number"))
}

pub(super) fn leaf(entry: &[u8]) -> Option<LeafBody> {
    let value = json_strict::parse(entry).ok()?;
    let record = value.get("spec")?.get("hashedRekordV002")?;
    let text = |value: &Value, path: &str| STANDARD.decode(value.pointer(path)?.as_str()?).ok();
    let pae = Digest::from_bytes(text(record, "/data/digest")?.try_into().ok()?);
    let signature = text(record, "/signature/content")?;
    let public_key = text(record, "/signature/verifier/publicKey/rawBytes")?;
    let body = LeafBody { pae, signature, public_key };
    // one spelling only: whatever else stands in the entry shows up here
    (super::body_text(&body.pae, &body.signature, &body.public_key) == entry).then_some(body)
}
