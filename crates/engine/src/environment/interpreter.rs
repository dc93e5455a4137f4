//! The Python interpreter of this machine, named by the bytes that decide what it does.
//!
//! in: candidate paths (from the settings; nothing is looked up in the environment); out: [`Interpreter`].
//! Found by file layout alone: nothing is executed. Symbolic links are followed to the real binary, so a virtual
//! environment leads to its base; a pyenv shim leads to the version that pyenv has chosen.
//! **Invariant:** the digest covers binary, libpython and every file of the standard library but `__pycache__` (which steps never read) and site-packages (which steps never see).

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use seaworthy_core::digest::{Digest, Hasher};

use super::error::EnvironmentError;
use super::memo::Looked;
use super::wheel::WheelName;

/// Bytes of an interpreter binary or library that are searched for the version.
const BINARY_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Folders within folders of a standard library.
const DEPTH_MAX: usize = 32;
/// Never hashed, never shown to a step.
pub(super) const HIDDEN: [&str; 3] = ["__pycache__", "site-packages", "dist-packages"];

/// An interpreter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interpreter {
    /// The real binary.
    pub path: PathBuf,
    /// What `sys.base_prefix` will be.
    pub prefix: PathBuf,
    /// `PREFIX/lib/pythonX.Y`.
    pub stdlib: PathBuf,
    /// The shared library, if the binary needs one.
    pub libpython: Option<PathBuf>,
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
    /// `cp311`.
    pub abi_tag: String,
    /// `linux_x86_64`.
    pub platform: String,
    /// Names all of the above but the places.
    pub digest: Digest,
    /// How its files stood when the digest was taken.
    pub(super) looked: Looked,
}

/// The first of `candidates` that is a CPython 3.9 or later. Hashes some 100 MB: about 0.15 s.
pub fn find_interpreter(candidates: &[PathBuf]) -> Result<Interpreter, EnvironmentError> {
    find_with(candidates, &mut |interpreter| Ok((digest_of(interpreter)?, Looked::default())))
}

/// The same, with the digest from `digest`.
pub(super) fn find_with(
    candidates: &[PathBuf],
    digest: &mut dyn FnMut(&Interpreter) -> std::io::Result<(Digest, Looked)>,
) -> Result<Interpreter, EnvironmentError> {
    let mut tried = Vec::new();
    for candidate in candidates {
        let found = examine(candidate).and_then(|mut interpreter| {
            (interpreter.digest, interpreter.looked) = digest(&interpreter).map_err(|error| error.to_string())?;
            Ok(interpreter)
        });
        match found {
            Ok(interpreter) => return Ok(interpreter),
            Err(reason) => tried.push(format!("`{}`: {reason}", candidate.display())),
        }
    }
    Err(EnvironmentError::Interpreter { tried })
}

impl Interpreter {
    /// Whether a wheel of this name may be imported by this interpreter, judged by its tags.
    #[must_use]
    pub fn accepts(&self, wheel: &WheelName) -> bool {
        let minor = self.version.1;
        let stable = |tag: &str| tag.strip_prefix("cp3").and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n >= 2 && n <= minor);
        let python = |tag: &String| {
            *tag == self.abi_tag || tag == "py3" || tag.strip_prefix("py3").and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n <= minor)
        };
        let (_, machine) = self.platform.split_once('_').unwrap_or_default();
        let platform = |tag: &String| {
            tag == "any"
                || (tag.ends_with(machine) && (tag.starts_with("manylinux") || tag.starts_with("linux_") || tag.starts_with("musllinux")))
        };
        let abi = |tag: &String| *tag == self.abi_tag || tag == "none" || tag == "abi3";
        let abi3 = wheel.abi.iter().any(|tag| tag == "abi3") && wheel.python.iter().any(|tag| stable(tag));
        wheel.platform.iter().any(platform) && (abi3 || (wheel.abi.iter().any(abi) && wheel.python.iter().any(python)))
    }

    /// The wheel of the pip that comes with the interpreter: within the standard library, or where distributions keep it. What
    /// pip brings is checked without it, so it need not be in the digest.
    pub(super) fn bundled_pip(&self) -> Option<PathBuf> {
        let own = self.stdlib.join("ensurepip/_bundled");
        let shared = (self.prefix == Path::new("/usr")).then(|| PathBuf::from("/usr/share/python-wheels"));
        std::iter::once(own).chain(shared).find_map(|folder| {
            let mut wheels: Vec<PathBuf> = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
            wheels.sort();
            let is_pip = |path: &PathBuf| {
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("pip-") && name.ends_with(".whl"))
            };
            wheels.into_iter().rfind(is_pip)
        })
    }
}

/// All but the digest.
fn examine(candidate: &Path) -> Result<Interpreter, String> {
    let path = real_binary(candidate)?;
    let prefix = path.parent().and_then(Path::parent).ok_or("it lies in no `bin` folder")?.to_path_buf();
    let (stdlib, minor) = standard_library(&path, &prefix)?;
    let libpython = needed_library(&path, &prefix, minor)?;
    let patch = patch_level(&prefix, libpython.as_deref().unwrap_or(&path), minor)?;
    Ok(Interpreter {
        platform: format!("linux_{}", std::env::consts::ARCH),
        abi_tag: format!("cp3{minor}"),
        version: (3, minor, patch),
        digest: Digest::of(b""),
        looked: Looked::default(),
        path,
        prefix,
        stdlib,
        libpython,
    })
}

/// Follows links and pyenv's shims to an ELF file with the execute bit.
fn real_binary(candidate: &Path) -> Result<PathBuf, String> {
    let real = fs::canonicalize(candidate).map_err(|error| error.to_string())?;
    let magic = head(&real)?;
    if magic == *b"\x7fELF" {
        let mode = fs::metadata(&real).map_err(|error| error.to_string())?.permissions().mode();
        return if mode & 0o111 == 0 { Err("it may not be executed".into()) } else { Ok(real) };
    }
    let shims = real.parent().filter(|folder| folder.ends_with("shims")).and_then(Path::parent);
    let Some(root) = shims else {
        return Err("it is no ELF binary".into());
    };
    let chosen =
        fs::read_to_string(root.join("version")).map_err(|error| format!("it is a pyenv shim and pyenv has chosen no version: {error}"))?;
    let version = chosen
        .split_whitespace()
        .next()
        .filter(|word| !word.contains('/') && !word.starts_with('.'))
        .ok_or("pyenv has chosen no version")?;
    let real = fs::canonicalize(root.join("versions").join(version).join("bin/python3")).map_err(|error| error.to_string())?;
    if head(&real)? == *b"\x7fELF" { Ok(real) } else { Err("pyenv's version is no ELF binary".into()) }
}

fn head(path: &Path) -> Result<[u8; 4], String> {
    let mut magic = [0_u8; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).map_err(|error| error.to_string())?;
    Ok(magic)
}

/// The folder with `os.py` that belongs to the binary, and the minor version.
fn standard_library(path: &Path, prefix: &Path) -> Result<(PathBuf, u32), String> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let of_name = name.strip_prefix("python3.").and_then(|minor| minor.parse::<u32>().ok());
    let minors: Vec<u32> = of_name.map_or_else(|| (9..64).collect(), |minor| vec![minor]);
    let mut found = Vec::new();
    for minor in minors {
        for lib in ["lib", "lib64"] {
            let folder = prefix.join(lib).join(format!("python3.{minor}"));
            if folder.join("os.py").is_file() {
                found.push((folder, minor));
            }
        }
    }
    match found.as_slice() {
        [(folder, minor)] if *minor >= 9 => Ok((folder.clone(), *minor)),
        [(_, minor)] => Err(format!("Python 3.{minor} is too old")),
        [] => Err(format!("no standard library below `{}`", prefix.display())),
        _ => Err(format!("several standard libraries below `{}`; name the binary with its version", prefix.display())),
    }
}

/// `libpython3.N.so.1.0`, if the binary names it.
fn needed_library(path: &Path, prefix: &Path, minor: u32) -> Result<Option<PathBuf>, String> {
    let name = format!("libpython3.{minor}.so.1.0");
    let binary = read_bounded(path)?;
    if !contains(&binary, b"Py_BytesMain") {
        return Err("it is no Python".into());
    }
    if !contains(&binary, name.as_bytes()) {
        return Ok(None);
    }
    let places = [prefix.join("lib"), prefix.join("lib64"), prefix.join("lib").join(format!("{}-linux-gnu", std::env::consts::ARCH))];
    for place in places {
        if let Ok(real) = fs::canonicalize(place.join(&name)) {
            return Ok(Some(real));
        }
    }
    Err(format!("it needs `{name}`, which is not below `{}`", prefix.display()))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(BINARY_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// From the headers if they are installed, else from the version text in the binary.
fn patch_level(prefix: &Path, binary: &Path, minor: u32) -> Result<u32, String> {
    let header = fs::read_to_string(prefix.join(format!("include/python3.{minor}/patchlevel.h"))).unwrap_or_default();
    let defined = |name: &str| {
        header.lines().find_map(|line| line.strip_prefix("#define ")?.trim_start().strip_prefix(name)?.trim().parse::<u32>().ok())
    };
    if defined("PY_MINOR_VERSION") == Some(minor)
        && let Some(patch) = defined("PY_MICRO_VERSION")
    {
        return Ok(patch);
    }
    let mut found = versions_in(&read_bounded(binary)?, minor);
    found.dedup();
    match found.as_slice() {
        [patch] => Ok(*patch),
        _ => Err(format!("cannot tell which 3.{minor} it is")),
    }
}

/// Every N of a text `3.MINOR.N` (perhaps with `+` behind it) that a NUL ends.
fn versions_in(bytes: &[u8], minor: u32) -> Vec<u32> {
    let start = format!("3.{minor}.");
    let mut found: Vec<u32> = bytes
        .split(|byte| *byte == 0)
        .filter(|text| text.len() > start.len())
        .filter_map(|text| {
            let tail = text.get(text.len().saturating_sub(start.len() + 3)..)?;
            let tail = std::str::from_utf8(tail).ok()?.trim_end_matches('+');
            let (_, patch) = tail.rsplit_once(&start)?;
            patch.parse().ok()
        })
        .collect();
    found.sort_unstable();
    found
}

pub(super) fn digest_of(interpreter: &Interpreter) -> std::io::Result<Digest> {
    let (major, minor, patch) = interpreter.version;
    let libpython = interpreter.libpython.as_deref().map(file_digest).transpose()?;
    let mut stdlib = Hasher::new();
    hash_tree(&interpreter.stdlib, "", 0, &mut stdlib)?;
    let text = format!(
        "seaworthy python interpreter 1\nversion {major}.{minor}.{patch}\nabi {}\nplatform {}\nbinary {}\nlibpython {}\nstdlib {}\n",
        interpreter.abi_tag,
        interpreter.platform,
        file_digest(&interpreter.path)?,
        libpython.map_or_else(|| "-".to_owned(), |digest| digest.hex()),
        stdlib.finish(),
    );
    Ok(Digest::of(text.as_bytes()))
}

fn file_digest(path: &Path) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0_u8; 128 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        let chunk = buffer.get(..count).unwrap_or_default();
        if chunk.is_empty() {
            return Ok(hasher.finish());
        }
        hasher.update(chunk);
    }
}

/// One line an entry, sorted by name: kind, digest, path. A link counts by where it points and by the bytes it leads to.
fn hash_tree(folder: &Path, below: &str, depth: usize, hasher: &mut Hasher) -> std::io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(std::io::Error::other("the standard library is nested too deeply"));
    }
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry
            .file_name()
            .into_string()
            .map_err(|_| std::io::Error::other("a file of the standard library has a name that is not UTF-8"))?;
        if HIDDEN.contains(&name.as_str()) {
            continue;
        }
        let (path, below) = (entry.path(), format!("{below}{name}"));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            hash_tree(&path, &format!("{below}/"), depth + 1, hasher)?;
            continue;
        }
        let line = if kind.is_symlink() {
            let target = fs::read_link(&path)?;
            // a link that leads nowhere here leads nowhere in a sandbox
            let content = if path.is_file() { file_digest(&path)?.hex() } else { "-".to_owned() };
            format!("link {content} {} {below}\n", target.display())
        } else if kind.is_file() {
            format!("file {} {below}\n", file_digest(&path)?)
        } else {
            return Err(std::io::Error::other("the standard library has something that is neither file nor folder"));
        };
        hasher.update(line.as_bytes());
    }
    Ok(())
}
