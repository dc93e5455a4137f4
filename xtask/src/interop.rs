//! Interoperability: other people's tools against ours, in throw-away environments.
//!
//! in: `interop/requirements.txt`, `interop/package.json`, `interop/*.sh`; out: the scripts' output.
//! **Invariant:** nothing is installed outside `target/interop`; a folder without scripts is an error, not a success.
//!
//! A script gets `PYTHON` (of the environment), `NODE_PATH`, `WORK` (an empty folder of its own), `CARGO` and `TARGET`
//! (where cargo builds).

use std::fs;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::process::{self, program, root, target};

/// Installs the peers and runs every script; all of them, even if one fails.
pub(crate) fn run() -> Outcome {
    let scripts = scripts()?;
    let base = target().join("interop");
    let python = python_environment(&base)?;
    let modules = node_modules(&base)?;
    let mut failed = Vec::new();
    for script in &scripts {
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let work = base.join("work").join(&name);
        // what an earlier run left there; a folder that cannot be removed shows itself in the script
        _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
        println!("--- interop: {name}");
        let mut command = program("bash", &["-euo", "pipefail"]);
        command.arg(script).env("PYTHON", &python).env("NODE_PATH", &modules).env("WORK", &work);
        command.env("TARGET", target());
        command.env("CARGO", std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        if let Err(message) = process::run(command) {
            println!("{message}");
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// All scripts, sorted.
fn scripts() -> Result<Vec<PathBuf>, String> {
    let folder = root().join("interop");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut scripts: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "sh")).collect();
    scripts.sort();
    if scripts.is_empty() { Err("interop/ has no scripts (*.sh)".to_owned()) } else { Ok(scripts) }
}

/// A Python environment with `interop/requirements.txt`; made again when that file changes.
fn python_environment(base: &Path) -> Result<PathBuf, String> {
    let folder = base.join("python");
    let python = folder.join("bin/python");
    let requirements = root().join("interop/requirements.txt");
    if !requirements.is_file() {
        return Ok(python);
    }
    if installed(&folder, &requirements) {
        return Ok(python);
    }
    // an outdated environment; pip fails if it is still there and broken
    _ = fs::remove_dir_all(&folder);
    process::run(program("python3", &["-m", "venv", &folder.to_string_lossy()]))?;
    let list = requirements.to_string_lossy();
    // some peers declare a newer Python than they need
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--ignore-requires-python", "-r", &list];
    process::run(program(&python, &arguments))?;
    remember(&folder, &requirements)?;
    Ok(python)
}

/// `node_modules` with `interop/package.json` (and its lock, if there is one).
fn node_modules(base: &Path) -> Result<PathBuf, String> {
    let folder = base.join("node");
    let package = root().join("interop/package.json");
    if package.is_file() && !installed(&folder, &package) {
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for name in ["package.json", "package-lock.json"] {
            let from = root().join("interop").join(name);
            if from.is_file() {
                fs::copy(&from, folder.join(name)).map_err(|error| format!("{}: {error}", from.display()))?;
            }
        }
        let how = if folder.join("package-lock.json").is_file() { "ci" } else { "install" };
        process::run(program("npm", &[how, "--silent", "--no-audit", "--no-fund", "--prefix", &folder.to_string_lossy()]))?;
        remember(&folder, &package)?;
    }
    Ok(folder.join("node_modules"))
}

const STAMP: &str = ".installed-from";

/// True if `folder` was installed from exactly this list.
fn installed(folder: &Path, list: &Path) -> bool {
    let (there, wanted) = (fs::read(folder.join(STAMP)), fs::read(list));
    there.ok().zip(wanted.ok()).is_some_and(|(there, wanted)| there == wanted)
}

fn remember(folder: &Path, list: &Path) -> Outcome {
    fs::copy(list, folder.join(STAMP)).map(|_| ()).map_err(|error| format!("{}: {error}", folder.display()))
}
