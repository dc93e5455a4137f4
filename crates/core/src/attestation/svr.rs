//! in-toto simple verification result v0.2: a gate's answer, for consumers that know nothing of our gates.
//!
//! in: a [`GateDecision`]; out: the statement, whole decision included as the extension field `seaworthy_decision`.
//! **Invariant:** the listed properties follow from the decision: no property without a passed check, no
//! `…_GATE_PASSED` without a passed gate.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;
use super::{ReadError, SVR};
use crate::decision::GateDecision;
use crate::envelope::{ResourceDescriptor, Statement};

/// What the statement says.
#[derive(Clone, PartialEq, Debug)]
pub struct GateResult {
    /// SPIFFE id of the runner that evaluated the gate.
    pub verifier: String,
    /// When, claimed.
    pub time: Timestamp,
    /// The decision.
    pub decision: GateDecision,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Predicate {
    verifier: Verifier,
    time_created: Timestamp,
    properties: Vec<String>,
    #[serde(rename = "seaworthy_decision")]
    decision: GateDecision,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verifier {
    id: String,
    policies: Vec<ResourceDescriptor>,
}

fn properties(decision: &GateDecision) -> Vec<String> {
    let gate = decision.gate.to_ascii_uppercase();
    let checks = decision.checks.iter().filter(|(_, check)| check.pass);
    let mut properties: Vec<String> = checks.map(|(name, _)| format!("SEAWORTHY_{gate}_CHECK_{}", name.to_ascii_uppercase())).collect();
    if decision.pass {
        properties.push(format!("SEAWORTHY_{gate}_GATE_PASSED"));
    }
    properties
}

impl GateResult {
    /// The statement about `subjects`, the artifacts the gate let through or held back.
    #[must_use]
    pub fn statement(&self, subjects: Vec<ResourceDescriptor>) -> Statement {
        let policies = vec![policy(&self.decision)];
        let predicate = Predicate {
            verifier: Verifier { id: self.verifier.clone(), policies },
            time_created: self.time,
            properties: properties(&self.decision),
            decision: self.decision.clone(),
        };
        super::statement(SVR, subjects, &predicate)
    }

    /// Reads a gate's answer.
    pub fn read(statement: &Statement) -> Result<Self, ReadError> {
        let predicate: Predicate = super::predicate(statement, SVR)?;
        let Predicate { verifier, time_created, properties: listed, decision } = predicate;
        if listed != properties(&decision) {
            return Err(ReadError::Inconsistent("the properties do not follow from the decision".to_owned()));
        }
        if verifier.policies != [policy(&decision)] {
            return Err(ReadError::Inconsistent("the policy is not the one that decided".to_owned()));
        }
        if decision.pass != decision.reasons.is_empty() {
            return Err(ReadError::Inconsistent("a pass has no reasons and a refusal has at least one".to_owned()));
        }
        Ok(Self { verifier: verifier.id, time: time_created, decision })
    }
}

fn policy(decision: &GateDecision) -> ResourceDescriptor {
    super::blob(&decision.gate, &decision.policy)
}
