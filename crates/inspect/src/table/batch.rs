//! A batch of rows: typed views of its columns, numbers and texts of its cells.
//!
//! **Invariant:** a column that a row's file lacks reads as nulls.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::DataType;

use super::{Encoding, is_null_text, parse_boolean, parse_number};

/// Rows of one file.
pub struct Batch {
    file: usize,
    first_row: u64,
    rows: usize,
    columns: Vec<Option<(ArrayRef, Encoding)>>,
}

/// One column of a batch, as its file types it.
pub enum Column<'a> {
    /// The file has no such column.
    Absent,
    /// Only nulls.
    Empty,
    /// Integers.
    Integers(&'a Int64Array),
    /// Floating-point numbers.
    Numbers(&'a Float64Array),
    /// Booleans.
    Booleans(&'a BooleanArray),
    /// Instants.
    Timestamps(&'a TimestampMicrosecondArray),
    /// Strings of a typed file.
    Strings(&'a StringArray),
    /// Cells of untyped text.
    Texts(&'a StringArray),
    /// JSON text of each cell.
    Json(&'a StringArray),
    /// Lists, structures, bytes.
    Nested(&'a ArrayRef),
}

impl Batch {
    pub(super) fn new(file: usize, first_row: u64, rows: usize, columns: Vec<Option<(ArrayRef, Encoding)>>) -> Self {
        Self { file, first_row, rows, columns }
    }

    /// Place of the file in the dataset.
    #[must_use]
    pub fn file(&self) -> usize {
        self.file
    }

    /// Row of the batch's first row within its file.
    #[must_use]
    pub fn first_row(&self) -> u64 {
        self.first_row
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Row within the file of a row of this batch.
    #[must_use]
    pub fn row(&self, row: usize) -> u64 {
        self.first_row.saturating_add(u64::try_from(row).unwrap_or(u64::MAX))
    }

    /// View of the column with this place among those asked for.
    #[must_use]
    pub fn column(&self, place: usize) -> Column<'_> {
        let Some((array, encoding)) = self.columns.get(place).and_then(Option::as_ref) else { return Column::Absent };
        match array.data_type() {
            DataType::Null => Column::Empty,
            DataType::Int64 => Column::Integers(array.as_primitive::<Int64Type>()),
            DataType::Float64 => Column::Numbers(array.as_primitive::<Float64Type>()),
            DataType::Boolean => Column::Booleans(array.as_boolean()),
            DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, None) => {
                Column::Timestamps(array.as_primitive::<TimestampMicrosecondType>())
            }
            DataType::Utf8 => match encoding {
                Encoding::Native => Column::Strings(array.as_string::<i32>()),
                Encoding::Text => Column::Texts(array.as_string::<i32>()),
                Encoding::Json => Column::Json(array.as_string::<i32>()),
            },
            _ => Column::Nested(array),
        }
    }

    /// Cells as f64. Nulls, NaN and what is no number are `None`; booleans are 0 and 1.
    #[must_use]
    pub fn numbers(&self, place: usize) -> Vec<Option<f64>> {
        let text = |text: &str| parse_number(text).or_else(|| parse_boolean(text).map(f64::from));
        let mut cells: Vec<Option<f64>> = match self.column(place) {
            #[expect(clippy::cast_precision_loss, reason = "statistics and models are f64; integers beyond 2^53 are rounded")]
            Column::Integers(array) => array.iter().map(|cell| cell.map(|value| value as f64)).collect(),
            Column::Numbers(array) => array.iter().collect(),
            Column::Booleans(array) => array.iter().map(|cell| cell.map(f64::from)).collect(),
            #[expect(clippy::cast_precision_loss, reason = "microseconds until the year 2255 are exact in f64")]
            Column::Timestamps(array) => array.iter().map(|cell| cell.map(|value| value as f64)).collect(),
            Column::Texts(array) | Column::Json(array) => array.iter().map(|cell| cell.and_then(text)).collect(),
            Column::Absent | Column::Empty | Column::Strings(_) | Column::Nested(_) => Vec::new(),
        };
        cells.resize(self.rows, None);
        for cell in &mut cells {
            *cell = cell.filter(|value| !value.is_nan());
        }
        cells
    }

    /// Cells as text, one spelling a value: integers without fraction, `true` and `false`. Nulls and NaN are `None`.
    #[must_use]
    pub fn texts(&self, place: usize) -> Vec<Option<Cow<'_, str>>> {
        let mut cells: Vec<Option<Cow<'_, str>>> = match self.column(place) {
            Column::Integers(array) => array.iter().map(|cell| cell.map(|value| Cow::Owned(value.to_string()))).collect(),
            Column::Numbers(array) => {
                array.iter().map(|cell| cell.filter(|value| !value.is_nan()).map(|value| Cow::Owned(value.to_string()))).collect()
            }
            Column::Booleans(array) => array.iter().map(|cell| cell.map(|value| Cow::Owned(value.to_string()))).collect(),
            Column::Timestamps(array) => array.iter().map(|cell| cell.map(|value| Cow::Owned(value.to_string()))).collect(),
            Column::Strings(array) | Column::Json(array) => array.iter().map(|cell| cell.map(Cow::Borrowed)).collect(),
            Column::Texts(array) => array.iter().map(|cell| cell.filter(|text| !is_null_text(text)).map(Cow::Borrowed)).collect(),
            Column::Absent | Column::Empty | Column::Nested(_) => Vec::new(),
        };
        cells.resize(self.rows, None);
        cells
    }
}
