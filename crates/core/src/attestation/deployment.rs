//! Our own `deployment/v1`: a model version offered to an environment under a release index that only grows.
//!
//! in: [`DeploymentClaim`]; out: the statement.
//! **Invariant:** `release_index` is never below `minimum_release_index`: an old deployment cannot be replayed past the floor.

use serde::{Deserialize, Serialize};

use super::{DEPLOYMENT, ReadError, only_subject};
use crate::digest::Digest;
use crate::envelope::{ResourceDescriptor, Statement};
use crate::id::Name;

/// What the statement says; also the shape of its predicate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentClaim {
    /// staging, prod …
    pub environment: Name,
    /// Model name.
    pub model: Name,
    /// Version.
    pub version: u64,
    /// Grows with each deployment of the model, a rollback to an older version included.
    pub release_index: u64,
    /// The floor when it was made.
    pub minimum_release_index: u64,
    /// For instance `pending-canary`.
    pub state: String,
    /// SHA256(PAE) of the deployment it takes over from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Digest>,
}

impl DeploymentClaim {
    /// The statement about the model's artifact.
    #[must_use]
    pub fn statement(&self, model: ResourceDescriptor) -> Statement {
        super::statement(DEPLOYMENT, vec![model], self)
    }

    /// Reads a deployment.
    pub fn read(statement: &Statement) -> Result<Self, ReadError> {
        let claim: Self = super::predicate(statement, DEPLOYMENT)?;
        only_subject(statement)?;
        if claim.release_index < claim.minimum_release_index {
            return Err(ReadError::Inconsistent(format!(
                "release index {} is below the floor {}",
                claim.release_index, claim.minimum_release_index
            )));
        }
        Ok(claim)
    }
}
