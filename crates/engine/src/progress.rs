//! What a run tells whoever watches it: one update a change of state.
//!
//! in: state changes of the run; out: calls of [`Progress`].
//! **Invariant:** watching cannot change or stop a run.

use seaworthy_core::decision::Reason;
use serde::Serialize;

/// A state that a person or a machine is told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Waits for the steps it needs.
    Waiting,
    /// Being authorized, its inputs verified.
    Authorizing,
    /// Its body runs.
    Running,
    /// Its outputs are examined, attested and gated.
    Attesting,
    /// Committed.
    Committed,
    /// Committed outputs of an earlier run were reused, unchanged by digest.
    Reused,
    /// A decision said no.
    Denied,
    /// The body failed.
    Failed,
    /// The body ran out of time.
    TimedOut,
    /// Stopped by the user.
    Cancelled,
    /// Not started, because a step it needs did not commit.
    Skipped,
}

/// One change of state.
#[derive(Clone, Debug, Serialize)]
pub struct StepUpdate {
    /// The run.
    pub run: String,
    /// Step name.
    pub step: String,
    /// Attempt; 0 while none has begun.
    pub attempt: u32,
    /// New state.
    pub state: StepState,
    /// Milliseconds since the run began.
    pub elapsed_ms: u64,
    /// One line: an error's message, an output's digest …
    pub detail: String,
    /// Stable code of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Reasons of a denial.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

/// Watches a run.
pub trait Progress: Sync {
    /// The run has begun with these steps, in plan order.
    fn run_started(&self, run: &str, steps: &[String]);
    /// A step changed its state.
    fn step(&self, update: &StepUpdate);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn run_started(&self, _run: &str, _steps: &[String]) {}
    fn step(&self, _update: &StepUpdate) {}
}
