//! The files of the host a step needs to run programs: not all of /usr, but a closed, small set.
//!
//! In: names, or a Python interpreter. Out: [`ClosureFile`]s, each with its source here and its place in the sandbox.
//!
//! **Invariant:** every library that a listed program or library asks for by name is listed too, or the closure fails;
//! only extension modules of the interpreter may lack theirs, and are then left unusable.
//! **Invariant:** no site-packages of the host is visible.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::elf::{self, Linkage};

/// A mount of this source hides what is at its target: see [`crate::Mount`].
pub(crate) const MASK: &str = "/dev/null";

const LIBRARY_FOLDERS: [&str; 9] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/lib64",
    "/usr/lib",
    "/lib",
    "/usr/local/lib",
];
/// What compiled Python packages expect to find without naming a path.
const LIBRARIES: [&str; 11] = [
    "libc.so.6",
    "libm.so.6",
    "libstdc++.so.6",
    "libgomp.so.1",
    "libgcc_s.so.1",
    "libz.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libutil.so.1",
    "libresolv.so.2",
];
/// Absent from some systems.
const LIBRARIES_OPTIONAL: [&str; 4] = ["libgomp.so.1", "libstdc++.so.6", "libz.so.1", "libutil.so.1"];
const PROGRAMS: [&str; 34] = [
    "basename",
    "cat",
    "chmod",
    "cp",
    "cut",
    "date",
    "dirname",
    "echo",
    "env",
    "expr",
    "false",
    "grep",
    "head",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mktemp",
    "mv",
    "printf",
    "pwd",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sha256sum",
    "sleep",
    "sort",
    "tail",
    "test",
    "touch",
    "tr",
    "true",
    "wc",
];

/// One file or folder to be mounted read-only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClosureFile {
    /// Real path here; `/dev/null` to hide what is at the target.
    pub source: PathBuf,
    /// Place in the sandbox.
    pub target: PathBuf,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// The closure cannot be made on this system.
#[derive(Debug, thiserror::Error)]
pub enum ClosureError {
    /// A file everything depends on.
    #[error("`{what}` was not found on this system")]
    Missing {
        /// Its name.
        what: String,
    },
    /// Not something whose libraries could be known.
    #[error("`{}` cannot be used as an interpreter: {why}", path.display())]
    Interpreter {
        /// As given.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// It cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ClosureError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "sandbox/closure-missing",
            Self::Interpreter { .. } => "sandbox/closure-interpreter",
            Self::Read { .. } => "sandbox/closure-read",
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "install the system package that brings it",
            Self::Interpreter { .. } => "name a CPython binary itself, not a wrapper script",
            Self::Read { .. } => "the launching user must be able to read it",
        }
    }
}

/// Loader, C and C++ runtime, OpenMP, a shell and small programs: the environment `host`.
pub fn host_closure() -> Result<Vec<ClosureFile>, ClosureError> {
    let mut closure = Closure::default();
    for name in LIBRARIES {
        match closure.find_library(name) {
            Some(path) => closure.add_with_needs(&path, &path)?,
            None if LIBRARIES_OPTIONAL.contains(&name) => {}
            None => {
                return Err(ClosureError::Missing { what: name.to_owned() });
            }
        }
    }
    for name in PROGRAMS {
        if let Some(path) = find_program(name) {
            closure.add_with_needs(&path, &Path::new("/usr/bin").join(name))?;
        }
    }
    let shell = find_program("sh").ok_or_else(|| ClosureError::Missing { what: "sh".to_owned() })?;
    closure.add_with_needs(&shell, Path::new("/usr/bin/sh"))?;
    closure.add_with_needs(&shell, Path::new("/bin/sh"))?;
    let locale = Path::new("/usr/lib/locale/C.utf8");
    if locale.is_dir() {
        closure.add(locale.to_owned(), locale.to_owned(), true);
    }
    Ok(closure.done())
}

/// A Python interpreter at its real place: binary, standard library, extension modules and all their libraries, with
/// every site-packages hidden. `python` may be a symbolic link or lie in a virtual environment.
pub fn interpreter_closure(python: &Path) -> Result<Vec<ClosureFile>, ClosureError> {
    let refuse = |why| ClosureError::Interpreter { path: python.to_owned(), why };
    let binary = fs::canonicalize(python).map_err(reading(python))?;
    let mut closure = Closure::default();
    if elf::linkage(&binary).map_err(reading(&binary))?.is_none() {
        return Err(refuse("it is not a program (a wrapper script?)"));
    }
    closure.add_with_needs(&binary, &binary)?;
    let folder = binary.parent().ok_or_else(|| refuse("it lies in no folder"))?;
    for alias in ["python", "python3"] {
        let path = folder.join(alias);
        if path != binary && fs::canonicalize(&path).is_ok_and(|real| real == binary) {
            closure.add(binary.clone(), path, false);
        }
    }
    let prefix = folder.parent().ok_or_else(|| refuse("it has no prefix"))?;
    let library = standard_library(prefix, &binary).ok_or_else(|| refuse("its standard library was not found"))?;
    closure.add(library.clone(), library.clone(), true);
    for name in ["site-packages", "dist-packages"] {
        let path = library.join(name);
        if path.is_dir() {
            closure.add(PathBuf::from(MASK), path, true);
        }
    }
    let modules = library.join("lib-dynload");
    for entry in fs::read_dir(&modules).map_err(reading(&modules))? {
        let path = entry.map_err(reading(&modules))?.path();
        // A module whose library is not installed (tkinter, mostly) fails at import, as it does outside.
        match closure.add_needs(&path) {
            Ok(()) | Err(ClosureError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(closure.done())
}

/// `<prefix>/lib/pythonX.Y` of the binary's own version.
fn standard_library(prefix: &Path, binary: &Path) -> Option<PathBuf> {
    let name = binary.file_name()?.to_str()?;
    let exact = prefix.join("lib").join(name);
    if exact.join("os.py").is_file() {
        return Some(exact);
    }
    let mut found = fs::read_dir(prefix.join("lib")).ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let named = path.file_name()?.to_str()?.starts_with("python3.");
        (named && path.join("os.py").is_file()).then_some(path)
    });
    // Two versions under one prefix and a name that does not tell: refuse to guess.
    let only = found.next()?;
    found.next().is_none().then_some(only)
}

fn reading(path: &Path) -> impl Fn(io::Error) -> ClosureError {
    move |source| ClosureError::Read { path: path.to_owned(), source }
}

fn find_program(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin"].iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// A library of this machine's architecture; `/usr/lib` may hold others (and linker scripts).
fn is_library(path: &Path) -> bool {
    elf::linkage(path).is_ok_and(|linkage| linkage.is_some())
}

#[derive(Default)]
struct Closure {
    /// By target.
    files: BTreeMap<PathBuf, ClosureFile>,
    examined: BTreeSet<PathBuf>,
    /// Where names were found in the system's folders: nearly every program asks for the same ones.
    libraries: BTreeMap<String, Option<PathBuf>>,
}

impl Closure {
    fn add(&mut self, source: PathBuf, target: PathBuf, is_dir: bool) {
        self.files.insert(target.clone(), ClosureFile { source, target, is_dir });
    }

    fn add_with_needs(&mut self, source: &Path, target: &Path) -> Result<(), ClosureError> {
        let real = fs::canonicalize(source).map_err(reading(source))?;
        self.add(real, target.to_owned(), false);
        self.add_needs(source)
    }

    /// Everything a file asks for, and what that asks for.
    fn add_needs(&mut self, path: &Path) -> Result<(), ClosureError> {
        let mut waiting = vec![fs::canonicalize(path).map_err(reading(path))?];
        while let Some(path) = waiting.pop() {
            if !self.examined.insert(path.clone()) {
                continue;
            }
            let Some(linkage) = elf::linkage(&path).map_err(reading(&path))? else {
                continue;
            };
            if let Some(interpreter) = &linkage.interpreter {
                let real = fs::canonicalize(interpreter).map_err(reading(Path::new(interpreter)))?;
                self.add(real, PathBuf::from(interpreter), false);
            }
            for name in &linkage.needed {
                let Some(found) = self.resolve(name, &linkage, &path) else {
                    return Err(ClosureError::Missing { what: format!("{name} (needed by {})", path.display()) });
                };
                let real = fs::canonicalize(&found).map_err(reading(&found))?;
                if !name.starts_with("ld-linux") {
                    self.add(real.clone(), found, false);
                }
                waiting.push(real);
            }
        }
        Ok(())
    }

    /// Where the loader will find the name: the file's own search path, then the system's folders.
    fn resolve(&mut self, name: &str, linkage: &Linkage, asking: &Path) -> Option<PathBuf> {
        let origin = asking.parent().and_then(Path::to_str).unwrap_or("/");
        let own = linkage.search.iter().filter(|folder| !folder.is_empty()).find_map(|folder| {
            let folder = folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin);
            // The sandbox takes no `..`: the folder as it really is, which is where the mount will stand too.
            let folder = fs::canonicalize(folder).ok()?;
            Some(folder.join(name)).filter(|path| is_library(path))
        });
        own.or_else(|| self.find_library(name))
    }

    fn find_library(&mut self, name: &str) -> Option<PathBuf> {
        if let Some(known) = self.libraries.get(name) {
            return known.clone();
        }
        let found = LIBRARY_FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| is_library(path));
        self.libraries.insert(name.to_owned(), found.clone());
        found
    }

    fn done(self) -> Vec<ClosureFile> {
        self.files.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_closure_is_small_closed_and_plain() {
        let closure = host_closure().unwrap();
        let targets: BTreeSet<_> = closure.iter().map(|one| one.target.to_str().unwrap()).collect();
        assert!(targets.contains("/bin/sh") && targets.iter().any(|name| name.ends_with("libc.so.6")), "{targets:?}");
        assert!(targets.iter().any(|name| name.contains("/ld-linux")), "a loader: {targets:?}");
        assert!(closure.len() < 80, "{} mounts", closure.len());
        for file in &closure {
            assert!(file.target.is_absolute() && file.source.exists(), "{file:?}");
            assert!(!file.target.to_str().unwrap().contains(".."), "{file:?}");
        }
    }

    #[test]
    fn a_script_is_refused_as_interpreter() {
        let script = std::env::temp_dir().join(format!("not-python-{}", std::process::id()));
        use std::io::Write as _;
        let mut file = fs::File::options().write(true).create(true).truncate(true).open(&script).unwrap();
        file.write_all(b"#!/bin/sh\n").unwrap();
        assert!(matches!(interpreter_closure(&script), Err(ClosureError::Interpreter { .. })));
    }
}
