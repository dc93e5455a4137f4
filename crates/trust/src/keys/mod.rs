//! Keys: P-256 for statements, Ed25519 for checkpoints; their texts, their sealing, and the signer that holds them.
//!
//! in: bytes of key files (read by the caller); out: [`PublicKey`], [`PrivateKey`], [`LocalSigner`].
//! **Invariant:** no file, no clock: bytes in, bytes out. Private key bytes are wiped when dropped, and a private key
//! never prints.

mod sealed;
mod service;
mod signer;
pub mod wire;

use ed25519_dalek::Signer as _;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use seaworthy_core::digest::Digest;
use seaworthy_core::ports::KeyRole;
use zeroize::Zeroizing;

pub use sealed::{Identity, open_with_identity, open_with_passphrase, seal_to, seal_with_passphrase};
pub use service::{ServiceRefusal, SignerService};
pub use signer::{LocalSigner, SignError, may_sign};

/// The algorithm of a key, fixed by its role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256: statements.
    P256,
    /// Ed25519: checkpoints.
    Ed25519,
}

impl Algorithm {
    /// The algorithm of the keys of `role`.
    #[must_use]
    pub const fn of(role: KeyRole) -> Self {
        match role {
            KeyRole::User | KeyRole::Runner | KeyRole::Root => Self::P256,
            KeyRole::Log => Self::Ed25519,
        }
    }
}

/// Why a key or signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither a P-256 nor an Ed25519 key in the expected text.
    #[error("not a {0} key in PEM: {1}")]
    Malformed(&'static str, String),
    /// The signature does not hold.
    #[error("the signature does not hold under key {}", .0.chars().take(12).collect::<String>())]
    Signature(String),
    /// A role was given a key of another algorithm.
    #[error("a {role:?} key must be {want:?}")]
    Algorithm {
        /// The role.
        role: KeyRole,
        /// The algorithm it needs.
        want: Algorithm,
    },
    /// Random bytes are not to be had.
    #[error("no random bytes: {0}")]
    Entropy(String),
    /// Sealed bytes do not open.
    #[error("the key file does not open: {0}")]
    Sealed(String),
}

impl KeyError {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(..) => "keys/malformed",
            Self::Signature(_) => "keys/signature",
            Self::Algorithm { .. } => "keys/algorithm",
            Self::Entropy(_) => "keys/entropy",
            Self::Sealed(_) => "keys/sealed",
        }
    }

    /// What to do.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Malformed(..) => "`seaworthy keys list` shows the files that are read",
            Self::Signature(_) => "the signed bytes or the signature were changed, or another key signed",
            Self::Algorithm { .. } => "`seaworthy keys create` makes the right key for each role",
            Self::Entropy(_) => "the operating system must provide getrandom",
            Self::Sealed(_) => "check the passphrase, or the identity file the key was sealed to",
        }
    }
}

/// A public key that can check signatures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublicKey {
    /// ECDSA on P-256.
    P256(p256::ecdsa::VerifyingKey),
    /// Ed25519.
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl PublicKey {
    /// Reads `SubjectPublicKeyInfo` in PEM.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        p256::ecdsa::VerifyingKey::from_public_key_pem(pem).map(Self::P256).or_else(|_| {
            let read = ed25519_dalek::VerifyingKey::from_public_key_pem(pem);
            read.map(Self::Ed25519).map_err(|cause| KeyError::Malformed("public", cause.to_string()))
        })
    }

    /// Reads `SubjectPublicKeyInfo` in DER.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        p256::ecdsa::VerifyingKey::from_public_key_der(der).map(Self::P256).or_else(|_| {
            let read = ed25519_dalek::VerifyingKey::from_public_key_der(der);
            read.map(Self::Ed25519).map_err(|cause| KeyError::Malformed("public", cause.to_string()))
        })
    }

    /// `SubjectPublicKeyInfo` in DER.
    pub fn to_der(&self) -> Result<Vec<u8>, KeyError> {
        let der = match self {
            Self::P256(key) => key.to_public_key_der(),
            Self::Ed25519(key) => key.to_public_key_der(),
        };
        der.map(p256::pkcs8::Document::into_vec).map_err(|cause| KeyError::Malformed("public", cause.to_string()))
    }

    /// `SubjectPublicKeyInfo` in PEM, lines ended by LF, the last one too.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pem = match self {
            Self::P256(key) => key.to_public_key_pem(LineEnding::LF),
            Self::Ed25519(key) => key.to_public_key_pem(LineEnding::LF),
        };
        pem.map_err(|cause| KeyError::Malformed("public", cause.to_string()))
    }

    /// hex(sha256(PEM)): how bundles and trust files name the key.
    pub fn hint(&self) -> Result<String, KeyError> {
        Ok(Digest::of(self.to_pem()?.as_bytes()).hex())
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::P256(_) => Algorithm::P256,
            Self::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Checks `signature` over `message`: DER for P-256 with SHA-256, 64 bytes for Ed25519 (strict: RFC 8032 without the
    /// cofactor, small-order keys refused).
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let holds = match self {
            // a quarter of what p256 needs for it; signing stays with p256, which wipes its key
            Self::P256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.to_sec1_point(false).as_bytes()).verify(message, signature).is_ok()
            }
            Self::Ed25519(key) => {
                ed25519_dalek::Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
            }
        };
        if holds { Ok(()) } else { Err(KeyError::Signature(self.hint().unwrap_or_default())) }
    }
}

/// A private key.
pub enum PrivateKey {
    /// ECDSA on P-256 (wipes itself when dropped).
    P256(p256::ecdsa::SigningKey),
    /// Ed25519 (wipes itself when dropped).
    Ed25519(ed25519_dalek::SigningKey),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({})", self.public().hint().unwrap_or_default().chars().take(12).collect::<String>())
    }
}

impl PrivateKey {
    /// A fresh key for `role` from the operating system's random bytes.
    pub fn generate(role: KeyRole) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        // a P-256 scalar is refused with probability 2^-32; a second refusal in a row is no accident
        for _ in 0..4 {
            getrandom::fill(seed.as_mut_slice()).map_err(|cause| KeyError::Entropy(cause.to_string()))?;
            if let Ok(key) = Self::from_seed(role, &seed) {
                return Ok(key);
            }
        }
        Err(KeyError::Entropy("the random bytes make no key".to_owned()))
    }

    /// The key of `role` that follows from 32 bytes: for fixtures and imports.
    pub fn from_seed(role: KeyRole, seed: &[u8; 32]) -> Result<Self, KeyError> {
        match Algorithm::of(role) {
            Algorithm::P256 => {
                let key = p256::ecdsa::SigningKey::from_slice(seed.as_slice());
                key.map(Self::P256).map_err(|cause| KeyError::Malformed("private", cause.to_string()))
            }
            Algorithm::Ed25519 => Ok(Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed))),
        }
    }

    /// Reads PKCS#8 in PEM.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        p256::ecdsa::SigningKey::from_pkcs8_pem(pem).map(Self::P256).or_else(|_| {
            let read = ed25519_dalek::SigningKey::from_pkcs8_pem(pem);
            read.map(Self::Ed25519).map_err(|cause| KeyError::Malformed("private", cause.to_string()))
        })
    }

    /// PKCS#8 in PEM; wiped when dropped.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let pem = match self {
            Self::P256(key) => key.to_pkcs8_pem(LineEnding::LF),
            Self::Ed25519(key) => key.to_pkcs8_pem(LineEnding::LF),
        };
        pem.map_err(|cause| KeyError::Malformed("private", cause.to_string()))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        match self {
            Self::P256(key) => PublicKey::P256(*key.verifying_key()),
            Self::Ed25519(key) => PublicKey::Ed25519(key.verifying_key()),
        }
    }

    /// Signs `message`, deterministically (RFC 6979, RFC 8032): the signature in the form that [`PublicKey::verify`] takes.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::P256(key) => {
                let signed: Result<p256::ecdsa::DerSignature, _> = key.try_sign(message);
                Ok(signed.map_err(|cause| KeyError::Signature(cause.to_string()))?.as_bytes().to_vec())
            }
            Self::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests;
