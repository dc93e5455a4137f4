//! Code integrity: what a workspace demands of a step's code, and the git commit that the code is claimed to be.
//!
//! in: a step and its code folder; out: a refusal, or the claimed commit for the provenance.
//! **Invariant:** a level that this release cannot check is refused, never recorded as if it had been checked.
//! **Invariant:** the digest of the folder is the pin; the commit is a claim read from files, git is never run.

use std::path::Path;

use seaworthy_core::workflow::model::{CodeIntegrity, Step};

use crate::error::EngineError;

/// Bytes of a file of `.git` that are read.
const GIT_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Refuses levels that need a look into git's objects or at reviews.
pub(crate) fn check_level(step: &Step) -> Result<(), EngineError> {
    let level = match step.code_integrity {
        CodeIntegrity::Any => return Ok(()),
        CodeIntegrity::Committed => "committed",
        CodeIntegrity::Signed => "signed",
        CodeIntegrity::Reviewed => "reviewed",
    };
    let message = format!("step `{}` demands `code_integrity: {level}`, which this release cannot check", step.name);
    Err(EngineError::configuration("code/integrity-unsupported", message, "`any` pins the code by digest and records the claimed commit"))
}

/// The commit that the repository around `folder` has checked out, as its files say.
pub(crate) fn claimed_commit(folder: &Path) -> Option<String> {
    let git = folder.ancestors().map(|above| above.join(".git")).find(|git| git.is_dir())?;
    let head = read(&git.join("HEAD"))?;
    let hash = match head.trim().strip_prefix("ref: ") {
        None => head.trim().to_owned(),
        Some(reference) if is_plain(reference) => match read(&git.join(reference)) {
            Some(text) => text.trim().to_owned(),
            None => packed(&git, reference)?,
        },
        Some(_) => return None,
    };
    let hex = matches!(hash.len(), 40 | 64) && hash.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    hex.then_some(hash)
}

fn packed(git: &Path, reference: &str) -> Option<String> {
    let text = read(&git.join("packed-refs"))?;
    text.lines().find_map(|line| line.strip_suffix(reference).and_then(|rest| rest.strip_suffix(' ')).map(str::to_owned))
}

fn read(path: &Path) -> Option<String> {
    seaworthy_store::workspace::text_file(path, GIT_FILE_BYTES_MAX).ok()
}

/// A reference cannot lead out of the repository.
fn is_plain(reference: &str) -> bool {
    reference.starts_with("refs/") && reference.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_that_climbs_out_is_not_followed() {
        assert!(is_plain("refs/heads/main"));
        for climbing in ["refs/../../etc/passwd", "/etc/passwd", "refs//x", "heads/main"] {
            assert!(!is_plain(climbing), "{climbing}");
        }
    }
}
