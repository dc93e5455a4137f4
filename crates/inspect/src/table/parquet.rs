//! Parquet: file → columns in the few arrow types that checks know.
//!
//! Integers become 64-bit, floats and decimals f64, dates and times microseconds UTC, dictionaries their values; lists,
//! structures and bytes stay as they are and count as nested.
//!
//! **Invariant:** a value that does not fit (an unsigned integer over 2^63 − 1) is an error, never a null.
//! **Invariant:** a panic inside the library is caught and is an error of the file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::ArrayRef;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::format::RowReader;
use super::input::Input;
use super::{ColumnKind, Encoding, FileColumn, TableError};

fn malformed(name: &str, reason: &str) -> TableError {
    TableError::Malformed { file: name.to_owned(), reason: reason.replace(['\n', '\r'], " ") }
}

/// Runs library code on hostile bytes: its panics are errors of the file.
fn guarded<T>(name: &str, body: impl FnOnce() -> Result<T, String>) -> Result<T, TableError> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result.map_err(|reason| malformed(name, &reason)),
        Err(_) => Err(malformed(name, "the Parquet reader gave up on it")),
    }
}

fn builder(name: &str, input: &Input) -> Result<ParquetRecordBatchReaderBuilder<Input>, TableError> {
    if input.bytes() == 0 {
        return Err(malformed(name, "it is empty"));
    }
    guarded(name, || ParquetRecordBatchReaderBuilder::try_new(input.clone()).map_err(|error| error.to_string()))
}

/// Kind of an arrow type, and the type that its cells are cast to.
fn kind_of_type(data_type: &DataType) -> (ColumnKind, Option<DataType>) {
    match data_type {
        DataType::Null => (ColumnKind::Empty, None),
        DataType::Boolean => (ColumnKind::Boolean, None),
        DataType::Int64 => (ColumnKind::Integer, None),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            (ColumnKind::Integer, Some(DataType::Int64))
        }
        DataType::Float64 => (ColumnKind::Number, None),
        DataType::Float16
        | DataType::Float32
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => (ColumnKind::Number, Some(DataType::Float64)),
        DataType::Utf8 => (ColumnKind::String, None),
        DataType::LargeUtf8 | DataType::Utf8View => (ColumnKind::String, Some(DataType::Utf8)),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            (ColumnKind::Timestamp, Some(DataType::Timestamp(TimeUnit::Microsecond, None)))
        }
        DataType::Dictionary(_, value) => match kind_of_type(value) {
            (ColumnKind::Nested, _) => (ColumnKind::Nested, None),
            (kind, target) => (kind, Some(target.unwrap_or_else(|| value.as_ref().clone()))),
        },
        _ => (ColumnKind::Nested, None),
    }
}

pub(crate) fn survey(name: &str, input: &Input) -> Result<(Vec<FileColumn>, u64), TableError> {
    let builder = builder(name, input)?;
    let columns = builder
        .schema()
        .fields()
        .iter()
        .map(|field| FileColumn { name: field.name().clone(), kind: kind_of_type(field.data_type()).0, encoding: Encoding::Native })
        .collect();
    let rows =
        u64::try_from(builder.metadata().file_metadata().num_rows()).map_err(|_| malformed(name, "its number of rows is negative"))?;
    Ok((columns, rows))
}

pub(crate) struct ParquetRows {
    name: String,
    rows: ParquetRecordBatchReader,
    /// For each column asked for its place in the batches, which keep the file's order.
    order: Vec<usize>,
    left: u64,
}

impl ParquetRows {
    pub(crate) fn open(name: &str, input: &Input, wanted: &[usize], batch_rows: usize) -> Result<Self, TableError> {
        let builder = builder(name, input)?;
        let left = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let mut sorted = wanted.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let order = wanted.iter().filter_map(|place| sorted.binary_search(place).ok()).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), sorted);
        let rows = guarded(name, || builder.with_projection(mask).with_batch_size(batch_rows).build().map_err(|error| error.to_string()))?;
        Ok(Self { name: name.to_owned(), rows, order, left })
    }
}

impl RowReader for ParquetRows {
    fn next_rows(&mut self) -> Result<Option<(usize, Vec<ArrayRef>)>, TableError> {
        let rows = &mut self.rows;
        let batch = guarded(&self.name, || rows.next().transpose().map_err(|error| error.to_string()))?;
        let Some(batch) = batch else {
            return if self.left == 0 { Ok(None) } else { Err(malformed(&self.name, "it has fewer rows than its footer says")) };
        };
        let count = u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(count).ok_or_else(|| malformed(&self.name, "it has more rows than its footer says"))?;
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let mut arrays = Vec::with_capacity(self.order.len());
        for place in &self.order {
            let Some(array) = batch.columns().get(*place) else {
                return Err(malformed(&self.name, "a column of its footer is missing"));
            };
            arrays.push(match kind_of_type(array.data_type()).1 {
                None => array.clone(),
                Some(target) => guarded(&self.name, || cast_with_options(array, &target, &strict).map_err(|error| error.to_string()))?,
            });
        }
        Ok(Some((batch.num_rows(), arrays)))
    }
}
