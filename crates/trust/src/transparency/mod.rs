//! The log seen from outside: checkpoints, the log's signature, the witnesses' cosignatures, consistency with what was seen.
//!
//! in: a checkpoint note and a [`TrustRoot`]; out: [`VerifiedCheckpoint`].
//! **Invariant:** a signature line of a known key that fails refuses the whole note; lines of unknown keys prove nothing and
//! are skipped; a quorum that is not met is a refusal, never a warning.

use ed25519_dalek::VerifyingKey;
use seaworthy_core::digest::Digest;
use seaworthy_core::merkle;
use seaworthy_core::note::{self, Checkpoint, KeyKind, Note, NoteError, NoteSignature, VerifierKey};

use crate::attest::trust_root::{TrustRoot, TrustRootError};
use crate::keys::{KeyError, PrivateKey, PublicKey};

/// Why a checkpoint was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a checkpoint note.
    #[error("checkpoint refused: {0}")]
    Note(#[from] NoteError),
    /// Another log's.
    #[error("checkpoint is of `{found}`, the trusted log is `{trusted}`")]
    Origin {
        /// In the note.
        found: String,
        /// In the trust file.
        trusted: String,
    },
    /// The log's key did not sign it.
    #[error("checkpoint carries no signature of `{0}`")]
    Unsigned(String),
    /// A known key's signature fails.
    #[error("signature of `{0}` on the checkpoint does not hold")]
    Signature(String),
    /// Too few witnesses.
    #[error("{got} of the {want} cosignatures demanded")]
    Quorum {
        /// Valid ones.
        got: usize,
        /// Demanded.
        want: usize,
    },
    /// Smaller than one seen before.
    #[error("the log has {now} leaves, but {before} were seen before")]
    Rollback {
        /// Leaves seen before.
        before: u64,
        /// Leaves now.
        now: u64,
    },
    /// Not a continuation of one seen before.
    #[error("the log's first {0} leaves are not those seen before")]
    Fork(u64),
    /// The trust file itself.
    #[error(transparent)]
    Trust(#[from] TrustRootError),
}

impl CheckpointError {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Note(_) => "verify/checkpoint-malformed",
            Self::Origin { .. } => "verify/checkpoint-origin",
            Self::Unsigned(_) => "verify/checkpoint-unsigned",
            Self::Signature(_) => "verify/checkpoint-signature",
            Self::Quorum { .. } => "verify/witness-quorum",
            Self::Rollback { .. } => "verify/log-rollback",
            Self::Fork(_) => "verify/log-fork",
            Self::Trust(_) => "verify/trust",
        }
    }

    /// What to do.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Note(_) | Self::Signature(_) | Self::Unsigned(_) => {
                "the checkpoint file was changed or signed by another key; compare it with a copy from elsewhere"
            }
            Self::Origin { .. } => "this workspace and this trust file belong to different logs",
            Self::Quorum { .. } => {
                "have witnesses cosign (`seaworthy log consistency`, `seaworthy log publish`), or lower `quorum` in the trust file if that is your decision"
            }
            Self::Rollback { .. } | Self::Fork(_) => "the log was rewritten since you last looked: keep both checkpoints as evidence",
            Self::Trust(cause) => cause.hint(),
        }
    }
}

/// A witness' word that it saw this checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cosigned {
    /// The witness.
    pub witness: String,
    /// When, by the witness' clock, seconds since 1970.
    pub time_s: u64,
}

/// A checkpoint whose signatures hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedCheckpoint {
    /// Origin, size, root.
    pub checkpoint: Checkpoint,
    /// Witnesses of the trust file that cosigned it, each once, with its latest time.
    pub cosigned: Vec<Cosigned>,
}

impl VerifiedCheckpoint {
    /// The latest time a witness vouches for, seconds since 1970.
    #[must_use]
    pub fn witnessed_s(&self) -> Option<u64> {
        self.cosigned.iter().map(|cosigned| cosigned.time_s).max()
    }
}

/// Checks a checkpoint note against the trust file: origin, log signature, cosignatures, quorum.
pub fn verify_checkpoint(note: &[u8], trust: &TrustRoot) -> Result<VerifiedCheckpoint, CheckpointError> {
    let (checkpoint, note) = Checkpoint::parse(note)?;
    if checkpoint.origin != trust.log.origin {
        return Err(CheckpointError::Origin { found: checkpoint.origin, trusted: trust.log.origin.clone() });
    }
    let log = trust.log_key()?;
    let mut signed = false;
    for signature in note.of_key(&log) {
        holds(&log, note.text.as_bytes(), &signature.bytes)?;
        signed = true;
    }
    if !signed {
        return Err(CheckpointError::Unsigned(log.name().to_owned()));
    }
    let mut cosigned = Vec::new();
    for witness in trust.witness_keys()? {
        if let Some(time_s) = cosignature_time(&note, &witness)? {
            cosigned.push(Cosigned { witness: witness.name().to_owned(), time_s });
        }
    }
    if cosigned.len() < trust.quorum {
        return Err(CheckpointError::Quorum { got: cosigned.len(), want: trust.quorum });
    }
    Ok(VerifiedCheckpoint { checkpoint, cosigned })
}

/// The latest time at which `witness` cosigned `note`; an error if any of its lines fails.
fn cosignature_time(note: &Note, witness: &VerifierKey) -> Result<Option<u64>, CheckpointError> {
    let mut latest = None;
    for signature in note.of_key(witness) {
        let (time_s, bytes) =
            note::split_cosignature(&signature.bytes).map_err(|_| CheckpointError::Signature(witness.name().to_owned()))?;
        holds(witness, &note::cosignature_message(time_s, &note.text), &bytes)?;
        latest = latest.max(Some(time_s));
    }
    Ok(latest)
}

fn holds(key: &VerifierKey, message: &[u8], signature: &[u8]) -> Result<(), CheckpointError> {
    let refuse = || CheckpointError::Signature(key.name().to_owned());
    let public = VerifyingKey::from_bytes(key.public()).map_err(|_| refuse())?;
    PublicKey::Ed25519(public).verify(message, signature).map_err(|_| refuse())
}

/// Whether `key` signed a checkpoint note of the log `origin`, and no line under its name is wrong.
#[must_use]
pub fn is_signed_by(note: &str, origin: &str, key: &PublicKey) -> bool {
    let Ok(key) = verifier_key(origin, KeyKind::Ed25519, key) else { return false };
    let Ok((checkpoint, note)) = Checkpoint::parse(note.as_bytes()) else { return false };
    let mut lines = note.of_key(&key).peekable();
    checkpoint.origin == origin && lines.peek().is_some() && lines.all(|line| holds(&key, note.text.as_bytes(), &line.bytes).is_ok())
}

/// Checks that `now` continues `before`, from a consistency proof (C2SP tlog, RFC 6962 §2.1.2).
pub fn verify_continuation(before: &Checkpoint, now: &Checkpoint, proof: &[Digest]) -> Result<(), CheckpointError> {
    if now.size < before.size {
        return Err(CheckpointError::Rollback { before: before.size, now: now.size });
    }
    let consistent =
        before.origin == now.origin && merkle::verify_consistency(before.size, &before.root, now.size, &now.root, proof).is_ok();
    if consistent { Ok(()) } else { Err(CheckpointError::Fork(before.size)) }
}

/// The verifier key of a public key under a name.
pub fn verifier_key(name: &str, kind: KeyKind, key: &PublicKey) -> Result<VerifierKey, CheckpointError> {
    match key {
        PublicKey::Ed25519(key) => Ok(VerifierKey::new(name, kind, key.to_bytes())?),
        PublicKey::P256(_) => Err(CheckpointError::Note(NoteError::Key("it is not an Ed25519 key"))),
    }
}

/// Signs a note's text under `name`: the whole note.
pub(crate) fn sign_note(text: &str, name: &str, key: &PrivateKey) -> Result<String, KeyError> {
    let refuse = |cause: CheckpointError| KeyError::Malformed("log", cause.to_string());
    let verifier = verifier_key(name, KeyKind::Ed25519, &key.public()).map_err(refuse)?;
    let signature = NoteSignature { name: name.to_owned(), key_id: verifier.key_id(), bytes: key.sign(text.as_bytes())? };
    Ok(Note { text: text.to_owned(), signatures: vec![signature] }.format())
}

#[cfg(test)]
mod tests;
