//! SLSA verification summary v1: the approval of a model at registration.
//!
//! in: what was verified, against which policy, from which statements; out: the statement.
//! **Invariant:** only a passed verification is ever summed up, and its inputs are named by digest.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;
use super::{ReadError, VSA, only_subject};
use crate::digest::Digest;
use crate::envelope::{ResourceDescriptor, Statement};

/// What the summary says.
#[derive(Clone, PartialEq, Debug)]
pub struct Approval {
    /// Who verified: SPIFFE id.
    pub verifier: String,
    /// When, claimed.
    pub time: Timestamp,
    /// `model:NAME@VERSION`.
    pub resource: String,
    /// The policy it was verified against.
    pub policy: ResourceDescriptor,
    /// SHA256(PAE) of every statement that was verified.
    pub inputs: Vec<Digest>,
    /// Levels reached, for instance `SEAWORTHY_ASSURANCE_L0`.
    pub levels: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Predicate {
    verifier: Verifier,
    time_verified: Timestamp,
    resource_uri: String,
    policy: ResourceDescriptor,
    input_attestations: Vec<ResourceDescriptor>,
    verification_result: Verdict,
    verified_levels: Vec<String>,
    slsa_version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verifier {
    id: String,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verdict {
    Passed,
    Failed,
}

impl Approval {
    /// The statement about the model.
    #[must_use]
    pub fn statement(&self, model: ResourceDescriptor) -> Statement {
        let predicate = Predicate {
            verifier: Verifier { id: self.verifier.clone() },
            time_verified: self.time,
            resource_uri: format!("seaworthy:{}", self.resource),
            policy: self.policy.clone(),
            input_attestations: self.inputs.iter().map(super::statement_reference).collect(),
            verification_result: Verdict::Passed,
            verified_levels: self.levels.clone(),
            slsa_version: "1.1".to_owned(),
        };
        super::statement(VSA, vec![model], &predicate)
    }

    /// Reads an approval; one that did not pass is refused.
    pub fn read(statement: &Statement) -> Result<Self, ReadError> {
        let predicate: Predicate = super::predicate(statement, VSA)?;
        if predicate.verification_result != Verdict::Passed {
            return Err(ReadError::Inconsistent("the verification did not pass".to_owned()));
        }
        only_subject(statement)?;
        let resource = predicate.resource_uri.strip_prefix("seaworthy:");
        let inputs = predicate.input_attestations.iter().map(super::sha256_of).collect::<Option<Vec<_>>>();
        Ok(Self {
            verifier: predicate.verifier.id,
            time: predicate.time_verified,
            resource: resource.ok_or_else(|| ReadError::Malformed("resourceUri names no model".to_owned()))?.to_owned(),
            policy: predicate.policy,
            inputs: inputs.ok_or_else(|| ReadError::Malformed("an input attestation has no sha256".to_owned()))?,
            levels: predicate.verified_levels,
        })
    }
}
