//! A signer that answers requests of other processes: its policy over time, and its counts.
//!
//! in: the content of a request's frame, how the peer is kept apart; out: the content of the answer.
//! **Invariant:** every request has one answer; a refusal changes nothing but the count of refusals. Of one tree size this
//! signer signs one root, and never a size below the newest: what it signed before it signs again, byte for byte.

use std::collections::{BTreeMap, VecDeque};

use seaworthy_core::digest::{Digest, hex_encode};
use seaworthy_core::id::StepRunId;
use seaworthy_core::limits::SIGNER_CHECKPOINTS_MAX;
use seaworthy_core::ports::{CheckpointRequest, KeyRole, Signer as _, SignerIsolation};

use super::signer::{LocalSigner, SignError};
use super::wire::{Answer, Attest, Hello, Request, Status, read};

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
        let answered = read::<Request<'_>>(content).map_err(ServiceRefusal::Request).and_then(|request| match request {
            Request::Hello {} => self.hello(isolation),
            Request::Attest(attest) => self.attest(&attest, isolation),
            Request::Checkpoint { origin, size, root } => self.checkpoint(&CheckpointRequest { origin, size, root }),
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
        Answer::Refused { code: why.code().to_owned(), message: why.to_string() }
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

    fn checkpoint(&mut self, request: &CheckpointRequest) -> Result<Answer, ServiceRefusal> {
        let known = self.signed.iter().find(|(size, _)| *size == request.size);
        let again = match known {
            Some((_, root)) if *root == request.root => true,
            Some(_) => return Err(ServiceRefusal::Fork { size: request.size }),
            None => false,
        };
        if let Some(newest) = self.status.size.filter(|newest| !again && request.size <= *newest) {
            return Err(ServiceRefusal::Rollback { size: request.size, newest });
        }
        let note = self.signer.sign_checkpoint(request)?;
        *self.status.signed.entry(KeyRole::Log).or_default() += 1;
        if !again {
            self.status.size = Some(request.size);
            self.signed.push_back((request.size, request.root));
            if self.signed.len() > SIGNER_CHECKPOINTS_MAX {
                self.signed.pop_front();
            }
        }
        Ok(Answer::Checkpoint { note })
    }
}

#[cfg(test)]
mod tests;
