//! Commits that die around their signature, with a signer that outlives them and signs one root a size.

use std::sync::Mutex;

use super::*;

/// A signer as a service is: it remembers what it signed, signs no other root of that size and never fewer leaves.
struct Remembering {
    signed: Mutex<Vec<(u64, Digest)>>,
    /// Signs, and then dies before its answer arrives.
    dies: std::sync::atomic::AtomicBool,
}

impl Remembering {
    fn new() -> Arc<Self> {
        Arc::new(Self { signed: Mutex::default(), dies: false.into() })
    }
}

impl Signer for Remembering {
    fn attest(&self, _: &seaworthy_core::ports::AttestRequest<'_>) -> Result<Bundle, PortError> {
        unreachable!()
    }
    fn checkpoint(&self, request: &CheckpointRequest) -> Result<String, PortError> {
        let mut signed = self.signed.lock().unwrap();
        match signed.last() {
            Some((size, root)) if *size == request.size && *root != request.root => return Err(PortError::new("sign", "sign/fork")),
            Some((size, _)) if *size > request.size => return Err(PortError::new("sign", "sign/rollback")),
            _ => signed.push((request.size, request.root)),
        }
        if self.dies.load(Ordering::SeqCst) {
            return Err(PortError::new("sign", "signer/gone"));
        }
        signer().checkpoint(request)
    }
    fn checkpoint_again(&self, request: &CheckpointRequest) -> Result<Option<String>, PortError> {
        let known = self.signed.lock().unwrap().contains(&(request.size, request.root));
        known.then(|| signer().checkpoint(request)).transpose()
    }
    fn is_signed_by_log(&self, note: &str) -> Result<bool, PortError> {
        signer().is_signed_by_log(note)
    }
    fn public_key(&self, _: seaworthy_core::ports::KeyRole) -> Result<Vec<u8>, PortError> {
        unreachable!()
    }
}

fn open_with(dir: &Path, signer: &Arc<Remembering>) -> Log {
    Log::open(dir, ORIGIN, signer.clone()).unwrap()
}

fn created(dir: &Path, signer: &Arc<Remembering>) -> Log {
    Log::create(dir, ORIGIN, &**signer).unwrap();
    open_with(dir, signer)
}

/// The `wal` up to the intent of its last commit, and up to the signature of it.
fn ends_of_last(wal: &[u8]) -> (usize, usize, usize) {
    let records = scan(wal).unwrap().records;
    let [.., last, confirmation] = records.as_slice() else { panic!("no commit") };
    let end = wal.len() - confirmation.encode().unwrap().len();
    let signature = end - last.encode_signature().unwrap().len();
    let intent = Record { checkpoint: Checkpoint::parse(last.checkpoint.as_bytes()).unwrap().0.to_text(), ..last.clone() };
    (signature - intent.encode_intent().unwrap().len(), signature, end)
}

#[test]
fn a_commit_whose_signature_got_lost_is_finished_and_the_log_goes_on() {
    let (dir, signer) = (Temp::new(), Remembering::new());
    let log = created(&dir, &signer);
    log.append(&leaves(0..3)).unwrap();
    signer.dies.store(true, Ordering::SeqCst);
    assert_eq!(log.append(&leaves(3..6)).unwrap_err().code(), "log/signer");
    assert_eq!(log.append(&leaves(9..10)).unwrap_err().code(), "log/halted");
    drop(log);
    signer.dies.store(false, Ordering::SeqCst);
    assert_eq!(LogReader::open(&dir).unwrap().state().size, 3, "readers take what is signed");
    let lost = Temp::copy_of(&dir);

    let log = open_with(&dir, &signer);
    assert_eq!(log.size().unwrap(), 6);
    assert_eq!(log.append(&leaves(9..10)).unwrap(), [6], "and what comes next is other and smaller");
    assert_eq!(audit(&dir), []);

    // control: without the intent that other and smaller commit is a fork to the signer, and the log takes nothing more
    let wal = fs::read(lost.join("wal")).unwrap();
    write(&lost.join("wal"), &wal[..scan(&wal).unwrap().intact]);
    let (forgetful, again) = (open(&lost), Remembering::new());
    drop(forgetful);
    *again.signed.lock().unwrap() = vec![(6, signer.signed.lock().unwrap()[2].1)];
    assert_eq!(open_with(&lost, &again).append(&leaves(9..10)).unwrap_err().code(), "log/signer");
}

/// After a full disk at any write, and after a kill, another and smaller commit follows; the signer lives through all of it.
#[test]
fn no_failing_write_leaves_the_signer_and_the_log_apart() {
    let mut last = 0;
    for n in 1.. {
        let (dir, signer) = (Temp::new(), Remembering::new());
        let log = created(&dir, &signer);
        log.append(&leaves(0..250)).unwrap();
        log.folder().fault.after.store(n + 1, Ordering::SeqCst);
        let mut acknowledged = 250;
        let mut failed = false;
        for group in [5, 10] {
            failed = log.append(&leaves(acknowledged..acknowledged + group)).is_err();
            if failed {
                break;
            }
            acknowledged += group;
        }
        drop(log);
        let log = open_with(&dir, &signer);
        let size = log.size().unwrap();
        assert!((acknowledged..=acknowledged + 10).contains(&size), "write {n}");
        assert_eq!(log.append(&leaves(900..901)).unwrap(), [size], "write {n}");
        log.flush().unwrap();
        assert_eq!(audit(&dir), [], "write {n}");
        last = n;
        if !failed {
            break;
        }
    }
    assert!(last >= 6, "the test reached only {last} writes");
}

/// A kill leaves what was written; a power cut any beginning of it, and then the signer forgot too.
#[test]
fn every_beginning_of_a_commit_is_finished_or_cut_off() {
    let (dir, signer) = (Temp::new(), Remembering::new());
    let log = created(&dir, &signer);
    log.append(&leaves(0..6)).unwrap();
    log.settle().unwrap();
    let before = Temp::copy_of(&dir);
    log.append(&leaves(6..8)).unwrap();
    log.settle().unwrap();
    let wal = fs::read(dir.join("wal")).unwrap();
    let (start, intent, end) = ends_of_last(&wal);
    assert!(start < intent && intent < end && end < wal.len());
    let cuts = (start..wal.len()).step_by(11).chain([intent - 1, intent, intent + 1, end - 1, end, wal.len()]);
    for cut in cuts {
        write(&before.join("wal"), &wal[..cut]);
        for (killed, forgot) in [(true, false), (false, true)] {
            if killed && cut < intent {
                continue; // the signer was not asked yet
            }
            let (dir, signer) = (Temp::copy_of(&before), if forgot { Remembering::new() } else { signer.clone() });
            let memory = signer.signed.lock().unwrap().clone();
            let log = open_with(&dir, &signer);
            let size = if cut >= end || killed { 8 } else { 6 };
            assert_eq!(log.size().unwrap(), size, "cut at {cut}, forgot: {forgot}");
            assert_eq!(log.append(&leaves(90..91)).unwrap(), [size], "cut at {cut}");
            drop(log);
            assert_eq!(audit(&dir), [], "cut at {cut}");
            *signer.signed.lock().unwrap() = memory;
        }
    }
}

/// Somebody without the key writes leaves into the `wal`, in perfect order and ready to be signed.
#[test]
fn an_intent_that_the_signer_does_not_remember_gets_no_signature() {
    let (dir, signer) = (Temp::new(), Remembering::new());
    created(&dir, &signer).append(&leaves(0..3)).unwrap();
    let forged = Temp::copy_of(&dir);
    let forger = Remembering::new();
    let log = open_with(&forged, &forger);
    forger.dies.store(true, Ordering::SeqCst);
    log.append(&leaves(500..502)).unwrap_err();
    drop(log);
    let wal = fs::read(forged.join("wal")).unwrap();
    assert!(scan(&wal).unwrap().intent.is_some());
    // control: one who remembers it finishes it
    let copy = Temp::copy_of(&forged);
    assert_eq!(open_with(&copy, &forger).size().unwrap(), 5);

    for (path, bytes) in files(&forged) {
        write(&dir.join(path), &bytes);
    }
    let log = open_with(&dir, &signer);
    assert_eq!(log.size().unwrap(), 3);
    assert_eq!(signer.signed.lock().unwrap().len(), 2, "nothing was signed for it");
    assert_eq!(log.append(&leaves(3..4)).unwrap(), [3]);
    // nor while a handle is open
    let intact = scan(&wal).unwrap().intact;
    fs::write(dir.join("wal"), [fs::read(dir.join("wal")).unwrap().as_slice(), &wal[intact..]].concat()).unwrap();
    assert_eq!(log.append(&leaves(4..5)).unwrap(), [4]);
    assert_eq!(audit(&dir), []);
}
