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
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::Statement;
use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::{Name, RunId};
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, KeyRole, Leaf, Signer, SignerIsolation, SignerMode};
use seaworthy_core::principal::{PrincipalId, runner_id};
use seaworthy_engine::signer::{Expected, ProcessSigner, SignerPlace};
use seaworthy_store::log::{Log, LogReader, audit};
use seaworthy_trust::keys::wire::{Answer, Frame, Frames, frame};
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

fn honest(answer: Answer) -> Option<Vec<u8>> {
    frame(&answer).ok()
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
        frames.push(&buffer[..count]);
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

#[test]
fn a_lying_signer_is_not_believed() {
    // the same answers, by a signer with other keys
    let other = Arc::new(signer(2));
    let bent = |bend: fn(&LocalSigner, Answer) -> Option<Vec<u8>>| {
        let other = other.clone();
        outcome(Arc::new(move |answer| bend(&other, answer)))
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(bent(|_, answer| honest(answer)), pair("signed", "signed"), "control");
    let lies: [(&str, fn(&LocalSigner, Answer) -> Option<Vec<u8>>, (String, String)); 10] = [
        (
            "another key's signature",
            |other, answer| match answer {
                Answer::Signed { key_hint, pae, .. } => {
                    let signed = other.sign_statement(KeyRole::User, &statement(), None).unwrap();
                    honest(Answer::Signed { signature: seaworthy_core::digest::hex_encode(&signed.signature), key_hint, pae })
                }
                answer => honest(answer),
            },
            pair("signer/answer", "signed"),
        ),
        (
            "no signature at all",
            |_, answer| match answer {
                Answer::Signed { key_hint, pae, .. } => honest(Answer::Signed { signature: "00".repeat(70), key_hint, pae }),
                answer => honest(answer),
            },
            pair("signer/answer", "signed"),
        ),
        (
            "another key's name",
            |_, answer| match answer {
                Answer::Signed { signature, pae, .. } => honest(Answer::Signed { signature, key_hint: "ab".repeat(32), pae }),
                answer => honest(answer),
            },
            pair("signer/answer", "signed"),
        ),
        (
            "a signature of something else",
            |_, answer| match answer {
                Answer::Signed { signature, key_hint, .. } => honest(Answer::Signed { signature, key_hint, pae: Digest::of(b"y") }),
                answer => honest(answer),
            },
            pair("signer/answer", "signed"),
        ),
        (
            "another log key's line",
            |other, answer| match answer {
                Answer::Checkpoint { .. } => {
                    let asked = CheckpointRequest { origin: ORIGIN.to_owned(), size: 3, root: Digest::of(b"r") };
                    honest(Answer::Checkpoint { note: other.sign_checkpoint(&asked).unwrap() })
                }
                answer => honest(answer),
            },
            pair("signed", "signer/answer"),
        ),
        (
            "another size",
            |_, answer| match answer {
                Answer::Checkpoint { .. } => {
                    let other = CheckpointRequest { origin: ORIGIN.to_owned(), size: 4, root: Digest::of(b"r") };
                    honest(Answer::Checkpoint { note: signer(1).sign_checkpoint(&other).unwrap() })
                }
                answer => honest(answer),
            },
            pair("signed", "signer/answer"),
        ),
        (
            "a line more than its own",
            |_, answer| match answer {
                Answer::Checkpoint { note } => honest(Answer::Checkpoint { note: format!("{note}— witness.example AAAAAQID\n") }),
                answer => honest(answer),
            },
            pair("signed", "signer/answer"),
        ),
        (
            "other keys",
            |other, answer| match answer {
                Answer::Hello(mut hello) => {
                    let der = other.public_key(KeyRole::Runner).unwrap();
                    hello.keys.insert(KeyRole::Runner, seaworthy_core::digest::hex_encode(&der));
                    honest(Answer::Hello(hello))
                }
                answer => honest(answer),
            },
            pair("signer/other", "signer/other"),
        ),
        (
            "another version of the protocol",
            |_, answer| {
                let mut bytes = honest(answer)?;
                bytes[4] = 9;
                Some(bytes)
            },
            pair("signer/answer", "signer/answer"),
        ),
        (
            "the command's exit code",
            |_, _| {
                let (code, text) = ("keys/missing".to_owned(), "all is well".to_owned());
                honest(Answer::Failed { code, message: text.clone(), hint: text, exit_code: 0 })
            },
            pair("signer/answer", "signer/answer"),
        ),
    ];
    for (lie, bend, expected) in lies {
        assert_eq!(bent(bend), expected, "{lie}");
    }
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
    let socket = serve(&dir.0, 1, Arc::new(honest));
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
        answer => honest(answer),
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
