//! How a command fails: code, message, hint, exit code. One shape for all crates' errors.
//!
//! **Invariant:** exit codes: 0 ok · 1 findings or denied · 2 usage · 3 configuration · 4 integrity failure · 70 internal.

use seaworthy_core::decision::Reason;
use seaworthy_engine::error::EngineError;

/// Findings, or denied.
pub(crate) const DENIED: u8 = 1;
/// Usage.
pub(crate) const USAGE: u8 = 2;
/// Configuration.
pub(crate) const CONFIGURATION: u8 = 3;
/// Integrity failure.
pub(crate) const INTEGRITY: u8 = 4;
/// Internal.
pub(crate) const INTERNAL: u8 = 70;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) exit_code: u8,
    pub(crate) reasons: Vec<Reason>,
}

impl Failure {
    pub(crate) fn new(exit_code: u8, code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), hint: hint.into(), exit_code, reasons: Vec::new() }
    }

    pub(crate) fn configuration(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(CONFIGURATION, code, message, hint)
    }

    pub(crate) fn integrity(code: &str, cause: impl std::fmt::Display) -> Self {
        Self::new(INTEGRITY, code, cause.to_string(), "restore the workspace from a copy; nothing here was changed by this command")
    }

    pub(crate) fn internal(code: &str, cause: impl std::fmt::Display) -> Self {
        Self::new(INTERNAL, code, cause.to_string(), "mend the cause, then run the command again: what was recorded is safe")
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(USAGE, "cli/usage", message, hint)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let exit_code = error.exit_code();
        Self { code: error.code, message: error.message, hint: error.hint, exit_code, reasons: error.reasons }
    }
}
