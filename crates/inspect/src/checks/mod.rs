//! The checks: one file or folder each. Data, models, schemas → [`CheckReport`].
//!
//! **Invariant:** a check that cannot run is an error with a code, never an empty report.

pub mod anomaly;
pub mod data_schema;
pub mod drift;
pub mod explain;
mod features;
pub mod performance;

use std::collections::BTreeMap;

use seaworthy_core::finding::CheckReport;
use serde_json::Value;

use crate::model::ModelError;
use crate::table::TableError;

/// Why a check did not run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// The data cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The model cannot be evaluated on the data.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// There is nothing to look at.
    #[error("{what} has no rows")]
    NoRows { what: &'static str },
    /// No column of the two tables can be compared.
    #[error("the two tables have no column to compare")]
    NothingToCompare,
    /// The model does not fit the task.
    #[error("the model does not fit the task: {reason}")]
    Task { reason: String },
    /// A label that the model cannot predict, or that is no number.
    #[error("column `{label}` holds `{value}`, which is no label of this task")]
    Label { label: String, value: String },
    /// Contributions do not add up.
    #[error("the explanation misses the model's output by {error:e}, at most {max:e} is allowed")]
    Additivity { error: f64, max: f64 },
    /// Not done yet.
    #[error("{what} are not supported yet")]
    Unsupported { what: String },
    /// A check was asked for without something it needs.
    #[error("check `{check}` needs {what}")]
    MissingInput { check: &'static str, what: &'static str },
}

impl CheckError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Table(error) => error.code(),
            Self::Model(error) => error.code(),
            Self::NoRows { .. } => "check/no-rows",
            Self::NothingToCompare => "check/nothing-to-compare",
            Self::Task { .. } => "check/task",
            Self::Label { .. } => "check/label",
            Self::Additivity { .. } => "check/additivity",
            Self::Unsupported { .. } => "check/unsupported",
            Self::MissingInput { .. } => "check/missing-input",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Table(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::NoRows { .. } => "give the step data with at least one row",
            Self::NothingToCompare => "compare tables of the same columns, and do not ignore all of them",
            Self::Task { .. } => "set `task:` of the step to what the model was trained for",
            Self::Label { .. } => "check `label:` of the step, and that model and data name the classes alike",
            Self::Additivity { .. } => "report this with the model: an explanation that does not add up is not shown",
            Self::Unsupported { .. } => "use `shap` on a tree ensemble or a linear model",
            Self::MissingInput { .. } => "name it in the settings of the step",
        }
    }
}

/// A report without findings yet.
fn report(check: &str, parameters: &[(&str, Value)], facts: &[(&str, Value)]) -> CheckReport {
    let named = |pairs: &[(&str, Value)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<BTreeMap<_, _>>();
    CheckReport { check: check.to_owned(), parameters: named(parameters), facts: named(facts), findings: Vec::new() }
}

/// `part / whole`, 0 of nothing is 0.
#[expect(clippy::cast_precision_loss, reason = "counts of rows stay far below 2^53")]
fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
