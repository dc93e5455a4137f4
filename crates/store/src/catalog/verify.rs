//! Is the catalog what the log says?
//!
//! in: the catalog's file and the log; out: faults.
//! **Invariant:** every changed byte of the two files is reported, and every row that differs from a rebuild is named.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, statat};
use seaworthy_core::limits::CONFIG_FILE_BYTES_MAX;
use seaworthy_core::ports::EvidenceSource;

use super::{Catalog, schema, sum};
use crate::artifacts::{FaultKind, StoreFault};
use crate::workspace::text_file;

/// Rows named at most.
const ROWS_MAX: usize = 20;

/// Rebuilds the catalog in memory and compares it with the file at `path`; no file is no fault, since it can be made again.
#[must_use]
pub fn verify(path: &Path, evidence: &dyn EvidenceSource) -> Vec<StoreFault> {
    let there = |path: &Path| statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    let sum_path = sum::path_of(path);
    if !there(path) && !there(&sum_path) {
        return Vec::new();
    }
    let mut faults = check_sum(path, &sum_path);
    if let Err(message) = check_rows(path, evidence, &mut faults) {
        faults.push(fault(path, message));
    }
    faults
}

fn check_sum(path: &Path, sum_path: &Path) -> Vec<StoreFault> {
    let stored = match text_file(sum_path, CONFIG_FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(cause) => return vec![fault(sum_path, cause.to_string())],
    };
    match sum::checksum(path) {
        Ok(Some(sum)) if sum::line(&sum) == stored => Vec::new(),
        Ok(Some(_)) => vec![fault(path, "its bytes are not those of its checksum".into())],
        Ok(None) => vec![fault(path, "it is missing, but its checksum is there".into())],
        Err(cause) => vec![fault(path, cause.to_string())],
    }
}

fn check_rows(path: &Path, evidence: &dyn EvidenceSource, faults: &mut Vec<StoreFault>) -> Result<(), String> {
    let catalog = Catalog::open_read_only(path).map_err(|cause| cause.to_string())?;
    if !schema::is_ours(&catalog.db) {
        return Err("its tables are not those of a catalog".into());
    }
    let integrity: String = catalog.db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(|cause| cause.to_string())?;
    if integrity != "ok" {
        faults.push(fault(path, format!("the database is damaged: {}", integrity.replace('\n', "; "))));
    }
    let indexed = catalog.cursor().map_err(|cause| cause.to_string())?;
    let size = evidence.size().map_err(|cause| cause.to_string())?;
    if indexed > size {
        return Err(format!("it has indexed {indexed} leaves, but the log has {size}"));
    }
    let again = Catalog::in_memory(evidence, indexed).map_err(|cause| cause.to_string())?;
    let (found, want) = (catalog.logical_dump(), again.logical_dump());
    let (found, want) = (found.map_err(|cause| cause.to_string())?, want.map_err(|cause| cause.to_string())?);
    if found != want {
        faults.extend(differences(&found, &want).take(ROWS_MAX).map(|message| fault(path, message)));
    }
    Ok(())
}

/// Lines that stand in only one of two dumps.
fn differences<'a>(found: &'a str, want: &'a str) -> impl Iterator<Item = String> + 'a {
    let ours: std::collections::BTreeSet<&str> = found.lines().collect();
    let theirs: std::collections::BTreeSet<&str> = want.lines().collect();
    let extra: Vec<String> = ours.difference(&theirs).map(|line| format!("the log does not say: {}", cut(line))).collect();
    let missing: Vec<String> = theirs.difference(&ours).map(|line| format!("it lacks what the log says: {}", cut(line))).collect();
    extra.into_iter().chain(missing)
}

fn cut(line: &str) -> String {
    line.chars().take(300).collect()
}

fn fault(path: &Path, message: String) -> StoreFault {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    StoreFault::new(name, FaultKind::Corrupt, message)
}
