//! The signer in a process of its own, as the engine sees it: a [`Signer`] over a socket.
//!
//! in: how to reach it (a program to start, or a socket to connect to), the public keys it must have; out: [`ProcessSigner`].
//! **Invariant:** no private key is ever in this process. A signer that died, hangs or speaks nonsense is replaced and asked
//! again: signatures are deterministic, so nothing is signed twice with two results. A new one is first told the newest
//! checkpoint, so that its memory of the log begins there; one with other keys is refused.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use seaworthy_core::digest::hex_decode;
use seaworthy_core::envelope::Bundle;
use seaworthy_core::id::StepRunId;
use seaworthy_core::limits::{SIGNER_ANSWER_BYTES_MAX, SIGNER_REQUEST_BYTES_MAX};
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, KeyRole, PortError, Signer, SignerIsolation};
use seaworthy_sandbox::recluse;
use seaworthy_trust::keys::wire::{self, Answer, Attest, HEAD_BYTES, Hello, Request, Status};

/// How long an answer may take. A signature takes less than a millisecond; a very large manifest a few seconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a request is tried, each time with a new signer.
const TRIES_MAX: u32 = 4;
/// How long a service may be away: it may be being restarted.
const SERVICE_WAIT: Duration = Duration::from_millis(500);

/// Where the signer is.
#[derive(Debug, Clone)]
pub enum SignerPlace {
    /// A program to start, with one end of a socket as its standard input.
    Program {
        /// The program.
        path: PathBuf,
        /// Its arguments.
        arguments: Vec<OsString>,
        /// All of its environment.
        environment: Vec<(OsString, OsString)>,
    },
    /// The socket of a service.
    Service(PathBuf),
}

/// Whom to expect.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The log it must sign for.
    pub origin: String,
    /// SubjectPublicKeyInfo (DER) of the keys it must have.
    pub keys: BTreeMap<KeyRole, Vec<u8>>,
    /// The newest checkpoint of this log that is known: nothing below it will be signed.
    pub newest: Option<CheckpointRequest>,
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The signer could not start, and said why.
    #[error("{message}")]
    Failed {
        /// Its code.
        code: String,
        /// Its words.
        message: String,
        /// What to do.
        hint: String,
        /// The exit code of a command that fails for this.
        exit_code: u8,
    },
    /// It cannot be reached, or died again and again.
    #[error("the signer cannot be reached: {0}")]
    Gone(io::Error),
    /// It has other keys than the trust file's, or signs for another log.
    #[error("the signer {0}")]
    Other(String),
    /// Its policy refused.
    #[error("{message} ({code})")]
    Refused {
        /// The policy's code.
        code: String,
        /// The policy's words.
        message: String,
    },
    /// The request is too long to be sent.
    #[error("a request of {0} bytes is over the signer's limit")]
    TooLarge(usize),
    /// It answered something else than what was asked.
    #[error("the signer answered something else than was asked")]
    Answer,
}

impl SignerError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Failed { code, .. } => code,
            Self::Gone(_) => "signer/gone",
            Self::Other(_) => "signer/other",
            Self::Refused { .. } => "signer/refused",
            Self::TooLarge(_) => "signer/too-large",
            Self::Answer => "signer/answer",
        }
    }

    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Failed { hint, .. } => hint,
            Self::Gone(_) => "is the service running, and may this user use its socket? Otherwise: was the process killed?",
            Self::Other(_) => "copy `trust.json` and the public keys from the service's user again, or name another socket",
            Self::Refused { .. } => "the signer's policy: docs/src/concepts/signer.md",
            Self::TooLarge(_) => "split the folder into several outputs",
            Self::Answer => "are the signer and this program of the same version?",
        }
    }

    fn io(kind: io::ErrorKind, what: &str) -> Self {
        Self::Gone(io::Error::new(kind, what.to_owned()))
    }
}

/// A signer in a process of its own.
#[derive(Debug)]
pub struct ProcessSigner {
    place: SignerPlace,
    expected: Expected,
    isolation: SignerIsolation,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    link: Option<Link>,
    newest: Option<CheckpointRequest>,
}

impl ProcessSigner {
    /// Starts the signer, or connects to it, and checks who it is.
    pub fn open(place: SignerPlace, expected: Expected) -> Result<Self, SignerError> {
        let (link, hello) = Link::open(&place, &expected)?;
        let mut state = State { link: Some(link), newest: None };
        if let Some(newest) = &expected.newest {
            state.newest = Some(newest.clone());
            state.remind()?;
        }
        Ok(Self { place, expected, isolation: hello.isolation, state: Mutex::new(state) })
    }

    /// What the signer did in its present life.
    pub fn status(&self) -> Result<Status, SignerError> {
        match self.ask(&Request::Status {})? {
            Answer::Status(status) => Ok(status),
            _ => Err(SignerError::Answer),
        }
    }

    /// The process id, if it is a child of this process: for tests and reports.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.link.as_ref().and_then(|link| link.child.as_ref()).map(Child::id)
    }

    /// One answer; a signer that is gone is replaced.
    fn ask(&self, request: &Request<'_>) -> Result<Answer, SignerError> {
        let frame = wire::frame(request).map_err(|_| SignerError::Answer)?;
        if frame.len() > SIGNER_REQUEST_BYTES_MAX {
            return Err(SignerError::TooLarge(frame.len()));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = SignerError::io(io::ErrorKind::NotConnected, "not tried");
        for _ in 0..TRIES_MAX {
            match self.exchange(&mut state, &frame) {
                Ok(Answer::Refused { code, message }) => return Err(SignerError::Refused { code, message }),
                Ok(answer) => return Ok(answer),
                Err(gone @ (SignerError::Gone(_) | SignerError::Answer)) => last = gone,
                Err(other) => return Err(other),
            }
            state.link = None;
        }
        Err(last)
    }

    fn exchange(&self, state: &mut State, frame: &[u8]) -> Result<Answer, SignerError> {
        if state.link.is_none() {
            let (link, hello) = Link::open(&self.place, &self.expected)?;
            if hello.isolation != self.isolation {
                return Err(SignerError::Other("is kept apart in another way than before".to_owned()));
            }
            state.link = Some(link);
            state.remind()?;
        }
        let link = state.link.as_mut().ok_or(SignerError::Answer)?;
        link.exchange(frame)
    }

    fn sign_statement(&self, request: &AttestRequest<'_>) -> Result<Bundle, SignerError> {
        let step = request.step.map(StepRunId::to_string);
        let attest = Attest { role: request.role, step, statement: std::borrow::Cow::Borrowed(request.statement) };
        let Answer::Signed { signature, key_hint, pae } = self.ask(&Request::Attest(attest))? else { return Err(SignerError::Answer) };
        let signature = hex_decode(&signature).ok_or(SignerError::Answer)?;
        let bundle = Bundle { payload: request.statement.to_payload(), signature, key_hint, log_proof: None };
        // the signer made its payload itself: it must be this one
        if bundle.pae_digest() == pae { Ok(bundle) } else { Err(SignerError::Answer) }
    }

    fn sign_checkpoint(&self, request: &CheckpointRequest) -> Result<String, SignerError> {
        let CheckpointRequest { origin, size, root } = request.clone();
        let Answer::Checkpoint { note } = self.ask(&Request::Checkpoint { origin, size, root })? else { return Err(SignerError::Answer) };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.newest.as_ref().is_none_or(|newest| newest.size < request.size) {
            state.newest = Some(request.clone());
        }
        Ok(note)
    }
}

/// Who the service at `socket` is and what it did, whatever keys it has.
pub fn status_of(socket: &Path) -> Result<(Hello, Status), SignerError> {
    let mut link = Link { stream: UnixStream::connect(socket).map_err(SignerError::Gone)?, child: None };
    link.timed()?;
    let asked = |request: &Request<'_>| wire::frame(request).map_err(|_| SignerError::Answer);
    let Answer::Hello(hello) = link.exchange(&asked(&Request::Hello {})?)? else { return Err(SignerError::Answer) };
    let Answer::Status(status) = link.exchange(&asked(&Request::Status {})?)? else { return Err(SignerError::Answer) };
    Ok((hello, status))
}

impl State {
    /// Has the newest checkpoint signed again, by a signer that does not know it yet.
    fn remind(&mut self) -> Result<(), SignerError> {
        let (Some(newest), Some(link)) = (self.newest.clone(), self.link.as_mut()) else { return Ok(()) };
        let CheckpointRequest { origin, size, root } = newest;
        let frame = wire::frame(&Request::Checkpoint { origin, size, root }).map_err(|_| SignerError::Answer)?;
        match link.exchange(&frame)? {
            Answer::Checkpoint { .. } => Ok(()),
            // a service that lived on may know newer ones, of another run
            Answer::Refused { code, .. } if code == "sign/rollback" => Ok(()),
            Answer::Refused { code, message } => Err(SignerError::Refused { code, message }),
            _ => Err(SignerError::Answer),
        }
    }
}

impl Signer for ProcessSigner {
    fn attest(&self, request: &AttestRequest<'_>) -> Result<Bundle, PortError> {
        self.sign_statement(request).map_err(|cause| port("sign a statement", &cause))
    }

    fn checkpoint(&self, request: &CheckpointRequest) -> Result<String, PortError> {
        self.sign_checkpoint(request).map_err(|cause| port("sign a checkpoint", &cause))
    }

    fn public_key(&self, role: KeyRole) -> Result<Vec<u8>, PortError> {
        let key = self.expected.keys.get(&role).cloned();
        key.ok_or_else(|| PortError::new("read a public key", format!("the signer has no {role:?} key (sign/no-key)")))
    }

    fn isolation(&self) -> Option<SignerIsolation> {
        Some(self.isolation.clone())
    }
}

fn port(what: &str, cause: &SignerError) -> PortError {
    match cause {
        SignerError::Refused { .. } => PortError::new(what, cause),
        other => PortError::new(what, format!("{other} ({})", other.code())),
    }
}

/// One life of the signer.
#[derive(Debug)]
struct Link {
    stream: UnixStream,
    child: Option<Child>,
}

impl Link {
    fn open(place: &SignerPlace, expected: &Expected) -> Result<(Self, Hello), SignerError> {
        let mut link = match place {
            SignerPlace::Program { path, arguments, environment } => {
                let (stream, other) = UnixStream::pair().map_err(SignerError::Gone)?;
                let child = recluse::spawn(path, arguments, environment, other.into()).map_err(SignerError::Gone)?;
                Self { stream, child: Some(child) }
            }
            SignerPlace::Service(socket) => {
                let stream = UnixStream::connect(socket).or_else(|_| {
                    std::thread::sleep(SERVICE_WAIT);
                    UnixStream::connect(socket)
                });
                Self { stream: stream.map_err(SignerError::Gone)?, child: None }
            }
        };
        // a passphrase may have to be typed first: the first answer has no time limit
        let asked = wire::frame(&Request::Hello {}).map_err(|_| SignerError::Answer)?;
        let answer = match link.exchange(&asked)? {
            Answer::Hello(hello) => hello,
            Answer::Failed { code, message, hint, exit_code } => return Err(SignerError::Failed { code, message, hint, exit_code }),
            _ => return Err(SignerError::Answer),
        };
        check(&answer, expected)?;
        link.timed()?;
        Ok((link, answer))
    }

    fn timed(&self) -> Result<(), SignerError> {
        let read = self.stream.set_read_timeout(Some(ANSWER_TIME_MAX));
        read.and_then(|()| self.stream.set_write_timeout(Some(ANSWER_TIME_MAX))).map_err(SignerError::Gone)
    }

    fn exchange(&mut self, frame: &[u8]) -> Result<Answer, SignerError> {
        // a signer that failed to start has answered before it was asked, and reads no more
        let sent = self.stream.write_all(frame);
        let mut head = [0; HEAD_BYTES];
        self.stream.read_exact(&mut head).map_err(SignerError::Gone)?;
        let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
        if length > SIGNER_ANSWER_BYTES_MAX {
            return Err(SignerError::Answer);
        }
        let mut content = vec![0; length];
        self.stream.read_exact(&mut content).map_err(SignerError::Gone)?;
        let answer = wire::read(&content).map_err(|_| SignerError::Answer)?;
        match (sent, &answer) {
            (Err(error), answer) if !matches!(answer, Answer::Failed { .. }) => Err(SignerError::Gone(error)),
            _ => Ok(answer),
        }
    }
}

impl Drop for Link {
    /// A child is ended and reaped: it has nothing to lose, and nothing of it may stay behind.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // both fail only if it is dead and reaped already
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn check(hello: &Hello, expected: &Expected) -> Result<(), SignerError> {
    if hello.origin != expected.origin {
        return Err(SignerError::Other(format!("signs for the log `{}`, not for `{}`", hello.origin, expected.origin)));
    }
    for (role, key) in &expected.keys {
        let has = hello.keys.get(role).and_then(|hex| hex_decode(hex));
        if has.as_ref() != Some(key) {
            return Err(SignerError::Other(format!("has another {role:?} key than the one in the key folder")));
        }
    }
    Ok(())
}
