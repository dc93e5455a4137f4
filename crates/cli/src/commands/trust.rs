//! `seaworthy trust`: whose signatures count: exported for a verifier elsewhere, imported after an edit.
//!
//! **Invariant:** what is imported parses, is of this workspace, and is of the log that the file in its place names.

use std::path::Path;

use seaworthy_store::workspace::{Workspace, private_folder};
use seaworthy_trust::attest::TrustRoot;

use crate::arguments::Trust;
use crate::failure::Failure;
use crate::keystore::Keystore;
use crate::open;
use crate::render;
use crate::settings::Settings;

/// Bytes of a trust file.
const TRUST_BYTES_MAX: usize = 1_000_000;

pub(crate) fn run(settings: &Settings, command: &Trust) -> Result<u8, Failure> {
    let dir = settings.workspace_dir(None)?;
    match command {
        Trust::Export => export(settings, &dir)?,
        Trust::Import { file } => import(settings, &dir, file)?,
    }
    Ok(0)
}

fn export(settings: &Settings, dir: &Path) -> Result<(), Failure> {
    let (trust, proven) = open::reading(settings, dir)?.trust(None)?;
    if !proven {
        render::note("this is the workspace's own copy: it proves nothing until you have compared its keys with their holders'");
    }
    render::bytes(&trust.to_json());
    Ok(())
}

fn import(settings: &Settings, dir: &Path, file: &Path) -> Result<(), Failure> {
    let bytes = open::input(file, TRUST_BYTES_MAX)?;
    let trust = TrustRoot::parse(&bytes)
        .map_err(|e| Failure::configuration(e.code(), format!("`{}`: {e}", file.display()), "mend the file and import it again"))?;
    let workspace = Workspace::open(dir).map_err(|e| Failure::configuration("workspace/no-state", e.to_string(), e.hint()))?;
    if trust.workspace != workspace.id() {
        let message = format!("the file is of workspace `{}`, this one is `{}`", trust.workspace, workspace.id());
        return Err(Failure::configuration("trust/other-workspace", message, "choose the workspace with --workspace"));
    }
    let keystore = Keystore::new(settings, workspace.id(), &trust.environment);
    if keystore.trust()?.is_some_and(|present| present.log != trust.log) {
        let message = format!("the file names another log or log key than yours for environment `{}`", trust.environment);
        return Err(Failure::configuration("trust/other-log", message, "start from `seaworthy trust export`; a log's key is its identity"));
    }
    private_folder(&keystore.dir().join("keys")).map_err(|e| Failure::configuration("keys/unwritable", e.to_string(), e.hint()))?;
    keystore.write_trust(&trust)?;
    let paths = workspace.paths(&trust.environment);
    if paths.log.exists() {
        open::publish_trust(&paths, &trust)?;
    }
    render::line(&format!(
        "{} witnesses, quorum {}, {} keys, {} sources",
        trust.witnesses.len(),
        trust.quorum,
        trust.keys.len(),
        trust.sources.len()
    ));
    Ok(())
}
