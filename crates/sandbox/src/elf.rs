//! Which libraries a program or library asks for.
//!
//! In: an ELF file (64 bit, little endian). Out: its interpreter, the names it needs, where it wants them searched.
//!
//! **Invariant:** every offset comes from a hostile file: reads are bounded, and what does not parse is an error.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const SEGMENTS_MAX: usize = 256;
const ENTRIES_MAX: u64 = 8192;
const STRINGS_BYTES_MAX: u64 = 8 << 20;
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;

/// What the dynamic section says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Linkage {
    pub(crate) interpreter: Option<String>,
    pub(crate) needed: Vec<String>,
    /// `DT_RUNPATH` and `DT_RPATH`, unexpanded.
    pub(crate) search: Vec<String>,
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// Reads the linkage; `None` if the file is no ELF file at all.
pub(crate) fn linkage(path: &Path) -> io::Result<Option<Linkage>> {
    let file = File::open(path)?;
    let mut head = [0u8; 64];
    match file.read_exact_at(&mut head, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    if head.get(..4) != Some(b"\x7fELF") {
        return Ok(None);
    }
    if head.get(4..6) != Some(&[2, 1]) {
        return Err(bad("not a 64 bit little endian file"));
    }
    let segments = segments(&file, &head)?;
    let mut linkage = Linkage::default();
    if let Some(segment) = segments.iter().find(|one| one.kind == INTERPRETER) {
        linkage.interpreter = Some(text(&read(&file, segment.offset, segment.size.min(4096))?, 0)?);
    }
    if let Some(segment) = segments.iter().find(|one| one.kind == DYNAMIC) {
        dynamic(&file, segment, &segments, &mut linkage)?;
    }
    Ok(Some(linkage))
}

fn segments(file: &File, head: &[u8]) -> io::Result<Vec<Segment>> {
    let (offset, size, count) = (u64_at(head, 32)?, u16_at(head, 54)?, u16_at(head, 56)?);
    if size < 56 || usize::from(count) > SEGMENTS_MAX {
        return Err(bad("odd program headers"));
    }
    let table = read(file, offset, u64::from(size) * u64::from(count))?;
    table
        .chunks_exact(usize::from(size))
        .map(|entry| {
            Ok(Segment { kind: u32_at(entry, 0)?, offset: u64_at(entry, 8)?, address: u64_at(entry, 16)?, size: u64_at(entry, 32)? })
        })
        .collect()
}

fn dynamic(file: &File, segment: &Segment, all: &[Segment], linkage: &mut Linkage) -> io::Result<()> {
    const NEEDED: u64 = 1;
    const STRINGS: u64 = 5;
    const STRINGS_SIZE: u64 = 10;
    const RPATH: u64 = 15;
    const RUNPATH: u64 = 29;
    let table = read(file, segment.offset, segment.size.min(ENTRIES_MAX * 16))?;
    let entries: Vec<(u64, u64)> =
        table.chunks_exact(16).map(|entry| Ok((u64_at(entry, 0)?, u64_at(entry, 8)?))).collect::<io::Result<_>>()?;
    let entries: Vec<_> = entries.into_iter().take_while(|(tag, _)| *tag != 0).collect();
    let value = |wanted: u64| entries.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
    let (Some(address), Some(size)) = (value(STRINGS), value(STRINGS_SIZE)) else {
        return Ok(());
    };
    let home = all
        .iter()
        .find(|one| one.kind == LOAD && address >= one.address && address - one.address < one.size)
        .ok_or_else(|| bad("strings outside of the file"))?;
    let strings = read(file, home.offset + (address - home.address), size.min(STRINGS_BYTES_MAX))?;
    for (tag, offset) in entries {
        match tag {
            NEEDED => linkage.needed.push(text(&strings, offset)?),
            RPATH | RUNPATH => {
                linkage.search.extend(text(&strings, offset)?.split(':').map(str::to_owned));
            }
            _ => {}
        }
    }
    Ok(())
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn read(file: &File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; usize::try_from(size).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).ok_or_else(|| bad("cut short"))
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

fn text(bytes: &[u8], offset: u64) -> io::Result<String> {
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
    let rest = rest.ok_or_else(|| bad("a string outside of its table"))?;
    let end = rest.iter().position(|byte| *byte == 0).ok_or_else(|| bad("a string without end"))?;
    let name = rest.get(..end).unwrap_or_default();
    std::str::from_utf8(name).map(str::to_owned).map_err(|_| bad("a name that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_itself_needs_libc() {
        let found = linkage(Path::new("/proc/self/exe")).unwrap().unwrap();
        assert!(found.interpreter.unwrap().contains("/ld-"), "a loader");
        assert!(found.needed.iter().any(|name| name.starts_with("libc.so")));
    }

    #[test]
    fn a_script_is_no_elf_file_and_cut_files_are_errors() {
        assert_eq!(linkage(Path::new("/etc/passwd")).unwrap(), None);
        let whole = std::fs::read("/proc/self/exe").unwrap();
        let path = std::env::temp_dir().join(format!("elf-cut-{}", std::process::id()));
        for length in [64, 100, 400] {
            use std::io::Write as _;
            File::options().write(true).create(true).truncate(true).open(&path).unwrap().write_all(&whole[..length]).unwrap();
            assert!(linkage(&path).is_err(), "{length} bytes");
        }
    }
}
