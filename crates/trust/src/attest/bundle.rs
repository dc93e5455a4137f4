//! One bundle under one key: the signature over the raw payload, then the statement, strictly.
//!
//! in: a [`Bundle`] and the key that must have signed it; out: the [`Statement`].
//! **Invariant:** no byte of the payload is interpreted before its signature holds.

use seaworthy_core::envelope::{self, Bundle, EnvelopeError, PAYLOAD_TYPE, Statement};

use crate::keys::{KeyError, PublicKey};

/// Why a bundle was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The hint names another key.
    #[error("the bundle names key {found}, not {want}")]
    Hint {
        /// In the bundle, shortened.
        found: String,
        /// Of the key given, shortened.
        want: String,
    },
    /// The signature does not hold.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The payload is no statement.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

impl BundleError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Hint { .. } => "verify/untrusted-key",
            Self::Key(_) => "verify/signature",
            Self::Envelope(_) => "verify/payload",
        }
    }
}

/// Checks the signature of `key` on `bundle`.
pub fn verify_signature(bundle: &Bundle, key: &PublicKey) -> Result<(), BundleError> {
    let want = key.hint()?;
    if bundle.key_hint != want {
        let short = |text: &str| text.chars().take(12).collect();
        return Err(BundleError::Hint { found: short(&bundle.key_hint), want: short(&want) });
    }
    Ok(key.verify(&envelope::pae(PAYLOAD_TYPE, &bundle.payload), &bundle.signature)?)
}

/// Checks the signature of `key` on `bundle` and reads its statement.
pub fn verify_bundle(bundle: &Bundle, key: &PublicKey) -> Result<Statement, BundleError> {
    verify_signature(bundle, key)?;
    Ok(Statement::from_payload(&bundle.payload)?)
}
