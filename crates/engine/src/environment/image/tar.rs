//! Tar archives, read strictly: every archive has one meaning here, or none.
//!
//! in: the bytes of an archive; out: [`Entry`]s in order, their content through [`Archive::read`].
//! Formats: POSIX.1-2017 `pax` (ustar with extended headers) and what GNU tar writes besides (long names, numbers in base 256).
//! **Invariant:** what another reader could take for something else is refused: two names for one entry, a size in an entry without content,
//! bytes behind the end, sparse files. **Invariant:** memory does not depend on what the archive says.

use std::collections::BTreeMap;
use std::io::{self, Read};

const BLOCK: usize = 512;
/// Bytes of one extended header or long name.
const EXTENSION_BYTES_MAX: u64 = 1024 * 1024;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    File,
    Folder,
    SymbolicLink,
    HardLink,
    Device,
    Fifo,
}

/// One entry; of a file the content follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// Where a link leads.
    pub(super) target: Vec<u8>,
    /// Bytes of content; 0 of anything but a file.
    pub(super) size: u64,
    pub(super) mode: u32,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    /// Extended attributes that came with it: none is ever applied.
    pub(super) attributes: u32,
}

impl Entry {
    const KINDS: [Kind; 6] = [Kind::File, Kind::Folder, Kind::SymbolicLink, Kind::HardLink, Kind::Device, Kind::Fifo];

    /// As a worker sends it: numbers big-endian, then the path with its length before it, then the target.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let kind = Self::KINDS.iter().position(|kind| *kind == self.kind).and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX);
        let mut bytes = vec![kind];
        bytes.extend(self.mode.to_be_bytes());
        bytes.extend(self.size.to_be_bytes());
        bytes.extend(self.mtime.0.to_be_bytes());
        bytes.extend(self.mtime.1.to_be_bytes());
        bytes.extend(self.attributes.to_be_bytes());
        // an extended header, which holds it, is far shorter than that
        bytes.extend(u32::try_from(self.path.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(&self.path);
        bytes.extend(&self.target);
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) wrote, if it is an entry that this reader could have made.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (mode, rest) = rest.split_first_chunk().map(|(number, rest)| (u32::from_be_bytes(*number), rest))?;
        let (size, rest) = rest.split_first_chunk().map(|(number, rest)| (u64::from_be_bytes(*number), rest))?;
        let (seconds, rest) = rest.split_first_chunk().map(|(number, rest)| (i64::from_be_bytes(*number), rest))?;
        let (nanos, rest) = rest.split_first_chunk().map(|(number, rest)| (u32::from_be_bytes(*number), rest))?;
        let (attributes, rest) = rest.split_first_chunk().map(|(number, rest)| (u32::from_be_bytes(*number), rest))?;
        let (length, rest) = rest.split_first_chunk().map(|(number, rest)| (u32::from_be_bytes(*number), rest))?;
        let (path, target) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let kind = *Self::KINDS.get(usize::from(*kind))?;
        let sound = !path.is_empty() && !path.contains(&0) && !target.contains(&0) && nanos < 1_000_000_000;
        let sized = size == 0 || kind == Kind::File && i64::try_from(size).is_ok();
        let (path, target) = (path.to_vec(), target.to_vec());
        (sound && sized).then_some(Self { path, kind, target, size, mode, mtime: (seconds, nanos), attributes })
    }
}

/// An archive that is being read.
pub(super) struct Archive<R> {
    input: R,
    /// Content of the entry at hand that was not read yet, and zeros behind it.
    left: u64,
    padding: u64,
    /// Bytes read so far.
    offset: u64,
    ended: bool,
}

/// What extended headers say about the next entry.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<(i64, u32)>,
    attributes: u32,
    pax: bool,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0, offset: 0, ended: false }
    }

    pub(super) fn input(&mut self) -> &mut R {
        &mut self.input
    }

    pub(super) fn into_input(self) -> R {
        self.input
    }

    /// Where the next byte stands: after [`next`](Self::next) gave a file, where its content begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next entry; what is left of the one before is passed over. [`None`] once, at the end, with nothing but zeros behind.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        self.pass_over()?;
        let mut said = Said::default();
        loop {
            let Some(header) = self.header()? else {
                return if said.is_empty() { Ok(None) } else { refuse("an extended header stands before nothing") };
            };
            let size = number(field(&header, 124, 12)).filter(|size| *size >= 0).and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| fault("a size is no number"))?;
            match header.get(156).copied().unwrap_or(0) {
                b'x' => {
                    let records = self.extension(size)?;
                    said.take_pax(&records)?;
                }
                b'g' => {
                    let records = self.extension(size)?;
                    refuse_global(&records)?;
                }
                b'L' => said.name(self.extension(size)?)?,
                b'K' => said.link(self.extension(size)?)?,
                flag => return self.entry(&header, flag, size, said).map(Some),
            }
        }
    }

    /// Content of the entry that [`next`](Self::next) gave; 0 at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(part) = buffer.get_mut(..room).filter(|part| !part.is_empty()) else { return Ok(0) };
        let count = self.input.read(part)?;
        if count == 0 {
            return refuse("it ends within a file");
        }
        self.left -= count as u64;
        self.offset += count as u64;
        Ok(count)
    }

    fn entry(&mut self, header: &[u8; BLOCK], flag: u8, size: u64, said: Said) -> io::Result<Entry> {
        let path = match said.path {
            Some(path) => path,
            None => name(header),
        };
        let target = said.target.unwrap_or_else(|| text(field(header, 157, 100)).to_vec());
        let kind = match flag {
            0 if path.ends_with(b"/") => Kind::Folder,
            0 | b'0' | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::SymbolicLink,
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Folder,
            b'6' => Kind::Fifo,
            b'S' => return refuse("sparse files are not taken"),
            other => return refuse(&format!("an entry has the unknown type `{}`", char::from(other).escape_debug())),
        };
        let size = said.size.unwrap_or(size);
        if kind != Kind::File && size != 0 {
            return refuse("an entry that has no content has a size");
        }
        if path.is_empty() || path.contains(&0) || target.contains(&0) {
            return refuse("a name is empty or holds a NUL");
        }
        let mode = number(field(header, 100, 8)).and_then(|mode| u32::try_from(mode).ok()).ok_or_else(|| fault("a mode is no number"))?;
        let mtime = match said.mtime {
            Some(mtime) => mtime,
            None => (number(field(header, 136, 12)).ok_or_else(|| fault("a time is no number"))?, 0),
        };
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        Ok(Entry { path, kind, target, size, mode, mtime, attributes: said.attributes })
    }

    fn pass_over(&mut self) -> io::Result<()> {
        let rest = self.left + self.padding;
        let passed = io::copy(&mut (&mut self.input).take(rest), &mut io::sink())?;
        self.offset += passed;
        (self.left, self.padding) = (0, 0);
        if passed == rest { Ok(()) } else { refuse("it ends within a file") }
    }

    /// The next header block; none at the end.
    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        if self.ended {
            return Ok(None);
        }
        let mut block = ZEROS;
        let filled = self.fill(&mut block)?;
        if filled == 0 {
            self.ended = true;
            return Ok(None);
        }
        if filled < BLOCK {
            return refuse("it ends within a header");
        }
        if block == ZEROS {
            self.ended = true;
            return self.only_zeros().map(|()| None);
        }
        checked(&block).map(|()| Some(block))
    }

    /// What follows the end must say nothing: another reader might go on reading there.
    fn only_zeros(&mut self) -> io::Result<()> {
        let mut block = ZEROS;
        loop {
            let filled = self.fill(&mut block)?;
            if block.get(..filled) != ZEROS.get(..filled) {
                return refuse("something follows its end");
            }
            if filled < BLOCK {
                return Ok(());
            }
        }
    }

    fn fill(&mut self, block: &mut [u8; BLOCK]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(room) = block.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.input.read(room) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    /// The content of an extended header.
    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > EXTENSION_BYTES_MAX {
            return refuse("an extended header is too long");
        }
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(size).read_to_end(&mut bytes)?;
        self.offset += read as u64;
        if read as u64 != size {
            return refuse("it ends within an extended header");
        }
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        self.pass_over()?;
        Ok(bytes)
    }
}

impl Said {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.target.is_none() && !self.pax
    }

    /// GNU's long name: the name and a NUL.
    fn name(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        set(&mut self.path, bytes)
    }

    fn link(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        set(&mut self.target, bytes)
    }

    fn take_pax(&mut self, bytes: &[u8]) -> io::Result<()> {
        if std::mem::replace(&mut self.pax, true) {
            return refuse("an entry has two extended headers");
        }
        for (key, value) in records(bytes)? {
            match key.as_slice() {
                b"path" => set(&mut self.path, value)?,
                b"linkpath" => set(&mut self.target, value)?,
                b"size" => self.size = Some(decimal(&value).ok_or_else(|| fault("a size is no number"))?),
                b"mtime" => self.mtime = Some(time(&value).ok_or_else(|| fault("a time is no number"))?),
                key if key.starts_with(b"GNU.sparse.") => return refuse("sparse files are not taken"),
                key if key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.xattr.") => self.attributes += 1,
                _ => {}
            }
        }
        Ok(())
    }
}

fn set(place: &mut Option<Vec<u8>>, value: Vec<u8>) -> io::Result<()> {
    if place.replace(value).is_some() { refuse("an entry has two names") } else { Ok(()) }
}

/// What holds for all entries may say nothing about names and sizes.
fn refuse_global(bytes: &[u8]) -> io::Result<()> {
    let known = |key: &[u8]| matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.");
    if records(bytes)?.keys().any(|key| known(key)) { refuse("a global header names entries") } else { Ok(()) }
}

/// `LENGTH KEY=VALUE\n` after each other; the length counts itself. A key that stands twice is refused.
fn records(mut bytes: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let bad = || fault("an extended header cannot be read");
    let mut found = BTreeMap::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = bytes.get(..space).and_then(decimal).and_then(|length| usize::try_from(length).ok()).ok_or_else(bad)?;
        let (record, rest) = bytes.split_at_checked(length).ok_or_else(bad)?;
        let record = record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(bad)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let (key, value) = record.split_at_checked(equals).ok_or_else(bad)?;
        if found.insert(key.to_vec(), value.get(1..).unwrap_or_default().to_vec()).is_some() {
            return refuse("an extended header says something twice");
        }
        bytes = rest;
    }
    Ok(found)
}

/// Its checksum, and that it is a header of a format we know.
fn checked(block: &[u8; BLOCK]) -> io::Result<()> {
    let sum: i64 = block.iter().enumerate().map(|(place, byte)| if (148..156).contains(&place) { 32 } else { i64::from(*byte) }).sum();
    if number(field(block, 148, 8)) != Some(sum) {
        return refuse("a header's checksum is wrong");
    }
    match field(block, 257, 8) {
        b"ustar\x0000" | b"ustar  \0" | [0, 0, 0, 0, 0, 0, 0, 0] => Ok(()),
        _ => refuse("a header is of no known format"),
    }
}

/// Prefix and name of POSIX headers; others keep something else where the prefix would be.
fn name(header: &[u8; BLOCK]) -> Vec<u8> {
    let short = text(field(header, 0, 100));
    let prefix = text(field(header, 345, 155));
    if field(header, 257, 6) == b"ustar\0" && !prefix.is_empty() { [prefix, b"/", short].concat() } else { short.to_vec() }
}

fn field(header: &[u8; BLOCK], start: usize, length: usize) -> &[u8] {
    header.get(start..start + length).unwrap_or_default()
}

/// Up to the first NUL.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits between blanks and NULs, or two's complement in base 256 if the first bit is set.
fn number(bytes: &[u8]) -> Option<i64> {
    let (first, rest) = bytes.split_first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut value = i128::from(first & 0x7f) - if negative { 0x80 } else { 0 };
        for byte in rest {
            value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
        }
        return i64::try_from(value).ok();
    }
    let digits = text(bytes).trim_ascii();
    let mut value = 0_i64;
    for digit in digits {
        let digit = char::from(*digit).to_digit(8)?;
        value = value.checked_mul(8)?.checked_add(i64::from(digit))?;
    }
    Some(value)
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    let digits = !bytes.is_empty() && bytes.len() <= 20 && bytes.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(bytes).ok().filter(|_| digits)?.parse().ok().filter(|value| i64::try_from(*value).is_ok())
}

/// Seconds with a fraction, perhaps negative.
fn time(bytes: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = fraction.chars().chain("000000000".chars()).take(9).collect::<String>().parse().ok()?;
    // before 1970 the fraction counts downwards: a whole second is near enough
    if text.starts_with('-') { Some((seconds, 0)) } else { Some((seconds, nanos)) }
}

fn fault(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive is refused: {what}"))
}

fn refuse<T>(what: &str) -> io::Result<T> {
    Err(fault(what))
}
