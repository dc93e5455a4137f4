//! Mutation: what a gate would let pass if its evidence, or the gate itself, were a little different.
//!
//! in: a gate and its cases; out: a [`MutationReport`].
//! **Invariant:** a mutant that still passes (evidence) or that no case notices (policy) is listed; a shipped gate has none.

mod input;
mod policy;

use serde::Serialize;

pub use input::mutate_input;
pub use policy::mutate_policy;

/// One mutation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mutation {
    /// The path in the input, or `line N` of the policy.
    pub place: String,
    /// What was done, for instance `delete` or `>= to >`.
    pub change: String,
}

/// What became of all mutants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MutationReport {
    /// Gate name.
    pub gate: String,
    /// `input` or `policy`.
    pub mutated: &'static str,
    /// The case whose input was mutated; empty for the policy.
    pub case: String,
    /// Mutants made.
    pub total: usize,
    /// Of these, policies that are refused when loaded (and so noticed by nobody's case).
    pub refused: usize,
    /// Mutants that still pass, or that no case notices: each is a hole.
    pub survivors: Vec<Mutation>,
    /// Why nothing could be mutated; empty otherwise. A report with a fault is a failure.
    pub fault: String,
}

impl MutationReport {
    /// True if mutants were made and none survived.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.fault.is_empty() && self.total > 0 && self.survivors.is_empty()
    }
}
