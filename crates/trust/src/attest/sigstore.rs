//! Our trust file for Sigstore's verifiers: the log as a private Rekor.
//!
//! in: [`TrustRoot`]; out: the `trusted_root.json` of Sigstore's protobuf specification, version 0.1.
//! **Invariant:** it holds the log and nothing else: statement keys are given to those verifiers one by one, by hint.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use serde_json::{Value, json};

use super::trust_root::{TrustRoot, TrustRootError};
use crate::keys::PublicKey;

/// The trusted root that lets a Sigstore verifier check the log entry in our exported bundles.
pub fn sigstore_trusted_root(trust: &TrustRoot) -> Result<Value, TrustRootError> {
    let log = trust.log_key()?;
    let refuse = |cause: String| TrustRootError::Verifier(trust.log.origin.clone(), cause);
    let key = VerifyingKey::from_bytes(log.public()).map_err(|cause| refuse(cause.to_string()))?;
    let spki = PublicKey::Ed25519(key).to_der().map_err(|cause| refuse(cause.to_string()))?;
    Ok(json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        // checkpoints are looked up by the name on their signature line, which must be part of this address
        "tlogs": [{
            "baseUrl": format!("https://{}", trust.log.origin),
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(spki),
                "keyDetails": "PKIX_ED25519",
                "validFor": {"start": "1970-01-01T00:00:00Z"},
            },
            "logId": {"keyId": STANDARD.encode(log.log_id().as_bytes())},
        }],
        "certificateAuthorities": [],
        "ctlogs": [],
        "timestampAuthorities": [],
    }))
}
