//! Crashes, torn ends and full disks: what was acknowledged stays, what was not may or may not be there.

use super::*;

/// Lets the writes of `log` fail from the `n`-th on; the one before fails half-way.
fn fail_from(log: &Log, n: u64) {
    log.folder().fault.after.store(n + 1, Ordering::SeqCst);
}

#[test]
fn a_crash_between_barrier_and_files_is_made_good_to_the_byte() {
    for sizes in [&[1_u64, 2, 300, 4][..], &[255, 1, 1], &[700]] {
        let (whole, crashed) = (Temp::new(), Temp::new());
        let log = create(&whole);
        log.append(&leaves(0..10)).unwrap();
        log.flush().unwrap();
        for (path, bytes) in files(&whole) {
            write(&crashed.join(path), &bytes);
        }
        let mut size = 10;
        for group in sizes {
            log.append(&leaves(size..size + group)).unwrap();
            log.settle().unwrap();
            size += group;
        }
        // the power goes: of all that was written since the flush only the synced wal is on the disk
        write(&crashed.join("wal"), &fs::read(whole.join("wal")).unwrap());
        assert_ne!(files(&crashed), files(&whole));
        let reader = LogReader::open(&crashed).unwrap();
        assert_eq!(reader.note(), LogReader::open(&whole).unwrap().note());
        let entries = |reader: &LogReader| reader.entries(0..size).map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(entries(&reader), entries(&LogReader::open(&whole).unwrap()));
        assert_eq!(reader.bundle_digests().unwrap(), LogReader::open(&whole).unwrap().bundle_digests().unwrap());
        assert_eq!(audit(&crashed), [], "a crash is no integrity fault: the wal holds what the files lack");
        drop(open(&crashed));
        assert_eq!(without_old_partials(&crashed), without_old_partials(&whole));
    }
}

/// The files but for the partial tiles of full ones, which may or may not be there.
fn without_old_partials(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = files(dir);
    let full: HashSet<String> = all.keys().filter(|path| !path.contains(".p/")).cloned().collect();
    all.retain(|path, _| path.split_once(".p/").is_none_or(|(tile, _)| !full.contains(tile)));
    all
}

#[test]
fn every_failing_write_loses_nothing_that_was_acknowledged() {
    let mut last = 0;
    for n in 1.. {
        let dir = Temp::new();
        let log = create(&dir);
        log.append(&leaves(0..250)).unwrap();
        fail_from(&log, n);
        let mut acknowledged = 250;
        for group in [1, 10, 3, 1] {
            if log.append(&leaves(acknowledged..acknowledged + group)).is_err() {
                break;
            }
            acknowledged += group;
            if acknowledged == 264 && log.flush().is_err() {
                break;
            }
        }
        drop(log);
        let reader = LogReader::open(&dir).unwrap();
        assert!((acknowledged..=acknowledged + 10).contains(&reader.state().size), "write {n}");
        assert_eq!(audit(&dir), [], "write {n}");
        let log = open(&dir);
        let size = log.snapshot().unwrap().state().size;
        assert_eq!(log.append(&leaves(size..size + 1)).unwrap(), [size]);
        log.flush().unwrap();
        assert_eq!(audit(&dir), [], "write {n}");
        let again = Temp::new();
        let expected = create(&again);
        expected.append(&leaves(0..size + 1)).unwrap();
        let root = |log: &Log| log.snapshot().unwrap().state().clone();
        assert_eq!(root(&log), root(&expected), "write {n}: the same leaves in the same order");
        last = n;
        if acknowledged == 265 {
            break;
        }
    }
    assert!(last >= 15, "the test reached only {last} writes");
}

#[test]
fn after_a_full_disk_the_same_handle_goes_on() {
    let dir = Temp::new();
    let log = create(&dir);
    log.append(&leaves(0..3)).unwrap();
    let before = files(&dir);
    fail_from(&log, 1);
    assert_eq!(log.append(&leaves(3..6)).unwrap_err().code(), "log/io");
    assert_eq!(log.append(&leaves(3..6)).unwrap_err().code(), "log/io");
    assert_eq!(files(&dir), before, "the half of a record that was written is gone");
    fail_from(&log, 3);
    assert_eq!(log.append(&leaves(3..6)).unwrap(), [3, 4, 5], "durable in the wal, though no file could be written");
    assert_eq!(LogReader::open(&dir).unwrap().state().size, 6);
    assert_eq!(log.append(&leaves(6..7)).unwrap_err().code(), "log/io");
    log.folder().fault.after.store(0, Ordering::SeqCst);
    assert_eq!(log.append(&leaves(6..8)).unwrap(), [6, 7]);
    assert_eq!(audit(&dir), []);
}

/// A full disk while the `wal` is due to start anew: the handle waits with that, and is not lost for it.
#[test]
fn a_full_disk_when_the_wal_is_long_halts_nothing() {
    let dir = Temp::new();
    let log = create(&dir);
    // the record's two parts go through, and what confirms it; no file does
    fail_from(&log, 4);
    assert_eq!(log.append(&leaves(0..20_000)).unwrap().len(), 20_000);
    assert!(fs::metadata(dir.join("wal")).unwrap().len() > 1024 * 1024, "the wal is due to start anew");
    log.folder().fault.after.store(0, Ordering::SeqCst);
    assert_eq!(log.append(&leaves(20_000..20_001)).unwrap(), [20_000]);
    log.flush().unwrap();
    assert!(fs::metadata(dir.join("wal")).unwrap().len() < 4096, "it starts anew once there is room");
    assert_eq!(audit(&dir), []);
}

#[test]
fn a_torn_end_of_any_length_is_dropped() {
    let dir = Temp::new();
    let log = create(&dir);
    log.append(&leaves(0..6)).unwrap();
    let before = Temp::copy_of(&dir);
    let start = fs::read(before.join("wal")).unwrap().len();
    log.append(&leaves(6..8)).unwrap();
    log.settle().unwrap();
    let wal = fs::read(dir.join("wal")).unwrap();
    let end = wal.len() - scan(&wal).unwrap().records.last().unwrap().encode().unwrap().len();
    for cut in start..wal.len() {
        write(&before.join("wal"), &wal[..cut]);
        // the record itself, and then what says that it is durable, which nothing needs after a crash
        let (size, kept) = if cut < end { (6, start) } else { (8, wal.len()) };
        assert_eq!(LogReader::open(&before).unwrap().state().size, size, "cut at {cut}");
        assert_eq!(audit(&before), [], "cut at {cut}");
        let torn = Temp::copy_of(&before);
        let log = open(&torn);
        assert_eq!(fs::read(torn.join("wal")).unwrap().len(), kept);
        assert_eq!(log.append(&leaves(size..size + 2)).unwrap(), [size, size + 1]);
        if size == 6 {
            assert_eq!(fs::read(torn.join("wal")).unwrap(), wal);
        }
    }
    // the control: cut away what was acknowledged, and it is no torn end
    for cut in 0..end {
        write(&dir.join("wal"), &wal[..cut]);
        assert_eq!(Log::open(&dir, ORIGIN, signer()).err().map(|error| error.code()), Some("log/corrupt"), "cut at {cut}");
        assert!(audit(&dir).iter().any(|fault| fault.file == "wal" || fault.file == "checkpoint"), "cut at {cut}");
    }
}

#[test]
fn a_lost_checkpoint_file_comes_back_from_the_wal() {
    let dir = Temp::new();
    let log = create(&dir);
    log.append(&leaves(0..6)).unwrap();
    log.settle().unwrap();
    let whole = files(&dir);
    drop(log);
    write(&dir.join("checkpoint"), b"");
    drop(open(&dir));
    assert_eq!(files(&dir), whole);
    fs::remove_file(dir.join("checkpoint")).unwrap();
    assert_eq!(LogReader::open(&dir).unwrap().state().size, 6);
    drop(open(&dir));
    assert_eq!(files(&dir), whole);
}

#[test]
fn files_that_a_power_cut_emptied_come_back_from_the_wal() {
    let dir = Temp::new();
    let log = create(&dir);
    log.append(&leaves(0..6)).unwrap();
    log.settle().unwrap();
    let (whole, state) = (files(&dir), log.snapshot().unwrap().state().clone());
    drop(log);
    for path in whole.keys().filter(|path| *path != "wal") {
        write(&dir.join(path), b"");
    }
    let reader = LogReader::open(&dir).unwrap();
    for (index, entry) in reader.entries(0..6).map(Result::unwrap) {
        let proof = reader.inclusion(index).unwrap();
        verify_inclusion(&leaf_hash(&entry), index, 6, &proof, &state.root).unwrap();
    }
    assert!(!audit(&dir).is_empty(), "until then the audit names them");
    drop(open(&dir));
    assert_eq!(files(&dir), whole);
    // the control: after a flush the wal holds nothing, and an emptied file is damage
    open(&dir).flush().unwrap();
    write(&dir.join("tile/0/000.p/6"), b"");
    assert!(LogReader::open(&dir).unwrap().inclusion(0).is_err());
}
