//! How a run ended, for people and for `--json`.
//!
//! in: the ends of its steps; out: [`RunReport`].

use seaworthy_core::decision::Reason;
use serde::Serialize;

use crate::error::{EngineError, FaultKind};
use crate::progress::StepState;
use crate::run::RunContext;
use crate::schedule::StepResult;

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Every step committed.
    Succeeded,
    /// A decision said no.
    Denied,
    /// A step failed.
    Failed,
    /// The user stopped it.
    Cancelled,
}

impl RunState {
    /// The name in leaves.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How one step ended.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Step name.
    pub step: String,
    /// Final state.
    pub state: StepState,
    /// What it made, one line.
    pub detail: String,
    /// Stable code of its error.
    pub code: Option<String>,
    /// Its error.
    pub message: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Reasons of a denial.
    pub reasons: Vec<Reason>,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The run.
    pub run: String,
    /// State.
    pub state: RunState,
    /// Steps in plan order.
    pub steps: Vec<StepReport>,
    /// The model version that was registered or reused: `NAME@VERSION`.
    pub model: Option<String>,
    /// Exit code of the command line.
    #[serde(skip)]
    pub exit_code: u8,
}

impl RunReport {
    pub(crate) fn new(run: &RunContext<'_>, ends: Vec<StepResult>) -> Self {
        let errors: Vec<&EngineError> = ends.iter().filter_map(|end| end.error.as_ref()).collect();
        let state = if ends.iter().any(|end| end.state == StepState::Cancelled) {
            RunState::Cancelled
        } else if errors.iter().any(|error| error.kind == FaultKind::Denied) {
            RunState::Denied
        } else if errors.is_empty() && ends.iter().all(|end| matches!(end.state, StepState::Committed | StepState::Reused)) {
            RunState::Succeeded
        } else {
            RunState::Failed
        };
        let exit_code = if state == RunState::Succeeded { 0 } else { errors.iter().map(|error| error.exit_code()).max().unwrap_or(1) };
        let model = run.model.lock().ok().and_then(|model| model.as_ref().map(|(name, version)| format!("{name}@{version}")));
        let steps = ends.into_iter().map(step_report).collect();
        Self { run: run.id.0.clone(), state, steps, model, exit_code }
    }
}

fn step_report(end: StepResult) -> StepReport {
    let error = end.error.as_ref();
    StepReport {
        step: end.step,
        state: end.state,
        detail: end.detail,
        code: error.map(|error| error.code.clone()),
        message: error.map(|error| error.message.clone()),
        hint: error.map(|error| error.hint.clone()),
        reasons: error.map(|error| error.reasons.clone()).unwrap_or_default(),
    }
}
