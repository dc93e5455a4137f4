//! What checks yield: findings, and the facts that gates decide on.
//!
//! **Invariant:** a check that could not run yields an error or a `Fail` finding, never silence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warning,
    /// Breaks a declared rule.
    Error,
    /// Sign of an attack or of broken integrity.
    Critical,
}

/// One row that a check points at.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RowRef {
    /// File within the dataset.
    pub file: String,
    /// Row, from 0, within that file.
    pub index: u64,
    /// Strength, larger is worse; 1 for yes-or-no rules.
    pub score: f64,
}

/// Something a check found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name of the check, for instance `data_schema`.
    pub check: String,
    /// Severity.
    pub severity: Severity,
    /// What it is about, for instance `column:AGEP`.
    pub subject: String,
    /// One line for people.
    pub message: String,
    /// Measured values by name.
    pub evidence: BTreeMap<String, Value>,
    /// The first offending rows, at most [`crate::limits::FINDING_ROWS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowRef>,
}

/// The result of one check on one subject.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckReport {
    /// Stable name of the check.
    pub check: String,
    /// Parameters it ran with, so that the run can be repeated.
    pub parameters: BTreeMap<String, Value>,
    /// Numbers and facts for gates, by stable name.
    pub facts: BTreeMap<String, Value>,
    /// What it found.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// The worst severity, or `None` if nothing was found.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}
