//! Artifacts: durable, verified, append-only; attacks with their controls.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use seaworthy_core::artifact::Manifest;
use seaworthy_core::digest::Digest;
use seaworthy_core::ports::ByteSource;
use seaworthy_store::artifacts::{
    Artifacts, FaultKind, FolderRules, NewFile, PutRules, hash_files, hash_folder, open_folder, remove_checkout,
};
use seaworthy_store::{StoreError, barrier};

use crate::scratch::{Scratch, files_below, flip, remove, write};

fn store(scratch: &Scratch) -> Artifacts {
    Artifacts::open(&scratch.path("store")).unwrap()
}

fn blob_path(scratch: &Scratch, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    scratch.path("store").join("blobs").join(&hex[..2]).join(&hex)
}

fn new_file(scratch: &Scratch, name: &str, bytes: &[u8]) -> NewFile {
    let path = scratch.write(&format!("in/{name}"), bytes);
    NewFile { name: name.into(), file: File::open(path).unwrap(), executable: false }
}

#[test]
fn bytes_come_back_as_they_went_in_and_are_read_only() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    for size in [0, 1, 4096, 1024 * 1024, 1024 * 1024 + 1, 3_000_000] {
        let bytes: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
        let digest = store.put_bytes(&bytes).unwrap();
        let blob = store.put_reader(&mut Cursor::new(&bytes), u64::MAX).unwrap();
        assert_eq!((blob.digest, blob.size, digest), (Digest::of(&bytes), bytes.len() as u64, Digest::of(&bytes)));
        assert_eq!(store.read_blob(&digest, size as usize).unwrap(), bytes);
        let mut streamed = Vec::new();
        store.open_blob(&digest).unwrap().read_to_end(&mut streamed).unwrap();
        assert_eq!(streamed, bytes);
        let mut whole = Vec::new();
        store.verified_file(&digest).unwrap().read_to_end(&mut whole).unwrap();
        assert_eq!(whole, bytes);
        let mut sealed = Vec::new();
        store.sealed_file(&digest, u64::MAX).unwrap().read_to_end(&mut sealed).unwrap();
        assert_eq!(sealed, bytes);
        assert_eq!(std::fs::metadata(blob_path(&scratch, &digest)).unwrap().permissions().mode() & 0o7777, 0o444);
    }
    assert_eq!(std::fs::metadata(scratch.path("store")).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(std::fs::read_dir(scratch.path("store/tmp")).unwrap().count(), 0);
    assert_eq!(store.audit().unwrap(), []);
}

#[test]
fn blake3_is_computed_beside_sha256_where_asked() {
    let scratch = Scratch::new();
    let bytes = vec![7_u8; 1_000_000];
    let blob = store(&scratch).put_reader_with(&mut bytes.as_slice(), PutRules { bytes_max: 2_000_000, blake3: true }).unwrap();
    assert_eq!(blob.blake3.unwrap(), blake3::hash(&bytes).to_hex().to_string());
}

#[test]
fn a_stream_over_its_limit_leaves_nothing() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let fault = store.put_reader(&mut [1_u8; 11].as_slice(), 10).unwrap_err();
    assert_eq!(fault.code(), "store/too-large");
    assert_eq!(files_below(&scratch.path("store")), [scratch.path("store/lock")]);
    assert!(store.read_blob(&store.put_bytes(&[1; 11]).unwrap(), 10).is_err());
}

#[test]
fn files_become_one_artifact_with_one_barrier() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let files = || {
        vec![
            new_file(&scratch, "b/x.bin", &[1; 3]),
            new_file(&scratch, "a.txt", b"a"),
            NewFile { executable: true, ..new_file(&scratch, "run.sh", b"#!") },
        ]
    };
    let before = barrier::count_of_thread();
    let (manifest, reference) = store.put_files(files()).unwrap();
    assert_eq!(barrier::count_of_thread() - before, 1);
    assert_eq!(
        manifest.entries().iter().map(|entry| (&*entry.name, entry.mode)).collect::<Vec<_>>(),
        [("a.txt", 0o644), ("b/x.bin", 0o644), ("run.sh", 0o755)]
    );
    assert_eq!(reference, manifest.reference());
    assert_eq!(store.manifest(&reference.digest).unwrap(), manifest);
    assert_eq!(hash_files(files()).unwrap(), (manifest.clone(), reference.clone()));
    let folder = open_folder(&scratch.path("in")).unwrap();
    let (from_folder, _) = store.put_folder(&folder, &FolderRules::default()).unwrap();
    assert_eq!(from_folder.root(), manifest.root());
    assert_eq!(hash_folder(&folder, &FolderRules::default()).unwrap().0, from_folder);
    // the same again writes nothing
    let inodes = || files_below(&scratch.path("store")).iter().map(|path| std::fs::metadata(path).unwrap().ino()).collect::<Vec<_>>();
    let kept = inodes();
    store.put_files(files()).unwrap();
    assert_eq!(inodes(), kept);
}

#[test]
fn many_files_are_synced_as_a_whole() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    for i in 0..400 {
        scratch.write(&format!("in/d{}/{i}", i % 7), format!("{}", i / 2));
    }
    let before = barrier::count_of_thread();
    let (manifest, reference) = store.put_folder(open_folder(&scratch.path("in")).unwrap(), &FolderRules::default()).unwrap();
    assert_eq!(barrier::count_of_thread() - before, 1);
    assert_eq!((manifest.entries().len(), store.blob_names().unwrap().len()), (400, 201));
    assert!(manifest.entries().iter().all(|entry| store.read_blob(&entry.digest, 10).is_ok()));
    assert!(store.contains(&reference.digest));
}

#[test]
fn a_manifest_is_stored_only_when_its_files_are() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let (manifest, _) = hash_files(vec![new_file(&scratch, "a", b"a")]).unwrap();
    assert_eq!(store.put_manifest(&manifest).unwrap_err().code(), "store/missing");
    store.put_bytes(b"a").unwrap();
    let reference = store.put_manifest(&manifest).unwrap();
    assert_eq!(store.manifest(&reference.digest).unwrap(), manifest);
    let plain = store.put_bytes(b"plain").unwrap();
    assert_eq!(store.manifest(&plain).unwrap_err().code(), "store/not-an-artifact");
}

#[test]
fn a_flipped_byte_is_an_error_on_every_way_of_reading() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let bytes = vec![9_u8; 600_000];
    let digest = store.put_bytes(&bytes).unwrap();
    flip(&blob_path(&scratch, &digest), 599_999);
    // control: who trusts the name gets the bad bytes
    let naive = std::fs::read(blob_path(&scratch, &digest)).unwrap();
    assert!(naive != bytes && naive.len() == bytes.len());
    assert_eq!(store.read_blob(&digest, 1 << 20).unwrap_err().code(), "store/corrupt");
    assert_eq!(store.verified_file(&digest).unwrap_err().code(), "store/corrupt");
    assert_eq!(store.sealed_file(&digest, u64::MAX).unwrap_err().code(), "store/corrupt");
    // the stream ends in an error, never in Ok(0), however often it is asked
    let mut reader = store.open_blob(&digest).unwrap();
    let mut buffer = vec![0; 100_000];
    let mut total = 0;
    let fault = loop {
        match reader.read(&mut buffer) {
            Ok(count) => {
                assert!(count > 0, "the end came before the error");
                total += count;
            }
            Err(fault) => break fault,
        }
    };
    assert_eq!((total, fault.kind()), (600_000, std::io::ErrorKind::InvalidData));
    assert!(reader.read(&mut buffer).is_err());
    let mut through_port = ByteSource::open(&store, &digest).unwrap().unwrap();
    assert!(through_port.read_to_end(&mut Vec::new()).is_err());
    assert!(ByteSource::open(&store, &Digest::of(b"absent")).unwrap().is_none());
}

#[test]
fn storing_over_a_corrupt_blob_heals_it_and_keeps_the_evidence() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let large = vec![3_u8; 2_000_000];
    let small = store.put_bytes(b"small").unwrap();
    let other = store.put_reader(&mut large.as_slice(), u64::MAX).unwrap().digest;
    flip(&blob_path(&scratch, &small), 0);
    flip(&blob_path(&scratch, &other), 1_999_999);
    let linked = store.put_bytes(b"linked").unwrap();
    remove(&blob_path(&scratch, &linked));
    std::os::unix::fs::symlink(scratch.write("evil", b"linked"), blob_path(&scratch, &linked)).unwrap();
    assert_eq!(store.audit().unwrap().len(), 3);
    assert_eq!(store.read_blob(&linked, 10).unwrap_err().code(), "store/refused");
    store.put_bytes(b"small").unwrap();
    store.put_reader(&mut large.as_slice(), u64::MAX).unwrap();
    store.put_bytes(b"linked").unwrap();
    assert_eq!(store.read_blob(&small, 10).unwrap(), b"small");
    assert_eq!(store.read_blob(&other, 1 << 22).unwrap(), large);
    assert_eq!(store.read_blob(&linked, 10).unwrap(), b"linked");
    let faults = store.audit().unwrap();
    assert_eq!(faults.iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::Quarantined; 3]);
}

#[test]
fn a_flipped_byte_in_every_file_is_reported_by_the_audit() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    store.put_files((0..20).map(|i| new_file(&scratch, &format!("f{i}"), &[i; 50])).collect()).unwrap();
    assert_eq!(store.audit().unwrap(), []);
    let files = files_below(&scratch.path("store/blobs"));
    assert_eq!(files.len(), 21);
    for path in files {
        let length = std::fs::metadata(&path).unwrap().len() as usize;
        for at in [0, length / 2, length - 1] {
            flip(&path, at);
            let faults = store.audit().unwrap();
            assert!(faults.len() == 1 && faults[0].kind == FaultKind::Corrupt && path.ends_with(&faults[0].path), "{faults:?}");
            let copy = Artifacts::open_read_only(&scratch.path("store")).unwrap();
            assert_eq!(copy.audit().unwrap(), faults);
            flip(&path, at);
        }
    }
    assert_eq!(store.audit().unwrap(), []);
}

#[test]
fn strays_and_modes_are_reported() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digest = store.put_bytes(b"x").unwrap();
    std::fs::set_permissions(blob_path(&scratch, &digest), std::fs::Permissions::from_mode(0o644)).unwrap();
    let hex = digest.hex();
    for name in ["store/extra", "store/blobs/zz/a", "store/blobs/note", &format!("store/blobs/{}/readme", &hex[..2]), "store/tmp/evil"] {
        scratch.write(name, b"?");
    }
    let wrong = if hex.starts_with("00") { "01" } else { "00" };
    scratch.write(&format!("store/blobs/{wrong}/{hex}"), b"x");
    let kinds: Vec<FaultKind> = store.audit().unwrap().iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == FaultKind::Stray).count(), 6, "{:#?}", store.audit());
    assert_eq!(kinds.iter().filter(|kind| **kind == FaultKind::Mode).count(), 1);
    assert_eq!(kinds.len(), 7);
    // the modes of a copy say nothing
    let copy = Artifacts::open_read_only(&scratch.path("store")).unwrap();
    assert!(copy.audit().unwrap().iter().all(|fault| fault.kind == FaultKind::Stray));
    assert_eq!(copy.put_bytes(b"y").unwrap_err().code(), "store/read-only");
}

#[test]
fn folders_that_others_can_reach_are_refused() {
    let scratch = Scratch::new();
    store(&scratch);
    for part in ["", "blobs", "tmp"] {
        let path = scratch.path("store").join(part);
        for mode in [0o755, 0o770, 0o701, 0o1700] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Artifacts::open(&scratch.path("store")).unwrap_err().code(), "store/layout", "{part} {mode:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        Artifacts::open(&scratch.path("store")).unwrap();
    }
    std::os::unix::fs::symlink(scratch.path("store"), scratch.path("link")).unwrap();
    assert_eq!(Artifacts::open(&scratch.path("link")).unwrap_err().code(), "store/layout");
    assert_eq!(Artifacts::open_read_only(&scratch.path("link")).unwrap_err().code(), "store/layout");
    std::fs::create_dir(scratch.path("other")).unwrap();
    std::fs::set_permissions(scratch.path("other"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(scratch.path("store/blobs"), scratch.path("other/blobs")).unwrap();
    assert_eq!(Artifacts::open(&scratch.path("other")).unwrap_err().code(), "store/layout");
    // control: a folder made the same way without the link is taken
    remove(&scratch.path("other/blobs"));
    Artifacts::open(&scratch.path("other")).unwrap();
}

#[test]
fn what_an_interrupted_write_left_is_cleared_unless_somebody_writes() {
    let scratch = Scratch::new();
    let first = store(&scratch);
    let left = scratch.write("store/tmp/0123456789ab-7", b"half");
    let second = store(&scratch);
    assert!(left.exists(), "the first may be writing it");
    assert_eq!(first.audit().unwrap(), []);
    drop((first, second));
    store(&scratch);
    assert!(!left.exists());
}

#[test]
fn two_writers_of_the_same_blobs_lose_nothing() {
    let scratch = Scratch::new();
    let dir = Arc::new(scratch.path("store"));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let dir = Arc::clone(&dir);
            std::thread::spawn(move || {
                let store = Artifacts::open(&dir).unwrap();
                (0..40_u32).map(|i| store.put_bytes(&i.to_be_bytes()).unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    let names: Vec<Vec<Digest>> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(names.windows(2).all(|pair| pair[0] == pair[1]));
    let store = store(&scratch);
    assert_eq!(store.blob_names().unwrap().len(), 40);
    assert_eq!(store.audit().unwrap(), []);
    assert_eq!(std::fs::read_dir(scratch.path("store/tmp")).unwrap().count(), 0);
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let scratch = Scratch::new();
    let dir = scratch.path("disk");
    std::fs::create_dir(&dir).unwrap();
    if let Err(errno) = mount("tmpfs", &dir, "tmpfs", MountFlags::empty(), Some(c"size=1m,mode=0700")) {
        // an ordinary user cannot mount; the device that is always full serves the stream path at least
        assert_eq!(errno, rustix::io::Errno::PERM);
        return;
    }
    let held = Unmount(dir.clone());
    let store = Artifacts::open(&dir.join("store")).unwrap();
    let good = store.put_bytes(&[1; 100_000]).unwrap();
    let fault = store.put_reader(&mut std::io::repeat(2).take(2_000_000), u64::MAX).unwrap_err();
    assert!(matches!(&fault, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull), "{fault}");
    assert!(fault.hint().contains("space"));
    let many: Vec<NewFile> = (0..12).map(|i| new_file(&scratch, &format!("f{i}"), &[i; 100_000])).collect();
    store.put_files(many).unwrap_err();
    assert_eq!(std::fs::read_dir(dir.join("store/tmp")).unwrap().count(), 0, "temporary files stay behind");
    assert_eq!(store.read_blob(&good, 100_000).unwrap(), vec![1; 100_000]);
    assert_eq!(store.audit().unwrap(), []);
    // control: there is room again for what fits
    store.put_bytes(&[3; 100_000]).unwrap();
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            unmount(&self.0, UnmountFlags::DETACH).unwrap();
        }
    }
    drop(store);
    drop(held);
}

#[test]
fn a_checkout_is_the_verified_tree_and_read_only() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let files = vec![
        new_file(&scratch, "d/e/x", b"x"),
        new_file(&scratch, "d/y", b"y"),
        NewFile { executable: true, ..new_file(&scratch, "go", b"#!") },
    ];
    let (manifest, _) = store.put_files(files).unwrap();
    let dir = scratch.path("tree");
    store.checkout(&manifest, &dir).unwrap();
    for (name, bytes, mode) in [("d/e/x", b"x".as_slice(), 0o444), ("d/y", b"y", 0o444), ("go", b"#!", 0o555)] {
        assert_eq!(std::fs::read(dir.join(name)).unwrap(), bytes);
        assert_eq!(std::fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o7777, mode);
    }
    assert_eq!(std::fs::metadata(dir.join("d/e")).unwrap().permissions().mode() & 0o7777, 0o555);
    assert_eq!(store.audit().unwrap(), []);
    remove_checkout(&dir).unwrap();
    assert!(!dir.exists());
    remove_checkout(&dir).unwrap();
    flip(&blob_path(&scratch, &Digest::of(b"y")), 0);
    assert_eq!(store.checkout(&manifest, &dir).unwrap_err().code(), "store/corrupt");
    assert!(!dir.exists(), "what was built is taken down");
    assert_eq!(store.put_bytes(b"x").unwrap(), Digest::of(b"x"), "removing a checkout leaves the blobs");
}

#[test]
fn few_files_are_handed_out_one_by_one_verified_and_only_if_nobody_can_write_to_them() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let put = |files: Vec<NewFile>| store.put_files(files).unwrap().0;
    let few = put(vec![new_file(&scratch, "d/x", b"x"), new_file(&scratch, "y", b"y")]);
    let names = |found: Option<Vec<(String, File)>>| found.map(|files| files.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    assert_eq!(names(store.single_files(&few).unwrap()), Some(vec!["d/x".to_owned(), "y".to_owned()]));
    let many = put((0..9).map(|n| new_file(&scratch, &format!("f{n}"), format!("{n}").as_bytes())).collect());
    assert_eq!(names(store.single_files(&many).unwrap()), None);
    assert_eq!(names(store.single_files(&put(Vec::new())).unwrap()), None, "an empty folder is still to be seen");
    let program = put(vec![NewFile { executable: true, ..new_file(&scratch, "go", b"#!") }]);
    assert_eq!(names(store.single_files(&program).unwrap()), None, "a blob is no program");
    let blob = blob_path(&scratch, &Digest::of(b"y"));
    std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(store.single_files(&few).unwrap_err().to_string().contains("0644"));
    std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o444)).unwrap();
    flip(&blob, 0);
    assert_eq!(store.single_files(&few).unwrap_err().code(), "store/corrupt");
}

#[test]
fn removing_a_checkout_never_follows_a_link_out() {
    let scratch = Scratch::new();
    let precious = scratch.write("outside/precious", b"keep me");
    std::fs::create_dir(scratch.path("tree")).unwrap();
    std::os::unix::fs::symlink(scratch.path("outside"), scratch.path("tree/link")).unwrap();
    std::os::unix::fs::symlink(scratch.path("outside"), scratch.path("whole")).unwrap();
    // control: whoever follows the link reaches the file
    assert!(scratch.path("tree/link/precious").exists());
    remove_checkout(&scratch.path("tree")).unwrap();
    assert!(remove_checkout(&scratch.path("whole")).is_err());
    assert!(precious.exists());
}

#[test]
fn gc_waits_for_no_other_writer_and_stops_at_corruption() {
    let scratch = Scratch::new();
    let first = store(&scratch);
    let (_, artifact) = first.put_files(vec![new_file(&scratch, "a", b"a")]).unwrap();
    let second = store(&scratch);
    assert_eq!(first.gc(&BTreeSet::new(), false).unwrap_err().code(), "store/busy");
    drop(second);
    flip(&blob_path(&scratch, &artifact.digest), 5);
    assert_eq!(first.gc(&BTreeSet::from([artifact.digest]), false).unwrap_err().code(), "store/corrupt");
    assert!(first.contains(&Digest::of(b"a")), "its manifest cannot be read, so nothing goes");
    // control: once nothing names it, it goes
    let report = first.gc(&BTreeSet::new(), true).unwrap();
    assert_eq!((report.kept, report.removed.len(), first.blob_names().unwrap().len()), (0, 2, 2));
    first.gc(&BTreeSet::new(), false).unwrap();
    assert_eq!(first.blob_names().unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn gc_removes_exactly_what_nobody_names(
        artifacts in prop::collection::vec((prop::collection::btree_set(0_u8..12, 0..5), any::<bool>()), 1..6),
        loose in prop::collection::vec((12_u8..24, any::<bool>()), 0..8),
    ) {
        let scratch = Scratch::new();
        let store = store(&scratch);
        let (mut named, mut live) = (BTreeSet::from([Digest::of(b"a statement")]), BTreeSet::new());
        for (files, name_it) in &artifacts {
            let files = files.iter().map(|i| new_file(&scratch, &format!("f{i}"), &[*i])).collect();
            let (manifest, reference) = store.put_files(files).unwrap();
            if *name_it {
                named.insert(reference.digest);
                live.insert(reference.digest);
                live.extend(manifest.entries().iter().map(|entry| entry.digest));
            }
        }
        for (byte, name_it) in &loose {
            let digest = store.put_bytes(&[*byte]).unwrap();
            if *name_it {
                named.insert(digest);
                live.insert(digest);
            }
        }
        let before: BTreeSet<Digest> = store.blob_names().unwrap().into_iter().collect();
        let plan = store.gc(&named, true).unwrap();
        prop_assert_eq!(&store.blob_names().unwrap().into_iter().collect::<BTreeSet<_>>(), &before);
        let report = store.gc(&named, false).unwrap();
        prop_assert_eq!(&plan.removed, &report.removed);
        let after: BTreeSet<Digest> = store.blob_names().unwrap().into_iter().collect();
        prop_assert_eq!(&after, &live);
        prop_assert_eq!(report.removed.into_iter().collect::<BTreeSet<_>>(), before.difference(&live).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(store.audit().unwrap(), []);
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    // a file of /proc says 0 bytes and yields more: the simplest file that is longer than it was
    let file = NewFile { name: "status".into(), file: File::open("/proc/self/status").unwrap(), executable: false };
    let scratch = Scratch::new();
    let store = store(&scratch);
    assert_eq!(store.put_files(vec![file]).unwrap_err().code(), "store/refused");
    let file = NewFile { name: "status".into(), file: File::open("/proc/self/status").unwrap(), executable: false };
    assert!(hash_files(vec![file]).is_err());
    let folder = NewFile { name: "d".into(), file: File::open("/").unwrap(), executable: false };
    assert_eq!(store.put_files(vec![folder]).unwrap_err().code(), "store/refused");
    assert_eq!(store.blob_names().unwrap(), []);
}

#[test]
fn names_that_escape_never_reach_a_manifest() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    for name in ["../x", "/x", "a/../b", "", ".", "a//b", "a\\b", "a\nb"] {
        let file = NewFile { name: name.into(), ..new_file(&scratch, "x", b"x") };
        assert_eq!(store.put_files(vec![file]).unwrap_err().code(), "store/refused", "{name:?}");
    }
    assert_eq!(store.blob_names().unwrap(), [], "nothing is named for a refused artifact");
    // a manifest document with such a name, planted as a blob, is refused when it is read
    let planted =
        br#"{"entries":[{"digest":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","mode":420,"name":"../x","size":1}]}"#;
    let digest = store.put_bytes(planted).unwrap();
    assert_eq!(store.manifest(&digest).unwrap_err().code(), "store/not-an-artifact");
    let honest = String::from_utf8_lossy(planted).replace("../x", "x");
    let digest = store.put_bytes(honest.as_bytes()).unwrap();
    assert_eq!(store.manifest(&digest).unwrap(), Manifest::from_bytes(honest.as_bytes()).unwrap());
    write(&scratch.path("unused"), b"");
}
