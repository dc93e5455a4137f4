//! `seaworthy store gc`: removes blobs that nothing in the log names.

use std::collections::BTreeSet;

use seaworthy_core::digest::Digest;
use seaworthy_store::artifacts::{self, Artifacts};
use seaworthy_store::catalog;
use seaworthy_store::journal::Journal;
use serde_json::json;

use crate::arguments::Store;
use crate::failure::Failure;
use crate::open;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, command: &Store) -> Result<u8, Failure> {
    let Store::Gc { dry_run } = command;
    let dir = settings.workspace_dir(None)?;
    let reading = open::reading(settings, &dir)?;
    let named = named_digests(&reading)?;
    let store = Artifacts::open(&reading.paths.store).map_err(|e| Failure::configuration("store/open", e.to_string(), e.hint()))?;
    let report = store.gc(&named, *dry_run).map_err(|e| Failure::configuration("store/gc", e.to_string(), e.hint()))?;
    render::json(&json!({"dry_run": dry_run, "report": report}));
    Ok(0)
}

/// Everything that a leaf, a statement or an unfinished run names.
fn named_digests(reading: &open::Reading) -> Result<BTreeSet<Digest>, Failure> {
    let mut named = catalog::named(&reading.log).map_err(|e| open::catalog_failure(&e))?;
    let journal = Journal::open_read_only(&reading.paths.journal).map_err(|e| Failure::integrity("journal/open", e))?;
    for record in journal.load().map_err(|e| Failure::integrity("journal/open", e))? {
        named.extend(artifacts::digests_in(&record.data));
    }
    Ok(named)
}
