//! Columnar access: verified descriptors → columns, and batches of rows in file order.
//!
//! A dataset is one or more files of one table. The format follows from the file's extension: `.csv`, `.jsonl`, `.ndjson`,
//! `.parquet`, `.pq`. CSV and JSON lines are read once at [`Dataset::open`] to learn kinds and the number of rows; after that
//! each pass over the rows streams.
//!
//! **Invariant:** memory is bounded by one batch (about a million cells), whatever the number of rows.
//! **Invariant:** rows come in the order of files given, and within a file in its own order, so `(file, index)` names a row.

mod batch;
mod csv;
mod error;
mod format;
mod input;
mod jsonl;
mod kind;
mod parquet;

use std::collections::HashMap;
use std::fs::File;

pub use batch::{Batch, Column};
pub use error::TableError;
use format::Format;
use input::Input;
pub use kind::{ColumnKind, Encoding};
pub(crate) use kind::{is_null_text, parse_boolean, parse_integer, parse_number, parse_timestamp, timestamp_text};

/// Columns of one dataset.
pub const COLUMNS_MAX: usize = 200_000;
/// Files of one dataset.
pub const FILES_MAX: usize = 100_000;
/// Bytes of one line of CSV or JSON lines.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Cells of one batch, about.
const BATCH_CELLS: usize = 1_000_000;

/// A file of a dataset: its name within the dataset and a descriptor whose bytes are already verified.
#[derive(Debug)]
pub struct DataFile {
    /// Name within the dataset; its extension says the format.
    pub name: String,
    /// The open file.
    pub file: File,
}

/// A column of a dataset, as found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColumnInfo {
    /// Name.
    pub name: String,
    /// The narrowest kind that holds every cell of every file.
    pub kind: ColumnKind,
}

/// What was learned about one file when it was opened.
#[derive(Debug)]
pub(crate) struct FileInfo {
    name: String,
    format: Format,
    input: Input,
    columns: Vec<FileColumn>,
    rows: u64,
    /// For each column of the dataset the place in `columns`.
    places: Vec<Option<usize>>,
}

/// A column of one file.
#[derive(Clone, Debug)]
pub(crate) struct FileColumn {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
    pub(crate) encoding: Encoding,
}

/// One table in one or more files.
#[derive(Debug)]
pub struct Dataset {
    files: Vec<FileInfo>,
    columns: Vec<ColumnInfo>,
    rows: u64,
}

impl Dataset {
    /// Opens the files as one table. Reads CSV and JSON lines once to learn kinds; of Parquet only the footer.
    pub fn open(files: Vec<DataFile>) -> Result<Self, TableError> {
        if files.is_empty() {
            return Err(TableError::NoFiles);
        }
        if files.len() > FILES_MAX {
            return Err(TableError::TooLarge { file: String::from("the dataset"), what: "files", max: FILES_MAX });
        }
        let mut opened = Vec::with_capacity(files.len());
        for DataFile { name, file } in files {
            let format = Format::of(&name)?;
            let input = Input::new(&name, file)?;
            let (columns, rows) = format.survey(&name, &input)?;
            refuse_duplicates(&name, &columns)?;
            opened.push(FileInfo { name, format, input, columns, rows, places: Vec::new() });
        }
        let columns = join_columns(&opened)?;
        for file in &mut opened {
            let by_name: HashMap<&str, usize> = file.columns.iter().enumerate().map(|(place, c)| (c.name.as_str(), place)).collect();
            file.places = columns.iter().map(|column| by_name.get(column.name.as_str()).copied()).collect();
        }
        let rows = opened.iter().map(|file| file.rows).sum();
        Ok(Self { files: opened, columns, rows })
    }

    /// Rows of all files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Columns of all files, in order of first appearance.
    #[must_use]
    pub fn columns(&self) -> &[ColumnInfo] {
        &self.columns
    }

    /// Names of the files, in order.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Name of the file with this place, as batches give it.
    #[must_use]
    pub fn file_name(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |file| file.name.as_str())
    }

    /// Whether the file with this place has the column with this place.
    #[must_use]
    pub fn file_has(&self, file: usize, column: usize) -> bool {
        self.files.get(file).and_then(|file| file.places.get(column)).is_some_and(Option::is_some)
    }

    /// The place of a column.
    pub fn column_place(&self, name: &str) -> Result<usize, TableError> {
        self.columns.iter().position(|column| column.name == name).ok_or_else(|| TableError::UnknownColumn {
            column: name.to_owned(),
            near: nearest(name, self.columns.iter().map(|c| c.name.as_str())),
        })
    }

    /// Streams all rows with all columns.
    #[must_use]
    pub fn batches(&self) -> Batches<'_> {
        self.batches_of((0..self.columns.len()).collect())
    }

    /// Streams all rows with the columns at these places, in this order.
    #[must_use]
    pub fn batches_of(&self, columns: Vec<usize>) -> Batches<'_> {
        Batches { dataset: self, columns, next_file: 0, current: None }
    }
}

/// Streams batches of rows; see [`Dataset::batches`].
pub struct Batches<'a> {
    dataset: &'a Dataset,
    columns: Vec<usize>,
    next_file: usize,
    current: Option<CurrentFile>,
}

struct CurrentFile {
    place: usize,
    rows: Box<dyn format::RowReader>,
    /// For each asked column its place among the arrays read and how its cells are written.
    columns: Vec<Option<(usize, Encoding)>>,
    first_row: u64,
}

impl Batches<'_> {
    fn open_next(&mut self) -> Result<bool, TableError> {
        let place = self.next_file;
        let Some(file) = self.dataset.files.get(place) else { return Ok(false) };
        self.next_file += 1;
        let mut wanted = Vec::new();
        let mut columns = Vec::with_capacity(self.columns.len());
        for asked in &self.columns {
            let found =
                file.places.get(*asked).copied().flatten().and_then(|place| file.columns.get(place).map(|column| (place, column.encoding)));
            columns.push(found.map(|(place, encoding)| {
                wanted.push(place);
                (wanted.len() - 1, encoding)
            }));
        }
        let batch_rows = (BATCH_CELLS / wanted.len().max(1)).clamp(16, 8_192);
        let rows = file.format.read(&file.name, &file.input, &file.columns, &wanted, batch_rows)?;
        self.current = Some(CurrentFile { place, rows, columns, first_row: 0 });
        Ok(true)
    }

    fn next_batch(&mut self) -> Result<Option<Batch>, TableError> {
        loop {
            if self.current.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(current) = self.current.as_mut() else { return Ok(None) };
            let Some((rows, arrays)) = current.rows.next_rows()? else {
                self.current = None;
                continue;
            };
            let columns = current
                .columns
                .iter()
                .map(|column| column.and_then(|(place, encoding)| arrays.get(place).map(|array| (array.clone(), encoding))))
                .collect();
            let batch = Batch::new(current.place, current.first_row, rows, columns);
            current.first_row += u64::try_from(rows).unwrap_or(u64::MAX);
            return Ok(Some(batch));
        }
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<Batch, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.next_batch();
        if result.is_err() {
            // one error ends the stream
            self.current = None;
            self.next_file = self.dataset.files.len();
        }
        result.transpose()
    }
}

fn refuse_duplicates(file: &str, columns: &[FileColumn]) -> Result<(), TableError> {
    if columns.len() > COLUMNS_MAX {
        return Err(TableError::TooLarge { file: file.to_owned(), what: "columns", max: COLUMNS_MAX });
    }
    let mut seen = std::collections::HashSet::with_capacity(columns.len());
    match columns.iter().find(|column| !seen.insert(column.name.as_str())) {
        Some(twice) => Err(TableError::DuplicateColumn { file: file.to_owned(), column: twice.name.clone() }),
        None => Ok(()),
    }
}

fn join_columns(files: &[FileInfo]) -> Result<Vec<ColumnInfo>, TableError> {
    let mut columns: Vec<ColumnInfo> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for column in files.iter().flat_map(|file| &file.columns) {
        let place = *places.entry(column.name.as_str()).or_insert(columns.len());
        match columns.get_mut(place) {
            Some(known) => known.kind = known.kind.join(column.kind),
            None => columns.push(ColumnInfo { name: column.name.clone(), kind: column.kind }),
        }
    }
    if columns.len() > COLUMNS_MAX {
        return Err(TableError::TooLarge { file: String::from("the dataset"), what: "columns", max: COLUMNS_MAX });
    }
    Ok(columns)
}

/// The name most like `name`, if one is close enough to be a likely slip.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}
