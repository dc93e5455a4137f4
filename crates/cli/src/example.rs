//! The shipped example, embedded in the binary, so that one file is enough to see the whole story.
//!
//! **Invariant:** copying never overwrites a file that is there.

use std::path::Path;

use include_dir::{Dir, include_dir};

use crate::failure::Failure;

static EXAMPLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../examples/secure-ml-pipeline");

/// Copies the files that `wanted` chooses into `dir`; returns how many were written.
pub(crate) fn copy(dir: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<usize, Failure> {
    let mut written = 0;
    copy_below(&EXAMPLE, dir, wanted, &mut written)?;
    Ok(written)
}

/// One file of the example.
pub(crate) fn text(path: &str) -> Option<&'static str> {
    EXAMPLE.get_file(path).and_then(include_dir::File::contents_utf8)
}

fn copy_below(from: &Dir<'_>, dir: &Path, wanted: &dyn Fn(&str) -> bool, written: &mut usize) -> Result<(), Failure> {
    for file in from.files() {
        let name = file.path().to_string_lossy();
        let target = dir.join(file.path());
        if !wanted(&name) || target.exists() {
            continue;
        }
        write(&target, file.contents())?;
        *written += 1;
    }
    for folder in from.dirs() {
        copy_below(folder, dir, wanted, written)?;
    }
    Ok(())
}

/// Writes one file and the folders above it.
pub(crate) fn write(target: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let unwritable = |e: &dyn std::fmt::Display| {
        Failure::configuration("init/unwritable", format!("`{}`: {e}", target.display()), "choose a folder that you may write to")
    };
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent).map_err(|e| unwritable(&e))?;
    }
    seaworthy_store::workspace::write_atomic(target, bytes, 0o644).map_err(|e| unwritable(&e))
}
