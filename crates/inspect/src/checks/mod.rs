//! The checks: one file or folder each. Data, models, schemas → [`CheckReport`].
//!
//! **Invariant:** a check that cannot run is an error with a code, never an empty report.

pub mod data_schema;

use std::collections::BTreeMap;

use seaworthy_core::finding::CheckReport;
use serde_json::Value;

use crate::table::TableError;

/// Why a check did not run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// The data cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// There is nothing to look at.
    #[error("{what} has no rows")]
    NoRows { what: &'static str },
}

impl CheckError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Table(error) => error.code(),
            Self::NoRows { .. } => "check/no-rows",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Table(error) => error.hint(),
            Self::NoRows { .. } => "give the step data with at least one row",
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
