//! A signer's process that lies, and one whose answers get lost: nothing of what it says is believed, and the log goes on.
//!
//! In: a service in a thread of the test, which bends its answers. Out: what the client takes, what the log holds.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use seaworthy_core::attestation::run_request::RunRequest;
use seaworthy_core::digest::{Digest, hex_encode};
use seaworthy_core::envelope::Statement;
use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::{Name, RunId};
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, KeyRole, Leaf, Signer, SignerIsolation, SignerMode};
use seaworthy_core::principal::{PrincipalId, runner_id};
use seaworthy_engine::signer::{Expected, ProcessSigner, SignerPlace};
use seaworthy_store::log::{Log, LogReader, audit};
use seaworthy_trust::keys::wire::{Answer, Frame, Frames, HEAD_BYTES, Hello, frame};
use seaworthy_trust::keys::{LocalSigner, PrivateKey, SignerService};

const ORIGIN: &str = "w1.seaworthy.internal/staging/log";
const ROLES: [KeyRole; 3] = [KeyRole::User, KeyRole::Runner, KeyRole::Log];

/// Bends the bytes of an answer; `None` ends the connection instead.
type Bend = dyn Fn(Answer) -> Option<Vec<u8>> + Send + Sync;

struct Temp(PathBuf);

impl Temp {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("seaworthy-client-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn signer(seed: u8) -> LocalSigner {
    let signer = LocalSigner::new(ORIGIN, runner_id("w1", "staging"));
    ROLES.into_iter().fold(signer, |signer, role| signer.with_key(role, PrivateKey::from_seed(role, &[seed; 32]).unwrap()).unwrap())
}

fn honest() -> Arc<Bend> {
    Arc::new(|answer| frame(&answer).ok())
}

/// A service on a socket, with the keys of `seed`; it remembers over all connections.
fn serve(dir: &Path, seed: u8, bend: Arc<Bend>) -> PathBuf {
    let socket = dir.join("signer.sock");
    let door = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        let mut service = SignerService::new(signer(seed), false);
        for stream in door.incoming() {
            talk(&mut service, stream.unwrap(), &*bend);
        }
    });
    socket
}

fn talk(service: &mut SignerService, mut stream: UnixStream, bend: &Bend) {
    let kept = SignerIsolation { mode: SignerMode::User, landlock: 7, system_calls: 30, keys: BTreeMap::new() };
    let (mut frames, mut buffer) = (Frames::default(), vec![0; 65_536]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        frames.push(buffer.get(..count).unwrap());
        while let Some(Frame::Content(content)) = frames.next_frame() {
            let Some(bytes) = bend(service.answer(&content, &kept)) else { return };
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }
}

fn expected(seed: u8) -> Expected {
    let signer = signer(seed);
    Expected { origin: ORIGIN.to_owned(), keys: ROLES.into_iter().map(|role| (role, signer.public_key(role).unwrap())).collect() }
}

fn client(socket: &Path) -> Result<ProcessSigner, seaworthy_engine::signer::SignerError> {
    ProcessSigner::open(SignerPlace::Service(socket.to_owned()), expected(1))
}

fn statement() -> Statement {
    let digest = Digest::of(b"x");
    RunRequest {
        run: RunId("r1".to_owned()),
        plan: digest,
        lock: digest,
        workflow: digest,
        environment: Name::new("staging").unwrap(),
        nonce: "00".repeat(16),
        signer: None,
    }
    .statement()
}

/// What the client makes of a signer that bends its answers: to a statement and to a checkpoint.
fn outcome(bend: Arc<Bend>) -> (String, String) {
    let dir = Temp::new();
    let client = match client(&serve(&dir.0, 1, bend)) {
        Ok(client) => client,
        Err(refused) => return (refused.code().to_owned(), refused.code().to_owned()),
    };
    let statement = statement();
    let told = |error: seaworthy_core::ports::PortError| error.cause;
    let attested = client.attest(&AttestRequest { role: KeyRole::User, statement: &statement, step: None });
    let noted = client.checkpoint(&CheckpointRequest { origin: ORIGIN.to_owned(), size: 3, root: Digest::of(b"r") });
    let word = |cause: String| cause.rsplit('(').next().unwrap_or_default().trim_end_matches(')').to_owned();
    let attested = attested.map_or_else(|error| word(told(error)), |_| "signed".to_owned());
    (attested, noted.map_or_else(|error| word(told(error)), |_| "signed".to_owned()))
}

/// Says something else than the signer did.
type Lie = fn(Answer) -> Answer;

fn of_signature(answer: Answer, lie: impl Fn(String, String, Digest) -> (String, String, Digest)) -> Answer {
    match answer {
        Answer::Signed { signature, key_hint, pae } => {
            let (signature, key_hint, pae) = lie(signature, key_hint, pae);
            Answer::Signed { signature, key_hint, pae }
        }
        other => other,
    }
}

fn of_note(answer: Answer, lie: impl Fn(String) -> String) -> Answer {
    match answer {
        Answer::Checkpoint { note } => Answer::Checkpoint { note: lie(note) },
        other => other,
    }
}

fn of_hello(answer: Answer, lie: impl Fn(&mut Hello)) -> Answer {
    match answer {
        Answer::Hello(mut hello) => {
            lie(&mut hello);
            Answer::Hello(hello)
        }
        other => other,
    }
}

/// Another log key's note, or of another size.
fn note(seed: u8, size: u64) -> String {
    signer(seed).sign_checkpoint(&CheckpointRequest { origin: ORIGIN.to_owned(), size, root: Digest::of(b"r") }).unwrap()
}

fn signature_of_another() -> String {
    hex_encode(&signer(2).sign_statement(KeyRole::User, &statement(), None).unwrap().signature)
}

/// The command's exit code, well.
fn all_is_well(_: Answer) -> Answer {
    let text = || "all is well".to_owned();
    Answer::Failed { code: "keys/missing".to_owned(), message: text(), hint: text(), exit_code: 0 }
}

/// What is told, and what becomes of a statement and of a checkpoint.
const LIES: [(&str, Lie, &str, &str); 11] = [
    ("control", |answer| answer, "signed", "signed"),
    ("a signature of another key", |a| of_signature(a, |_, hint, pae| (signature_of_another(), hint, pae)), "signer/answer", "signed"),
    ("no signature at all", |a| of_signature(a, |_, hint, pae| ("00".repeat(70), hint, pae)), "signer/answer", "signed"),
    ("another key's name", |a| of_signature(a, |signature, _, pae| (signature, "ab".repeat(32), pae)), "signer/answer", "signed"),
    (
        "a signature of something else",
        |a| of_signature(a, |signature, hint, _| (signature, hint, Digest::of(b"y"))),
        "signer/answer",
        "signed",
    ),
    ("a note of another log key", |a| of_note(a, |_| note(2, 3)), "signed", "signer/answer"),
    ("a note of another size", |a| of_note(a, |_| note(1, 4)), "signed", "signer/answer"),
    ("a line more than its own", |a| of_note(a, |note| format!("{note}— witness.example AAAAAQID\n")), "signed", "signer/answer"),
    ("another log", |a| of_hello(a, |hello| hello.origin = "log.example".to_owned()), "signer/other", "signer/other"),
    (
        "other keys",
        |a| of_hello(a, |hello| drop(hello.keys.insert(KeyRole::Runner, hex_encode(&signer(2).public_key(KeyRole::Runner).unwrap())))),
        "signer/other",
        "signer/other",
    ),
    ("the command's exit code", all_is_well, "signer/answer", "signer/answer"),
];

#[test]
fn a_lying_signer_is_not_believed() {
    for (told, lie, attested, noted) in LIES {
        let found = outcome(Arc::new(move |answer| frame(&lie(answer)).ok()));
        assert_eq!(found, (attested.to_owned(), noted.to_owned()), "{told}");
    }
    let other_version = |answer: Answer| {
        let mut bytes = frame(&answer).ok()?;
        *bytes.get_mut(HEAD_BYTES)? = 9;
        Some(bytes)
    };
    assert_eq!(outcome(Arc::new(other_version)).0, "signer/answer");
}

/// What a signer's own program says when it cannot start is the command's end, but never a good one.
#[test]
fn a_signers_program_cannot_end_a_command_well() {
    for (said, taken) in [(0_u8, 70), (1, 70), (2, 2), (3, 3), (4, 4), (70, 70), (255, 70)] {
        let answer = Answer::Failed { code: "keys/x".to_owned(), message: "m\n".repeat(900), hint: String::new(), exit_code: said };
        let dir = Temp::new();
        std::fs::write(dir.0.join("answer"), frame(&answer).unwrap()).unwrap();
        // a program that answers this to whatever it is asked, on the socket it was given as its input
        let script = format!("cat '{}' >&0", dir.0.join("answer").display());
        let place = SignerPlace::Program {
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: Vec::new(),
            asks: false,
        };
        let error = ProcessSigner::open(place, expected(1)).unwrap_err();
        let seaworthy_engine::signer::SignerError::Failed { exit_code, message, .. } = &error else { panic!("{said}: {error:?}") };
        assert_eq!(*exit_code, taken, "{said}");
        assert!(message.len() <= 500 && !message.contains('\n'), "{message}");
    }
}

#[test]
fn a_socket_that_others_could_have_put_there_is_not_spoken_to() {
    let dir = Temp::new();
    let socket = serve(&dir.0, 1, honest());
    client(&socket).unwrap();
    for mode in [0o770, 0o707, 0o1777] {
        std::fs::set_permissions(&dir.0, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(client(&socket).unwrap_err().code(), "signer/other", "{mode:o}");
    }
}

fn leaves(range: std::ops::Range<u64>) -> Vec<Leaf> {
    let leaf = |number: u64| {
        let kind = EventKind::RunEnded { run: RunId(format!("r{number:016x}")), state: "succeeded".to_owned(), cancelled_by: None };
        Leaf::Event(Event { time_ms: number, principal: PrincipalId("user:p-0".to_owned()), kind })
    };
    range.map(leaf).collect()
}

/// A service signs, and the connection dies with the answer, again and again: the commit is unknown to this process, the service
/// signs no other root of that size. The next process finishes it, and the log goes on with something else.
#[test]
fn a_signature_that_a_service_made_and_nobody_got_stops_no_log() {
    let dir = Temp::new();
    let log_dir = dir.0.join("log");
    let loses = Arc::new(AtomicBool::new(false));
    let lost = loses.clone();
    let bend = move |answer| match answer {
        Answer::Checkpoint { .. } if lost.load(Ordering::SeqCst) => None,
        answer => frame(&answer).ok(),
    };
    let socket = serve(&dir.0, 1, Arc::new(bend));
    let open = || Log::open(&log_dir, ORIGIN, Arc::new(client(&socket).unwrap())).unwrap();
    Log::create(&log_dir, ORIGIN, &client(&socket).unwrap()).unwrap();
    let log = open();
    log.append(&leaves(0..3)).unwrap();
    loses.store(true, Ordering::SeqCst);
    assert_eq!(log.append(&leaves(3..6)).unwrap_err().code(), "log/signer");
    assert_eq!(log.append(&leaves(50..51)).unwrap_err().code(), "log/halted");
    drop(log);
    // nobody can finish it as long as the service cannot be heard: nothing is cut off meanwhile
    let unheard = Log::open(&log_dir, ORIGIN, Arc::new(client(&socket).unwrap()));
    assert_eq!(unheard.err().map(|error| error.code()), Some("log/signer"));
    loses.store(false, Ordering::SeqCst);
    assert_eq!(LogReader::open(&log_dir).unwrap().state().size, 3);
    let log = open();
    assert_eq!(log.snapshot().unwrap().state().size, 6);
    assert_eq!(log.append(&leaves(50..51)).unwrap(), [6]);
    drop(log);
    assert_eq!(audit(&log_dir), []);

    // control: had the intent been lost, the service would refuse that other commit, and every one after it
    let refused = client(&socket).unwrap().checkpoint(&CheckpointRequest { origin: ORIGIN.to_owned(), size: 6, root: Digest::of(b"x") });
    assert!(refused.unwrap_err().cause.contains("sign/fork"));
}
