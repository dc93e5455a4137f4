//! Changed, removed and added files: the audit names each.

use super::*;

fn small_log() -> Temp {
    let dir = Temp::new();
    let log = create(&dir);
    for start in [0, 100, 200, 290] {
        log.append(&leaves(start..(start + 100).min(if start == 200 { 290 } else { 300 }))).unwrap();
        log.settle().unwrap();
    }
    dir
}

fn flip_each(dir: &Path) {
    assert_eq!(audit(dir), [], "the control");
    let all = files(dir);
    assert!(all.len() > 20);
    for (path, bytes) in all {
        let file = dir.join(&path);
        let step = (bytes.len() / 8).max(1);
        for (at, bit) in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]).zip([0x01, 0x20].into_iter().cycle()) {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            fs::write(&file, &flipped).unwrap();
            let faults = audit(dir);
            assert!(faults.iter().any(|fault| fault.file == path), "{path} byte {at}: {faults:?}");
        }
        fs::write(&file, &bytes).unwrap();
    }
    assert_eq!(audit(dir), []);
}

#[test]
fn a_flipped_byte_in_any_file_is_reported_by_name() {
    flip_each(&small_log());
}

#[test]
fn a_flipped_byte_in_any_file_is_reported_by_name_after_a_flush_too() {
    let dir = small_log();
    open(&dir).flush().unwrap();
    flip_each(&dir);
}

#[test]
fn a_removed_file_and_a_strange_one_are_reported() {
    let dir = small_log();
    for (path, bytes) in files(&dir) {
        fs::remove_file(dir.join(&path)).unwrap();
        let faults = audit(&dir);
        let earlier = path.contains(".p/") && !path.ends_with(".p/44");
        // a narrower partial tile may go, and a lost checkpoint is in the wal
        let allowed = path == "checkpoint" || (earlier && !path.ends_with("/1"));
        if !allowed {
            assert!(faults.iter().any(|fault| fault.file == path && fault.kind == FaultKind::Missing), "{path}: {faults:?}");
        }
        write(&dir.join(&path), &bytes);
    }
    for stray in ["x", "tile/0/002", "tile/0/001.p/45", "tile/9/000.p/1", "bundles/00/x.json", "tile/entries/000.p/x"] {
        write(&dir.join(stray), b"stray");
        let faults = audit(&dir);
        assert!(faults.iter().any(|fault| fault.file == stray && fault.kind == FaultKind::Stray), "{stray}: {faults:?}");
        fs::remove_file(dir.join(stray)).unwrap();
    }
    let Leaf::Attestation { bundle, .. } = leaf(10_004) else { unreachable!() };
    let path = super::super::reader::bundle_path(&bundle.pae_digest());
    write(&dir.join(&path), &bundle.to_json());
    assert!(audit(&dir).iter().any(|fault| fault.file == path), "a bundle that was never logged");
}

#[test]
fn a_leaf_rewritten_with_its_tiles_does_not_fit_the_checkpoint() {
    // an operator who recomputes the tree but cannot sign
    let (dir, other) = (small_log(), Temp::new());
    let log = create(&other);
    log.append(&[leaf(9_999)]).unwrap();
    log.append(&leaves(1..300)).unwrap();
    drop(log);
    open(&dir).flush().unwrap();
    open(&other).flush().unwrap();
    for (path, bytes) in files(&other).into_iter().filter(|(path, _)| path.starts_with("tile/")) {
        write(&dir.join(path), &bytes);
    }
    let faults = audit(&dir);
    assert!(faults.iter().any(|fault| fault.file == "checkpoint"), "{faults:?}");
    assert_eq!(Log::open(&dir, ORIGIN, signer()).err().unwrap().code(), "log/corrupt");
}

#[test]
fn an_edited_entry_of_the_right_edge_is_refused_before_it_is_copied() {
    let dir = small_log();
    open(&dir).flush().unwrap();
    let path = "tile/entries/001.p/44";
    let honest = fs::read(dir.join(path)).unwrap();
    let text = String::from_utf8(honest.clone()).unwrap();
    let edited = text.replacen("succeeded", "cancelled", 1);
    assert_ne!(edited, text);
    write(&dir.join(path), edited.as_bytes());

    // control: who does not compare copies the edited entry into the next full file
    let files = disk::Files::on_disk(Arc::new(disk::Folder::open(&dir).unwrap()));
    let mut edge = edge::Edge::read(&files, 300).unwrap();
    let mut full = Vec::new();
    for _ in 300..512 {
        edge.push(b"{}", &mut full).unwrap();
    }
    let (_, copied) = full.iter().find(|(tile, _)| tile.level.is_none()).unwrap();
    assert!(copied.starts_with(edited.as_bytes()));

    let refused = Log::open(&dir, ORIGIN, signer()).err().unwrap();
    assert_eq!((refused.code(), refused.to_string().contains(path)), ("log/corrupt", true), "{refused}");
    assert_eq!(fs::read(dir.join(path)).unwrap(), edited.as_bytes(), "and nothing was written");
    write(&dir.join(path), &honest);
    open(&dir).append(&leaves(300..520)).unwrap();
    assert_eq!(audit(&dir), []);
}

#[test]
fn links_and_pipes_are_not_followed() {
    let dir = small_log();
    fs::rename(dir.join("tile/0/000"), dir.join("aside")).unwrap();
    std::os::unix::fs::symlink("../../aside", dir.join("tile/0/000")).unwrap();
    assert!(audit(&dir).iter().any(|fault| fault.file == "tile/0/000"));
    assert!(LogReader::open(&dir).unwrap().inclusion(299).is_err() || !audit(&dir).is_empty());
    fs::remove_file(dir.join("tile/0/000")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("tile/0/000"), rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    assert!(audit(&dir).iter().any(|fault| fault.file == "tile/0/000"), "and it does not hang");
}
