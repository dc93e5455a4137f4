//! Deny is a value: decisions of the authorizer and of gates, with their reasons.
//!
//! **Invariant:** whatever is not an explicit allow is a deny; an error in a decision is a deny that says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;

/// Why something was denied: the rule, the missing evidence, what would make it pass.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// Stable code, for instance `authz/no_permit` or `gate/check_failed`.
    pub code: String,
    /// The rule that decided, for instance a policy id or a check's name.
    pub rule: String,
    /// What was found or missing, one line.
    pub message: String,
    /// What would make it pass, one line.
    pub hint: String,
}

/// The answer to an authorization request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Decision {
    /// Allowed, by these policies.
    Allow {
        /// Ids of the permitting policies.
        policies: Vec<String>,
    },
    /// Denied, for these reasons (never empty).
    Deny {
        /// The reasons.
        reasons: Vec<Reason>,
    },
}

impl Decision {
    /// True for an explicit allow.
    #[must_use]
    pub const fn is_allow(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

/// One check of a gate: what was measured against what was wanted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GateCheck {
    /// The check's answer.
    pub pass: bool,
    /// The measured value, recomputed by the engine from the contract's path.
    pub got: Value,
    /// The bound or expectation.
    pub want: Value,
    /// One line for people.
    pub message: String,
}

/// How binding a gate is; set outside the policy text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnforcementLevel {
    /// Reported only.
    Advisory,
    /// A second principal may override, signed and time-boxed.
    SoftMandatory,
    /// Nothing overrides it.
    HardMandatory,
}

/// A gate's recorded answer about exactly one input.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GateDecision {
    /// Gate name.
    pub gate: String,
    /// True only if every required check is present and passed and no deny stands.
    pub pass: bool,
    /// How binding it is.
    pub level: EnforcementLevel,
    /// Every check by name.
    pub checks: BTreeMap<String, GateCheck>,
    /// Reasons of a refusal; empty iff `pass`.
    pub reasons: Vec<Reason>,
    /// Digest of the policy folder that decided.
    pub policy: Digest,
    /// Digest of the canonical input it decided on.
    pub input: Digest,
}
