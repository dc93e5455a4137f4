//! CSV (RFC 4180, comma, first line names the columns): file → text columns.
//!
//! Cells stay text: a bad cell is then a finding with its row, not an unreadable file. An empty cell is null.
//!
//! **Invariant:** a row with too few or too many cells is an error that names the line.

use std::io::BufReader;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_csv::ReaderBuilder;
use arrow_csv::reader::{BufReader as CsvReader, Format as CsvFormat};
use arrow_schema::{DataType, Field, Schema};

use super::format::RowReader;
use super::input::{Input, LineLimit, Reader};
use super::kind::kind_of_text;
use super::{BATCH_CELLS, ColumnKind, Encoding, FileColumn, TableError};

type Rows = CsvReader<BufReader<LineLimit<BufReader<Reader>>>>;

fn malformed(name: &str, error: &arrow_schema::ArrowError) -> TableError {
    let text = error.to_string();
    let reason = text.strip_prefix("Csv error: ").unwrap_or(&text).replace(['\n', '\r'], " ");
    TableError::Malformed { file: name.to_owned(), reason }
}

fn open_rows(input: &Input, names: &[&str], wanted: Vec<usize>, batch_rows: usize, name: &str) -> Result<Rows, TableError> {
    let fields: Vec<Field> = names.iter().map(|column| Field::new(*column, DataType::Utf8, true)).collect();
    ReaderBuilder::new(Arc::new(Schema::new(fields)))
        .with_header(true)
        .with_batch_size(batch_rows)
        .with_projection(wanted)
        .build_buffered(BufReader::new(input.records()))
        .map_err(|error| malformed(name, &error))
}

pub(crate) fn survey(name: &str, input: &Input) -> Result<(Vec<FileColumn>, u64), TableError> {
    if input.bytes() == 0 {
        return Err(TableError::Malformed { file: name.to_owned(), reason: String::from("it is empty: not even a header line") });
    }
    let (header, _) =
        CsvFormat::default().with_header(true).infer_schema(input.records(), Some(0)).map_err(|error| malformed(name, &error))?;
    let names: Vec<&str> = header.fields().iter().map(|field| field.name().as_str()).collect();
    let mut kinds = vec![ColumnKind::Empty; names.len()];
    let mut rows = 0_u64;
    let batch_rows = (BATCH_CELLS / names.len().max(1)).clamp(16, 8_192);
    for batch in open_rows(input, &names, (0..names.len()).collect(), batch_rows, name)? {
        let batch = batch.map_err(|error| malformed(name, &error))?;
        rows += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        for (kind, array) in kinds.iter_mut().zip(batch.columns()) {
            if *kind == ColumnKind::String {
                continue;
            }
            for text in array.as_string::<i32>().iter().flatten() {
                *kind = kind.join(kind_of_text(text));
            }
        }
    }
    let columns =
        names.iter().zip(kinds).map(|(column, kind)| FileColumn { name: (*column).to_owned(), kind, encoding: Encoding::Text }).collect();
    Ok((columns, rows))
}

pub(crate) struct CsvRows {
    name: String,
    rows: Rows,
}

impl CsvRows {
    pub(crate) fn open(name: &str, input: &Input, columns: &[FileColumn], wanted: &[usize], batch_rows: usize) -> Result<Self, TableError> {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        Ok(Self { name: name.to_owned(), rows: open_rows(input, &names, wanted.to_vec(), batch_rows, name)? })
    }
}

impl RowReader for CsvRows {
    fn next_rows(&mut self) -> Result<Option<(usize, Vec<ArrayRef>)>, TableError> {
        match self.rows.next() {
            None => Ok(None),
            Some(Err(error)) => Err(malformed(&self.name, &error)),
            Some(Ok(batch)) => Ok(Some((batch.num_rows(), batch.columns().to_vec()))),
        }
    }
}
