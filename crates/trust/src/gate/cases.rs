//! The cases of a gate: inputs with the answer they must get.
//!
//! in: `cases/*.json`; out: one [`CaseResult`] each.
//! **Invariant:** a denied case names exactly the rules that deny it, and a fault of the gate itself never counts as a
//! denial, so that a broken gate cannot satisfy its cases.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_core::decision::GateDecision;
use seaworthy_core::digest::Digest;
use seaworthy_core::json_strict;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Expectation, Gate};

/// Reasons that say the gate is broken, not that the evidence is bad.
const FAULTS: [&str; 6] =
    ["gate/timeout", "gate/policy_error", "gate/undefined", "gate/result_shape", "gate/check_missing", "gate/check_disagrees"];
/// Never a case's point either.
const FAULT_UNKNOWN: &str = "gate/check_unknown";

/// What a case expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// The gate passes.
    Pass,
    /// The gate denies.
    Deny,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case shows.
    pub name: String,
    /// The answer it must get.
    pub expect: Expected,
    /// For a denied case: the rules of all its reasons, no more and no fewer (a check's name, `contract`, a digest's
    /// path, `input`, or the rule of a `deny` entry).
    #[serde(default)]
    pub deny_checks: BTreeSet<String>,
    /// Digests under judgement, where they are to differ from those the input names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expectation: BTreeMap<String, Digest>,
    /// The input.
    pub input: Value,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// Whether the gate answered as expected.
    pub ok: bool,
    /// What was expected.
    pub expected: Expected,
    /// What was wrong; empty if `ok`.
    pub message: String,
    /// The decision itself.
    pub decision: GateDecision,
}

impl Case {
    pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<Self, String> {
        let case: Self = json_strict::parse_typed(bytes).map_err(|error| error.to_string())?;
        let denies = case.expect == Expected::Deny;
        if case.name.is_empty() {
            return Err(format!("`{file}` has an empty name"));
        }
        if denies == case.deny_checks.is_empty() {
            return Err("`deny_checks` names the denying rules of a denied case, and only of such".to_owned());
        }
        Ok(case)
    }

    /// The digests under judgement in this case.
    #[must_use]
    pub fn expectation(&self, gate: &Gate) -> Expectation {
        let named = Expectation::of_case(gate, &self.input);
        self.expectation.iter().fold(named, |all, (name, digest)| all.with(name, *digest))
    }
}

/// Decides every case and compares.
#[must_use]
pub fn test_cases(gate: &Gate, cases: &[Case]) -> Vec<CaseResult> {
    cases.iter().map(|case| test_case(gate, case)).collect()
}

pub(super) fn test_case(gate: &Gate, case: &Case) -> CaseResult {
    let decision = gate.decide(&json_strict::to_canonical(&case.input), &case.expectation(gate));
    let message = verdict(case, &decision);
    CaseResult { name: case.name.clone(), ok: message.is_empty(), expected: case.expect, message, decision }
}

fn verdict(case: &Case, decision: &GateDecision) -> String {
    let fault = decision.reasons.iter().find(|r| FAULTS.contains(&r.code.as_str()) || r.code == FAULT_UNKNOWN);
    if let Some(fault) = fault {
        return format!("the gate is at fault: {}: {}", fault.code, fault.message);
    }
    let rules: BTreeSet<&str> = decision.reasons.iter().map(|reason| reason.rule.as_str()).collect();
    let wanted: BTreeSet<&str> = case.deny_checks.iter().map(String::as_str).collect();
    let list = |set: &BTreeSet<&str>| set.iter().copied().collect::<Vec<_>>().join(", ");
    match (case.expect, decision.pass) {
        (Expected::Pass, true) => String::new(),
        (Expected::Pass, false) => format!("denied by {}, expected to pass", list(&rules)),
        (Expected::Deny, true) => format!("passed, expected to be denied by {}", list(&wanted)),
        (Expected::Deny, false) if rules == wanted => String::new(),
        (Expected::Deny, false) => {
            format!("denied by {}, expected {}", list(&rules), list(&wanted))
        }
    }
}
