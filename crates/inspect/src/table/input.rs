//! Positional reads of one descriptor: file → independent readers.
//!
//! **Invariant:** no reader moves another's place, although they share one descriptor.
//! **Invariant:** a line longer than [`super::LINE_BYTES_MAX`] is an error, so that a file without line ends cannot fill memory.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::{LINE_BYTES_MAX, TableError};

/// One file, readable at any place.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    file: Arc<File>,
    bytes: u64,
}

impl Input {
    pub(crate) fn new(name: &str, file: File) -> Result<Self, TableError> {
        // its end, not what the file system says of it: a confined reader may ask no more than that
        let bytes =
            (&file).seek(SeekFrom::End(0)).map_err(|error| TableError::Read { file: name.to_owned(), reason: error.to_string() })?;
        Ok(Self { file: Arc::new(file), bytes })
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A reader from the start that refuses over-long lines.
    pub(crate) fn lines(&self) -> LineLimit<BufReader<Reader>> {
        self.limited(false)
    }

    /// A reader from the start that refuses over-long CSV records, line ends within quotes included.
    pub(crate) fn records(&self) -> LineLimit<BufReader<Reader>> {
        self.limited(true)
    }

    fn limited(&self, quotes: bool) -> LineLimit<BufReader<Reader>> {
        LineLimit { inner: BufReader::with_capacity(256 * 1024, self.reader(0)), length: 0, quotes, state: Cell::Start }
    }

    fn reader(&self, start: u64) -> Reader {
        Reader { input: self.clone(), place: start }
    }
}

/// Reads on from its own place.
pub(crate) struct Reader {
    input: Input,
    place: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = read_at(&self.input.file, buffer, self.place)?;
        self.place += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], place: u64) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, place)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], place: u64) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, place)
}

impl Length for Input {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Input {
    type T = BufReader<Reader>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(self.reader(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let wanted = u64::try_from(length).unwrap_or(u64::MAX);
        if start.checked_add(wanted).is_none_or(|end| end > self.bytes) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} lie beyond the end of the file")));
        }
        let mut buffer = Vec::with_capacity(length);
        self.reader(start).take(wanted).read_to_end(&mut buffer)?;
        if buffer.len() != length {
            return Err(ParquetError::EOF(format!("the file ended at {} of {length} bytes", buffer.len())));
        }
        Ok(buffer.into())
    }
}

/// Where in a CSV record the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Start,
    Plain,
    Quoted,
    /// After a quote within quotes: the end of the cell, or the first half of a quote that is meant.
    Quote,
}

/// Fails once more than [`LINE_BYTES_MAX`] bytes came without the end of a line, or of a CSV record.
pub(crate) struct LineLimit<R> {
    inner: R,
    length: usize,
    quotes: bool,
    state: Cell,
}

impl<R> LineLimit<R> {
    /// Length of the longest line, or record, that these bytes end or continue.
    fn longest(&mut self, bytes: &[u8]) -> usize {
        let mut longest = 0;
        for byte in bytes {
            self.length += 1;
            if self.quotes {
                self.state = match (self.state, byte) {
                    (Cell::Start | Cell::Quote, b'"') | (Cell::Quoted, 0..=b'!' | b'#'..) => Cell::Quoted,
                    (Cell::Quoted, b'"') => Cell::Quote,
                    (_, b',' | b'\n' | b'\r') => Cell::Start,
                    _ => Cell::Plain,
                };
            }
            longest = longest.max(self.length);
            if *byte == b'\n' && self.state != Cell::Quoted {
                self.length = 0;
            }
        }
        longest
    }
}

impl<R: std::io::BufRead> Read for LineLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if self.longest(buffer.get(..count).unwrap_or_default()) > LINE_BYTES_MAX {
            return Err(std::io::Error::other(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
        }
        Ok(count)
    }
}
