//! The formats that are read: extension → survey of a file, reader of its rows.
//!
//! **Invariant:** a format that is not read is refused by name, never guessed from content.

use arrow_array::ArrayRef;

use super::input::Input;
use super::{FileColumn, TableError, csv, jsonl, parquet};

/// Rows of one file, some columns of it.
pub(crate) trait RowReader {
    /// The next rows: their number, and one array for each column asked for.
    fn next_rows(&mut self) -> Result<Option<(usize, Vec<ArrayRef>)>, TableError>;
}

/// A file format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Csv,
    JsonLines,
    Parquet,
}

impl Format {
    pub(crate) fn of(name: &str) -> Result<Self, TableError> {
        let lower = name.to_ascii_lowercase();
        let extension = lower.rsplit(['.', '/']).next().unwrap_or_default();
        match extension {
            "csv" => Ok(Self::Csv),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            "parquet" | "pq" => Ok(Self::Parquet),
            "gz" | "zst" | "bz2" | "xz" | "zip" | "lz4" => Err(TableError::Unsupported {
                file: name.to_owned(),
                reason: format!("compressed files (`.{extension}`) are not supported yet"),
            }),
            _ if lower.contains('.') => {
                Err(TableError::Unsupported { file: name.to_owned(), reason: format!("format `.{extension}` is not supported") })
            }
            _ => {
                Err(TableError::Unsupported { file: name.to_owned(), reason: String::from("a file without extension has no known format") })
            }
        }
    }

    /// Columns and number of rows.
    pub(crate) fn survey(self, name: &str, input: &Input) -> Result<(Vec<FileColumn>, u64), TableError> {
        match self {
            Self::Csv => csv::survey(name, input),
            Self::JsonLines => jsonl::survey(name, input),
            Self::Parquet => parquet::survey(name, input),
        }
    }

    /// A reader of the columns at the places `wanted`.
    pub(crate) fn read(
        self,
        name: &str,
        input: &Input,
        columns: &[FileColumn],
        wanted: &[usize],
        batch_rows: usize,
    ) -> Result<Box<dyn RowReader>, TableError> {
        Ok(match self {
            Self::Csv => Box::new(csv::CsvRows::open(name, input, columns, wanted, batch_rows)?),
            Self::JsonLines => Box::new(jsonl::JsonRows::open(name, input, columns, wanted, batch_rows)),
            Self::Parquet => Box::new(parquet::ParquetRows::open(name, input, wanted, batch_rows)?),
        })
    }
}
