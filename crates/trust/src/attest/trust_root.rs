//! The trust file: which keys, witnesses and source owners a verifier believes, and the floor of each model's releases.
//!
//! in: JSON; out: [`TrustRoot`].
//! **Invariant:** nothing is believed because a bundle or a log says so: every key comes from here, its hint matches its
//! PEM, and names, hints and witnesses are unique.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_core::digest::Digest;
use seaworthy_core::id::Name;
use seaworthy_core::json_strict;
use seaworthy_core::note::{KeyKind, VerifierKey};
use seaworthy_core::ports::KeyRole;
use seaworthy_core::principal::PrincipalId;
use serde::{Deserialize, Serialize};

use crate::keys::{Algorithm, PublicKey};

/// Why a trust file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustRootError {
    /// Not the JSON of a trust file.
    #[error("trust file refused: {0}")]
    Malformed(String),
    /// A key is unusable.
    #[error("key `{0}` refused: {1}")]
    Key(String, String),
    /// Two entries claim the same place.
    #[error("`{0}` stands twice")]
    Duplicate(String),
    /// The log or a witness is unusable.
    #[error("verifier key of `{0}` refused: {1}")]
    Verifier(String, String),
    /// The quorum cannot be met.
    #[error("a quorum of {quorum} from {witnesses} witnesses cannot be met")]
    Quorum {
        /// Cosignatures demanded.
        quorum: usize,
        /// Witnesses known.
        witnesses: usize,
    },
    /// A source names a key that is not a user's here.
    #[error("source `{0}` is owned by a key that is no user key of this file")]
    Owner(String),
}

impl TrustRootError {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "trust/malformed",
            Self::Key(..) => "trust/key",
            Self::Duplicate(_) => "trust/duplicate",
            Self::Verifier(..) => "trust/verifier-key",
            Self::Quorum { .. } => "trust/quorum",
            Self::Owner(_) => "trust/owner",
        }
    }

    /// What to do.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "`seaworthy trust export` writes a trust file; edit a copy and keep it away from the workspace"
    }
}

/// A key that is believed, for one role.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// `user`, `runner` or `root`.
    pub role: KeyRole,
    /// Whose it is.
    pub principal: PrincipalId,
    /// hex(sha256(PEM)).
    pub hint: String,
    /// SubjectPublicKeyInfo in PEM.
    pub pem: String,
    /// The first leaf index at which it counts.
    pub from: u64,
    /// The first leaf index at which it counts no more: it was rotated or revoked there. What it signed before stays valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Who has the private key. Nobody can prove that it has no other copy: whoever gives the trust file vouches for it.
    #[serde(default, skip_serializing_if = "Custody::is_unknown")]
    pub custody: Custody,
}

/// Who has a private key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Custody {
    /// Nothing is said.
    #[default]
    Unknown,
    /// A signer that runs as a service of a user of its own, and nobody else.
    Service,
}

impl Custody {
    const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// The log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedLog {
    /// Origin line of its checkpoints.
    pub origin: String,
    /// `name+hash+key`, as C2SP signed-note says.
    pub vkey: String,
}

/// A witness.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedWitness {
    /// Name on its signature lines.
    pub name: String,
    /// `name+hash+key` of type 04.
    pub vkey: String,
}

/// Who owns the sources below a prefix.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceOwner {
    /// Prefix of source URIs, for instance `s3://data-lake/`.
    pub prefix: String,
    /// Hint of the owner's user key.
    pub key: String,
}

/// The trust file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRoot {
    /// Format; 1.
    pub version: u32,
    /// Workspace id: part of every SPIFFE id.
    pub workspace: String,
    /// Environment: keys and log are its own.
    pub environment: Name,
    /// The log.
    pub log: TrustedLog,
    /// Keys by role.
    pub keys: Vec<TrustedKey>,
    /// Witnesses.
    #[serde(default)]
    pub witnesses: Vec<TrustedWitness>,
    /// How many of them must have cosigned; 0 demands none.
    #[serde(default)]
    pub quorum: usize,
    /// Owners of sources.
    #[serde(default)]
    pub sources: Vec<SourceOwner>,
    /// The lowest release index accepted, by model.
    #[serde(default)]
    pub minimum_release: BTreeMap<Name, u64>,
}

impl TrustedKey {
    /// Makes an entry from a public key.
    pub fn new(role: KeyRole, principal: PrincipalId, key: &PublicKey, from: u64) -> Result<Self, crate::keys::KeyError> {
        Ok(Self { role, principal, hint: key.hint()?, pem: key.to_pem()?, from, until: None, custody: Custody::Unknown })
    }

    /// Ends it at leaf `index`; an earlier end stays.
    pub fn end_at(&mut self, index: u64) {
        self.until = Some(self.until.map_or(index, |until| until.min(index)));
    }

    fn check(&self) -> Result<PublicKey, TrustRootError> {
        let refuse = |cause: String| TrustRootError::Key(self.hint.chars().take(12).collect(), cause);
        let key = PublicKey::from_pem(&self.pem).map_err(|cause| refuse(cause.to_string()))?;
        if key.hint().map_err(|cause| refuse(cause.to_string()))? != self.hint {
            return Err(refuse("its hint is not the digest of its PEM".to_owned()));
        }
        if self.until.is_some_and(|until| until < self.from) {
            return Err(refuse("it ends before it begins".to_owned()));
        }
        if self.role == KeyRole::Log {
            return Err(refuse("log keys stand under `log`".to_owned()));
        }
        if key.algorithm() != Algorithm::P256 {
            return Err(refuse("only P-256 keys sign statements".to_owned()));
        }
        Ok(key)
    }
}

impl TrustRoot {
    /// Parses and checks a trust file.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustRootError> {
        let root: Self = json_strict::parse_typed(bytes).map_err(|cause| TrustRootError::Malformed(cause.to_string()))?;
        root.check()?;
        Ok(root)
    }

    /// Writes it, indented, with a final newline.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // a plain struct with string keys: serialisation cannot fail, and an empty file would not parse
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    fn check(&self) -> Result<(), TrustRootError> {
        if self.version != 1 {
            return Err(TrustRootError::Malformed(format!("version {} is not 1", self.version)));
        }
        let mut seen = BTreeSet::new();
        for key in &self.keys {
            key.check()?;
            if !seen.insert(key.hint.clone()) {
                return Err(TrustRootError::Duplicate(key.hint.clone()));
            }
        }
        self.log_key()?;
        // a witness that stands twice, under one name or two, would count twice
        for (witness, key) in self.witnesses.iter().zip(self.witness_keys()?) {
            let bytes = Digest::of(key.public());
            if !seen.insert(format!("witness {}", witness.name)) || !seen.insert(format!("witness key {bytes}")) {
                return Err(TrustRootError::Duplicate(witness.name.clone()));
            }
        }
        if self.quorum > self.witnesses.len() {
            return Err(TrustRootError::Quorum { quorum: self.quorum, witnesses: self.witnesses.len() });
        }
        for source in &self.sources {
            if !seen.insert(format!("source {}", source.prefix)) {
                return Err(TrustRootError::Duplicate(source.prefix.clone()));
            }
            let owned = self.keys.iter().any(|key| key.role == KeyRole::User && key.hint == source.key);
            if !owned || source.prefix.is_empty() {
                return Err(TrustRootError::Owner(source.prefix.clone()));
            }
        }
        Ok(())
    }

    /// The log's verifier key; its name must be the origin.
    pub fn log_key(&self) -> Result<VerifierKey, TrustRootError> {
        verifier(&self.log.origin, &self.log.vkey, KeyKind::Ed25519)
    }

    /// The witnesses' verifier keys, in order.
    pub fn witness_keys(&self) -> Result<Vec<VerifierKey>, TrustRootError> {
        self.witnesses.iter().map(|witness| verifier(&witness.name, &witness.vkey, KeyKind::Cosignature)).collect()
    }

    /// The hint of the log's key, as if it stood among the others.
    pub fn log_key_hint(&self) -> Result<String, TrustRootError> {
        let refuse = |cause: String| TrustRootError::Verifier(self.log.origin.clone(), cause);
        let key = ed25519_dalek::VerifyingKey::from_bytes(self.log_key()?.public()).map_err(|cause| refuse(cause.to_string()))?;
        PublicKey::Ed25519(key).hint().map_err(|cause| refuse(cause.to_string()))
    }

    /// Whether only a service has the private key of this role with this hint, in the words of this file.
    #[must_use]
    pub fn is_held_by_service(&self, role: KeyRole, hint: &str) -> bool {
        self.keys.iter().any(|key| key.role == role && key.hint == hint && key.custody == Custody::Service)
    }

    /// Every key with its parsed form, by hint.
    pub fn public_keys(&self) -> Result<BTreeMap<String, (&TrustedKey, PublicKey)>, TrustRootError> {
        self.keys.iter().map(|key| Ok((key.hint.clone(), (key, key.check()?)))).collect()
    }

    /// The owner of a source, by the longest prefix.
    #[must_use]
    pub fn owner_of(&self, uri: &str) -> Option<&SourceOwner> {
        let named = self.sources.iter().filter(|source| uri.starts_with(&source.prefix));
        named.max_by_key(|source| source.prefix.len())
    }

    /// Whether a key is the owner's: the one named, or another user key of the same principal (an older or newer one).
    #[must_use]
    pub fn is_key_of_owner(&self, hint: &str, owner: &SourceOwner) -> bool {
        let holder = |hint: &str| self.keys.iter().find(|key| key.role == KeyRole::User && key.hint == hint).map(|key| &key.principal);
        holder(&owner.key).is_some_and(|owner| holder(hint) == Some(owner))
    }

    /// SHA-256 of the file's own text, for reports.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_json())
    }
}

fn verifier(name: &str, vkey: &str, kind: KeyKind) -> Result<VerifierKey, TrustRootError> {
    let refuse = |cause: String| TrustRootError::Verifier(name.to_owned(), cause);
    let key: VerifierKey = vkey.parse().map_err(|cause: seaworthy_core::note::NoteError| refuse(cause.to_string()))?;
    if key.name() != name {
        return Err(refuse("it carries another name".to_owned()));
    }
    if key.kind() != kind {
        return Err(refuse(format!("expected a key of kind {kind:?}")));
    }
    if ed25519_dalek::VerifyingKey::from_bytes(key.public()).is_ok_and(|key| !key.is_weak()) {
        Ok(key)
    } else {
        Err(refuse("it is no sound Ed25519 key".to_owned()))
    }
}

#[cfg(test)]
mod tests;
