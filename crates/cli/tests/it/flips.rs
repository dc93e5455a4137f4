//! One flipped byte in every file of a workspace's state, in turn: `verify` reports each.

use crate::workspace::Tiny;

#[test]
fn every_flipped_byte_is_reported() {
    let tiny = Tiny::new();
    tiny.ok(&["run", "workflow.yaml"]);
    tiny.ok(&["verify", "log"]);
    let files = tiny.state_files();
    assert!(files.len() > 20, "only {} files", files.len());
    let mut silent = Vec::new();
    for path in &files {
        let original = std::fs::read(path).unwrap();
        if original.is_empty() {
            continue;
        }
        let mut changed = original.clone();
        let place = place_in(path, changed.len());
        changed[place] ^= 0x01;
        overwrite(path, &changed);
        let verified = tiny.run(&["verify", "log"]);
        overwrite(path, &original);
        // the copy of the trust file proves nothing and is not evidence: the user's own is used
        let is_copy = path.file_name().is_some_and(|name| name == "trust.json");
        if verified.code == 0 && !is_copy {
            silent.push(path.strip_prefix(&tiny.dir).unwrap().display().to_string());
        }
    }
    assert!(silent.is_empty(), "flips that `verify` did not report: {silent:#?}");
    // control: put back, it verifies
    tiny.ok(&["verify", "log"]);
}

/// The middle of a file; of the index's pages, one that holds rows (a free page holds nothing to compare).
fn place_in(path: &std::path::Path, len: usize) -> usize {
    if path.extension().is_some_and(|e| e == "db") { 20 } else { len / 2 }
}

/// Blobs are read-only files: the attacker is the file system's owner.
fn overwrite(path: &std::path::Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).unwrap().permissions();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, mode).unwrap();
}
