//! The one place: no source of this crate changes the disk but through `disk.rs`, or what the simulator shows would not be all.

use std::path::Path;

/// What nothing durable rests on: made again when it is missing.
const BESIDE: [&str; 4] = ["disk.rs", "scratch.rs", "artifacts/checkout.rs", "catalog/"];
/// Calls that change a disk, as they are written when they do not go through the one place.
const CHANGES: [&str; 12] = [
    "rustix::fs::mkdirat",
    "rustix::fs::renameat",
    "rustix::fs::linkat",
    "rustix::fs::unlinkat",
    "rustix::fs::ftruncate",
    "rustix::fs::fsync",
    "rustix::fs::fdatasync",
    "rustix::fs::syncfs",
    ".set_len(",
    ".sync_all(",
    ".sync_data(",
    "std::fs::create_dir",
];
const NAMES: [&str; 7] = ["mkdirat", "renameat", "linkat", "unlinkat", "ftruncate", "fsync", "fdatasync"];

#[test]
fn nothing_changes_the_disk_beside_its_one_place() {
    let mut seen = 0;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![root.clone()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        if BESIDE.iter().any(|beside| name.starts_with(beside)) || name.contains("tests") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        assert_eq!(change_in(product), None, "{name}");
    }
    assert!(seen > 15, "{seen}");
    // the control: each way round the one place is found
    for change in ["use rustix::fs::{CWD, renameat};", "rustix::fs::fsync(file)?;", "self.wal.set_len(0)?;"] {
        assert!(change_in(change).is_some(), "{change}");
    }
}

fn change_in(text: &str) -> Option<String> {
    let imported = |line: &str| {
        let list = line.trim_start().strip_prefix("use rustix::fs::")?;
        NAMES.iter().find(|name| list.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == **name))
    };
    let bad =
        |line: &&str| CHANGES.iter().any(|change| line.contains(change) && !line.contains("group.sync_data(")) || imported(line).is_some();
    text.lines().find(bad).map(str::to_owned)
}
