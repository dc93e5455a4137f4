//! One wheel, checked before a byte of it is unpacked.
//!
//! in: file name and bytes of a `.whl`; out: [`Wheel`]: which files go where, each with the digest that the wheel's RECORD promises.
//! Left out: `.pyc`, entry scripts, headers and data files (nothing of a wheel runs or lands outside site-packages).
//! **Invariant:** every file is in RECORD with a sha256 and RECORD names no other; names are plain, unique and regular; sizes are bounded before anything is inflated.
//!
//! Source: PyPA specifications, "Binary distribution format" and "Recording installed projects".

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use seaworthy_core::digest::{Digest, hex_decode};
use seaworthy_core::limits::{WHEEL_BOMB_FLOOR_BYTES, WHEEL_ENTRIES_MAX, WHEEL_RATIO_MAX, WHEEL_RECORD_BYTES_MAX};
use seaworthy_core::worker::WheelEntry;
use zip::{CompressionMethod, ZipArchive};

use super::error::EnvironmentError;
use super::requirements::normalise;

/// What a wheel's file name says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WheelName {
    /// The whole name.
    pub file: String,
    /// Project, normalised.
    pub project: String,
    /// Version as in the name.
    pub version: String,
    /// Python tags.
    pub python: Vec<String>,
    /// ABI tags.
    pub abi: Vec<String>,
    /// Platform tags.
    pub platform: Vec<String>,
}

impl WheelName {
    /// `name-version(-build)-python-abi-platform.whl`.
    pub fn parse(file: &str) -> Result<Self, EnvironmentError> {
        let refuse = || EnvironmentError::wheel(file, "its name is not that of a wheel");
        let plain = file.len() <= 255 && file.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+!".contains(&b));
        let stem = file.strip_suffix(".whl").filter(|_| plain).ok_or_else(refuse)?;
        let parts: Vec<&str> = stem.split('-').collect();
        let ([project, version, python, abi, platform] | [project, version, _, python, abi, platform]) = parts.as_slice() else {
            return Err(refuse());
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(refuse());
        }
        let tags = |text: &str| text.split('.').map(str::to_owned).collect();
        Ok(Self {
            file: file.to_owned(),
            project: normalise(project),
            version: (*version).to_owned(),
            python: tags(python),
            abi: tags(abi),
            platform: tags(platform),
        })
    }
}

/// One file that is unpacked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WheelFile {
    /// Place in the archive.
    pub(super) index: usize,
    /// Path below site-packages.
    pub path: String,
    /// What RECORD promises.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Whether it had an execute bit.
    pub executable: bool,
}

/// What is in a wheel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WheelListing {
    name: WheelName,
    files: Vec<WheelFile>,
}

impl WheelListing {
    /// A listing that a worker made: nothing of it is believed that unpacking or a manifest does not check.
    pub(super) fn of_worker(file: &str, entries: Vec<WheelEntry>) -> Result<Self, EnvironmentError> {
        let name = WheelName::parse(file)?;
        let info = format!("{}-{}", name.project, name.version);
        let mut files = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let WheelEntry { path, digest, size, executable } = entry;
            check_name(&path).map_err(|reason| EnvironmentError::wheel(file, reason))?;
            // what would run without being imported is left out or refused here too
            if target(&path, &info).map_err(|reason| EnvironmentError::wheel(file, reason))?.as_ref() != Some(&path) {
                return Err(EnvironmentError::wheel(file, format!("`{}` is not to be unpacked", shown(&path))));
            }
            files.push(WheelFile { index, path, digest, size, executable });
        }
        Ok(Self { name, files })
    }

    /// What the file name says.
    pub fn name(&self) -> &WheelName {
        &self.name
    }

    /// The files that are unpacked, sorted by their name in the archive.
    pub fn files(&self) -> &[WheelFile] {
        &self.files
    }
}

/// A wheel whose table of contents was checked; its bytes are checked while they are unpacked.
#[derive(Debug)]
pub struct Wheel<R> {
    listing: WheelListing,
    archive: ZipArchive<R>,
}

/// An entry of the archive that is a file.
struct Listed {
    index: usize,
    size: u64,
    executable: bool,
}

impl<R: Read + Seek> Wheel<R> {
    /// Checks the table of contents. `bytes` is the length of the whole file.
    pub fn open(file: &str, mut reader: R, bytes: u64) -> Result<Self, EnvironmentError> {
        let name = WheelName::parse(file)?;
        let refuse = |reason: String| EnvironmentError::wheel(file, reason);
        check_end(&mut reader).map_err(|error| refuse(error.to_string()))?;
        let mut archive = ZipArchive::new(reader).map_err(|error| refuse(format!("it is no zip archive: {error}")))?;
        if archive.offset() != 0 || !archive.comment().is_empty() {
            return Err(refuse("there are bytes around the archive".to_owned()));
        }
        if archive.len() > WHEEL_ENTRIES_MAX {
            return Err(refuse(format!("more than {WHEEL_ENTRIES_MAX} entries")));
        }
        archive.validate_header_consistency().map_err(|error| refuse(error.to_string()))?;
        let listed = list(&mut archive, bytes).map_err(refuse)?;
        let info = dist_info(&name, &listed).map_err(refuse)?;
        let record_path = format!("{info}.dist-info/RECORD");
        let record_bytes = read_small(&mut archive, &listed, &record_path).map_err(refuse)?;
        check_wheel_version(&read_small(&mut archive, &listed, &format!("{info}.dist-info/WHEEL")).map_err(refuse)?).map_err(refuse)?;
        let record = parse_record(&record_bytes).map_err(refuse)?;
        let mut files = Vec::with_capacity(listed.len());
        for (path, entry) in &listed {
            let digest = if *path == record_path {
                Digest::of(&record_bytes)
            } else if is_signature(path, &info) {
                continue;
            } else {
                promised(path, entry, &record).map_err(refuse)?
            };
            if let Some(path) = target(path, &info).map_err(refuse)? {
                files.push(WheelFile { index: entry.index, path, digest, size: entry.size, executable: entry.executable });
            }
        }
        if let Some(path) = record.keys().find(|path| !listed.contains_key(*path)) {
            return Err(refuse(format!("RECORD names `{}`, which is not in the archive", shown(path))));
        }
        Ok(Self { listing: WheelListing { name, files }, archive })
    }

    /// What is in it.
    pub fn listing(&self) -> &WheelListing {
        &self.listing
    }
}

impl<R: Read + Seek> Contents for Wheel<R> {
    fn name(&self) -> &str {
        &self.listing.name.file
    }

    fn each(&mut self, take: TakeFile<'_>) -> Result<(), EnvironmentError> {
        for file in &self.listing.files {
            let refuse = |reason: String| EnvironmentError::wheel(&self.listing.name.file, format!("`{}` {reason}", shown(&file.path)));
            let mut entry = self.archive.by_index(file.index).map_err(|error| refuse(error.to_string()))?;
            take(file, &mut entry)?;
        }
        Ok(())
    }
}

/// What is done with a file of a wheel and its content.
pub(super) type TakeFile<'a> = &'a mut dyn FnMut(&WheelFile, &mut dyn Read) -> Result<(), EnvironmentError>;

/// The files of a wheel with their content, in their order: from the archive itself, or as a worker reads it.
pub(super) trait Contents {
    /// The wheel's file name.
    fn name(&self) -> &str;
    /// Gives each file once; content that is not read is passed over.
    fn each(&mut self, take: TakeFile<'_>) -> Result<(), EnvironmentError>;
}

/// The end record is the very end: what follows it, tools may take for another archive.
fn check_end<R: Read + Seek>(reader: &mut R) -> std::io::Result<()> {
    let mut end = [0_u8; 22];
    reader.seek(SeekFrom::End(-22)).and_then(|_| reader.read_exact(&mut end)).map_err(|_| std::io::Error::other("it is no zip archive"))?;
    reader.rewind()?;
    if end.starts_with(b"PK\x05\x06") && end.ends_with(&[0, 0]) {
        Ok(())
    } else {
        Err(std::io::Error::other("it does not end like a zip archive"))
    }
}

/// All files of the archive by name.
fn list<R: Read + Seek>(archive: &mut ZipArchive<R>, bytes: u64) -> Result<BTreeMap<String, Listed>, String> {
    let mut listed = BTreeMap::new();
    let mut total: u64 = 0;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| error.to_string())?;
        let name = std::str::from_utf8(entry.name_raw()).map_err(|_| format!("the name of entry {index} is not UTF-8"))?.to_owned();
        let folder = name.ends_with('/');
        let kind = entry.unix_mode().unwrap_or(0) & 0o170_000;
        let size = entry.size();
        check_name(name.strip_suffix('/').unwrap_or(&name))?;
        if entry.encrypted() || !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return Err(format!("`{}` is encrypted or packed by an unknown method", shown(&name)));
        }
        if entry.is_symlink() || !matches!((kind, folder), (0, _) | (0o100_000, false) | (0o040_000, true)) {
            return Err(format!("`{}` is no regular file", shown(&name)));
        }
        if folder {
            if size != 0 {
                return Err(format!("folder `{}` has content", shown(&name)));
            }
            continue;
        }
        total = total.saturating_add(size);
        let executable = entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
        listed.insert(name, Listed { index, size, executable });
    }
    if total > WHEEL_BOMB_FLOOR_BYTES && total > bytes.saturating_mul(WHEEL_RATIO_MAX) {
        return Err(format!("its {bytes} bytes claim to unpack to {total}: more than {WHEEL_RATIO_MAX} times as much"));
    }
    Ok(listed)
}

fn check_name(name: &str) -> Result<(), String> {
    let reason = if name.starts_with('/') || name.as_bytes().get(1) == Some(&b':') {
        "is absolute"
    } else if name.contains('\\') || name.chars().any(char::is_control) {
        "has a backslash or control character"
    } else if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "has an empty, `.` or `..` component"
    } else if name.len() > 1024 || name.split('/').any(|part| part.len() > 255) {
        "is too long"
    } else {
        return Ok(());
    };
    Err(format!("the name `{}` {reason}", shown(name)))
}

/// The one `NAME-VERSION` whose `.dist-info` is in the archive.
fn dist_info(name: &WheelName, listed: &BTreeMap<String, Listed>) -> Result<String, String> {
    let mut found: Vec<&str> = listed.keys().filter_map(|path| path.split_once('/')?.0.strip_suffix(".dist-info")).collect();
    found.dedup();
    let [info] = found.as_slice() else {
        return Err(format!("{} folders end in `.dist-info` instead of one", found.len()));
    };
    let matches =
        info.split_once('-').is_some_and(|(project, version)| normalise(project) == name.project && same_version(version, &name.version));
    if matches { Ok((*info).to_owned()) } else { Err(format!("`{}.dist-info` belongs to another package or version", shown(info))) }
}

/// Equal but for spelling: case, `-` for `_`, zeros at the end of the release.
pub(super) fn same_version(a: &str, b: &str) -> bool {
    let canonical = |version: &str| {
        let version = version.trim_start_matches('v').to_ascii_lowercase().replace(['-', '_'], ".");
        match version.split_once('+') {
            Some((public, local)) => format!("{}+{local}", trim_zeros(public)),
            None => trim_zeros(&version),
        }
    };
    canonical(a) == canonical(b)
}

fn trim_zeros(version: &str) -> String {
    let mut version = version;
    while let Some(shorter) = version.strip_suffix(".0") {
        version = shorter;
    }
    version.to_owned()
}

fn read_small<R: Read + Seek>(archive: &mut ZipArchive<R>, listed: &BTreeMap<String, Listed>, path: &str) -> Result<Vec<u8>, String> {
    let entry = listed.get(path).ok_or_else(|| format!("it has no `{path}`"))?;
    if entry.size > WHEEL_RECORD_BYTES_MAX {
        return Err(format!("`{path}` is over {WHEEL_RECORD_BYTES_MAX} bytes"));
    }
    let mut bytes = Vec::new();
    let file = archive.by_index(entry.index).map_err(|error| error.to_string())?;
    file.take(entry.size + 1).read_to_end(&mut bytes).map_err(|error| format!("`{path}` cannot be read: {error}"))?;
    if bytes.len() as u64 == entry.size { Ok(bytes) } else { Err(format!("`{path}` is not as long as the archive says")) }
}

fn check_wheel_version(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "WHEEL is not UTF-8".to_owned())?;
    let version = text.lines().find_map(|line| line.strip_prefix("Wheel-Version:")).map(str::trim).unwrap_or_default();
    if version.starts_with("1.") { Ok(()) } else { Err(format!("wheel version `{}` instead of 1.x", shown(version))) }
}

/// Path → digest and size, both as written; `None` for rows without a hash.
type Record = BTreeMap<String, Option<(String, String)>>;

fn parse_record(bytes: &[u8]) -> Result<Record, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "RECORD is not UTF-8".to_owned())?;
    let mut record = Record::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let fields = split_row(line).ok_or_else(|| format!("RECORD has the malformed row `{}`", shown(line)))?;
        let [path, hash, size] = <[String; 3]>::try_from(fields).map_err(|_| format!("RECORD has the malformed row `{}`", shown(line)))?;
        let promise = if hash.is_empty() { None } else { Some((hash, size)) };
        if record.insert(path, promise).is_some() {
            return Err(format!("RECORD has `{}` twice", shown(line)));
        }
    }
    Ok(record)
}

/// Fields of one row of comma-separated values; `None` if the quotes do not match.
fn split_row(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    (!quoted).then_some(fields)
}

fn promised(path: &str, entry: &Listed, record: &Record) -> Result<Digest, String> {
    let row = record.get(path).ok_or_else(|| format!("`{}` is not in RECORD", shown(path)))?;
    let (hash, size) = row.as_ref().ok_or_else(|| format!("`{}` has no hash in RECORD", shown(path)))?;
    if !size.is_empty() && size.parse() != Ok(entry.size) {
        return Err(format!("`{}` has {} bytes where RECORD says `{}`", shown(path), entry.size, shown(size)));
    }
    hash.strip_prefix("sha256=").and_then(digest_of_base64url).ok_or_else(|| format!("`{}` has no sha256 in RECORD", shown(path)))
}

/// 43 characters of unpadded base64url are 32 bytes; anything else is `None`.
fn digest_of_base64url(text: &str) -> Option<Digest> {
    let text = text.trim_end_matches('=');
    if text.len() != 43 {
        return None;
    }
    let (mut hex, mut bits, mut held) = (String::with_capacity(64), 0_u32, 0_u32);
    for byte in text.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(six);
        bits += 6;
        while bits >= 4 && hex.len() < 64 {
            bits -= 4;
            hex.push(char::from_digit((held >> bits) & 15, 16)?);
        }
        held &= (1 << bits) - 1;
    }
    // the last two bits of the 43rd character belong to no byte
    let bytes: [u8; 32] = if held == 0 { hex_decode(&hex)?.try_into().ok()? } else { return None };
    Some(Digest::from_bytes(bytes))
}

fn is_signature(path: &str, info: &str) -> bool {
    let rest = path.strip_prefix(info).and_then(|rest| rest.strip_prefix(".dist-info/"));
    matches!(rest, Some("RECORD.jws" | "RECORD.p7s"))
}

/// Where a file of the archive goes below site-packages; `None` if it is left out.
fn target(path: &str, info: &str) -> Result<Option<String>, String> {
    let kept = match path.strip_prefix(info).and_then(|rest| rest.strip_prefix(".data/")) {
        None => path,
        Some(rest) => match rest.split_once('/') {
            Some(("purelib" | "platlib", rest)) => rest,
            Some(("scripts" | "headers" | "data", _)) => return Ok(None),
            _ => return Err(format!("`{}` is of no known kind", shown(path))),
        },
    };
    if matches!(kept, "sitecustomize.py" | "usercustomize.py") || kept.starts_with("sitecustomize/") || kept.starts_with("usercustomize/") {
        return Err(format!("`{}` would run in every program without being imported", shown(path)));
    }
    let compiled = kept.ends_with(".pyc") || kept.split('/').any(|part| part == "__pycache__");
    Ok((!compiled).then(|| kept.to_owned()))
}

/// A name from a hostile file, for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_debug).collect()
}
