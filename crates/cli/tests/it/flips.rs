//! One flipped byte in every file of a workspace's state, in turn: `verify` reports each.

use crate::workspace::{Demo, Tiny};

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

/// The finished demo: 300 flips, each file's middle first and then other places; `verify log` or a deep verification reports each.
#[test]
#[ignore = "about five minutes: the proof on the whole demo, run before a release with --ignored"]
fn three_hundred_flips_in_the_demo_are_reported() {
    const FLIPS: usize = 300;
    let demo = Demo::new();
    let files: Vec<_> = demo.state_files().into_iter().filter(|path| std::fs::metadata(path).unwrap().len() > 0).collect();
    let evidence: Vec<_> = files.iter().filter(|path| path.file_name().is_none_or(|name| name != "trust.json")).collect();
    assert!(evidence.len() > 100, "only {} files", evidence.len());
    let (mut silent, mut state) = (Vec::new(), 0x9E37_79B9_7F4A_7C15_u64);
    for number in 0..FLIPS {
        let path = evidence[number % evidence.len()];
        let original = std::fs::read(path).unwrap();
        let mut changed = original.clone();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let is_index = path.extension().is_some_and(|e| e == "db");
        let place = if number < evidence.len() || is_index {
            place_in(path, changed.len())
        } else {
            usize::try_from(state >> 33).unwrap() % changed.len()
        };
        changed[place] ^= 0x01;
        overwrite(path, &changed);
        let reported = demo.run(&["verify", "log"]).code != 0 || demo.run(&["verify", "model:employment@1", "--deep"]).code != 0;
        overwrite(path, &original);
        if !reported {
            silent.push(format!("{} byte {place}", path.strip_prefix(&demo.dir).unwrap().display()));
        }
    }
    eprintln!("{} of {FLIPS} flips in {} files reported", FLIPS - silent.len(), evidence.len());
    assert!(silent.is_empty(), "flips that nothing reported: {silent:#?}");
    // control: put back, both verify
    demo.ok(&["verify", "log"]);
    demo.ok(&["verify", "model:employment@1", "--deep"]);
}

/// The middle of a file; of the index's pages, one that holds rows (a free page holds nothing to compare).
fn place_in(path: &std::path::Path, len: usize) -> usize {
    if path.extension().is_some_and(|e| e == "db") { 20 } else { len / 2 }
}

/// Blobs are read-only files: the attacker is the file system's owner.
pub(crate) fn overwrite(path: &std::path::Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).unwrap().permissions();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, mode).unwrap();
}
