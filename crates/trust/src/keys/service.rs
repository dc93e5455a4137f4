//! A signer that answers requests of other processes: its policy over time, and its counts.
//!
//! in: the content of a request's frame, how the peer is kept apart; out: the content of the answer.
//! **Invariant:** every request has one answer; a refusal changes nothing but the count of refusals. Of one tree size this
//! signer signs one root, and never a size below the newest: what it signed before it signs again, byte for byte. What it is
//! to remember from before its life, its own log key must have signed.

use std::collections::{BTreeMap, VecDeque};

use seaworthy_core::digest::{Digest, hex_encode};
use seaworthy_core::id::StepRunId;
use seaworthy_core::limits::{SIGNER_CHECKPOINTS_MAX, SIGNER_GROWTH_MAX};
use seaworthy_core::note::Checkpoint;
use seaworthy_core::ports::{CheckpointRequest, KeyRole, Signer as _, SignerIsolation};

use super::signer::{LocalSigner, SignError};
use super::wire::{Answer, Attest, Hello, Request, Status, read};

/// Characters of a refusal.
const MESSAGE_CHARS_MAX: usize = 500;

/// Why a checkpoint was refused, or a request was none.
#[derive(Debug, thiserror::Error)]
pub enum ServiceRefusal {
    /// The signer's policy.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Another root for a size that was signed.
    #[error("another root of {size} leaves was signed before: this would fork the log")]
    Fork {
        /// The size.
        size: u64,
    },
    /// Fewer leaves than were signed.
    #[error("{size} leaves, but {newest} were signed before: this would take leaves back")]
    Rollback {
        /// The size asked for.
        size: u64,
        /// The newest signed.
        newest: u64,
    },
    /// Far more leaves than were signed.
    #[error("{size} leaves, but {newest} is the newest checkpoint known here: that is no commit")]
    Growth {
        /// The size asked for.
        size: u64,
        /// The newest known.
        newest: u64,
    },
    /// The same again, of what was not signed.
    #[error("a checkpoint of {size} leaves with this root was not signed in this signer's life")]
    Unknown {
        /// The size asked for.
        size: u64,
    },
    /// A note to remember that this log's key did not sign.
    #[error("the note to remember is not signed by the key of this log")]
    Unsigned,
    /// Not a request of this protocol.
    #[error("this is no request: {0}")]
    Request(String),
    /// Over the bound.
    #[error("a request of {0} bytes is over the limit")]
    TooLarge(usize),
}

impl ServiceRefusal {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Sign(cause) => cause.code(),
            Self::Fork { .. } => "sign/fork",
            Self::Rollback { .. } => "sign/rollback",
            Self::Growth { .. } => "sign/growth",
            Self::Unknown { .. } => "sign/unknown",
            Self::Unsigned => "sign/unsigned",
            Self::Request(_) => "sign/request",
            Self::TooLarge(_) => "sign/too-large",
        }
    }
}

/// Keys, policy and memory of a signer's process.
#[derive(Debug)]
pub struct SignerService {
    signer: LocalSigner,
    status: Status,
    /// Size and root of the checkpoints signed last, oldest first.
    signed: VecDeque<(u64, Digest)>,
}

impl SignerService {
    /// Serves the keys of `signer`.
    #[must_use]
    pub fn new(signer: LocalSigner, memory_locked: bool) -> Self {
        Self { signer, status: Status { memory_locked, ..Status::default() }, signed: VecDeque::new() }
    }

    /// Answers the content of one frame, to a peer from which this signer is kept apart like this.
    pub fn answer(&mut self, content: &[u8], isolation: &SignerIsolation) -> Answer {
        // of its own keys it speaks itself
        let isolation = &SignerIsolation { keys: self.signer.key_hints(), ..isolation.clone() };
        let answered = read::<Request<'_>>(content).map_err(ServiceRefusal::Request).and_then(|request| match request {
            Request::Hello {} => self.hello(isolation),
            Request::Attest(attest) => self.attest(&attest, isolation),
            Request::Checkpoint { origin, size, root } => self.checkpoint(&CheckpointRequest { origin, size, root }),
            Request::Again { origin, size, root } => self.again(&CheckpointRequest { origin, size, root }),
            Request::Remember { note } => self.remember(&note),
            Request::Status {} => Ok(Answer::Status(self.status.clone())),
        });
        answered.unwrap_or_else(|why| self.refuse(&why))
    }

    /// The answer to a frame that is over the bound.
    pub fn too_large(&mut self, bytes: usize) -> Answer {
        self.refuse(&ServiceRefusal::TooLarge(bytes))
    }

    fn refuse(&mut self, why: &ServiceRefusal) -> Answer {
        self.status.refused += 1;
        // what it echoes is a peer's text
        let message = why.to_string().chars().filter(|char| !char.is_control()).take(MESSAGE_CHARS_MAX).collect();
        Answer::Refused { code: why.code().to_owned(), message }
    }

    fn hello(&self, isolation: &SignerIsolation) -> Result<Answer, ServiceRefusal> {
        let mut keys = BTreeMap::new();
        for role in [KeyRole::User, KeyRole::Runner, KeyRole::Log, KeyRole::Root] {
            if let Ok(der) = self.signer.public_key(role) {
                keys.insert(role, hex_encode(&der));
            }
        }
        Ok(Answer::Hello(Hello { origin: self.signer.origin().to_owned(), keys, isolation: isolation.clone() }))
    }

    fn attest(&mut self, attest: &Attest<'_>, isolation: &SignerIsolation) -> Result<Answer, ServiceRefusal> {
        let step = attest.step.as_deref().map(str::parse::<StepRunId>).transpose();
        let step = step.map_err(|cause| ServiceRefusal::Request(cause.to_string()))?;
        let bundle = self.signer.sign_kept_apart(attest.role, &attest.statement, step.as_ref(), Some(isolation))?;
        *self.status.signed.entry(attest.role).or_default() += 1;
        let pae = bundle.pae_digest();
        Ok(Answer::Signed { signature: hex_encode(&bundle.signature), key_hint: bundle.key_hint, pae })
    }

    /// Whether exactly this was signed before; an error if another root was.
    fn knows(&self, size: u64, root: &Digest) -> Result<bool, ServiceRefusal> {
        match self.signed.iter().find(|(known, _)| *known == size) {
            Some((_, known)) if known == root => Ok(true),
            Some(_) => Err(ServiceRefusal::Fork { size }),
            None => Ok(false),
        }
    }

    fn checkpoint(&mut self, request: &CheckpointRequest) -> Result<Answer, ServiceRefusal> {
        let size = request.size;
        let again = self.knows(size, &request.root)?;
        let newest = self.status.size;
        if let Some(newest) = newest.filter(|newest| !again && size <= *newest) {
            return Err(ServiceRefusal::Rollback { size, newest });
        }
        let newest = newest.unwrap_or_default();
        if size.saturating_sub(newest) > SIGNER_GROWTH_MAX {
            return Err(ServiceRefusal::Growth { size, newest });
        }
        let note = self.signer.sign_checkpoint(request)?;
        *self.status.signed.entry(KeyRole::Log).or_default() += 1;
        if !again {
            self.keep(size, request.root);
        }
        Ok(Answer::Checkpoint { note })
    }

    fn again(&mut self, request: &CheckpointRequest) -> Result<Answer, ServiceRefusal> {
        if !self.knows(request.size, &request.root)? {
            return Err(ServiceRefusal::Unknown { size: request.size });
        }
        self.checkpoint(request)
    }

    /// Takes over what an earlier life signed. What is older than what this one knows adds nothing.
    fn remember(&mut self, note: &str) -> Result<Answer, ServiceRefusal> {
        if !self.signer.signed_by_log(note)? {
            return Err(ServiceRefusal::Unsigned);
        }
        let (checkpoint, _) = Checkpoint::parse(note.as_bytes()).map_err(|_| ServiceRefusal::Unsigned)?;
        let known = self.knows(checkpoint.size, &checkpoint.root)?;
        if !known && self.status.size.is_none_or(|newest| checkpoint.size > newest) {
            self.keep(checkpoint.size, checkpoint.root);
        }
        Ok(Answer::Remembered {})
    }

    fn keep(&mut self, size: u64, root: Digest) {
        self.status.size = Some(size);
        self.signed.push_back((size, root));
        if self.signed.len() > SIGNER_CHECKPOINTS_MAX {
            self.signed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
