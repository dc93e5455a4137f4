//! Other people's tools in environments of their own.
//!
//! in: what pip installs; out: the environment's interpreter.
//! **Invariant:** nothing is installed outside `target/bench`.

use std::path::{Path, PathBuf};

use super::Bench;
use crate::process::{program, run};

/// A Python environment with `packages`; made once for each list of packages.
pub(super) fn python(bench: &Bench, name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = bench.dir.join(format!("peer-{name}"));
    let (python, stamp) = (folder.join("bin/python"), folder.join(".installed"));
    let wanted = packages.join(" ");
    if std::fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(python);
    }
    // an outdated or half-made environment; pip fails if it is still there and broken
    _ = std::fs::remove_dir_all(&folder);
    run(program("python3", &["-m", "venv", &folder.to_string_lossy()]))?;
    if packages.is_empty() {
        std::fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
        return Ok(python);
    }
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(program(&python, &[&install, packages].concat()))?;
    std::fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(python)
}

/// A program of the machine, if it is installed.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file: &PathBuf| Path::is_file(file))
}
