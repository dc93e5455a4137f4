//! What a run can fail with: one struct with a stable code, a message and what to do next.
//!
//! **Invariant:** every fault has a code, and a kind that decides the exit code in one place.

use seaworthy_core::decision::Reason;
use seaworthy_core::ports::PortError;
use seaworthy_core::workflow::retry::RetryCause;

/// What sort of fault it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// A decision said no (exit code 1).
    Denied,
    /// A step's own body failed, timed out or was cancelled (exit code 1).
    Body,
    /// Something the user wrote or has not set up (exit code 3).
    Configuration,
    /// Evidence or bytes are not what they were (exit code 4).
    Integrity,
    /// The machine or the product failed (exit code 70).
    Internal,
}

/// Why a run, or a part of it, did not go on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// Sort of fault.
    pub kind: FaultKind,
    /// Stable code, for instance `lock/changed`.
    pub code: String,
    /// One line.
    pub message: String,
    /// What to do next, one line; may be empty.
    pub hint: String,
    /// The reasons of a denial.
    pub reasons: Vec<Reason>,
    /// What it was, if it is something that a step may declare as worth another attempt.
    pub(crate) retry: Option<RetryCause>,
}

impl EngineError {
    pub(crate) fn new(kind: FaultKind, code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, code: code.to_owned(), message: message.into(), hint: hint.into(), reasons: Vec::new(), retry: None }
    }

    /// A fault in what the user wrote or has not set up.
    pub fn configuration(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(FaultKind::Configuration, code, message, hint)
    }

    /// Evidence or bytes are not what they were.
    pub fn integrity(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(FaultKind::Integrity, code, message, hint)
    }

    /// The machine or the product failed.
    pub fn internal(code: &str, cause: impl std::fmt::Display) -> Self {
        Self::new(
            FaultKind::Internal,
            code,
            cause.to_string(),
            "mend the cause, then run again: what was recorded is safe, and finished steps do not run again",
        )
    }

    pub(crate) fn body(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(FaultKind::Body, code, message, hint)
    }

    pub(crate) fn denied(code: &str, message: impl Into<String>, reasons: Vec<Reason>) -> Self {
        let hint = reasons.first().map(|reason| reason.hint.clone()).unwrap_or_default();
        Self { kind: FaultKind::Denied, code: code.to_owned(), message: message.into(), hint, reasons, retry: None }
    }

    pub(crate) fn retryable(self, cause: RetryCause) -> Self {
        Self { retry: Some(cause), ..self }
    }

    /// The exit code of the command line for this fault.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self.kind {
            FaultKind::Denied | FaultKind::Body => 1,
            FaultKind::Configuration => 3,
            FaultKind::Integrity => 4,
            FaultKind::Internal => 70,
        }
    }
}

impl From<PortError> for EngineError {
    fn from(error: PortError) -> Self {
        Self::internal("engine/port", error)
    }
}
