//! Why a table could not be read.
//!
//! **Invariant:** every error names the file or column at fault.

/// Why a table could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// No file was given.
    #[error("the dataset has no files")]
    NoFiles,
    /// The format is not one that is read.
    #[error("`{file}`: {reason}")]
    Unsupported { file: String, reason: String },
    /// The bytes are not what the format demands.
    #[error("`{file}` is malformed: {reason}")]
    Malformed { file: String, reason: String },
    /// Two columns of one file have one name.
    #[error("`{file}` has two columns named `{column}`")]
    DuplicateColumn { file: String, column: String },
    /// A bound was passed.
    #[error("`{file}` has more than {max} {what}")]
    TooLarge { file: String, what: &'static str, max: usize },
    /// The operating system refused a read.
    #[error("`{file}` cannot be read: {reason}")]
    Read { file: String, reason: String },
    /// A column that was asked for does not exist.
    #[error("there is no column `{column}`{}", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownColumn { column: String, near: Option<String> },
    /// A column that must hold numbers holds something else.
    #[error("column `{column}` holds {found}, not numbers")]
    NotNumeric { column: String, found: String },
}

impl TableError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoFiles => "table/no-files",
            Self::Unsupported { .. } => "table/unsupported",
            Self::Malformed { .. } => "table/malformed",
            Self::DuplicateColumn { .. } => "table/duplicate-column",
            Self::TooLarge { .. } => "table/too-large",
            Self::Read { .. } => "table/read",
            Self::UnknownColumn { .. } => "table/unknown-column",
            Self::NotNumeric { .. } => "table/not-numeric",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoFiles => "point the step at a folder or file with .csv, .jsonl or .parquet data",
            Self::Unsupported { .. } => "use .csv, .jsonl, .ndjson, .parquet or .pq, not compressed from outside",
            Self::Malformed { .. } => "write the file again at its source; nothing of it was used",
            Self::DuplicateColumn { .. } => "rename one of the two columns",
            Self::TooLarge { .. } => "split the data into smaller files or tables",
            Self::Read { .. } => "check the disk that holds the artifact store",
            Self::UnknownColumn { .. } => "check the name in seaworthy.yaml against the file",
            Self::NotNumeric { .. } => "encode the column as numbers before the model sees it",
        }
    }
}
