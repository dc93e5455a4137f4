//! Principals: users, services (runner, log) and steps, each with an identity of its own.
//!
//! **Invariant:** a principal's id is opaque or derived from a run; personal data stays in the mutable name table.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::StepRunId;

/// The opaque id that stands in leaves: `user:p-<16 hex>`, or a SPIFFE id for services and steps.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrincipalId(pub String);

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of principal acts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person, known by a user key.
    User,
    /// The runner that executes plans.
    Runner,
    /// One attempt at one step.
    Step,
}

/// Who acts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Principal {
    /// Opaque id.
    pub id: PrincipalId,
    /// Kind.
    pub kind: PrincipalKind,
}

/// `spiffe://<workspace>.seaworthy.internal/<environment>/runner`.
#[must_use]
pub fn runner_id(workspace_id: &str, environment: &str) -> PrincipalId {
    PrincipalId(format!("spiffe://{workspace_id}.seaworthy.internal/{environment}/runner"))
}

/// `spiffe://<workspace>.seaworthy.internal/<environment>/run/<run>/<workflow>/<step>/<attempt>`.
#[must_use]
pub fn step_id(workspace_id: &str, environment: &str, step: &StepRunId) -> PrincipalId {
    PrincipalId(format!(
        "spiffe://{workspace_id}.seaworthy.internal/{environment}/run/{}/{}/{}/{}",
        step.run, step.workflow, step.step, step.attempt
    ))
}
