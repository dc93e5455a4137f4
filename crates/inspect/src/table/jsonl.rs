//! JSON lines: one flat object a line → columns typed where all cells agree.
//!
//! A key that is absent is null. A column whose cells differ in type keeps each cell as its JSON text, so that `"12"` and
//! `12` stay apart. Integers beyond 64 bits are kept as text.
//!
//! **Invariant:** a duplicate key, a line that is not one object, or trailing data is an error that names the line.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, NullArray};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::format::RowReader;
use super::input::{Input, LineLimit, Reader};
use super::kind::parse_timestamp;
use super::{COLUMNS_MAX, ColumnKind, Encoding, FileColumn, TableError};

/// One cell of a line.
#[derive(Clone, Debug)]
enum Cell {
    Null,
    Boolean(bool),
    Integer(i64),
    /// An integer that does not fit 64 bits signed.
    BigInteger(u64),
    Number(f64),
    Text(String),
    Nested,
}

impl Cell {
    fn kind(&self) -> ColumnKind {
        match self {
            Self::Null => ColumnKind::Empty,
            Self::Boolean(_) => ColumnKind::Boolean,
            Self::Integer(_) => ColumnKind::Integer,
            Self::Number(_) => ColumnKind::Number,
            Self::Text(text) if parse_timestamp(text).is_some() => ColumnKind::Timestamp,
            Self::BigInteger(_) | Self::Text(_) => ColumnKind::String,
            Self::Nested => ColumnKind::Nested,
        }
    }

    fn json(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Boolean(value) => Some(value.to_string()),
            Self::Integer(value) => Some(value.to_string()),
            Self::BigInteger(value) => Some(value.to_string()),
            // exponents stay exponents: a long run of digits would read as an identifier
            Self::Number(value) => Some(format!("{value:?}")),
            Self::Text(text) => Some(serde_json::Value::String(text.clone()).to_string()),
            Self::Nested => Some(String::from("{}")),
        }
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
        Ok(Cell::Boolean(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::Integer(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
        Ok(i64::try_from(value).map_or(Cell::BigInteger(value), Cell::Integer))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
        Ok(Cell::Number(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
        Ok(Cell::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Cell, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell::Nested)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Cell, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Nested)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(CellVisitor)
    }
}

/// One line: keys and cells in order.
struct Line(Vec<(String, Cell)>);

struct LineVisitor;

impl<'de> Visitor<'de> for LineVisitor {
    type Value = Line;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Line, A::Error> {
        let mut cells = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some((key, cell)) = entries.next_entry::<String, Cell>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("key `{key}` stands twice")));
            }
            if cells.len() >= COLUMNS_MAX {
                return Err(A::Error::custom(format!("more than {COLUMNS_MAX} keys")));
            }
            cells.push((key, cell));
        }
        Ok(Line(cells))
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(LineVisitor)
    }
}

/// Reads line by line, skipping blank ones.
struct Lines {
    name: String,
    reader: BufReader<LineLimit<BufReader<Reader>>>,
    line: u64,
    text: String,
}

impl Lines {
    fn open(name: &str, input: &Input) -> Self {
        Self { name: name.to_owned(), reader: BufReader::new(input.lines()), line: 0, text: String::new() }
    }

    fn next_line(&mut self) -> Result<Option<Line>, TableError> {
        loop {
            self.text.clear();
            self.line += 1;
            let fault = |reason: String| TableError::Malformed { file: self.name.clone(), reason: format!("line {}: {reason}", self.line) };
            if self.reader.read_line(&mut self.text).map_err(|error| fault(error.to_string()))? == 0 {
                return Ok(None);
            }
            let text = self.text.trim_start_matches('\u{feff}').trim();
            if !text.is_empty() {
                return serde_json::from_str(text).map(Some).map_err(|error| fault(error.to_string()));
            }
        }
    }
}

/// What all lines say about one key.
#[derive(Default)]
struct Seen {
    text: bool,
    big: bool,
    plain: bool,
}

pub(crate) fn survey(name: &str, input: &Input) -> Result<(Vec<FileColumn>, u64), TableError> {
    let mut lines = Lines::open(name, input);
    let mut columns: Vec<FileColumn> = Vec::new();
    let mut seen: Vec<Seen> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut rows = 0_u64;
    while let Some(Line(cells)) = lines.next_line()? {
        rows += 1;
        for (key, cell) in cells {
            let place = *places.entry(key.clone()).or_insert(columns.len());
            if place == columns.len() {
                if place >= COLUMNS_MAX {
                    return Err(TableError::TooLarge { file: name.to_owned(), what: "columns", max: COLUMNS_MAX });
                }
                columns.push(FileColumn { name: key, kind: ColumnKind::Empty, encoding: Encoding::Native });
                seen.push(Seen::default());
            }
            if let (Some(column), Some(seen)) = (columns.get_mut(place), seen.get_mut(place)) {
                column.kind = column.kind.join(cell.kind());
                match cell {
                    Cell::Null | Cell::Nested => {}
                    Cell::Text(_) => seen.text = true,
                    Cell::BigInteger(_) => seen.big = true,
                    Cell::Boolean(_) | Cell::Integer(_) | Cell::Number(_) => seen.plain = true,
                }
            }
        }
    }
    for (column, seen) in columns.iter_mut().zip(&seen) {
        // strings among other things, or booleans among numbers: keep the types apart
        let untyped = column.kind == ColumnKind::String && !seen.text;
        let mixed = seen.big || untyped || (seen.text && seen.plain);
        if mixed && column.kind != ColumnKind::Nested {
            column.encoding = Encoding::Json;
        }
    }
    Ok((columns, rows))
}

pub(crate) struct JsonRows {
    lines: Lines,
    /// For each column of the file the place among the columns asked for.
    wanted: HashMap<String, usize>,
    columns: Vec<FileColumn>,
    batch_rows: usize,
}

impl JsonRows {
    pub(crate) fn open(name: &str, input: &Input, columns: &[FileColumn], wanted: &[usize], batch_rows: usize) -> Self {
        let columns: Vec<FileColumn> = wanted.iter().filter_map(|place| columns.get(*place).cloned()).collect();
        let places = columns.iter().enumerate().map(|(place, column)| (column.name.clone(), place)).collect();
        Self { lines: Lines::open(name, input), wanted: places, columns, batch_rows }
    }
}

impl RowReader for JsonRows {
    fn next_rows(&mut self) -> Result<Option<(usize, Vec<ArrayRef>)>, TableError> {
        let mut cells: Vec<Vec<Cell>> = vec![Vec::new(); self.columns.len()];
        let mut rows = 0;
        while rows < self.batch_rows {
            let Some(Line(line)) = self.lines.next_line()? else { break };
            for (key, cell) in line {
                if let Some(column) = self.wanted.get(&key).and_then(|place| cells.get_mut(*place)) {
                    column.push(cell);
                }
            }
            rows += 1;
            for column in &mut cells {
                column.resize(rows, Cell::Null);
            }
        }
        if rows == 0 {
            return Ok(None);
        }
        Ok(Some((rows, self.columns.iter().zip(cells).map(|(column, cells)| array_of(column, &cells)).collect())))
    }
}

fn array_of(column: &FileColumn, cells: &[Cell]) -> ArrayRef {
    if column.encoding == Encoding::Json {
        let mut builder = StringBuilder::new();
        cells.iter().for_each(|cell| builder.append_option(cell.json()));
        return Arc::new(builder.finish());
    }
    match column.kind {
        ColumnKind::Integer => {
            let mut builder = Int64Builder::new();
            cells.iter().for_each(|cell| builder.append_option(if let Cell::Integer(value) = cell { Some(*value) } else { None }));
            Arc::new(builder.finish())
        }
        ColumnKind::Number => {
            let mut builder = Float64Builder::new();
            cells.iter().for_each(|cell| {
                builder.append_option(match cell {
                    #[expect(
                        clippy::cast_precision_loss,
                        reason = "a column with fractions holds f64; integers beyond 2^53 are rounded as the format does"
                    )]
                    Cell::Integer(value) => Some(*value as f64),
                    Cell::Number(value) => Some(*value),
                    _ => None,
                });
            });
            Arc::new(builder.finish())
        }
        ColumnKind::Boolean => {
            let mut builder = BooleanBuilder::new();
            cells.iter().for_each(|cell| builder.append_option(if let Cell::Boolean(value) = cell { Some(*value) } else { None }));
            Arc::new(builder.finish())
        }
        ColumnKind::String | ColumnKind::Timestamp => {
            let mut builder = StringBuilder::new();
            cells.iter().for_each(|cell| builder.append_option(if let Cell::Text(text) = cell { Some(text) } else { None }));
            Arc::new(builder.finish())
        }
        // no check looks into these; only their number counts
        ColumnKind::Empty | ColumnKind::Nested => Arc::new(NullArray::new(cells.len())),
    }
}
