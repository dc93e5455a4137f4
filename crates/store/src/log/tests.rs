//! Tests of the log: what is acknowledged stays, what is torn is mended, what is changed is found.

#![expect(clippy::disallowed_methods, reason = "tests break files on purpose")]

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::{Signature, VerifyingKey};
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, key_hint};
use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::RunId;
use seaworthy_core::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use seaworthy_core::note::{Checkpoint, Note};
use seaworthy_core::ports::{CheckpointRequest, EvidenceSource as _, Leaf, PortError, Recorder as _, Signer};
use signer::TestSigner;

use super::wal::{Record, scan};
use super::*;

#[path = "../../examples/signer/mod.rs"]
mod signer;

mod concurrent;
mod crash;
mod intent;
mod tamper;

const ORIGIN: &str = "test.example/log";

/// A folder that goes away with the test.
pub(super) struct Temp(PathBuf);

impl Temp {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("seaworthy-log-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn copy_of(other: &Path) -> Self {
        let temp = Self::new();
        for (path, bytes) in files(other) {
            write(&temp.0.join(path), &bytes);
        }
        temp
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

impl std::ops::Deref for Temp {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

pub(super) fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Every file below `dir`, by path.
pub(super) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let folder = disk::Folder::open(dir).unwrap();
    folder.walk().unwrap().into_iter().map(|path| (path.clone(), fs::read(dir.join(path)).unwrap())).collect()
}

pub(super) fn signer() -> Arc<TestSigner> {
    Arc::new(TestSigner::new(ORIGIN, [7; 32]))
}

pub(super) fn create(dir: &Path) -> Log {
    Log::create(dir, ORIGIN, &*signer()).unwrap();
    open(dir)
}

pub(super) fn open(dir: &Path) -> Log {
    Log::open(dir, ORIGIN, signer()).unwrap()
}

/// Leaf `n`: one in 25 is an attestation.
pub(super) fn leaf(n: u64) -> Leaf {
    if n % 25 == 4 {
        let public_key = b"spki".to_vec();
        let bundle = Bundle {
            payload: format!("{{\"statement\":{n}}}").into_bytes(),
            signature: Digest::of(&n.to_be_bytes()).as_bytes().to_vec(),
            key_hint: key_hint(&public_key),
            log_proof: None,
        };
        return Leaf::Attestation { bundle, public_key };
    }
    let kind = EventKind::RunEnded { run: RunId(format!("r{n:016x}")), state: "succeeded".into(), cancelled_by: None };
    Leaf::Event(Event { time_ms: n, principal: seaworthy_core::principal::PrincipalId("user:p-0".into()), kind })
}

pub(super) fn leaves(range: std::ops::Range<u64>) -> Vec<Leaf> {
    range.map(leaf).collect()
}

#[test]
fn leaves_read_back_with_proofs_that_hold() {
    let dir = Temp::new();
    let log = create(&dir);
    let mut states = Vec::new();
    let mut size = 0;
    for group in [1, 3, 250, 2, 1, 300, 43] {
        let indexes = log.record(&leaves(size..size + group)).unwrap();
        assert_eq!(indexes, (size..size + group).collect::<Vec<_>>());
        size += group;
        states.push(log.snapshot().unwrap().state().clone());
        if group == 300 {
            log.flush().unwrap();
        }
    }
    let reader = LogReader::open(&dir).unwrap();
    let state = reader.state();
    assert_eq!((state.size, state.origin.as_str()), (600, ORIGIN));
    for (index, entry) in reader.entries(0..600).map(Result::unwrap) {
        let proof = reader.inclusion(index).unwrap();
        verify_inclusion(&leaf_hash(&entry), index, 600, &proof, &state.root).unwrap();
    }
    for old in &states {
        let proof = reader.consistency(old.size).unwrap();
        verify_consistency(old.size, &old.root, 600, &state.root, &proof).unwrap();
    }
    let Leaf::Attestation { bundle, .. } = leaf(4) else { unreachable!() };
    assert_eq!(reader.bundle(&bundle.pae_digest()).unwrap().unwrap(), bundle.to_json());
    assert_eq!(reader.bundle_digests().unwrap().len(), 24);
    assert_eq!(audit(&dir), []);
    assert_eq!(reader.read_entry_error(600), "log/out-of-range");
    drop(log);
    assert_eq!(files(&dir), files(&Temp::copy_of(&dir)));
    let log = open(&dir);
    assert_eq!(log.append(&leaves(600..601)).unwrap(), [600]);
    assert_eq!(audit(&dir), []);
}

impl LogReader {
    fn read_entry_error(&self, index: u64) -> &'static str {
        self.entries(index..index + 1).next().unwrap().unwrap_err().code()
    }
}

#[test]
fn the_files_are_those_of_the_specification() {
    let dir = Temp::new();
    let log = create(&dir);
    assert_eq!(files(&dir).into_keys().collect::<Vec<_>>(), ["checkpoint", "wal"]);
    for range in [0..2, 2..3] {
        log.append(&leaves(range)).unwrap();
        log.settle().unwrap();
    }
    let names = || files(&dir).into_keys().filter(|name| !name.starts_with("bundles/")).collect::<Vec<_>>();
    assert_eq!(names(), ["checkpoint", "tile/0/000.p/2", "tile/0/000.p/3", "tile/entries/000.p/2", "tile/entries/000.p/3", "wal"]);
    log.append(&leaves(3..258)).unwrap();
    log.flush().unwrap();
    assert_eq!(
        names(),
        ["checkpoint", "tile/0/000", "tile/0/001.p/2", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/2", "wal"]
    );
    let note = fs::read_to_string(dir.join("checkpoint")).unwrap();
    let (checkpoint, note) = Checkpoint::parse(note.as_bytes()).unwrap();
    assert_eq!(checkpoint.size, 258);
    let key = VerifyingKey::from_bytes(signer().vkey().public()).unwrap();
    let signature = Signature::from_slice(&note.of_key(signer().vkey()).next().unwrap().bytes).unwrap();
    key.verify_strict(note.text.as_bytes(), &signature).unwrap();
    let proof = log.prove(257).unwrap();
    let (head, tail) = proof.split_once("\n\n").unwrap();
    assert!(head.starts_with("c2sp.org/tlog-proof@v1\nindex 257\n"));
    assert_eq!(head.lines().count(), 2 + 2);
    assert_eq!(tail, note.format());
}

#[test]
fn one_barrier_a_commit() {
    let dir = Temp::new();
    let log = create(&dir);
    for group in [1, 100] {
        let before = crate::barrier::count_of_thread();
        log.append(&leaves(0..group)).unwrap();
        assert_eq!(crate::barrier::count_of_thread() - before, 1);
    }
    log.append(&[]).unwrap();
    assert!(barriers() > 0);
}

#[test]
fn what_must_not_enter_is_refused_and_the_rest_of_the_group_is_not() {
    let dir = Temp::new();
    let log = create(&dir);
    log.append(&leaves(0..5)).unwrap();
    let Leaf::Attestation { bundle, public_key } = leaf(4) else { unreachable!() };
    let attest = |bundle: Bundle| Leaf::Attestation { bundle, public_key: public_key.clone() };
    let other = attest(Bundle { signature: vec![1], ..bundle.clone() });
    assert_eq!(log.append(&[leaf(7), other]).unwrap_err().code(), "log/other-signature");
    let foreign = attest(Bundle { key_hint: "ab".repeat(32), ..bundle.clone() });
    assert_eq!(log.append(&[foreign]).unwrap_err().code(), "log/leaf");
    let long = attest(Bundle { payload: vec![1], signature: vec![0; 70_000], ..bundle.clone() });
    assert_eq!(log.append(&[long]).unwrap_err(), LogError::EntryTooLong { bytes: 93_613 });
    assert_eq!(log.append(&[attest(bundle)]).unwrap(), [5], "the same bundle again is a leaf again");
    assert_eq!(audit(&dir), []);
    assert_eq!(Log::create(&dir, ORIGIN, &*signer()).unwrap_err().code(), "log/exists");
    assert_eq!(Log::open(&dir, "other", signer()).err().unwrap().code(), "log/origin");
    assert_eq!(Log::open(&Temp::new(), ORIGIN, signer()).err().unwrap().code(), "log/io");
}

/// Signs, but something else.
struct Liar;

impl Signer for Liar {
    fn attest(&self, _: &seaworthy_core::ports::AttestRequest<'_>) -> Result<Bundle, PortError> {
        unreachable!()
    }
    fn checkpoint(&self, request: &CheckpointRequest) -> Result<String, PortError> {
        let root = if request.size > 3 { Digest::of(b"other") } else { request.root };
        signer().checkpoint(&CheckpointRequest { root, ..request.clone() })
    }
    fn checkpoint_again(&self, request: &CheckpointRequest) -> Result<Option<String>, PortError> {
        signer().checkpoint_again(request)
    }
    fn is_signed_by_log(&self, note: &str) -> Result<bool, PortError> {
        signer().is_signed_by_log(note)
    }
    fn public_key(&self, _: seaworthy_core::ports::KeyRole) -> Result<Vec<u8>, PortError> {
        unreachable!()
    }
}

#[test]
fn a_checkpoint_other_than_the_one_asked_for_is_not_published() {
    let dir = Temp::new();
    create(&dir).append(&leaves(0..3)).unwrap();
    let before = files(&dir);
    let log = Log::open(&dir, ORIGIN, Arc::new(Liar)).unwrap();
    assert_eq!(log.append(&leaves(3..4)).unwrap_err().code(), "log/signer");
    assert_eq!(log.append(&leaves(3..4)).unwrap_err().code(), "log/halted", "whether it signed the right one too is unknown");
    drop(log);
    // what was to be signed stands there, and is cut off: this signer does not remember it
    assert_eq!(LogReader::open(&dir).unwrap().state().size, 3);
    assert_eq!(audit(&dir), []);
    drop(open(&dir));
    assert_eq!(files(&dir), before);
}

/// Somebody without the key writes a log of his own under our origin: it must not be extended, or all of it would be signed.
#[test]
fn a_log_that_another_key_signed_is_never_extended() {
    let forger: Arc<dyn Signer> = Arc::new(TestSigner::new(ORIGIN, [66; 32]));
    let dir = Temp::new();
    Log::create(&dir, ORIGIN, &*forger).unwrap();
    // control: the files are in perfect order, and their maker can go on
    Log::open(&dir, ORIGIN, forger.clone()).unwrap().append(&leaves(0..3)).unwrap();
    assert_eq!(audit(&dir), []);
    let before = files(&dir);
    assert_eq!(Log::open(&dir, ORIGIN, signer()).err().unwrap().code(), "log/corrupt");
    assert_eq!(files(&dir), before);

    // the same while a handle is open
    let dir = Temp::new();
    let log = create(&dir);
    log.append(&leaves(0..3)).unwrap();
    let copy = Temp::copy_of(&dir);
    let forgery = Temp::new();
    Log::create(&forgery, ORIGIN, &*forger).unwrap();
    Log::open(&forgery, ORIGIN, forger).unwrap().append(&leaves(0..4)).unwrap();
    for (path, bytes) in files(&forgery) {
        write(&dir.join(path), &bytes);
    }
    assert_eq!(log.append(&leaves(4..5)).unwrap_err().code(), "log/corrupt");
    open(&copy).append(&leaves(4..5)).unwrap();
}

#[test]
fn witnesses_signatures_can_be_added_and_nothing_else_changed() {
    let dir = Temp::new();
    let log = create(&dir);
    log.append(&leaves(0..3)).unwrap();
    let note = log.snapshot().unwrap().note().to_owned();
    let cosigned = format!("{note}— witness.example AAAAAQID\n");
    log.publish(&cosigned).unwrap();
    assert_eq!(log.snapshot().unwrap().note(), cosigned);
    assert_eq!(fs::read_to_string(dir.join("checkpoint")).unwrap(), cosigned);
    assert_eq!(log.publish(&note).unwrap_err().code(), "log/signer", "a signature cannot be taken away");
    assert!(log.publish(&cosigned.replacen("\n3\n", "\n2\n", 1)).is_err());
    let renewed = format!("{note}— witness.example AAAAAQIE\n");
    log.publish(&renewed).unwrap();
    assert_eq!(log.snapshot().unwrap().note(), renewed, "a witness' newer signature takes the place of its older one");
    let mut forged = Note::parse(note.as_bytes()).unwrap();
    forged.signatures.iter_mut().for_each(|signature| signature.bytes.reverse());
    assert_eq!(log.publish(&forged.format()).unwrap_err().code(), "log/signer", "the log's own signature stays");
    log.append(&leaves(3..4)).unwrap();
    assert_eq!(log.size().unwrap(), 4);
    assert!(Arc::ptr_eq(&log.snapshot().unwrap(), &log.snapshot().unwrap()), "one reader as long as nothing changes");
    open(&dir).append(&leaves(4..5)).unwrap();
    assert_eq!(log.size().unwrap(), 5, "another handle's leaves are seen");
    assert_eq!(audit(&dir), []);
}
