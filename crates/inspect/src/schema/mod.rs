//! Data schemas: what a table must look like. YAML text, or a table to learn from → rules → YAML text.
//!
//! ```yaml
//! rows: {min: 1000}
//! extra_columns: false
//! columns:
//!   AGEP: {type: integer, min: 0, max: 99}
//!   SEX: {type: integer, categories: [1, 2]}
//!   PID: {type: string, pattern: '^[0-9]{8}$', unique: true, nullable: false}
//! ```
//!
//! **Invariant:** parsing is strict: an unknown key, a rule that cannot apply to the column's type, a duplicate key, an anchor
//! or a tag is a fault, and all faults are reported at once.

mod infer;
mod node;
mod parse;
mod write;

pub(crate) use parse::number_text;

use std::collections::BTreeSet;

use regex::Regex;

use crate::table::TableError;

/// Rules for one table.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSchema {
    /// Rules by column, in the order of the schema.
    pub columns: Vec<ColumnRule>,
    /// Whether columns that the schema does not name may occur.
    pub extra_columns: bool,
    /// Fewest rows.
    pub rows_min: Option<u64>,
    /// Most rows.
    pub rows_max: Option<u64>,
}

/// Rules for one column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnRule {
    /// Name.
    pub name: String,
    /// Type of its cells.
    pub data_type: DataType,
    /// Whether cells may be null.
    pub nullable: bool,
    /// Largest share of null cells, 0 to 1.
    pub max_null_fraction: Option<f64>,
    /// Bounds, inclusive.
    pub bounds: Bounds,
    /// The only values allowed, each in the one spelling of its type.
    pub categories: Option<BTreeSet<String>>,
    /// What strings must match.
    pub pattern: Option<Pattern>,
    /// Whether no value may occur twice.
    pub unique: bool,
    /// Whether the column must exist.
    pub required: bool,
}

/// Types of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataType {
    /// 64-bit integers.
    Integer,
    /// Finite numbers.
    Number,
    /// Text.
    String,
    /// True or false.
    Boolean,
    /// ISO 8601 dates, or dates and times.
    Timestamp,
}

impl DataType {
    const ALL: [Self; 5] = [Self::Integer, Self::Number, Self::String, Self::Boolean, Self::Timestamp];

    /// The word used in schemas.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
        }
    }
}

/// Inclusive bounds in the column's own type, so that integers beyond 2^53 compare exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bounds {
    /// No bounds.
    None,
    /// Of an integer column.
    Integer { min: Option<i64>, max: Option<i64> },
    /// Of a number column.
    Number { min: Option<f64>, max: Option<f64> },
    /// Of a timestamp column, microseconds from 1970 UTC.
    Timestamp { min: Option<i64>, max: Option<i64> },
}

/// A regular expression that strings must match somewhere; anchor it with `^` and `$` to match the whole.
#[derive(Clone, Debug)]
pub struct Pattern(pub(crate) Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl ColumnRule {
    /// A rule that demands only the type.
    #[must_use]
    pub fn new(name: &str, data_type: DataType) -> Self {
        Self {
            name: name.to_owned(),
            data_type,
            nullable: true,
            max_null_fraction: None,
            bounds: Bounds::None,
            categories: None,
            pattern: None,
            unique: false,
            required: true,
        }
    }
}

/// One fault of a schema text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFault {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for SchemaFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// Why there is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The text has faults; all of them are listed.
    #[error("the schema has faults: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faults { faults: Vec<SchemaFault> },
    /// The table to learn from cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The table to learn from has a column for which there is no type.
    #[error("column `{column}` holds nested values, for which a schema has no type")]
    Nested { column: String },
}

impl SchemaError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Faults { .. } => "schema/faults",
            Self::Table(error) => error.code(),
            Self::Nested { .. } => "schema/nested",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Faults { .. } => "see docs/src/reference/checks/data_schema.md for the keys of a schema",
            Self::Table(error) => error.hint(),
            Self::Nested { .. } => "flatten the column, or leave it out at the source",
        }
    }
}
