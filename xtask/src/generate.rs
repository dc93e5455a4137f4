//! Generated files: JSON schemas, the command line reference, the tables of error codes and events.
//!
//! in: the code; out: files below `schemas/` and `docs/src/reference/`, written or compared.
//! **Invariant:** `--check` writes nothing and names every stale file.

use std::fs;

use crate::process::{self, cargo, root};
use crate::{Outcome, tables};

/// Writes every generated file, or compares it with what is committed.
pub(crate) fn run(check: bool) -> Outcome {
    let schemas = if check { "--check" } else { "--write" };
    let mut failed = Vec::new();
    failed.extend(process::run(cargo(&["run", "--quiet", "-p", "seaworthy-core", "--example", "schema", "--", schemas, "schemas"])).err());
    let sources = tables::sources();
    let documents = [
        ("docs/src/reference/error-codes.md", tables::error_codes(&sources)),
        ("docs/src/reference/events.md", tables::events(&sources)),
        ("docs/src/reference/command-line.md", command_line()),
    ];
    for (path, text) in documents {
        failed.extend(text.and_then(|text| write_or_compare(path, &text, check)).err());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// The page of commands, by the program itself.
fn command_line() -> Result<String, String> {
    let page = process::output(cargo(&["run", "--quiet", "-p", "seaworthy", "--", "reference"]))?;
    if page.matches("\n## ").count() < 5 {
        return Err("`seaworthy reference` lists fewer than five commands".to_owned());
    }
    Ok(page)
}

fn write_or_compare(path: &str, text: &str, check: bool) -> Outcome {
    let file = root().join(path);
    if check {
        let fresh = fs::read_to_string(&file).is_ok_and(|there| there == text);
        return if fresh { Ok(()) } else { Err(format!("{path} is stale: run `cargo xtask gen`")) };
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(|error| format!("{path}: {error}"))?;
    }
    fs::write(&file, text).map_err(|error| format!("{path}: {error}"))
}
