//! Our own `run-request/v1`: a user asks, under their own key, for one run of one plan.
//!
//! in: [`RunRequest`]; out: the statement.
//!
//! No standard predicate says this: SLSA provenance and in-toto links are the executor's words after the fact, and a
//! verification summary is a verifier's. Without it the only account of who asked for a run would be the runner's own.
//! **Invariant:** the plan, the lock and the workflow file are subjects, hence bound by digest; the nonce makes each request one run.

use serde::{Deserialize, Serialize};

use super::{RUN_REQUEST, ReadError, blob, sha256_of};
use crate::digest::Digest;
use crate::envelope::{ResourceDescriptor, Statement};
use crate::id::{Name, RunId};
use crate::ports::SignerIsolation;

/// What the statement says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunRequest {
    /// The run asked for.
    pub run: RunId,
    /// Digest of the plan.
    pub plan: Digest,
    /// Digest of the lock file.
    pub lock: Digest,
    /// Digest of the workflow file.
    pub workflow: Digest,
    /// dev, staging …
    pub environment: Name,
    /// Hex of random bytes.
    pub nonce: String,
    /// How the signer is kept apart from the runner, in the signer's own words; absent if it is not.
    pub signer: Option<SignerIsolation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    run: RunId,
    environment: Name,
    nonce: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signer: Option<SignerIsolation>,
}

impl RunRequest {
    /// The statement.
    #[must_use]
    pub fn statement(&self) -> Statement {
        let predicate = Predicate {
            run: self.run.clone(),
            environment: self.environment.clone(),
            nonce: self.nonce.clone(),
            signer: self.signer.clone(),
        };
        let subjects = vec![blob("plan", &self.plan), blob("lock", &self.lock), blob("workflow", &self.workflow)];
        super::statement(RUN_REQUEST, subjects, &predicate)
    }

    /// Reads a run request.
    pub fn read(statement: &Statement) -> Result<Self, ReadError> {
        let Predicate { run, environment, nonce, signer } = super::predicate(statement, RUN_REQUEST)?;
        let [plan, lock, workflow] = statement.subject.as_slice() else {
            return Err(ReadError::Subject("expected plan, lock and workflow".to_owned()));
        };
        if nonce.len() < 32 || crate::digest::hex_decode(&nonce).is_none() {
            return Err(ReadError::Malformed("the nonce is not at least 16 bytes in hex".to_owned()));
        }
        let (plan, lock, workflow) = (named(plan, "plan")?, named(lock, "lock")?, named(workflow, "workflow")?);
        Ok(Self { run, plan, lock, workflow, environment, nonce, signer })
    }
}

fn named(subject: &ResourceDescriptor, name: &str) -> Result<Digest, ReadError> {
    let digest = sha256_of(subject).filter(|_| subject.name.as_deref() == Some(name));
    digest.ok_or_else(|| ReadError::Subject(format!("expected `{name}` with a sha256")))
}
